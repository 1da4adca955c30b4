"""Design: a Sequential is its modules, one after the other, whatever it plays as one; the nodes of
the tape and what hooks see are the witnesses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.show import tape_of
from tests.strategies import SEEDS
from zoo.parts import BatchNormReLU, ConvReLU

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
    "tanh": nn.Tanh,
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
    kinds = [kind for kind, _ in row]
    pairs = {"conv", "norm"} <= set(kinds)  # in training their statistics are sums of another order
    for a, b in zip(played(modules, watched, x, net), want, strict=True):
        scale = pairs and training and 1e-3 * (1 + np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=scale)


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


# -- a linear layer and the ReLU behind it --------------------------------------------------------


def op_names(t):
    """The ops that made t, the last first, along the first input."""
    names, node = [], t.node
    while node is not None and node.name != "leaf":
        names.append(node.name)
        node = node.parents[0]
    return names


def mlp():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3))


def one_by_one(net, x):
    for layer in net:
        x = layer(x)
    return x


def test_sequential_plays_a_relu_in_the_linear_layer_before_it():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, 6)).astype(np.float32)
    net, found = mlp(), []
    for play in (net, lambda t: one_by_one(net, t)):
        t = mg.Tensor(x).requires_grad_()
        net.zero_grad()
        y = play(t)
        y.backward(mg.ones(8, 3))
        found.append([y.data, t.grad.data, *(p.grad.data for p in net.parameters())])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    t = mg.Tensor(x).requires_grad_()
    assert op_names(net(t)) == ["linear", "tanh", "linear", "linear_relu"]
    assert op_names(one_by_one(net, t)) == ["linear", "tanh", "linear", "relu", "linear"]


def test_sequential_plays_a_tanh_in_the_average_pool_behind_it_unless_a_hook_watches():
    net = nn.Sequential(nn.Tanh(), nn.AvgPool2d(2))
    x = mg.randn(2, 3, 4, 6).requires_grad_()
    assert op_names(net(x)) == ["tanh_avg_pool2d"]
    for module in net:
        remove = module.register_forward_hook(lambda module, inputs, output: None)
        assert op_names(net(x)) == ["avg_pool2d", "tanh"]
        remove()


@pytest.mark.parametrize("watched", [0, 1])
def test_a_hook_sees_the_linear_layer_and_the_relu(watched):
    net, seen = mlp(), []
    x = mg.Tensor(np.random.default_rng(6).standard_normal((8, 6)).astype(np.float32))
    remove = net[watched].register_forward_hook(lambda module, inputs, output: seen.append(output))
    y = net(x.requires_grad_())
    assert op_names(y)[-2:] == ["relu", "linear"]
    (got,) = seen
    assert np.array_equal(got.data, one_by_one(net[: watched + 1], x).data)
    remove()
    assert op_names(net(x))[-1] == "linear_relu"


def test_a_linear_layer_that_is_not_followed_by_a_relu_itself_is_left_alone():
    class Louder(nn.ReLU):
        def forward(self, x):
            return super().forward(x) * 2.0

    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1.0

    x = mg.ones(2, 6, requires_grad=True)
    assert op_names(nn.Sequential(nn.Linear(6, 3), Louder())(x)) == ["mul", "relu", "linear"]
    assert op_names(nn.Sequential(Own(6, 3), nn.ReLU())(x)) == ["relu", "add", "linear"]
    assert op_names(nn.Sequential(nn.Linear(6, 3))(x)) == ["linear"]
