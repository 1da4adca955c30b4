"""Tensors as torch's files describe them: a storage, and how to look at it.

Design: a pickle of torch builds tensors by a call such as ``_rebuild_tensor_v2(storage, offset,
size, stride, ...)``, in which the storage is a persistent id.  ``NAMES`` is the whole list of names
that ``pickled.py`` may meet; their functions check what they are given and make a ``Record``, which
no memory has been allocated for.  ``Record.array`` looks at the bytes of the storage, once they are
there.  A record lies within its storage and has no more elements than it, so all records together
cannot be larger than a few times the file (``read.py`` counts).

float16 and bfloat16 become float32, exactly.  Gradients, hooks, devices and the Python state of
parameters are dropped.  Complex, quantized and 8-bit floating-point numbers are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import CheckpointError

from .pickled import Global, ordered

MAX_DIMENSIONS = 32
KINDS = {  # torch's storage types -> NumPy's codes; bfloat16 is two bytes and has none
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": "bf", "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "b1", "Untyped": "raw",
}  # fmt: skip
DTYPES = {  # torch's dtypes, which name what lies in an untyped storage
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "bf", "int64": "i8",
    "int32": "i4", "int16": "i2", "int8": "i1", "uint64": "u8", "uint32": "u4", "uint16": "u2",
    "uint8": "u1", "bool": "b1",
}  # fmt: skip


def width(code: str) -> int:
    """Bytes of one element."""
    return 1 if code == "raw" else 2 if code == "bf" else int(code[1])


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: its key there, their kind, how many."""

    key: str
    code: str
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * width(self.code)


@dataclass(frozen=True)
class View:
    """A part of a storage, in elements; nearly always all of it."""

    storage: Storage
    start: int
    count: int


@dataclass(frozen=True)
class Record:
    """A tensor: a view of elements of one kind, and where in it the tensor's elements lie."""

    view: View
    code: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    def array(self, data: bytes | memoryview, order: str = "<") -> NDArray[Any]:
        """The values, given the bytes of the whole storage and their byte order ("<" or ">").

        Contiguous in C order, read-only where it shares memory with ``data``.
        """
        code = "u2" if self.code == "bf" else "u1" if self.code == "b1" else self.code
        first = self.view.start * width(self.view.storage.code) + self.offset * width(self.code)
        steps = tuple(s * width(self.code) for s in self.stride)
        if self.size:
            found: NDArray[Any] = np.ndarray(self.shape, order + code, data, first, steps)
        else:
            found = np.zeros(self.shape, code)
        native = np.require(found, found.dtype.newbyteorder("="), ["C", "A"])
        if self.code == "bf":  # the upper half of a float32
            return (native.astype(np.uint32) << 16).view(np.float32)
        if self.code == "f2":
            return native.astype(np.float32)
        return native != 0 if self.code == "b1" else native


def whole_number(value: Any, what: str) -> int:
    """``value`` if it is an integer from 0 to 2**62; CheckpointError otherwise."""
    if type(value) is not int or not 0 <= value <= 1 << 62:
        found = value if type(value) is int else type(value).__name__
        raise CheckpointError(f"{what} is {found}, not a whole number from 0 to 2**62")
    return value


def sizes(value: Any, what: str) -> tuple[int, ...]:
    """A shape or a stride: a tuple of at most 32 whole numbers."""
    if type(value) is not tuple or len(value) > MAX_DIMENSIONS:
        raise CheckpointError(f"a tensor's {what} is not a tuple of at most {MAX_DIMENSIONS}")
    return tuple(whole_number(n, f"a number in a tensor's {what}") for n in value)


def storage_of(kind: Any, key: Any, count: Any, known: dict[str, Storage]) -> Storage:
    """The storage that a persistent id describes, remembered in ``known``.

    Raises CheckpointError if the id is malformed or contradicts an earlier one.
    """
    name = kind.name.removeprefix("torch.") if type(kind) is Global else ""
    code = KINDS.get(name.removesuffix("Storage")) if name.endswith("Storage") else None
    if code is None or type(key) is not str:
        raise CheckpointError("damaged: a storage has no type or no name")
    found = Storage(key, code, whole_number(count, f"the length of the storage {key[:40]!r}"))
    if known.setdefault(key, found) != found:
        raise CheckpointError(
            f"the storage {key[:40]!r} is described twice: {known[key].count} x "
            f"{known[key].code} and {found.count} x {found.code}"
        )
    return found


