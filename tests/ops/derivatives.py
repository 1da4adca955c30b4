"""Design: any order of derivative of a function of float64 arrays, against central differences.

`check` compares <v, Ju> by differences with <u, J^T v> by the tape, one argument at a time, for
random u and v. Its step and tolerance are those of a kind of function: "linear" in each argument
(step 1, exact but for rounding), "piecewise" linear (2^-8, on values that keep away from kinks) or
"smooth" (2^-10, with the step doubled once to cancel the error of second order).

The next order is the same check of `Slope`: the function's gradients, contracted with fixed
directions, as a function of the arguments and of v. Each order also compares the fast rules with
what `create_graph=True` plays.

`check_subsets` and `check_layouts` are what an op owes besides: the same gradients whoever else
needs one, and in every memory layout, with operands untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from minigrad.autograd import grad
from minigrad.tensor import Tensor
from tests.layouts import lay, same

KINDS = {"linear": (1.0, 1e-11), "piecewise": (2.0**-8, 1e-12), "smooth": (2.0**-10, 1e-7)}
Function = Callable[..., Any]


def direction(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Normal values, none of them small: |u_i| >= 0.1 / sqrt(n)."""
    u = rng.standard_normal(shape)
    floor = 0.1 / np.sqrt(max(u.size, 1))
    return np.where(np.abs(u) < floor, np.copysign(floor, u), u)


def leaf(a: np.ndarray) -> Tensor:
    """A Tensor that owns a copy of a, in a's memory order, and collects a gradient."""
    return Tensor(np.array(a, order="K")).requires_grad_()


def gradients(f: Function, arrays: Sequence[np.ndarray], v: np.ndarray) -> list[np.ndarray]:
    """J^T v for every argument, by the first-order sweep; 0 where nothing flows."""
    leaves = [leaf(a) for a in arrays]
    f(*leaves).backward(v)
    return [np.zeros(t.shape) if t.grad is None else t.grad.data for t in leaves]


@dataclass(frozen=True)
class Slope:
    """(args, v) -> sum over the args of <w_i, grad_i of <f(args), v>>, on the tape."""

    f: Function
    directions: tuple[np.ndarray, ...]

    def __call__(self, *args: Tensor) -> Tensor:
        *xs, v = args
        found = grad([self.f(*xs)], xs, [v], create_graph=True, allow_unused=True)
        pairs = [(g, w) for g, w in zip(found, self.directions, strict=True) if g is not None]
        total = (xs[0] * 0.0).sum()
        for g, w in pairs:
            total = total + (g * w).sum()
        return total


def value(f: Function, arrays: Sequence[np.ndarray]) -> np.ndarray:
    return f(*(leaf(a) for a in arrays)).data


def check(
    f: Function, arrays: Sequence[np.ndarray], kind: str = "smooth", order: int = 2, seed: int = 0
) -> None:
    """Every derivative of f at the arrays, up to `order`."""
    rng = np.random.default_rng(seed)
    eps, tolerance = KINDS[kind]
    y = value(f, arrays)
    v = direction(rng, y.shape)
    found = gradients(f, arrays, v)
    recorded = grad([f(*(ts := [leaf(a) for a in arrays]))], ts, [Tensor(v)], create_graph=True,
                    allow_unused=True)  # fmt: skip
    for i, (a, g) in enumerate(zip(arrays, found, strict=True)):
        assert g.shape == a.shape and g.dtype == a.dtype
        again = np.zeros(g.shape) if recorded[i] is None else recorded[i].data
        np.testing.assert_allclose(again, g, rtol=1e-9, atol=1e-9 * (1 + np.abs(g).max(initial=0)))
        u = direction(rng, a.shape)

        def quotient(step, i=i, a=a, u=u):
            ends = (value(f, [*arrays[:i], a + h * u, *arrays[i + 1 :]]) for h in (step, -step))
            return np.subtract(*ends) / (2 * step)

        ju = quotient(eps)
        if kind == "smooth":
            ju = (4 * ju - quotient(2 * eps)) / 3
        size = np.linalg.norm(v) * np.linalg.norm(ju) + np.linalg.norm(g)
        noise = 4 * 2.0**-53 * np.linalg.norm(v) * np.linalg.norm(y) / eps
        error = abs((v * ju).sum() - (u * g).sum())
        assert error <= tolerance * size + noise, (order, i, error, size)
    if order > 1:
        slope = Slope(f, tuple(direction(rng, a.shape) for a in arrays))
        check(slope, [*arrays, v], kind, order - 1, seed + 1)


def check_subsets(f: Function, arrays: Sequence[np.ndarray], seed: int = 0) -> None:
    """All 2^k choices of arguments that need a gradient give bitwise the same gradients."""
    v = direction(np.random.default_rng(seed), value(f, arrays).shape)
    full = gradients(f, arrays, v)
    for needs in product((False, True), repeat=len(arrays)):
        if not any(needs):
            continue
        ts = [leaf(a) if need else Tensor(a) for a, need in zip(arrays, needs, strict=True)]
        f(*ts).backward(v)
        for t, need, g in zip(ts, needs, full, strict=True):
            assert t.grad is None if not need else same(t.grad.data, g)


def check_layouts(
    f: Function, arrays: Sequence[np.ndarray], layout: str, *, exact: bool = True, seed: int = 0
) -> None:
    """Operands and the incoming gradient in another layout change no bit, and stay unchanged."""
    arrays = [np.array(lay(a, layout)) for a in arrays]  # the values that "broadcast" leaves
    v = np.array(lay(direction(np.random.default_rng(seed), value(f, arrays).shape), layout))
    y, plain = value(f, arrays), gradients(f, arrays, v)
    laid, gy = [lay(a, layout) for a in arrays], lay(v, layout)
    ts = [Tensor(a).requires_grad_() for a in laid]
    out = f(*ts)
    out.backward(gy)
    agree = same if exact else close
    assert agree(out.data, y)
    for t, a, b, g in zip(ts, laid, arrays, plain, strict=True):
        assert agree(t.grad.data, g) and same(a, b)
        assert not np.shares_memory(t.grad.data, gy) and not np.shares_memory(out.data, a)
    assert same(gy, v)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for the order of a sum."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-11, atol=1e-11)
