"""Design: arithmetic, functions and choices, element by element; what happens at kinks, at 0, at
infinity, and with Python numbers on either side. The general demands are in `checks.py`."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, DTypeError, ShapeError
from tests.ops.checks import CHECKS, Case, third_order

TWO = ((3, 4), (3, 4))
ROW = ((3, 4), (4,))
BOTH = ((3, 1), (1, 4))
CONDITION = np.array([[True, False, True, False], [False, True, True, False]])

FLAT = ("add", "sub", "maximum", "minimum", "neg", "abs", "relu", "leaky_relu")

CASES = [
    *(
        Case(f"{op.__name__} {where}", op, shapes, "positive", flat=op.__name__ in FLAT)
        for op in (ops.add, ops.sub, ops.mul, ops.div, ops.pow, ops.maximum, ops.minimum)
        for where, shapes in (("same", TWO), ("row", ROW), ("both", BOTH), ("0-d", ((2, 3), ())))
    ),
    *(
        Case(op.__name__, op, ((3, 5),), flat=op.__name__ in FLAT)
        for op in (
            ops.neg, ops.exp, ops.abs, ops.sin, ops.cos, ops.tanh, ops.sigmoid, ops.relu,
            ops.leaky_relu, ops.elu, ops.gelu, ops.softplus, ops.erf,
        )
    ),
    Case("log", ops.log, ((3, 5),), "positive", tol=1e-7),
    Case("sqrt", ops.sqrt, ((3, 5),), "positive"),
    Case("gelu tanh", lambda x: ops.gelu(x, approximate="tanh"), ((3, 5),)),
    Case("elu alpha", lambda x: ops.elu(x, alpha=0.3), ((3, 5),)),
    Case("softplus beta", lambda x: ops.softplus(x, beta=3.0, threshold=0.5), ((3, 5),)),
    Case("leaky slope", lambda x: ops.leaky_relu(x, negative_slope=0.3), ((3, 5),), flat=True),
    Case("clip", lambda x: ops.clip(x, min=-0.125, max=0.25), ((3, 5),), flat=True),
    Case("clip below", lambda x: ops.clip(x, min=-0.125), ((3, 5),), flat=True),
    Case("where", lambda x, y: ops.where(CONDITION, x, y), ((2, 4), (4,)), flat=True),
    Case("where number", lambda x: ops.where(CONDITION, 2.0, x), ((2, 4),), flat=True),
    Case("relu_grad", lambda g: ops.relu_grad(g, np.ones((3, 4), g.dtype)), ((3, 4),), flat=True),
    Case("x ** 3", lambda x: x**3, ((3, 4),)),
    Case("x ** 2", lambda x: x**2, ((3, 4),)),
    Case("x ** 1", lambda x: x**1 * 2.0, ((3, 4),), flat=True),
    Case("x ** -1.5", lambda x: x**-1.5, ((3, 4),), "positive", tol=1e-6),
    Case("2 ** x", lambda x: 2**x, ((3, 4),)),
    Case("1 - x", lambda x: 1 - x, ((3, 4),), flat=True),
    Case("3 / x", lambda x: 3 / x, ((3, 4),), "positive", tol=1e-6),
    Case("x / 4", lambda x: x / 4, ((3, 4),), flat=True),
    Case("clone", lambda x: x.clone(), ((3, 4),), flat=True),
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rules_are_derivatives(case, check):
    check(case)


QUADRATIC = ("mul", "x ** 2")


@pytest.mark.parametrize(
    "case", [c for c in CASES if not c.flat and not c.name.startswith(QUADRATIC)], ids=repr
)
def test_rules_have_derivatives_of_every_order(case):
    third_order(case)


def grad_of(call, *arrays):
    """Gradients of the sum of call(x), as arrays."""
    xs = [mg.Tensor(np.asarray(a, np.float64)).requires_grad_() for a in arrays]
    call(*xs).sum().backward()
    return [x.grad.tolist() for x in xs]


# -- kinks ----------------------------------------------------------------------------------------


def test_relu_has_slope_zero_at_zero():
    assert grad_of(ops.relu, [-1.0, 0.0, -0.0, 2.0]) == [[0.0, 0.0, 0.0, 1.0]]


def test_abs_has_slope_zero_at_zero():
    assert grad_of(ops.abs, [-3.0, 0.0, 2.0]) == [[-1.0, 0.0, 1.0]]


def test_sign_has_slope_zero_everywhere():
    assert grad_of(lambda x: ops.sign(x) + x, [-3.0, 0.0, 2.0]) == [[1.0, 1.0, 1.0]]


def test_leaky_relu_and_elu_take_the_left_slope_at_zero():
    assert grad_of(lambda x: ops.leaky_relu(x, negative_slope=0.25), [0.0]) == [[0.25]]
    assert grad_of(lambda x: ops.elu(x, alpha=0.5), [0.0]) == [[0.5]]


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_a_tie_sends_half_to_each_side(op):
    assert grad_of(op, [1.0, 2.0], [1.0, 2.0]) == [[0.5, 0.5], [0.5, 0.5]]


def test_maximum_with_a_number_ties_too():
    assert grad_of(lambda x: ops.maximum(x, 1.0), [0.0, 1.0, 2.0]) == [[0.0, 0.5, 1.0]]


def test_clip_passes_the_gradient_on_its_bounds():
    x = [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert grad_of(lambda x: ops.clip(x, min=-1.0, max=1.0), x) == [[0.0, 1.0, 1.0, 1.0, 0.0]]


def test_nan_in_maximum_is_nan_and_gets_a_gradient():
    x = mg.Tensor(np.array([np.nan, 1.0])).requires_grad_()
    y = ops.maximum(x, 0.0)
    assert np.isnan(y.numpy()[0])
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


# -- pow ------------------------------------------------------------------------------------------


def test_zero_to_the_zero_is_one_with_slope_zero():
    assert ops.pow(np.zeros(1), np.zeros(1)).tolist() == [1.0]
    assert grad_of(ops.pow, [0.0], [0.0]) == [[0.0], [0.0]]
    assert grad_of(lambda x: x**0, [0.0, 2.0]) == [[0.0, 0.0]]


def test_pow_of_zero_has_no_nan_in_its_gradients():
    assert grad_of(ops.pow, [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]) == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_pow_of_a_negative_base_with_a_fixed_exponent():
    assert grad_of(lambda x: x**3, [-2.0]) == [[12.0]]
    assert grad_of(lambda x: x ** np.array([2.0, 3.0]), [-2.0, -2.0]) == [[-4.0, 12.0]]


def test_pow_of_a_negative_base_has_no_slope_in_the_exponent():
    with np.errstate(invalid="ignore"):
        assert math.isnan(grad_of(ops.pow, [-2.0], [2.0])[1][0])
    assert math.isnan(grad_of(lambda y: (-2.0) ** y, [2.0])[0][0])
    assert grad_of(lambda y: 0.0**y, [2.0]) == [[0.0]]


def test_mixed_derivative_of_pow_at_exponent_zero():
    x = mg.Tensor(np.array([2.0])).requires_grad_()
    y = mg.Tensor(np.array([0.0])).requires_grad_()
    (gx,) = mg.grad(ops.pow(x, y).sum(), x, create_graph=True)
    assert mg.grad(gx.sum(), y)[0].tolist() == [0.5]  # d/dy of y x^(y-1) is 1/x


@pytest.mark.parametrize("n", range(5))
def test_every_derivative_of_a_power(n):
    x = mg.Tensor(np.array([2.0])).requires_grad_()
    y = x**4
    for _ in range(n):
        (y,) = mg.grad(y, x, create_graph=True, grad_outputs=mg.Tensor(np.ones(1)))
    assert y.tolist() == [[16.0], [32.0], [48.0], [48.0], [24.0]][n]


# -- infinities -----------------------------------------------------------------------------------


def test_where_keeps_an_infinite_slope_of_the_other_branch_out():
    x = [0.0, 4.0]
    with np.errstate(divide="ignore"):
        found = grad_of(lambda x: ops.where(x > 0.0, ops.sqrt(ops.where(x > 0.0, x, 1.0)), x), x)
    assert found == [[1.0, 0.25]]


def test_where_ignores_an_infinite_gradient_of_the_other_branch():
    g = np.array([np.inf, np.nan, 1.0])
    mask = np.array([True, True, False])
    x = mg.Tensor(np.zeros(3)).requires_grad_()
    ops.where(mask, 0.0, x).backward(mg.Tensor(g))
    assert x.grad.tolist() == [0.0, 0.0, 1.0]


def test_sqrt_has_an_infinite_slope_at_zero():
    with np.errstate(divide="ignore"):
        assert grad_of(ops.sqrt, [0.0]) == [[math.inf]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_on_the_way_to_a_finite_result(dtype):
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], dtype)
    for odd in (x, x[::-1]):  # contiguous goes to the kernel, reversed to NumPy
        for op in (ops.sigmoid, ops.tanh, ops.softplus, ops.elu, ops.gelu, ops.erf):
            t = mg.Tensor(odd).requires_grad_()
            y = op(t)
            y.sum().backward()
            assert np.isfinite(y.numpy()).all() and np.isfinite(t.grad.numpy()).all(), op


def test_softplus_is_the_identity_above_its_threshold():
    assert grad_of(lambda x: ops.softplus(x, threshold=1.0), [1.5]) == [[1.0]]
    assert ops.softplus(np.array([1.5]), threshold=1.0).tolist() == [1.5]


def test_erf_is_exact_to_the_last_digits():
    x = np.concatenate([np.linspace(-7, 7, 2001), 10.0 ** np.linspace(-300, 1, 500)])
    want = np.array([math.erf(v) for v in x])
    assert np.abs(ops.erf(x) - want).max() <= 5e-16
    small = np.abs(want) > 0
    assert (np.abs(ops.erf(x) - want)[small] / np.abs(want[small])).max() <= 1e-15
    assert ops.erf(np.array([-np.inf, np.inf])).tolist() == [-1.0, 1.0]
    assert np.isnan(ops.erf(np.array([np.nan]))).all()


def test_gelu_matches_its_definition():
    x = np.linspace(-4, 4, 101)
    want = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(ops.gelu(x), want, rtol=1e-14, atol=1e-16)
    assert np.abs(ops.gelu(x, approximate="tanh") - want).max() < 1e-3


# -- dtypes and numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2.0), np.float32(2.0), True])
@pytest.mark.parametrize("op", [ops.add, ops.sub, ops.mul, ops.div, ops.pow, ops.maximum])
def test_a_number_on_either_side_leaves_float32_alone(op, number):
    x = mg.Tensor(np.array([1.5, 2.5], np.float32)).requires_grad_()
    for y in (op(x, number), op(number, x)):
        assert y.dtype == np.float32
        y.sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_without_axes_keep_their_dtype_in_every_rule(dtype):
    for case in CASES:
        if all(s == case.shapes[0] for s in case.shapes) and "where" not in case.name:
            xs = [mg.Tensor(np.array(0.375, dtype)).requires_grad_() for _ in case.shapes]
            if case.name == "relu_grad":
                continue
            y = case.call(*xs)
            assert y.dtype == dtype and y.shape == ()
            y.backward()
            assert all(x.grad.dtype == dtype and x.grad.shape == () for x in xs)


def test_mixed_precision_is_refused():
    with pytest.raises(DTypeError, match=r"mul.*float32.*float64.*astype"):
        ops.mul(np.ones(2, np.float32), np.ones(2))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("op", [ops.add, ops.mul, ops.maximum, ops.pow])
def test_arrays_of_integers_do_not_mix_with_floats_but_masks_and_numbers_do(op, dtype):
    x = mg.Tensor(np.ones(2, np.float32)).requires_grad_()
    for y in (np.ones(2, dtype), mg.Tensor(np.ones((), dtype))):
        for pair in ((x, y), (y, x)):
            with pytest.raises(DTypeError, match=rf"{op.__name__}.*float32 and .*int.*astype"):
                op(*pair)
    assert op(x, dtype(2)).dtype == np.float32
    assert (x * np.array([True, False])).dtype == np.float32
    assert op(np.arange(1, 3), np.arange(1, 3)).dtype == np.int64


def test_astype_casts_the_gradient_back():
    x = mg.Tensor(np.ones(2, np.float32)).requires_grad_()
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * 3.0).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3.0, 3.0]


def test_astype_refuses_what_the_library_does_not_have():
    for bad in (np.float16, np.complex64, object, "nonsense", "U3"):
        with pytest.raises(DTypeError, match=r"astype.*float32"):
            ops.astype(np.ones(2), dtype=bad)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_nothing_in_gives_nothing_out(shape):
    for case in CASES:
        if len(set(case.shapes)) == 1 and "where" not in case.name and case.name != "relu_grad":
            xs = [mg.Tensor(np.ones(shape)).requires_grad_() for _ in case.shapes]
            case.call(*xs).sum().backward()
            assert all(x.grad.shape == shape for x in xs)


# -- bad input ------------------------------------------------------------------------------------


def test_where_wants_a_boolean_condition():
    with pytest.raises(DTypeError, match=r"where: condition is float64, expected bool"):
        ops.where(np.ones(2), np.ones(2), np.zeros(2))


def test_bad_arguments_name_the_op_and_the_way_out():
    with pytest.raises(ArgError, match="clip: min and max are both None"):
        ops.clip(np.ones(2))
    with pytest.raises(ArgError, match=r"gelu: approximate is 'fast'; use 'none' or 'tanh'"):
        ops.gelu(np.ones(2), approximate="fast")
    with pytest.raises(ArgError, match="softplus: beta must be positive, got 0"):
        ops.softplus(np.ones(2), beta=0)


@pytest.mark.parametrize("op", [ops.add, ops.div, ops.pow, ops.maximum], ids=lambda o: o.__name__)
def test_shapes_that_do_not_broadcast_are_named(op):
    for x in (np.ones((2, 3)), mg.Tensor(np.ones((2, 3)))):
        with pytest.raises(
            ShapeError, match=rf"{op.__name__}: .* x \(2, 3\), y \(4,\); counted from the right"
        ):
            op(x, np.ones(4))
    with pytest.raises(ShapeError, match=r"where: .*condition \(3,\), x \(2,\)"):
        ops.where(np.ones(3, bool), np.ones(2), 0.0)


def test_nested_lists_are_arrays_unless_they_are_ragged():
    assert ops.add(np.ones(2, np.float32), [1, 2]).tolist() == [2.0, 3.0]
    for bad in ([[1.0], [1.0, 2.0]], ["a"], [None, [1]]):
        with pytest.raises(DTypeError, match=r"add: .* is no array of numbers"):
            ops.add(np.ones(2), bad)


def test_constants_of_the_wrong_kind():
    for call in (
        lambda x: ops.clip(x, min="a"),
        lambda x: ops.leaky_relu(x, negative_slope="a"),
        lambda x: ops.elu(x, alpha=None),
        lambda x: ops.softplus(x, beta="1"),
    ):
        with pytest.raises(TypeError, match=r"\w+: \w+ must be a number"):
            call(np.ones(3))


@pytest.mark.parametrize("bad", ["text", object(), np.ones(2, complex), np.array(["a"])])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises((DTypeError, TypeError)):
        ops.exp(bad)