def record(view: Any, offset: Any, shape: Any, stride: Any, dtype: Global | None = None) -> Record:
    """A checked tensor. Raises CheckpointError with the numbers that do not fit."""
    if type(view) is not View:
        raise CheckpointError("damaged: a tensor is built of something that is not a storage")
    shape, stride = sizes(shape, "shape"), sizes(stride, "stride")
    offset = whole_number(offset, "a tensor's offset")
    code = view.storage.code
    if dtype is not None:
        code = DTYPES[dtype.name.removeprefix("torch.")]
        if view.storage.code not in ("raw", code):
            raise CheckpointError(f"a storage of {view.storage.code} is looked at as {code}")
    elif code == "raw":
        raise CheckpointError("a tensor is built of bytes without a dtype")
    if len(shape) != len(stride):
        raise CheckpointError(f"a tensor of shape {shape} has the stride {stride}")
    stride = tuple(s if n > 1 else 0 for n, s in zip(shape, stride, strict=True))
    size = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if size else offset
    room = view.count * width(view.storage.code) // width(code)
    if last >= room and (size or last > room):
        raise CheckpointError(
            f"a tensor of shape {shape}, stride {stride}, offset {offset} reaches element {last}; "
            f"its storage has {room}"
        )
    if math.prod(n for n in shape if n) > 1 << 59:
        raise CheckpointError(f"a tensor of shape {shape} is larger than any memory")
    if size > room:
        raise CheckpointError(
            f"a tensor of shape {shape} repeats the {room} elements of its storage (stride "
            f"{stride}); save tensor.contiguous()"
        )
    return Record(view, code, offset, shape, stride)


def expect(arguments: tuple[Any, ...], least: int, most: int, name: str) -> None:
    """Raises CheckpointError if their number is not between the two."""
    if not least <= len(arguments) <= most:
        raise CheckpointError(f"{name} is called with {len(arguments)} arguments")


def rebuild_tensor(arguments: tuple[Any, ...]) -> Record:
    """``_rebuild_tensor(storage, offset, size, stride)``, and with what ``_v2`` adds."""
    expect(arguments, 4, 7, "_rebuild_tensor")
    view, offset, shape, stride = arguments[:4]
    return record(view, offset, shape, stride)


def rebuild_tensor_v3(arguments: tuple[Any, ...]) -> Record:
    """``_v2`` with a dtype, for the kinds that have no storage type of their own."""
    expect(arguments, 7, 8, "_rebuild_tensor_v3")
    view, offset, shape, stride, _, _, dtype = arguments[:7]
    if type(dtype) is not Global or dtype.name.removeprefix("torch.") not in DTYPES:
        raise CheckpointError("_rebuild_tensor_v3 is called without a dtype")
    return record(view, offset, shape, stride, dtype)


def rebuild_parameter(arguments: tuple[Any, ...]) -> Record:
    """``_rebuild_parameter(tensor, requires_grad, hooks)``, also ``_with_state``: the tensor."""
    expect(arguments, 2, 4, "_rebuild_parameter")
    if type(arguments[0]) is not Record:
        raise CheckpointError("damaged: a parameter is built of something that is not a tensor")
    return arguments[0]


def only(arguments: tuple[Any, ...]) -> Any:
    """``torch.Size((2, 3))`` and ``torch.device("cpu")``: what is in the parentheses."""
    return arguments[0] if len(arguments) == 1 else arguments


def names() -> dict[tuple[str, str], Global]:
    """Every global that a file of weights may name, and what it stands for."""
    functions = {
        ("collections", "OrderedDict"): ordered,
        ("torch", "Size"): only,
        ("torch", "device"): only,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    }
    found = {key: Global(".".join(key), build) for key, build in functions.items()}
    found |= {("torch", f"{k}Storage"): Global(f"torch.{k}Storage") for k in KINDS}
    found["torch.storage", "UntypedStorage"] = found["torch", "UntypedStorage"]
    return found | {("torch", name): Global(f"torch.{name}") for name in DTYPES}


NAMES = names()
