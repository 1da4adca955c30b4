"""Read a checkpoint's header without trusting it, and say what a file is when it is not a
checkpoint.

Design: every function here looks at bytes and never calls what it finds. The layout of tensors is
judged by the `safetensors` package; `blame` runs only after that package said no, to name the
tensor and the numbers.
"""

from __future__ import annotations

import json
import math
from typing import Any

from minigrad.errors import CheckpointError

LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
OTHER_WIDTHS = {"BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1}
WIDTHS = (
    OTHER_WIDTHS
    | {"BOOL": 1, "C64": 8}
    | {f"{k}{b}": b // 8 for k in "IUF" for b in (8, 16, 32, 64)}
)

MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save and numpy.savez write"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89PNG", "a PNG image"),
    *(
        (b"\x80" + bytes([version]), "a pickle, as torch.save once wrote")
        for version in range(1, 6)
    ),
)


def read_header(blob: bytes) -> dict[str, Any]:
    """The header of a safetensors file as a dictionary (name -> entry); CheckpointError where it
    is not one."""
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 9 or length > LARGEST_HEADER or blob[8:9] != b"{":
        raise CheckpointError(
            f"not a minigrad checkpoint (magic {blob[:8].hex(' ') or 'missing'}): {detect(blob)}, "
            f"{len(blob)} bytes; nothing in it was executed"
        )
    if length > len(blob) - 8:
        raise CheckpointError(
            f"truncated: the header has {length} bytes, the file only {len(blob) - 8} left for it"
        )
    try:
        text = blob[8 : 8 + length].decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"the header is not UTF-8 at byte {8 + error.start}") from error
    header = parse_object(text, "the header")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise CheckpointError("the header's __metadata__ does not map text to text")
    return header


def parse_object(text: str, what: str) -> dict[str, Any]:
    """JSON text that must be one object, in which no key comes twice."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise CheckpointError(f"{what} is nested too deeply to be a checkpoint's") from error
    except ValueError as error:
        raise CheckpointError(f"{what} is not JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is a JSON {type(value).__name__}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:60]!r} comes twice")
        found[name] = value
    return found


def detect(blob: bytes) -> str:
    """What kind of file this is, by its first bytes."""
    for magic, kind in MAGIC:
        if blob.startswith(magic):
            if magic == b"PK\x03\x04":
                return kind + (
                    " (torch.save)" if b"data.pkl" in blob else " (.npz)" if b".npy" in blob else ""
                )
            return kind
    if not blob:
        return "the file is empty"
    if len(blob) < 9:
        return "too short for any header"
    if blob[:1] in (b"(", b"c", b"]", b"}", b"I", b"S", b"V") and blob.rstrip().endswith(b"."):
        return "a pickle of protocol 0, it seems"
    return "unknown format"


def bad_name(name: str, longest: int) -> str | None:
    """Why a tensor's name should not be trusted (it may become a key, a label or a file name), or
    None."""
    if not isinstance(name, str):
        return f"is {type(name).__name__}, not text"
    if not 1 <= len(name) <= longest:
        return f"has {len(name)} characters; 1 to {longest} are allowed"
    if not name.isprintable():
        return "has a character that cannot be printed"
    if name == "__metadata__":
        return "is reserved by the format"
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        return "is a path out of its folder"
    return None


def blame(header: dict[str, Any], data: int) -> str | None:
    """Name the first tensor whose place in the data (`data` bytes long) is impossible, and say
    why."""
    places = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if (reason := _bad_entry(entry)) is not None:
            return f"tensor {name!r} {reason}"
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= data:
            return (
                f"tensor {name!r} lies at bytes {begin} to {end}, "
                f"outside the file's {data} bytes of data"
            )
        size = math.prod(entry["shape"]) * WIDTHS[entry["dtype"]]
        if size != end - begin:
            return (
                f"tensor {name!r} of shape {tuple(entry['shape'])} and dtype {entry['dtype']} "
                f"needs {size} bytes, its place has {end - begin}"
            )
        places.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(places):
        if begin != reached:
            fault = (
                "overlaps the tensor before it" if begin < reached else "leaves a hole before it"
            )
            return f"tensor {name!r} {fault}: it begins at data byte {begin} instead of {reached}"
        reached = end
    return None if reached == data else f"{data - reached} bytes of data belong to no tensor"


def _bad_entry(entry: Any) -> str | None:
    """Why an entry is not {"dtype": text, "shape": [sizes], "data_offsets": [begin, end]}, or
    None."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return "has no proper entry (dtype, shape, data_offsets)"
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in WIDTHS:
        return f"has the unknown dtype {str(entry['dtype'])[:40]!r}"
    for key in ("shape", "data_offsets"):
        if not isinstance(entry[key], list) or not all(type(n) is int for n in entry[key]):
            return f"has {key} {str(entry[key])[:60]}, not a list of integers"
    if any(size < 0 for size in entry["shape"]):
        return f"has a negative size in its shape {str(entry['shape'])[:60]}"
    if len(entry["data_offsets"]) != 2:
        return f"has {len(entry['data_offsets'])} offsets instead of 2"
    return None
