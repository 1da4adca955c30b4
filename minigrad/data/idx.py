"""The IDX format of the MNIST family.

Design: a file is a big-endian header (two zero bytes, a type code, the rank, one 32-bit size
per axis) and then the numbers.  The sizes are checked against what is really there before an
array is made; a file that is not exactly what its header says is refused.  gzip is recognized
by its first bytes, not by the file's name.  Source: http://yann.lecun.com/exdb/mnist, "The IDX
file format".
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from minigrad.data.dataset import Array, ArrayDataset
from minigrad.data.streams import DAMAGE, MAX_BYTES, open_maybe_gz, read_up_to
from minigrad.errors import ArgError, DataFormatError, ShapeError

CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
KINDS = {"images": (0x00000803, "an image file"), "labels": (0x00000801, "a label file")}
DEFLATE_LIMIT = 1100  # deflate cannot shrink data further than about 1032 times
Path_ = str | os.PathLike[str]


def read_idx(path: Path_, *, kind: str | None = None, max_bytes: int = MAX_BYTES) -> Array:
    """The array in an IDX file, plain or gzipped, in the machine's byte order.

    ``kind`` "images" demands uint8 of rank 3, "labels" uint8 of rank 1.

    Shapes   as the header says; a scalar file (rank 0) is refused
    Raises   DataFormatError for anything but a whole, well-formed file of at most ``max_bytes``;
             FileNotFoundError and the like from opening it
    """
    if kind is not None and kind not in KINDS:
        raise ArgError(f"read_idx: kind must be 'images' or 'labels', got {kind!r}")
    size = os.path.getsize(path)
    try:
        with open_maybe_gz(path) as f:
            dtype, shape = _header(f, str(path), kind)
            need = math.prod(shape) * dtype.itemsize
            _check_size(f, str(path), need, size, max_bytes, 4 + 4 * len(shape))
            content = read_up_to(f, need)
            longer = f.read(1) != b""  # at the end, gzip also verifies its checksum
    except DAMAGE as error:
        raise DataFormatError(f"{path}: damaged gzip file ({error}); get it again") from error
    if len(content) != need or longer:
        found = f"more than {need}" if longer else str(len(content))
        raise DataFormatError(f"{path}: header {shape} means {need} bytes of data, found {found}")
    big_endian = np.frombuffer(content, dtype).reshape(shape)
    return big_endian.astype(dtype.newbyteorder("="))


def _header(f: IO[bytes], path: str, kind: str | None) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype and shape that an IDX header states."""
    head = f.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataFormatError(
            f"{path}: not an IDX file, it starts with 0x{head.hex()}; expected 0x0000, a type"
            " code and a rank"
        )
    magic = int.from_bytes(head, "big")
    if kind is not None and magic != KINDS[kind][0]:
        names = dict(KINDS.values())
        what = f"is {names[magic]}" if magic in names else "is something else"
        raise DataFormatError(
            f"{path}: 0x{magic:08x} {what}; expected {kind} 0x{KINDS[kind][0]:08x}"
        )
    code, rank = head[2], head[3]
    if code not in CODES:
        known = ", ".join(f"0x{c:02x}" for c in CODES)
        raise DataFormatError(f"{path}: IDX type code 0x{code:02x}; expected one of {known}")
    if not 1 <= rank <= 32:
        raise DataFormatError(f"{path}: IDX rank {rank}; expected 1 to 32")
    sizes = f.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataFormatError(f"{path}: the header ends after {4 + len(sizes)} of {4 + 4 * rank}")
    shape = tuple(int.from_bytes(sizes[4 * i : 4 * i + 4], "big") for i in range(rank))
    return np.dtype(CODES[code]), shape


def _check_size(f: IO[bytes], path: str, need: int, size: int, max_bytes: int, header: int) -> None:
    """Refuses, before anything is allocated, a header that the file's size contradicts."""
    if need > max_bytes:
        raise DataFormatError(f"{path}: header asks for {need} bytes, the limit is {max_bytes}")
    if isinstance(f, gzip.GzipFile):
        if need > DEFLATE_LIMIT * size:
            raise DataFormatError(
                f"{path}: header asks for {need} bytes, {size} gzipped bytes cannot hold them"
            )
    elif need != size - header:
        raise DataFormatError(
            f"{path}: header means {need} bytes of data, the file has {size - header}"
        )


def read_idx_pair(images: Path_, labels: Path_, *, classes: int = 10) -> ArrayDataset:
    """Images uint8 (N, H, W) and their labels int64 (N,) from two IDX files.

    Raises   DataFormatError as ``read_idx``, or if the counts differ or a label >= ``classes``
    """
    x = read_idx(images, kind="images")
    y = read_idx(labels, kind="labels").astype(np.int64)
    if len(x) != len(y):
        raise DataFormatError(f"{images} has {len(x)} images but {labels} has {len(y)} labels")
    check_labels(y, classes, str(labels))
    return ArrayDataset(x, y)


def check_labels(y: Array, classes: int, path: str) -> None:
    """DataFormatError that names the first label outside 0..classes - 1."""
    bad = np.flatnonzero((y < 0) | (y >= classes))
    if bad.size:
        raise DataFormatError(
            f"{path}: label {int(y[bad[0]])} at index {bad[0]}; expected 0 to {classes - 1}"
        )


def find_idx(folder: Path_, stem: str) -> Path | None:
    """The file ``stem`` in ``folder``, with or without ``.gz``, ``-idx`` or ``.idx``."""
    for name in _spellings(stem):
        if (path := Path(folder) / name).is_file():
            return path
    return None


def _spellings(stem: str) -> Iterable[str]:
    for base in (stem, stem.replace("-idx", ".idx")):
        yield base + ".gz"
        yield base


def read_idx_folder(folder: Path_, *, classes: int = 10) -> tuple[ArrayDataset, ArrayDataset]:
    """The training and test sets of a folder with MNIST's four file names, gzipped or not.

    Raises   FileNotFoundError that names the missing file; DataFormatError as ``read_idx_pair``
    """
    sets = []
    for prefix in ("train", "t10k"):
        paths = []
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            path = find_idx(folder, f"{prefix}-{part}")
            if path is None:
                raise FileNotFoundError(f"{folder}: no {prefix}-{part}.gz (or without .gz) there")
            paths.append(path)
        sets.append(read_idx_pair(paths[0], paths[1], classes=classes))
    return sets[0], sets[1]


def write_idx(path: Path_, array: ArrayLike) -> None:
    """Writes ``array`` as IDX; gzipped, the same bytes each time, if ``path`` ends in ``.gz``.

    Raises   ShapeError for rank 0 or above 32 and sizes over 32 bits; ArgError for other dtypes
    """
    a = np.asarray(array)
    codes = {np.dtype(text).newbyteorder("="): code for code, text in CODES.items()}
    if a.dtype not in codes:
        raise ArgError(f"write_idx: dtype {a.dtype} has no IDX code; expected one of {list(codes)}")
    if not 1 <= a.ndim <= 32 or max(a.shape) >= 2**32:
        raise ShapeError(f"write_idx: shape {a.shape} does not fit the format (rank 1 to 32)")
    header = bytes([0, 0, codes[a.dtype], a.ndim]) + np.array(a.shape, ">u4").tobytes()
    content = header + a.astype(a.dtype.newbyteorder(">")).tobytes()
    if str(path).endswith(".gz"):
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as f:
            f.write(content)
    else:
        Path(path).write_bytes(content)
