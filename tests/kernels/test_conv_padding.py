"""Design: large filters on small maps, where most products are by zeros of the padding.

The kernels leave such products out, for tiles of pixels, and never where a weight (in grad_w: a
gradient) is infinite or NaN, because by the definition a zero times it is NaN. The oracle does all
multiplications, in float64. As a program, this checks the layers on one instruction set.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import threads
from minigrad._kernels import conv as kernel
from minigrad._kernels import conv_choice, dispatch, kept
from tests.kernels.child import printed
from tests.kernels.test_conv_narrow import axis, check, definition, equal, operands, passes
from tests.layouts import same, u
from tests.strategies import FLOATS, SEEDS, Conv, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
SPECIALS = st.sampled_from((np.nan, np.inf, -np.inf))


@st.composite
def sides(draw):
    """An Axis of 1 to 8 source rows, mostly shorter than the filter's reach; uneven padding."""
    taps, dilation = draw(st.integers(2, 7)), draw(st.integers(1, 2))
    reach = dilation * (taps - 1) + 1
    size = draw(st.integers(1, 8))
    before = draw(st.integers(0, reach + 1))
    after = max(draw(st.integers(0, reach + 1)), reach - size - before)
    stride = draw(st.integers(1, 3))
    after = min(after, 7 * stride + reach - size - before)
    return axis(size, taps, stride, before, max(after, 0), dilation)


@st.composite
def drowned(draw):
    """1 to 20 images, channels enough for panels of every width."""
    n, groups = draw(st.sampled_from((1, 2, 3, 5, 7, 13, 20))), draw(st.sampled_from((1, 1, 2)))
    c, k = draw(st.sampled_from((3, 8, 13))), draw(st.sampled_from((5, 8, 17, 33)))
    return Conv(n, groups * c, groups * k, groups, draw(sides()), draw(sides()), draw(SEEDS))


LAYERS = {  # n, c, k, groups; rows and columns: size, taps, stride, before, after, dilation
    "as small as can be": (5, 20, 33, 1, (1, 7, 1, 3, 3, 1), (1, 7, 1, 3, 3, 1)),
    "4x4": (28, 13, 40, 1, (4, 7, 1, 3, 3, 1), (4, 7, 1, 3, 3, 1)),
    "5x5, one panel": (19, 30, 16, 1, (5, 7, 1, 3, 3, 1), (5, 7, 1, 3, 3, 1)),
    "7x7, one image": (1, 24, 24, 1, (7, 5, 1, 2, 2, 1), (7, 5, 1, 2, 2, 1)),
    "stride 2, groups": (12, 18, 54, 2, (5, 7, 2, 3, 3, 1), (6, 7, 2, 3, 2, 1)),
    "gaps": (9, 17, 20, 1, (5, 2, 3, 2, 3, 2), (7, 3, 3, 4, 1, 2)),
    "long rows": (17, 16, 24, 1, (2, 7, 1, 3, 3, 1), (60, 3, 1, 1, 1, 1)),
    "rows of several bands": (3, 16, 17, 1, (14, 7, 1, 3, 3, 1), (13, 7, 1, 3, 3, 1)),
    "columns of several bands": (2, 9, 17, 1, (2, 7, 1, 3, 3, 1), (420, 3, 1, 1, 1, 1)),
    "padding beyond the filter": (6, 16, 17, 1, (3, 3, 1, 5, 4, 1), (4, 5, 2, 7, 6, 1)),
    "dilated": (8, 20, 32, 1, (6, 4, 1, 3, 3, 2), (5, 5, 1, 4, 4, 2)),
    "there and back, two pixels": (1, 32, 1, 1, (4, 2, 1, 0, 0, 1), (2, 1, 1, 0, 0, 1)),
    "there and back, four pixels": (1, 32, 1, 1, (4, 2, 1, 0, 0, 1), (4, 1, 1, 0, 0, 1)),
    "nothing inside": (3, 16, 16, 1, (2, 2, 5, 3, 0, 1), (2, 3, 1, 1, 1, 1)),
}


def layer(name):
    n, c, k, groups, h, w = LAYERS[name]
    return Conv(n, c, k, groups, axis(*h), axis(*w), len(name))


@DTYPES
@given(case=drowned())
def test_every_pass_equals_the_definition_on_whole_numbers(dtype, case):
    check(case, dtype)


@DTYPES
@pytest.mark.parametrize("name", LAYERS)
def test_fixed_layers_equal_the_definition(dtype, name):
    for seed in (1, 2):  # by the library's choice, and by the definition
        check(replace(layer(name), seed=seed), dtype)


@pytest.mark.parametrize("isa", dispatch.isas())
def test_every_instruction_set_is_exact_in_poisoned_memory(isa):
    found = printed(isa, "-m", "tests.kernels.test_conv_padding", MINIGRAD_POISON="1")
    if found is None:
        pytest.skip(f"this CPU has no {isa}")
    assert found.split() == [isa, str(2 * len(LAYERS))]


@given(case=drowned())
def test_float32_stays_within_the_proven_bound(case):
    x, w, gy, _ = operands(case, np.float32, reals)
    exact, size = definition(case, x, w, gy), definition(case, abs(x), abs(w), abs(gy))
    k, cg, r, s = case.w_shape
    terms = cg * r * s, k // case.groups * r * s, case.n * case.h.out * case.w.out
    for got, want, a, count in zip(passes(case, x, w, gy), exact, size, terms, strict=True):
        assert np.all(abs(got - want) <= (count + 2) * u(np.float32) * a)


