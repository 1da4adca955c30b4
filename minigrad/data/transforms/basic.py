"""Changes to a batch of images on its way into the net.

Design: a transform is a callable ``(images, rng) -> images`` on a whole batch, written without
a Python loop over pixels.  Images come as files have them, uint8 of shape (N, H, W, C) or
(N, H, W), and leave as networks want them, float32 of shape (N, C, H, W) whose memory is
channels-last; ``ToFloat`` and ``Normalize`` are the step from one to the other.  Every other
transform works on either side of that step, keeps what it is given, and never writes into it.

Randomness comes only from the ``np.random.Generator`` that is passed in, and every transform
draws a number that depends on the shape alone, so the loader can replay any batch.  Colour and
occlusion live in ``augment.py``, resampling in ``resize.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.errors import ArgError, DTypeError, ShapeError

Array = NDArray[Any]
Transform = Callable[[Array, "np.random.Generator | None"], Array]


def to_nhwc(images: Array, name: str) -> Array:
    """``images`` seen as (N, H, W, C): uint8 is that already, float is (N, C, H, W).

    Raises   DTypeError unless uint8, float32 or float64; ShapeError for a wrong rank
    """
    if images.dtype == np.uint8 and images.ndim == 3:
        return images[..., None]
    if images.dtype == np.uint8 and images.ndim == 4:
        return images
    if images.dtype not in (np.uint8, np.float32, np.float64):
        raise DTypeError(f"{name}: expected uint8 or float32 images, got {images.dtype}")
    if images.dtype != np.uint8 and images.ndim == 4:
        swapped: Array = images.transpose(0, 2, 3, 1)
        return swapped
    raise ShapeError(
        f"{name}: expected a batch, uint8 (N, H, W) or (N, H, W, C) or float (N, C, H, W),"
        f" got {images.dtype} {images.shape}; add a batch axis with images[None]"
    )


def like(nhwc: Array, images: Array) -> Array:
    """``nhwc`` in the axis order (and rank) that ``images`` had before ``to_nhwc``."""
    out: Array = nhwc
    if images.dtype != np.uint8:
        out = nhwc.transpose(0, 3, 1, 2)
    elif images.ndim == 3:
        out = nhwc[..., 0]
    return out


def need(rng: np.random.Generator | None, name: str) -> np.random.Generator:
    """``rng``, or an ArgError that says how to pass one."""
    if rng is None:
        raise ArgError(f"{name}: random, so pass rng=np.random.default_rng(seed)")
    return rng


def pair(value: int | Sequence[int], name: str, low: int) -> tuple[int, int]:
    """``value`` as (height, width), both at least ``low``."""
    both = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(both) != 2 or any(isinstance(v, bool) or int(v) != v for v in both):
        raise ArgError(f"{name}: expected an integer or a pair of them, got {value!r}")
    if min(both) < low:
        raise ArgError(f"{name}: expected at least {low}, got {value!r}")
    return int(both[0]), int(both[1])


class Compose:
    """Transforms one after the other, all drawing from the same generator in turn."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        for transform in self.transforms:
            images = transform(images, rng)
        return images


class Normalize:
    """z = (x - mean) / std per channel, with uint8 pixels first divided by 255.

    Shapes   uint8 (N, H, W, C) or (N, H, W), or float32 (N, C, H, W); mean, std: C numbers or one
             -> float32 (N, C, H, W), channels-last memory
    Raises   ArgError if a std is not positive; ShapeError if C differs from the statistics
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        self.mean = np.atleast_1d(np.asarray(mean, dtype=np.float64))
        self.std = np.atleast_1d(np.asarray(std, dtype=np.float64))
        if self.mean.ndim != 1 or self.std.ndim != 1 or not (self.std > 0).all():
            raise ArgError(f"Normalize: mean and std must be 1-D, std > 0; got std {self.std}")

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = np.ascontiguousarray(to_nhwc(images, "Normalize"))  # (N, H, W, C)
        n, h, w, c = x.shape
        if any(len(s) not in (1, c) for s in (self.mean, self.std)):
            raise ShapeError(
                f"Normalize: images have {c} channels, mean {len(self.mean)}, std {len(self.std)}"
            )
        unit = 255.0 if images.dtype == np.uint8 else 1.0
        scale = np.broadcast_to(1 / (unit * self.std), c)
        shift = np.broadcast_to(-self.mean / self.std, c)
        # Rows of H*W*C numbers keep NumPy's inner loop long; (..., C) would make it 3 steps.
        z = x.reshape(n, h * w * c) * np.tile(scale, h * w).astype(np.float32)
        z += np.tile(shift, h * w).astype(np.float32)
        out: Array = z.astype(np.float32, copy=False).reshape(n, h, w, c).transpose(0, 3, 1, 2)
        return out


class ToFloat(Normalize):
    """uint8 pixels divided by 255: float32 (N, C, H, W) in [0, 1], channels-last memory."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


