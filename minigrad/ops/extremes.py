"""The largest, the smallest, their smooth form, and the length of a vector.

Design: reductions as in ``reduce.py``.  Values at kinks: ties of ``max`` and ``min`` share the
gradient evenly (``tie_share``), ``norm`` of zeros has slope 0.  NaN wins, and gets the gradient.

Absent on purpose: argmax and argmin, which have no derivative.  Next: ``linear.py``.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.errors import ArgError
from minigrad.op import Op
from minigrad.ops.elementwise import abs, exp, sign
from minigrad.ops.geometry import floats
from minigrad.ops.reduce import reduced, restored, slope
from minigrad.ops.select import where
from minigrad.ops.shape import positive_axes


class Max(Op):
    """z = the largest of x over axes (all by default); NaN if one is NaN.

    Shapes    x: any, at least one element to choose from; z: x's sizes without the axes, or with 1
              there if keepdims
    Forward   z_j = max_i x_ij
    Backward  dL/dx_ij = dL/dz_j / n_j where x_ij = z_j, else 0      because z_j = x_ij there; the
              n_j that tie share it evenly
    Keeps     x and z
    Example
        >>> max(np.array([[1.0, 5.0], [7.0, 2.0]]), axis=1)
        array([5., 7.])
    """

    def forward(x, *, axis=None, keepdims=False):
        return reduced("max", "max", x, axis, keepdims=keepdims)

    def grad_x(gz, x, out, axis):
        share = tie_share(x, restored(out, x.shape, axis))
        return restored(gz, x.shape, axis) * share


class Min(Op):
    """z = the smallest of x over axes (all by default); NaN if one is NaN.

    Shapes    x: any, at least one element to choose from; z: x's sizes without the axes, or with 1
              there if keepdims
    Forward   z_j = min_i x_ij
    Backward  dL/dx_ij = dL/dz_j / n_j where x_ij = z_j, else 0      because z_j = x_ij there; the
              n_j that tie share it evenly
    Keeps     x and z
    Example
        >>> min(np.array([[1.0, 5.0], [7.0, 2.0]]), axis=1)
        array([1., 2.])
    """

    def forward(x, *, axis=None, keepdims=False):
        return reduced("min", "min", x, axis, keepdims=keepdims)

    def grad_x(gz, x, out, axis):
        share = tie_share(x, restored(out, x.shape, axis))
        return restored(gz, x.shape, axis) * share


class TieShare(Op):
    """s = 1/n where x equals the extreme of its group, n the number of those; else 0.

    Shapes    x: any; z: as x with size 1 on the reduced axes; s: as x
    Forward   s_ij = (1 if x_ij = z_j else 0) / (number of i with x_ij = z_j); NaN equals NaN here
    Backward  dL/dx_ij = 0      because s only jumps
              dL/dz_j = 0       because s only jumps
    Keeps     the shape of z
    Example
        >>> tie_share(np.array([3.0, 1.0, 3.0]), np.array([3.0]))
        array([0.5, 0. , 0.5])
    """

    def forward(x, z):
        hits = (x == z) | ((x != x) & (z != z))
        axes = tuple(d for d, n in enumerate(z.shape) if n == 1)
        return hits / np.sum(hits, axis=axes, keepdims=True, dtype=x.dtype)

    def grad_x(gs):
        return np.zeros(gs.shape, gs.dtype)

    def grad_z(gs, z_shape):
        return np.zeros(z_shape, gs.dtype)


class Logsumexp(Op):
    """z = ln sum e^x over axes (all by default): a smooth maximum.

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims
    Forward   z_j = m_j + ln sum_i e^(x_ij - m_j), m_j = max_i x_ij, so that nothing overflows;
              -inf where all x_ij are -inf
    Backward  dL/dx_ij = dL/dz_j e^(x_ij - z_j)      because d(ln s)/dx = 1/s ds/dx: the softmax;
              0 where all x_ij are -inf
    Keeps     x and z
    Example
        >>> logsumexp(np.array([[1000.0, 1000.0]]), axis=1).round(4)
        array([1000.6931])
    """

    def forward(x, *, axis=None, keepdims=False):
        floats("logsumexp", "x", x)
        top = reduced("logsumexp", "max", x, axis, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, np.zeros((), x.dtype))
        with np.errstate(divide="ignore"):  # ln 0 = -inf is the answer for a row of -inf
            z = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
        return z if keepdims else z.squeeze(positive_axes(axis, x.ndim))

    def grad_x(gz, x, out, axis):
        z = restored(out, x.shape, axis)
        return restored(gz, x.shape, axis) * exp(x - where(z == -math.inf, 0.0, z))


class Norm(Op):
    """z = the length of x over axes (all by default): the ord-norm of the numbers there.

    Shapes    x: any; z: x's sizes without the axes, or with 1 there if keepdims; ord: 1 to inf
    Forward   z_j = (sum_i |x_ij|^ord)^(1/ord), or max_i |x_ij| for ord = inf
    Backward  dL/dx_ij = dL/dz_j x_ij |x_ij / z_j|^(ord-2) / z_j      because z^ord is the sum;
              0 where z_j = 0; for ord = inf ties share the gradient evenly
    Keeps     x and z
    Example
        >>> norm(np.array([[3.0, 4.0], [0.0, 0.0]]), axis=1)
        array([5., 0.])
    """

    def forward(x, *, ord=2, axis=None, keepdims=False):
        floats("norm", "x", x)
        check_order(ord)
        if math.isinf(ord):
            return reduced("norm", "max", np.abs(x), axis, keepdims=keepdims, initial=0.0)
        wide = np.abs(x, dtype=np.float64) ** ord
        z = reduced("norm", "sum", wide, axis, keepdims=keepdims) ** (1.0 / ord)
        return z.astype(x.dtype)

    def grad_x(gz, x, out, ord, axis):
        g, z = restored(gz, x.shape, axis), restored(out, x.shape, axis)
        if math.isinf(ord):
            return g * sign(x) * tie_share(abs(x), z)
        if ord == 2:
            return slope(g, z) * x
        unit = x / where(z == 0.0, 1.0, z)  # each within [-1, 1]
        return g * sign(unit) * abs(unit) ** (ord - 1.0)


def check_order(ord: float) -> None:
    """ArgError for the order of what is no norm."""
    if isinstance(ord, bool) or not isinstance(ord, (int, float)) or not ord >= 1:
        raise ArgError(f"norm: ord must be a number from 1 to inf, got {ord!r}")


max = Max.apply
min = Min.apply
tie_share = TieShare.apply
logsumexp = Logsumexp.apply
norm = Norm.apply
