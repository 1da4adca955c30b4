"""Ops that make one number of many: sums, moments, products.

Design: every rule first puts the reduced axes back as size 1 (``restored``), so that the incoming
gradient broadcasts against x.  float32 stays float32, but means and variances are added up in
float64.  Keywords and defaults are NumPy's (``axis``, ``keepdims``; ``ddof`` 0 where
PyTorch's correction is 1).  ``std`` of equal numbers has slope 0.

Next: ``extremes.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import NDArray

from minigrad.errors import ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import number
from minigrad.ops.index import getitem
from minigrad.ops.join import flip, pad, stack
from minigrad.ops.select import where
from minigrad.ops.shape import broadcast_to, objection, positive_axes

Array = NDArray[Any]
Axis = int | tuple[int, ...] | None
Shape = tuple[int, ...]
EVEN, ODD = (slice(None), slice(0, None, 2)), (slice(None), slice(1, None, 2))


def reduced(op: str, method: str, x: Array, axis: Axis, **keywords: Any) -> Any:
    """x.method(axis=axis, ...), with NumPy's complaint about the axis made into ours."""
    try:
        return getattr(x, method)(axis=axis, **keywords)
    except (AxisError, TypeError):
        raise objection(op, x.shape, axis) from None
    except ValueError as why:
        if "zero-size" in str(why):
            raise ShapeError(
                f"{op}: x of shape {x.shape} has no element along axis {axis}; an empty set has "
                f"no {op}"
            ) from None
        raise objection(op, x.shape, axis) from None


def restored(g: Any, x_shape: Shape, axis: Axis) -> Any:
    """A reduction's result with size 1 where x had the reduced axes, for arrays and Tensors."""
    gone = positive_axes(axis, len(x_shape))
    return g.reshape(tuple(1 if d in gone else n for d, n in enumerate(x_shape)))


def count(x_shape: Shape, axis: Axis) -> int:
    """How many elements of x go into one element of the result."""
    return math.prod(x_shape[d] for d in positive_axes(axis, len(x_shape)))


class Sum(Op):
    """z = the sum of x over axes (all by default).

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = sum_i x_ij, i over the reduced axes
    Backward  dL/dx_ij = dL/dz_j      because dz_j/dx_ij = 1
    Keeps     the shape of x
    Example
        >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        array([4., 6.])
    """

    def forward(x, *, axis=None, keepdims=False):
        return reduced("sum", "sum", x, axis, keepdims=keepdims)

    def grad_x(gz, x_shape, axis):
        return broadcast_to(restored(gz, x_shape, axis), shape=x_shape)


class Mean(Op):
    """z = the mean of x over axes (all by default); NaN over none.

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = 1/n sum_i x_ij, i over the n places of the reduced axes
    Backward  dL/dx_ij = dL/dz_j / n      because dz_j/dx_ij = 1/n
    Keeps     the shape of x
    Example
        >>> mean(np.array([[1.0, 2.0], [3.0, 5.0]]), axis=1)
        array([1.5, 4. ])
    """

    def forward(x, *, axis=None, keepdims=False):
        wide = np.float64 if x.dtype == np.float32 else None
        z = reduced("mean", "mean", x, axis, keepdims=keepdims, dtype=wide)
        return z if wide is None else z.astype(x.dtype)

    def grad_x(gz, x_shape, axis):
        share = restored(gz, x_shape, axis) / (count(x_shape, axis) or 1)
        return broadcast_to(share, shape=x_shape)


class Var(Op):
    """z = the variance of x over axes (all by default).

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = 1/(n - c) sum_i (x_ij - m_j)^2, m the mean, c the correction (NaN if n <= c)
    Backward  dL/dx_ij = dL/dz_j 2/(n - c) (x_ij - m_j)      because sum_i (x_ij - m_j) = 0: the
              change of the mean does not count
    Keeps     x
    Example
        >>> var(np.array([[1.0, 3.0]]), axis=1, correction=1)
        array([2.])
    """

    def forward(x, *, axis=None, correction=0, keepdims=False):
        return moment("var", x, axis, correction, keepdims)

    def grad_x(gz, x, axis, correction):
        scale = restored(gz, x.shape, axis) * (2.0 / freedom(x.shape, axis, correction))
        return scale * (x - mean(x, axis=axis, keepdims=True))


