"""The two file formats of torch.save, as a tree of values and a way to get at the numbers.

    zip (since 1.6)      NAME/data.pkl        a pickle; storages are ("storage", type, key, ...)
                         NAME/byteorder       "little" or "big"; little where it is missing
                         NAME/data/KEY        the numbers of one storage
    legacy               three pickles        a magic number, 1001, facts about the machine
                         a pickle             as above; a storage may be a view of another
                         a pickle             the list of keys, then for each key in turn:
                         int64, numbers       the count and that many numbers, little-endian

Design: the pickle is read first (``pickled.py``, nothing is executed) and says how large every
storage must be; the bytes must agree before anything is built of them.  A zip archive is inspected
by ``minigrad.data.streams`` (names, links, duplicates, encryption, unpacked sizes), its checksums
are verified, and members are only looked up, never extracted.  Files from before 2017 are tar
archives; those, TorchScript and whole pickled models are refused.

Source: the layouts as torch 2.13 writes them, compared by ``python -m tests.compare files``.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

from minigrad.data.streams import read_member
from minigrad.errors import CheckpointError

from .pickled import LONGEST, Reader, load
from .tensors import NAMES, Storage, View, storage_of, whole_number

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_GROWTH = 20  # unpacked over packed: weights hardly compress
FREE_GROWTH = 64 << 20  # bytes that may be unpacked in any case


class TorchFile(NamedTuple):
    """``tree``: what was saved, with ``Record`` for tensors. ``data``: the bytes of a storage.
    ``order``: their byte order, "<" or ">"."""

    tree: Any
    data: Callable[[Storage], bytes | memoryview]
    order: str


def read_zip(zipped: zipfile.ZipFile) -> TorchFile:
    """A zip archive of torch, inspected by ``open_zip`` and open as long as ``data`` is used.

    Raises CheckpointError; DataFormatError for a damaged member.
    """
    prefix = prefix_of(zipped)
    check_growth(zipped)
    order = byte_order(zipped, prefix)
    known: dict[str, Storage] = {}

    def persistent(id_: Any) -> View:
        if type(id_) is not tuple or len(id_) != 5 or id_[0] != "storage":
            raise CheckpointError("damaged: the pickle has an id that is not a storage's")
        storage = storage_of(id_[1], id_[2], id_[4], known)
        try:
            size = zipped.getinfo(f"{prefix}data/{storage.key}").file_size
        except KeyError:
            raise CheckpointError(f"the storage {storage.key[:40]!r} is missing") from None
        if size != storage.size:
            raise CheckpointError(
                f"the storage {storage.key[:40]!r} has {size} bytes, the pickle says {storage.size}"
            )
        return View(storage, 0, storage.count)

    def data(storage: Storage) -> bytes:
        content = read_member(zipped, f"{prefix}data/{storage.key}", storage.size)
        if len(content) != storage.size:
            raise CheckpointError(f"the storage {storage.key[:40]!r} is cut short")
        return content

    reader = Reader(read_member(zipped, f"{prefix}data.pkl", LONGEST))
    return TorchFile(load(reader, NAMES, persistent), data, order)


def prefix_of(zipped: zipfile.ZipFile) -> str:
    """The folder of data.pkl, with its slash. Raises CheckpointError for other archives."""
    members = zipped.namelist()
    found = [n for n in members if n.count("/") <= 1 and n.rpartition("/")[2] == "data.pkl"]
    if len(found) != 1:
        raise CheckpointError(
            f"a zip archive with {len(found)} members data.pkl; a file of torch.save has one"
        )
    prefix = found[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise CheckpointError(
            "a TorchScript archive, which is a program; save model.state_dict() with PyTorch"
        )
    return prefix


def check_growth(zipped: zipfile.ZipFile) -> None:
    """Raises CheckpointError for an archive that unpacks to far more than the file has."""
    packed = os.stat(str(zipped.filename)).st_size
    unpacked = sum(info.file_size for info in zipped.infolist())
    if unpacked > FREE_GROWTH + MAX_GROWTH * packed:
        raise CheckpointError(f"unpacks to {unpacked} bytes, the file has {packed}; refused")


def byte_order(zipped: zipfile.ZipFile, prefix: str) -> str:
    """What the record ``byteorder`` says: "<" or ">"."""
    if f"{prefix}byteorder" not in zipped.namelist():
        return "<"
    record = read_member(zipped, f"{prefix}byteorder", 16)
    if record not in (b"little", b"big"):
        raise CheckpointError(f"the byte order is {record!r}; expected 'little' or 'big'")
    return "<" if record == b"little" else ">"


def read_legacy(blob: bytes) -> TorchFile:
    """A legacy file of torch, all of it in memory.

    Raises CheckpointError.
    """
    reader = Reader(blob)
    read_head(reader)
    known: dict[str, Storage] = {}
    tree = load(reader, NAMES, lambda id_: legacy_view(id_, known))
    keys = load(reader, {})
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise CheckpointError("damaged: the list of storages is not a list of text")
    if len(set(keys)) != len(keys) or set(keys) != known.keys():
        raise CheckpointError("damaged: the list of storages is not that of the tensors")
    places: dict[str, memoryview] = {}
    for key in keys:
        count, storage = reader.number("<q"), known[key]
        if count != storage.count:
            raise CheckpointError(
                f"the storage {key[:40]!r} has {count} elements, the pickle says {storage.count}"
            )
        places[key] = reader.take(storage.size)
    if reader.at != reader.end:
        raise CheckpointError(f"{reader.end - reader.at} bytes are left over at its end")
    return TorchFile(tree, lambda storage: places[storage.key], "<")


def read_head(reader: Reader) -> None:
    """The three pickles that every legacy file begins with."""
    if load(reader, {}) != MAGIC:
        raise CheckpointError(
            "a pickle, but not one of torch.save; nothing in it was executed; save the arrays "
            "with numpy.savez or safetensors"
        )
    version, machine = load(reader, {}), load(reader, {})
    if version != PROTOCOL or type(version) is not int:
        raise CheckpointError(f"its version of torch's format is not {PROTOCOL}; save it again")
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise CheckpointError(
            "written on a big-endian machine; load it with PyTorch there and save it again"
        )


def legacy_view(id_: Any, known: dict[str, Storage]) -> View:
    """What ("storage", type, key, device, count, None or (key, start, count)) stands for."""
    if type(id_) is tuple and id_ and id_[0] == "module":
        raise CheckpointError(
            "a whole model, which is a program; load it with PyTorch where you trust it and save "
            "model.state_dict()"
        )
    if type(id_) is not tuple or len(id_) not in (5, 6) or id_[0] != "storage":
        raise CheckpointError("damaged: the pickle has an id that is not a storage's")
    storage = storage_of(id_[1], id_[2], id_[4], known)
    part = id_[5] if len(id_) == 6 else None
    if part is None:
        return View(storage, 0, storage.count)
    if type(part) is not tuple or len(part) != 3:
        raise CheckpointError("damaged: the pickle has a view that is not one")
    start, count = (whole_number(n, "the place of a view") for n in part[1:])
    if start + count > storage.count:
        raise CheckpointError(
            f"a view of elements {start} to {start + count} leaves its storage of {storage.count}"
        )
    return View(storage, start, count)
