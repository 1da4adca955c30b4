"""Design: batch normalization's memory: what the running statistics become, in which mode they
are used, and that an error, a frozen mode or a recomputation does not count as a batch. The
oracle is NumPy in float64.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import nn
from minigrad.autograd import no_grad
from minigrad.checkpointing import checkpoint
from minigrad.errors import ArgError
from minigrad.gradcheck import gradcheck
from minigrad.tensor import Tensor


def batch(rng, shape, dtype=np.float64):
    return (rng.standard_normal(shape) * rng.uniform(0.5, 3) + rng.normal()).astype(dtype)


def statistics(x):
    """Mean and unbiased variance per channel: sum (x - mean)^2 / (m - 1)."""
    axes = (0, *range(2, x.ndim))
    m = x.size // x.shape[1]
    return x.mean(axis=axes), ((x - x.mean(axis=axes, keepdims=True)) ** 2).sum(axis=axes) / (m - 1)


def buffers(layer):
    return [b.data.copy() for b in layer.buffers()]


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


SHAPES = {"2": (2, 3), "3": (1, 3, 3), "4": (2, 5, 1, 2), "100": (4, 2, 5, 5), "lines": (4, 3, 25)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(
    seed=st.integers(0, 2**32),
    momentum=st.sampled_from([None, 0.0, 0.1, 0.7, 1.0]),
    batches=st.integers(1, 4),
)
def test_running_statistics_use_n_over_n_minus_1(shape, seed, momentum, batches):
    rng = np.random.default_rng(seed)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    layer = kind(shape[1], momentum=momentum).double()
    mean, var = np.zeros(shape[1]), np.ones(shape[1])
    for seen in range(1, batches + 1):
        x = batch(rng, shape)
        layer(Tensor(x))
        share = 1 / seen if momentum is None else momentum
        new_mean, new_var = statistics(x)
        mean, var = (1 - share) * mean + share * new_mean, (1 - share) * var + share * new_var
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-12)
    assert layer.num_batches_tracked.item() == batches


@given(seed=st.integers(0, 2**32))
def test_evaluation_uses_the_running_statistics_and_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    layer = nn.BatchNorm2d(3, eps=1e-3).double()
    layer(Tensor(batch(rng, (4, 3, 5, 2))))
    layer.eval()
    before, x = buffers(layer), batch(rng, (1, 3, 2, 4))
    y = layer(Tensor(x)).data
    mean, var = (b.reshape(1, 3, 1, 1) for b in before[:2])
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-3), rtol=1e-12, atol=1e-12)
    assert same(buffers(layer), before)


def test_gradient_follows_the_recorded_mode():
    """Forward in evaluation, then train(), another batch, then backward: evaluation's gradient."""
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm2d(2).double()
    layer(Tensor(batch(rng, (3, 2, 4, 4))))
    layer.eval()
    scale = 1 / np.sqrt(layer.running_var.data + layer.eps)
    x = Tensor(batch(rng, (3, 2, 4, 4))).requires_grad_()
    g = rng.standard_normal(x.shape)
    y = layer(x)
    layer.train()
    layer(Tensor(batch(rng, (3, 2, 4, 4))))
    y.backward(Tensor(g))
    np.testing.assert_allclose(x.grad.data, g * scale.reshape(1, 2, 1, 1), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 3, 2)])
def test_gradients_are_right_in_both_modes(training, shape):
    rng = np.random.default_rng(1)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    layer = kind(3).double()
    layer(Tensor(batch(rng, shape)))
    layer.train(training)
    x, weights = Tensor(batch(rng, shape)).requires_grad_(), Tensor(rng.standard_normal(shape))
    assert gradcheck(lambda t, *_: (layer(t) * weights).sum(), [x, layer.weight, layer.bias])


def test_without_running_statistics_the_batch_is_used_in_both_modes():
    layer = nn.BatchNorm2d(2, track_running_stats=False, affine=False)
    assert layer.state_dict() == {}
    x = Tensor(batch(np.random.default_rng(0), (3, 2, 4, 4), np.float32))
    assert np.array_equal(layer(x).data, layer.eval()(x).data)


def test_residual_and_relu_are_what_they_are_apart():
    rng = np.random.default_rng(2)
    layer = nn.BatchNorm2d(3).double()
    x, residual = (Tensor(batch(rng, (2, 3, 4, 4))).requires_grad_() for _ in range(2))
    g = Tensor(rng.standard_normal(x.shape))
    together = layer(x, residual, relu=True)
    together.backward(g)
    fused = [
        together.data,
        x.grad.data,
        residual.grad.data,
        layer.weight.grad.data,
        layer.bias.grad.data,
    ]
    x.grad = residual.grad = layer.weight.grad = layer.bias.grad = None
    apart = nn.ReLU()(layer(x) + residual)
    apart.backward(g)
    plain = [
        apart.data,
        x.grad.data,
        residual.grad.data,
        layer.weight.grad.data,
        layer.bias.grad.data,
    ]
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_recomputed_batch_counts_once():
    rng = np.random.default_rng(3)
    x = batch(rng, (4, 2, 3, 3), np.float32)
    plain, recomputed = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    plain(Tensor(x).requires_grad_()).sum().backward()
    checkpoint(recomputed, Tensor(x).requires_grad_()).sum().backward()
    assert same(buffers(plain), buffers(recomputed))
    assert np.array_equal(plain.weight.grad.data, recomputed.weight.grad.data)


def test_batch_counts_without_a_tape_too():
    layer = nn.BatchNorm1d(2)
    with no_grad():
        layer(Tensor(np.ones((3, 2), np.float32)))
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_one_value_per_channel_is_refused_and_does_not_count(shape):
    layer = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    before = buffers(layer)
    with pytest.raises(ArgError, match="variance needs >1 value per channel"):
        layer(Tensor(np.ones(shape, np.float32)))
    assert same(buffers(layer), before)
    assert layer.eval()(Tensor(np.ones(shape, np.float32))).shape == shape


@pytest.mark.parametrize("name", ["running_mean", "running_var", "num_batches_tracked"])
def test_read_only_buffer_is_an_error_in_training_and_used_in_evaluation(name):
    layer = nn.BatchNorm1d(2)
    getattr(layer, name).data.flags.writeable = False
    before, x = buffers(layer), Tensor(np.arange(6, dtype=np.float32).reshape(3, 2))
    with pytest.raises(ValueError, match=f"{name} is read-only"):
        layer(x)
    assert same(buffers(layer), before)
    assert layer.eval()(x).shape == (3, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"eps": 0},
        {"eps": -1e-5},
        {"eps": float("nan")},
        {"eps": float("inf")},
        {"momentum": -0.1},
        {"momentum": 1.1},
        {"momentum": float("nan")},
    ],
)
def test_senseless_constants_are_refused(options):
    (name,) = options
    with pytest.raises(ArgError, match=f"BatchNorm2d: {name}"):
        nn.BatchNorm2d(3, **options)


def test_reset_running_stats_forgets_all_batches():
    layer = nn.BatchNorm1d(2)
    fresh = buffers(layer)
    layer(Tensor(np.arange(6, dtype=np.float32).reshape(3, 2)))
    assert not same(buffers(layer), fresh)
    layer.reset_running_stats()
    assert same(buffers(layer), fresh)
