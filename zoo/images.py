"""Reading one image from a file, as a net takes it.

Design: Pillow reads image formats (extra ``images``); ``.npy`` needs nothing.  A wrong size is an
error with both sizes, unless resizing was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import ArgError, DataFormatError


def read_npy(path: Path) -> NDArray[Any]:
    """(H, W) or (H, W, C) from a NumPy file: uint8, or floats in [0, 1]. Raises DataFormatError."""
    try:
        with np.errstate(over="ignore"):  # a header may claim any shape
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OverflowError) as error:
        raise DataFormatError(f"{path}: not a NumPy array file ({error})") from None
    if array.ndim not in (2, 3) or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        raise DataFormatError(
            f"{path}: expected an image (H, W) or (H, W, C) of uint8 or floats, got {array.dtype} "
            f"{array.shape}"
        )
    if array.dtype == np.uint8:
        return np.asarray(array, np.float32) / np.float32(255)
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # also where one is NaN
        raise DataFormatError(f"{path}: floats must lie in [0, 1]; divide them by their white")
    return np.array(array, np.float32)


def read_picture(path: Path, channels: int, size: tuple[int, int] | None) -> NDArray[Any]:
    """Pixels in [0, 1] by Pillow, (H, W) or (H, W, 3). Raises DataFormatError, ImportError."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError(
            f'{path}: reading images needs Pillow: pip install -e ".[images]"'
        ) from None
    try:
        with Image.open(path) as picture:
            picture = picture.convert("L" if channels == 1 else "RGB")
            if size is not None:
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(picture, np.float32) / np.float32(255)
    except UnidentifiedImageError:
        raise DataFormatError(f"{path}: not an image of a format that Pillow knows") from None
    except (Image.DecompressionBombError, SyntaxError, EOFError, ValueError) as error:
        raise DataFormatError(f"{path}: not a readable image ({error})") from None
    except OSError as error:
        if error.errno is not None:  # the system's, not Pillow's
            raise
        raise DataFormatError(f"{path}: not a readable image ({error})") from None


def read_image(
    path: str, channels: int, size: tuple[int, int], *, resize: bool = False
) -> NDArray[np.float32]:
    """One image as (C, H, W), float32 in [0, 1].

    Raises FileNotFoundError, DataFormatError for a file that is no image, ArgError when its size
    or channels are not what the net takes.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if file.suffix == ".npy":
        pixels = read_npy(file)
    else:
        pixels = read_picture(file, channels, size if resize else None)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    height, width, found = pixels.shape
    if (height, width) != tuple(size):
        way_out = "crop or resize the array" if file.suffix == ".npy" else "pass --resize"
        raise DataFormatError(
            f"{path}: the image is {width}x{height}, the net takes {size[1]}x{size[0]}; {way_out}"
        )
    if found != channels:
        raise ArgError(f"{path}: the image has {found} channels, the net takes {channels}")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
