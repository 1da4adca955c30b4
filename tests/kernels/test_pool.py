"""Design: pooling against its twins; ties, NaN and padding by convention; adjoints on reals."""

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from minigrad._kernels import conv, elementwise
from minigrad._kernels import pool as kernel
from minigrad.errors import DTypeError, ShapeError
from minigrad.reference import pool as ref
from tests.layouts import LAYOUTS, NAN_MARGINS, check_memory, is_channels_last, lay, same
from tests.strategies import FLOATS, SEEDS, distinct, integers, nchw, pools, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
DIVISORS = st.sampled_from((None, None, 7))


def average_kwargs(case, include, divisor):
    window = {name: case.window[name] for name in ("kernel", "stride", "padding")}
    return {**window, "output": case.output, "count_include_pad": include, "divisor": divisor}


def check_max(case, x, gy, relu=False):
    """Forward, with places and without, gradient and gather equal the twins; memory and dtypes."""
    y, at = kernel.max_pool2d(x, output=case.output, relu=relu, **case.window)
    want, want_at = ref.max_pool2d(x, output=case.output, relu=relu, **case.window)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(at, want_at)
    assert y.dtype == x.dtype and at.dtype == want_at.dtype
    alone, none = kernel.max_pool2d(x, output=case.output, relu=relu, places=False, **case.window)
    assert none is None and is_channels_last(alone)
    assert same(*(np.where(np.isnan(a), x.dtype.type(np.nan), a) for a in (alone, y)))
    gx = kernel.max_pool2d_grad(gy, at, x_shape=x.shape, **case.window)
    want = ref.max_pool2d_grad(gy, want_at, x_shape=x.shape, **case.window)
    np.testing.assert_array_equal(gx, want)
    v = kernel.max_pool2d_gather(x, at, **case.window)
    np.testing.assert_array_equal(v, np.where(np.isnan(y), 0, y) if relu else y)
    assert gx.dtype == v.dtype == x.dtype
    assert all(is_channels_last(a) for a in (y, gx, v))
    check_memory((y, at, gx, v), (x, gy))
    return y, at, gx


@DTYPES
@given(pools())
def test_max_pool_and_its_gradient_equal_the_reference_with_ties(dtype, case):
    event("no batch" if case.n == 0 else "batch")
    rng = np.random.default_rng(case.seed)
    x, gy = integers(rng, case.x_shape, dtype), integers(rng, case.y_shape, dtype)
    _, _, gx = check_max(case, x, gy)
    assert gx.sum() == gy.sum()  # every window has a tap inside, so nothing is lost


@DTYPES
@given(pools(), st.booleans())
def test_max_pool_without_ties(dtype, case, relu):
    rng = np.random.default_rng(case.seed)
    check_max(case, distinct(rng, case.x_shape, dtype), integers(rng, case.y_shape, dtype), relu)


SPECIAL = st.sampled_from((np.nan, np.inf, -np.inf, -0.0))


@DTYPES
@given(pools(), SPECIAL, st.integers(1, 3), SEEDS, st.booleans())
def test_max_pool_with_special_values(dtype, case, special, count, spot, relu):
    rng = np.random.default_rng(spot)
    x, gy = integers(rng, case.x_shape, dtype), integers(rng, case.y_shape, dtype)
    if x.size:
        x.flat[rng.integers(0, x.size, count)] = special
    check_max(case, x, gy, relu)


@DTYPES
@given(pools(), SPECIAL, st.integers(0, 9), st.integers(-3, 3), SEEDS)
def test_relu_and_maximum_in_one_pass_are_the_two_passes_bit_for_bit(
    dtype, case, special, count, high, spot
):
    rng = np.random.default_rng(spot)
    x = integers(rng, case.x_shape, dtype, -3, high)
    gy = reals(rng, case.y_shape, dtype)
    if x.size:
        x.flat[rng.integers(0, x.size, count)] = special
    rectified = elementwise.relu(x)
    want, at = kernel.max_pool2d(rectified, output=case.output, **case.window)
    gx = kernel.max_pool2d_grad(gy, at, x_shape=x.shape, **case.window)
    want_gx = np.where(rectified > 0, gx, dtype(0))
    y, at, gx = check_max(case, x, gy, relu=True)
    assert same(y, want) and same(gx, want_gx)
    taps = case.h.kernel * case.w.kernel
    np.testing.assert_array_equal(at == taps, ~(y > 0))  # also where y is NaN


