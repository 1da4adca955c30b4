"""Color noise and occlusion.

Design: the same contract as ``basic.py`` (a batch in, a batch out, one generator).
``PCAColorNoise`` is AlexNet's; its directions are computed from the data by the same class that
applies them, because constants copied from other data sets are the usual mistake.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from minigrad.data.transforms.basic import Array, need, pair, to_nhwc
from minigrad.data.transforms.basic import like as in_order_of
from minigrad.errors import ArgError, ShapeError


def color_pca(images: ArrayLike) -> tuple[Array, Array]:
    """Principal components of the pixels' colors, on the scale where white is 1.

    The covariance is over all pixels of all images, around their mean (divisor: pixel count).

    Shapes   uint8 (N, H, W, C) or float (N, C, H, W) -> eigenvalues (C,), largest first;
             eigenvectors (C, C), ``vectors[:, i]`` belongs to ``values[i]``
    Raises   ShapeError if there is no pixel
    """
    given = np.asarray(images)
    x = to_nhwc(given, "color_pca")
    c, unit = x.shape[3], 255.0 if given.dtype == np.uint8 else 1.0
    count, total, outer = 0, np.zeros(c), np.zeros((c, c))
    for start in range(0, len(x), 1000):  # blocks bound the float64 copy
        pixels = x[start : start + 1000].reshape(-1, c) / unit
        count, total = count + len(pixels), total + pixels.sum(axis=0)
        outer += pixels.T @ pixels
    if count == 0:
        raise ShapeError(f"color_pca: no pixels in images of shape {given.shape}")
    mean = total / count
    values, vectors = np.linalg.eigh(outer / count - np.outer(mean, mean))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


class PCAColorNoise:
    """AlexNet's color noise: adds [p1 p2 p3] [a1 s1, a2 s2, a3 s3]^T to every pixel of an image.

    One triple a ~ N(0, ``std``) is drawn for each image; p_i are the eigenvectors of the color
    covariance.  The paper (Krizhevsky et al. 2012, section 4.1) has s_i = lambda_i, the
    eigenvalues, without saying on which pixel scale; what its successors use (and what gives
    noise of the stated size, std times the data's own spread) is s_i = sqrt(lambda_i).
    ``scale`` chooses: "deviation" (default) or "eigenvalue", both on the scale where white is 1.

    Values stay unclipped for float images, are rounded and clipped to 0..255 for uint8.

    Raises   ShapeError if the components do not fit the channels; ArgError for bad values
    """

    def __init__(
        self,
        values: ArrayLike,
        vectors: ArrayLike,
        *,
        std: float = 0.1,
        scale: str = "deviation",
    ) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self.vectors = np.asarray(vectors, dtype=np.float64)
        c = self.values.size
        if self.values.shape != (c,) or self.vectors.shape != (c, c):
            raise ShapeError(
                f"PCAColorNoise: expected values (C,) and vectors (C, C), got"
                f" {self.values.shape} and {self.vectors.shape}"
            )
        if (self.values < 0).any() or std < 0 or scale not in ("deviation", "eigenvalue"):
            raise ArgError(
                f"PCAColorNoise: values and std must be >= 0, scale deviation or eigenvalue;"
                f" got {self.values}, {std}, {scale!r}"
            )
        self.std = std
        self.spread = np.sqrt(self.values) if scale == "deviation" else self.values

    @classmethod
    def from_images(
        cls, images: ArrayLike, *, std: float = 0.1, scale: str = "deviation"
    ) -> PCAColorNoise:
        """The noise whose components are those of ``images`` (see ``color_pca``)."""
        return cls(*color_pca(images), std=std, scale=scale)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "PCAColorNoise")
        n, h, w, c = x.shape
        if c != len(self.values):
            raise ShapeError(
                f"PCAColorNoise: images have {c} channels, components {len(self.values)}"
            )
        a = need(rng, "PCAColorNoise").normal(0.0, self.std, (n, c))
        noise = (a * self.spread) @ self.vectors.T  # (N, C)
        if images.dtype == np.uint8:
            noise = noise * 255.0
        row = np.tile(noise.astype(np.float32), w)[:, None]  # (N, 1, W*C)
        y = x.reshape(n, h, w * c) + row
        if images.dtype == np.uint8:
            y = np.clip(np.rint(y, out=y), 0, 255, out=y)
        return in_order_of(y.astype(x.dtype, copy=False).reshape(n, h, w, c), images)


class Cutout:
    """Sets a rectangle of each image to ``fill`` (DeVries and Taylor 2017).

    The center is uniform over all pixels, so part of the rectangle may lie outside the image,
    as in the paper.  After ``Normalize`` the default fill 0 is the mean color.
    """

    def __init__(self, size: int | Sequence[int], *, fill: float = 0.0) -> None:
        self.size = pair(size, "Cutout size", 1)
        self.fill = fill

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "Cutout")
        rng = need(rng, "Cutout")
        n, h, w, _ = x.shape
        inside = []  # for rows, then columns: (N, h) and (N, w)
        for length, side in ((h, self.size[0]), (w, self.size[1])):
            start = rng.integers(0, length, (n, 1)) - side // 2
            at = np.arange(length)
            inside.append((at >= start) & (at < start + side))
        hidden = inside[0][:, :, None] & inside[1][:, None, :]  # (N, h, w)
        out = np.array(x, order="C")
        out[hidden] = self.fill
        return in_order_of(out, images)
