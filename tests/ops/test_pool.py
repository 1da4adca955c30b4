"""Design: pooling as ops: derivatives, the conventions at ties and edges, and what is refused.

Maxima are differentiated on values that are all distinct, so a step of 2^-8 crosses no kink; what
happens on a tie is stated with exact numbers instead.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.ops import (
    adaptive_avg_pool2d,
    avg_pool2d,
    avg_pool2d_grad,
    conv2d,
    global_avg_pool2d,
    max_pool2d,
    max_pool2d_grad,
)
from minigrad.tensor import Tensor
from tests.layouts import LAYOUTS
from tests.ops.derivatives import check, check_layouts, leaf
from tests.ops.objections import refuses
from tests.strategies import SEEDS, distinct, integers, nchw, pools

small_pools = pools(max_out=3)


def window(case, *, dilation=True):
    """The parameters of a case for the op, which computes the output size itself."""
    parameters = dict(case.window)
    if not dilation:
        del parameters["dilation"]
    return parameters


def few(case):
    """The case's shape with at most three channels, for differences."""
    return (case.n, min(case.c, 3), case.h.size, case.w.size)


@given(small_pools, st.booleans(), st.booleans())
def test_max_pool2d_has_right_first_and_second_derivatives(case, ceil_mode, relu):
    x = distinct(np.random.default_rng(case.seed), few(case))
    how = {**window(case), "ceil_mode": ceil_mode, "relu": relu}
    check(lambda x: max_pool2d(x, **how), [x], "piecewise")


@pytest.mark.parametrize("relu", [False, True])
def test_max_pool2d_has_a_right_third_derivative(relu):
    x = distinct(np.random.default_rng(0), (2, 3, 8, 7))
    window = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0, 0, 1), "dilation": (1, 2)}
    check(lambda x: max_pool2d(x, **window, relu=relu), [x], "piecewise", order=3)


