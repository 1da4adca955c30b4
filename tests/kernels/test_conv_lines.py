"""Design: Winograd's algorithm along the lines of narrow layers, against the definition in float64.

The gate is that of `winograd_probe.py`. Cases are drawn around those where vectors run over images
and tiles along lines: 5x5 filters, few channels, up to 50 images, any padding, lines of part of a
tile. What is asked for is "winograd"; that it ran along lines, the plan says for the fixed layers.
The instruction sets, forbidden pages and threads are in `test_winograd_isa.py`.

Where to go next: `test_conv_narrow.py`, the same layers by the definition.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad
from minigrad import threads
from minigrad._kernels import conv as kernel
from minigrad._kernels import conv_choice
from tests.kernels.winograd_probe import (
    CASES,
    PASSES,
    PLAIN,
    check_gate,
    exact,
    how,
    operands,
    passes,
    units,
)
from tests.layouts import LAYOUTS, lay, same
from tests.strategies import SEEDS

BY_LINES = [*CASES][[*CASES].index("lenet 1") :]


@st.composite
def narrow(draw):
    """x_shape, w_shape, keyword arguments and a seed: 5x5 filters of a narrow layer."""
    groups = draw(st.sampled_from((1, 1, 2)))
    c, k = draw(st.integers(2 if groups > 1 else 1, 6)), draw(st.integers(1, 10))
    pads = tuple(draw(st.integers(0, 7)) for _ in range(4))
    least = [max(1, 5 - pads[0] - pads[1]), max(1, 5 - pads[2] - pads[3])]
    h, w = least[0] + draw(st.integers(0, 8)), least[1] + draw(st.integers(0, 24))
    n = draw(st.sampled_from((1, 7, 8, 9, 16, 17, 33, 50)))
    kwargs = {**PLAIN, "padding": pads, "groups": groups}
    return (n, groups * c, h, w), (groups * k, c, 5, 5), kwargs, draw(SEEDS)


def planned(x_shape, w_shape, kwargs):
    """Whether each pass is planned along lines."""
    plan = conv_choice.plan(x_shape, w_shape, algorithm="auto", **kwargs)
    return [plan[name][1].endswith("along lines") for name in PASSES]


@pytest.mark.parametrize("name", BY_LINES)
def test_the_fixed_layers_take_lines(name):
    x_shape, w_shape, _, _ = CASES[name]
    assert any(planned(x_shape, w_shape, how(name)))


def test_all_passes_of_lenet_s_second_layer_take_lines_and_say_so():
    x_shape, w_shape, _, _ = CASES["lenet 2"]
    assert planned(x_shape, w_shape, how("lenet 2")) == [True] * 3
    found = minigrad.explain(w_shape, x_shape, algorithm="auto").passes
    assert all(p.algorithm == "winograd" and "along lines" in p.reason for p in found)


@given(case=narrow(), layout=st.sampled_from(LAYOUTS))
def test_all_passes_keep_the_accuracy_gate(case, layout):
    x_shape, w_shape, kwargs, seed = case
    x, w, b, gy = (lay(a, layout) for a in operands(x_shape, w_shape, kwargs, seed))
    want, unit = exact(x, w, gy, kwargs), units(x, w, gy)
    got = passes(kernel, x, w, gy, kwargs)
    for which in range(3):
        check_gate(got[which], want[which], unit[which], PASSES[which])
    biased = kernel.conv2d(x, w, b, algorithm="winograd", **kwargs)
    rectified = kernel.conv2d(x, w, b, relu=True, algorithm="winograd", **kwargs)
    check_gate(biased, want[0] + b.astype(float).reshape(-1, 1, 1), unit[0] + 1, "bias")
    assert same(rectified, np.maximum(biased, 0))


@given(case=narrow(), special=st.sampled_from((np.nan, np.inf)), image=SEEDS)
def test_an_image_depends_on_no_other_image(case, special, image):
    x_shape, w_shape, kwargs, seed = case
    x, w, _, gy = operands(x_shape, w_shape, kwargs, seed)
    y, gx, _ = passes(kernel, x, w, gy, kwargs)
    rest = np.arange(x_shape[0]) != image % x_shape[0]
    x[~rest] = gy[~rest] = special
    got_y, got_gx, _ = passes(kernel, x, w, gy, kwargs)
    assert same(got_y[rest], y[rest]) and same(got_gx[rest], gx[rest])


@given(case=narrow(), row=SEEDS)
def test_a_line_of_gx_ends_where_its_gradients_do(case, row):
    """One gy of a map: gx is the filter, at its place, and exactly 0 in all other rows."""
    x_shape, w_shape, kwargs, seed = case
    x, w, _, gy = operands(x_shape, w_shape, kwargs, seed)
    spot = np.unravel_index(row % gy.size, gy.shape)
    one = np.zeros_like(gy)
    one[spot] = 1
    got, want = passes(kernel, x, w, one, kwargs)[1], exact(x, w, one, kwargs)[1]
    assert np.all(abs(got - want) <= 1e-5 * abs(w).max())
    rows = np.arange(x_shape[2]) + kwargs["padding"][0] - spot[2]
    apart = (rows < 0) | (rows > 4)  # Winograd in two dimensions leaves rounding errors there
    assert np.all(abs(got[:, :, apart]) <= 1e-5 * abs(w).max())


@pytest.mark.parametrize("name", BY_LINES)
def test_the_same_bits_for_any_threads(name):
    x_shape, w_shape, _, _ = CASES[name]
    x, w, _, gy = operands(x_shape, w_shape, how(name), 3)
    want = passes(kernel, x, w, gy, how(name))
    for count in (1, 2, 3):
        with threads(count):
            assert all(map(same, passes(kernel, x, w, gy, how(name)), want))


def test_statistics_are_taken_where_the_definition_is():
    """Lines take no moments: conv2d_moments of such a layer goes another way, to the same y."""
    x_shape, w_shape, _, _ = CASES["lenet 2"]
    x, w, b, gy = operands(x_shape, w_shape, how("lenet 2"), 4)
    y, mean, var = kernel.conv2d_moments(x, w, b, **how("lenet 2"))
    want = exact(x, w, gy, how("lenet 2"))[0] + b.astype(float).reshape(-1, 1, 1)
    check_gate(y, want, units(x, w, gy)[0] + 1)
    np.testing.assert_allclose(mean, want.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(var, want.var(axis=(0, 2, 3)), rtol=1e-4)
