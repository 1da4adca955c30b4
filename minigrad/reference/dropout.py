"""Design: dropout by unpacked masks, from the definition of its bits.

Bit k of byte i is 1 where number 8 i + k is kept; numbers are counted in C order, or in the order
(N, H, W, C). Where to go next: `elementwise.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def drop(x: Array, bits: NDArray[np.uint8], *, scale: float, channels_last: bool) -> Array:
    """x (any shape) times scale where its bit is 1, else 0, also for NaN.

    >>> drop(np.array([1.0, 2.0, np.nan]), np.array([2], np.uint8), scale=2, channels_last=False)
    array([0., 4., 0.])
    """
    kept = np.unpackbits(bits, bitorder="little", count=x.size) == 1
    if channels_last:
        n, c, h, w = x.shape
        kept = kept.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    mask = kept.reshape(x.shape)  # a view, or nothing to do
    return np.where(mask, x * x.real.dtype.type(scale), np.zeros_like(x))


def pack_mask(
    words: NDArray[np.uint32], *, limit: int, images: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """words (n,) -> bits (ceil(n / 8),): 1 where a word is at least limit; images as in `drop`.

    >>> pack_mask(np.array([5, 1, 7], np.uint32), limit=5)
    array([5], dtype=uint8)
    """
    kept = words >= limit
    if images is not None:
        kept = kept.reshape(images).transpose(0, 2, 3, 1)
    return np.packbits(kept, axis=None, bitorder="little")
