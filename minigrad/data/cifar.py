"""CIFAR-10 and CIFAR-100 in their binary form.

Design: a record is one label byte (two for CIFAR-100: coarse, fine) and 3072 pixel bytes, the
red plane, then green, then blue (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html).
Read from the unpacked folder or straight from the .tar.gz, of which only the named members are
looked at.  The pickled "python version" is not read, on purpose: unpickling runs code.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minigrad.data.dataset import Array, ArrayDataset
from minigrad.data.idx import check_labels
from minigrad.data.streams import read_up_to, tar_members
from minigrad.errors import DataFormatError

PIXELS = 3 * 32 * 32
LIMIT = 64 << 20
CIFAR10 = (
    "cifar-10-batches-bin",
    [f"data_batch_{i}.bin" for i in range(1, 6)],
    ["test_batch.bin"],
    ["batches.meta.txt", "readme.html"],
)
CIFAR100 = (
    "cifar-100-binary",
    ["train.bin"],
    ["test.bin"],
    ["coarse_label_names.txt", "fine_label_names.txt"],
)


def parse_cifar(content: bytes, *, classes: int, name: str) -> tuple[Array, Array]:
    """The records in ``content``: images uint8 (N, 32, 32, 3) and labels int64 (N,).

    ``classes``   10 for CIFAR-10, 100 for CIFAR-100's fine labels, 20 for its coarse ones
    Raises   DataFormatError if the size is no multiple of a record or a label is out of range
    """
    labels = 1 if classes == 10 else 2
    record = labels + PIXELS
    if len(content) == 0 or len(content) % record:
        raise DataFormatError(f"{name}: {len(content)} bytes; expected a multiple of {record}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    y = rows[:, labels - 1 if classes != 20 else 0].astype(np.int64)
    check_labels(y, classes, name)
    planes = rows[:, labels:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), y


def read_cifar_file(path: str | os.PathLike[str], *, classes: int = 10) -> ArrayDataset:
    """One ``.bin`` file of CIFAR as a dataset; see ``parse_cifar``."""
    with open(path, "rb") as f:
        content = read_up_to(f, LIMIT + 1)
    if len(content) > LIMIT:
        raise DataFormatError(f"{path}: longer than {LIMIT} bytes, so not a CIFAR file")
    return ArrayDataset(*parse_cifar(content, classes=classes, name=str(path)))


def read_cifar(
    path: str | os.PathLike[str], *, classes: int = 10
) -> tuple[ArrayDataset, ArrayDataset]:
    """The training and test sets in a folder or ``.tar.gz`` of the binary version.

    ``path``   the folder with the ``.bin`` files, the folder above it, or the archive
    Raises   FileNotFoundError that names a missing file; DataFormatError for a wrong one
    """
    inner, train, test, other = CIFAR10 if classes == 10 else CIFAR100
    root = Path(path)
    if root.is_file():
        wanted = [f"{inner}/{name}" for name in train + test]
        ignored = [f"{inner}/{name}" for name in other]
        found = dict(tar_members(root, wanted, ignored=ignored, member_limit=LIMIT))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise DataFormatError(f"{root}: the archive lacks {', '.join(missing)}")
        parsed = {
            name.rsplit("/", 1)[1]: parse_cifar(content, classes=classes, name=f"{root}: {name}")
            for name, content in found.items()
        }
        return _join(parsed, train), _join(parsed, test)
    folder = root / inner if (root / inner).is_dir() else root
    for name in train + test:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: missing; expected the binary version there")
    parsed = {
        name: (part.arrays[0], part.arrays[1])
        for name in train + test
        for part in [read_cifar_file(folder / name, classes=classes)]
    }
    return _join(parsed, train), _join(parsed, test)


def _join(parsed: dict[str, tuple[Array, Array]], names: list[str]) -> ArrayDataset:
    """The parts called ``names``, one after the other."""
    parts = [parsed[name] for name in names]
    return ArrayDataset(*(np.concatenate(field) for field in zip(*parts, strict=True)))
