"""Which buffers were changed in place, and when.

Design: NumPy arrays carry no version.  The tape numbers nodes in the order they are made; a change
through the Tensor API takes a number from the same counter and writes it down for the buffer's
owner.  A kept array was changed after its node was made exactly when its owner's number is larger
than the node's.  Recording an op costs nothing; entries die with their buffers.

Absent on purpose: writes through ctypes or a foreign view of the same memory cannot be seen.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

_changed: dict[int, tuple[weakref.ref[Any], int, int]] = {}


def owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array at the bottom of a chain of views: one per buffer."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def bump(array: NDArray[Any], serial: int, *, tracked: bool) -> None:
    """Write down that the buffer under `array` was changed at moment `serial`.

    tracked: the change itself is on the tape, so views made before it no longer tell the truth.
    """
    root = owner(array)
    key = id(root)
    before = _changed.get(key)
    if before is not None and before[0]() is root:
        _changed[key] = (before[0], serial, serial if tracked else before[2])
        return
    alive = weakref.ref(root, lambda _: _changed.pop(key, None))
    _changed[key] = (alive, serial, serial if tracked else 0)


def changed_since(array: NDArray[Any], serial: int) -> bool:
    """Whether the buffer under `array` was changed after moment `serial`."""
    root = owner(array)
    entry = _changed.get(id(root))
    return entry is not None and entry[0]() is root and entry[1] > serial


def tracked_since(array: NDArray[Any], serial: int) -> bool:
    """Whether the buffer under `array` was changed on the tape after moment `serial`."""
    root = owner(array)
    entry = _changed.get(id(root))
    return entry is not None and entry[0]() is root and entry[2] > serial
