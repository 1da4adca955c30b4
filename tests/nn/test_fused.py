"""Design: conv_norm is the two layers, one after the other; in evaluation it is one pass.  A
Sequential is its modules, one after the other, whatever it plays as one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.fused import one_pass
from minigrad.show import tape_of
from tests.strategies import SEEDS
from zoo.parts import BatchNormReLU, ConvReLU


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


def test_training_and_gradients_take_the_two_layers():
    conv, norm, rng = layers(1, 4, 6)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    assert not one_pass(conv, norm, x, None)  # something may be recorded
    y = nn.conv_norm(conv, norm, x)
    assert y.requires_grad
    with mg.no_grad():
        assert one_pass(conv, norm, x, None)
        norm.train()
        assert not one_pass(conv, norm, x, None)
        nn.conv_norm(conv, norm, x)
    assert int(norm.num_batches_tracked.data) == 1


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
def test_depthwise_and_misfits_are_left_to_the_layers(groups):
    conv, norm, rng = layers(4, 4, 4, groups=groups)
    x = mg.tensor(rng.standard_normal((2, 4, 7, 7)).astype(np.float32))
    with mg.no_grad():
        assert one_pass(conv, norm, x, None) is (groups == 1)
        np.testing.assert_allclose(
            nn.conv_norm(conv, norm, x).data, norm(conv(x)).data, rtol=1e-4, atol=1e-4
        )
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, norm, x[:, :3])
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, nn.BatchNorm2d(5).eval(), x)
        with pytest.raises(mg.errors.ShapeError):
            nn.conv_norm(conv, norm, x, x)
        with pytest.raises(mg.errors.DTypeError):
            nn.conv_norm(conv, norm, x.astype(np.float64))


KINDS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "conv and relu": lambda: ConvReLU(4, 4, 3, padding=1),
    "norm": lambda: nn.BatchNorm2d(4),
    "norm and relu": lambda: BatchNormReLU(4),
    "relu": nn.ReLU,
    "other": lambda: nn.LeakyReLU(0.5),
    "pool": lambda: nn.MaxPool2d(2, 1, 1),
    "padded pool": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "dilated pool": lambda: nn.MaxPool2d(2, 1, 1, dilation=2),
    "average": lambda: nn.AvgPool2d(2, 1, padding=1),
}
rows = st.lists(st.tuples(st.sampled_from(list(KINDS)), st.booleans()), min_size=1, max_size=6)


def played(modules, watched, x, call):
    """y, what hooks on the watched modules saw, and all gradients."""
    for module in modules:
        module.zero_grad()
    seen = []
    hooks = [m.register_forward_hook(lambda m, i, y: seen.extend([i[0].data, y.data]))
             for m, watch in zip(modules, watched, strict=True) if watch]  # fmt: skip
    t = mg.tensor(x, requires_grad=True)
    y = call(t)
    for remove in hooks:
        remove()
    y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(np.float32))
    return [y.data, *seen, t.grad.data, *(p.grad.data for m in modules for p in m.parameters())]


@given(rows, st.booleans(), SEEDS)
def test_a_sequence_gives_what_its_modules_give_and_hooks_see_what_they_saw(row, training, seed):
    modules = [KINDS[kind]() for kind, _ in row]
    watched = [watch for _, watch in row]
    net = nn.Sequential(*modules)
    net.train(training)
    x = np.random.default_rng(seed).standard_normal((3, 4, 3, 5)).astype(np.float32)

    def one_by_one(y):
        for module in modules:
            y = module(y)
        return y

    want = played(modules, watched, x, one_by_one)
    for a, b in zip(played(modules, watched, x, net), want, strict=True):
        np.testing.assert_array_equal(a, b)


def kept(y):
    """The shapes of what the tape under y keeps."""
    return [a.shape for node in tape_of(y) for _, a in node.kept_items()]


@pytest.mark.parametrize("make", [lambda: [nn.Conv2d(3, 8, 3), nn.ReLU()],
                                  lambda: [ConvReLU(3, 8, 3)]])  # fmt: skip
def test_a_map_that_only_a_pool_reads_is_not_kept(make):
    layers = make()
    x = mg.randn(2, 3, 10, 12)
    assert (2, 8, 8, 10) in kept(nn.Sequential(*layers)(x))  # the mask of the ReLU
    y = nn.Sequential(*layers, nn.MaxPool2d(2))(x)
    assert (2, 8, 8, 10) not in kept(y) and (2, 8, 4, 5) in kept(y)
    assert [node.name for node in tape_of(y)][-2:] == ["conv2d", "max_pool2d"]
    watched = nn.MaxPool2d(2)
    watched.register_forward_hook(lambda *_: None)
    assert (2, 8, 8, 10) in kept(nn.Sequential(*layers, watched)(x))


def test_places_of_maxima_are_those_of_the_rectified_map():
    x = mg.tensor(np.full((1, 1, 1, 2), [[-2.0, -1.0]], np.float32))
    y, places = nn.Sequential(nn.ReLU(), nn.MaxPool2d((1, 2), return_indices=True))(x)
    assert (y.item(), places.item()) == (0.0, 0)


def test_a_window_past_all_pixels_is_minus_infinity_behind_a_relu_as_well():
    pool = nn.MaxPool2d((1, 2), 1, (0, 1), dilation=(1, 2))
    x = mg.tensor(np.full((1, 1, 1, 1), 7.0, np.float32))
    assert nn.Sequential(nn.ReLU(), pool)(x).item() == pool(nn.ReLU()(x)).item() == -np.inf
    assert nn.Sequential(pool, nn.ReLU())(x).item() == nn.ReLU()(pool(x)).item() == 0


def test_takes_relu_wants_a_keyword_with_a_default():
    for forward in (lambda self, x: x, lambda self, x, relu=False: x, lambda self, x, *, relu: x):
        with pytest.raises(mg.errors.ArgError, match="has no keyword argument relu"):
            nn.takes_relu(forward)
