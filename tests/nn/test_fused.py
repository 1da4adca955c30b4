"""Design: conv_norm is the two layers, one after the other, in fewer passes over memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import fused
from minigrad.show import tape_of
from tests.strategies import SEEDS


def layers(seed, c, k, kernel=3, **options):
    """A convolution and a batch normalization with statistics of their own."""
    rng = np.random.default_rng(seed)
    conv, norm = nn.Conv2d(c, k, kernel, **options), nn.BatchNorm2d(k)
    for t, low in ((norm.running_mean, -1), (norm.running_var, 0.5), (norm.weight, -1)):
        t.data[...] = rng.uniform(low, 2, k)
    norm.bias.data[...] = rng.standard_normal(k)
    return conv, norm.eval(), rng


@given(
    n=st.integers(1, 3),
    c=st.sampled_from((1, 3, 8, 40, 70)),
    k=st.sampled_from((1, 5, 16, 33, 64, 70)),
    kernel=st.sampled_from((1, 3, 5)),
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    stride=st.integers(1, 2),
    padding=st.sampled_from((0, 1, "valid", (1, 0, 2, 1))),
    groups=st.integers(1, 2),
    biased=st.booleans(),
    relu=st.booleans(),
    adds=st.booleans(),
    seed=SEEDS,
)
def test_one_pass_is_two_layers(
    n, c, k, kernel, size, stride, padding, groups, biased, relu, adds, seed
):
    conv, norm, rng = layers(
        seed, c * groups, k * groups, kernel, stride=stride, padding=padding, groups=groups,
        bias=biased,
    )  # fmt: skip
    x = mg.tensor(rng.standard_normal((n, c * groups, *size)).astype(np.float32))
    two = conv(x)
    residual = mg.tensor(rng.standard_normal(two.shape).astype(np.float32)) if adds else None
    want = norm(two, residual, relu=relu)
    with mg.no_grad():
        one = nn.conv_norm(conv, norm, x, residual, relu=relu)
    assert one.shape == want.shape and one.dtype == want.dtype and not one.requires_grad
    scale = 1 + np.abs(want.data).max()
    np.testing.assert_allclose(one.data, want.data, rtol=0, atol=3e-5 * scale)


def test_float64_agrees_to_its_last_digits():
    conv, norm, rng = layers(0, 6, 10, padding=1)
    conv, norm = conv.astype(np.float64), norm.astype(np.float64)
    x = mg.tensor(rng.standard_normal((2, 6, 9, 8)))
    with mg.no_grad():
        one = nn.conv_norm(conv, norm, x, relu=True)
    np.testing.assert_allclose(one.data, norm(conv(x), relu=True).data, rtol=1e-12, atol=1e-12)


@pytest.fixture
def single(monkeypatch):
    """How often the two layers were one pass, by known statistics."""
    calls = []
    real = fused.by_known_statistics
    monkeypatch.setattr(fused, "by_known_statistics", lambda *a: calls.append(1) or real(*a))
    return calls


def test_gradients_by_known_statistics_take_the_two_layers(single):
    conv, norm, rng = layers(1, 4, 6)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    assert nn.conv_norm(conv, norm, x).requires_grad and not single
    with mg.no_grad():
        nn.conv_norm(conv, norm, x)
    assert single


@given(
    c=st.sampled_from((1, 3, 16, 40)),
    k=st.sampled_from((1, 6, 16, 33, 64)),
    kernel=st.sampled_from((1, 3, 5)),
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    stride=st.integers(1, 2),
    biased=st.booleans(),
    relu=st.booleans(),
    adds=st.booleans(),
    momentum=st.sampled_from((0.1, None)),
    seed=SEEDS,
)
def test_a_training_step_is_that_of_two_layers(
    c, k, kernel, size, stride, biased, relu, adds, momentum, seed
):
    """In float64: outputs, every gradient, and the running statistics of two batches."""
    conv, norm, _ = layers(seed, c, k, kernel, stride=stride, padding=1, bias=biased)
    conv, norm = conv.astype(np.float64), norm.astype(np.float64).train()
    norm.momentum = momentum
    ends = []
    for both in (lambda x, r: norm(conv(x), r, relu=relu),
                 lambda x, r: nn.conv_norm(conv, norm, x, r, relu=relu)):  # fmt: skip
        draw = np.random.default_rng(seed)
        norm.reset_running_stats()
        for _ in range(2):
            conv.zero_grad(), norm.zero_grad()
            x = mg.tensor(draw.standard_normal((3, c, *size)), requires_grad=True)
            shape = conv(x).shape
            r = mg.tensor(draw.standard_normal(shape), requires_grad=True) if adds else None
            y = both(x, r)
            (y * mg.tensor(draw.standard_normal(shape))).sum().backward()
        params = [*conv.parameters(), *norm.parameters()]
        found = [y.data, norm.running_mean.data, norm.running_var.data, x.grad.data]
        ends.append([a.copy() for a in found + [p.grad.data for p in params]
                     + ([r.grad.data] if adds else [])])  # fmt: skip
        assert int(norm.num_batches_tracked.data) == 2
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9 * (1 + np.abs(two).max()))


def test_statistics_of_the_convolution_and_an_error_counts_nothing():
    conv, norm, rng = layers(6, 4, 6)
    norm.train()
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    y = nn.conv_norm(conv, norm, x, relu=True)
    assert [node.name for node in tape_of(y)][-2:] == ["conv2d_moments", "batch_norm"]
    before = norm.running_mean.data.copy()
    with pytest.raises(mg.errors.ShapeError, match="residual"):
        nn.conv_norm(conv, norm, x, x)
    with pytest.raises(mg.errors.ArgError, match="variance needs >1 value"):
        nn.conv_norm(conv, norm, x[:1, :, :3, :3])
    assert int(norm.num_batches_tracked.data) == 1
    np.testing.assert_array_equal(norm.running_mean.data, before)


def test_a_hook_sees_both_layers():
    conv, norm, rng = layers(2, 4, 6)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    seen = []
    remove = norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    with mg.no_grad():
        nn.conv_norm(conv, norm, x)
        nn.Sequential(conv, norm, nn.ReLU())(x)
    assert seen == [(2, 6, 5, 5)] * 2
    remove()


def test_sequential_does_it_by_itself():
    conv, norm, rng = layers(3, 4, 6)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2))
    want = net.eval()(x)
    with mg.no_grad():
        got = net(x)
        assert mg.explain(conv, x)  # the layers are still themselves
    np.testing.assert_allclose(got.data, want.data, rtol=1e-4, atol=1e-4)
    assert np.all(got.data >= 0)


@pytest.mark.parametrize("groups", (1, 4))
def test_depthwise_and_misfits_are_left_to_the_layers(groups, single):
    conv, norm, rng = layers(4, 4, 4, groups=groups)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    with mg.no_grad():
        np.testing.assert_allclose(
            nn.conv_norm(conv, norm, x).data, norm(conv(x)).data, rtol=1e-4, atol=1e-4
        )
        assert bool(single) is (groups == 1)
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, norm, x[:, :3])
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, nn.BatchNorm2d(5).eval(), x)
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, norm, x, x)
        with pytest.raises(mg.errors.DTypeError):
            nn.conv_norm(conv, norm, x.astype(np.float64))
