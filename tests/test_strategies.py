"""Design: the strategies are tested too: valid geometry, wide coverage, no rejected draws."""

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings

from minigrad.reference import conv as ref
from minigrad.reference import pool as ref_pool
from tests.layouts import LAYOUTS, lay
from tests.strategies import big_convs, convs, distinct, nchw, pools


def _draws(strategy, count):
    found = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(strategy)
    def collect(case):
        found.append(case)

    collect()
    return found


def test_conv_cases_are_valid_and_cover_every_class_of_geometry():
    seen = Counter()
    cases = _draws(convs(), 300)
    for case in cases:
        seen.update(case.classes())
        h = case.h
        assert case.h.size >= 1 and case.w.size >= 1
        out = ref.output_size(h.size, h.before + h.after, h.kernel, h.stride, h.dilation)
        assert out == h.out >= 1
        assert case.c % case.groups == case.k % case.groups == 0
    assert len(cases) >= 290
    for name in (
        "non-square input", "non-square kernel", "strides differ", "groups", "depthwise",
        "no batch", "remainder", "kernel above input", "dilated", "1x1", "one row or column",
        "asymmetric padding", "channels above a vector",
    ):  # fmt: skip
        least = 0.05 if name in ("1x1", "kernel above input", "one row or column") else 0.1
        assert seen[name] >= least * len(cases), (name, seen[name], len(cases))


def test_big_conv_cases_have_many_rows():
    assert all(min(c.h.out, c.w.out) > 10 for c in _draws(big_convs(), 20))


def test_every_pool_window_has_a_tap_inside_the_image():
    cases = _draws(pools(), 300)
    for case in cases:
        ones = np.ones((1, 1, *case.x_shape[2:]))
        y, _ = ref_pool.max_pool2d(ones, output=case.output, **case.window)
        assert y.shape[2:] == case.y_shape[2:] and (y == 1).all()
    assert sum(c.h.dilation > 1 and c.h.before > 0 for c in cases) >= 10
    assert sum(c.n == 0 for c in cases) >= 10
    over = [
        c.h.out
        > ref.output_size(c.h.size, c.h.before + c.h.after, c.h.kernel, c.h.stride, c.h.dilation)
        for c in cases
    ]
    assert sum(over) >= 10


def test_most_shapes_have_pairwise_different_sides():
    assert all(len({*shape}) == 4 for shape in _draws(nchw(), 100))
    cases = _draws(convs(), 200)
    apart = sum(len({*c.x_shape, c.k}) == 5 for c in cases)
    assert apart >= 0.6 * len(cases)


def test_distinct_values_are_exact_and_never_zero_or_equal():
    x = distinct(np.random.default_rng(0), (3, 4, 5), np.float32)
    assert len(np.unique(x)) == x.size and (x != 0).all()
    assert (x.astype(np.float64) * 64 % 1 == 0).all()


def test_layouts_keep_values():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    for name in LAYOUTS:
        y = lay(x, name)
        assert y.shape == x.shape and y.dtype == x.dtype
        assert name == "broadcast" or (y == x).all()
    assert lay(x, "broadcast").strides[0] == 0
    assert not lay(x, "misaligned").flags.aligned
    assert not lay(x, "memmap").flags.writeable
    assert min(lay(x, "reversed").strides) < 0
