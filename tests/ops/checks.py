"""Design: what every op owes, asked of a `Case`: a function of Tensors and where to try it.

* `first_order`: the tape's gradient against central differences of the forward pass, per element.
* `second_order`: gradients of gradients against central differences of the first-order gradient,
  which the rules computed on plain arrays: so rules must mean the same on arrays and on Tensors.
* `float32_stays`: result and gradients are float32 and near the float64 ones.
* `layouts`: any memory layout of inputs and incoming gradient gives what C order gives.
* `subsets`: gradients do not depend on which inputs need one; inputs are left alone.

Values lie on a dyadic grid, all different in size, none at a kink (2^-7 away at least), and a
difference step is 2^-10, so nothing crosses a kink. Differences are of fourth order; their error is
measured against the largest entry. A derivative that is 0 everywhere would pass anything, so it
fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from tests.layouts import lay

STEP = 2.0**-10


@dataclass(frozen=True)
class Case:
    """An op at a point: `call` takes one Tensor for each shape."""

    name: str
    call: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    values: str = "any"  # "positive": above 1/2
    tol: float = 1e-8
    flat: bool = False  # the second derivative is 0
    ulps: float = 16  # how far layouts may differ, 0: not at all

    def __repr__(self) -> str:
        return self.name

    def arrays(self, dtype: Any = np.float64, seed: int = 0) -> list[np.ndarray]:
        """One array for each shape, no two entries equal over all of them."""
        rng = np.random.default_rng(seed + sum(map(ord, self.name)))
        sizes = [int(np.prod(s)) for s in self.shapes]
        grid = rng.permutation(sum(sizes)) * 2.0**-5 + 3 * 2.0**-7
        grid += 0.5 if self.values == "positive" else -(2.0**-5) * (sum(sizes) // 2)
        parts = np.split(grid, np.cumsum(sizes)[:-1])
        return [p.reshape(s).astype(dtype) for p, s in zip(parts, self.shapes, strict=True)]


def direction(shape: Sequence[int], seed: int, dtype: Any = np.float64) -> np.ndarray:
    """Signed numbers away from 0."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape), dtype)


def tensors(arrays: Sequence[np.ndarray]) -> list[mg.Tensor]:
    return [mg.Tensor(a.copy("K")).requires_grad_() for a in arrays]


def gradients(call: Callable[..., Any], arrays: Sequence[np.ndarray], g: Any = None) -> list[Any]:
    """dL/dx for L = <call(x), g>, the rules played on arrays; g is drawn if not given."""
    xs = tensors(arrays)
    y = call(*xs)
    g = direction(y.shape, 1, y.dtype) if g is None else g
    found = mg.grad(y, xs, mg.Tensor(g), allow_unused=True)
    return filled(found, arrays)


