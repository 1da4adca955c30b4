"""Design: Winograd's algorithm at the limits: special values, magnitudes, refusals.

Promises. NaN and infinity are never lost, may spread over the 6x6 tile that reads them (m = 7 - R
outputs a side, counted from the first output) or over the eight columns of a tile along a line, and
never beyond it, its image or its group; finite operands give finite results until the largest
output is a 256th of the largest number. Subnormal numbers may count as zero. Where to
go next: `test_winograd_memory.py`.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minigrad.functional as F
from minigrad import ops
from minigrad._kernels import conv as kernel
from minigrad.errors import ArgError, ShapeError
from minigrad.reference import conv as ref
from tests.kernels.winograd_probe import PLAIN, check_gate, exact, operands, passes, rms, units
from tests.layouts import same
from tests.strategies import SEEDS, winograd_convs

SPECIALS = st.sampled_from((np.nan, np.inf, -np.inf))
BIG = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)


def draw(case):
    x, w, _, gy = operands(case.x_shape, case.w_shape, case.kwargs, case.seed)
    return x, w, gy


def one_pass(which, x, w, gy, kwargs):
    """Pass 0, 1 or 2: forward, grad_x, grad_w."""
    kw = {**kwargs, "algorithm": "winograd"}
    if which == 0:
        return kernel.conv2d(x, w, **kw)
    if which == 1:
        return kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw)
    return kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **kw)


# -- NaN and infinity -----------------------------------------------------------------------------


def reading(at, before, kernel_size, outs):
    """Outputs along one axis, as a mask, that share a 6-tile with input `at`."""
    m = 7 - kernel_size
    first = np.arange(outs) // m * m - before  # the first input of each output's tile
    return (first <= at) & (at <= first + 5)


def line(at, before, outs, to_x):
    """The same of a tile of eight inputs along a line, or (to_x) of eight pixels from four gy."""
    if to_x:
        first = at // 4 * 4 - (4 - before)  # the first pixel of the tile
        return (np.arange(outs) >= first) & (np.arange(outs) <= first + 7)
    first = np.arange(outs) // 4 * 4 - before
    return (first <= at) & (at <= first + 7)


def reach(case, spot, to_x):
    """Outputs of forward (or pixels of grad_x) that a special x (or gy) at `spot` may touch."""
    n, c, i, j = spot
    r, groups, (top, _, left, _) = case.h.kernel, case.groups, case.kwargs["padding"]
    shape = case.x_shape if to_x else case.y_shape
    if to_x:
        top, left = r - 1 - top, r - 1 - left
    group = c // ((case.k if to_x else case.c) // groups)
    touched, per = np.zeros(shape, bool), shape[1] // groups
    tiles = np.outer(reading(i, top, r, shape[2]), reading(j, left, r, shape[3]))
    if r == 5:  # along lines: every row that meets it, a tile of columns
        rows = abs(np.arange(shape[2]) - top + 2 - i) <= 2
        tiles |= np.outer(rows, line(j, left, shape[3], to_x))
    touched[n, group * per : (group + 1) * per] = tiles
    return touched


def check_spread(got, clean, by_definition, may):
    """Lost nowhere, spread only where it may, and every other value as if nothing had happened."""
    assert not np.isfinite(got[~np.isfinite(by_definition)]).any()
    assert np.isfinite(clean).all()
    assert same(got[~may], clean[~may])


def definition(case, x, w, gy):
    with np.errstate(invalid="ignore"):
        return exact(x, w, gy, case.kwargs)


@given(case=winograd_convs(), special=SPECIALS, spot=SEEDS)
def test_a_special_pixel_stays_within_the_tiles_that_read_it(case, special, spot):
    assume(case.n)
    x, w, gy = draw(case)
    clean = passes(kernel, x, w, gy, case.kwargs)
    at = np.unravel_index(spot % x.size, x.shape)
    x[at] = special
    got, want = passes(kernel, x, w, gy, case.kwargs), definition(case, x, w, gy)
    check_spread(got[0], clean[0], want[0], reach(case, at, to_x=False))
    assert same(got[1], clean[1])
    per, of_channel = case.k // case.groups, np.zeros(w.shape, bool)
    group, own = divmod(at[1], case.c // case.groups)
    of_channel[group * per : (group + 1) * per, own] = True
    check_spread(got[2], clean[2], want[2], of_channel)


@given(case=winograd_convs(), special=SPECIALS, spot=SEEDS)
def test_a_special_gradient_stays_within_the_tiles_that_read_it(case, special, spot):
    assume(case.n)
    x, w, gy = draw(case)
    clean = passes(kernel, x, w, gy, case.kwargs)
    at = np.unravel_index(spot % gy.size, gy.shape)
    gy[at] = special
    got, want = passes(kernel, x, w, gy, case.kwargs), definition(case, x, w, gy)
    check_spread(got[1], clean[1], want[1], reach(case, at, to_x=True))
    of_filter = np.zeros(w.shape, bool)
    of_filter[at[1]] = True
    check_spread(got[2], clean[2], want[2], of_filter)


def of_weight(case, at):
    """Masks of y and gx: what weight `at` = (k, c, r, s) has a part in, its filter and channel."""
    of_filter, of_channel = np.zeros(case.y_shape, bool), np.zeros(case.x_shape, bool)
    of_filter[:, at[0]] = True
    group = at[0] // (case.k // case.groups)
    of_channel[:, group * (case.c // case.groups) + at[1]] = True
    return of_filter, of_channel


@given(case=winograd_convs(), special=SPECIALS, spot=SEEDS)
def test_a_special_weight_stays_within_its_channels(case, special, spot):
    assume(case.n)
    x, w, gy = draw(case)
    clean = passes(kernel, x, w, gy, case.kwargs)
    at = np.unravel_index(spot % w.size, w.shape)
    w[at] = special
    got, want = passes(kernel, x, w, gy, case.kwargs), definition(case, x, w, gy)
    of_filter, of_channel = of_weight(case, at)
    check_spread(got[0], clean[0], want[0], of_filter)
    check_spread(got[1], clean[1], want[1], of_channel)


# -- magnitudes -----------------------------------------------------------------------------------


@given(case=winograd_convs(), share=st.floats(0, 1))
def test_results_scale_exactly_up_to_a_256th_of_the_largest_number(case, share):
    assume(case.n)
    x, w, gy = draw(case)
    clean = passes(kernel, x, w, gy, case.kwargs)
    for i, (a, b) in enumerate(((x, w), (gy, w), (gy, x))):
        top = max(abs(clean[i]).max(), 2.0**-10)
        power = int(np.log2(BIG / 256 / top))
        first = int(share * power)
        with_a, with_b = np.ldexp(a, first), np.ldexp(b, power - first)
        x2, w2, gy2 = ((with_a, with_b, gy), (x, with_b, with_a), (with_b, w, with_a))[i]
        got = one_pass(i, x2, w2, gy2, case.kwargs)
        np.testing.assert_array_equal(got, np.ldexp(clean[i], power))


@pytest.mark.parametrize("r", [3, 5])
def test_operands_of_1e18_overflow_no_more_than_by_the_definition(r):
    kw = {**PLAIN, "padding": (1, 1, 1, 1)}
    x, w, _, gy = operands((2, 64, 13, 14), (33, 64, r, r), kw, 0)
    scale = units(x, w, gy)
    got = passes(kernel, x * np.float32(1e18), w * np.float32(1e18), gy, kw)
    want = passes(ref, x * 1e18, w * 1e18, gy.astype(np.float64), kw)
    for i, powers in enumerate((1e36, 1e18, 1e18)):
        check_gate(got[i], want[i], 1.01 * scale[i] * powers)


@given(case=winograd_convs(), power=st.integers(120, 149))
def test_subnormal_numbers_may_count_as_zero_and_do_nothing_worse(case, power):
    x, w, gy = draw(case)
    small = np.ldexp(x, -power), w, np.ldexp(gy, -power)
    y, gx, gw = passes(kernel, *small, case.kwargs)
    want = exact(*small, case.kwargs)
    lost = units(np.full_like(x, TINY), abs(w) + 1, np.full_like(gy, TINY))
    taps = case.h.kernel**2 * max(case.c, case.k)
    for got, out, unit, less in zip((y, gx), want, units(*small), lost, strict=False):
        assert abs(got - out).max(initial=0) <= 5e-5 * unit + 16 * np.sqrt(taps) * less
    assert (gw == 0).all()  # below any float32
    mixed = np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, x, small[0])
    outs = passes(kernel, mixed, w, gy, case.kwargs)
    scale = units(mixed, w, gy)
    for got, out, unit in zip(outs, exact(mixed, w, gy, case.kwargs), scale, strict=True):
        check_gate(got, out, unit + TINY)
    half = np.float64(5e-324) * 1
    assert half > 0 and np.float32(1e-45) * np.float32(1) > 0  # no flushing is left behind


def test_a_gradient_over_half_a_million_pixels_does_not_drift():
    kw = {**PLAIN, "padding": (1, 1, 1, 1)}
    x, w, _, gy = operands((512, 4, 32, 32), (8, 4, 3, 3), kw, 0, relu=True)
    got = one_pass(2, x, w, gy, kw)
    want = exact(x, w, gy, kw)[2]
    check_gate(got, want, rms(want))


# -- empty and refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("r", [3, 5])
def test_no_batch_gives_empty_results_and_a_zero_weight_gradient(r):
    kw = {**PLAIN, "padding": (r, 0, 1, 2)}
    x, w, b, gy = operands((0, 7, 9, 8), (5, 7, r, r), kw, 0)
    y, gx, gw = passes(kernel, x, w, gy, kw)
    assert y.shape == gy.shape and gx.shape == x.shape
    assert gw.shape == w.shape and (gw == 0).all()
    fused = kernel.conv2d(x, w, b, relu=True, algorithm="winograd", **kw)
    assert fused.shape == gy.shape and fused.dtype == np.float32


def test_a_window_that_does_not_fit_is_refused_as_by_the_direct_algorithm():
    x, w = np.zeros((1, 2, 2, 9), np.float32), np.zeros((3, 2, 3, 3), np.float32)
    for algorithm in ("direct", "winograd"):
        with pytest.raises(ShapeError, match="spans 3 rows, the padded input has 2"):
            kernel.conv2d(x, w, algorithm=algorithm, **PLAIN)


OBSTACLES = {  # filters, keyword arguments, dtype, the reason
    "stride": ((4, 6, 3, 3), {"stride": (2, 1)}, np.float32, "stride is 2x1"),
    "dilation": ((4, 6, 3, 3), {"dilation": (1, 2)}, np.float32, "dilation is 1x2"),
    "1x1": ((4, 6, 1, 1), {}, np.float32, "filter is 1x1"),
    "3x5": ((4, 6, 3, 5), {}, np.float32, "filter is 3x5"),
    "5x3": ((4, 6, 5, 3), {}, np.float32, "filter is 5x3"),
    "7x7": ((4, 6, 7, 7), {}, np.float32, "filter is 7x7"),
    "4x4": ((4, 6, 4, 4), {}, np.float32, "filter is 4x4"),
    "depthwise": ((12, 1, 3, 3), {"groups": 6}, np.float32, "depthwise"),
    "float64": ((4, 6, 3, 3), {}, np.float64, "float64"),
}


def calls(module, x, w, kw):
    """Each pass of conv2d as a function of the algorithm."""
    y = module.conv2d(x, w, algorithm="direct", **kw)
    y = y if isinstance(y, np.ndarray) else y.numpy()
    return {
        "conv2d": lambda a: module.conv2d(x, w, algorithm=a, **kw),
        "conv2d_grad_x": lambda a: module.conv2d_grad_x(y, w, x_shape=x.shape, algorithm=a, **kw),
        "conv2d_grad_w": lambda a: module.conv2d_grad_w(y, x, w_shape=w.shape, algorithm=a, **kw),
    }


@pytest.mark.parametrize("module", [kernel, ops.conv], ids=["kernel", "op"])
@pytest.mark.parametrize("name", OBSTACLES)
def test_winograd_is_refused_where_it_does_not_apply(module, name):
    w_shape, changes, dtype, why = OBSTACLES[name]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, 6, 13, 14), w_shape))
    for op, call in calls(module, x, w, {**PLAIN, **changes}).items():
        with pytest.raises(ArgError) as caught:
            call("winograd")
        text = str(caught.value)
        assert text.startswith(f"{op}: algorithm='winograd' does not apply: ") and why in text
        assert text.endswith("use 'auto'") and len(text) <= 200
        for algorithm in (None, "auto"):
            assert same(np.asarray(call(algorithm)), np.asarray(call("direct")))


@pytest.mark.parametrize("module", [kernel, ops.conv], ids=["kernel", "op"])
@pytest.mark.parametrize("algorithm", ["Winograd", "fft", "", 4, 3])
def test_an_unknown_algorithm_is_refused(module, algorithm):
    x, w = np.zeros((1, 2, 6, 7), np.float32), np.zeros((3, 2, 3, 3), np.float32)
    for op, call in calls(module, x, w, PLAIN).items():
        with pytest.raises(ArgError, match=f"^{op}: .*auto, direct, winograd"):
            call(algorithm)


@pytest.mark.parametrize("algorithm", ["winograd", "fft"])
def test_an_empty_batch_is_no_excuse_for_a_wrong_algorithm(algorithm):
    x, w = np.zeros((0, 2, 6, 7), np.float32), np.zeros((3, 2, 3, 3), np.float32)
    with pytest.raises(ArgError):
        kernel.conv2d(x, w, algorithm=algorithm, **{**PLAIN, "stride": (2, 2)})


def test_functional_refuses_in_the_words_of_the_op():
    x, w = np.zeros((1, 2, 6, 7), np.float32), np.zeros((3, 2, 3, 3), np.float32)
    with pytest.raises(ArgError, match=r"^conv2d: .*stride is 2x2, not 1x1; use 'auto'"):
        F.conv2d(x, w, stride=2, algorithm="winograd")


def test_more_channels_than_the_gate_allows_are_summed_by_the_definition():
    x, w = np.ones((1, 2049, 3, 3), np.float32), np.ones((1, 2049, 3, 3), np.float32)
    kw = dict(stride=(1, 1), padding=(0,) * 4, dilation=(1, 1), groups=1)
    with pytest.raises(ArgError, match="2048 channels are summed"):
        kernel.conv2d(x, w, algorithm="winograd", **kw)
    assert kernel.conv2d(x, w, **kw).item() == 9 * 2049
