"""Data sets by name or by path.

Design: ``get_dataset`` gives a training set, a test set and what a model must know about them.
``get_test_set`` gives the test set alone and reads, where it can, nothing else.
A name is looked up in the data folder (``MINIGRAD_DATA``, else ``~/.cache/minigrad``), then where
the system may have put it, and is downloaded last; ``fashion-mini`` is part of this package and
needs neither disk nor network.  Facts are in ``catalog.py``, paths in ``paths.py``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from minigrad.data import (
    ArrayDataset,
    DownloadError,
    ImageFolder,
    download,
    read_cifar,
    read_idx_folder,
    read_idx_pair,
)
from minigrad.data.idx import find_idx
from minigrad.errors import ArgError

from .catalog import FASHION_MINI, SOURCES, DatasetInfo, Source
from .paths import HeldOut, from_path, held_out_from_path

__all__ = [
    "DatasetInfo", "HeldOut", "data_folder", "get_dataset", "get_test_set", "list_datasets",
]  # fmt: skip


def list_datasets() -> list[str]:
    """The names that ``get_dataset`` knows."""
    return [FASHION_MINI.name, *SOURCES]


def data_folder() -> Path:
    """Where named data sets are kept: ``MINIGRAD_DATA``, or ``~/.cache/minigrad``."""
    named = os.environ.get("MINIGRAD_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "minigrad"


def get_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    fetch: bool = True,
    size: int | None = None,
    progress: bool = False,
) -> tuple[ArrayDataset | ImageFolder, ArrayDataset | ImageFolder, DatasetInfo]:
    """A training set, a test set and their info.

    ``name_or_path``   a name of ``list_datasets()``, or a path: a folder or ``.zip`` of images in
                       class folders, a folder of IDX files, CIFAR's binaries, an ``.npz``
    ``fetch``          download a named set that is not on this machine
    ``size``           for image folders: resize and crop to (size, size)

    Samples  (uint8 image (H, W) or (H, W, C), int label)
    Raises   ArgError for an unknown name; FileNotFoundError for a missing path or, with
             ``fetch=False``, a set that is not here; DownloadError; DataFormatError
    """
    name = os.fspath(name_or_path)
    if name == FASHION_MINI.name:
        return _fashion_mini("train"), _fashion_mini("t10k"), FASHION_MINI
    if name in SOURCES:
        return _named(SOURCES[name], fetch, progress)
    return from_path(_path(name), size=size)


def get_test_set(
    name_or_path: str | os.PathLike[str],
    *,
    fetch: bool = True,
    size: int | None = None,
    whole: bool = False,
    progress: bool = False,
) -> HeldOut:
    """The test set of ``get_dataset`` without its training set, most of which is not even read.

    ``whole``   images of a folder keep their sizes and are decoded when asked for
    Raises   as ``get_dataset`` does
    """
    name = os.fspath(name_or_path)
    if name == FASHION_MINI.name:
        return HeldOut(_fashion_mini("t10k"), FASHION_MINI.classes, FASHION_MINI.channels)
    if name not in SOURCES:
        return held_out_from_path(_path(name), size=size, whole=whole)
    source = SOURCES[name]
    folders = _folders(source) if source.format == "idx" else ()  # CIFAR is one archive
    for folder in folders:
        images = find_idx(folder, "t10k-images-idx3-ubyte")
        labels = find_idx(folder, "t10k-labels-idx1-ubyte")
        if images and labels:
            test = read_idx_pair(images, labels)
            return HeldOut(test, source.info.classes, source.info.channels)
    _, test, info = _named(source, fetch, progress)
    return HeldOut(test, info.classes, info.channels)


def _path(name: str) -> Path:
    """What is not the name of a set as a path. Raises ArgError for what looks like a name."""
    path = Path(name).expanduser()
    if name and (path.exists() or os.sep in name or path.suffix):
        return path
    near = difflib.get_close_matches(name, list_datasets(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ArgError(
        f"unknown data set {name!r}; {hint}available: {', '.join(list_datasets())}; or a path"
    )


def _fashion_mini(prefix: str) -> ArrayDataset:
    """The part "train" or "t10k"."""
    here = Path(__file__).parent
    return read_idx_pair(
        here / f"fashion_mini_{prefix}-images-idx3-ubyte.gz",
        here / f"fashion_mini_{prefix}-labels-idx1-ubyte.gz",
    )


def _read(source: Source, folder: Path) -> tuple[ArrayDataset, ArrayDataset]:
    """The sets in ``folder``; FileNotFoundError if they are not there."""
    classes = len(source.info.classes)
    if source.format == "idx":
        return read_idx_folder(folder, classes=classes)
    archive = folder / source.files[0][0]
    return read_cifar(archive if archive.is_file() else folder, classes=classes)


def _folders(source: Source) -> tuple[Path, ...]:
    """Where a named set may lie."""
    loose = (data_folder(),) if source.format == "cifar" else ()  # MNIST's names are ambiguous
    return (data_folder() / source.info.name, *loose, *source.folders)


def _named(
    source: Source, fetch: bool, progress: bool
) -> tuple[ArrayDataset, ArrayDataset, DatasetInfo]:
    home = data_folder() / source.info.name
    for folder in _folders(source):
        try:
            return (*_read(source, folder), source.info)
        except FileNotFoundError:
            continue
    if not fetch:
        raise FileNotFoundError(
            f"{source.info.name} is not on this machine; expected"
            f" {', '.join(f for f, _ in source.files)} in {home} (from {source.base})"
        )
    try:
        for file, sha256 in source.files:
            download(source.base + file, home / file, sha256=sha256, progress=progress)
    except DownloadError as error:
        hint = f"; {source.hint}" if source.hint else ""
        raise DownloadError(f"{error}{hint}") from error
    return (*_read(source, home), source.info)