class Std(Op):
    """z = the standard deviation of x over axes (all by default).

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = sqrt(1/(n - c) sum_i (x_ij - m_j)^2), m the mean, c the correction
    Backward  dL/dx_ij = dL/dz_j (x_ij - m_j) / ((n - c) z_j)      because z^2 is the variance;
              0 where z_j = 0, the corner of a cone
    Keeps     x and z
    Example
        >>> std(np.array([[1.0, 3.0]]), axis=1)
        array([1.])
    """

    def forward(x, *, axis=None, correction=0, keepdims=False):
        return np.sqrt(moment("std", x, axis, correction, keepdims))

    def grad_x(gz, x, out, axis, correction):
        g, z = restored(gz, x.shape, axis), restored(out, x.shape, axis)
        scale = slope(g, z) * (1.0 / freedom(x.shape, axis, correction))
        return scale * (x - mean(x, axis=axis, keepdims=True))


def moment(op: str, x: Array, axis: Axis, correction: float, keepdims: bool) -> Any:
    """The variance, added up in float64."""
    number(op, "correction", correction)
    wide = np.float64 if x.dtype == np.float32 else None
    z = reduced(op, "var", x, axis, keepdims=keepdims, ddof=correction, dtype=wide)
    return z if wide is None else z.astype(x.dtype)


def freedom(x_shape: Shape, axis: Axis, correction: float) -> float:
    """n - c, the divisor of the variance; NaN where there is nothing to divide."""
    n = count(x_shape, axis) - correction
    return n if n > 0 else math.nan


def slope(g: Any, z: Any) -> Any:
    """g / z, and 0 where z is 0."""
    return where(z == 0.0, 0.0, g / where(z == 0.0, 1.0, z))


class Prod(Op):
    """z = the product of x over axes (all by default).

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = prod_i x_ij
    Backward  dL/dx_ij = dL/dz_j prod_(k != i) x_kj      because z_j is linear in each factor; the
              other factors are multiplied anew, for z_j / x_ij fails where x_ij = 0
    Keeps     x
    Example
        >>> prod(np.array([[1.0, 2.0], [0.0, 4.0]]), axis=1)
        array([2., 0.])
    """

    def forward(x, *, axis=None, keepdims=False):
        return reduced("prod", "prod", x, axis, keepdims=keepdims)

    def grad_x(gz, x, axis):
        gone = positive_axes(axis, x.ndim)
        order = (*(d for d in range(x.ndim) if d not in gone), *gone)
        n, sizes = count(x.shape, axis), tuple(x.shape[d] for d in order)
        rows = math.prod(sizes[: x.ndim - len(gone)])
        others = product_of_others(x.transpose(order).reshape((rows, n)))  # (rows, n)
        back = tuple(order.index(d) for d in range(x.ndim))
        return restored(gz, x.shape, axis) * others.reshape(sizes).transpose(back)


def product_of_others(x: Any) -> Any:
    """y[r, i] = prod over k != i of x[r, k], without division; x (R, n), array or Tensor.

    Neighbors a, b are paired: with t the product of all other pairs, a gets b t and b gets a t.
    The products of pairs are half as many numbers, so all is done after log2(n) rounds.
    """
    rows, n = x.shape
    if n < 2:
        return np.ones(x.shape, x.dtype)
    if n % 2:
        x = pad(x, pad_width=((0, 0), (0, 1)), value=1.0)
    a, b = getitem(x, index=EVEN), getitem(x, index=ODD)  # (R, ceil(n / 2))
    t = product_of_others(a * b)
    y = stack(b * t, a * t, axis=2).reshape((rows, n + n % 2))
    return getitem(y, index=(slice(None), slice(n)))


class Cumsum(Op):
    """z = the running sum of x along an axis (row-major order if None).

    Shapes    x: any; z: as x, or 1-D if axis is None
    Forward   z_k = sum_(i <= k) x_i
    Backward  dL/dx_i = sum_(k >= i) dL/dz_k      because x_i is in every z_k from k = i on
    Keeps     the shape of x
    Example
        >>> cumsum(np.array([1.0, 2.0, 3.0]))
        array([1., 3., 6.])
    """

    def forward(x, *, axis=None):
        return reduced("cumsum", "cumsum", x, axis)

    def grad_x(gz, x_shape, axis):
        along = 0 if axis is None else axis
        gx = flip(cumsum(flip(gz, axis=along), axis=along), axis=along)
        return gx.reshape(x_shape)


sum = Sum.apply
mean = Mean.apply
var = Var.apply
std = Std.apply
prod = Prod.apply
cumsum = Cumsum.apply
