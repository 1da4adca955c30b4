"""Design: Winograd's algorithm at the limits: special values, magnitudes, memory, refusals.

Promises. NaN and infinity are never lost, may spread over the 6x6 tile that reads them (m = 7 - R
outputs a side, counted from the first output) or over the eight columns of a tile along a line, and
never beyond it, its image or its group; finite operands give finite results until the largest
output is a 256th of the largest number. Subnormal numbers may count as zero. Scratch is at most
64 MB.
"""

import ctypes
import json
import mmap
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minigrad
import minigrad.functional as F
from minigrad import ops
from minigrad._kernels import conv as kernel
from minigrad._kernels import memory
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


# -- memory ---------------------------------------------------------------------------------------

SCRATCH = """
import json, sys, warnings
import numpy as np
import minigrad
from minigrad import memory_stats
from tests.kernels.test_winograd_limits import SHAPES, one_pass
from tests.kernels.winograd_probe import PLAIN

warnings.simplefilter("ignore")  # more threads than processors
minigrad.set_num_threads(int(sys.argv[1]))

def zeros(n, c, h, w):  # channels-last, NumPy's own memory
    return np.zeros((n, h, w, c), np.float32).transpose(0, 3, 1, 2)

calls = []
for (n, c, h, w), (k, cg, r), pad in SHAPES[sys.argv[2]]:
    x, weight = zeros(n, c, h, w), np.zeros((k, cg, r, r), np.float32)
    gy = zeros(n, k, h + 2 * pad - r + 1, w + 2 * pad - r + 1)
    kw = {**PLAIN, "padding": (pad,) * 4, "groups": c // cg}
    calls += [(a.nbytes, i, (i, x, weight, gy, kw)) for i, a in enumerate((gy, x, weight))]
found = []
for nbytes, _, call in sorted(calls, key=lambda call: call[:2]):  # small results first
    out = one_pass(*call)
    stats = memory_stats()
    found.append((stats["peak_bytes"], stats["live_bytes"]))
    del out
print(json.dumps(found))
"""
SHAPES = {  # x, (K, C/G, R), padding
    "nets": [
        ((1, 1024, 7, 7), (1024, 1024, 3), 1),
        ((1, 1024, 5, 6), (512, 1024, 5), 2),
        ((2, 2048, 5, 5), (1024, 1024, 3), 1),
        ((400, 512, 2, 2), (64, 512, 3), 1),
        ((1, 24, 3, 5000), (32, 24, 3), 1),
        ((2, 64, 112, 112), (64, 64, 3), 1),
        ((8, 128, 28, 28), (128, 128, 3), 1),
    ],
    "along lines, or too many channels for them": [
        ((64, 6, 14, 14), (16, 6, 5), 0),
        ((512, 16, 8, 8), (24, 16, 5), 2),
        ((16, 96, 27, 27), (256, 96, 5), 2),
        ((64, 96, 16, 16), (192, 96, 5), 2),
    ],
    "seven owners of sums": [
        ((8, 128, 28, 28), (896, 128, 3), 1),
    ],
    "as many channels as are taken": [
        ((1, 2048, 3, 3), (70, 2048, 3), 1),
        ((1, 70, 3, 3), (2048, 70, 3), 1),
        ((4, 2048, 20, 20), (300, 2048, 3), 1),
    ],
}


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("shapes", SHAPES)
def test_scratch_is_at_most_64_mb(shapes, threads):
    run = subprocess.run(
        [sys.executable, "-c", SCRATCH, str(threads), shapes],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found, largest = json.loads(run.stdout), 0
    assert len(found) == 3 * len(SHAPES[shapes])
    for peak, live in found:  # the peak only grows, so results are counted by the largest so far
        largest = max(largest, live)
        assert peak <= 2**26 + largest, (peak, live)
    assert found[0][0] > found[0][1] + 2**20  # scratch is counted at all


CHUNK, PAGE, MARK = 2**18, max(4096, mmap.PAGESIZE), 0xC0FFEE


def capacity(nbytes):
    """Bytes of the pool's small block for a request: four sizes to a power of two."""
    step = 2 ** (int(nbytes - 1).bit_length() - 3)
    return -(-nbytes // step) * step


def mark_the_pool(nbytes):
    """Write MARK over what the pool would give for `nbytes`; the starts that it may have then."""
    memory.empty_cache()  # of blocks that other tests left
    room = memory.empty_array(2**24, np.uint32)  # chunks are cut from here
    room.fill(MARK)
    if nbytes >= CHUNK:
        start = room.ctypes.data // PAGE * PAGE  # the chunk's: data start at varying distances
        return range(start, start + room.nbytes)
    size = min(capacity(nbytes), CHUNK - 4) // 4
    blocks = [memory.empty_array(size, np.uint32) for _ in range(12)]
    for block in blocks:
        block.fill(MARK)
    return {block.ctypes.data for block in blocks}


def check_nothing_behind(out, places):
    """All is MARK from the end of a result to the end of its block."""
    start, nbytes = out.ctypes.data, out.nbytes
    assert start in places, "the result has another block"
    end = start + min(capacity(nbytes), CHUNK - 4)
    if nbytes >= CHUNK:  # whole pages, room for headers and the least distance included
        end = start // PAGE * PAGE + -(-(nbytes + 3712) // PAGE) * PAGE
    spare = (ctypes.c_uint32 * ((end - start - nbytes) // 4)).from_address(start + nbytes)
    assert set(spare) <= {MARK}


@given(case=winograd_convs(), which=st.integers(0, 2), extra=st.integers(0, 3))
def test_nothing_is_written_behind_a_result(case, which, extra):
    x, w, gy = draw(case)
    nbytes = 4 * int(np.prod((case.y_shape, case.x_shape, case.w_shape)[which]))
    assume(nbytes >= 4096)
    with minigrad.threads(extra + 1):
        places = mark_the_pool(nbytes)
        out = one_pass(which, x, w, gy, case.kwargs)
    check_nothing_behind(out, places)


def test_two_python_threads_at_once_get_the_same_bits():
    kw = {**PLAIN, "padding": (1, 1, 1, 1)}
    x, w, _, gy = operands((4, 33, 20, 21), (40, 33, 3, 3), kw, 0)
    want, wrong = passes(kernel, x, w, gy, kw), []

    def repeat():
        for _ in range(10):
            outs = passes(kernel, x, w, gy, kw)
            wrong.extend(i for i in range(3) if not same(outs[i], want[i]))

    workers = [threading.Thread(target=repeat) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


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
