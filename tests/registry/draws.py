"""Design: a sample of an op: what it is called with, and what it owes.

Inputs are written as draws (`f(2, 3)`: any sign, `pos`, `unit`) and become float64 arrays on one
dyadic grid: all numbers of a case differ by 2^-7 at least, also in absolute value, and `f` keeps as
far from 0, 1/2 and 1. So nothing is at a kink. Arrays of integers and booleans, numbers and None
are passed as they are. Constants that must be made anew for each call (a `Generator`) are wrapped
in `Fresh`.

`kind` says how the derivative is tested: LINEAR in each argument (step 1, exact but for rounding),
PIECEWISE linear (step 2^-8) or SMOOTH; EMPTY cases have no element, ROUNDS ones no derivative.
Next: the tables of cases, one family a file; `cases.py` joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.op import registry

LINEAR, PIECEWISE, SMOOTH, EMPTY, JUMPS = "linear", "piecewise", "smooth", "empty", "jumps"


@dataclass(frozen=True)
class Draw:
    """The shape of a float input and the range of its values."""

    shape: tuple[int, ...]
    values: str = "any"


def f(*shape: int) -> Draw:
    return Draw(shape)


def pos(*shape: int) -> Draw:
    """Above 1/2."""
    return Draw(shape, "positive")


def top(*shape: int) -> Draw:
    """The largest of all numbers of the first input."""
    return Draw(shape, "top")


def unit(*shape: int) -> Draw:
    """Between 0 and 1."""
    return Draw(shape, "unit")


@dataclass(frozen=True)
class Fresh:
    """A constant that is made for each call."""

    make: Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One op, called once. See the module's docstring."""

    op: str
    inputs: tuple[Any, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    kind: str = SMOOTH
    zero: tuple[str, ...] = ()  # inputs whose derivative is 0 by definition
    fixed: tuple[str, ...] = ()  # float inputs that the op treats as constants
    nan: str = "all"  # NaN must reach the output from all elements, those felt, or no

    def __str__(self) -> str:
        shapes = [
            "x".join(map(str, a.shape)) or "0d"
            if isinstance(a, Draw)
            else str(a.ravel()[:4] if isinstance(a, np.ndarray) else a)
            for a in self.inputs
        ]
        constants = [f"{k}={v}" for k, v in self.constants.items() if not isinstance(v, Fresh)]
        label = "-".join([self.op, *shapes, *constants, self.kind])
        return "".join(c for c in label if c.isalnum() or c in "-=.,_:")[:110]

    @property
    def name(self) -> Callable[..., Any]:
        return registry[self.op].apply

    def input_name(self, i: int) -> str:
        names = registry[self.op].spec.inputs
        return names[min(i, len(names) - 1)]

    @property
    def floats(self) -> list[int]:
        """Places of the float inputs."""
        return [i for i, a in enumerate(self.inputs) if isinstance(a, Draw)]

    @property
    def wanted(self) -> list[int]:
        """Places of the inputs that get a gradient."""
        return [i for i in self.floats if self.input_name(i) not in self.fixed]

    def arrays(self, dtype: Any = np.float64) -> list[Any]:
        """The inputs, on one dyadic grid."""
        rng = np.random.default_rng(sum(map(ord, str(self))))
        sizes = [int(np.prod(a.shape)) for a in self.inputs if isinstance(a, Draw)]
        total = sum(sizes)
        steps = iter(np.split(rng.permutation(total), np.cumsum(sizes)[:-1]))
        made = [
            on_grid(next(steps), total, a).astype(dtype) if isinstance(a, Draw) else a
            for a in self.inputs
        ]
        for i, a in enumerate(self.inputs):
            if isinstance(a, Draw) and a.values == "top":
                made[i][...] = made[0].max(initial=0.0)
        return made

    def __call__(self, *inputs: Any) -> Any:
        constants = {k: v.make() if isinstance(v, Fresh) else v for k, v in self.constants.items()}
        return self.name(*inputs, **constants)


def on_grid(steps: np.ndarray, total: int, draw: Draw) -> np.ndarray:
    """Distinct numbers k 2^-5 + 3 2^-7 (unit: between 0 and 1), one for each of the steps."""
    if draw.values == "unit":
        bits = int(total).bit_length() + 2
        values = (4 * steps + 3) * 2.0**-bits
    elif draw.values == "positive":
        values = (steps + 1) * 2.0**-5 + 0.5
    else:
        values = (steps - total // 2) * 2.0**-5 + 3 * 2.0**-7
    return values.reshape(draw.shape)


def tensors(case: Case, arrays: list[Any], needs: Any = None) -> list[Any]:
    """Tensors of the float inputs; those at the places `needs` (all wanted ones) are leaves."""
    needs = case.wanted if needs is None else needs
    return [
        mg.Tensor(a).requires_grad_(i in needs) if i in case.floats else a
        for i, a in enumerate(arrays)
    ]


def direction(shape: tuple[int, ...], dtype: Any = np.float64, seed: int = 1) -> np.ndarray:
    """Signed dyadic numbers, none of them small."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.integers(33, 96, shape) / 64, dtype)


def expand(op: str, *rows: Any, **shared: Any) -> Iterator[Case]:
    """Cases of one op: each row is a tuple of inputs, ending in a dict of constants if any."""
    for row in rows:
        *inputs, last = row if isinstance(row, tuple) else (row,)
        constants = last if isinstance(last, dict) else {}
        inputs = inputs if isinstance(last, dict) else [*inputs, last]
        yield Case(op, tuple(inputs), constants, **shared)