@DTYPES
@given(case=drowned(), special=SPECIALS, spot=SEEDS)
def test_special_pixels_and_gradients_go_where_the_sums_take_them(dtype, case, special, spot):
    """In gw a special gradient meets padded zeros, too."""
    x, w, gy, _ = operands(case, dtype)
    odd_x, odd_gy = x.copy(), gy.copy()
    odd_x.flat[spot % x.size] = odd_gy.flat[spot % gy.size] = special
    equal(passes(case, odd_x, w, gy), definition(case, odd_x, w, gy))
    equal(passes(case, x, w, odd_gy), definition(case, x, w, odd_gy))


@DTYPES
@given(case=drowned(), special=SPECIALS, spot=SEEDS)
def test_a_special_weight_meets_padded_zeros(dtype, case, special, spot):
    """gx of the weight's own input channel may be NaN by a padded zero of gy."""
    x, w, gy, _ = operands(case, dtype)
    k, c = np.unravel_index(spot % w.size, w.shape)[:2]
    w.flat[spot % w.size] = special
    want_y, want_gx, want_gw = definition(case, x, w, gy)
    y, gx, gw = passes(case, x, w, gy)
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(gw, want_gw)
    channel = c + k // (case.k // case.groups) * (case.c // case.groups)
    free = np.isnan(gx) & (np.arange(case.c) == channel)[:, None, None]
    np.testing.assert_array_equal(gx[~free], want_gx[~free])


@DTYPES
@pytest.mark.parametrize("name", ["4x4", "5x5, one panel", "stride 2, groups", "long rows"])
def test_every_special_weight_is_found(dtype, name):
    """One infinity anywhere in the packed panels makes the corner of its channel NaN."""
    case = layer(name)
    x, w, gy, _ = operands(case, dtype)
    rng = np.random.default_rng(case.seed)
    for spot in (0, w.size - 1, *rng.integers(0, w.size, 6)):
        odd = w.copy()
        odd.flat[spot] = np.inf
        np.testing.assert_array_equal(passes(case, x, odd, gy)[0], definition(case, x, odd, gy)[0])


@DTYPES
@pytest.mark.parametrize("name", LAYERS)
def test_no_team_and_no_other_image_changes_a_bit(dtype, name):
    """An image alone as well, where it is not multiplied as an im2row matrix."""
    case = layer(name)
    x, w, gy, _ = operands(case, dtype, reals)
    want = passes(case, x, w, gy)
    for count in (1, 2, 3):
        with threads(count):
            assert all(map(same, passes(case, x, w, gy), want))
    y, gx = forward(x, case, w), grad_x(gy, case, w)
    moved = np.random.default_rng(case.seed).permutation(case.n)
    assert same(forward(x[moved], case, w), y[moved])
    assert same(grad_x(gy[moved], case, w), gx[moved])
    one = replace(case, n=1)
    for i in range(0, case.n if w.size < 16384 else 0, 4):
        assert same(forward(x[i : i + 1], one, w), y[i : i + 1])
        assert same(grad_x(gy[i : i + 1], one, w), gx[i : i + 1])


def forward(x, case, w):
    return kernel.conv2d(x, w, algorithm="direct", **case.kwargs)


def grad_x(gy, case, w):
    return kernel.conv2d_grad_x(gy, w, x_shape=case.x_shape, algorithm="direct", **case.kwargs)


@DTYPES
@pytest.mark.parametrize("name", ["4x4", "5x5, one panel", "long rows"])
def test_scale_bias_residual_and_moments_see_every_output(dtype, name):
    case = layer(name)
    x, w, residual, b = operands(case, dtype)
    y = definition(case, x, w, residual)[0]
    how = {"algorithm": "direct", **case.kwargs}
    scale = b[::-1].copy()
    got = kernel.conv2d(x, w, b, scale=scale, residual=residual, relu=True, **how)
    factors, terms = (a.astype(np.float64).reshape(-1, 1, 1) for a in (scale, b))
    np.testing.assert_array_equal(got, np.maximum(y * factors + terms + residual, 0))
    got, mean, var = kernel.conv2d_moments(x, w, None, **how)
    np.testing.assert_array_equal(got, y)
    np.testing.assert_allclose(mean, y.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(var, y.var(axis=(0, 2, 3)), rtol=1e-5, atol=1e-4)


@DTYPES
@pytest.mark.parametrize("special", [1.0, np.nan])
def test_kept_weights_are_known_to_be_finite_or_not(dtype, special):
    case = layer("4x4")
    x, w, gy, _ = operands(case, dtype)
    w[-1, -1, 0, 0] = special
    want = definition(case, x, w, gy)[0]
    kept.hold(w)
    try:
        for _ in range(3):
            np.testing.assert_array_equal(forward(x, case, w), want)
    finally:
        kept.release(w)


def test_the_estimate_counts_only_products_inside():
    """Of a 5x5 filter's products on 4x4 pixels, four ninths are left of those on 8x8 pixels."""
    how = dict(stride=(1, 1), dilation=(1, 1), groups=1)
    small = conv_choice.plan((64, 48, 4, 4), (128, 48, 5, 5), padding=(2, 2, 2, 2), **how)
    whole = conv_choice.plan((64, 48, 8, 8), (128, 48, 5, 5), padding=(0, 0, 0, 0), **how)
    for name in ("forward", "grad_w"):
        assert small[name][2] < 0.9 * whole[name][2]
    assert small["forward"][2] < 0.7 * whole["forward"][2]


def main() -> None:
    """Check the fixed layers by the definition; print how many were right."""
    done = [check(replace(layer(name), seed=2), dtype) for name in LAYERS for dtype in FLOATS]
    print(dispatch.isa(), len(done))


if __name__ == "__main__":
    main()
