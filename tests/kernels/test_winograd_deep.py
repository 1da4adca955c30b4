"""Design: Winograd's second arrangement, for layers of many channels and few tiles.

A layer is deep when a group has at least 64 input and 64 output channels and the batch at most 256
tiles (of m = 7 - R outputs a side), or when the two counts multiply to more than about 72,800. It
is summed in chunks of 64 input channels, blocks of 132 tiles and panels of 8, 16 or 32 outputs, in
several passes where 144 bytes x channels x tiles exceed 16 MiB. None of this may be seen.

The judge is the definition in float64: the direct algorithm, and for a few small cases the twin.
Where to go next: `test_winograd_deep_edges.py`, fixed cases on both sides of these numbers;
`test_winograd_limits.py`, from which the rule of special values is taken.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import minigrad
from minigrad._kernels import conv as kernel
from minigrad.reference import conv as ref
from tests.kernels.probe import THREADS
from tests.kernels.test_winograd_limits import (
    SPECIALS,
    check_spread,
    of_weight,
    one_pass,
    reach,
)
from tests.kernels.test_winograd_memory import check_nothing_behind, mark_the_pool
from tests.kernels.winograd_probe import check_gate, operands, rms, units
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
    # a loose bound: Hypothesis also draws constants of whatever modules happen to be imported
    rare = {what: seen[what] for what in expected if seen[what] < 0.02 * len(cases)}
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


def by_definition(x, w, gy, kwargs):
    x, w, gy = wide(x, w, gy)
    with np.errstate(invalid="ignore"):
        return ref.conv2d(x, w, **kwargs), ref.conv2d_grad_x(gy, w, x_shape=x.shape, **kwargs)


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


# -- bits -----------------------------------------------------------------------------------------


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
    got, want = both(x, w, gy, case.kwargs), by_definition(x, w, gy, case.kwargs)
    check_spread(got[0], clean[0], want[0], reach(case, at, to_x=False))
    check_spread(got[1], clean[1], want[1], reach(case, to, to_x=True))


@given(case=deep_convs(2**20), special=SPECIALS, spot=SEEDS)
def test_a_special_weight_stays_within_its_channels(case, special, spot):
    x, w, _, gy = draw(case)
    clean = both(x, w, gy, case.kwargs)
    at = np.unravel_index(spot % w.size, w.shape)
    w[at] = special
    got, want = both(x, w, gy, case.kwargs), by_definition(x, w, gy, case.kwargs)
    of_filter, of_channel = of_weight(case, at)
    check_spread(got[0], clean[0], want[0], of_filter)
    check_spread(got[1], clean[1], want[1], of_channel)


# -- memory ---------------------------------------------------------------------------------------


@given(case=deep_convs(2**20), which=st.integers(0, 1), count=st.integers(1, 3))
def test_nothing_is_written_behind_a_result(case, which, count):
    x, w, _, gy = draw(case)
    nbytes = 4 * int(np.prod((case.y_shape, case.x_shape)[which]))
    assume(nbytes >= 4096)
    with minigrad.threads(count):
        places = mark_the_pool(nbytes)
        out = one_pass(which, x, w, gy, case.kwargs)
    check_nothing_behind(out, places)