@st.composite
def average_windows(draw):
    """(kernel, stride, padding, ceil_mode, count_include_pad, divisor) of an average over x."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pads = [draw(st.integers(0, k // 2)) for k in kernel for _ in range(2)]
    return {
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": tuple(pads),
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
        "divisor": draw(st.sampled_from((None, 1, 5))),
    }


@given(average_windows(), st.integers(4, 8), st.integers(4, 8), SEEDS)
def test_avg_pool2d_has_right_first_and_second_derivatives(parameters, h, w, seed):
    x = np.random.default_rng(seed).standard_normal((2, 3, h, w))
    check(lambda x: avg_pool2d(x, **parameters), [x], "linear")


@given(average_windows(), st.integers(4, 8), st.integers(4, 8), SEEDS)
def test_the_average_and_its_gradient_are_adjoint(parameters, h, w, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, h, w))
    y = avg_pool2d(x, **parameters)
    gy = rng.standard_normal(y.shape)
    gx = avg_pool2d_grad(gy, x_shape=x.shape, **parameters)
    np.testing.assert_allclose((y * gy).sum(), (x * gx).sum(), atol=1e-12)


@given(nchw(), st.integers(1, 7), st.integers(1, 7), SEEDS)
def test_adaptive_avg_pool2d_has_right_first_and_second_derivatives(shape, p, q, seed):
    x = np.random.default_rng(seed).standard_normal((shape[0], 3, *shape[2:]))
    check(lambda x: adaptive_avg_pool2d(x, output=(p, q)), [x], "linear")


@given(nchw(), SEEDS)
def test_global_avg_pool2d_has_right_first_and_second_derivatives(shape, seed):
    x = np.random.default_rng(seed).standard_normal((shape[0], 3, *shape[2:]))
    check(global_avg_pool2d, [x], "linear")


def test_averages_have_right_third_derivatives():
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 4))
    check(lambda x: avg_pool2d(x, kernel=(2, 2), stride=(1, 1)), [x], "linear", order=3)
    check(lambda x: adaptive_avg_pool2d(x, output=(2, 3)), [x], "linear", order=3)
    check(global_avg_pool2d, [x], "linear", order=3)


def pooled(x, **parameters):
    """y and dL/dx of max_pool2d for dL/dy = 1, 2, 3, ..."""
    t = leaf(np.asarray(x, np.float64))
    y = max_pool2d(t, **parameters)
    y.backward(np.arange(1.0, 1.0 + y.size).reshape(y.shape))
    return y.data, t.grad.data


def test_max_pool_sends_gradient_to_first_of_ties():
    y, gx = pooled(np.ones((1, 1, 2, 4)), kernel=(2, 2), stride=(2, 2))
    np.testing.assert_array_equal(y, [[[[1, 1]]]])
    np.testing.assert_array_equal(gx, [[[[1, 0, 2, 0], [0, 0, 0, 0]]]])


def test_overlapping_windows_add_up():
    _, gx = pooled([[[[0, 5, 0, 0]]]], kernel=(1, 2), stride=(1, 1))
    np.testing.assert_array_equal(gx, [[[[0, 1 + 2, 3, 0]]]])


def test_padding_never_wins_a_maximum():
    y, gx = pooled([[[[-3.0]]]], kernel=(2, 2), stride=(1, 1), padding=(1, 1, 1, 1))
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -3.0))
    np.testing.assert_array_equal(gx, [[[[1 + 2 + 3 + 4]]]])


def test_nan_in_a_window_wins_it_and_takes_the_gradient():
    y, gx = pooled([[[[1, np.nan, 9, np.nan]]]], kernel=(1, 4), stride=(1, 4))
    assert np.isnan(y).all()
    np.testing.assert_array_equal(gx, [[[[0, 1, 0, 0]]]])


def test_relu_stops_the_gradient_where_no_pixel_is_above_zero():
    x = [[[[-1, 2, 0, -3, np.nan, 5, -0.0, -0.0]]]]
    y, gx = pooled(x, kernel=(1, 2), stride=(1, 2), relu=True)
    np.testing.assert_array_equal(y, [[[[2, 0, np.nan, 0]]]])
    assert not np.signbit(y).any()
    np.testing.assert_array_equal(gx, [[[[0, 1, 0, 0, 0, 0, 0, 0]]]])  # relu'(NaN) = 0, too


def test_a_window_that_dilation_leads_past_every_pixel_is_minus_infinity_without_gradient():
    y, gx = pooled([[[[7.0]]]], kernel=(1, 2), stride=(1, 1), padding=(0, 0, 1, 1), dilation=(1, 2))
    np.testing.assert_array_equal(y, [[[[-np.inf]]]])
    np.testing.assert_array_equal(gx, [[[[0.0]]]])
    past = {"kernel": (1, 2), "stride": (1, 1), "padding": (0, 0, 1, 1), "dilation": (1, 2)}
    y, gx = pooled([[[[7.0]]]], **past, relu=True)
    assert y.item() == gx.item() == 0.0


@given(small_pools)
def test_a_maximum_hands_on_exactly_what_it_gets(case):
    rng = np.random.default_rng(case.seed)
    t = leaf(integers(rng, case.x_shape))
    y = max_pool2d(t, **window(case))
    gy = integers(rng, y.shape)
    y.backward(gy)
    assert t.grad.data.sum() == gy.sum()


def test_an_average_is_a_depthwise_convolution():
    x = np.random.default_rng(2).standard_normal((2, 3, 6, 7))
    y = avg_pool2d(x, kernel=(3, 2), stride=(2, 1), padding=(1, 1, 0, 1))
    w = np.full((3, 1, 3, 2), 1 / 6)
    expected = conv2d(x, w, stride=(2, 1), padding=(1, 1, 0, 1), groups=3)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-15)


def test_adaptive_pooling_to_divisors_is_plain_pooling_and_to_one_is_global():
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 8))
    plain = avg_pool2d(x, kernel=(2, 4), stride=(2, 4))
    np.testing.assert_allclose(adaptive_avg_pool2d(x, output=(3, 2)), plain, rtol=1e-13)
    one = adaptive_avg_pool2d(x, output=(1, 1))
    np.testing.assert_allclose(one, global_avg_pool2d(x), rtol=1e-13, atol=1e-15)


FUNCTIONS = {
    "max": lambda x: max_pool2d(x, kernel=(3, 2), stride=(2, 1), padding=(1, 0, 1, 0)),
    "max of relu": lambda x: max_pool2d(x, kernel=(2, 3), stride=(2, 2), relu=True),
    "avg": lambda x: avg_pool2d(x, kernel=(3, 2), stride=(2, 1), padding=(1, 0, 1, 0)),
    "adaptive": lambda x: adaptive_avg_pool2d(x, output=(2, 3)),
    "global": global_avg_pool2d,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts_change_no_bit(name, layout):
    check_layouts(FUNCTIONS[name], [distinct(np.random.default_rng(4), (3, 4, 6, 5))], layout)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_empty_batch_has_an_empty_gradient(name):
    x = leaf(np.zeros((0, 4, 6, 5)))
    FUNCTIONS[name](x).sum().backward()
    assert x.grad.shape == x.shape


def test_a_maximum_keeps_one_byte_per_window_and_no_image():
    y = max_pool2d(leaf(np.ones((2, 3, 8, 8))), kernel=(2, 2), stride=(2, 2))
    kept = y.node.kept_items()
    assert [(name, a.dtype, a.shape) for name, a in kept] == [("argmax", np.uint8, y.shape)]


X = np.ones((2, 3, 6, 5), np.float32)

BAD = {
    "max kernel 0": (ArgError, r"kernel_size must be at least 1, got 0",
                     lambda: F.max_pool2d(X, 0)),
    "avg kernel 0": (ArgError, r"kernel_size must be at least 1", lambda: F.avg_pool2d(X, (1, 0))),
    "stride 0": (ArgError, r"stride must be at least 1, got 0", lambda: F.max_pool2d(X, 2, 0)),
    "stride float": (TypeError, r"stride must be an int, got float",
                     lambda: F.avg_pool2d(X, 2, 2.0)),
    "kernel bool": (TypeError, r"got bool True", lambda: F.max_pool2d(X, True)),
    "kernel str": (TypeError, r"got str '2'", lambda: F.max_pool2d(X, "2")),
    "kernel of 3": (ArgError, r"takes 2 ints, got 3", lambda: F.max_pool2d(X, (1, 2, 3))),
    "padding above half": (
        ArgError, r"padding must be at most half of the kernel.*at most 1 along H",
        lambda: F.max_pool2d(X, 3, padding=2),
    ),
    "avg padding above half": (ArgError, r"at most 1 along W",
                               lambda: F.avg_pool2d(X, (6, 2), padding=(3, 2))),
    "padding negative": (ArgError, r"padding must be at least 0",
                         lambda: F.max_pool2d(X, 2, padding=-1)),
    "dilation 0": (ArgError, r"dilation must be at least 1",
                   lambda: F.max_pool2d(X, 2, dilation=0)),
    "kernel above image": (ShapeError, r"H \+ 2\*pad - dilation\*\(R-1\) - 1 = -1 < 0",
                           lambda: F.max_pool2d(X, (7, 2))),
    "divisor 0": (ArgError, r"divisor_override must be at least 1, got 0",
                  lambda: F.avg_pool2d(X, 2, divisor_override=0)),
    "divisor float": (TypeError, r"divisor_override must be an int",
                      lambda: F.avg_pool2d(X, 2, divisor_override=1.5)),
    "huge stride": (ShapeError, r"overflows", lambda: F.max_pool2d(X, 2, 2**62)),
    "huge dilation": (ShapeError, r"overflows", lambda: F.max_pool2d(X, 2, dilation=2**62)),
    "rank 3": (ShapeError, r"got 3-D \(3, 6, 5\); add a batch axis with x\[None\]",
               lambda: F.max_pool2d(X[0], 2)),
    "rank 2": (ShapeError, r"x\[None, None\]", lambda: F.avg_pool2d(X[0, 0], 2)),
    "no channels": (ShapeError, r"only N may be 0", lambda: F.max_pool2d(X[:, :0], 2)),
    "int": (DTypeError, r"x is int64.*divide by 255",
            lambda: F.max_pool2d(X.astype(np.int64), 2)),
    "bool": (DTypeError, r"x is bool", lambda: F.global_avg_pool2d(X > 0)),
    "adaptive 0": (ArgError, r"output_size must be at least 1, got 0",
                   lambda: F.adaptive_avg_pool2d(X, (0, 1))),
    "adaptive of 3": (ArgError, r"takes 2 ints", lambda: F.adaptive_avg_pool2d(X, (1, 1, 1))),
    "adaptive rank": (ShapeError, r"got 3-D", lambda: F.adaptive_avg_pool2d(X[0], 1)),
    "global rank": (ShapeError, r"got 3-D", lambda: F.global_avg_pool2d(X[0])),
    "adaptive None": (DTypeError, r"got NoneType", lambda: F.adaptive_avg_pool2d(None, 1)),
    "foreign argmax": (
        ShapeError, r"argmax must come from the max_pool2d",
        lambda: max_pool2d_grad(X, np.zeros((2, 3, 1, 1), np.uint8), x_shape=(2, 3, 6, 5),
                                kernel=(1, 1), stride=(1, 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_numbers_and_a_way_out(name):
    kind, pattern, call = BAD[name]
    refuses(kind, pattern, call)


def test_tensors_and_arrays_are_pooled_alike():
    x = np.random.default_rng(5).standard_normal(X.shape)
    np.testing.assert_array_equal(F.max_pool2d(Tensor(x), 2).data, F.max_pool2d(x, 2))


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_a_window_may_hang_over_an_image_that_is_smaller_than_it_when_rounding_up(pool):
    x = np.array([[[[1.0, 2.0], [3.0, 5.0]]]])
    with pytest.raises(ShapeError, match="kernel larger than the padded input"):
        pool(x, 3, 2)
    y = pool(x, 3, 2, ceil_mode=True)  # PyTorch: one window, of the four pixels that are there
    assert y.item() == (5.0 if pool is F.max_pool2d else 11 / 4)
    with pytest.raises(ShapeError, match="kernel larger than the padded input"):
        pool(x, 4, 2, ceil_mode=True)
