"""The NumPy names of a Tensor: ``x.sum(axis=1)``, ``x.reshape(2, -1)``, ``x.exp()``.

Design: a mixin of one-line methods; each is an op of ``minigrad.ops`` under the name and with the
keywords that ``numpy.ndarray`` gives it, so that gradient rules run unchanged on arrays and on
Tensors.  Shapes, equations and errors are in the op's own docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import ops
from ._engine import TensorBase

if TYPE_CHECKING:
    from .tensor import Tensor

Axis = int | tuple[int, ...] | None


def spread(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        return tuple(sizes[0])
    return sizes


class ArrayMethods(TensorBase):
    """NumPy's method names, each one op."""

    __slots__ = ()

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return ops.var(self, axis=axis, correction=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return ops.std(self, axis=axis, correction=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return ops.prod(self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        return ops.cumsum(self, axis=axis)

    def reshape(self, *sizes: Any) -> Tensor:
        return ops.reshape(self, shape=spread(sizes))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return ops.flatten(self, start_dim=start_dim, end_dim=end_dim)

    def transpose(self, *axes: Any) -> Tensor:
        return ops.transpose(self, axes=None if axes in ((), (None,)) else spread(axes))

    def permute(self, *dims: Any) -> Tensor:
        return ops.permute(self, axes=spread(dims))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return ops.swapaxes(self, axis1=axis1, axis2=axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        return ops.squeeze(self, axis=axis)

    def expand_dims(self, axis: int | tuple[int, ...]) -> Tensor:
        return ops.expand_dims(self, axis=axis)

    def broadcast_to(self, *sizes: Any) -> Tensor:
        return ops.broadcast_to(self, shape=spread(sizes))

    def repeat(self, repeats: int, axis: int | None = None) -> Tensor:
        return ops.repeat(self, repeats=repeats, axis=axis)

    def astype(self, dtype: Any) -> Tensor:
        return ops.astype(self, dtype=dtype)

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        return ops.clip(self, min=min, max=max)

    def exp(self) -> Tensor:
        return ops.exp(self)

    def log(self) -> Tensor:
        return ops.log(self)

    def sqrt(self) -> Tensor:
        return ops.sqrt(self)

    def abs(self) -> Tensor:
        return ops.abs(self)

    def sin(self) -> Tensor:
        return ops.sin(self)

    def cos(self) -> Tensor:
        return ops.cos(self)

    def tanh(self) -> Tensor:
        return ops.tanh(self)

    def sigmoid(self) -> Tensor:
        return ops.sigmoid(self)

    def relu(self) -> Tensor:
        return ops.relu(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __getitem__(self, key: Any) -> Tensor:
        return ops.getitem(self, index=ops.plain(key))

    @property
    def T(self) -> Tensor:
        return ops.transpose(self, axes=None)
