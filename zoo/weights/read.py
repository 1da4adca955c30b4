"""Named arrays from a file of weights, whichever format it has.

Design: the first bytes say what a file is, never its name.  ``read_weights`` returns the arrays of
the state_dict in it under the names that the file uses; what those names mean to a net of the zoo
is the business of ``key_maps.py``.  Every error is a CheckpointError that begins with the path.

    torch zip, torch legacy    the state_dict itself, or in a dict under state_dict, model, ...
    safetensors                its tensors
    npz                        its arrays; never a pickle

Half-precision numbers (float16, bfloat16) become float32.
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minigrad import io
from minigrad.data import Npz
from minigrad.data.streams import open_zip
from minigrad.errors import CheckpointError, DataFormatError
from minigrad.io import sniff

from .pickled import Ordered
from .tensors import Record, width
from .torch_files import TorchFile, read_legacy, read_zip

Array = NDArray[Any]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
LONGEST_NAME = 1024
MAX_SHARING = 8  # bytes of all tensors over bytes of their storages: tied weights count twice
FREE_SHARING = 1 << 20
FORMATS = "files of torch.save (.pt, .pth), .safetensors and .npz can be read"


class Weights(NamedTuple):
    """``arrays``: name -> values, read-only where they share the file's memory. ``format``: of the
    file. ``notes``: numbers and text that stand beside the arrays, as text."""

    arrays: dict[str, Array]
    format: str
    notes: dict[str, str]


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """The arrays in a file of weights. Nothing in the file is executed.

    Raises CheckpointError naming the file and what is wrong with it; FileNotFoundError,
    IsADirectoryError, PermissionError as ``open`` does.
    """
    try:
        return _read(os.fspath(path))
    except (CheckpointError, DataFormatError) as error:
        text = str(error).removeprefix(f"{os.fspath(path)}: ")
        raise CheckpointError(f"{os.fspath(path)}: {text}") from error.__cause__


def _read(path: str) -> Weights:
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a pipe could wait for ever
        raise CheckpointError("not a regular file")
    with open(path, "rb") as file:
        head = file.read(512)
    if is_safetensors(head):  # first: the length of a header may look like other magic bytes
        saved = io.load(path)
        arrays = {name: widened(a) for name, a in saved.tensors.items()}
        return Weights(arrays, "safetensors", saved.metadata)
    if head[:2] == b"PK":
        return _from_zip(path)
    if head[:1] == b"\x80":
        with open(path, "rb") as file:
            return from_torch(read_legacy(file.read()), "torch legacy")
    if head[257:262] == b"ustar":
        raise CheckpointError(
            "a tar archive, as torch.save wrote before 2017; load it with PyTorch and save it again"
        )
    raise CheckpointError(f"not a file of weights ({sniff.detect(head)}); {FORMATS}")


def is_safetensors(head: bytes) -> bool:
    """Is this the start of a safetensors file: the length of its header, then JSON?"""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= sniff.LARGEST_HEADER


def _from_zip(path: str) -> Weights:
    """A zip archive: NumPy's if it has arrays, else torch's."""
    with open_zip(path) as zipped:
        if not any(name.endswith(".npy") for name in zipped.namelist()):
            return from_torch(read_zip(zipped), "torch zip")
    with Npz(path) as arrays:
        found = {name: widened(arrays[name]) for name in arrays}
    for name in found:
        check_name(name)
    return Weights(found, "npz", {})


def widened(array: Array) -> Array:
    """float16 as float32; anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_name(name: object) -> None:
    """Raises CheckpointError for a name of a tensor that nobody should trust."""
    reason = sniff.bad_name(name, LONGEST_NAME)  # type: ignore[arg-type]
    if reason is not None:
        raise CheckpointError(f"the tensor name {str(name)[:60]!r} {reason}")


def from_torch(file: TorchFile, format: str) -> Weights:
    """The arrays of the state_dict in a file of torch."""
    notes: dict[str, str] = {}
    records: dict[str, Record] = {}
    for name, value in state_dict(file.tree, notes).items():
        if type(value) is Record:
            check_name(name)
            records[name] = value
        elif not note(notes, name, value):
            raise CheckpointError(
                f"{str(name)[:60]!r} in the state_dict is {kind(value)}, not a tensor"
            )
    check_sharing(records)
    arrays: dict[str, Array] = {}
    stored: dict[str, list[str]] = {}
    for name, record in records.items():
        stored.setdefault(record.view.storage.key, []).append(name)
    for names in stored.values():  # each storage is read once
        data = file.data(records[names[0]].view.storage)
        for name in names:
            arrays[name] = records[name].array(data, file.order)
    return Weights({name: arrays[name] for name in records}, format, notes)


def state_dict(tree: Any, notes: dict[str, str]) -> dict[Any, Any]:
    """The dict of tensors in what was saved: the tree itself, or under a name of ``WRAPPERS``."""
    for _ in range(4):
        if type(tree) not in (dict, Ordered):
            raise CheckpointError(f"holds {kind(tree)}, not a state_dict")
        inner = next((k for k in WRAPPERS if type(tree.get(k)) in (dict, Ordered)), None)
        if inner is None:
            break
        for key, value in tree.items():
            note(notes, key, value)
        tree = tree[inner]
    if not any(type(value) is Record for value in tree.values()):
        keys = ", ".join(repr(str(key)[:30]) for key in list(tree)[:8])
        raise CheckpointError(f"holds no state_dict; its keys are {keys or 'none'}")
    return dict(tree)


def note(notes: dict[str, str], key: Any, value: Any) -> bool:
    """Keep a number or a short text as text; False for anything else."""
    if type(value) not in (bool, int, float, str) or len(str(value)) > 200:
        return False
    if sniff.bad_name(str(key), LONGEST_NAME) is None:
        notes[str(key)] = str(value)
    return True


def kind(value: Any) -> str:
    """What a value of the tree is, for an error."""
    return "one tensor" if type(value) is Record else f"a value of type {type(value).__name__}"


def check_sharing(records: dict[str, Record]) -> None:
    """Raises CheckpointError if many tensors look at the same numbers."""
    there = sum(storage.size for storage in {record.view.storage for record in records.values()})
    wanted = sum(record.size * width(record.code) for record in records.values())
    if wanted > FREE_SHARING + MAX_SHARING * there:
        raise CheckpointError(
            f"its {len(records)} tensors need {wanted} bytes and share storages of {there}; refused"
        )
