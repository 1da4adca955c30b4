"""meta: build a net for its shapes, without memory for its numbers.

Design: inside ``with nn.meta():`` layers get parameters and buffers whose arrays are one number
read at every index (all strides 0, read-only), and ``nn.init`` does nothing.  Such a net has exact
shapes, names and dtypes; it runs forward and backward like any other, as a net of zeros; nothing
can write to it by accident, since its arrays are read-only.  An array becomes a real one, of its
own memory, when numbers are given to it: by ``load_state_dict``, or by an initialization outside of
``meta``.

What it costs: no memory per number and no time, so ResNet-1202 is built in a tenth of a second and
VGG-16 (553 MB of numbers) in less.  A forward pass takes the time of a real one, and memory for its
activations and for one layer's packed weights at a time.  The state is the thread's own, and ends
with the block whatever happens in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minigrad.tensor import Tensor

Array = NDArray[Any]
Shape = tuple[int, ...]

_thread = threading.local()
_NUMBERS = {
    (np.dtype(dtype), value): np.full((), value, dtype)
    for dtype in (np.float32, np.float64, np.int64)
    for value in (0, 1)
}


@contextmanager
def meta() -> Iterator[None]:
    """Inside the block, nets are built without memory for their parameters and buffers.

    >>> from minigrad import nn
    >>> with nn.meta():
    ...     layer = nn.Linear(100_000, 100_000)  # 40 GB of weights
    >>> layer.weight.shape
    (100000, 100000)
    """
    before = active()
    _thread.active = True
    try:
        yield
    finally:
        _thread.active = before


def active() -> bool:
    """Whether this thread is inside of ``meta``."""
    return getattr(_thread, "active", False)


def filled(shape: Shape, value: int, dtype: DTypeLike = np.float32) -> Array:
    """A new array of zeros or ones; inside of ``meta`` one number, read at every index."""
    if active():
        return np.broadcast_to(_NUMBERS[np.dtype(dtype), value], shape)
    return np.full(shape, value, dtype) if value else np.zeros(shape, dtype)


def is_meta(array: Array) -> bool:
    """Whether an array is one number of ``filled``."""
    return any(array.base is number for number in _NUMBERS.values())


def converted(array: Array, dtype: DTypeLike) -> Array:
    """``array.astype(dtype)``, that leaves a meta array one."""
    number = array.base
    if number is None or not is_meta(array):
        return array.astype(dtype)
    return np.broadcast_to(_NUMBERS[np.dtype(dtype), int(number)], array.shape)


def own(t: Tensor) -> Tensor:
    """Give a meta Tensor memory of its own, with the same numbers; returns `t`."""
    if is_meta(t.data):
        t.data = np.array(t.data, order="C")
    return t
