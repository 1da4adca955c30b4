"""Design: what every function of `functional` owes: derivatives, dtype, plain arrays."""

import numpy as np
import pytest

import minigrad.functional as F
from minigrad.autograd import grad
from minigrad.tensor import Tensor
from tests.layouts import same
from tests.ops.derivatives import check, leaf

# What PyTorch 2 calls the arguments, in its order, without the legacy ones.


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


SMOOTH = {
    "elu": {"alpha": 0.7},
    "gelu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "log_softmax": {"dim": 0},
    "logsigmoid": {},
    "relu": {},
    "relu6": {},
    "sigmoid": {},
    "silu": {},
    "softmax": {"dim": 0},
    "softplus": {"beta": 2.0},
    "tanh": {},
}


@pytest.mark.parametrize("name", SMOOTH)
def test_activations_have_right_first_and_second_derivatives(name):
    x = np.linspace(-3.3, 3.1, 12).reshape(3, 4)  # away from 0 and 6
    check(lambda x: getattr(F, name)(x, **SMOOTH[name]), [x])


LABELS = np.array([1, 0, -100, 3])

CALLS = {
    "conv2d": (((2, 3, 5, 6), (4, 3, 2, 2), (4,)), F.conv2d),
    "conv_transpose2d": (((2, 3, 5, 6), (3, 4, 2, 2), (4,)), F.conv_transpose2d),
    "max_pool2d": (((2, 3, 6, 6),), lambda x: F.max_pool2d(x, 2)),
    "avg_pool2d": (((2, 3, 6, 6),), lambda x: F.avg_pool2d(x, 2)),
    "adaptive_avg_pool2d": (((2, 3, 5, 7),), lambda x: F.adaptive_avg_pool2d(x, (2, 3))),
    "global_avg_pool2d": (((2, 3, 5, 7),), F.global_avg_pool2d),
    "batch_norm": (((4, 3), (3,), (3,)), lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "layer_norm": (((4, 3), (3,), (3,)), lambda x, w, b: F.layer_norm(x, 3, w, b)),
    "group_norm": (((4, 6), (6,), (6,)), lambda x, w, b: F.group_norm(x, 2, w, b)),
    "local_response_norm": (((2, 5, 3, 3),), lambda x: F.local_response_norm(x, 3)),
    "cross_entropy": (((4, 5),), lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1)),
    "cross_entropy, soft": (((4, 5), (4, 5)), lambda x, q: F.cross_entropy(x, q)),
    "nll_loss": (((4, 5),), lambda x: F.nll_loss(x, LABELS)),
    "mse_loss": (((4, 5), (4, 5)), F.mse_loss),
    "l1_loss": (((4, 5), (4, 5)), F.l1_loss),
    "smooth_l1_loss": (((4, 5), (4, 5)), F.smooth_l1_loss),
    "binary_cross_entropy": (((4, 5), (4, 5)), F.binary_cross_entropy_with_logits),
    "softmax": (((4, 5),), lambda x: F.softmax(x, 0)),
    "log_softmax": (((4, 5),), F.log_softmax),
    "linear": (((4, 5), (3, 5), (3,)), F.linear),
    "dropout": (((4, 5),), F.dropout),
    "pad": (((4, 5),), lambda x: F.pad(x, (1, 2))),
}


@pytest.mark.parametrize("name", CALLS)
def test_float32_stays_float32_in_every_derivative(name):
    shapes, f = CALLS[name]
    xs = [leaf(image(*s).astype(np.float32)) for s in shapes]
    y = f(*xs)
    assert y.dtype == np.float32
    first = grad([(y * y).sum()], xs, create_graph=True, allow_unused=True)
    total = sum(((g * g).sum() for g in first if g is not None), y.sum())
    total.backward()
    for g in (*first, *(x.grad for x in xs)):
        assert g is None or (g.dtype == np.float32 and np.isfinite(g.data).all())


NUMBERS = {
    "layer_norm": lambda x, n: F.layer_norm(x, 5, eps=n),
    "group_norm": lambda x, n: F.group_norm(x, 5, eps=n),
    "batch_norm": lambda x, n: F.batch_norm(x, None, None, training=True, eps=n, momentum=n),
    "local_response_norm": lambda x, n: F.local_response_norm(x[..., None], 3, n, n, n),
    "smooth_l1_loss": lambda x, n: F.smooth_l1_loss(x, x * 2.0, beta=n),
    "cross_entropy": lambda x, n: F.cross_entropy(x[..., 0], LABELS, label_smoothing=n),
    "soft cross_entropy": lambda x, n: F.cross_entropy(x, x, label_smoothing=n),
    "leaky_relu": lambda x, n: F.leaky_relu(x, n),
    "elu": lambda x, n: F.elu(x, n),
    "softplus": lambda x, n: F.softplus(x, n, n),
    "dropout": lambda x, n: F.dropout(x, float(n)),
    "pad": lambda x, n: F.pad(x, (1, 0), value=n),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_numpy_number_as_argument_does_not_change_the_dtype(name):
    x = leaf(image(4, 5, 3 if name != "layer_norm" else 5).astype(np.float32))
    y = NUMBERS[name](x, np.float64(0.5))
    assert y.dtype == np.float32
    (g,) = grad([(y * y).sum()], [x], create_graph=True)
    (g * g).sum().backward()
    assert g.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize("name", [n for n in CALLS if n != "dropout"])
def test_plain_arrays_are_only_computed_and_give_the_same_bits(name):
    shapes, f = CALLS[name]
    xs = [image(*s) for s in shapes]
    y, t = f(*xs), f(*(leaf(x) for x in xs))
    assert not isinstance(y, Tensor) and same(np.asarray(y), t.data)
