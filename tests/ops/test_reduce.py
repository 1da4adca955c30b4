"""Design: sums, moments, products, extremes and norms; values at ties, zeros and infinities;
float32 accuracy; NumPy as the judge of the forward pass. The general demands are in `checks.py`."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, DTypeError, ShapeError
from tests.ops.checks import CHECKS, Case, third_order

X = (2, 3, 4)
AXES = (None, 0, -1, (0, 2), (1, 2), ())
FLAT = ("sum", "mean", "max", "min")


def reduction(op, axis, keepdims, **constants):
    return lambda x: op(x, axis=axis, keepdims=keepdims, **constants)


CASES = [
    Case(
        f"{op.__name__} axis={axis} keepdims={keepdims}",
        reduction(op, axis, keepdims),
        (X,),
        "positive" if op is ops.prod else "any",
        flat=op.__name__ in FLAT or (op is ops.prod and axis == ()),
        tol=1e-7,
    )
    for op in (ops.sum, ops.mean, ops.max, ops.min, ops.prod, ops.logsumexp)
    for axis, keepdims in itertools.product(AXES, (False, True))
    if not (op in (ops.max, ops.min) and axis == () and keepdims)
]
CASES += [
    Case(f"{op.__name__} {axis} {d}", reduction(op, axis, k, correction=d), (X,), tol=1e-7)
    for op in (ops.var, ops.std)
    for axis, k, d in ((None, False, 0), (None, True, 1), (1, False, 1), ((0, 2), True, 0))
]
CASES += [
    Case(
        f"norm axis={axis} ord={p}",
        reduction(ops.norm, axis, k, ord=p),
        (X,),
        "positive" if p == 1.5 else "any",
        tol=1e-6,
        flat=p in (1, math.inf),
    )
    for p in (1, 1.5, 2, 3, math.inf)
    for axis, k in ((None, False), (1, True), ((0, 2), False))
]
CASES += [
    Case(f"cumsum axis={axis}", lambda x, a=axis: ops.cumsum(x, axis=a), (X,), flat=True)
    for axis in (None, 0, 1, -1)
]
CASES += [Case("prod of 5", lambda x: ops.prod(x, axis=0), ((5, 2),))]
CASES = [c for c in CASES if "logsumexp axis=()" not in c.name]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rules_are_derivatives(case, check):
    check(case)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if not c.flat and c.name.split()[0] in ("var", "std", "logsumexp", "norm")],
    ids=repr,
)
def test_rules_have_derivatives_of_every_order(case):
    if case.name.startswith("var"):  # a parabola in x, a product with something else
        call = case.call
        case = Case(case.name, lambda x: call(x * x), case.shapes, tol=case.tol)
    third_order(case)


NUMPY = {
    "sum": (ops.sum, np.sum),
    "mean": (ops.mean, np.mean),
    "var": (ops.var, np.var),
    "std": (ops.std, np.std),
    "max": (ops.max, np.max),
    "min": (ops.min, np.min),
    "prod": (ops.prod, np.prod),
}


@given(
    st.sampled_from(sorted(NUMPY)),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
    st.booleans(),
    st.data(),
)
def test_same_as_numpy_for_any_axes(name, shape, keepdims, data):
    ours, numpys = NUMPY[name]
    axes = hnp.valid_tuple_axes(len(shape)) if shape else st.just(())
    axis = data.draw(st.none() | axes)
    x = np.random.default_rng(0).normal(size=shape)
    x = np.asarray(x)
    got = ours(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(got, numpys(x, axis=axis, keepdims=keepdims), rtol=1e-14, atol=1e-15)
    t = mg.Tensor(x).requires_grad_()
    ours(t, axis=axis, keepdims=keepdims).sum().backward()
    assert t.grad.shape == shape and np.isfinite(t.grad.numpy()).all()


def grad_of(call, a):
    x = mg.Tensor(np.asarray(a, np.float64)).requires_grad_()
    call(x).sum().backward()
    return x.grad.tolist()


# -- ties, zeros, infinities ----------------------------------------------------------------------


def test_max_and_min_share_the_gradient_evenly_among_ties():
    assert grad_of(lambda x: x.max(), [3.0, 1.0, 3.0]) == [0.5, 0.0, 0.5]
    assert grad_of(lambda x: x.min(axis=0), [[2.0, 1.0], [2.0, 3.0]]) == [[0.5, 1.0], [0.5, 0.0]]
    assert grad_of(lambda x: x.max(axis=(0, 1)), np.ones((2, 2))) == [[0.25, 0.25], [0.25, 0.25]]


def test_nan_wins_a_maximum_and_gets_the_gradient():
    x = mg.Tensor(np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]])).requires_grad_()
    y = x.max(axis=1)
    assert np.isnan(y.numpy()[0]) and y.numpy()[1] == 3.0
    y.backward(mg.Tensor(np.ones(2)))
    assert x.grad.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("x", "want"),
    [
        ([2.0, 0.0, 5.0], [0.0, 10.0, 0.0]),
        ([0.0, 3.0, 0.0], [0.0, 0.0, 0.0]),
        ([2.0, 3.0, 5.0, 7.0, 1.0], [105.0, 70.0, 42.0, 30.0, 210.0]),
        ([4.0], [1.0]),
        ([], []),
    ],
)
def test_prod_is_right_with_zeros(x, want):
    assert grad_of(lambda x: x.prod(), x) == want


def test_prod_with_two_zeros_has_a_second_derivative():
    x = mg.Tensor(np.array([0.0, 3.0, 0.0])).requires_grad_()
    (g,) = mg.grad(x.prod(), x, create_graph=True)
    rows = [mg.grad(g[i], x, retain_graph=True)[0].tolist() for i in range(3)]
    assert rows == [[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]


def test_prod_has_every_derivative():
    x = mg.Tensor(np.array([2.0, 3.0, 5.0])).requires_grad_()
    y = x.prod()
    for i in range(3):
        y = mg.grad(y, x, create_graph=True)[0][i]
    assert y.item() == 1.0


def test_std_of_equal_numbers_and_norm_of_zeros_have_slope_zero():
    assert grad_of(lambda x: x.std(), [2.0, 2.0, 2.0]) == [0.0, 0.0, 0.0]
    for p in (1, 1.5, 2, math.inf):
        assert grad_of(lambda x, p=p: ops.norm(x, ord=p), [0.0, 0.0]) == [0.0, 0.0]
    x = mg.Tensor(np.zeros(2)).requires_grad_()
    (g,) = mg.grad(ops.norm(x), x, create_graph=True)
    assert mg.grad(g.sum(), x)[0].tolist() == [0.0, 0.0]


def test_logsumexp_does_not_overflow_and_takes_infinities():
    x = np.array([[1000.0, 1000.0], [-1000.0, -1001.0], [-np.inf, 0.0], [-np.inf, -np.inf]])
    t = mg.Tensor(x).requires_grad_()
    y = ops.logsumexp(t, axis=1)
    want = [1000 + math.log(2), -1000 + math.log1p(math.exp(-1)), 0.0, -math.inf]
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-15)
    y.backward(mg.Tensor(np.ones(4)))
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(
        t.grad.numpy(), [[0.5, 0.5], [p, 1 - p], [0.0, 1.0], [0.0, 0.0]], rtol=1e-12
    )
    assert ops.logsumexp(np.array([np.inf, 0.0])) == np.inf
    assert np.isnan(ops.logsumexp(np.array([np.nan, 0.0])))


def test_variance_of_one_number_is_zero_and_nan_with_correction_one():
    assert grad_of(lambda x: x.var(), [3.0]) == [0.0]
    with pytest.warns(RuntimeWarning):
        y = mg.Tensor(np.array([3.0])).var(ddof=1)
    assert math.isnan(y.item())


def test_empty_sums_and_products():
    x = mg.Tensor(np.ones((0, 3))).requires_grad_()
    assert x.sum().item() == 0.0 and x.prod().item() == 1.0
    assert x.sum(axis=0).tolist() == [0.0] * 3 and x.prod(axis=0).tolist() == [1.0] * 3
    assert ops.norm(x).item() == 0.0 and ops.logsumexp(x).item() == -math.inf
    for y in (x.sum(), x.prod(axis=0), x.max(axis=1), x.mean(axis=1), x.cumsum(), ops.norm(x)):
        assert mg.grad(y, x, mg.Tensor(np.ones(y.shape)), retain_graph=True)[0].shape == (0, 3)


# -- float32 --------------------------------------------------------------------------------------


def test_float32_moments_are_added_up_in_float64():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(100_000, 3)) + 1000.0).astype(np.float32)
    for ours, numpys in ((ops.mean, np.mean), (ops.var, np.var), (ops.std, np.std)):
        got = ours(x, axis=0)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, numpys(x.astype(np.float64), axis=0), rtol=1e-6)


def test_float32_norm_does_not_overflow_in_the_squares():
    assert ops.norm(np.array([3e30, 4e30], np.float32)) == np.float32(5e30)
    assert ops.norm(np.array([3e-30, 4e-30], np.float32)) == np.float32(5e-30)


# -- bad input ------------------------------------------------------------------------------------

NAMED = [ops.sum, ops.mean, ops.var, ops.std, ops.max, ops.min, ops.prod, ops.logsumexp, ops.norm]


@pytest.mark.parametrize("op", [*NAMED, ops.cumsum], ids=lambda o: o.__name__)
def test_a_bad_axis_names_the_op_and_the_shape(op):
    with pytest.raises(ArgError, match=rf"{op.__name__}: axis 3 is out of range.*\(2, 3, 4\)"):
        op(np.ones(X), axis=3)
    with pytest.raises(TypeError, match=rf"{op.__name__}: axis must be an int"):
        op(np.ones(X), axis=1.5)


@pytest.mark.parametrize("op", NAMED, ids=lambda o: o.__name__)
def test_an_axis_named_twice(op):
    with pytest.raises(ArgError, match=rf"{op.__name__}: axis \(1, 1\) .*name each axis once"):
        op(np.ones(X), axis=(1, 1))


@pytest.mark.parametrize("op", [ops.max, ops.min], ids=lambda o: o.__name__)
def test_no_element_to_choose_from(op):
    with pytest.raises(ShapeError, match=rf"{op.__name__}: x of shape \(0, 3\) has no element"):
        op(np.ones((0, 3)), axis=0)


def test_norm_wants_an_order_that_is_a_norm():
    for bad in (0, 0.5, -1, math.nan, "fro", None, True):
        with pytest.raises(ArgError, match=r"norm: ord must be a number from 1 to inf"):
            ops.norm(np.ones(3), ord=bad)
    for op in (ops.norm, ops.logsumexp):
        with pytest.raises(DTypeError, match=f"{op.__name__}: x is int64"):
            op(np.ones(3, int))
