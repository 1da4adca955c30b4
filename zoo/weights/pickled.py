"""Pickles that hold data only, read without the pickle module.

Design: a pickle is a program for a stack machine, and Python's machine imports and calls whatever
the program names.  This machine can do neither.  A global is looked up in a table that the caller
gives and becomes a ``Global``, which is a name and, for a few, a function of ours that checks its
arguments; REDUCE calls that function and nothing else; BUILD is allowed on an ordered dict, and its
state is dropped; opcodes that make objects in other ways are refused by name.

Not Python's own machine with ``find_class`` overridden, because that still lets a file of a few
bytes take memory or time without end: a memo index makes it allocate (CPython issue 115952), a
nested tuple as a key is hashed without end, BUILD writes attributes of what an allowed name stands
for.  Here the memo is a dict, keys are text or small integers, every text is cut from bytes that
are there, and work is linear in the length of the pickle.  ``tensors.py`` has the table; the
opcodes are those of protocols 2 to 5 that a state_dict needs.

Source: the opcodes as documented in Python's ``pickletools``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigrad.errors import CheckpointError

LONGEST = 4 << 20  # bytes of one pickle; that of ResNet-1202 has 0.9 MB
LARGEST_KEY = 1 << 32  # of integers as keys: larger ones can be chosen to have equal hashes
WAY_OUT = (
    "which a file of weights does not need; nothing was executed; "
    "if you trust the file, load it with PyTorch and save model.state_dict()"
)
REFUSED = {  # opcodes that make or find objects in ways that weights do not need
    0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", ord("i"): "INST", ord("o"): "OBJ",
    0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", ord("P"): "PERSID",
    0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER", ord("0"): "POP", ord("1"): "POP_MARK",
    ord("2"): "DUP",
}  # fmt: skip


@dataclass(frozen=True)
class Global:
    """What an allowed name stands for: the name, and how to make something of arguments."""

    name: str
    build: Callable[[tuple[Any, ...]], Any] | None = None


class Ordered(dict[Any, Any]):
    """An OrderedDict of the file; a class of its own, because BUILD is allowed on it."""


class Reader:
    """Bytes with a place in them. Taking more than is there raises CheckpointError."""

    def __init__(self, blob: bytes | memoryview, at: int = 0) -> None:
        self.blob, self.at = memoryview(blob), at
        self.end = len(self.blob)

    def take(self, count: int) -> memoryview:
        """The next ``count`` bytes."""
        if count > self.end - self.at:
            raise CheckpointError(
                f"cut short or damaged: {count} bytes are needed at byte {self.at}, "
                f"{self.end - self.at} are left"
            )
        self.at += count
        return self.blob[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """The next number, in a form of the ``struct`` module."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to the next newline, at most 200 characters."""
        window = bytes(self.blob[self.at : min(self.at + 201, self.end)])
        length = window.find(b"\n")
        if length < 0:
            raise CheckpointError(f"damaged: a name at byte {self.at} has no end")
        self.at += length + 1
        return window[:length].decode("utf-8")


