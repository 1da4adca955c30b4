"""Design: how the tests of this folder ask a case: which cases, its gradients, bits compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from tests.registry.cases import CASES
from tests.registry.draws import Case, direction, tensors


def all_of(test: Callable[[Case], None]) -> Any:
    return pytest.mark.parametrize("case", CASES, ids=str)(test)


def some(kinds: tuple[str, ...]) -> Any:
    return pytest.mark.parametrize("case", [c for c in CASES if c.kind in kinds], ids=str)


def bits(a: np.ndarray) -> tuple[Any, ...]:
    return a.shape, a.dtype.str, np.ascontiguousarray(a).tobytes()


def play(case: Case, arrays: list[Any], g: Any = None) -> list[Any]:
    """The output and the gradients of the wanted inputs (None where there is none)."""
    xs = tensors(case, arrays)
    y = case(*xs)
    g = direction(y.shape, y.dtype) if g is None else g
    leaves = [xs[i] for i in case.wanted]
    found = mg.grad(y, leaves, mg.Tensor(g), allow_unused=True)
    return [y.data, *(None if t is None else t.data for t in found)]
