"""Resizing images: linear resampling as two matrix products, and crops at a random scale.

Design: along one axis every output pixel is a weighted sum of input pixels, so resizing is
``rows @ image @ columns.T`` with two small matrices that depend only on the sizes.  The weights
are a triangle; when shrinking, the triangle is widened by the factor, so that every input pixel
counts (antialiasing), as Pillow and torchvision do it.  Other filters are absent on purpose.

A crop of a resized image is some rows of the same matrices: ``ScaleJitterCrop`` never makes the
whole resized image.  The two random crops give each image a size of its own, so they loop over
images, not over pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from minigrad.data.transforms.basic import Array, like, need, pair, to_nhwc
from minigrad.errors import ArgError, ShapeError

TRIES = 10  # of RandomResizedCrop, before it takes the middle


def triangle(n_in: int, n_out: int, start: int = 0, stop: int | None = None) -> Array:
    """Rows start..stop of the matrix (n_out, n_in) that resamples an axis; rows sum to 1."""
    scale = n_in / n_out
    width = max(scale, 1.0)
    center = (np.arange(n_out)[start:stop] + 0.5) * scale  # input pixels have centers i + 0.5
    distance = np.abs(np.arange(n_in) + 0.5 - center[:, None]) / width
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


@lru_cache(maxsize=32)
def triangle_weights(n_in: int, n_out: int) -> Array:
    """The whole matrix, kept for the next batch."""
    weights = triangle(n_in, n_out)
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
    return in_kind_of(y.reshape(n, *size, c), x)


def in_kind_of(y: Array, x: Array) -> Array:
    """Resampled values in the dtype of ``x``; uint8 is rounded and clipped."""
    if x.dtype == np.uint8:
        return np.clip(np.rint(y), 0, 255).astype(np.uint8)
    return y.astype(x.dtype, copy=False)


def shorter_side_to(side: int, h: int, w: int) -> tuple[int, int]:
    """The size of an (h, w) image whose shorter side becomes ``side``, its aspect ratio kept."""
    return (side, int(side * w / h)) if h <= w else (int(side * h / w), side)


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
        return shorter_side_to(self.size[0], h, w) if self.shorter else self.size

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "Resize")
        return like(resize_nhwc(x, self.target(*x.shape[1:3])), images)


class ScaleJitterCrop:
    """A window of ``size`` at a random place of the image at a random scale: its shorter side
    becomes S, uniform among low, ..., high (VGG: Simonyan and Zisserman 2014, section 3.1, with
    [256, 512]; ResNet: [256, 480]).

    Shapes   (N, H, W, C) -> (N, *size, C)
    Raises   ArgError unless max(size) <= low <= high
    """

    def __init__(self, size: int | Sequence[int], low: int, high: int) -> None:
        self.size = pair(size, "ScaleJitterCrop size", 1)
        self.low, self.high = pair((low, high), "ScaleJitterCrop scales", 1)
        if not max(self.size) <= self.low <= self.high:
            raise ArgError(
                f"ScaleJitterCrop: needs size <= low <= high, got size {self.size}, low {low},"
                f" high {high}"
            )

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "ScaleJitterCrop")
        rng = need(rng, "ScaleJitterCrop")
        n, h, w, c = x.shape
        sides = rng.integers(self.low, self.high + 1, (n,))
        places = rng.random((n, 2))  # of the window, as a fraction of the room
        out = np.empty((n, *self.size, c), np.float32)
        for i in range(n):
            target = shorter_side_to(int(sides[i]), h, w)
            top, left = (int(places[i, k] * (target[k] - self.size[k] + 1)) for k in (0, 1))
            rows, columns = (top, top + self.size[0]), (left, left + self.size[1])
            out[i] = window_of_resized(x[i], target, rows, columns)
        return like(in_kind_of(out, x), images)


def window_of_resized(
    image: Array, target: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> Array:
    """Rows and columns (start, stop) of ``image`` (H, W, C) resized to ``target``: float32."""
    h, w, c = image.shape
    down, across = triangle(h, target[0], *rows), triangle(w, target[1], *columns)
    used = [np.flatnonzero(m.any(axis=0))[[0, -1]] for m in (down, across)]
    (top, bottom), (left, right) = ((int(a), int(b) + 1) for a, b in used)
    part = image[top:bottom, left:right].astype(np.float32)
    y = down[:, top:bottom] @ part.reshape(bottom - top, -1)  # (h, W'*C)
    out: Array = across[:, left:right] @ y.reshape(len(down), right - left, c)
    return out


class RandomResizedCrop:
    """A random part of each image, resized to ``size`` (GoogLeNet: Szegedy et al. 2014, section 6).

    The part's area is uniform in ``scale`` times the image's, its aspect ratio log-uniform in
    ``ratio``, its place uniform.  Where none of ten such parts fits, the largest centered one of
    an allowed ratio is taken.  Names and rules are torchvision's.

    Shapes   (N, H, W, C) -> (N, *size, C)
    Raises   ArgError unless 0 < low <= high for both intervals, and scale <= 1
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = pair(size, "RandomResizedCrop size", 1)
        if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ArgError(
                f"RandomResizedCrop: needs 0 < low <= high, and scale <= 1; got scale {scale},"
                f" ratio {ratio}"
            )
        self.scale, self.ratio = scale, ratio

    def boxes(self, n: int, h: int, w: int, rng: np.random.Generator) -> Array:
        """(top, left, height, width) of a part of each of n images of (h, w): int (n, 4)."""
        area = h * w * rng.uniform(*self.scale, (n, TRIES))
        low, high = (math.log(r) for r in self.ratio)
        ratio = np.exp(rng.uniform(low, high, (n, TRIES)))
        place = rng.random((n, TRIES, 2))
        widths = np.rint(np.sqrt(area * ratio)).astype(int)
        heights = np.rint(np.sqrt(area / ratio)).astype(int)
        fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)
        first = fits.argmax(axis=1)  # 0 where none fits
        rows = np.arange(n)
        height, width = heights[rows, first], widths[rows, first]
        top = (place[rows, first, 0] * (h - height + 1)).astype(int)
        left = (place[rows, first, 1] * (w - width + 1)).astype(int)
        found = np.stack([top, left, height, width], axis=1)
        found[~fits.any(axis=1)] = self.middle(h, w)
        return found

    def middle(self, h: int, w: int) -> tuple[int, int, int, int]:
        """The largest centered part of an (h, w) image with an allowed aspect ratio."""
        height, width = h, w
        if w / h < self.ratio[0]:
            height = max(1, round(w / self.ratio[0]))
        elif w / h > self.ratio[1]:
            width = max(1, round(h * self.ratio[1]))
        return (h - height) // 2, (w - width) // 2, height, width

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "RandomResizedCrop")
        n, h, w, c = x.shape
        if min(h, w) < 1:
            raise ShapeError(f"RandomResizedCrop: images of {h}x{w} pixels have no part")
        out = np.empty((n, *self.size, c), np.float32)
        boxes = self.boxes(n, h, w, need(rng, "RandomResizedCrop"))
        for i, (top, left, height, width) in enumerate(boxes):
            part = x[i, top : top + height, left : left + width]
            out[i] = window_of_resized(part, self.size, (0, self.size[0]), (0, self.size[1]))
        return like(in_kind_of(out, x), images)