def load(
    reader: Reader,
    names: Mapping[tuple[str, str], Global],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of one pickle; the reader then stands behind it.

    Values are None, bool, int, float, str, bytes, tuple, list, dict, ``Ordered``, ``Global`` and
    what the entries of ``names`` and ``persistent`` (for persistent ids) return.  Raises
    CheckpointError for everything else, for damage, and beyond ``LONGEST`` bytes.
    """
    whole = reader.end
    reader.end = min(whole, reader.at + LONGEST)
    try:
        return Machine(reader, names, persistent).run()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"damaged: the pickle makes no sense at byte {reader.at} ({type(error).__name__})"
        ) from error
    finally:
        reader.end = whole


class Machine:
    """The state of one run: a stack (with those that MARK put aside), and the memo."""

    def __init__(
        self,
        reader: Reader,
        names: Mapping[tuple[str, str], Global],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.reader, self.names, self.persistent = reader, names, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # items that REDUCE has copied: lists can be used more than once

    def run(self) -> Any:
        """Obey opcodes until STOP."""
        while (code := self.reader.take(1)[0]) != ord("."):
            step = STEPS.get(code)
            if step is None:
                name = REFUSED.get(code)
                what = f"the opcode {name}" if name else f"the byte 0x{code:02x} as an opcode"
                raise CheckpointError(f"its pickle uses {what}, {WAY_OUT}")
            step(self)
        if len(self.stack) != 1 or self.marked:
            raise CheckpointError("damaged: the pickle ends with a stack that is not one value")
        return self.stack[0]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def protocol(self) -> None:
        """PROTO: 2 to 5."""
        number = self.reader.number("B")
        if not 2 <= number <= 5:
            raise CheckpointError(f"its pickle has protocol {number}; 2 to 5 can be read")

    def frame(self) -> None:
        """FRAME: a length, a hint for those who read streams."""
        self.reader.take(8)

    def long(self) -> None:
        """LONG1: an integer of up to 255 bytes."""
        self.push(int.from_bytes(self.reader.take(self.reader.number("B")), "little", signed=True))

    def mark(self) -> None:
        """MARK: put the stack aside."""
        self.marked.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """What came since the last MARK; the stack is again what it was before it."""
        found = self.stack
        self.stack = self.marked.pop()
        return found

    def several(self, count: int) -> tuple[Any, ...]:
        """The last ``count`` values, taken from the stack."""
        if count > len(self.stack):
            raise IndexError
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        return found

    def append(self, values: Sequence[Any]) -> None:
        """APPEND, APPENDS: to a list only."""
        if type(self.stack[-1]) is not list:
            raise CheckpointError("damaged: the pickle appends to something that is not a list")
        self.stack[-1].extend(values)

    def set_items(self, pairs: Sequence[Any]) -> None:
        """SETITEM, SETITEMS: keys and values in turn, into a dict only."""
        if len(pairs) % 2:
            raise IndexError
        put(self.stack[-1], pairs[::2], pairs[1::2])

    def global_(self, module: str, name: str) -> None:
        """GLOBAL, STACK_GLOBAL: a name of the table."""
        if type(module) is not str or type(name) is not str:
            raise CheckpointError("damaged: the pickle names a global by something not text")
        if (module, name) not in self.names:
            raise CheckpointError(
                f"its pickle asks for the global {module[:60] + '.' + name[:60]!r}, {WAY_OUT}"
            )
        self.push(self.names[module, name])

    def reduce(self) -> None:
        """REDUCE: the function of a name, applied to a tuple."""
        what, arguments = self.several(2)
        if type(what) is not Global or what.build is None or type(arguments) is not tuple:
            called = what.name if type(what) is Global else type(what).__name__
            raise CheckpointError(f"its pickle calls {called}, {WAY_OUT}")
        self.copied += sum(len(a) for a in arguments[:1] if type(a) is list)
        if self.copied > LONGEST:
            raise CheckpointError("its pickle copies the same lists again and again; refused")
        self.push(what.build(arguments))

    def build(self) -> None:
        """BUILD: drops the state (torch's ``_metadata``) of an ordered dict."""
        target, _ = self.several(2)
        if type(target) is not Ordered:
            called = target.name if type(target) is Global else type(target).__name__
            raise CheckpointError(f"its pickle sets attributes of {called}, {WAY_OUT}")
        self.push(target)

    def persistent_id(self) -> None:
        """BINPERSID: what the caller knows under this id."""
        if self.persistent is None:
            raise CheckpointError(f"its pickle uses the opcode BINPERSID, {WAY_OUT}")
        self.push(self.persistent(self.stack.pop()))

    def text(self, form: str, encoding: str) -> None:
        """A text whose length comes first."""
        self.push(bytes(self.reader.take(self.reader.number(form))).decode(encoding))

    def remember(self, index: int) -> None:
        """PUT, MEMOIZE."""
        self.memo[index] = self.stack[-1]


def put(target: Any, keys: Sequence[Any], values: Sequence[Any]) -> None:
    """Set items of a dict. Raises CheckpointError for keys that are not text or small integers."""
    if type(target) not in (dict, Ordered):
        raise CheckpointError("damaged: the pickle sets items of something that is not a dict")
    for key, value in zip(keys, values, strict=True):
        if type(key) is not str and not (type(key) is int and abs(key) < LARGEST_KEY):
            raise CheckpointError(
                f"its pickle has a {type(key).__name__} as a key; text and integers can be read"
            )
        target[key] = value


def ordered(arguments: tuple[Any, ...]) -> Ordered:
    """``OrderedDict()``, or Python 2's ``OrderedDict([[key, value], ...])``."""
    made = Ordered()
    if len(arguments) > 1 or any(type(a) is not list for a in arguments):
        raise CheckpointError("its pickle makes an OrderedDict of something not a list of pairs")
    pairs = arguments[0] if arguments else []
    if any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise CheckpointError("its pickle makes an OrderedDict of something not a list of pairs")
    put(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return made


STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.reader.number("B")),
    ord("M"): lambda m: m.push(m.reader.number("<H")),
    ord("J"): lambda m: m.push(m.reader.number("<i")),
    ord("G"): lambda m: m.push(m.reader.number(">d")),
    0x8A: Machine.long,
    ord("X"): lambda m: m.text("<I", "utf-8"),
    0x8C: lambda m: m.text("B", "utf-8"),
    0x8D: lambda m: m.text("<Q", "utf-8"),
    ord("U"): lambda m: m.text("B", "utf-8"),  # SHORT_BINSTRING, BINSTRING: Python 2's str
    ord("T"): lambda m: m.text("<I", "utf-8"),
    ord("C"): lambda m: m.push(bytes(m.reader.take(m.reader.number("B")))),
    ord("B"): lambda m: m.push(bytes(m.reader.take(m.reader.number("<I")))),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    ord("("): Machine.mark,
    ord("t"): lambda m: m.push(tuple(m.items())),
    0x85: lambda m: m.push(m.several(1)),
    0x86: lambda m: m.push(m.several(2)),
    0x87: lambda m: m.push(m.several(3)),
    ord("a"): lambda m: m.append(m.several(1)),
    ord("e"): lambda m: m.append(m.items()),
    ord("s"): lambda m: m.set_items(m.several(2)),
    ord("u"): lambda m: m.set_items(m.items()),
    ord("q"): lambda m: m.remember(m.reader.number("B")),
    ord("r"): lambda m: m.remember(m.reader.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.push(m.memo[m.reader.number("B")]),
    ord("j"): lambda m: m.push(m.memo[m.reader.number("<I")]),
    ord("c"): lambda m: m.global_(m.reader.line(), m.reader.line()),
    0x93: lambda m: m.global_(*m.several(2)),
    ord("R"): Machine.reduce,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
}
