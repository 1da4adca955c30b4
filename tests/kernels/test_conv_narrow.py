"""Design: convolutions of narrow layers with many images, against the definition in float64.

With few channels and 7 to 50 images, vectors may run over the images of a batch. Whole numbers make
every order of summation exact; reals are held to the proven bound, to the adjoint identities and to
the same bits for any threads, any order of the images and any neighbors. Nothing here knows which
kernel runs, but it is never Winograd's (`test_winograd.py`). As a program, this checks the layers.
"""

import ctypes
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import threads
from minigrad._kernels import conv as kernel
from minigrad._kernels import conv_choice, dispatch, memory
from tests.kernels.child import printed
from tests.layouts import LAYOUTS, check_memory, is_channels_last, lay, same, u
from tests.strategies import FLOATS, SEEDS, Axis, Conv, integers, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
BATCHES = (8, 7, 9, 15, 16, 17, 31, 32, 33, 48, 50)
SPECIALS = st.sampled_from((np.nan, np.inf, -np.inf))
GUARD, FILL = 64, 0xA5  # bytes behind a result, and what is in them


def ways(case, dtype):
    """The keyword arguments of forward, grad_x and grad_w; odd seeds leave the choice open."""
    kw, shapes = case.kwargs, (case.x_shape, case.w_shape)
    plan = conv_choice.plan(*shapes, real64=dtype == np.float64, algorithm="auto", **kw)
    sums = (plan[name][0] != "winograd" for name in ("forward", "grad_x", "grad_w"))
    return [{**kw, "algorithm": "auto" if plain and case.seed % 2 else "direct"} for plain in sums]


def axis(size, taps, stride, before, after, dilation):
    """An Axis with as many outputs as have all their taps in the padded image."""
    out = (size + before + after - dilation * (taps - 1) - 1) // stride + 1
    return Axis(size, taps, stride, before, after, dilation, out)


@st.composite
def sides(draw):
    """An Axis: ordinary, long, of one pixel, padded beyond reach and image, or skipping pixels."""
    kind = draw(st.sampled_from(("plain", "plain", "long", "single", "far", "gaps")))
    taps = draw(st.integers(1, {"far": 3, "gaps": 2}.get(kind, 7)))
    stride, dilation = (3, 1) if kind == "gaps" else draw(st.tuples(*(st.integers(1, 3),) * 2))
    reach = dilation * (taps - 1) + 1
    pads = st.integers(reach, reach + 5) if kind == "far" else st.integers(0, 3)
    before, after = draw(pads), draw(pads)
    if kind == "single":
        return axis(1, taps, stride, before, max(after, reach - 1 - before), dilation)
    size = max(1, reach - before - after) + draw(st.integers(0, 21 if kind == "long" else 6))
    return axis(size, taps, stride, before, after, dilation)


@st.composite
def narrow(draw):
    """7 to 50 images, 1 to 10 channels in and out of a group, 1 to 3 groups."""
    n, groups = draw(st.sampled_from(BATCHES)), draw(st.sampled_from((1, 1, 2, 3)))
    c, k = (groups * draw(st.integers(1, 10)) for _ in range(2))
    return Conv(n, c, k, groups, draw(sides()), draw(sides()), draw(SEEDS))