def filled(found: Sequence[Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The gradients as arrays, zeros where there is none."""
    pairs = zip(found, arrays, strict=True)
    return [np.zeros_like(a) if f is None else f.numpy() for f, a in pairs]


def value(call: Callable[..., Any], arrays: Sequence[np.ndarray]) -> float:
    """L = <call(x), g>, without recording."""
    with mg.no_grad():
        y = call(*[mg.Tensor(a) for a in arrays]).numpy()
    return float((y * direction(y.shape, 1)).sum())


def differences(
    f: Callable[..., float], arrays: Sequence[np.ndarray], most: int = 64
) -> list[dict[tuple[int, ...], float]]:
    """df/dx for `most` entries of each array, by central differences of fourth order."""
    found = []
    for k, a in enumerate(arrays):
        slope = {}
        entries = list(np.ndindex(a.shape))
        for n in np.random.default_rng(3).permutation(len(entries))[:most]:
            i = entries[n]
            at = []
            for step in (1, -1, 2, -2):
                moved = [b.copy() for b in arrays]
                moved[k][i] += step * STEP
                at.append(f(moved))
            slope[i] = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * STEP)
        found.append(slope)
    return found


def close(got: Sequence[np.ndarray], want: Sequence[np.ndarray], tol: float) -> None:
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.shape == b.shape, f"input {i}: {a.shape} is not {b.shape}"
        error, scale = np.abs(a - b).max(initial=0), max(np.abs(b).max(initial=0), 1e-3)
        assert error <= tol * scale, f"input {i}: off by {error} of {scale}\n{a}\n{b}"


def agree(
    got: Sequence[np.ndarray], want: Sequence[dict[tuple[int, ...], float]], tol: float
) -> None:
    """Each entry that was differenced, within tol of the largest of its array."""
    for k, (a, slopes) in enumerate(zip(got, want, strict=True)):
        scale = max(map(abs, slopes.values()), default=0.0)
        for i, s in slopes.items():
            assert abs(a[i] - s) <= tol * max(scale, 1e-3), f"input {k}, {i}: {a[i]} is not {s}"


def first_order(case: Case) -> None:
    arrays = case.arrays()
    want = differences(lambda a: value(case.call, a), arrays)
    assert all(any(abs(s) > 1e-6 for s in w.values()) for w in want), "0 proves nothing"
    agree(gradients(case.call, arrays), want, case.tol)


def slope_along(case: Case, arrays: Sequence[np.ndarray]) -> float:
    """S = sum over inputs of <dL/dx, u>."""
    gs = gradients(case.call, arrays)
    return sum(float((g * direction(g.shape, 7 + i)).sum()) for i, g in enumerate(gs))


def second_order(case: Case) -> None:
    arrays = case.arrays()
    want = differences(lambda a: slope_along(case, a), arrays, most=12)
    xs = tensors(arrays)
    y = case.call(*xs)
    g = mg.Tensor(direction(y.shape, 1)).requires_grad_()
    gs = mg.grad(y, xs, g, create_graph=True)
    total = sum((f * mg.Tensor(direction(f.shape, 7 + i))).sum() for i, f in enumerate(gs))
    got = mg.grad(total, [*xs, g], allow_unused=True)
    agree(filled(got[:-1], arrays), want, 10 * case.tol)
    assert case.flat == all(abs(s) < 1e-7 for w in want for s in w.values())
    # S is linear in g: its derivative there is J u, tested against <g, J u> = S.
    along = float((got[-1].numpy() * g.numpy()).sum())
    assert abs(along - total.item()) <= 1e-12 * max(1.0, np.abs(got[-1].numpy()).sum())


def third_order(case: Case) -> None:
    """Once more: the slope of a slope of a slope, against differences of the slope of a slope."""

    def bend(arrays: Sequence[np.ndarray]) -> tuple[Any, list[Any]]:
        xs = tensors(arrays)
        y = case.call(*xs)
        y = (y * mg.Tensor(direction(y.shape, 1))).sum()
        for order in range(2):
            gs = mg.grad(y, xs, create_graph=True)
            us = [mg.Tensor(direction(g.shape, 9 * order + i)) for i, g in enumerate(gs)]
            y = sum((g * u).sum() for g, u in zip(gs, us, strict=True))
        return y, xs

    arrays = case.arrays()
    want = differences(lambda a: bend(a)[0].item(), arrays, most=5)
    assert any(abs(s) > 1e-6 for w in want for s in w.values()), "0 proves nothing"
    y, xs = bend(arrays)
    agree(filled(mg.grad(y, xs, allow_unused=True), arrays), want, 100 * case.tol)


def float32_stays(case: Case) -> None:
    single, double = case.arrays(np.float32), case.arrays()
    y = case.call(*tensors(single))
    assert y.dtype == np.float32
    got = gradients(case.call, single)
    assert all(g.dtype == np.float32 for g in got)
    with mg.no_grad():
        want = case.call(*tensors(double))
    close([y.numpy()], [want.numpy()], 2e-5)
    close(got, gradients(case.call, double), 1e-4)


def layouts(case: Case) -> None:
    arrays = case.arrays()
    want_y = case.call(*tensors(arrays)).numpy()
    want = gradients(case.call, arrays)
    for layout in ("F", "reversed", "strided", "offset", "channels_last", "readonly"):
        laid = [lay(a, layout) if a.ndim else a for a in arrays]
        g = direction(want_y.shape, 1)
        g = lay(g, layout) if g.ndim else g
        xs = [mg.Tensor(a).requires_grad_() for a in laid]
        y = case.call(*xs)
        got = mg.grad(y, xs, mg.Tensor(g))
        tol = case.ulps * 2.0**-53
        close([y.numpy(), *(f.numpy() for f in got)], [want_y, *want], tol)
    flat = np.broadcast_to(np.float64(0.75), want_y.shape)  # what .sum().backward() sends
    close(
        gradients(case.call, arrays, flat),
        gradients(case.call, arrays, np.full(want_y.shape, 0.75)),
        case.ulps * 2.0**-53,
    )


def subsets(case: Case) -> None:
    arrays = case.arrays()
    want = gradients(case.call, arrays)
    g = direction(case.call(*tensors(arrays)).shape, 1)
    for needs in itertools.product([False, True], repeat=len(arrays)):
        if not any(needs):
            continue
        xs = [mg.Tensor(a.copy()) for a in arrays]
        for x, need in zip(xs, needs, strict=True):
            x.requires_grad_(need)
        case.call(*xs).backward(mg.Tensor(g))
        grads = [x.grad.numpy() for x in xs if x.grad is not None]
        for x, need, a, w in zip(xs, needs, arrays, want, strict=True):
            assert np.array_equal(x.numpy(), a), "an input was changed"
            assert (x.grad is not None) == need
            assert not need or np.array_equal(x.grad.numpy(), w)
        for a, b in itertools.combinations([*grads, g], 2):
            assert not np.shares_memory(a, b), "two gradients share memory"


CHECKS = (first_order, second_order, float32_stays, layouts, subsets)
