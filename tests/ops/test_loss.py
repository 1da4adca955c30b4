"""Design: losses as ops: derivatives, what holds for every row, ignored rows, and refusals.

Elementwise losses are differentiated on values that keep away from the kinks of |x - y|.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.ops import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    log_softmax,
    log_softmax_grad,
    mse_loss,
    nll_loss,
    nll_loss_grad,
    smooth_l1_loss,
    softmax,
)
from minigrad.ops.loss import CrossEntropy
from minigrad.tensor import Tensor
from tests.layouts import LAYOUTS, same
from tests.ops.derivatives import check, check_layouts, check_subsets, leaf
from tests.ops.objections import refuses
from tests.strategies import SEEDS, distinct

IGNORED = -100


@st.composite
def problems(draw):
    """x (N,C), labels with some ignored, weights, smoothing."""
    n, c = draw(st.integers(0, 5)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(SEEDS))
    labels = rng.integers(0, c, n)
    labels[rng.random(n) < 0.3] = IGNORED
    weight = rng.random(c) + 0.1 if draw(st.booleans()) else None
    smoothing = draw(st.sampled_from((0.0, 0.3, 1.0)))
    return 3 * rng.standard_normal((n, c)), labels, weight, smoothing


@given(problems())
def test_cross_entropy_has_right_first_and_second_derivatives(problem):
    x, labels, weight, smoothing = problem
    check(lambda x: cross_entropy(x, labels, weight, label_smoothing=smoothing), [x])


def test_cross_entropy_has_a_right_third_derivative():
    x = np.random.default_rng(0).standard_normal((4, 5))
    labels, weight = np.array([1, 0, IGNORED, 4]), np.arange(1.0, 6.0)
    check(lambda x: cross_entropy(x, labels, weight, label_smoothing=0.2), [x], order=3)


@given(problems())
def test_the_composite_is_what_the_kernel_computes(problem):
    x, labels, weight, smoothing = problem
    kernel = cross_entropy(x, labels, weight, label_smoothing=smoothing)
    composed = CrossEntropy.composite(Tensor(x), labels, weight, label_smoothing=smoothing)
    np.testing.assert_allclose(composed.data, kernel, atol=1e-12)


@given(problems())
def test_rows_of_the_gradient_sum_to_zero_and_ignored_rows_are_zero(problem):
    x, labels, weight, smoothing = problem
    t = leaf(x)
    losses = cross_entropy(t, labels, weight, label_smoothing=smoothing)
    losses.backward(np.ones(len(labels)))
    np.testing.assert_allclose(t.grad.data.sum(axis=1), 0, atol=1e-12)
    ignored = labels == IGNORED
    assert not t.grad.data[ignored].any() and not losses.data[ignored].any()


@given(problems())
def test_deleting_ignored_rows_changes_nothing(problem):
    x, labels, weight, smoothing = problem
    rest = labels != IGNORED
    full = cross_entropy(x, labels, weight, label_smoothing=smoothing)
    less = cross_entropy(x[rest], labels[rest], weight, label_smoothing=smoothing)
    assert same(np.ascontiguousarray(full[rest]), np.ascontiguousarray(less))


@pytest.mark.parametrize("shift", [1e3, -1e3, 2.0**40])
def test_a_constant_added_to_the_logits_changes_nothing(shift):
    x = distinct(np.random.default_rng(1), (4, 5))
    labels = np.array([0, 1, 2, 3])
    plain, moved = cross_entropy(x, labels), cross_entropy(x + shift, labels)
    np.testing.assert_array_equal(moved, plain)


def test_label_smoothing_is_linear():
    x = np.random.default_rng(2).standard_normal((4, 5))
    labels = np.array([0, 1, 2, 3])
    none, half, full = (cross_entropy(x, labels, label_smoothing=e) for e in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (none + full) / 2, rtol=1e-13)


def test_a_single_class_costs_nothing():
    np.testing.assert_array_equal(cross_entropy(np.array([[3.0], [-5.0]]), np.array([0, 0])), 0)


def test_large_logits_stay_finite():
    x = leaf(np.array([[1e4, -1e4, 0.0]]))
    loss = cross_entropy(x, np.array([1]))
    loss.backward(np.ones(1))
    np.testing.assert_array_equal(loss.data, [2e4])
    np.testing.assert_array_equal(x.grad.data, [[1.0, -1.0, 0.0]])


def test_a_class_that_is_masked_by_minus_infinity_gets_no_probability():
    x = leaf(np.array([[0.0, -np.inf, 0.0]]))
    loss = cross_entropy(x, np.array([0]))
    loss.backward(np.ones(1))
    np.testing.assert_allclose(loss.data, [np.log(2)])
    np.testing.assert_allclose(x.grad.data, [[-0.5, 0.0, 0.5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_labels_of_any_integer_dtype_do(dtype):
    x = np.random.default_rng(3).standard_normal((4, 5))
    labels = np.array([0, 4, 2, 3])
    for op in (cross_entropy, nll_loss):
        t = leaf(x)
        losses = op(t, labels.astype(dtype))
        losses.backward(np.ones(4))
        assert same(losses.data, op(x, labels)) and t.grad.shape == x.shape


@given(problems())
def test_nll_loss_has_right_first_and_second_derivatives(problem):
    x, labels, weight, _ = problem
    check(lambda x: nll_loss(x, labels, weight), [x], "linear")


@given(problems())
def test_nll_loss_grad_is_the_adjoint(problem):
    x, labels, weight, _ = problem
    g = np.random.default_rng(4).standard_normal(len(labels))
    gx = nll_loss_grad(g, labels, weight, classes=x.shape[1])
    np.testing.assert_allclose((nll_loss(x, labels, weight) * g).sum(), (x * gx).sum(), atol=1e-12)


@given(problems())
def test_cross_entropy_is_nll_loss_of_log_softmax(problem):
    x, labels, weight, _ = problem
    split = nll_loss(log_softmax(x, axis=1), labels, weight)
    np.testing.assert_allclose(cross_entropy(x, labels, weight), split, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("op", [softmax, log_softmax])
def test_softmax_has_right_derivatives_along_every_axis(op, axis):
    x = np.random.default_rng(5).standard_normal((2, 3, 4))
    check(lambda x: op(x, axis=axis), [x], order=3)
    total = (np.exp(op(x, axis=axis)) if op is log_softmax else op(x, axis=axis)).sum(axis)
    np.testing.assert_allclose(total, 1, rtol=1e-14)


def test_log_softmax_grad_has_right_derivatives_itself():
    gy, y = np.random.default_rng(6).standard_normal((2, 3, 4))
    check(lambda gy, y: log_softmax_grad(gy, y, axis=1), [gy, y])


@pytest.mark.parametrize("op", [softmax, log_softmax])
def test_softmax_of_nothing_is_nothing(op):
    x = leaf(np.zeros((0, 3)))
    op(x, axis=1).sum().backward()
    assert x.grad.shape == (0, 3)
    assert op(np.zeros((3, 0)), axis=1).shape == (3, 0)


ELEMENTWISE = {
    "mse": mse_loss,
    "l1": l1_loss,
    "smooth_l1": lambda x, y: smooth_l1_loss(x, y, beta=0.5),
    "bce": binary_cross_entropy_with_logits,
}


def apart(name, shape, seed=0):
    """x and y whose difference is at least 2^-4 away from the loss's kinks."""
    rng = np.random.default_rng(seed)
    y = rng.random(shape)
    kinks = {"l1": (0,), "smooth_l1": (-0.5, 0.5)}.get(name, ())
    d = rng.standard_normal(shape)
    for kink in kinks:
        d = np.where(abs(d - kink) < 2.0**-4, d + 2.0**-3, d)
    return [y + d, y]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_have_right_first_and_second_derivatives(name):
    check(ELEMENTWISE[name], apart(name, (3, 4)))
    check_subsets(ELEMENTWISE[name], apart(name, (3, 4)))


