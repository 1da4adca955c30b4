"""A data set from a path: whatever is there is recognized by its looks.

Design: a folder with MNIST's file names is IDX, one with CIFAR's is CIFAR, any other folder or
``.zip`` holds images in class folders (under ``train`` and ``test`` or ``val``, if those exist),
an ``.npz`` holds arrays.  Where there is no test set, every tenth image, chosen at random by a
fixed seed, becomes one.  Statistics are computed from the training images.  ``held_out_from_path``
finds the same test set without reading training images: evaluation needs no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minigrad.data import (
    ArrayDataset,
    ImageFolder,
    Subset,
    random_split,
    read_cifar,
    read_idx,
    read_idx_folder,
    read_npz,
)
from minigrad.data.cifar import CIFAR10, CIFAR100
from minigrad.data.idx import find_idx, read_idx_pair
from minigrad.data.streams import open_zip
from minigrad.errors import DataFormatError

from .catalog import DatasetInfo

Array = NDArray[Any]
Set = ArrayDataset | ImageFolder
Found = ArrayDataset | ImageFolder | Subset
IDX_PARTS = ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
TEST_NAMES = ("test", "val", "valid", "validation")
MEMORY = 1 << 30  # bytes of decoded images that are kept in memory
SAMPLE = 2000  # images that statistics of a set on disk are computed from


class HeldOut(NamedTuple):
    """A test set alone: samples (image, label), the names of its classes, channels of its images.

    Statistics are absent: images are prepared by those that a net was trained with.
    """

    images: Found
    classes: tuple[str, ...]
    channels: int


def channel_statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, white = 1; a constant channel has deviation 1.

    Shapes   uint8 (N, H, W) or (N, H, W, C), or float (N, C, H, W) -> two tuples of C numbers
    """
    if images.dtype != np.uint8:
        mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    else:
        channels = images.reshape(-1, 1 if images.ndim == 3 else images.shape[3])
        level = np.arange(256) / 255
        counts = [np.bincount(c, minlength=256) for c in channels.T]  # exact, without a float copy
        mean = np.array([c @ level / c.sum() for c in counts])
        square = np.array([c @ level**2 / c.sum() for c in counts])
        std = np.sqrt(np.maximum(square - mean**2, 0))
    std = np.where(std > 0, std, 1.0)
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)


def describe(name: str, images: Array, classes: tuple[str, ...]) -> DatasetInfo:
    """The info of a set of images that has no published one."""
    mean, std = channel_statistics(images)
    h, w = images.shape[1:3] if images.dtype == np.uint8 else images.shape[2:4]
    return DatasetInfo(name, classes, mean, std, len(mean), (int(h), int(w)))


def split(dataset: ArrayDataset) -> tuple[ArrayDataset, ArrayDataset]:
    """Nine tenths for training, one for testing; the same ones every time."""
    train, test = random_split(dataset, [0.9, 0.1], seed=0)
    return ArrayDataset(*dataset.batch(train.indices)), ArrayDataset(*dataset.batch(test.indices))


def is_cifar(path: Path, classes: int) -> bool:
    """Whether CIFAR's binaries for so many classes lie at ``path``."""
    inner, train, _, _ = CIFAR10 if classes == 10 else CIFAR100
    if path.is_file():
        return path.name.startswith(f"cifar-{classes}-") and path.suffix.lower() != ".zip"
    return any((path / part / train[0]).is_file() for part in ("", inner))


