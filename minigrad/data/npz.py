"""Arrays in NumPy's ``.npz`` files: ``x_train y_train x_test y_test``, or ``x y``.

Design: NumPy's own reader allocates what a header states and can unpickle; this one checks the
header against the bytes that are there first, and refuses object arrays, so a hostile file
costs neither memory nor code execution.  Values are taken as they are: uint8 images of shape
(N, H, W) or (N, H, W, C), float images of shape (N, C, H, W), integer labels.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping

import numpy as np

from minigrad.data.dataset import Array, ArrayDataset
from minigrad.data.streams import MAX_BYTES, open_zip, read_member
from minigrad.errors import DataFormatError

SPLITS = {
    "train": [("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y")],
    "test": [("x_test", "y_test"), ("test_images", "test_labels"), ("x_val", "y_val")],
}


class Npz(Mapping[str, Array]):
    """The arrays of an ``.npz`` by name, read when asked for; usable as a context manager.

    Raises   DataFormatError for a damaged or hostile file, object arrays, or a size over
             ``max_bytes``; FileNotFoundError if it is missing; KeyError for an unknown name
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.path, self.max_bytes = str(path), max_bytes
        self.zipped = open_zip(path)
        self.names = [n[:-4] for n in self.zipped.namelist() if n.endswith(".npy")]

    def __getitem__(self, name: str) -> Array:
        if name not in self.names:
            raise KeyError(name)
        content = read_member(self.zipped, f"{name}.npy", self.max_bytes)
        return parse_npy(content, f"{self.path}: {name!r}")

    def __contains__(self, name: object) -> bool:
        return name in self.names  # Mapping's own would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *exc: object) -> None:
        self.zipped.close()


def parse_npy(content: bytes, where: str) -> Array:
    """The array in the bytes of a ``.npy`` file (format 1.0 or 2.0), without pickle.

    Raises   DataFormatError for anything else
    """
    f = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(f)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(f)
    except Exception as error:  # the header is a Python literal: its parser raises many kinds
        raise DataFormatError(f"{where}: not an array file ({error})") from error
    if dtype.kind not in "biuf" or dtype.hasobject:
        raise DataFormatError(f"{where}: dtype {dtype}; expected plain numbers (no pickle here)")
    data = content[f.tell() :]
    need = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or need != len(data):
        raise DataFormatError(f"{where}: header {shape} means {need} bytes, found {len(data)}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def read_npz(path: str | os.PathLike[str]) -> tuple[ArrayDataset, ArrayDataset | None]:
    """The training set and, where present, the test set of an ``.npz`` file.

    Names tried: ``x_train``/``y_train``, ``train_images``/``train_labels``, ``x``/``y``; for
    the test set ``x_test``/``y_test``, ``test_images``/``test_labels``, ``x_val``/``y_val``.

    Raises   DataFormatError if no training pair is there, lengths differ or labels are not
             non-negative integers of shape (N,)
    """
    with Npz(path) as arrays:
        train, test = (_pair(arrays, options) for options in SPLITS.values())
        if train is None:
            raise DataFormatError(
                f"{path}: expected arrays x_train and y_train (or x and y), found"
                f" {', '.join(arrays) or 'none'}"
            )
    return train, test


def _pair(arrays: Npz, options: list[tuple[str, str]]) -> ArrayDataset | None:
    """The dataset of the first pair of names that is there."""
    for a, b in options:
        if a in arrays and b in arrays:
            x, y = arrays[a], arrays[b]
            if y.ndim == 2 and y.shape[1] == 1:  # Keras saves CIFAR labels as a column
                y = y[:, 0]
            if y.dtype.kind not in "iu" or y.ndim != 1 or x.ndim < 2 or (y.size and y.min() < 0):
                raise DataFormatError(
                    f"{arrays.path}: {b!r} is {y.dtype} {y.shape}, {a!r} {x.shape}; expected"
                    " labels >= 0, integers of shape (N,), and images (N, ...)"
                )
            if len(x) != len(y):
                raise DataFormatError(f"{arrays.path}: {a!r} has {len(x)} rows, {b!r} {len(y)}")
            return ArrayDataset(x, y.astype(np.int64))
    return None
