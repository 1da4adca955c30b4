"""Arithmetic and elementary functions, element by element.

Design: each op is NumPy's function of the same name with its derivative beside it.  Every op here
broadcasts and the engine undoes that, so a rule never thinks about shapes.  Python numbers come in
as they are and never turn a float32 into a float64.  Rules are operators and ops only, so they run
on arrays and on Tensors alike.

Values at kinks are written here once: |x| has slope 0 at 0, sign(0) = 0, 0 ** 0 = 1.

Absent on purpose: gradients of integers.  Next: ``activations.py``.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad._kernels import elementwise as kernels
from minigrad.op import Op
from minigrad.ops.select import where


class Add(Op, broadcasts=True, kernel=kernels.add):
    """z = x + y, elementwise.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = x_i + y_i
    Backward  dL/dx_i = dL/dz_i      because dz_i/dx_i = 1
              dL/dy_i = dL/dz_i      because dz_i/dy_i = 1
    Keeps     nothing
    Example
        >>> add(np.array([1.0, 2.0]), 3.0)
        array([4., 5.])
    """

    def forward(x, y):
        return x + y

    def grad_x(gz):
        return gz

    def grad_y(gz):
        return gz


class Sub(Op, broadcasts=True, kernel=kernels.sub):
    """z = x - y, elementwise.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = x_i - y_i
    Backward  dL/dx_i = dL/dz_i       because dz_i/dx_i = 1
              dL/dy_i = -dL/dz_i      because dz_i/dy_i = -1
    Keeps     nothing
    Example
        >>> sub(1.0, np.array([1.0, 2.0]))
        array([ 0., -1.])
    """

    def forward(x, y):
        return x - y

    def grad_x(gz):
        return gz

    def grad_y(gz):
        return -gz


class Mul(Op, broadcasts=True, kernel=kernels.mul):
    """z = x * y, elementwise.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = x_i y_i
    Backward  dL/dx_i = dL/dz_i y_i      because dz_i/dx_i = y_i
              dL/dy_i = dL/dz_i x_i      because dz_i/dy_i = x_i
    Keeps     y (for x), x (for y)
    Example
        >>> mul(np.array([2.0]), np.array([3.0]))
        array([6.])
    """

    def forward(x, y):
        return x * y

    def grad_x(gz, y):
        return gz * y

    def grad_y(gz, x):
        return gz * x


class Div(Op, broadcasts=True, kernel=kernels.div):
    """z = x / y, elementwise.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = x_i / y_i
    Backward  dL/dx_i = dL/dz_i / y_i            because dz_i/dx_i = 1 / y_i
              dL/dy_i = -dL/dz_i z_i / y_i       because dz_i/dy_i = -x_i / y_i^2
    Keeps     y (for x), y and z (for y)
    Example
        >>> div(np.array([1.0, 3.0]), 2.0)
        array([0.5, 1.5])
    """

    def forward(x, y):
        return x / y

    def grad_x(gz, y):
        return gz / y

    def grad_y(gz, y, out):
        return -(gz * out) / y


class Neg(Op, broadcasts=True, kernel=kernels.neg):
    """z = -x, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = -x_i
    Backward  dL/dx_i = -dL/dz_i      because dz_i/dx_i = -1
    Keeps     nothing
    Example
        >>> neg(np.array([1.0, -2.0]))
        array([-1.,  2.])
    """

    def forward(x):
        return -x

    def grad_x(gz):
        return -gz


class Pow(Op, broadcasts=True, kernel=kernels.pow):
    """z = x ** y, elementwise.

    Shapes    x, y: any two that broadcast; z: their broadcast shape
    Forward   z_i = x_i^y_i, with 0^0 = 1; NaN where x_i < 0 and y_i is not whole
    Backward  dL/dx_i = dL/dz_i y_i x_i^(y_i - 1)    because d(x^y)/dx = y x^(y-1); 0 if y_i = 0
              dL/dy_i = dL/dz_i z_i ln x_i           because x^y = e^(y ln x); 0 if x_i = 0 <= y_i
              and NaN if x_i < 0, for z has no derivative in y there
    Keeps     x and y (for x), x and z (for y)
    Example
        >>> pow(np.array([2.0, 0.0]), np.array([3.0, 0.0]))
        array([8., 1.])
    """

    def forward(x, y):
        return x**y

    def grad_x(gz, x, y):
        if isinstance(y, (int, float)):
            return gz * (y * x ** (y - 1)) if y != 0 else np.zeros(gz.shape, gz.dtype)
        base = where(y == 0.0, where(x == 0.0, 1.0, x), x)  # 0 * 0^-1 is meant to be 0
        return gz * (y * base ** (y - 1.0))

    def grad_y(gz, x, out):
        if isinstance(x, (int, float)):
            return gz * (out * (math.log(x) if x > 0 else 0.0 if x == 0 else math.nan))
        return gz * (out * log(where(x == 0.0, 1.0, x)))  # 0^y ln 0 is meant to be 0


class Exp(Op, broadcasts=True, kernel=kernels.exp):
    """z = e^x, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = e^x_i
    Backward  dL/dx_i = dL/dz_i z_i      because the exponential is its own derivative
    Keeps     z
    Example
        >>> exp(np.array([0.0]))
        array([1.])
    """

    def forward(x):
        return np.exp(x)

    def grad_x(gz, out):
        return gz * out


class Log(Op, broadcasts=True, kernel=kernels.log):
    """z = ln x, elementwise; -inf at 0, NaN below.

    Shapes    x: any; z: as x
    Forward   z_i = ln x_i
    Backward  dL/dx_i = dL/dz_i / x_i      because d(ln x)/dx = 1/x
    Keeps     x
    Example
        >>> log(np.array([1.0]))
        array([0.])
    """

    def forward(x):
        return np.log(x)

    def grad_x(gz, x):
        return gz / x


class Sqrt(Op, broadcasts=True, kernel=kernels.sqrt):
    """z = the square root of x, elementwise; NaN below 0.

    Shapes    x: any; z: as x
    Forward   z_i = x_i^(1/2)
    Backward  dL/dx_i = dL/dz_i / (2 z_i)      because z^2 = x gives 2 z dz = dx; infinite at 0
    Keeps     z
    Example
        >>> sqrt(np.array([4.0, 9.0]))
        array([2., 3.])
    """

    def forward(x):
        return np.sqrt(x)

    def grad_x(gz, out):
        return gz / (2.0 * out)


class Abs(Op, broadcasts=True, kernel=kernels.abs):
    """z = |x|, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = |x_i|
    Backward  dL/dx_i = dL/dz_i sign(x_i)      because |x| = x sign(x); 0 at the kink x_i = 0
    Keeps     x
    Example
        >>> abs(np.array([-2.0, 3.0]))
        array([2., 3.])
    """

    def forward(x):
        return np.abs(x)

    def grad_x(gz, x):
        return gz * sign(x)


class Sign(Op, broadcasts=True):
    """z = -1, 0 or 1: the sign of x, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = x_i / |x_i|, and 0 where x_i = 0
    Backward  dL/dx_i = 0      because z is constant on both sides; 0 by convention at the jump
    Keeps     nothing
    Example
        >>> sign(np.array([-2.0, 0.0, 3.0]))
        array([-1.,  0.,  1.])
    """

    def forward(x):
        return np.sign(x)

    def grad_x(gz):
        return np.zeros(gz.shape, gz.dtype)


class Sin(Op, broadcasts=True):
    """z = sin x, elementwise, x in radians.

    Shapes    x: any; z: as x
    Forward   z_i = sin x_i
    Backward  dL/dx_i = dL/dz_i cos x_i      because d(sin x)/dx = cos x
    Keeps     x
    Example
        >>> sin(np.array([0.0]))
        array([0.])
    """

    def forward(x):
        return np.sin(x)

    def grad_x(gz, x):
        return gz * cos(x)


class Cos(Op, broadcasts=True):
    """z = cos x, elementwise, x in radians.

    Shapes    x: any; z: as x
    Forward   z_i = cos x_i
    Backward  dL/dx_i = -dL/dz_i sin x_i      because d(cos x)/dx = -sin x
    Keeps     x
    Example
        >>> cos(np.array([0.0]))
        array([1.])
    """

    def forward(x):
        return np.cos(x)

    def grad_x(gz, x):
        return -(gz * sin(x))


add = Add.apply
sub = Sub.apply
mul = Mul.apply
div = Div.apply
neg = Neg.apply
pow = Pow.apply
exp = Exp.apply
log = Log.apply
sqrt = Sqrt.apply
abs = Abs.apply
sign = Sign.apply
sin = Sin.apply
cos = Cos.apply
