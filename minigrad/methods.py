"""The NumPy names of a Tensor: ``x.sum(axis=1)``, ``x.reshape(2, -1)``, ``x.exp()``.

Design: a mixin of one-line methods; each is an op of ``minigrad.ops`` under the name and with the
keywords that ``numpy.ndarray`` gives it, so that gradient rules run unchanged on arrays and on
Tensors.  Shapes, equations and errors are in the op's own docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._engine import TensorBase
from .ops import elementwise, index, reduce, shape

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
        return reduce.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return reduce.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return reduce.var(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return reduce.std(self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return reduce.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return reduce.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return reduce.prod(self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        return reduce.cumsum(self, axis=axis)

    def reshape(self, *sizes: Any) -> Tensor:
        return shape.reshape(self, shape=spread(sizes))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return shape.flatten(self, start_dim=start_dim, end_dim=end_dim)

    def transpose(self, *axes: Any) -> Tensor:
        return shape.transpose(self, axes=None if axes in ((), (None,)) else spread(axes))

    def permute(self, *dims: Any) -> Tensor:
        return shape.permute(self, axes=spread(dims))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return shape.swapaxes(self, axis1=axis1, axis2=axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        return shape.squeeze(self, axis=axis)

    def expand_dims(self, axis: int | tuple[int, ...]) -> Tensor:
        return shape.expand_dims(self, axis=axis)

    def broadcast_to(self, *sizes: Any) -> Tensor:
        return shape.broadcast_to(self, shape=spread(sizes))

    def repeat(self, repeats: int, axis: int | None = None) -> Tensor:
        return shape.repeat(self, repeats=repeats, axis=axis)

    def astype(self, dtype: Any) -> Tensor:
        return shape.astype(self, dtype=dtype)

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        return elementwise.clip(self, min=min, max=max)

    def exp(self) -> Tensor:
        return elementwise.exp(self)

    def log(self) -> Tensor:
        return elementwise.log(self)

    def sqrt(self) -> Tensor:
        return elementwise.sqrt(self)

    def abs(self) -> Tensor:
        return elementwise.abs(self)

    def sin(self) -> Tensor:
        return elementwise.sin(self)

    def cos(self) -> Tensor:
        return elementwise.cos(self)

    def tanh(self) -> Tensor:
        return elementwise.tanh(self)

    def sigmoid(self) -> Tensor:
        return elementwise.sigmoid(self)

    def relu(self) -> Tensor:
        return elementwise.relu(self)

    def __abs__(self) -> Tensor:
        return elementwise.abs(self)

    def __getitem__(self, key: Any) -> Tensor:
        return index.getitem(self, index=key)

    @property
    def T(self) -> Tensor:
        return shape.transpose(self, axes=None)
