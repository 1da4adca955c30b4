"""Normalization by the images themselves: mean image, global contrast, whitening.

Design: the same contract as ``basic.py``; like ``Normalize`` these make the step from bytes to
floats, and what they return is float32 (N, C, H, W) in channels-last memory.  What is learned
from training images is computed by a function (``mean_image``, ``zca``) and given to the
transform as arrays, so that it can be saved with a net.  Positions matter: a mean image or a
whitening matrix fits images of one size only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from minigrad.data.transforms.basic import Array, to_nhwc
from minigrad.errors import ArgError, ShapeError

BLOCK = 500  # images that are float64 at a time
MOST_VALUES = 4096  # of an image that is whitened: the matrix has the square of it


def unit_floats(images: Array, name: str) -> Array:
    """``images`` as float32 (N, H, W, C) with white = 1."""
    x = np.ascontiguousarray(to_nhwc(images, name), np.float32)
    return x / np.float32(255) if images.dtype == np.uint8 else x


def mean_image(batches: Iterable[Array]) -> Array:
    """The mean of all images, float32 (H, W, C) with white = 1.

    ``batches``   arrays uint8 (n, H, W[, C]) or float (n, C, H, W), all of one size
    Raises   ShapeError where sizes differ or there is no image
    """
    total, count = np.zeros(()), 0
    for batch in batches:
        x = to_nhwc(batch, "mean_image")
        if count and x.shape[1:] != total.shape:
            raise ShapeError(f"mean_image: images of {x.shape[1:]} after images of {total.shape}")
        unit = 255.0 if batch.dtype == np.uint8 else 1.0
        total, count = total + x.sum(axis=0, dtype=np.float64) / unit, count + len(x)
    if not count:
        raise ShapeError("mean_image: there are no images")
    return (total / count).astype(np.float32)


class PixelNormalize:
    """z = (x - mean) / std with a mean for every pixel (AlexNet, section 2: "subtracting the mean
    activity over the training set from each pixel").

    ``mean``   (H, W, C) with white = 1, as ``mean_image`` returns it; ``std``: C numbers or one
    Shapes     uint8 (N, H, W[, C]) or float (N, C, H, W) -> float32 (N, C, H, W)
    Raises     ShapeError if images are not (H, W, C); ArgError if a std is not positive
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike = 1.0) -> None:
        self.mean = np.asarray(mean, np.float32)
        self.std = np.atleast_1d(np.asarray(std, np.float32))
        if self.mean.ndim != 3 or len(self.std) not in (1, self.mean.shape[2]):
            raise ShapeError(
                f"PixelNormalize: expected a mean (H, W, C) and C deviations, got {self.mean.shape}"
                f" and {self.std.shape}"
            )
        if not (self.std > 0).all():
            raise ArgError(f"PixelNormalize: std must be positive, got {self.std}")

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = unit_floats(images, "PixelNormalize")
        if x.shape[1:] != self.mean.shape:
            raise ShapeError(
                f"PixelNormalize: images are {x.shape[1:]}, the mean image {self.mean.shape}"
            )
        out: Array = ((x - self.mean) / self.std).transpose(0, 3, 1, 2)
        return out


class GlobalContrastNormalize:
    """Each image gets mean 0 and root mean square ``scale``, over its pixels and channels alike
    (Goodfellow et al. 2013, "Maxout networks", section 5.2; their code gives 32x32x3 values a norm
    of 55, that is scale 55 / sqrt(3072)).

    A constant image becomes 0.
    Shapes   uint8 (N, H, W[, C]) or float (N, C, H, W) -> float32 (N, C, H, W)
    """

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ArgError(f"GlobalContrastNormalize: scale must be positive, got {scale}")
        self.scale = scale

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = unit_floats(images, "GlobalContrastNormalize")
        n, h, w, c = x.shape
        rows = x.reshape(n, h * w * c) - x.mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
        rms = np.sqrt((rows**2).mean(axis=1, keepdims=True))  # float64 (N, 1)
        rows *= self.scale / np.where(rms < 1e-6, 1.0, rms)
        out: Array = rows.astype(np.float32).reshape(n, h, w, c).transpose(0, 3, 1, 2)
        return out


def zca(batches: Iterable[Array], *, bias: float = 0.1) -> tuple[Array, Array]:
    """Mean (D,) and whitening matrix (D, D) of images, D = H W C, in the order (H, W, C).

    The matrix is V (S + bias)^(-1/2) V^T, S and V eigenvalues and eigenvectors of the covariance
    (divisor: number of images): symmetric, so whitened images look like images (Krizhevsky 2009;
    bias 0.1: the code of Goodfellow et al. 2013).

    ``batches``   float arrays (n, C, H, W) of one size
    Raises   ShapeError where there are no images, ArgError for more than 4096 values an image
    """
    total, outer, count = np.zeros(()), np.zeros(()), 0
    for batch in batches:
        x = to_nhwc(batch, "zca")
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        if x.shape[1] > MOST_VALUES:
            raise ArgError(
                f"zca: an image has {x.shape[1]} values, more than {MOST_VALUES}; use smaller ones"
            )
        for start in range(0, len(x), BLOCK):
            part = x[start : start + BLOCK].astype(np.float64)
            total, outer = total + part.sum(axis=0), outer + part.T @ part
        count += len(x)
    if not count:
        raise ShapeError("zca: there are no images")
    mean = total / count
    values, vectors = np.linalg.eigh(outer / count - np.outer(mean, mean))
    matrix = (vectors / np.sqrt(np.maximum(values, 0.0) + bias)) @ vectors.T
    return mean.astype(np.float32), matrix.astype(np.float32)


class Whiten:
    """y = (x - mean) matrix, each image as one row of numbers in the order (H, W, C); see ``zca``.

    Shapes   float (N, C, H, W) -> float32 (N, C, H, W)
    Raises   ShapeError if the matrix is not square or does not fit the images
    """

    def __init__(self, mean: ArrayLike, matrix: ArrayLike) -> None:
        self.mean, self.matrix = np.asarray(mean, np.float32), np.asarray(matrix, np.float32)
        d = self.mean.size
        if self.mean.shape != (d,) or self.matrix.shape != (d, d):
            raise ShapeError(
                f"Whiten: expected a mean (D,) and a matrix (D, D), got {self.mean.shape} and"
                f" {self.matrix.shape}"
            )

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = unit_floats(images, "Whiten")
        rows = x.reshape(len(x), math.prod(x.shape[1:]))
        if rows.shape[1] != len(self.mean):
            raise ShapeError(
                f"Whiten: images are {x.shape[1:]}, {rows.shape[1]} values; the matrix is for"
                f" {len(self.mean)}"
            )
        out: Array = ((rows - self.mean) @ self.matrix).reshape(x.shape).transpose(0, 3, 1, 2)
        return out
