"""NumPy functions on Tensors: ``np.exp(x)``, ``np.add(a, x)``, ``np.concatenate([x, y])``.

Design: NumPy asks the first Tensor it meets (NEP 13, NEP 18); a table sends the function to the op
of the same meaning.  A function without an op works on untracked Tensors, on their arrays; on a
tracked one it raises TypeError instead of losing the gradient silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._engine import TensorBase
from .ops import activations, elementwise, extremes, join, reduce, select, shape
from .ops.linear import matmul
from .tensor import Tensor

UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: elementwise.add,
    np.subtract: elementwise.sub,
    np.multiply: elementwise.mul,
    np.divide: elementwise.div,
    np.negative: elementwise.neg,
    np.power: elementwise.pow,
    np.exp: elementwise.exp,
    np.log: elementwise.log,
    np.sqrt: elementwise.sqrt,
    np.absolute: elementwise.abs,
    np.sign: elementwise.sign,
    np.sin: elementwise.sin,
    np.cos: elementwise.cos,
    np.tanh: activations.tanh,
    np.maximum: select.maximum,
    np.minimum: select.minimum,
    np.matmul: matmul,
    np.square: lambda x: elementwise.mul(x, x),
}

COMPARISONS = {
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.isnan,
    np.isfinite,
    np.isinf,
    np.signbit,
    np.logical_and,
    np.logical_or,
    np.logical_not,
}


def concatenate(arrays: Any, axis: int = 0) -> Any:
    return join.concat(*arrays, axis=axis)


def stack(arrays: Any, axis: int = 0) -> Any:
    return join.stack(*arrays, axis=axis)


def where(condition: Any, x: Any, y: Any) -> Any:
    return select.where(condition, x, y)


def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    return select.clip(a, min=a_min, max=a_max)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: lambda a, axis=None, keepdims=False: reduce.sum(a, axis=axis, keepdims=keepdims),
    np.mean: lambda a, axis=None, keepdims=False: reduce.mean(a, axis=axis, keepdims=keepdims),
    np.max: lambda a, axis=None, keepdims=False: extremes.max(a, axis=axis, keepdims=keepdims),
    np.min: lambda a, axis=None, keepdims=False: extremes.min(a, axis=axis, keepdims=keepdims),
    np.prod: lambda a, axis=None, keepdims=False: reduce.prod(a, axis=axis, keepdims=keepdims),
    np.var: lambda a, axis=None, ddof=0, keepdims=False: a.var(axis, ddof, keepdims),
    np.std: lambda a, axis=None, ddof=0, keepdims=False: a.std(axis, ddof, keepdims),
    np.cumsum: lambda a, axis=None: reduce.cumsum(a, axis=axis),
    np.reshape: lambda a, shape: a.reshape(shape),
    np.transpose: lambda a, axes=None: shape.transpose(a, axes=axes),
    np.swapaxes: lambda a, axis1, axis2: shape.swapaxes(a, axis1=axis1, axis2=axis2),
    np.squeeze: lambda a, axis=None: shape.squeeze(a, axis=axis),
    np.expand_dims: lambda a, axis: shape.expand_dims(a, axis=axis),
    np.broadcast_to: lambda array, shape: array.broadcast_to(shape),
    np.repeat: lambda a, repeats, axis=None: join.repeat(a, repeats=repeats, axis=axis),
    np.flip: lambda m, axis=None: join.flip(m, axis=axis),
    np.roll: lambda a, shift, axis=None: join.roll(a, shift=shift, axis=axis),
    np.concatenate: concatenate,
    np.stack: stack,
    np.where: where,
    np.clip: clip,
    np.dot: lambda a, b: matmul(a, b),
    np.ndim: lambda a: a.ndim,
    np.shape: lambda a: a.shape,
    np.size: lambda a: a.size,
}


def plain(value: Any) -> Any:
    """Tensors, also inside lists and tuples, as their arrays."""
    if isinstance(value, TensorBase):
        return value.data
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    return value


def tracked(value: Any) -> bool:
    """Whether a Tensor in `value` is on the tape."""
    if isinstance(value, list | tuple):
        return any(tracked(v) for v in value)
    return isinstance(value, TensorBase) and value.node is not None


def refuse(name: str) -> TypeError:
    """The error for a NumPy function that would lose a gradient."""
    return TypeError(
        f"np.{name} has no gradient here and the Tensor is tracked; use a function of "
        "minigrad.functional, or x.detach()"
    )


def call_ufunc(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """What ``Tensor.__array_ufunc__`` does."""
    if kwargs.get("out") is not None:
        raise TypeError(f"np.{ufunc.__name__}(out=...) would write into a Tensor; use x.copy_(...)")
    if method == "__call__" and ufunc in UFUNCS and not kwargs:
        return UFUNCS[ufunc](*inputs)
    if tracked(inputs) and ufunc not in COMPARISONS:
        raise refuse(ufunc.__name__)
    made = getattr(ufunc, method)(*plain(inputs), **kwargs)
    return Tensor(np.asarray(made)) if isinstance(made, np.ndarray | np.generic) else made


def call_function(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What ``Tensor.__array_function__`` does."""
    if function in FUNCTIONS:
        return FUNCTIONS[function](*args, **kwargs)
    if tracked(args) or tracked(list(kwargs.values())):
        raise refuse(function.__name__)
    made = function(*plain(args), **{k: plain(v) for k, v in kwargs.items()})
    return (
        Tensor(made)
        if isinstance(made, np.ndarray) and made.dtype.char in "fd?bhilqBHILQ"
        else made
    )
