"""Named arrays in one file: the safetensors format, with digests, written atomically, read
without trust.

Design: the `safetensors` package lays the bytes out and checks, on reading, that no tensor
overlaps another or leaves the file. Added here: a SHA-256 digest of every tensor and of the
header, so that any flipped byte is found; an atomic write; and errors that name file, tensor and
reason. A file by another writer (published weights) has no digests and loads as far as the format
allows. There is no pickle and no evaluation anywhere: a file can fail to load, it cannot run. Not
here: what is worth saving. Next: `training.py`.

Source: the format, https://huggingface.co/docs/safetensors (8 bytes: header length N, little
endian; N bytes of JSON; the data). Why no pickle: CVE-2025-32434, code run by
torch.load(weights_only=True).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minigrad._version import __version__
from minigrad.errors import ArgError, CheckpointError, DTypeError
from minigrad.io import sniff
from minigrad.io.atomic import atomic_write
from minigrad.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = 1
KEY = "minigrad"  # the one entry of __metadata__: more than one would be written in random order
MARK = '{"minigrad_format":'
UNSIGNED = "0" * 64  # stands for the header's digest while that digest is computed
LONGEST_NAME = 1024
SAVED = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)


class Checkpoint(NamedTuple):
    """What `load` returns: `tensors` (name -> array, writable, owned by the caller) and
    `metadata` (text)."""

    tensors: dict[str, Array]
    metadata: dict[str, str]


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array | Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays or Tensors (any shape; bool, integer, float16/32/64) and text metadata
    to one file.

    The old file is intact until the new one is whole on the disk. Equal input gives equal bytes.
    Raises ArgError (a name or metadata that no loader should trust), DTypeError (an array of
    another kind) and the operating system's errors naming `path`.

    >>> import tempfile
    >>> import numpy as np
    >>> from minigrad import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/net.safetensors"
    ...     io.save(path, {"w": np.arange(3)}, {"epoch": "7"})
    ...     io.load(path)
    Checkpoint(tensors={'w': array([0, 1, 2])}, metadata={'epoch': '7'})
    """
    arrays = {name: _plain(name, value) for name, value in tensors.items()}
    for name in arrays:
        if (reason := sniff.bad_name(name, LONGEST_NAME)) is not None:
            raise ArgError(f"save: tensor name {str(name)[:60]!r} {reason}")
    text = dict(metadata or {})
    for key, value in text.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ArgError(
                f"save: metadata must map text to text, got {key!r}: {type(value).__name__}; "
                "use str() or json.dumps"
            )
    about = (
        MARK
        + str(FORMAT)
        + ","
        + json.dumps(
            {
                "writer": f"minigrad {__version__}",
                "sha256": {name: digest(array) for name, array in sorted(arrays.items())},
                "metadata": text,
                "header_sha256": UNSIGNED,
            }
        )[1:]
    )
    from safetensors.numpy import save as to_bytes  # here: half of minigrad's import time

    blob = to_bytes(arrays, {KEY: about})
    start = 8 + int.from_bytes(blob[:8], "little")
    header = blob[:start]
    at = header.rindex(_signed(UNSIGNED))
    signed = (
        header[:at]
        + _signed(hashlib.sha256(header).hexdigest())
        + header[at + len(_signed(UNSIGNED)) :]
    )
    atomic_write(path, [signed, memoryview(blob)[start:]])


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file that `save` or any other writer of safetensors made; nothing in it is ever
    executed.

    Raises CheckpointError naming the file, the tensor where there is one, and what is wrong;
    FileNotFoundError, IsADirectoryError and PermissionError as `open` does.
    """
    with open(path, "rb") as file:
        blob = file.read()
    try:
        header = sniff.read_header(blob)
        about = _about(header, blob)
        tensors = _tensors(blob, header)
        _verify(tensors, about)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error.__cause__
    metadata = header.get("__metadata__", {}) if about is None else about["metadata"]
    return Checkpoint(tensors, dict(metadata))


def digest(array: Array) -> str:
    """SHA-256 of the values in C order, as hexadecimal text (the header's digest covers the
    rest)."""
    values = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return hashlib.sha256(values.data).hexdigest()


def _plain(name: str, value: Array | Tensor) -> Array:
    """The value as a native, C-ordered array of a kind that the format knows."""
    array = value.data if isinstance(value, Tensor) else value
    if type(array) is not np.ndarray or array.dtype.name not in SAVED:
        kind = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise DTypeError(
            f"save: tensor {name!r} is {kind}; a checkpoint holds arrays of {', '.join(SAVED)}"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _signed(hexadecimal: str) -> bytes:
    """How the header's digest looks inside the header: JSON inside a JSON string."""
    return f'\\"header_sha256\\": \\"{hexadecimal}\\"'.encode()


