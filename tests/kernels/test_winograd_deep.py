"""Design: Winograd's second arrangement, for layers of many channels and few tiles.

A layer is deep when a group has at least 64 input and 64 output channels and the batch at most 256
tiles (of m = 7 - R outputs a side), or when the two counts multiply to more than about 72,800. It
is summed in chunks of 64 input channels, blocks of 132 tiles and panels of 8, 16 or 32 outputs, in
several passes where 144 bytes x channels x tiles exceed 16 MiB. None of this may be seen, so the
fixed cases lie on both sides of every one of these numbers and leave rests of one.

The judge is the definition in float64: the direct algorithm, and for a few small cases the twin.
`inputs` are the channels summed over and `outputs` those computed: in grad_x they change places,
so each fixed case is a forward pass and, with turned filters, a grad_x of the same values.

`python -m tests.kernels.test_winograd_deep` is what a child process runs for each instruction set.
Where to go next: `test_winograd_limits.py`, from which the rule of special values is taken.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import minigrad
from minigrad._kernels import conv as kernel
from minigrad._kernels import dispatch, memory
from minigrad.reference import conv as ref
from tests.kernels.probe import THREADS
from tests.kernels.test_winograd_limits import SPECIALS, capacity, check_spread, of_weight, reach
from tests.kernels.winograd_probe import PLAIN, check_gate, fenced, operands, rms, units
from tests.layouts import check_memory, is_channels_last, lay, same
from tests.strategies import SEEDS, Axis, Conv

CHUNK, BLOCK, TILES, PASS = 64, 132, 256, 2**24 // 144  # PASS: channels x tiles of a pass
DEEP_CHANNELS = (64, 65, 71, 72, 80, 97, 100, 128, 129, 200, 257)
LAYOUTS = ("C", "channels_last", "F", "offset", "strided")


# -- geometry -------------------------------------------------------------------------------------


@st.composite
def deep_axes(draw, kernel, tiles):
    """An Axis of a number of tiles, the last perhaps cut, padded by 0 to kernel - 1."""
    m = 7 - kernel
    out = (tiles - 1) * m + draw(st.integers(1, m))
    before = draw(st.integers(0, kernel - 1))
    after = draw(st.integers(0, min(kernel - 1, out + kernel - 2 - before)))
    return Axis(out - 1 + kernel - before - after, kernel, 1, before, after, 1, out)


@st.composite
def deep_convs(draw, most=2**22):
    """Conv problems of at least 64 channels a group, either way; at most `most` products."""
    kernel, groups = draw(st.sampled_from((3, 5))), draw(st.sampled_from((1, 1, 2, 3)))
    several = st.sampled_from((131, 132, 133, 256, 257, 400))
    aim = draw(st.one_of(st.integers(1, 9), st.integers(1, 400), several))
    channels = DEEP_CHANNELS if groups == 1 else DEEP_CHANNELS[:9]
    channels = st.sampled_from(channels[:4] if aim > BLOCK else channels)
    c, k = draw(channels), draw(channels)
    aim = min(aim, most // (c * k * groups))
    n = min(aim, draw(st.one_of(st.integers(1, 3), st.integers(1, 400))))
    rows = draw(st.integers(1, min(30, aim // n)))
    h = draw(deep_axes(kernel, rows))
    w = draw(deep_axes(kernel, aim // (n * rows)))
    return Conv(n, c * groups, k * groups, groups, h, w, draw(SEEDS))


def tiles(case):
    """Tiles of the forward pass in the whole batch."""
    m = 7 - case.h.kernel
    return case.n * -(-case.h.out // m) * -(-case.w.out // m)


def test_the_geometry_drawn_covers_what_it_should():
    seen, cases = Counter(), []

    @settings(
        max_examples=300, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(deep_convs())
    def collect(case):
        cases.append(case)
        assert min(case.h.size, case.w.size) >= 1 and tiles(case) <= 400
        for axis in (case.h, case.w):
            outs = ref.output_size(axis.size, axis.before + axis.after, axis.kernel, 1, 1)
            assert axis.out == outs
        c, k, r = case.c // case.groups, case.k // case.groups, case.h.kernel
        assert min(c, k) >= 64
        ends = {case.h.before, case.h.after, case.w.before, case.w.after}
        true = {
            "blocks": tiles(case) > BLOCK, "not deep": tiles(case) > TILES, "few": tiles(case) < 9,
            "cut tiles": case.h.out % (7 - r) and case.w.out % (7 - r),
            "below a tile": case.h.size < 6 and case.w.size < 6, "batch": case.n > 3,
            "all ends differ": len(ends) == 4, "odd channels": c % 8 and k % 8,
        }  # fmt: skip
        seen.update(name for name, holds in true.items() if holds)
        seen.update({*case.classes(), (r, case.groups), ("rest", c % CHUNK)})
        seen.update(("padding", r, v) for v in ends)

    collect()
    assert len(cases) >= 250
    expected = [
        "blocks", "not deep", "few", "cut tiles", "below a tile", "batch", "odd channels",
        "all ends differ", "non-square input", "asymmetric padding", ("rest", 1), ("rest", 0),
        *[(r, g) for r in (3, 5) for g in (1, 2, 3)],
        *[("padding", r, v) for r in (3, 5) for v in range(r)],
    ]  # fmt: skip
    rare = {what: seen[what] for what in expected if seen[what] < 0.03 * len(cases)}
    assert not rare


# -- against the definition, in random geometry ---------------------------------------------------


def draw(case, relu=False):
    """x, w, b, gy of a problem."""
    return operands(case.x_shape, case.w_shape, case.kwargs, case.seed, relu=relu)


def both(x, w, gy, kwargs, algorithm="winograd", b=None, relu=False):
    """y and gx."""
    kw = {**kwargs, "algorithm": algorithm}
    y = kernel.conv2d(x, w, b, relu=relu, **kw)
    return y, kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw)


def wide(*arrays):
    return tuple(a.astype(np.float64) for a in arrays)


@given(case=deep_convs(), relu=st.booleans(), count=st.sampled_from(THREADS))
@settings(max_examples=min(200, 2 * settings.default.max_examples))
def test_both_passes_keep_the_accuracy_gate(case, relu, count):
    x, w, b, gy = draw(case, relu)
    before = [a.copy() for a in (x, w, b, gy)]
    with minigrad.threads(count):
        outs = both(x, w, gy, case.kwargs)
        biased = kernel.conv2d(x, w, b, algorithm="winograd", **case.kwargs)
        fused = kernel.conv2d(x, w, b, relu=True, algorithm="winograd", **case.kwargs)
    scale = units(x, w, gy)
    want = both(*wide(x, w, gy), case.kwargs, "direct")
    for i in range(2):
        check_gate(outs[i], want[i], scale[i], ("forward", "grad_x")[i])
    with_bias = want[0] + b.astype(np.float64).reshape(1, -1, 1, 1)
    check_gate(biased, with_bias, float(np.hypot(scale[0], rms(b))), "bias")
    np.testing.assert_array_equal(fused, np.maximum(biased, 0))
    check_memory((*outs, biased, fused), (x, w, b, gy))
    assert all(is_channels_last(out) for out in (*outs, biased, fused))
    assert all(same(a, old) for a, old in zip((x, w, b, gy), before, strict=True))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("r", [3, 5])
def test_the_twin_agrees(r, groups):
    h, w = Axis(7, r, 1, 2, 0, 1, 10 - r), Axis(9, r, 1, 1, 2, 1, 13 - r)
    case = Conv(2, 65 * groups, 73 * groups, groups, h, w, seed=r)
    x, w, b, gy = draw(case)
    x64, w64, gy64 = wide(x, w, gy)
    y, gx = both(x, w, gy, case.kwargs, b=b, relu=True)
    want = ref.conv2d(x64, w64, b.astype(np.float64), relu=True, **case.kwargs)
    check_gate(y, want, rms(want))
    want = ref.conv2d_grad_x(gy64, w64, x_shape=x.shape, **case.kwargs)
    check_gate(gx, want, rms(want))


@given(case=deep_convs(), size=st.integers(40, 63))
def test_a_layer_agrees_with_its_pieces_of_fewer_than_64_channels(case, size):
    x, w, _, gy = draw(case)
    y, gx = both(x, w, gy, case.kwargs)
    kw = {**case.kwargs, "groups": 1, "algorithm": "winograd"}
    c, k, scale = case.c // case.groups, case.k // case.groups, units(x, w, gy)
    for g in range(case.groups):
        ins, outs = slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)
        for at in range(0, k, size):
            part = kernel.conv2d(x[:, ins], w[outs][at : at + size], **kw)
            check_gate(y[:, outs][:, at : at + size], part.astype(np.float64), 2 * scale[0])
        for at in range(0, c, size):
            mine = gx[:, ins][:, at : at + size]
            own = w[outs, at : at + size]
            part = kernel.conv2d_grad_x(gy[:, outs], own, x_shape=mine.shape, **kw)
            check_gate(mine, part.astype(np.float64), 2 * scale[1])


# -- on both sides of every number ----------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    """A layer by its counts of a group: inputs, outputs, images and their rows x columns of tiles.

    The last tile of a row is cut; the ends are padded unlike.
    """

    inputs: int
    outputs: int
    r: int
    n: int
    rows: int
    cols: int
    groups: int = 1

    @property
    def kwargs(self):
        return {**PLAIN, "padding": (self.r - 1, 1, 0, 2), "groups": self.groups}

    def operands(self):
        """x, w, b."""
        m = 7 - self.r
        p, q = m * self.rows, m * self.cols - 1
        top, bottom, left, right = self.kwargs["padding"]
        size = p + self.r - 1 - top - bottom, q + self.r - 1 - left - right
        shapes = (self.n, self.inputs * self.groups, *size), (
            self.outputs * self.groups, self.inputs, self.r, self.r,
        )  # fmt: skip
        return operands(*shapes, self.kwargs, seed=self.inputs + self.outputs)[:3]

    def forward(self, x, w, b):
        return kernel.conv2d(x, w, b, algorithm="winograd", **self.kwargs)

    def turned(self, x, w):
        """The same values as a grad_x: of x, by filters turned round, of the other padding."""
        (n, _, h, width), r, g = x.shape, self.r, self.groups
        pads = self.kwargs["padding"]
        size = h + pads[0] + pads[1] - r + 1, width + pads[2] + pads[3] - r + 1
        w = w.reshape(g, self.outputs, self.inputs, r, r).swapaxes(1, 2)
        w = np.ascontiguousarray(w.reshape(-1, self.outputs, r, r)[:, :, ::-1, ::-1])
        kw = {**self.kwargs, "padding": tuple(r - 1 - v for v in pads)}
        shape = (n, self.outputs * g, *size)
        return kernel.conv2d_grad_x(x, w, x_shape=shape, algorithm="winograd", **kw)


CASES = {
    "63 inputs": Fixed(63, 80, 3, 1, 3, 4), "64 inputs": Fixed(64, 80, 3, 1, 3, 4),
    "63 outputs": Fixed(80, 63, 5, 1, 3, 4), "64 outputs": Fixed(80, 64, 5, 1, 3, 4),
    "256 tiles": Fixed(64, 65, 3, 1, 16, 16), "257 tiles": Fixed(64, 65, 3, 257, 1, 1),
    "256 small tiles": Fixed(64, 65, 5, 4, 8, 8), "257 small tiles": Fixed(64, 65, 5, 1, 1, 257),
    "a column of 256 tiles": Fixed(66, 64, 3, 1, 256, 1), "72,630": Fixed(269, 270, 5, 1, 10, 26),
    "72,900": Fixed(270, 270, 5, 1, 10, 26), "72,800": Fixed(280, 260, 5, 1, 26, 10),
    "73,060": Fixed(260, 281, 5, 1, 26, 10), "few inputs": Fixed(40, 1900, 3, 1, 3, 4),
    "few outputs": Fixed(1900, 40, 3, 1, 3, 4), "a chunk + 1": Fixed(CHUNK + 1, 64, 3, 1, 2, 3),
    "few inputs for many tiles": Fixed(40, 1900, 5, 1, 13, 20),
    "few outputs for many tiles": Fixed(1900, 40, 5, 1, 13, 20),
    "2 chunks - 1": Fixed(2 * CHUNK - 1, 64, 3, 2, 2, 3),
    "2 chunks": Fixed(2 * CHUNK, 64, 5, 1, 2, 3), "4 panels of 16 + 1": Fixed(64, 65, 3, 1, 2, 3),
    "2 chunks + 1": Fixed(2 * CHUNK + 1, 80, 5, 2, 2, 3), "1 tile": Fixed(64, 64, 3, 1, 1, 1),
    "5 chunks + 1": Fixed(5 * CHUNK + 1, 64, 3, 1, 1, 1), "1 small tile": Fixed(65, 65, 5, 1, 1, 1),
    "3 panels of 32": Fixed(64, 96, 3, 1, 2, 3), "3 panels of 32 + 1": Fixed(64, 97, 5, 1, 2, 3),
    "9 panels of 8": Fixed(64, 72, 3, 1, 2, 3), "9 panels of 8 + 1": Fixed(64, 73, 3, 1, 2, 3),
    "4 panels of 32 - 1": Fixed(64, 127, 5, 1, 2, 3), "a block": Fixed(72, 65, 3, 1, 11, 12),
    "a block - 1": Fixed(72, 65, 3, 1, 1, BLOCK - 1), "a block + 1": Fixed(65, 72, 3, 1, 7, 19),
    "batch of a block + 1": Fixed(129, 65, 5, BLOCK + 1, 1, 1),
    "2 blocks + 1": Fixed(270, 272, 5, 1, 5, 53), "1 pass of 2048": Fixed(2048, 64, 3, 1, 7, 8),
    "groups of a block + 1": Fixed(65, 65, 3, 1, 19, 7, groups=2),
    "three groups": Fixed(129, 97, 5, 3, 2, 3, groups=3),
    "2 passes of 2048": Fixed(2048, 64, 3, 1, 3, 19), "1 pass of 456": Fixed(456, 72, 5, 1, 15, 17),
    "1 pass of 1024": Fixed(1024, 65, 5, 1, 1, PASS // 1024),
    "a pass + 1": Fixed(1024, 65, 5, 1, PASS // 1024 + 1, 1),
    "1 pass of 512": Fixed(512, 64, 3, 1, 1, PASS // 512), "2 passes": Fixed(2048, 64, 5, 2, 5, 10),
    "2 passes of 512": Fixed(512, 64, 3, 1, 12, 19), "5 passes": Fixed(2048, 64, 5, 1, 15, 16),
    "2 passes of 456": Fixed(456, 72, 5, 1, 16, 16),
    "passes and blocks": Fixed(512, 144, 3, 3, 10, 10),
    "passes in groups": Fixed(1025, 66, 5, 2, 1, 57, groups=2),
}  # fmt: skip


def test_the_fixed_cases_are_where_they_say():
    for channels, tiles in ((512, 12 * 19 - 1), (2048, 7 * 8), (456, 15 * 17), (1024, 113)):
        assert PASS // channels == tiles
    assert BLOCK * 2 + 1 == 5 * 53 and BLOCK + 1 == 7 * 19


@pytest.mark.parametrize("name", CASES)
def test_the_gate_holds_on_both_sides_of_every_number(name):
    check_fixed(CASES[name], 1)


def check_fixed(case, threads, at_end=None):
    """The gate, relative to the output's own rms, of forward and grad_x. Returns both."""
    x, w, b = case.operands()
    want = kernel.conv2d(*wide(x, w), algorithm="direct", **case.kwargs)
    with_bias = want + b.astype(np.float64).reshape(1, -1, 1, 1)
    if at_end is not None:
        x, w, b = (fenced(a, at_end=at_end) for a in (x, w, b))
    with minigrad.threads(threads):
        y, gx = case.forward(x, w, b), case.turned(x, w)
    assert [-(-side // (7 - case.r)) for side in y.shape[2:]] == [case.rows, case.cols]
    check_gate(y, with_bias, rms(with_bias), f"forward {case}")
    check_gate(gx, want, rms(want), f"grad_x {case}")
    return y, gx


# -- bits -----------------------------------------------------------------------------------------

OF_EACH_KIND = (
    "64 outputs", "a chunk + 1", "5 chunks + 1", "1 small tile",
    "3 panels of 32 + 1", "9 panels of 8 + 1", "a block + 1",
    "batch of a block + 1", "groups of a block + 1", "three groups",
    "a pass + 1", "passes in groups", "few inputs",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OF_EACH_KIND, "2 blocks + 1", "passes and blocks"])
def test_bits_do_not_depend_on_threads_or_repetition(name):
    case = CASES[name]
    x, w, b = case.operands()
    y, gx = case.forward(x, w, b), case.turned(x, w)
    for count in (*THREADS, *THREADS[::-1]):
        with minigrad.threads(count):
            assert same(case.forward(x, w, b), y) and same(case.turned(x, w), gx), count


@pytest.mark.parametrize("layout", LAYOUTS)
@given(case=deep_convs(2**20), which=st.integers(1, 7), count=st.sampled_from(THREADS))
@settings(max_examples=min(60, max(8, settings.default.max_examples // 3)))
def test_bits_do_not_depend_on_the_layout_of_operands(layout, case, which, count):
    x, w, b, gy = (np.ascontiguousarray(a) for a in draw(case))
    want = both(x, w, gy, case.kwargs)
    fused = both(x, w, gy, case.kwargs, b=b, relu=True)[0]
    x, w, gy = (lay(a, layout) if which >> i & 1 else a for i, a in enumerate((x, w, gy)))
    with minigrad.threads(count):
        assert all(map(same, both(x, w, gy, case.kwargs), want))
        got = both(x, w, gy, case.kwargs, b=lay(b, layout), relu=True)[0]
    assert same(got, fused)


# -- special values -------------------------------------------------------------------------------


@given(case=deep_convs(2**20), special=SPECIALS, spot=SEEDS)
def test_a_special_pixel_stays_within_the_tiles_that_read_it(case, special, spot):
    x, w, _, gy = draw(case)
    clean = both(x, w, gy, case.kwargs)
    at = np.unravel_index(spot % x.size, x.shape)
    to = np.unravel_index(spot % gy.size, gy.shape)
    x[at], gy[to] = special, special
    got, want = both(x, w, gy, case.kwargs), both(*wide(x, w, gy), case.kwargs, "direct")
    check_spread(got[0], clean[0], want[0], reach(case, at, to_x=False))
    check_spread(got[1], clean[1], want[1], reach(case, to, to_x=True))


@given(case=deep_convs(2**20), special=SPECIALS, spot=SEEDS)
def test_a_special_weight_stays_within_its_channels(case, special, spot):
    x, w, _, gy = draw(case)
    clean = both(x, w, gy, case.kwargs)
    at = np.unravel_index(spot % w.size, w.shape)
    w[at] = special
    got, want = both(x, w, gy, case.kwargs), both(*wide(x, w, gy), case.kwargs, "direct")
    of_filter, of_channel = of_weight(case, at)
    check_spread(got[0], clean[0], want[0], of_filter)
    check_spread(got[1], clean[1], want[1], of_channel)


# -- memory ---------------------------------------------------------------------------------------


@given(case=deep_convs(2**20), which=st.integers(0, 1), count=st.integers(1, 3))
def test_nothing_is_written_behind_a_result(case, which, count):
    x, w, _, gy = draw(case)
    nbytes = 4 * int(np.prod((case.y_shape, case.x_shape)[which]))
    assume(nbytes >= 4096)
    memory.empty_cache()  # of blocks that other tests left
    with minigrad.threads(count):
        both(x, w, gy, case.kwargs)  # its blocks exist from here on
        blocks = [memory.empty_array((capacity(nbytes) // 4,), np.uint32) for _ in range(12)]
        for block in blocks:
            block.fill(0xC0FFEE)
        places = {block.ctypes.data for block in blocks}
        blocks.clear()
        out = both(x, w, gy, case.kwargs)[which]
    start = out.ctypes.data
    assert start in places, "the result has a block of another size"
    spare = (ctypes.c_uint32 * ((capacity(nbytes) - nbytes) // 4)).from_address(start + nbytes)
    assert set(spare) <= {0xC0FFEE}


def child(*arguments, **environment):
    """What this file prints as a program."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.kernels.test_winograd_deep", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    if "this CPU does not have" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, f"ended with {run.returncode}: {run.stderr}"
    return json.loads(run.stdout)


LARGE = (  # peaks only grow, so small results come first
    Fixed(2048, 64, 5, 1, 1, 4), Fixed(64, 2048, 5, 1, 1, 4), Fixed(2048, 64, 5, 1, 15, 16),
    Fixed(512, 144, 3, 3, 10, 10), Fixed(1024, 1024, 3, 1, 10, 10),
    Fixed(1024, 128, 3, 4, 5, 5, groups=3), Fixed(64, 2048, 3, 1, 16, 16),
)  # fmt: skip


def print_peaks():
    """Of each of LARGE: the most that was live in the pool so far, and what is live with y, gx."""
    found = []
    for case in LARGE:
        x, w, b = (np.array(a) for a in case.operands())  # NumPy's memory
        outs = case.forward(x, w, b), case.turned(x, w)
        stats = memory.memory_stats()
        found.append((stats["peak_bytes"], stats["live_bytes"]))
        del outs
    print(json.dumps(found))


@pytest.mark.parametrize("threads", ["1", "16"])
def test_scratch_is_at_most_64_mb(threads):
    largest, found = 0, child("peaks", threads)
    assert len(found) == len(LARGE)
    for peak, live in found:
        largest = max(largest, live)
        assert peak <= 2**26 + largest, (peak, live)
    assert found[0][0] > found[0][1] + 2**20  # scratch is counted at all


# -- instruction sets -----------------------------------------------------------------------------


def print_checked():
    """Check OF_EACH_KIND for fenced operands; print how many had the same bits from all threads."""
    alike = []
    for name in OF_EACH_KIND:
        first = check_fixed(CASES[name], 1, at_end=True)
        second = check_fixed(CASES[name], 3, at_end=False)
        alike.append(all(map(same, first, second)))
    print(json.dumps({"isa": dispatch.isa(), "alike": sum(alike)}))


@pytest.mark.parametrize("isa", dispatch.isas())
def test_every_instruction_set_keeps_the_gate_and_reads_nothing_unwritten(isa):
    found = child("checked", "1", MINIGRAD_ISA=isa, MINIGRAD_POISON="1")
    assert found == {"isa": isa, "alike": len(OF_EACH_KIND)}


if __name__ == "__main__":
    minigrad.set_num_threads(int(sys.argv[2]))
    {"peaks": print_peaks, "checked": print_checked}[sys.argv[1]]()