def definition(case, x, w, gy):
    """y, gx and gw, tap by tap in float64; padded zeros are multiplied like any other number."""
    x, w, gy = (np.asarray(a, np.float64) for a in (x, w, gy))
    groups, h, v = case.groups, case.h, case.w
    xp = np.pad(x, ((0, 0), (0, 0), (h.before, h.after), (v.before, v.after)))
    xp = xp.reshape(case.n, groups, -1, *xp.shape[2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    gy = gy.reshape(case.n, groups, -1, h.out, v.out)
    y, gxp, gw = np.zeros_like(gy), np.zeros_like(xp), np.zeros_like(w)
    with np.errstate(invalid="ignore"):
        for r, s in np.ndindex(h.kernel, v.kernel):
            rows = np.arange(h.out)[:, None] * h.stride + r * h.dilation
            cols = np.arange(v.out) * v.stride + s * v.dilation
            y += np.einsum("ngcpq,gkc->ngkpq", xp[..., rows, cols], w[..., r, s])
            gw[..., r, s] = np.einsum("ngkpq,ngcpq->gkc", gy, xp[..., rows, cols])
            gxp[..., rows, cols] += np.einsum("ngkpq,gkc->ngcpq", gy, w[..., r, s])
    gx = gxp[..., h.before : h.before + h.size, v.before : v.before + v.size]
    return y.reshape(case.y_shape), gx.reshape(case.x_shape), gw.reshape(case.w_shape)


def operands(case, dtype, make=integers):
    """x, w, gy, b."""
    rng = np.random.default_rng(case.seed)
    shapes = case.x_shape, case.w_shape, case.y_shape, (case.k,)
    return [make(rng, shape, dtype) for shape in shapes]


def runs(case, x, w, gy):
    """Functions that compute y, gx and gw by the kernels."""
    forward, by_x, by_w = ways(case, x.dtype)
    return (
        lambda: kernel.conv2d(x, w, **forward),
        lambda: kernel.conv2d_grad_x(gy, w, x_shape=case.x_shape, **by_x),
        lambda: kernel.conv2d_grad_w(gy, x, w_shape=case.w_shape, **by_w),
    )


def passes(case, x, w, gy):
    """y, gx and gw, in memory that held NaN if the pool has it again."""
    for shape in (case.x_shape, case.w_shape, case.y_shape):
        memory.empty_array(shape, x.dtype).fill(np.nan)
    return tuple(run() for run in runs(case, x, w, gy))


def equal(got, want):
    """Equal numbers in every pair; NaN equals NaN."""
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def root(a):
    """The array that owns the memory of a, with what lies around and between a's elements."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def check(case, dtype, layouts=("C", "C", "C", "C")):
    """All passes on whole numbers in the given layouts: exact values, and nothing else touched."""
    inputs = x, w, gy, b = [lay(a, s) for a, s in zip(operands(case, dtype), layouts, strict=True)]
    before = [root(a).tobytes() for a in inputs]
    wants = definition(case, x, w, gy)
    biased = wants[0] + np.asarray(b, np.float64).reshape(-1, 1, 1)
    outs = passes(case, x, w, gy)
    for bias, relu in (b, False), (b, True), (None, True):
        outs += (kernel.conv2d(x, w, bias, relu=relu, **ways(case, dtype)[0]),)
    equal(outs, (*wants, biased, np.maximum(biased, 0), np.maximum(wants[0], 0)))
    assert all(out.dtype == dtype for out in outs) and outs[2].flags.c_contiguous
    assert all(map(is_channels_last, (*outs[:2], *outs[3:])))
    check_memory(outs, tuple(inputs))
    assert [root(a).tobytes() for a in inputs] == before


@DTYPES
@settings(max_examples=4 * settings.default.max_examples)
@given(case=narrow(), layouts=st.tuples(*(st.sampled_from(LAYOUTS),) * 4))
def test_every_pass_equals_the_definition_on_whole_numbers(dtype, case, layouts):
    check(case, dtype, layouts)


LAYERS = {  # n, c, k, groups; rows and columns: size, taps, stride, before, after, dilation
    "lenet 1": (64, 1, 6, 1, (28, 5, 1, 2, 2, 1), (28, 5, 1, 2, 2, 1)),
    "lenet 2": (64, 6, 16, 1, (14, 5, 1, 0, 0, 1), (14, 5, 1, 0, 0, 1)),
    "tails": (33, 3, 7, 1, (11, 3, 1, 1, 1, 1), (13, 3, 1, 0, 2, 1)),
    "fewer images than lanes": (7, 10, 9, 1, (6, 2, 1, 0, 1, 1), (9, 3, 1, 1, 1, 1)),
    "groups": (31, 24, 18, 3, (19, 4, 2, 3, 1, 1), (18, 3, 3, 0, 2, 1)),
    "many pixels": (50, 10, 9, 1, (21, 3, 1, 2, 1, 1), (22, 3, 2, 1, 1, 2)),
    "pixels": (48, 5, 8, 1, (4, 1, 1, 0, 0, 1), (6, 1, 1, 0, 0, 1)),
    "pixels skipped": (17, 4, 3, 1, (10, 1, 3, 0, 0, 1), (11, 2, 3, 1, 0, 1)),
    "zeros all around": (16, 2, 5, 1, (1, 2, 1, 9, 8, 3), (2, 3, 2, 7, 9, 1)),
    "one row": (9, 3, 4, 1, (1, 7, 1, 3, 3, 1), (19, 5, 2, 1, 4, 3)),
    "one column": (32, 6, 2, 2, (21, 7, 1, 2, 0, 3), (1, 3, 1, 1, 1, 1)),
}


def layer(name):
    n, c, k, groups, h, w = LAYERS[name]
    return Conv(n, c, k, groups, axis(*h), axis(*w), len(name))


@DTYPES
@pytest.mark.parametrize("name", LAYERS)
def test_fixed_layers_equal_the_definition(dtype, name):
    for seed in (1, 2):  # by the library's choice, and by the definition
        check(replace(layer(name), seed=seed), dtype)


@pytest.mark.parametrize("isa", dispatch.isas())
def test_every_instruction_set_is_exact_in_poisoned_memory(isa):
    """The child's fresh memory is NaN; its batches have 1 to 50 images, for any vector length."""
    found = printed(isa, "-m", "tests.kernels.test_conv_narrow", MINIGRAD_POISON="1")
    if found is None:
        pytest.skip(f"this CPU has no {isa}")
    assert found.split() == [isa, str(2 * (len(LAYERS) + 50))]


@given(case=narrow())
def test_float32_stays_within_the_proven_bound(case):
    x, w, gy, _ = operands(case, np.float32, reals)
    exact, size = definition(case, x, w, gy), definition(case, abs(x), abs(w), abs(gy))
    k, cg, r, s = case.w_shape
    terms = cg * r * s, k // case.groups * r * s, case.n * case.h.out * case.w.out
    for got, want, a, count in zip(passes(case, x, w, gy), exact, size, terms, strict=True):
        assert np.all(abs(got - want) <= (count + 2) * u(np.float32) * a)


@given(case=narrow())
def test_adjoint_identities(case):
    x, w, gy, _ = operands(case, np.float64, reals)
    y, gx, gw = passes(case, x, w, gy)
    size = (definition(case, abs(x), abs(w), abs(gy))[0] * abs(gy)).sum()
    assert abs((y * gy).sum() - (gx * x).sum()) <= 1e-13 * size
    assert abs((y * gy).sum() - (gw * w).sum()) <= 1e-13 * size


@DTYPES
@given(case=narrow(), special=SPECIALS, spot=SEEDS)
def test_special_pixels_and_gradients_go_where_the_sums_take_them(dtype, case, special, spot):
    x, w, gy, b = operands(case, dtype)
    odd_x, odd_gy = x.copy(), gy.copy()
    odd_x.flat[spot % x.size] = odd_gy.flat[spot % gy.size] = special
    want = definition(case, odd_x, w, gy)
    equal(passes(case, odd_x, w, gy), want)
    equal(passes(case, x, w, odd_gy), definition(case, x, w, odd_gy))
    got = kernel.conv2d(odd_x, w, b, relu=True, **ways(case, dtype)[0])
    np.testing.assert_array_equal(got, np.maximum(want[0] + b.reshape(-1, 1, 1), 0))


@DTYPES
@given(case=narrow(), special=SPECIALS, spot=SEEDS)
def test_a_special_weight_meets_padded_zeros_too(dtype, case, special, spot):
    """gx: a pixel that it would meet in a window outside may be NaN, by a padded zero of gy."""
    x, w, gy, _ = operands(case, dtype)
    k, c, r, s = np.unravel_index(spot % w.size, w.shape)
    w[k, c, r, s] = special
    want_y, want_gx, _ = definition(case, x, w, gy)
    y, gx, _ = passes(case, x, w, gy)
    np.testing.assert_array_equal(y, want_y)
    h, v, free = case.h, case.w, np.isnan(gx) & np.isfinite(want_gx)
    free &= (np.arange(h.size)[:, None] + h.before - r * h.dilation) % h.stride == 0
    free &= (np.arange(v.size) + v.before - s * v.dilation) % v.stride == 0
    channel = c + k // (case.k // case.groups) * (case.c // case.groups)
    free &= (np.arange(case.c) == channel)[:, None, None]
    np.testing.assert_array_equal(gx[~free], want_gx[~free])


@DTYPES
@given(case=narrow())
def test_a_pixel_that_no_window_meets_has_gradient_zero(dtype, case):
    x, w, gy, _ = operands(case, dtype)
    met = definition(case, x, np.ones_like(w), np.ones_like(gy))[1] > 0
    gx = passes(case, x, w, np.full_like(gy, np.nan))[1]
    assert np.all(np.isnan(gx[met])) and np.all(gx[~met] == 0)


@DTYPES
@given(case=narrow(), special=SPECIALS, image=SEEDS)
def test_an_image_depends_on_no_other_image_nor_on_its_place(dtype, case, special, image):
    x, w, gy, _ = operands(case, dtype, reals)
    y, gx, _ = passes(case, x, w, gy)
    moved = np.random.default_rng(image).permutation(case.n)
    got_y, got_gx, _ = passes(case, x[moved], w, gy[moved])
    assert same(got_y, y[moved]) and same(got_gx, gx[moved])
    x[image % case.n] = gy[image % case.n] = special
    rest = np.arange(case.n) != image % case.n
    got_y, got_gx, _ = passes(case, x, w, gy)
    assert same(got_y[rest], y[rest]) and same(got_gx[rest], gx[rest])


@DTYPES
@pytest.mark.parametrize("name", ["lenet 1", "lenet 2", "groups", "many pixels"])
def test_the_same_bits_for_any_threads_layout_and_run(dtype, name):
    case = layer(name)  # above 3 MFLOP a pass: work for a team
    x, w, gy, _ = operands(case, dtype, reals)
    want = passes(case, x, w, gy)
    for count, layout in product((1, 1, 2, 3), ("C", "channels_last", "strided")):
        with threads(count):
            got = passes(case, *(lay(a, layout) for a in (x, w, gy)))
        assert all(map(same, got, want))


@pytest.mark.skipif("MINIGRAD_POISON" in os.environ, reason="the pool fills its blocks itself")
@DTYPES
@pytest.mark.parametrize("n", (7, 9, 17, 33))
def test_nothing_is_written_behind_a_result(dtype, n):
    """Results of 4 KiB and more lie at the start of a block of the pool, filled beforehand."""
    case = Conv(n, 7, 9, 1, axis(9, 7, 1, 3, 2, 1), axis(11, 7, 1, 3, 3, 1), n)
    x, w, gy, _ = operands(case, dtype)
    for run, result in zip(runs(case, x, w, gy), passes(case, x, w, gy), strict=True):
        held = [memory.empty_array(result.nbytes + GUARD, np.uint8) for _ in range(8)]
        held = {block.ctypes.data: block.fill(FILL) for block in held}  # addresses: they are free
        out = run()
        assert out.ctypes.data in held and same(out, result)
        behind = (ctypes.c_ubyte * GUARD).from_address(out.ctypes.data + out.nbytes)
        assert set(behind) == {FILL}


def main() -> None:
    """Check the fixed layers, and a small one with 1 to 50 images; print how many were right."""
    small = replace(layer("tails"), c=2, k=5, h=axis(4, 3, 1, 1, 1, 1))
    cases = [*map(layer, LAYERS), *(replace(small, n=n, seed=n) for n in range(1, 51))]
    done = [check(case, dtype) for case in cases for dtype in FLOATS]
    print(dispatch.isa(), len(done))


if __name__ == "__main__":
    main()
