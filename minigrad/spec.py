"""Reading an op: its signatures become slots.

Design: the *names* in the signatures say everything.  The positional parameters of ``forward`` are
the inputs, the keyword-only ones are constants, and what a gradient rule names is what the tape
keeps for it.  All of it is read once, when the class is made, into a ``Spec``; a call pays for no
dictionary.  ``Spec.bind`` and ``Spec.admit`` are the long way of a call, for arguments given by
name and operands that are not plain arrays of one dtype.

Next: ``op.py`` for the class that people subclass.
"""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import ArgError, DTypeError, ShapeError

_MISSING: Any = object()
_EMPTY = inspect.Parameter.empty
SUPPORTED = "float32, float64, integers and bool"

# What a gradient rule may ask for, and where the tape finds it.
INPUT, OUT, PARAM, SHAPE, DTYPE, BYPRODUCT, NEEDS, INDEX = range(8)


@dataclass(frozen=True)
class Gradient:
    """A gradient rule and the (kind, index) source of each argument after the incoming gradient."""

    function: Callable[..., Any]
    sources: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Spec:
    """An op, read once: all that the tape needs to know about it."""

    name: str
    op: type[Any]
    forward: Callable[..., Any]
    inputs: tuple[str, ...]
    required: int
    variadic: bool
    params: tuple[str, ...]
    defaults: tuple[Any, ...]
    byproducts: tuple[str, ...] = ()
    broadcasts: bool = False
    kernel: Any = None
    gradients: tuple[Gradient | None, ...] = ()
    joint: Gradient | None = None
    composite: Callable[..., Any] | None = None
    forward_only: Callable[..., Any] | None = None
    differentiable: tuple[bool, ...] = field(default=())

    @property
    def required_params(self) -> int:
        """How many constants have no default."""
        return sum(d is _EMPTY for d in self.defaults)

    def label(self, source: tuple[int, int]) -> str:
        """The name under which a rule asked for `source`."""
        kind, index = source
        names = {INPUT: self.inputs, PARAM: self.params, BYPRODUCT: self.byproducts}.get(kind)
        return "out" if names is None else names[min(index, len(names) - 1)]

    def plan(self, needs: tuple[bool, ...]) -> tuple[tuple[Any, ...], ...]:
        """What a node keeps when the inputs marked in `needs` get a gradient, and who reads it.

        Returns (sources, calls, functions): the (kind, index) pairs to keep, without repetition;
        per input the position of each rule argument among them (-1 stands for needs, -2 for the
        index); and the rule itself.
        """
        sources: list[tuple[int, int]] = []
        if self.composite is not None:  # a fused op keeps its inputs, then its constants
            sources += [(INPUT, i) for i in range(len(self.inputs))]
            sources += [(PARAM, i) for i in range(len(self.params))]
        special = {NEEDS: -1, INDEX: -2}

        def place(source: tuple[int, int]) -> int:
            if source[0] in special:
                return special[source[0]]
            if source not in sources:
                sources.append(source)
            return sources.index(source)

        calls: list[tuple[int, ...]] = []
        functions: list[Any] = []
        for i, need in enumerate(needs):
            rule = self.joint or self.gradients[0 if self.variadic else i]
            wanted = rule.sources if rule is not None and (need or self.joint) else ()
            calls.append(tuple(place(source) for source in wanted))
            functions.append(None if rule is None else rule.function)
        return tuple(sources), tuple(calls), tuple(functions)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Sort a call's arguments into (inputs, constants); raise TypeError as Python would."""
        left = dict(kwargs)
        params = tuple(
            left.pop(name, default)
            for name, default in zip(self.params, self.defaults, strict=True)
        )
        inputs = list(args)
        if not self.variadic:
            inputs += [left.pop(name, _MISSING) for name in self.inputs[len(args) :]]
            while len(inputs) > self.required and inputs[-1] is _MISSING:
                inputs.pop()
            inputs = [
                None if i >= self.required and x is _MISSING else x for i, x in enumerate(inputs)
            ]
            inputs += [None] * (len(self.inputs) - len(inputs))
            if len(inputs) > len(self.inputs):
                raise TypeError(
                    f"{self.name}() takes the inputs ({', '.join(self.inputs)}) and keyword "
                    f"constants ({', '.join(self.params)}); got {len(args)} positional arguments"
                )
        missing = [n for n, v in zip(self.inputs, inputs, strict=False) if v is _MISSING]
        missing += [n for n, v in zip(self.params, params, strict=True) if v is _EMPTY]
        if missing or left:
            what = f"needs {missing[0]!r}" if missing else f"does not know {next(iter(left))!r}"
            raise TypeError(
                f"{self.name}() {what}; its inputs are ({', '.join(self.inputs)}), its keyword "
                f"constants ({', '.join(self.params)})"
            )
        return tuple(inputs), params

    def admit(self, values: list[Any]) -> list[Any]:
        """Turn an op's inputs into arrays it can work on, or raise DTypeError."""
        out = [as_operand(v, self) for v in values]
        floats = {v.dtype for v in values if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
        if len(floats) == 1:  # a NumPy number follows the arrays
            out = [
                np.asarray(a, *floats) if isinstance(v, np.floating | np.integer) else a
                for v, a in zip(values, out, strict=True)
            ]
        floats = {v.dtype for v in out if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
        if len(floats) > 1:
            raise DTypeError(
                f"{self.name}: inputs mix {' and '.join(sorted(map(str, floats)))}; cast one of "
                "them with .astype(...)"
            )
        if self.broadcasts:
            weak = floats.pop() if floats else np.dtype(np.float32)
            whole = [v.dtype for v in out if isinstance(v, np.ndarray) and v.dtype.kind in "iu"]
            if whole and any(isinstance(v, np.ndarray) and v.dtype == weak for v in out):
                raise DTypeError(
                    f"{self.name}: inputs mix {weak} and {whole[0]}; integers are labels and "
                    f"indices, cast with .astype(np.{weak}) to compute with them"
                )
            out = [self.listed(v, weak) if isinstance(v, list | tuple) else v for v in out]
        return out

    def listed(self, value: Any, dtype: np.dtype[Any]) -> Any:
        """Nested lists of numbers as an array."""
        try:
            return np.asarray(value, dtype)
        except (ValueError, TypeError):
            raise DTypeError(
                f"{self.name}: {reprlib.repr(value)} is no array of numbers; nested lists must "
                "have equal lengths"
            ) from None

    def misfit(self, why: ValueError, arrays: list[Any]) -> ShapeError | None:
        """NumPy's complaint about operands that do not broadcast, with the op's name and shapes."""
        if not self.broadcasts or type(why) is not ValueError:
            return None
        pairs = zip(self.inputs, arrays, strict=False)
        shapes = ", ".join(f"{n} {a.shape}" for n, a in pairs if isinstance(a, np.ndarray))
        return ShapeError(
            f"{self.name}: shapes do not broadcast: {shapes}; counted from the right, sizes must "
            "be equal or 1"
        )


def as_operand(value: Any, spec: Spec) -> Any:
    """One input of an op as an ndarray; Python numbers stay as they are where an op broadcasts."""
    if value is None or (spec.broadcasts and type(value) in (float, int, bool)):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, list | tuple) and spec.broadcasts:
        return value
    if not isinstance(value, np.ndarray):
        if isinstance(value, float | int | bool | list | tuple):
            try:
                array = np.asarray(value)
            except ValueError:
                raise DTypeError(
                    f"{spec.name}: a list whose rows differ in length is no array; pad the rows"
                ) from None
            value = array.astype(np.float32) if array.dtype == np.float64 else array
        else:
            raise DTypeError(
                f"{spec.name}: cannot compute with {type(value).__name__}; give a Tensor, a NumPy "
                "array or a number"
            )
    if type(value) is not np.ndarray and not isinstance(value, np.memmap):
        raise DTypeError(
            f"{spec.name}: {type(value).__name__} is not supported (its meaning would be lost); "
            "give a plain array, np.asarray(x)"
        )
    if value.dtype.char not in "fd?bhilqBHILQ":
        raise DTypeError(f"{spec.name}: dtype {value.dtype} is not supported; use {SUPPORTED}")
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def snake_case(name: str) -> str:
    """``MaxPool2d`` -> ``max_pool2d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def read_spec(cls: type[Any], broadcasts: bool, byproducts: tuple[str, ...], kernel: Any) -> Spec:
    """Turn the names in an op's signatures into slots; raise ArgError where they do not fit."""
    functions = {k: v for k, v in vars(cls).items() if inspect.isfunction(v)}
    if "forward" not in functions:
        raise ArgError(f"op {cls.__name__}: define forward(x, ..., *, constants)")
    for key, function in functions.items():
        if key != "__new__":
            setattr(cls, key, staticmethod(function))
    forward = functions["forward"]
    signature = inspect.signature(forward).parameters.values()
    positional = [p for p in signature if p.kind != p.KEYWORD_ONLY]
    constants = [p for p in signature if p.kind == p.KEYWORD_ONLY]
    inputs = tuple(p.name for p in positional)
    slots = Slots(cls.__name__, inputs, tuple(p.name for p in constants), byproducts)
    gradients = tuple(
        slots.gradient(functions.get(f"grad_{name}"), f"grad_{name}") for name in inputs
    )
    joint = slots.gradient(functions.get("grads"), "grads")
    alone = functions.get("forward_only")
    if alone and (not byproducts or inspect.signature(alone) != inspect.signature(forward)):
        raise ArgError(
            f"op {cls.__name__}: forward_only is forward without its by-products; declare them "
            "and give both functions one signature"
        )
    strangers = [k for k in functions if k.startswith("grad_") and k[5:] not in inputs]
    if strangers:
        raise ArgError(f"op {cls.__name__}: {strangers[0]} has no input of that name in {inputs}")
    return Spec(
        name=snake_case(cls.__name__),
        op=cls,
        forward=forward,
        inputs=inputs,
        required=sum(p.default is p.empty and p.kind != p.VAR_POSITIONAL for p in positional),
        variadic=any(p.kind == p.VAR_POSITIONAL for p in positional),
        params=tuple(p.name for p in constants),
        defaults=tuple(p.default for p in constants),
        byproducts=tuple(byproducts),
        broadcasts=broadcasts,
        kernel=kernel,
        gradients=gradients,
        joint=joint,
        composite=functions.get("composite"),
        forward_only=alone,
        differentiable=tuple(joint is not None or g is not None for g in gradients),
    )


@dataclass(frozen=True)
class Slots:
    """The names that the gradient rules of one op may use."""

    op: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    byproducts: tuple[str, ...]

    def gradient(self, function: Callable[..., Any] | None, rule: str) -> Gradient | None:
        """Find the source of every argument of a rule but the first."""
        if function is None:
            return None
        names = list(inspect.signature(function).parameters)[1:]
        return Gradient(function, tuple(self.source(name, rule) for name in names))

    def source(self, name: str, rule: str) -> tuple[int, int]:
        """Where the tape finds what a rule calls `name`."""
        tables = ((INPUT, self.inputs), (PARAM, self.params), (BYPRODUCT, self.byproducts))
        for kind, names in tables:
            if name in names:
                return kind, names.index(name)
        for kind, suffix in ((SHAPE, "_shape"), (DTYPE, "_dtype")):
            stem = name.removesuffix(suffix)
            if stem != name and stem in self.inputs:
                return kind, self.inputs.index(stem)
        special = {"out": OUT, "needs": NEEDS, "i": INDEX}
        if name in special:
            return special[name], 0
        raise ArgError(
            f"op {self.op}: {rule} asks for {name!r}; known are inputs {self.inputs}, constants "
            f"{self.params}, by-products {self.byproducts}, 'out', '<input>_shape', '<input>_dtype'"
        )
