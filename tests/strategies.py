"""Design: valid geometry is constructed, never filtered; values come from one drawn seed.

A window axis is drawn from its output: kernel, stride, dilation, padding and the remainder that the
last window leaves come first, the input size follows. Hypothesis then shrinks the geometry and
leaves the seed alone. Seven draws in ten force all dimensions to differ, because equal ones hide
mixed-up axes. Channel counts come from the set that leaves every kind of SIMD tail.

Where to go next: `layouts.py`, the memory layouts that every operand is tried in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

CHANNELS = (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33)
SEEDS = st.integers(0, 2**32 - 1)
FLOATS = (np.float32, np.float64)
WINOGRAD_CHANNELS = (1, 3, 7, 8, 15, 16, 17, 24, 33, 64, 130)
WINOGRAD_GROUPED = (1, 3, 7, 8, 15, 16, 17, 24, 33)  # channels of one group of several


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window; size = (out-1) stride + reach - before - after + rem."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    out: int

    def longer(self) -> Axis:
        """The same window over an input with one more output."""
        return Axis(
            self.size + self.stride, self.kernel, self.stride,
            self.before, self.after, self.dilation, self.out + 1,
        )  # fmt: skip


@st.composite
def axes(draw, max_out=6, max_kernel=4, max_pad=3, kernel=None):
    """An Axis whose input has at least one element, simplest values first."""
    k = kernel or draw(st.integers(1, max_kernel))
    s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    before = draw(st.integers(0, max_pad))
    after = before if draw(st.booleans()) else draw(st.integers(0, max_pad))
    rem = draw(st.integers(0, s - 1))  # rows that no window reaches
    reach = d * (k - 1) + 1
    low = max(1, -(-(1 + before + after - reach - rem) // s) + 1)
    out = low + draw(st.integers(0, max_out - 1))
    return Axis((out - 1) * s + reach - before - after + rem, k, s, before, after, d, out)


@st.composite
def pool_axes(draw, max_out=6, dilated=True):
    """An Axis whose every window has a tap inside the image (padding at most half the reach)."""
    k = draw(st.integers(1, 4))
    s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)) if dilated else 1
    before, after = (draw(st.integers(0, k // 2)) for _ in range(2))
    if d > 1:  # a dilated window may straddle a short image: pad less than a step, keep it long
        before, after = min(before, d - 1), min(after, d - 1)
    rem = draw(st.integers(0, s - 1))
    reach = d * (k - 1) + 1
    need = max(1, d) + before + after  # an image as long as a step cannot be straddled
    low = max(1, -(-(need - reach - rem) // s) + 1)
    out = low + draw(st.integers(0, max_out - 1))
    size = (out - 1) * s + reach - before - after + rem
    if rem and before <= out * s < size + before:  # room for ceil_mode's window over the edge
        out += draw(st.booleans())
    return Axis(size, k, s, before, after, d, out)


@dataclass(frozen=True)
class Conv:
    """A convolution problem: two axes, N, K, C, groups, and the seed of its values."""

    n: int
    c: int
    k: int
    groups: int
    h: Axis
    w: Axis
    seed: int

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h.size, self.w.size

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        return self.k, self.c // self.groups, self.h.kernel, self.w.kernel

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.k, self.h.out, self.w.out

    @property
    def kwargs(self) -> dict[str, Any]:
        return {**_window_kwargs(self.h, self.w), "groups": self.groups}

    def classes(self) -> set[str]:
        """The kinds of geometry that a test run must have met (see `test_strategies.py`)."""
        h, w = self.h, self.w
        found = {
            "non-square input": h.size != w.size,
            "non-square kernel": h.kernel != w.kernel,
            "strides differ": h.stride != w.stride,
            "groups": self.groups > 1,
            "depthwise": self.groups == self.c > 1,
            "no batch": self.n == 0,
            "remainder": (h.out - 1) * h.stride + h.dilation * (h.kernel - 1) + 1
            < h.size + h.before + h.after,
            "kernel above input": h.kernel > h.size or w.kernel > w.size,
            "dilated": (h.dilation > 1 and h.kernel > 1) or (w.dilation > 1 and w.kernel > 1),
            "1x1": h.kernel == w.kernel == 1,
            "one row or column": h.size == 1 or w.size == 1,
            "asymmetric padding": h.before != h.after or w.before != w.after,
            "channels above a vector": max(self.c, self.k) // self.groups > 8,
        }
        return {name for name, true in found.items() if true}


@dataclass(frozen=True)
class Pool:
    """A pooling problem: two axes, N and C, and the seed of its values."""

    n: int
    c: int
    h: Axis
    w: Axis
    seed: int

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h.size, self.w.size

    @property
    def output(self) -> tuple[int, int]:
        return self.h.out, self.w.out

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return (self.n, self.c, *self.output)

    @property
    def window(self) -> dict[str, Any]:
        """kernel, stride, padding, dilation."""
        return {"kernel": (self.h.kernel, self.w.kernel), **_window_kwargs(self.h, self.w)}


def _window_kwargs(h: Axis, w: Axis) -> dict[str, Any]:
    return {
        "stride": (h.stride, w.stride),
        "padding": (h.before, h.after, w.before, w.after),
        "dilation": (h.dilation, w.dilation),
    }


def _apart(h: Axis, w: Axis, used: set[int]) -> tuple[Axis, Axis]:
    """Lengthen both axes until their input sizes differ from each other and from `used`."""
    while h.size in used:
        h = h.longer()
    while w.size in used | {h.size} or w.out == h.out:
        w = w.longer()
    return h, w


@st.composite
def convs(draw, max_n=3, max_out=6, channels=CHANNELS):
    """Conv problems; `distinct` makes N, C, K, H, W pairwise different and R differ from S."""
    distinct = draw(st.integers(0, 9)) >= 2
    h = draw(axes(max_out=max_out))
    w = draw(axes(max_out=max_out))
    if distinct and w.kernel == h.kernel and h.kernel > 1:
        w = draw(axes(max_out=max_out, kernel=h.kernel - 1))
    kind = draw(st.sampled_from(("dense", "depthwise", "grouped")))
    if kind == "dense":
        groups, c, k = 1, draw(st.sampled_from(channels)), draw(st.sampled_from(channels))
    elif kind == "depthwise":
        groups = c = draw(st.sampled_from(channels))
        k = groups * draw(st.integers(1, 2))
    else:
        groups = draw(st.integers(2, 4))
        c, k = (groups * draw(st.sampled_from((1, 2, 3, 4, 7, 8, 9, 17))) for _ in range(2))
    n = (draw(st.integers(0, 3)) + 1) % 4 if max_n else 0
    if distinct:
        k += groups * (k == c)
        h, w = _apart(h, w, {n, c, k})
    return Conv(n, c, k, groups, h, w, draw(SEEDS))


@st.composite
def big_convs(draw):
    """Outputs up to 40 a side and 9 to 33 channels, to reach parallel chunks and edge tiles."""
    h, w = (draw(axes(max_out=6, max_kernel=3)) for _ in range(2))
    for _ in range(draw(st.integers(10, 33))):
        h = h.longer()
    for _ in range(draw(st.integers(10, 33))):
        w = w.longer()
    c, k = (draw(st.sampled_from((9, 15, 16, 17, 31, 32, 33))) for _ in range(2))
    return Conv(draw(st.integers(1, 3)), c, k, 1, h, w, draw(SEEDS))


@st.composite
def winograd_axes(draw, kernel, max_out):
    """An Axis of step 1, padded by 0 to kernel + 1 at either end, with an input of 1 or more."""
    before, after = draw(st.integers(0, kernel + 1)), draw(st.integers(0, kernel + 1))
    low = max(1, before + after + 2 - kernel)
    out = low + draw(st.integers(0, max_out - 1))
    return Axis(out - 1 + kernel - before - after, kernel, 1, before, after, 1, out)


@st.composite
def winograd_convs(draw, channels=WINOGRAD_CHANNELS):
    """Conv problems for 6x6 tiles: 3x3 or 5x5, step 1, dense or grouped, never depthwise.

    Maps of up to 14 a side, batches of tiny maps, wide and tall images; all but the tiny ones with
    sides that differ.
    """
    kernel = draw(st.sampled_from((3, 5)))
    kind = draw(st.sampled_from(("map", "map", "tiny", "wide", "tall")))
    rows, cols = {"map": (14, 14), "tiny": (4, 4), "wide": (3, 70), "tall": (70, 3)}[kind]
    n = draw(st.integers(1, 40)) if kind == "tiny" else (draw(st.integers(0, 3)) + 1) % 4
    h, w = draw(winograd_axes(kernel, rows)), draw(winograd_axes(kernel, cols))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    if groups == 1:
        c, k = (draw(st.sampled_from(channels)) for _ in range(2))
    else:
        c, k = (draw(st.sampled_from(WINOGRAD_GROUPED)) for _ in range(2))
        c, k = groups * max(c, 2), groups * k  # one input channel a group is depthwise
    if kind != "tiny":
        h, w = _apart(h, w, {n, c, k})
    return Conv(n, c, k, groups, h, w, draw(SEEDS))


@st.composite
def pools(draw, max_out=6, dilated=True):
    """Pool problems, N, C, H, W pairwise different in eight draws of ten."""
    distinct = draw(st.integers(0, 9)) >= 2
    h, w = (draw(pool_axes(max_out=max_out, dilated=dilated)) for _ in range(2))
    n, c = (draw(st.integers(0, 3)) + 1) % 4, draw(st.sampled_from(CHANNELS))
    if distinct:
        c += c == n
        h, w = _apart(h, w, {n, c})
    return Pool(n, c, h, w, draw(SEEDS))


@st.composite
def nchw(draw, max_side=6, min_n=0):
    """A shape (N,C,H,W) with pairwise different sides, N possibly 0."""
    n = max((draw(st.integers(0, 3)) + 1) % 4, min_n)
    c = draw(st.sampled_from(CHANNELS))
    c += c == n
    h = draw(st.integers(1, max_side))
    h = next(v for v in range(h, h + 3) if v not in (n, c))
    w = draw(st.integers(1, max_side))
    w = next(v for v in range(w, w + 4) if v not in (n, c, h))
    return n, c, h, w


def integers(rng: np.random.Generator, shape, dtype=np.float64, low=-3, high=3) -> np.ndarray:
    """Small whole numbers, so that float sums are exact in any order."""
    return rng.integers(low, high + 1, shape).astype(dtype)


def reals(rng: np.random.Generator, shape, dtype=np.float64) -> np.ndarray:
    """Standard normal values."""
    return np.asarray(rng.standard_normal(shape), dtype)


def distinct(rng: np.random.Generator, shape, dtype=np.float64) -> np.ndarray:
    """A permutation of steps of 2^-5, none zero, no two equal, all exact in float32."""
    size = int(np.prod(shape))
    return ((rng.permutation(size) - size // 2) * 2.0**-5 + 2.0**-6).reshape(shape).astype(dtype)
