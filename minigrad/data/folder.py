"""Images in folders, one folder per class, on disk or inside a ``.zip``.

Design: class names are the sorted folder names and files are sorted within them, so the same
tree gives the same numbering everywhere.  Images are decoded by Pillow (the extra ``images``)
when asked for; ``load()`` decodes all of them once, for sets that fit in memory.  Zip members
are read into memory after ``streams.py`` has inspected the archive; nothing is extracted.
Files that are no images are passed over, as torchvision's ImageFolder does.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.data.dataset import Array, ArrayDataset
from minigrad.data.streams import MAX_BYTES, open_zip, read_member, safe_name
from minigrad.errors import ArgError, DataFormatError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
IMAGE_BYTES = 64 << 20  # of one encoded image
IMAGE_PIXELS = 64 << 20  # of one decoded image


def _pillow() -> ModuleType:
    """Pillow's Image module, or an ImportError that says what to install."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow: pip install 'minigrad[images]'") from error
    return Image


def is_gray(content: bytes, name: str) -> bool:
    """Does this encoded image have one channel?  DataFormatError if it is not an image."""
    try:
        with _pillow().open(io.BytesIO(content)) as image:
            return image.mode in ("1", "L", "LA", "I", "I;16", "F")
    except OSError as error:
        raise DataFormatError(f"{name}: not a readable image ({error})") from error


def decode(content: bytes, name: str, *, mode: str = "RGB", size: int | None = None) -> Array:
    """An encoded image as uint8 (H, W, 3), or (H, W) for ``mode`` "L".

    ``size``   resize the shorter side to it and crop the middle: (size, size)
    Raises   DataFormatError that names the file if Pillow cannot decode it or it is huge;
             ImportError, saying what to install, without Pillow
    """
    pil = _pillow()
    try:
        with pil.open(io.BytesIO(content)) as image:
            if image.width * image.height > IMAGE_PIXELS:
                raise DataFormatError(f"{name}: {image.width} x {image.height} pixels; refused")
            picture = image.convert(mode)
            if size is not None:
                scale = size / min(picture.size)
                w, h = (max(size, round(side * scale)) for side in picture.size)
                box = ((w - size) // 2, (h - size) // 2)
                picture = picture.resize((w, h), pil.Resampling.BILINEAR)
                picture = picture.crop((*box, box[0] + size, box[1] + size))
            return np.array(picture, dtype=np.uint8)
    except DataFormatError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever their format libraries do
        raise DataFormatError(f"{name}: not a readable image ({error})") from error


class ImageFolder:
    """Samples ``(image, label)`` from ``root/<class>/<anything>.jpg`` and the like.

    ``root``      a folder, or a ``.zip`` that contains such folders
    ``inside``    the sub-folder to read, such as "train"
    ``mode``      "RGB": images (H, W, 3); "L": gray, (H, W); "auto": what the first image is
    ``size``      resize and crop each image to (size, size); None leaves them as they are
    ``classes``   names in label order, where a test set must agree with its training set

    Raises   FileNotFoundError if ``root`` is missing; DataFormatError for a bad archive, no
             images, or a folder that is not in ``classes``
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        inside: str = "",
        mode: str = "RGB",
        size: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if mode not in ("RGB", "L", "auto"):
            raise ArgError(f"ImageFolder: mode must be 'RGB', 'L' or 'auto', got {mode!r}")
        if size is not None and (isinstance(size, bool) or size < 1):
            raise ArgError(f"ImageFolder: size must be at least 1, got {size!r}")
        self.root, self.mode, self.size = Path(root), mode, size
        self.zipped = open_zip(root) if self.root.is_file() else None
        prefix = inside.strip("/") + "/" if inside.strip("/") else ""
        found: dict[str, list[str]] = {}
        for name in self._names():
            parts = name.removeprefix(prefix).split("/")
            if name.startswith(prefix) and len(parts) > 1 and name.lower().endswith(SUFFIXES):
                found.setdefault(parts[0], []).append(name)
        if not found:
            raise DataFormatError(f"{root}: no images in class folders under {prefix or '.'!r}")
        self.classes = tuple(sorted(found) if classes is None else classes)
        unknown = sorted(set(found) - set(self.classes))
        if unknown:
            raise DataFormatError(f"{root}: folder {unknown[0]!r} is no class of {self.classes}")
        self.files = [
            (name, label)
            for label, key in enumerate(self.classes)
            for name in sorted(found.get(key, ()))
        ]
        if mode == "auto":
            self.mode = "L" if is_gray(*self._content(0)) else "RGB"

    def _names(self) -> list[str]:
        """Every file under the root, as a path with forward slashes; hidden ones left out."""
        if self.zipped is not None:
            self._member = {
                safe_name(info.filename, str(self.root)): info.filename
                for info in self.zipped.infolist()
                if not info.is_dir()
            }
            names = list(self._member)
        elif self.root.is_dir():
            names = []
            for folder, _, files in os.walk(self.root):
                base = Path(folder).relative_to(self.root)
                names += [(base / file).as_posix() for file in files]
        else:
            raise FileNotFoundError(f"{self.root}: no such folder or .zip file")
        return [n for n in names if not any(p.startswith((".", "__MACOSX")) for p in n.split("/"))]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        content, where = self._content(index)
        image = decode(content, where, mode=self.mode, size=self.size)
        return image, self.files[index][1]

    def _content(self, index: int) -> tuple[bytes, str]:
        """The encoded image, and what to call it in an error."""
        name = self.files[index][0]
        where = f"{self.root}: {name!r}"
        if self.zipped is not None:
            return read_member(self.zipped, self._member[name], IMAGE_BYTES), where
        path = self.root / name
        if path.stat().st_size > IMAGE_BYTES:
            raise DataFormatError(f"{where} is longer than {IMAGE_BYTES} bytes; refused")
        return path.read_bytes(), where

    def load(self, *, max_bytes: int = MAX_BYTES) -> ArrayDataset:
        """All images decoded: uint8 (N, H, W, 3) or (N, H, W), and labels int64 (N,).

        Raises   DataFormatError if images differ in size (pass ``size``), or if the array
                 would be larger than ``max_bytes``
        """
        first, _ = self[0]
        if first.size * len(self) > max_bytes:
            raise DataFormatError(
                f"{self.root}: {len(self)} images of {first.shape} exceed {max_bytes} bytes;"
                " use the ImageFolder itself, which decodes on demand"
            )
        x = np.empty((len(self), *first.shape), np.uint8)
        for i in range(len(self)):
            image, _ = self[i]
            if image.shape != first.shape:
                raise DataFormatError(
                    f"{self.root}: {self.files[i][0]!r} is {image.shape}, the first image"
                    f" {first.shape}; pass size= to bring them to one size"
                )
            x[i] = image
        return ArrayDataset(x, np.array([label for _, label in self.files], np.int64))

    def close(self) -> None:
        """Closes the archive, if there is one; images can no longer be read from it."""
        if self.zipped is not None:
            self.zipped.close()

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()
