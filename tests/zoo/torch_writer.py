"""Files as torch.save writes them, byte by byte, without torch.

Design: `pickled` turns values, `Name`, `Call` and `Pid` into a pickle, also one that torch would
never write; a `Saver` collects storages and writes the zip or the legacy format. What torch itself
writes is compared by `python -m tests.compare files`.
"""

import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {
    "f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short",
    "i1": "Char", "u1": "Byte", "b1": "Bool",
}  # fmt: skip


class Name(NamedTuple):
    """A global."""

    module: str
    name: str


@dataclass
class Call:
    """REDUCE of a global with arguments, then SETITEMS and BUILD where there is something to do."""

    what: Name
    arguments: tuple = ()
    items: dict = field(default_factory=dict)
    state: Any = None


@dataclass
class Pid:
    """A persistent id."""

    value: Any


@dataclass
class Raw:
    """Opcodes as they are."""

    code: bytes


def ordered(items, state=None):
    """An OrderedDict, as Python 3 pickles it."""
    return Call(Name("collections", "OrderedDict"), (), dict(items), state)


def emit(value):
    """The opcodes that push `value`."""
    match value:
        case Raw():
            return value.code
        case None | bool():
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case Name():
            return b"c" + f"{value.module}\n{value.name}\n".encode()
        case Pid():
            return emit(value.value) + b"Q"
        case Call():
            made = emit(value.what) + emit(value.arguments) + b"R" + items(value.items)
            return made if value.state is None else made + emit(value.state) + b"b"
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case dict():
            return b"}" + items(value)
    raise TypeError(type(value))


def items(pairs):
    """SETITEMS of a dict."""
    body = b"".join(emit(k) + emit(v) for k, v in pairs.items())
    return b"(" + body + b"u" if pairs else b""


def pickled(value):
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + emit(value) + b"."


class Saver:
    """Storages by key, tensors that look at them, and files of them."""

    def __init__(self, *, legacy=False, order="<"):
        self.legacy, self.order = legacy, order
        self.storages = {}

    def storage(self, values, kind=None, *, key=None, count=None, part=None):
        """A storage of the values (an array, or raw bytes with its kind and count)."""
        key = str(len(self.storages)) if key is None else key
        if isinstance(values, np.ndarray):
            kind = KINDS[values.dtype.str[1:]] if kind is None else kind
            count = values.size if count is None else count
            values = values.astype(values.dtype.newbyteorder(self.order)).tobytes()
        self.storages[key] = (values, count)
        return self.again(key, kind, count, part)

    def again(self, key, kind, count, part=None):
        """The id of a storage, once more."""
        id_ = ("storage", Name("torch", f"{kind}Storage"), key, "cpu", count)
        return Pid((*id_, part) if self.legacy else id_)

    def view(self, storage, shape, stride, offset=0):
        """A tensor that looks at a storage."""
        hooks = Call(Name("collections", "OrderedDict"))
        arguments = (storage, offset, tuple(shape), tuple(stride), False, hooks)
        return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)

    def tensor(self, array, kind=None, **options):
        """A tensor with a storage of its own."""
        stride = [s // array.itemsize for s in array.strides]
        return self.view(self.storage(array, kind, **options), array.shape, stride)

    def write(self, path, tree):
        """The file, in the format chosen when the Saver was made."""
        (self.write_legacy if self.legacy else self.write_zip)(path, pickled(tree))
        return path

    def write_zip(self, path, pickle, *, deflate=False, extra=(), order=True):
        method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as out:
            out.writestr("net/data.pkl", pickle)
            if order:
                out.writestr("net/byteorder", "little" if self.order == "<" else "big")
            for key, (raw, _) in self.storages.items():
                out.writestr(f"net/data/{key}", raw)
            out.writestr("net/version", "3\n")
            for name, content in extra:
                out.writestr(name, content)
        return path

    def write_legacy(self, path, pickle, *, magic=MAGIC, version=1001, little=True, tail=b""):
        sizes = {"short": 2, "int": 4, "long": 4}
        about = {"protocol_version": 1001, "little_endian": little, "type_sizes": sizes}
        keys = sorted(self.storages)
        parts = [*map(pickled, (magic, version, about)), pickle, pickled(keys)]
        for key in keys:
            raw, count = self.storages[key]
            parts += [struct.pack("<q", count), raw]
        path.write_bytes(b"".join(parts) + tail)
        return path
