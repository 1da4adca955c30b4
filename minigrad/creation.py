"""Making Tensors: from data, of one value, from a random generator.

Design: Python numbers and lists become float32 (integers stay integers), NumPy arrays keep their
dtype.  The memory is always minigrad's own: an array that the caller could still write to would
break the promise that gradients are right when no error is seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._engine import TensorBase
from .errors import DTypeError, ShapeError
from .methods import spread
from .op import SUPPORTED
from .ops.random import Generator, default_generator
from .tensor import Tensor

_KINDS = "fd?bhilqBHILQ"


def tensor(data: Any, dtype: Any = None, *, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of `data`: a number, nested lists, an array, another Tensor.

    Raises DTypeError for dtypes other than float32, float64, integers and bool, for objects, ragged
    lists and array subclasses; ShapeError for sizes that do not fit.

    >>> tensor([1, 2.5])
    tensor([1. , 2.5])
    """
    source = data.data if isinstance(data, TensorBase) else data
    if isinstance(source, np.ndarray) and type(source) not in (np.ndarray, np.memmap):
        raise DTypeError(
            f"tensor: {type(source).__name__} is not supported (its meaning would be lost); give "
            "a plain array, np.asarray(x)"
        )
    try:
        array = np.array(source, order="K", copy=True)
    except ValueError as error:
        raise ShapeError(f"tensor: the nested lists are ragged ({error})") from None
    if dtype is None and array.dtype == np.float64 and not isinstance(source, np.ndarray):
        dtype = np.float64 if isinstance(source, np.float64) else np.float32
    if array.dtype.char not in _KINDS:
        raise DTypeError(f"tensor: dtype {array.dtype} is not supported; use {SUPPORTED}")
    if dtype is not None or not array.dtype.isnative:
        wanted = np.dtype(dtype if dtype is not None else array.dtype.newbyteorder("="))
        if wanted.char not in _KINDS:
            raise DTypeError(f"tensor: dtype {wanted} is not supported; use {SUPPORTED}")
        array = array.astype(wanted)
    return Tensor(array).requires_grad_(requires_grad) if requires_grad else Tensor(array)


def from_numpy(array: Any) -> Tensor:
    """A Tensor with a copy of a NumPy array (a read-only array is not copied but shared).

    PyTorch shares the memory; minigrad copies what the caller could still change.
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: expected an ndarray, got {type(array).__name__}")
    owned = not array.flags.writeable and array.base is None
    return Tensor(array) if owned and array.dtype.char in "fd" else tensor(array)


def from_dlpack(source: Any) -> Tensor:
    """A Tensor that shares the memory of any CPU array that speaks DLPack."""
    array = np.from_dlpack(source)
    if array.dtype.char not in _KINDS:
        raise DTypeError(f"from_dlpack: dtype {array.dtype} is not supported; use {SUPPORTED}")
    return Tensor(array)


def as_shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """``zeros(2, 3)`` and ``zeros((2, 3))``; raises ShapeError for a negative size."""
    sizes = spread(shape) if shape else ()
    if any(not isinstance(n, int | np.integer) or n < 0 for n in sizes):
        raise ShapeError(f"shape {sizes}: sizes are integers >= 0")
    return tuple(int(n) for n in sizes)


def finish(array: Any, requires_grad: bool) -> Tensor:
    """Wrap a new array."""
    return Tensor(array).requires_grad_() if requires_grad else Tensor(array)


def zeros(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros."""
    return finish(np.zeros(as_shape(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """A Tensor of ones."""
    return finish(np.ones(as_shape(shape), dtype), requires_grad)


def full(
    shape: Any, fill_value: float, *, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """A Tensor filled with one value."""
    sizes = as_shape(shape if isinstance(shape, tuple) else (shape,))
    return finish(np.full(sizes, fill_value, dtype), requires_grad)


def empty(*shape: Any, dtype: Any = np.float32) -> Tensor:
    """A Tensor whose values mean nothing yet."""
    return Tensor(np.empty(as_shape(shape), dtype))


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """Evenly spaced values, as ``np.arange``; integers stay integers, others are float32."""
    low, high = (0, start) if stop is None else (start, stop)
    array = np.arange(low, high, step)
    if dtype is None and array.dtype == np.float64:
        dtype = np.float32
    return Tensor(array if dtype is None else array.astype(dtype))


def linspace(start: float, stop: float, steps: int, dtype: Any = np.float32) -> Tensor:
    """`steps` values from `start` to `stop`, both included."""
    return Tensor(np.linspace(start, stop, steps, dtype=dtype))


def eye(n: int, m: int | None = None, dtype: Any = np.float32) -> Tensor:
    """The identity matrix."""
    return Tensor(np.eye(n, m, dtype=dtype))


def zeros_like(x: Any) -> Tensor:
    """Zeros in the shape, dtype and memory order of x."""
    return Tensor(np.zeros_like(x.data if isinstance(x, TensorBase) else x))


def ones_like(x: Any) -> Tensor:
    """Ones in the shape, dtype and memory order of x."""
    return Tensor(np.ones_like(x.data if isinstance(x, TensorBase) else x))


def randn(
    *shape: Any,
    dtype: Any = np.float32,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Independent draws from N(0, 1)."""
    source = generator or default_generator
    return finish(source.randn(as_shape(shape), dtype=dtype), requires_grad)


def rand(
    *shape: Any,
    dtype: Any = np.float32,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Independent draws from the uniform distribution on [0, 1)."""
    source = generator or default_generator
    return finish(source.rand(as_shape(shape), dtype=dtype), requires_grad)


def randint(
    low: int, high: int, shape: tuple[int, ...], generator: Generator | None = None
) -> Tensor:
    """int64 draws from low, ..., high - 1."""
    source = generator or default_generator
    return Tensor(source.integers(low, high, as_shape((shape,))))


def randperm(n: int, generator: Generator | None = None) -> Tensor:
    """A random permutation of 0, ..., n - 1 (int64)."""
    return Tensor((generator or default_generator).permutation(n))