def from_path(path: Path, *, size: int | None = None) -> tuple[Set, Set, DatasetInfo]:
    """The training set, test set and info of what lies at ``path``.

    ``size``   for image folders: resize and crop to (size, size)
    Raises   FileNotFoundError, DataFormatError as the readers do
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_npz(path)
    if path.is_dir() and find_idx(path, "train-images-idx3-ubyte"):
        return _numbered(path, *read_idx_folder(path, classes=256))
    for classes in (10, 100):
        if is_cifar(path, classes):
            return _numbered(path, *read_cifar(path, classes=classes))
    if path.is_dir() or suffix == ".zip":
        return _from_images(path, size)
    raise DataFormatError(
        f"{path}: expected a folder or .zip of images in class folders, a folder of IDX files,"
        " CIFAR's binary version, or an .npz"
    )


def held_out_from_path(path: Path, *, size: int | None = None, whole: bool = False) -> HeldOut:
    """The test set that ``from_path`` returns, without the training images.

    ``whole``   images of a folder keep their sizes and are decoded when asked for
    Raises   FileNotFoundError, DataFormatError as ``from_path`` does
    """
    parts = [find_idx(path, f"{part}-ubyte") for part in IDX_PARTS] if path.is_dir() else []
    found = [part for part in parts if part is not None]
    if len(found) == len(IDX_PARTS):
        labels, test_images, test_labels = found
        numbered = read_idx_pair(test_images, test_labels, classes=256)
        top = max(int(y.max(initial=0)) for y in (read_idx(labels), numbered.arrays[1]))
        return HeldOut(numbered, tuple(str(k) for k in range(top + 1)), 1)
    numbers = bool(found) or is_cifar(path, 10) or is_cifar(path, 100)
    if (path.is_dir() or path.suffix.lower() == ".zip") and not numbers:
        return _test_images(path, size, whole=whole)
    _, test, info = from_path(path, size=size)
    return HeldOut(test, info.classes, info.channels)


def _numbered(
    path: Path, train: ArrayDataset, test: ArrayDataset
) -> tuple[ArrayDataset, ArrayDataset, DatasetInfo]:
    """Sets whose classes have numbers for names."""
    top = max(int(s.arrays[1].max(initial=-1)) for s in (train, test))
    info = describe(path.stem, train.arrays[0], tuple(str(k) for k in range(top + 1)))
    return train, test, info


def _from_npz(path: Path) -> tuple[ArrayDataset, ArrayDataset, DatasetInfo]:
    train, test = read_npz(path)
    if test is None:
        train, test = split(train)
    train, test = (ArrayDataset(_as_images(s.arrays[0], path), s.arrays[1]) for s in (train, test))
    if train.arrays[0].shape[1:] != test.arrays[0].shape[1:]:
        raise DataFormatError(
            f"{path}: training images are {train.arrays[0].shape[1:]}, test images"
            f" {test.arrays[0].shape[1:]}"
        )
    return _numbered(path, train, test)


def _as_images(x: Array, path: Path) -> Array:
    """uint8 (N, H, W[, C]) as it is; floats as float32 (N, C, H, W)."""
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return x
    if x.dtype.kind == "f" and x.ndim == 3:
        x = x[:, None]
    if x.dtype.kind == "f" and x.ndim == 4 and (x.shape[1] <= 4 or x.shape[3] > 4):
        return x.astype(np.float32)
    raise DataFormatError(
        f"{path}: images are {x.dtype} {x.shape}; expected uint8 (N, H, W) or (N, H, W, C), or"
        " float (N, C, H, W)"
    )


def _from_images(path: Path, size: int | None) -> tuple[Set, Set, DatasetInfo]:
    folders = _top_folders(path)
    held_out = next((name for name in TEST_NAMES if name in folders), None)
    if "train" in folders and held_out is not None:
        train = ImageFolder(path, inside="train", mode="auto", size=size)
        test = ImageFolder(path, inside=held_out, mode=train.mode, size=size, classes=train.classes)
        sets: tuple[Set, Set] = (_loaded(train), _loaded(test))
    else:
        inside = "train" if "train" in folders else ""
        train = ImageFolder(path, inside=inside, mode="auto", size=size)
        sets = split(train.load())
        train.close()
    images = sets[0].arrays[0] if isinstance(sets[0], ArrayDataset) else _sample(sets[0])
    return *sets, describe(path.stem, images, train.classes)


def _test_images(path: Path, size: int | None, *, whole: bool) -> HeldOut:
    """The held-out folder, or every tenth of the training images: those alone are decoded."""
    folders = _top_folders(path)
    held_out = next((name for name in TEST_NAMES if name in folders), None)
    inside = "train" if "train" in folders else ""
    train = ImageFolder(path, inside=inside, mode="auto", size=size)
    channels = 1 if train.mode == "L" else 3
    if inside and held_out is not None:
        test = ImageFolder(path, inside=held_out, mode=train.mode, size=size, classes=train.classes)
        return HeldOut(test if whole else _loaded(test), train.classes, channels)
    _, part = random_split(train, [0.9, 0.1], seed=0)
    if whole:
        return HeldOut(part, train.classes, channels)
    images = [train[int(i)] for i in part.indices]
    train.close()
    for (image, _), i in zip(images, part.indices, strict=True):
        if image.shape != images[0][0].shape:
            raise DataFormatError(
                f"{path}: {train.files[i][0]!r} is {image.shape}, another image"
                f" {images[0][0].shape}; pass a size to bring to one"
            )
    arrays = np.stack([image for image, _ in images]), np.array([k for _, k in images], np.int64)
    return HeldOut(ArrayDataset(*arrays), train.classes, channels)


def _top_folders(path: Path) -> set[str]:
    if path.is_dir():
        return {p.name for p in path.iterdir() if p.is_dir()}
    with open_zip(path) as zipped:
        return {name.split("/")[0] for name in zipped.namelist() if "/" in name}


def _loaded(folder: ImageFolder) -> Set:
    """All images in memory, or the folder itself where they would not fit."""
    first, _ = folder[0]
    if first.size * len(folder) > MEMORY:
        return folder
    loaded = folder.load()
    folder.close()
    return loaded


def _sample(folder: ImageFolder) -> Array:
    """Some images, evenly spread over the set: uint8 (n, H, W[, 3])."""
    indices = np.linspace(0, len(folder) - 1, min(SAMPLE, len(folder))).astype(int)
    images = [folder[int(i)][0] for i in indices]
    if any(image.shape != images[0].shape for image in images):
        raise DataFormatError(f"{folder.root}: images differ in size; pass a size to bring to one")
    return np.stack(images)