def test_l1_loss_has_derivative_zero_at_zero():
    x = leaf(np.array([1.0, 2.0]))
    l1_loss(x, np.array([1.0, 5.0])).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0.0, -1.0])


def test_smooth_l1_loss_joins_its_pieces_smoothly():
    x = leaf(np.array([0.5, 0.5 + 1e-12, -0.5]))
    loss = smooth_l1_loss(x, np.zeros(3), beta=0.5)
    loss.sum().backward()
    np.testing.assert_allclose(loss.data, 0.25, rtol=1e-11)
    np.testing.assert_array_equal(x.grad.data, [1.0, 1.0, -1.0])


def test_binary_cross_entropy_is_exact_far_out():
    x = leaf(np.array([800.0, -800.0]))
    loss = binary_cross_entropy_with_logits(x, np.array([0.0, 1.0]))
    loss.sum().backward()
    np.testing.assert_array_equal(loss.data, [800.0, 800.0])
    np.testing.assert_array_equal(x.grad.data, [1.0, -1.0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_change_nothing(layout):
    labels, x = np.array([0, 4, 2]), np.random.default_rng(7).standard_normal((3, 5))
    check_layouts(lambda x: cross_entropy(x, labels), [x], layout)
    check_layouts(lambda x: nll_loss(x, labels), [x], layout)
    check_layouts(lambda x: log_softmax(x, axis=0), [x], layout, exact=False)
    check_layouts(lambda x: softmax(x, axis=1), [x], layout, exact=False)
    for name, f in ELEMENTWISE.items():
        check_layouts(f, apart(name, (3, 5)), layout)


X = np.zeros((4, 10), np.float32)
Y = np.array([1, 2, 3, 4])
T = np.zeros((4, 1), np.float32)

BAD = {
    "label C": (ArgError, r"target\[3\] = 10 is no class: C = 10, classes are 0 to 9",
                lambda: F.cross_entropy(X, np.array([0, 1, 9, 10]))),
    "label -1": (ArgError, r"target\[1\] = -1 is no class",
                 lambda: F.cross_entropy(X, np.array([0, -1, 9, 10]))),
    "nll label": (ArgError, r"target\[0\] = 11 is no class",
                  lambda: F.nll_loss(X, np.array([11, 1, 9, 1]))),
    "float labels": (DTypeError, r"must be integers, got float64; cast with \.astype\(np\.int64\)",
                     lambda: F.cross_entropy(X, Y.astype(float))),
    "bool labels": (DTypeError, r"must be integers, got bool", lambda: F.cross_entropy(X, Y > 2)),
    "one-hot": (DTypeError, r"if it is one-hot, pass target\.argmax\(axis=1\)",
                lambda: F.cross_entropy(X, np.zeros((4, 10), np.int64))),
    "nll one-hot": (DTypeError, r"one-hot", lambda: F.nll_loss(X, np.zeros((4, 10), np.int64))),
    "labels None": (DTypeError, r"got NoneType", lambda: F.cross_entropy(X, None)),
    "labels short": (ShapeError, r"x \(4, 10\) needs target of shape \(4,\), got \(3,\)",
                     lambda: F.cross_entropy(X, Y[:3])),
    "all ignored": (ArgError, r"nothing to average.*ignore_index.*use reduction='sum'",
                    lambda: F.cross_entropy(X, np.full(4, -100))),
    "no rows": (ArgError, r"nothing to average", lambda: F.cross_entropy(X[:0], Y[:0])),
    "nll all ignored": (ArgError, r"nothing to average", lambda: F.nll_loss(X, np.full(4, -100))),
    "weight length": (ShapeError, r"weight has shape \(4,\), expected \(10,\), one per class",
                      lambda: F.cross_entropy(X, Y, X[:, 0])),
    "weight negative": (ArgError, r"weight must not be negative",
                        lambda: F.cross_entropy(X, Y, X[0] - 1)),
    "weight nan": (ArgError, r"weight must not be negative or NaN",
                   lambda: F.nll_loss(X, Y, X[0] * np.nan)),
    "weight dtype": (DTypeError, r"float32.*float64",
                     lambda: F.cross_entropy(X, Y, np.ones(10))),
    "smoothing 2": (ArgError, r"label_smoothing must be in \[0, 1\], got 2",
                    lambda: F.cross_entropy(X, Y, label_smoothing=2)),
    "soft smoothing": (ArgError, r"label_smoothing must be in",
                       lambda: F.cross_entropy(X, X, label_smoothing=-0.1)),
    "soft dtype": (DTypeError, r"float32.*float64",
                   lambda: F.cross_entropy(X, X.astype(float))),
    "soft weight": (ShapeError, r"weight has shape \(4,\)",
                    lambda: F.cross_entropy(X, X, X[:, 0])),
    "reduction": (ArgError, r"reduction must be 'none', 'mean' or 'sum', got 'avg'",
                  lambda: F.cross_entropy(X, Y, reduction="avg")),
    "logits int": (DTypeError, r"x is int64", lambda: F.cross_entropy(X.astype(np.int64), Y)),
    "logits None": (DTypeError, r"got NoneType", lambda: F.cross_entropy(None, Y)),
    "softmax axis": (ArgError, r"axis 2 is out of range for 2 axes", lambda: F.softmax(X, 2)),
    "softmax axis low": (ArgError, r"axis must be at least -2, got -3",
                         lambda: F.log_softmax(X, -3)),
    "softmax axis float": (TypeError, r"axis must be an int", lambda: F.log_softmax(X, 1.0)),
    "softmax int": (DTypeError, r"x is int64", lambda: F.softmax(Y)),
    "mse shape": (ShapeError, r"input has shape \(4, 1\) but target has \(4,\)",
                  lambda: F.mse_loss(T, T[:, 0])),
    "mse dtype": (DTypeError, r"float32.*float64", lambda: F.mse_loss(T, T.astype(float))),
    "mse int": (DTypeError, r"target is int64", lambda: F.mse_loss(T, T.astype(np.int64))),
    "mse of nothing": (ArgError, r"nothing to average", lambda: F.mse_loss(T[:0], T[:0])),
    "l1 shape": (ShapeError, r"nearly always a mistake", lambda: F.l1_loss(T, T[:, 0])),
    "smooth beta": (ArgError, r"beta must be positive, got -1",
                    lambda: F.smooth_l1_loss(T, T, beta=-1.0)),
    "bce shape": (ShapeError, r"binary_cross_entropy_with_logits: input has shape",
                  lambda: F.binary_cross_entropy_with_logits(T, T[:, 0])),
    "bce pos_weight": (ShapeError, r"weight and pos_weight must broadcast to x's shape \(4, 1\)",
                       lambda: F.binary_cross_entropy_with_logits(T, T, pos_weight=X[0])),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_numbers_and_a_way_out(name):
    kind, pattern, call = BAD[name]
    refuses(kind, pattern, call)
