"""Tensor: an array and its place on the tape.

Design: a Tensor holds an ndarray (``data``) and, when it is tracked, a ``node``.  What arithmetic
means is in ``ops``; ``methods.py`` lends ops their NumPy names; this file is about identity: what
is tracked, what may be changed in place, and what the outside world may see of the memory.

Absent on purpose: no devices, no lazy evaluation, no dtype promotion (mixing float32 and float64
raises).  Next: ``autograd.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._engine import Node, TensorBase, configure, mutated, sweep
from ._kernels.elementwise import add_
from .errors import DTypeError, GraphError, ShapeError
from .inplace import overwrite, update
from .methods import ArrayMethods
from .ops import elementwise, matmul, shape


class Tensor(ArrayMethods):
    """An n-dimensional array that remembers how it was computed.

    Made by ``minigrad.tensor(...)`` and by ops; not by calling the class with a list.
    """

    __slots__ = ()

    # -- what it is ---------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, float64, an integer type or bool."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def is_leaf(self) -> bool:
        """True when no op made this Tensor, or when it is not tracked."""
        return self.node is None or self.node.rule is None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Make a leaf collect gradients (or stop). Raises DTypeError, GraphError."""
        if not self.is_leaf:
            raise GraphError(
                f"requires_grad_: this Tensor was made by {self.node.name} and follows its "
                "inputs; use detach()"
            )
        if on and self.data.dtype.kind != "f":
            raise DTypeError(
                f"requires_grad_: {self.dtype} has no derivative; use float32 or float64"
            )
        if on and self.node is None:
            self.node = Node(None, self.data)
        elif not on:
            self.node = None
        return self

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf (or of a Tensor after ``retain_grad``)."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if self.node is None:
            raise GraphError("grad: this Tensor is not tracked; call requires_grad_() first")
        if value is not None and (value.shape, value.dtype) != (self.shape, self.dtype):
            raise ShapeError(
                f"grad: got {value.shape} {value.dtype} for a Tensor {self.shape} {self.dtype}"
            )
        self.node.grad = value

    # -- the tape -----------------------------------------------------------------------------
    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add d(self)/d(leaf), times `gradient`, to every leaf's ``grad``.

        gradient: shape of self; 1 by default, when self has one element.
        Raises GraphError (untracked, not a scalar, played before), ShapeError, DTypeError.
        """
        g = seed(self, gradient, create_graph=create_graph)
        sweep([self.node], [g], None, bool(retain_graph), create_graph)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call ``hook(gradient)`` in backward; what it returns replaces the gradient.

        Returns a function that removes the hook.
        """
        if self.node is None:
            raise GraphError("register_hook: this Tensor is not tracked, it gets no gradient")
        hooks = self.node.hooks
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    def retain_grad(self) -> Tensor:
        """Keep ``grad`` of this Tensor although it is not a leaf."""
        if self.node is None:
            raise GraphError("retain_grad: this Tensor is not tracked, it gets no gradient")
        node = self.node
        if node.rule is not None:

            def keep(g: Tensor) -> None:
                node.grad = g.clone() if node.grad is None else node.grad + g

            self.register_hook(keep)
        return self

    def detach(self) -> Tensor:
        """The same memory, not tracked."""
        return Tensor(self.data)

    def clone(self) -> Tensor:
        """A copy with its own memory, on the tape."""
        return shape.clone(self)

    # -- memory -------------------------------------------------------------------------------
    def numpy(self) -> NDArray[Any]:
        """A read-only view of the memory."""
        view = self.data.view()
        view.flags.writeable = False
        return view

    def item(self) -> Any:
        """The only element, as a Python number. Raises ShapeError when there are others."""
        if self.data.size != 1:
            raise ShapeError(f"item: shape {self.shape} has {self.size} elements, expected one")
        return self.data.item()

    def tolist(self) -> Any:
        """Nested Python lists."""
        return self.data.tolist()

    def float(self) -> Tensor:
        """As float32."""
        return self.astype(np.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.astype(np.float64)

    def mutated_(self) -> Tensor:
        """Tell the tape that ``data`` was changed in place by hand."""
        mutated(self.data)
        return self

    def copy_(self, value: Any) -> Tensor:
        """Overwrite with `value`, broadcast to this shape. Raises GraphError, ShapeError."""
        return overwrite(self, value, ..., "copy_")

    def zero_(self) -> Tensor:
        """Overwrite with zeros."""
        return overwrite(self, 0, ..., "zero_")

    def __setitem__(self, key: Any, value: Any) -> None:
        overwrite(self, value, key, "setitem")

    def __iadd__(self, other: Any) -> Tensor:
        return update(self, elementwise.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return update(self, elementwise.sub, other)

    def __imul__(self, other: Any) -> Tensor:
        return update(self, elementwise.mul, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return update(self, elementwise.div, other)

    # -- Python -------------------------------------------------------------------------------
    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tensor(")
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        origin = "" if self.node is None else ", requires_grad=True"
        if self.node is not None and self.node.rule is not None:
            origin = f", made by {self.node.name}"
        return f"tensor({text}{dtype}{origin})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __eq__(self, other: Any) -> Any:
        return compare(np.equal, self, other)

    def __ne__(self, other: Any) -> Any:
        return compare(np.not_equal, self, other)

    def __lt__(self, other: Any) -> Any:
        return compare(np.less, self, other)

    def __le__(self, other: Any) -> Any:
        return compare(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return compare(np.greater, self, other)

    def __ge__(self, other: Any) -> Any:
        return compare(np.greater_equal, self, other)

    def __invert__(self) -> Tensor:
        return Tensor(~self.data)

    __hash__ = TensorBase.__hash__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy or (dtype is not None and dtype != self.dtype):
            return np.array(self.data, dtype=dtype)
        return self.numpy()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .protocols import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .protocols import call_function

        return call_function(function, args, kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf of the same class with its own memory. Raises GraphError for what an op made."""
        if not self.is_leaf:
            raise GraphError(
                f"deepcopy: this Tensor was made by {self.node.name}; copy its values with "
                ".detach() first"
            )
        twin = type(self).__new__(type(self))
        twin.data, twin.node = self.data.copy("K"), None
        memo[id(self)] = twin
        return twin.requires_grad_(self.requires_grad)

    def __reduce__(self) -> Any:
        raise TypeError("Tensors are not pickled; use minigrad.io.save, or t.numpy()")


def compare(ufunc: Any, x: Any, y: Any) -> Any:
    """A comparison: a bool Tensor, never on the tape."""
    raw = [v.data if isinstance(v, TensorBase) else v for v in (x, y)]
    if not isinstance(raw[1], np.ndarray | np.generic | int | float | list):
        return NotImplemented
    return Tensor(np.asarray(ufunc(*raw)))


def seed(t: Tensor, gradient: Any, *, create_graph: bool) -> Any:
    """The gradient that starts a sweep at `t`, checked against `t`."""
    if t.node is None:
        raise GraphError(
            "backward: this Tensor is not tracked (no input had requires_grad, or it was computed "
            "under no_grad)"
        )
    if gradient is None:
        if t.size != 1:
            raise GraphError(
                f"backward: the output has shape {t.shape}; pass gradient=... of that shape or "
                "reduce with .sum()"
            )
        gradient = np.ones(t.shape, t.dtype)
    array = gradient.data if isinstance(gradient, TensorBase) else np.asarray(gradient)
    if array.shape != t.shape:
        raise ShapeError(f"backward: gradient has shape {array.shape}, the output {t.shape}")
    if array.dtype != t.dtype:
        raise DTypeError(
            f"backward: gradient is {array.dtype}, the output {t.dtype}; cast with .astype"
        )
    if create_graph:
        return gradient if isinstance(gradient, TensorBase) else Tensor(array)
    return array


configure(
    tensor=Tensor,
    accumulate=add_,
    unbroadcast=lambda g, sizes: shape.sum_to(g, shape=sizes),
    operators={
        "add": elementwise.add,
        "sub": elementwise.sub,
        "mul": elementwise.mul,
        "div": elementwise.div,
        "neg": elementwise.neg,
        "pow": elementwise.pow,
        "matmul": matmul,
    },
)