@DTYPES
@given(pools())
def test_max_pool_of_minus_infinity_has_valid_indices(dtype, case):
    x = np.full(case.x_shape, -np.inf, dtype)
    y, at, _ = check_max(case, x, np.ones(case.y_shape, dtype))
    assert (y == -np.inf).all()
    assert (at < case.h.kernel * case.w.kernel).all()


def test_max_pool_sends_gradient_to_first_of_ties_and_adds_overlaps():
    x = np.ones((1, 9, 3, 3), np.float32)
    window = dict(kernel=(2, 2), stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1))
    _, at = kernel.max_pool2d(x, output=(2, 2), **window)
    assert (at == 0).all()
    x[:, :, 1, 1] = 2
    _, at = kernel.max_pool2d(x, output=(2, 2), **window)
    gx = kernel.max_pool2d_grad(np.ones_like(at, np.float32), at, x_shape=x.shape, **window)
    assert (gx[:, :, 1, 1] == 4).all() and gx.sum() == 36


def test_nan_wins_its_windows_and_the_first_nan_gets_the_gradient():
    x = np.array([[[[1, np.nan, 3, np.nan, np.inf]]]], np.float32).repeat(17, axis=1)
    window = dict(kernel=(1, 4), stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1))
    y, at = kernel.max_pool2d(x, output=(1, 2), **window)
    assert np.isnan(y).all()
    assert (at == np.array([1, 0])).all()


@pytest.mark.parametrize(
    "sides, dtype",
    [
        ((15, 15), np.uint8),
        ((15, 17), np.uint8),
        ((85, 3), np.uint8),
        ((3, 85), np.uint8),
        ((2, 128), np.int32),
        ((16, 16), np.int32),
        ((17, 16), np.int32),
    ],
)
def test_argmax_takes_one_byte_while_the_window_allows(sides, dtype):
    size = sides[0] + 4, sides[1] + 5
    x = distinct(np.random.default_rng(sides[0]), (2, 3, *size), np.float32)
    window = dict(kernel=sides, stride=(2, 3), padding=(0, 0, 0, 0), dilation=(1, 1))
    output = 3, 2
    y, at = kernel.max_pool2d(x, output=output, **window)
    want, want_at = ref.max_pool2d(x, output=output, **window)
    assert at.dtype == dtype
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(at, want_at)
    gx = kernel.max_pool2d_grad(want, at, x_shape=x.shape, **window)
    np.testing.assert_array_equal(gx, ref.max_pool2d_grad(want, at, x_shape=x.shape, **window))
    y, at = kernel.max_pool2d(-abs(x), output=output, relu=True, **window)
    assert at.dtype == dtype and (at == sides[0] * sides[1]).all() and not y.any()
    gx = kernel.max_pool2d_grad(want, at, x_shape=x.shape, **window)
    assert not gx.any() and not kernel.max_pool2d_gather(x, at, **window).any()


def test_a_window_that_lies_in_the_padding_is_minus_infinity_and_drops_its_gradient():
    x = np.ones((1, 9, 1, 1), np.float32)
    window = dict(kernel=(2, 2), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(2, 2))
    y, at = kernel.max_pool2d(x, output=(1, 1), **window)  # taps at rows and columns -1 and 1
    assert (y == -np.inf).all() and (at < 4).all()
    gx = kernel.max_pool2d_grad(np.ones_like(y), at, x_shape=x.shape, **window)
    assert (gx == 0).all()
    assert (kernel.max_pool2d_gather(x, at, **window) == 0).all()
    y, at = kernel.max_pool2d(x, output=(1, 1), relu=True, **window)
    assert (y == 0).all() and (at == 4).all()


@DTYPES
@given(pools())
def test_max_pool_is_monotone(dtype, case):
    rng = np.random.default_rng(case.seed)
    x = reals(rng, case.x_shape, dtype)
    more = x + rng.random(x.shape).astype(dtype)
    low, _ = kernel.max_pool2d(x, output=case.output, **case.window)
    high, _ = kernel.max_pool2d(more, output=case.output, **case.window)
    assert (low <= high).all()


@given(pools())
def test_float64_max_pool_sees_the_fortieth_bit(case):
    rng = np.random.default_rng(case.seed)
    x = 1 + rng.permutation(int(np.prod(case.x_shape))).reshape(case.x_shape) * 2.0**-40
    check_max(case, x, integers(rng, case.y_shape))


