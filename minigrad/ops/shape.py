"""Ops that rearrange an array: another shape, another order, more or fewer copies.

Design: every op here is linear and moves numbers without changing them, so its gradient is the
adjoint: the way back for a rearrangement, a sum over copies, zeros for what was dropped.
``reshape``, ``transpose`` and their kind return views; ``clone`` does not.  Keywords are NumPy's
(``axis``, ``shape``).

Axis arguments are left to NumPy on the fast path; only when it objects does ``objection`` turn its
complaint into one that names the op and both sides.  Next: ``index.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import NDArray

from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import check_bytes

Shape = tuple[int, ...]


def objection(op: str, x_shape: Shape, axis: Any) -> Exception:
    """The error for an axis argument that NumPy refused for an array of this shape."""
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    n = len(x_shape)
    for a in axes:
        if isinstance(a, (bool, np.bool_)) or not isinstance(a, (int, np.integer)):
            return TypeError(f"{op}: axis must be an int or a tuple of ints, got {axis!r}")
        if not -n <= a < n:
            allowed = f"use {-n} to {n - 1}" if n else "it has no axes"
            return ArgError(f"{op}: axis {a} is out of range for x of shape {x_shape}; {allowed}")
    return ArgError(f"{op}: axis {axis!r} does not fit x of shape {x_shape}; name each axis once")


def positive_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes meant by `axis` as non-negative numbers; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


class Reshape(Op):
    """z = the numbers of x, in row-major order, in another shape.

    Shapes    x: any; z: shape, of the same size; one entry may be -1 (what is left)
    Forward   z_k = x_k, k counting in row-major order
    Backward  dL/dx_k = dL/dz_k      because z_k = x_k
    Keeps     the shape of x
    Example
        >>> reshape(np.array([1.0, 2.0, 3.0, 4.0]), shape=(2, -1))
        array([[1., 2.],
               [3., 4.]])
    """

    def forward(x, *, shape):
        try:
            z = x.reshape(shape)
            if z.shape == shape or np.min(shape, initial=0) >= -1:  # NumPy takes -2 for -1
                return z
        except (ValueError, OverflowError, TypeError):
            pass
        raise reshape_objection(x.shape, shape)

    def grad_x(gz, x_shape):
        return gz.reshape(x_shape)


def reshape_objection(x_shape: Shape, shape: Any) -> Exception:
    """Say why x of this shape cannot become `shape`."""
    wanted = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(n, (int, np.integer)) for n in wanted):
        return TypeError(f"reshape: shape must be an int or a tuple of ints, got {shape!r}")
    head = f"reshape: x has {math.prod(x_shape)} elements, shape {x_shape}; "
    if wanted.count(-1) > 1:
        return ShapeError(f"{head}only one -1 can be worked out, got {wanted}")
    if any(n < -1 for n in wanted):
        return ShapeError(f"{head}sizes must be at least 0 (or one -1), got {wanted}")
    known = math.prod(n for n in wanted if n != -1)
    if -1 not in wanted:
        return ShapeError(f"{head}{wanted} has {known}; give a shape of the same size, or one -1")
    if known == 0:
        return ShapeError(f"{head}-1 in {wanted} could be any size; write the size in its place")
    return ShapeError(f"{head}-1 in {wanted} has no solution: the other sizes multiply to {known}")


class Flatten(Op):
    """z = x with the axes from start_dim to end_dim (inclusive) made into one.

    Shapes    x: (A.., B.., C..); z: (A.., product of B.., C..)
    Forward   z_k = x_k, k counting in row-major order
    Backward  dL/dx_k = dL/dz_k      because z_k = x_k
    Keeps     the shape of x
    Example
        >>> flatten(np.ones((2, 3, 4)), start_dim=1).shape
        (2, 12)
    """

    def forward(x, *, start_dim=0, end_dim=-1):
        n = max(x.ndim, 1)
        for end in (start_dim, end_dim):
            if not isinstance(end, int) or not -n <= end < n:
                raise objection("flatten", x.shape, end)
        start, end = start_dim % n, end_dim % n
        if start > end:
            raise ArgError(
                f"flatten: start_dim {start_dim} lies after end_dim {end_dim} for shape {x.shape}"
            )
        middle = math.prod(x.shape[start : end + 1])
        return x.reshape((*x.shape[:start], middle, *x.shape[end + 1 :]))

    def grad_x(gz, x_shape):
        return gz.reshape(x_shape)


class Transpose(Op):
    """z = x with its axes in another order; reversed by default.

    Shapes    x: (n_0, n_1, ..); z: (n_axes[0], n_axes[1], ..)
    Forward   z[i_axes[0], i_axes[1], ..] = x[i_0, i_1, ..]
    Backward  dL/dx = dL/dz with its axes put back      because a permutation's adjoint undoes it
    Keeps     nothing
    Example
        >>> transpose(np.ones((2, 3, 4)), axes=(0, 2, 1)).shape
        (2, 4, 3)
    """

    def forward(x, *, axes=None):
        try:
            return x.transpose(axes)
        except (ValueError, TypeError):
            raise ArgError(
                f"transpose: axes {axes!r} does not order the {x.ndim} axes of x {x.shape}; "
                f"name each of 0 to {x.ndim - 1} once"
            ) from None

    def grad_x(gz, axes):
        if axes is None:
            return transpose(gz)
        order = [a % gz.ndim for a in axes]
        return transpose(gz, axes=tuple(order.index(i) for i in range(gz.ndim)))


class Swapaxes(Op):
    """z = x with two axes exchanged.

    Shapes    x: any with both axes; z: the two sizes exchanged
    Forward   z[.. j .. i ..] = x[.. i .. j ..]
    Backward  dL/dx = dL/dz with the same axes exchanged      because doing it twice does nothing
    Keeps     nothing
    Example
        >>> swapaxes(np.ones((2, 3, 4)), axis1=0, axis2=2).shape
        (4, 3, 2)
    """

    def forward(x, *, axis1, axis2):
        try:
            return x.swapaxes(axis1, axis2)
        except (AxisError, TypeError):
            raise objection("swapaxes", x.shape, (axis1, axis2)) from None

    def grad_x(gz, axis1, axis2):
        return swapaxes(gz, axis1=axis1, axis2=axis2)


class ExpandDims(Op):
    """z = x with new axes of size 1 at the places `axis` of z.

    Shapes    x: any; z: x's sizes with 1 at each place named by axis
    Forward   z_k = x_k, k counting in row-major order
    Backward  dL/dx_k = dL/dz_k      because z_k = x_k
    Keeps     the shape of x
    Example
        >>> expand_dims(np.ones((2, 3)), axis=1).shape
        (2, 1, 3)
    """

    def forward(x, *, axis):
        try:
            return np.expand_dims(x, axis)
        except (ValueError, TypeError):
            count = len(axis) if isinstance(axis, tuple) else 1
            raise objection("expand_dims", x.shape + (1,) * count, axis) from None

    def grad_x(gz, x_shape):
        return gz.reshape(x_shape)


class Squeeze(Op):
    """z = x without its axes of size 1, or without those named.

    Shapes    x: any; z: x's sizes without the 1s
    Forward   z_k = x_k, k counting in row-major order
    Backward  dL/dx_k = dL/dz_k      because z_k = x_k
    Keeps     the shape of x
    Example
        >>> squeeze(np.ones((2, 1, 3, 1)), axis=1).shape
        (2, 3, 1)
    """

    def forward(x, *, axis=None):
        try:
            return x.squeeze(axis)
        except (AxisError, TypeError):
            raise objection("squeeze", x.shape, axis) from None
        except ValueError:
            raise ShapeError(
                f"squeeze: x has shape {x.shape}; axis {axis!r} is not of size 1 "
                "(None drops every axis that is)"
            ) from None

    def grad_x(gz, x_shape):
        return gz.reshape(x_shape)


class Clone(Op):
    """z = x, in memory of its own.

    Shapes    x: any; z: as x
    Forward   z_k = x_k
    Backward  dL/dx_k = dL/dz_k      because z_k = x_k
    Keeps     nothing
    Example
        >>> clone(np.array([1.0, 2.0]))
        array([1., 2.])
    """

    def forward(x):
        return x.copy("K")

    def grad_x(gz):
        return gz


class BroadcastTo(Op):
    """z = x repeated along axes of size 1 and new leading axes, as a view.

    Shapes    x: any that broadcasts to shape; z: shape
    Forward   z[.. i ..] = x[.. 0 ..] along the repeated axes
    Backward  dL/dx = sum of dL/dz over the copies      because each copy is the same number
    Keeps     the shape of x
    Example
        >>> broadcast_to(np.array([1.0, 2.0]), shape=(2, 2))
        array([[1., 2.],
               [1., 2.]])
    """

    def forward(x, *, shape):
        try:
            if x.ndim == 0:
                return one_number(x, shape)
            return np.broadcast_to(x, shape)
        except ValueError:
            check_bytes("broadcast_to", shape, x.itemsize)
            raise ShapeError(
                f"broadcast_to: x of shape {x.shape} does not broadcast to {shape}; counted from "
                "the right, each size must be equal or 1"
            ) from None

    def grad_x(gz, x_shape):
        return sum_to(gz, shape=x_shape)


def one_number(x: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """x () as a read-only array of any shape: np.broadcast_to, in a fifth of its time."""
    z: NDArray[Any] = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    z.flags.writeable = False
    return z


class SumTo(Op):
    """z = x summed down to a shape that broadcasts to x's: the adjoint of broadcast_to.

    Shapes    x: any; z: shape, which broadcasts to x's
    Forward   z = sum of x over leading axes that shape lacks and axes where shape has 1
    Backward  dL/dx = dL/dz repeated to the shape of x      because each x_i is added once
    Keeps     the shape of x
    Example
        >>> sum_to(np.ones((2, 3)), shape=(1, 3))
        array([[2., 2., 2.]])
    """

    def forward(x, *, shape):
        extra = x.ndim - len(shape)
        fits = extra >= 0 and all(n in (1, m) for n, m in zip(shape, x.shape[extra:], strict=True))
        if not fits:
            raise ShapeError(f"sum_to: {shape} does not broadcast to the shape of x, {x.shape}")
        axes = [extra + i for i, n in enumerate(shape) if n == 1 and x.shape[extra + i] != 1]
        if extra or axes:
            x = np.sum(x, axis=(*range(extra), *axes), keepdims=True)
        return x.reshape(shape)

    def grad_x(gz, x_shape):
        return broadcast_to(gz, shape=x_shape)


reshape = Reshape.apply
flatten = Flatten.apply
transpose = Transpose.apply
permute = Transpose.apply
swapaxes = Swapaxes.apply
expand_dims = ExpandDims.apply
squeeze = Squeeze.apply
clone = Clone.apply
broadcast_to = BroadcastTo.apply
sum_to = SumTo.apply
