"""anomaly: at which op, and on which line of your program, was this NaN born?

Design: while the context is on, every op's output and every gradient is looked at.  A value that is
NaN although nothing it was made from was NaN is reported at once, with the place where the op was
recorded.  It costs time only while it is on.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._engine import TensorBase, set_anomaly
from .errors import GraphError

_HERE = str(Path(__file__).parent)


def array_of(value: Any) -> Any:
    """The array of a Tensor; arrays and numbers as they are."""
    return value.data if isinstance(value, TensorBase) else np.asarray(value)


def has_nan(value: Any) -> bool:
    """Whether an array, Tensor or number holds a NaN."""
    array = array_of(value)
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def birthplace() -> str:
    """file:line of the innermost frame outside minigrad."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(_HERE) and frame.filename.endswith(("py", ">")):
            return f"{frame.filename}:{frame.lineno}"
    return "unknown place"


def first_nan(value: Any) -> tuple[int, ...]:
    """Index of the first NaN, in row-major order."""
    return tuple(int(i) for i in np.argwhere(np.isnan(array_of(value)))[0])


class Watcher:
    """What the tape calls while the context is on."""

    def forward(self, rule: Any, inputs: list[Any], out: Any, node: Any) -> None:
        """After an op: `out` came from `inputs`; `node` is None when it was not recorded."""
        place = birthplace()
        if node is not None:
            node.trace = place
        if has_nan(out) and not any(has_nan(x) for x in inputs if isinstance(x, np.ndarray)):
            raise GraphError(
                f"anomaly: {rule.__name__} made the first NaN, at index {first_nan(out)} of its "
                f"output {np.shape(out)}, at {place}"
            )

    def backward(self, node: Any, i: int, g: Any, value: Any) -> None:
        """After a gradient rule: `value` is the gradient of input `i`, made from `g`."""
        if has_nan(value) and not has_nan(g):
            raise GraphError(
                f"anomaly: the gradient of {node.name} with respect to input {i} "
                f"({node.rule.spec.inputs[min(i, len(node.rule.spec.inputs) - 1)]}) is NaN at "
                f"index {first_nan(value)}; the op was recorded at {node.trace or 'unknown place'}"
            )


@contextmanager
def anomaly() -> Iterator[None]:
    """``with anomaly():`` raise GraphError where a NaN is born, naming op, index and line."""
    before = set_anomaly(Watcher())
    try:
        yield
    finally:
        set_anomaly(before)