@DTYPES
@given(pools(dilated=False), st.booleans(), DIVISORS)
def test_average_pool_equals_the_reference(dtype, case, include, divisor):
    rng = np.random.default_rng(case.seed)
    x, gy = integers(rng, case.x_shape, dtype), integers(rng, case.y_shape, dtype)
    kw = average_kwargs(case, include, divisor)
    y = kernel.avg_pool2d(x, **kw)
    gx = kernel.avg_pool2d_grad(gy, x_shape=x.shape, **kw)
    wide = x.astype(np.float64), gy.astype(np.float64)
    eps = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, ref.avg_pool2d(wide[0], **kw), rtol=eps, atol=0)
    want = ref.avg_pool2d_grad(wide[1], x_shape=x.shape, **kw)
    np.testing.assert_allclose(gx, want, rtol=0, atol=16 * 3 * 4 * eps)
    assert y.dtype == gx.dtype == dtype and is_channels_last(y) and is_channels_last(gx)
    check_memory((y, gx), (x, gy))


@DTYPES
@given(pools(dilated=False), st.booleans(), DIVISORS)
def test_average_pool_of_a_tanh_equals_the_reference_and_the_two_kernels(
    dtype, case, include, divisor
):
    rng = np.random.default_rng(case.seed)
    x, gy = (reals(rng, shape).astype(dtype) for shape in (case.x_shape, case.y_shape))
    kw = average_kwargs(case, include, divisor)
    y, z = kernel.tanh_avg_pool2d(x, **kw)
    one = elementwise.tanh(x)
    assert same(z, one) and same(y, kernel.avg_pool2d(one, **kw))
    eps = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(z, np.tanh(x.astype(np.float64)), rtol=eps, atol=0)
    output = kw.pop("output")
    gx = kernel.tanh_avg_pool2d_grad(gy, z, **kw)
    spread = kernel.avg_pool2d_grad(gy, x_shape=x.shape, output=output, **kw)
    dense = (np.ascontiguousarray(a) for a in (spread, z))
    assert same(gx, elementwise.tanh_grad(*dense))
    want = ref.tanh_avg_pool2d_grad(gy.astype(np.float64), z.astype(np.float64), **kw)
    np.testing.assert_allclose(gx, want, rtol=0, atol=2 * eps * (1 + abs(want).max(initial=0)))
    assert all(a.dtype == dtype and is_channels_last(a) for a in (y, z, gx))
    check_memory((y, z, gx), (x, gy))


@DTYPES
@pytest.mark.parametrize("channels", [1, 3, 6, 16, 37])
def test_windows_side_by_side_are_what_windows_one_by_one_are(dtype, channels):
    """2x2 windows have loops of their own; each window's mean alone is the definition."""
    x = reals(np.random.default_rng(channels), (3, channels, 8, 10)).astype(dtype)
    kw = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0))
    four = x.astype(np.float64).reshape(3, channels, 4, 2, 5, 2)
    eps = 4 * np.finfo(dtype).eps
    y = kernel.avg_pool2d(x, output=(4, 5), **kw)
    np.testing.assert_allclose(y, four.mean(axis=(3, 5)), rtol=0, atol=4 * eps)
    gx = kernel.avg_pool2d_grad(y, x_shape=x.shape, output=(4, 5), **kw)
    np.testing.assert_array_equal(gx, np.repeat(np.repeat(y / dtype(4), 2, axis=2), 2, axis=3))


def test_average_pool_of_a_tanh_says_what_does_not_fit():
    x, kw = np.zeros((1, 2, 4, 4), np.float32), dict(kernel=(2, 2), stride=(2, 2))
    kw["padding"] = (0, 0, 0, 0)
    with pytest.raises(ShapeError, match=r"gy \(1, 3, 2, 2\) does not belong to an x"):
        kernel.tanh_avg_pool2d_grad(np.zeros((1, 3, 2, 2), np.float32), x, **kw)
    with pytest.raises(DTypeError, match=r"gy is float64 but z is float32"):
        kernel.tanh_avg_pool2d_grad(np.zeros((1, 2, 2, 2)), x, **kw)


@DTYPES
def test_two_pixels_inside_of_windows_of_three_and_of_two_have_divisors_of_their_own(dtype):
    """The first window has a padded zero on its left, the last ends with the image."""
    x = integers(np.random.default_rng(1), (5, 3, 6, 4), dtype)
    kw = dict(kernel=(2, 3), stride=(2, 3), padding=(0, 0, 1, 0), output=(3, 2))
    pairs = x.astype(np.float64).reshape(5, 3, 3, 2, 2, 2).sum(axis=(3, 5))
    np.testing.assert_allclose(kernel.avg_pool2d(x, **kw), pairs / (6, 4), rtol=1e-6)