class RandomHorizontalFlip:
    """Mirrors each image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgError(f"RandomHorizontalFlip: p must be in [0, 1], got {p}")
        self.p = p

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "RandomHorizontalFlip")
        chosen = np.flatnonzero(need(rng, "RandomHorizontalFlip").random(len(x)) < self.p)
        out = np.array(x, order="C")
        pixels = out.view(np.dtype((np.void, out.itemsize * x.shape[3])))[..., 0]  # (N, H, W)
        pixels[chosen] = pixels[chosen][:, :, ::-1]  # whole pixels move faster than C numbers
        return like(out, images)


def windows_at(x: Array, top: Array, left: Array, size: tuple[int, int]) -> Array:
    """x[n, top[n] : top[n] + h, left[n] : left[n] + w] for every n: (N, h, w, C)."""
    n, height, width, c = x.shape
    h, w = size
    rows = np.ascontiguousarray(x).reshape(n, height, width * c)
    # Every window of a padded image, as a view: (N, H-h+1, W*C-w*C+1, h, w*C).
    views = np.lib.stride_tricks.sliding_window_view(rows, (h, w * c), axis=(1, 2))
    crops: Array = views[np.arange(n), top, left * c]  # (N, h, w*C)
    return crops.reshape(n, h, w, c)


class RandomCrop:
    """A window of ``size`` at a uniformly random place of each image, padded first.

    ResNet (He et al. 2016, section 4.2) pads CIFAR images by 4 with zeros and crops 32x32.

    ``padding``       pixels on all four sides, or (vertical, horizontal)
    ``padding_mode``  "constant" (with ``fill``), "reflect" or "edge"
    Shapes   (N, H, W, C) -> (N, *size, C)
    Raises   ShapeError if the padded image is smaller than ``size``
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] = 0,
        *,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = pair(size, "RandomCrop size", 1)
        self.padding = pair(padding, "RandomCrop padding", 0)
        if padding_mode not in ("constant", "reflect", "edge"):
            raise ArgError(
                f"RandomCrop: padding_mode {padding_mode!r}; expected constant, reflect or edge"
            )
        self.fill, self.padding_mode = fill, padding_mode

    def pad(self, x: Array) -> Array:
        """``x`` (N, H, W, C) with its border: (N, H + 2 ph, W + 2 pw, C)."""
        (ph, pw), (n, h, w, c) = self.padding, x.shape
        if (ph, pw) == (0, 0):
            return x
        if self.padding_mode != "constant":
            border = ((0, 0), (ph, ph), (pw, pw), (0, 0))
            if self.padding_mode == "edge":
                return np.pad(x, border, mode="edge")
            return np.pad(x, border, mode="reflect")
        out = np.full((n, h + 2 * ph, w + 2 * pw, c), self.fill, dtype=x.dtype)
        out[:, ph : ph + h, pw : pw + w] = x
        return out

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        rng = need(rng, "RandomCrop")
        x = self.pad(to_nhwc(images, "RandomCrop"))
        room = (x.shape[1] - self.size[0], x.shape[2] - self.size[1])
        if min(room) < 0:
            raise ShapeError(
                f"RandomCrop: size {self.size} does not fit the padded image {x.shape[1:3]}"
                f" (padding {self.padding}); raise padding or Resize first"
            )
        top = rng.integers(0, room[0] + 1, len(x))
        left = rng.integers(0, room[1] + 1, len(x))
        return like(windows_at(x, top, left, self.size), images)


def corners(x: Array, size: tuple[int, int], name: str) -> list[tuple[int, int]]:
    """(top, left) of the four corner windows and the center one, as AlexNet's ten-crop has them."""
    room = (x.shape[1] - size[0], x.shape[2] - size[1])
    if min(room) < 0:
        raise ShapeError(f"{name}: size {size} does not fit images of {x.shape[1:3]}; Resize first")
    down, right = room
    return [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]


class CenterCrop:
    """The middle window of ``size``.  (N, H, W, C) -> (N, *size, C).

    Raises   ShapeError if an image is smaller than ``size``
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size, "CenterCrop size", 1)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "CenterCrop")
        top, left = corners(x, self.size, "CenterCrop")[-1]
        return like(x[:, top : top + self.size[0], left : left + self.size[1]], images)


class TenCrop:
    """Four corners and the center, each also mirrored (AlexNet, section 4.1; test time).

    Shapes   (N, H, W, C) -> (10 N, *size, C); crops of one image are neighbors, so
             ``logits.reshape(N, 10, K).mean(axis=1)`` averages them
    Raises   ShapeError if an image is smaller than ``size``
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size, "TenCrop size", 1)

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        x = to_nhwc(images, "TenCrop")
        h, w = self.size
        five = [x[:, t : t + h, s : s + w] for t, s in corners(x, self.size, "TenCrop")]
        ten = np.stack(five + [crop[:, :, ::-1] for crop in five], axis=1)  # (N, 10, h, w, C)
        return like(ten.reshape(-1, h, w, x.shape[3]), images)
