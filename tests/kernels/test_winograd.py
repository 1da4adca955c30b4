"""Design: properties of Winograd's algorithm over random geometry, all three passes.

The judge, the units of errors and the gate are those of `winograd_probe.py`. Geometry comes from
`strategies.winograd_convs`: 3x3 and 5x5, every size modulo 4, padding of 0 to R + 1 on each side,
channels around every vector length, groups, tiny maps, wide and tall images.

Where to go next: `test_winograd_limits.py` (special values, huge channels, refusals).
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import minigrad
import minigrad.functional as F
from minigrad._kernels import conv as kernel
from minigrad.reference import conv as ref
from tests.kernels.probe import THREADS
from tests.kernels.winograd_probe import MAX_GATE, check_gate, exact, operands, passes, rms, units
from tests.layouts import LAYOUTS, check_memory, is_channels_last, lay, same
from tests.strategies import Axis, Conv, winograd_convs

BY_WINOGRAD = {"algorithm": "winograd"}
COUNTS = st.sampled_from(THREADS)


def draw(case, relu=False):
    """x, w, b, gy of a problem."""
    return operands(case.x_shape, case.w_shape, case.kwargs, case.seed, relu=relu)


def near(got, want, unit):
    """Two float32 results of one quantity agree; each may be off by the gate."""
    assert got.shape == want.shape
    difference = abs(got - want.astype(np.float64)).max(initial=0)
    assert difference <= 2 * MAX_GATE * unit, difference / unit


def test_the_geometry_drawn_covers_what_it_should():
    seen, cases = Counter(), []

    @settings(
        max_examples=400, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(winograd_convs())
    def collect(case):
        cases.append(case)
        h, w, r = case.h, case.w, case.h.kernel
        assert min(h.size, w.size, h.out, w.out) >= 1 and h.kernel == w.kernel
        assert h.out == ref.output_size(h.size, h.before + h.after, r, 1, 1)
        assert case.c % case.groups == case.k % case.groups == 0
        assert case.groups == 1 or case.c > case.groups
        seen.update({("rows", r, h.out % (7 - r)), ("columns", r, w.out % (7 - r))})
        seen.update({("height", h.size % 4), ("width", w.size % 4), ("batch", min(case.n, 2))})
        seen.update({("groups", case.groups), *case.classes()})
        ends = {h.before, h.after, w.before, w.after}
        seen.update(("padding", r, v) for v in ends)

    collect()
    assert len(cases) >= 380
    expected = [
        *[(axis, r, i) for axis in ("rows", "columns") for r in (3, 5) for i in range(7 - r)],
        *[(axis, i) for axis in ("height", "width") for i in range(4)],
        *[("padding", r, v) for r in (3, 5) for v in range(r + 2)],
        *[("groups", g) for g in (1, 2, 3)], *[("batch", n) for n in range(3)],
        "asymmetric padding", "kernel above input", "one row or column", "non-square input",
    ]  # fmt: skip
    rare = {what: seen[what] for what in expected if seen[what] < 0.03 * len(cases)}
    assert not rare


ONE_PIXEL = Axis(1, 5, 1, 2, 2, 1, 1)  # one of 25 taps is inside


@example(case=Conv(1, 17, 33, 1, ONE_PIXEL, ONE_PIXEL, seed=1), relu=False, count=1)
@example(case=Conv(1, 130, 1, 1, ONE_PIXEL, Axis(5, 5, 1, 0, 0, 1, 1), 0), relu=False, count=1)
@given(case=winograd_convs(), relu=st.booleans(), count=COUNTS)
def test_all_passes_keep_the_accuracy_gate(case, relu, count):
    x, w, b, gy = draw(case, relu)
    before = [a.copy() for a in (x, w, gy)]
    with minigrad.threads(count):
        outs = passes(kernel, x, w, gy, case.kwargs)
    scale = units(x, w, gy)
    for out, want, unit in zip(outs, exact(x, w, gy, case.kwargs), scale, strict=True):
        check_gate(out, want, unit)
    check_memory(outs, (x, w, b, gy))
    assert is_channels_last(outs[0]) and is_channels_last(outs[1])
    assert outs[2].flags.c_contiguous
    assert all(same(a, old) for a, old in zip((x, w, gy), before, strict=True))


@given(case=winograd_convs())
def test_bias_and_relu_are_fused_faithfully(case):
    x, w, b, gy = draw(case)
    kw = {**case.kwargs, **BY_WINOGRAD}
    y = kernel.conv2d(x, w, b, **kw)
    want = ref.conv2d(*(a.astype(np.float64) for a in (x, w, b)), **case.kwargs)
    unit = units(x, w, gy)[0]
    check_gate(y, want, float(np.hypot(unit, rms(b))))
    assert (kernel.conv2d(x, w, b, relu=True, **kw) == np.maximum(y, 0)).all()
    bare = kernel.conv2d(x, w, **kw)
    assert (kernel.conv2d(x, w, relu=True, **kw) == np.maximum(bare, 0)).all()


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(case=winograd_convs(), which=st.integers(0, 7), count=COUNTS)
@settings(max_examples=min(300, max(8, settings.default.max_examples // 3)))
def test_every_layout_gives_the_same_bits(layout, case, which, count):
    x, w, b, gy = draw(case)
    which = which or 7
    x, w, gy = (lay(a, layout) if which >> i & 1 else a for i, a in enumerate((x, w, gy)))
    b = lay(b, layout)
    plain = [np.array(a, order="C", subok=False) for a in (x, w, gy, b)]
    with minigrad.threads(count):
        outs = passes(kernel, x, w, gy, case.kwargs)
        fused = kernel.conv2d(x, w, b, **case.kwargs, **BY_WINOGRAD)
    for out, want in zip(outs, passes(kernel, *plain[:3], case.kwargs), strict=True):
        assert same(out, want)
    assert same(fused, kernel.conv2d(plain[0], plain[1], plain[3], **case.kwargs, **BY_WINOGRAD))


@given(case=winograd_convs())
def test_adjoint_identities(case):
    x, w, _, gy = (a.astype(np.float64) for a in draw(case))
    y, gx, gw = passes(kernel, *(a.astype(np.float32) for a in (x, w, gy)), case.kwargs)
    size = (ref.conv2d(abs(x), abs(w), **case.kwargs) * abs(gy)).sum() + 1e-300
    assert abs((y * gy).sum() - (gx * x).sum()) <= 2e-6 * size
    assert abs((y * gy).sum() - (gw * w).sum()) <= 2e-6 * size


@given(case=winograd_convs())
def test_scaling_by_a_power_of_two_and_changing_the_sign_are_exact(case):
    x, w, _, gy = draw(case)
    y, gx, gw = passes(kernel, x, w, gy, case.kwargs)
    y2, gx2, gw2 = passes(kernel, -4 * x, w, -4 * gy, case.kwargs)
    for got, want in ((y2, -4 * y), (gx2, -4 * gx), (gw2, 16 * gw)):
        np.testing.assert_array_equal(got, want)
    y2, gx2, gw2 = passes(kernel, x / 4, -w / 8, gy, case.kwargs)
    for got, want in ((y2, -y / 32), (gx2, -gx / 8), (gw2, gw / 4)):
        np.testing.assert_array_equal(got, want)


@given(case=winograd_convs())
def test_every_pass_is_linear_in_each_operand(case):
    x, w, _, gy = draw(case)
    x2, w2, gy2 = x[::-1, :, ::-1], w[..., ::-1], gy[::-1, ..., ::-1]
    kw, scale = case.kwargs, units(x, w, gy)
    y, gx, gw = passes(kernel, x, w, gy, kw)
    y2, gx2, gw2 = passes(kernel, x2, w, gy2, kw)
    both = passes(kernel, x + x2, w, gy + gy2, kw)
    cross = kernel.conv2d_grad_w(gy, x2, w_shape=w.shape, **kw, **BY_WINOGRAD)
    cross2 = kernel.conv2d_grad_w(gy2, x, w_shape=w.shape, **kw, **BY_WINOGRAD)
    near(both[0], y + y2, 4 * scale[0])
    near(both[1], gx + gx2, 4 * scale[1])
    near(both[2], gw + gw2 + cross + cross2, 8 * scale[2])
    y3, gx3, _ = passes(kernel, x, w2, gy, kw)
    less = passes(kernel, x, w - w2, gy, kw)
    near(less[0], y - y3, 4 * scale[0])
    near(less[1], gx - gx3, 4 * scale[1])


@given(case=winograd_convs(), rows=st.integers(0, 5), cols=st.integers(0, 5))
def test_shifting_the_input_shifts_the_output(case, rows, cols):
    x, w, _, gy = draw(case)
    kw, unit = {**case.kwargs, **BY_WINOGRAD}, units(x, w, gy)[0]
    moved = np.pad(x, ((0, 0), (0, 0), (rows, 0), (cols, 0)))  # zeros above and to the left
    y = kernel.conv2d(moved, w, **kw)
    near(y[:, :, rows:, cols:], kernel.conv2d(x, w, **kw), unit)


@given(case=winograd_convs())
def test_padding_is_zeros_around_the_input_and_cropping_its_gradient(case):
    x, w, _, gy = draw(case)
    top, bottom, left, right = case.kwargs["padding"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    none = {**case.kwargs, "padding": (0, 0, 0, 0)}
    scale = units(x, w, gy)
    y, gx, gw = passes(kernel, x, w, gy, case.kwargs)
    y2, gx2, gw2 = passes(kernel, padded, w, gy, none)
    near(y, y2, scale[0])
    near(gx, ref.crop(gx2, (top, bottom, left, right)), scale[1])
    near(gw, gw2, scale[2])


@given(case=winograd_convs())
def test_swapping_rows_and_columns_everywhere_transposes_every_pass(case):
    x, w, _, gy = draw(case)
    top, bottom, left, right = case.kwargs["padding"]
    turned = {**case.kwargs, "padding": (left, right, top, bottom)}
    straight = passes(kernel, x, w, gy, case.kwargs)
    turn = passes(kernel, *(a.swapaxes(2, 3) for a in (x, w, gy)), turned)
    for a, b, unit in zip(straight, turn, units(x, w, gy), strict=True):
        near(a, b.swapaxes(2, 3), unit)


@given(case=winograd_convs())
def test_a_batch_is_its_samples(case):
    x, w, _, gy = draw(case)
    kw, scale = case.kwargs, units(x, w, gy)
    y, gx, gw = passes(kernel, x, w, gy, kw)
    ones = [passes(kernel, x[i : i + 1], w, gy[i : i + 1], kw) for i in range(case.n)]
    for i, (y1, gx1, _) in enumerate(ones):
        near(y[i : i + 1], y1, scale[0])
        near(gx[i : i + 1], gx1, scale[1])
    near(gw, sum((gw1.astype(np.float64) for *_, gw1 in ones), np.zeros(w.shape)), scale[2])


@given(case=winograd_convs())
def test_groups_are_convolutions_of_their_own(case):
    x, w, _, gy = draw(case)
    cg, kg = case.c // case.groups, case.k // case.groups
    one, scale = {**case.kwargs, "groups": 1}, units(x, w, gy)
    y, gx, gw = passes(kernel, x, w, gy, case.kwargs)
    for g in range(case.groups):
        ins, outs = slice(g * cg, (g + 1) * cg), slice(g * kg, (g + 1) * kg)
        y1, gx1, gw1 = passes(kernel, x[:, ins], w[outs], gy[:, outs], one)
        near(y[:, outs], y1, scale[0])
        near(gx[:, ins], gx1, scale[1])
        near(gw[outs], gw1, scale[2])


@given(case=winograd_convs(), count=COUNTS)
def test_the_op_and_its_gradients_pass_the_algorithm_on(case, count):
    arrays = draw(case)
    x, w, b = (minigrad.tensor(a, requires_grad=True) for a in arrays[:3])
    pads = case.kwargs["padding"]
    with minigrad.threads(count):
        y = F.conv2d(x, w, b, padding=pads, groups=case.groups, algorithm="winograd")
        y.backward(minigrad.tensor(arrays[3]))
    want = kernel.conv2d(*arrays[:3], **case.kwargs, **BY_WINOGRAD)
    assert same(y.numpy(), want)
    _, gx, gw = passes(kernel, arrays[0], arrays[1], arrays[3], case.kwargs)
    assert same(x.grad.numpy(), gx) and same(w.grad.numpy(), gw)


@given(case=winograd_convs())
@settings(max_examples=min(100, settings.default.max_examples))
def test_a_weight_that_was_changed_in_place_is_seen(case):
    x, w, _, gy = draw(case)
    y, gx, _ = passes(kernel, x, w, gy, case.kwargs)
    w *= 2
    y2, gx2, _ = passes(kernel, x, w, gy, case.kwargs)
    assert (y2 == 2 * y).all() and (gx2 == 2 * gx).all()