def _about(header: dict[str, Any], blob: bytes) -> dict[str, Any] | None:
    """Our own entry of the metadata with the header's digest verified, or None for another
    writer's file."""
    metadata = header.get("__metadata__", {})
    if KEY not in metadata:
        if any(str(value).startswith(MARK) for value in metadata.values()):
            raise CheckpointError(
                "the header is damaged: it was written by minigrad but its key is lost"
            )
        return None
    about = sniff.parse_object(metadata[KEY], "the header's entry 'minigrad'")
    version = about.get("minigrad_format")
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"written in format {version} by {str(about.get('writer'))[:40]}; this is minigrad "
            f"{__version__}, which reads format {FORMAT}; install a newer minigrad"
        )
    expected = str(about.get("header_sha256"))
    if version != FORMAT or not all(
        isinstance(part, dict) and all(isinstance(text, str) for text in part.values())
        for part in (about.get("sha256"), about.get("metadata"))
    ):
        raise CheckpointError("the header is damaged: its entry 'minigrad' is not complete")
    raw = blob[: 8 + int.from_bytes(blob[:8], "little")]
    found = hashlib.sha256(raw.replace(_signed(expected), _signed(UNSIGNED))).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"the header is damaged: its SHA-256 is {found[:12]}..., "
            f"the file says {expected[:12]}..."
        )
    return about


def _tensors(blob: bytes, header: dict[str, Any]) -> dict[str, Array]:
    for name in header.keys() - {"__metadata__"}:
        if (reason := sniff.bad_name(name, LONGEST_NAME)) is not None:
            raise CheckpointError(f"tensor name {str(name)[:60]!r} {reason}")
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(blob)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        data = len(blob) - 8 - int.from_bytes(blob[:8], "little")
        raise CheckpointError(sniff.blame(header, data) or str(error)) from error
    return {name: _array(name, entry) for name, entry in sorted(entries)}


def _array(name: str, entry: dict[str, Any]) -> Array:
    kind = entry["dtype"]
    if kind == "BF16":  # NumPy has no bfloat16; its 16 bits are the upper half of a float32
        halves = np.frombuffer(entry["data"], dtype="<u2").astype(np.uint32)
        return np.reshape((halves << 16).view(np.float32), entry["shape"])
    if kind not in sniff.DTYPES:
        raise CheckpointError(f"tensor {name!r} has dtype {kind}, which NumPy cannot hold")
    raw = np.frombuffer(entry["data"], dtype=np.dtype(sniff.DTYPES[kind]).newbyteorder("<"))
    return np.reshape(raw.astype(raw.dtype.newbyteorder("="), copy=False), entry["shape"])


def _verify(tensors: dict[str, Array], about: dict[str, Any] | None) -> None:
    if about is None:
        return
    digests = about["sha256"]
    if digests.keys() != tensors.keys():
        raise CheckpointError(
            "the header is damaged: its digests and its tensors have different names"
        )
    for name, array in tensors.items():
        if (found := digest(array)) != digests[name]:
            raise CheckpointError(
                f"tensor {name!r} is damaged: its SHA-256 is {found[:12]}..., "
                f"the file says {str(digests[name])[:12]}..."
            )
