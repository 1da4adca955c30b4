"""Picking parts out of arrays and writing parts into them.

Design: reading with ``x[index]`` and adding into ``z[index]`` are each other's adjoints, so
``getitem`` and ``scatter_add`` are each other's rules; an element that is read twice gets two
gradients.  An index is what NumPy takes: ints, slices, None, Ellipsis, integer and boolean arrays.

Absent on purpose: changing an array in place, which is the Tensor's business (``tensor.py``);
``setitem`` returns a new array.  Next: ``join.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad._engine import TensorBase
from minigrad._kernels.copying import assign
from minigrad.errors import DTypeError, ShapeError
from minigrad.op import Op
from minigrad.ops.select import where
from minigrad.ops.shape import sum_to

Array = NDArray[Any]
Shape = tuple[int, ...]


def plain(index: Any) -> Any:
    """An index of NumPy's own kinds, with arrays that nobody else can change later."""
    if isinstance(index, tuple):
        return tuple(plain(part) for part in index)
    if isinstance(index, TensorBase):
        index = index.data
    if isinstance(index, list):
        index = np.array(index) if index else np.zeros(0, np.intp)
    return index.copy() if isinstance(index, np.ndarray) else index


def picks_once(index: Any) -> bool:
    """Whether no element can be picked twice: only ints, slices, None, Ellipsis, or one mask."""
    if isinstance(index, np.ndarray):
        return bool(index.dtype == bool)
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, (int, slice, np.integer)) for p in parts)


def bad_index(op: str, x_shape: Shape, index: Any, why: Exception) -> Exception:
    """NumPy's complaint about an index, with the op's name and the shape of x."""
    if isinstance(why, IndexError) and "integer" not in str(why):
        return IndexError(f"{op}: {why} (x has shape {x_shape})")
    return DTypeError(
        f"{op}: {index!r} is no index of x {x_shape}; use ints, slices, None, ... and arrays of "
        "ints or bools"
    )


class Getitem(Op):
    """z = x[index].

    Shapes    x: any; z: what NumPy's indexing gives
    Forward   z_k = x_i(k), i(k) the place that the index names for k
    Backward  dL/dx_i = sum of dL/dz_k over all k with i(k) = i      because each z_k is a copy
    Keeps     the shape of x
    Example
        >>> getitem(np.array([1.0, 2.0, 3.0]), index=np.array([2, 0, 2]))
        array([3., 1., 3.])
    """

    def forward(x, *, index):
        try:
            return x[index]
        except (IndexError, TypeError, ValueError) as why:
            raise bad_index("getitem", x.shape, index, why) from None

    def grad_x(gz, x_shape, index):
        return scatter_add(gz, index=index, shape=x_shape)


def filled(x: Array, shape: Shape, value: Any) -> Array:
    """An array of one value, of x's dtype and, where it has as many axes, in x's memory order."""
    if x.ndim != len(shape):
        return np.full(shape, value, x.dtype)
    z: Array = np.empty_like(x, shape=shape)
    assign(z, np.broadcast_to(np.full((), value, x.dtype), shape))
    return z


class ScatterAdd(Op):
    """z = zeros, with y added in at z[index]: the adjoint of getitem.

    Shapes    y: as z[index]; z: shape
    Forward   z_i = sum of y_k over all k with i(k) = i
    Backward  dL/dy_k = dL/dz_i(k)      because y_k is added once, there
    Keeps     nothing
    Example
        >>> scatter_add(np.array([1.0, 2.0, 4.0]), index=np.array([2, 0, 2]), shape=(3,))
        array([2., 0., 5.])
    """

    def forward(y, *, index, shape):
        z = filled(y, shape, 0)
        if not picks_once(index):
            np.add.at(z, index, y)
            return z
        place = z[index] if y.ndim == 4 else None
        if place is not None and place.base is z:
            assign(place, y)
        else:
            z[index] = y
        return z

    def grad_y(gz, index):
        return getitem(gz, index=index)


class Setitem(Op):
    """z = a copy of x with z[index] = v.

    Shapes    x: any; v: broadcasts to x[index]; z: as x
    Forward   z_i(k) = v_k, the last one where a place is named twice; z_i = x_i elsewhere
    Backward  dL/dx_i = dL/dz_i, 0 where overwritten      because nothing of x_i is left there
              dL/dv_k = dL/dz_i(k)                        because z_i(k) = v_k; 0 where a later v
                                                          took the same place
    Keeps     the shape of v
    Example
        >>> setitem(np.array([1.0, 2.0, 3.0]), np.array(9.0), index=1)
        array([1., 9., 3.])
    """

    def forward(x, v, *, index):
        z = x.copy("K")
        try:
            z[index] = v
        except (IndexError, TypeError) as why:
            raise bad_index("setitem", x.shape, index, why) from None
        except ValueError:
            raise ShapeError(
                f"setitem: v of shape {v.shape} does not broadcast to x[index] of shape "
                f"{x[index].shape} (x has shape {x.shape})"
            ) from None
        return z

    def grad_x(gz, index):
        overwritten = np.zeros(gz.shape, bool)
        overwritten[index] = True
        return where(overwritten, 0.0, gz)

    def grad_v(gz, v_shape, index):
        gv = getitem(gz, index=index)
        if not picks_once(index):
            gv = where(survivors(gz.shape, index, gv.shape), gv, 0.0)
        extra = len(v_shape) - gv.ndim  # NumPy lets v have more leading axes of size 1
        return sum_to(gv, shape=v_shape[max(extra, 0) :]).reshape(v_shape)


def survivors(shape: Shape, index: Any, part: Shape) -> Array:
    """True for each place of z[index] whose value is not overwritten by a later one."""
    order = np.arange(math.prod(part)).reshape(part)
    last = np.empty(shape, np.intp)
    last[index] = order
    kept: Array = last[index] == order
    return kept


getitem = Getitem.apply
scatter_add = ScatterAdd.apply
setitem = Setitem.apply