@given(pools(dilated=False), st.booleans(), DIVISORS)
def test_average_pool_adjoint(case, include, divisor):
    rng = np.random.default_rng(case.seed)
    x, gy = reals(rng, case.x_shape), reals(rng, case.y_shape)
    kw = average_kwargs(case, include, divisor)
    y, gx = kernel.avg_pool2d(x, **kw), kernel.avg_pool2d_grad(gy, x_shape=x.shape, **kw)
    size = (ref.avg_pool2d(abs(x), **kw) * abs(gy)).sum() + 1e-300
    assert abs((y * gy).sum() - (x * gx).sum()) <= 1e-13 * size


@given(pools(dilated=False))
def test_average_pool_is_a_depthwise_convolution(case):
    rng = np.random.default_rng(case.seed)
    x = reals(rng, case.x_shape)
    kw = average_kwargs(case, include=True, divisor=case.h.kernel * case.w.kernel)
    w = np.full((case.c, 1, *kw["kernel"]), 1 / kw["divisor"])
    y = conv.conv2d(
        x, w, stride=kw["stride"], padding=kw["padding"], dilation=(1, 1), groups=case.c
    )
    p, q = y.shape[2:]  # without the windows over the edge that ceil_mode adds
    got = kernel.avg_pool2d(x, **kw)[:, :, :p, :q]
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-13)


@DTYPES
@given(nchw(max_side=12), st.tuples(st.integers(1, 13), st.integers(1, 13)), SEEDS)
def test_adaptive_and_global_average_pools(dtype, shape, output, seed):
    rng = np.random.default_rng(seed)
    x, gy = integers(rng, shape, dtype), integers(rng, shape[:2] + output, dtype)
    wide, gwide = x.astype(np.float64), gy.astype(np.float64)
    tol = dict(rtol=8 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)
    y, gx = (
        kernel.adaptive_avg_pool2d(x, output=output),
        kernel.adaptive_avg_pool2d_grad(gy, x_shape=shape),
    )
    np.testing.assert_allclose(y, ref.adaptive_avg_pool2d(wide, output=output), **tol)
    np.testing.assert_allclose(gx, ref.adaptive_avg_pool2d_grad(gwide, x_shape=shape), **tol)
    gy, gwide = gy[:, :, :1, :1], gwide[:, :, :1, :1]
    z, gz = kernel.global_avg_pool2d(x), kernel.global_avg_pool2d_grad(gy, x_shape=shape)
    np.testing.assert_allclose(z, ref.global_avg_pool2d(wide), **tol)
    np.testing.assert_allclose(gz, ref.global_avg_pool2d_grad(gwide, x_shape=shape), **tol)
    assert y.dtype == gx.dtype == z.dtype == gz.dtype == dtype
    check_memory((y, gx, z, gz), (x, gy))


def every_pool(case, x, gy, at):
    """The results of all pooling kernels, for comparison by bits."""
    kw = average_kwargs(case, False, None)
    yield from kernel.max_pool2d(x, output=case.output, **case.window)
    yield from kernel.max_pool2d(x, output=case.output, relu=True, **case.window)
    yield kernel.max_pool2d(x, output=case.output, places=False, **case.window)[0]
    yield kernel.max_pool2d_grad(gy, at, x_shape=x.shape, **case.window)
    yield kernel.max_pool2d_gather(x, at, **case.window)
    yield kernel.avg_pool2d(x, **kw)
    yield kernel.avg_pool2d_grad(gy, x_shape=x.shape, **kw)
    yield kernel.adaptive_avg_pool2d(x, output=case.output)
    yield kernel.adaptive_avg_pool2d_grad(gy, x_shape=x.shape)
    yield kernel.global_avg_pool2d(x)
    yield kernel.global_avg_pool2d_grad(gy[:, :, :1, :1], x_shape=x.shape)


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(pools(max_out=4))
def test_every_layout_gives_the_same_bits(dtype, layout, case):
    rng = np.random.default_rng(case.seed)
    x, gy = reals(rng, case.x_shape, dtype), reals(rng, case.y_shape, dtype)
    _, at = kernel.max_pool2d(x, output=case.output, **case.window)
    x, gy = lay(x, layout), lay(gy, layout)
    at = at if layout in NAN_MARGINS else lay(np.array(at, order="C"), layout)
    plain = [np.array(a, order="C", subok=False) for a in (x, gy, at)]
    before = [a.copy() for a in plain]
    for got, want in zip(every_pool(case, x, gy, at), every_pool(case, *plain), strict=True):
        assert same(got, want)
    assert all(same(a, b) for a, b in zip((x, gy, at), before, strict=True))
