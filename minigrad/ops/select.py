"""Choosing between two values, element by element, and changing the dtype.

Design: ``where`` is the one way in which a rule says "only here": it never multiplies by a mask, so
an infinite or NaN gradient of the branch that was not taken stays out (0 * inf is NaN).  Values at
kinks are written here once: a tie of ``maximum`` or ``minimum`` sends half to each side, ``clip``
passes the gradient on its bounds.

Absent on purpose: comparisons; they are operators that give booleans and have no derivative.
Next: ``elementwise.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad._kernels import elementwise as kernels
from minigrad.errors import ArgError, DTypeError
from minigrad.op import Op
from minigrad.ops.geometry import number

Array = NDArray[Any]
DTYPES = (
    "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip


def masked(x: Array, mask: Array, *, out: Array | None = None) -> Array:
    """x where the mask holds and 0 elsewhere, even for NaN; the two broadcast. out may be x.

    By bits, not by choices: a processor guesses choices wrong half of the time, and that costs ten
    times more than the work.
    """
    bits = np.dtype(f"i{x.itemsize}")
    all_or_none = np.negative(mask.view(np.int8), dtype=bits)  # -1 has all bits set
    place = None if out is None else out.view(bits)
    return np.bitwise_and(x.view(bits), all_or_none, out=place).view(x.dtype)


def is_real(x: Any) -> bool:
    """Whether x is an array of float32 or float64."""
    return type(x) is np.ndarray and x.dtype.kind == "f"


class Where(Op, broadcasts=True):
    """z = x where the condition holds, else y.

    Shapes    condition: bool; condition, x, y: any three that broadcast; z: their broadcast shape
    Forward   z_i = x_i if condition_i else y_i
    Backward  dL/dx_i = dL/dz_i if condition_i else 0      because dz_i/dx_i is 1 or 0
              dL/dy_i = 0 if condition_i else dL/dz_i      because dz_i/dy_i is 0 or 1
    Keeps     condition
    Example
        >>> where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
        array([1., 0.])
    """

    def forward(condition, x, y):
        if condition is not True and condition is not False and condition.dtype != bool:
            raise DTypeError(
                f"where: condition is {condition.dtype}, expected bool; "
                "compare first, for example condition > 0"
            )
        if type(y) is float and y == 0.0 and is_real(x) and type(condition) is np.ndarray:
            return masked(x, condition)
        if type(x) is float and x == 0.0 and is_real(y) and type(condition) is np.ndarray:
            return masked(y, ~condition)
        return np.where(condition, x, y)

    def grad_x(gz, condition):
        return where(condition, gz, 0.0)

    def grad_y(gz, condition):
        return where(condition, 0.0, gz)


class Maximum(Op, broadcasts=True, kernel=kernels.maximum):
    """z = the larger of x and y, elementwise; NaN if either is.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = max(x_i, y_i)
    Backward  dL/dx_i = dL/dz_i where x_i > y_i      because z_i = x_i there
              dL/dy_i = dL/dz_i where y_i > x_i      because z_i = y_i there; half to each at a tie
    Keeps     x and y
    Example
        >>> maximum(np.array([1.0, 5.0]), np.array([3.0, 4.0]))
        array([3., 5.])
    """

    def forward(x, y):
        return np.maximum(x, y)

    def grad_x(gz, x, y):
        return where(x < y, 0.0, where(x == y, 0.5 * gz, gz))

    def grad_y(gz, x, y):
        return where(y < x, 0.0, where(x == y, 0.5 * gz, gz))


class Minimum(Op, broadcasts=True, kernel=kernels.minimum):
    """z = the smaller of x and y, elementwise; NaN if either is.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = min(x_i, y_i)
    Backward  dL/dx_i = dL/dz_i where x_i < y_i      because z_i = x_i there
              dL/dy_i = dL/dz_i where y_i < x_i      because z_i = y_i there; half to each at a tie
    Keeps     x and y
    Example
        >>> minimum(np.array([1.0, 5.0]), np.array([3.0, 4.0]))
        array([1., 4.])
    """

    def forward(x, y):
        return np.minimum(x, y)

    def grad_x(gz, x, y):
        return where(x > y, 0.0, where(x == y, 0.5 * gz, gz))

    def grad_y(gz, x, y):
        return where(y > x, 0.0, where(x == y, 0.5 * gz, gz))


class Clip(Op, broadcasts=True):
    """z = x, moved to the nearer bound where it lies outside [min, max].

    Shapes    x: any; z: as x; min, max: numbers, either may be None
    Forward   z_i = min(max(x_i, lower bound), upper bound)
    Backward  dL/dx_i = dL/dz_i inside, bounds included, else 0      because z_i = x_i inside
    Keeps     x
    Example
        >>> clip(np.array([-2.0, 0.5, 2.0]), min=-1.0, max=1.0)
        array([-1. ,  0.5,  1. ])
    """

    def forward(x, *, min=None, max=None):
        if min is None and max is None:
            raise ArgError("clip: min and max are both None; give at least one bound")
        for name, bound in (("min", min), ("max", max)):
            if bound is not None:
                number("clip", name, bound)
        return np.clip(x, min, max)

    def grad_x(gz, x, min, max):
        if min is not None:
            gz = where(x < min, 0.0, gz)
        if max is not None:
            gz = where(x > max, 0.0, gz)
        return gz


class Astype(Op):
    """z = x in another dtype.

    Shapes    x: any; z: as x; dtype: float32, float64, an integer dtype or bool
    Forward   z_i = x_i, rounded to the dtype
    Backward  dL/dx_i = dL/dz_i in x's dtype      because rounding is ignored; none through integers
    Keeps     the dtype of x
    Example
        >>> astype(np.array([1.5, 2.5]), dtype=np.float32)
        array([1.5, 2.5], dtype=float32)
    """

    def forward(x, *, dtype):
        try:
            wanted = np.dtype(dtype)
        except TypeError:
            raise DTypeError(
                f"astype: {dtype!r} is no dtype; use one of {', '.join(DTYPES)}"
            ) from None
        if wanted.name not in DTYPES:
            raise DTypeError(f"astype: {wanted} is not supported; use one of {', '.join(DTYPES)}")
        return x.astype(wanted, order="K")

    def grad_x(gz, x_dtype):
        return astype(gz, dtype=x_dtype)


where = Where.apply
maximum = Maximum.apply
minimum = Minimum.apply
clip = Clip.apply
astype = Astype.apply
