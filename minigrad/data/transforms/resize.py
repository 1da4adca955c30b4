"""Resizing a batch of images: linear resampling as two matrix products.

Design: along one axis every output pixel is a weighted sum of input pixels, so resizing is
``rows @ image @ columns.T`` with two small matrices that depend only on the sizes.  The weights
are a triangle; when shrinking, the triangle is widened by the factor, so that every input pixel
counts (antialiasing), as Pillow and torchvision do it.  Other filters are absent on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from minigrad.data.transforms.basic import Array, like, pair, to_nhwc


@lru_cache(maxsize=32)
def triangle_weights(n_in: int, n_out: int) -> Array:
    """The matrix (n_out, n_in), rows summing to 1, that resamples an axis linearly."""
    scale = n_in / n_out
    width = max(scale, 1.0)
    center = (np.arange(n_out) + 0.5) * scale  # in input pixels, whose own centers are i + 0.5
    distance = np.abs(np.arange(n_in) + 0.5 - center[:, None]) / width
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = weights.astype(np.float32)
    weights.flags.writeable = False
    return weights


def resize_nhwc(x: Array, size: tuple[int, int]) -> Array:
    """``x`` (N, H, W, C) at ``size``; uint8 is rounded and stays uint8."""
    n, h, w, c = x.shape
    if (h, w) == size:
        return x
    y: Array = x.astype(np.float32, copy=False).reshape(n, h, w * c)
    y = triangle_weights(h, size[0]) @ y  # (N, P, W*C)
    y = triangle_weights(w, size[1]) @ y.reshape(n * size[0], w, c)  # (N*P, Q, C)
    y = y.reshape(n, *size, c)
    if x.dtype == np.uint8:
        return np.clip(np.rint(y), 0, 255).astype(np.uint8)
    return y.astype(x.dtype, copy=False)


class Resize:
    """Images at another size, by antialiased linear resampling.

    ``size``   (height, width), or one number for the shorter side (the aspect ratio is kept)
    Shapes     (N, H, W, C) -> (N, *size, C)
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.shorter = isinstance(size, int | np.integer)
        self.size = pair(size, "Resize size", 1)

    def target(self, h: int, w: int) -> tuple[int, int]:
        """The output size for images of (h, w)."""
        if not self.shorter:
            return self.size
        side = self.size[0]
        return (side, int(side * w / h)) if h <= w else (int(side * h / w), side)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "Resize")
        return like(resize_nhwc(x, self.target(*x.shape[1:3])), images)
