"""The functions that make a network more than one linear map, element by element.

Design: names, defaults and formulas are PyTorch's.  Each function is written so that no value of x
overflows on the way to a finite result.  Piecewise functions choose with ``where``; their value at
the joint is said in the page of the op: relu'(0) = 0.

Absent on purpose: softmax, which mixes the elements of a row (``loss.py``).  Next: ``shape.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad._kernels import elementwise as kernels
from minigrad.errors import ArgError
from minigrad.op import Op
from minigrad.ops.elementwise import exp
from minigrad.ops.geometry import number
from minigrad.ops.select import where

Array = NDArray[Any]


class Tanh(Op, broadcasts=True, kernel=kernels.tanh):
    """z = tanh x, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = (e^x_i - e^-x_i) / (e^x_i + e^-x_i)
    Backward  dL/dx_i = dL/dz_i (1 - z_i^2)      because d(tanh x)/dx = 1 - tanh^2 x
    Keeps     z
    Example
        >>> tanh(np.array([0.0]))
        array([0.])
    """

    def forward(x):
        return np.tanh(x)

    def grad_x(gz, out):
        return tanh_grad(gz, out)


class TanhGrad(Op, broadcasts=True, kernel=kernels.tanh_grad):
    """gx = gz (1 - z^2): the gradient of tanh, in one pass over memory.

    Shapes    gz, z: the same; gx: as gz
    Forward   gx_i = gz_i (1 - z_i^2)
    Backward  dL/dgz_i = dL/dgx_i (1 - z_i^2)      because gx is linear in gz
              dL/dz_i = -2 dL/dgx_i gz_i z_i       because d(1 - z^2)/dz = -2 z
    Keeps     z (for gz), gz and z (for z)
    Example
        >>> tanh_grad(np.array([5.0, 8.0]), np.array([0.0, 0.5]))
        array([5., 6.])
    """

    def forward(gz, z):
        return gz * (1.0 - z * z)

    def grad_gz(gx, z):
        return tanh_grad(gx, z)

    def grad_z(gx, gz, z):
        return gx * (gz * z) * -2.0


class Sigmoid(Op, broadcasts=True, kernel=kernels.sigmoid):
    """z = 1 / (1 + e^-x), elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = 1 / (1 + e^-x_i), computed from e^-|x_i|, which cannot overflow
    Backward  dL/dx_i = dL/dz_i z_i (1 - z_i)      because dz/dx = e^-x / (1 + e^-x)^2
    Keeps     z
    Example
        >>> sigmoid(np.array([0.0]))
        array([0.5])
    """

    def forward(x):
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1.0) / (1.0 + e)

    def grad_x(gz, out):
        return gz * (out * (1.0 - out))


class Relu(Op, broadcasts=True, kernel=kernels.relu):
    """z = max(x, 0), elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = x_i if x_i > 0 else 0; NaN stays NaN
    Backward  dL/dx_i = dL/dz_i if z_i > 0 else 0      because dz_i/dx_i is 1 or 0; 0 at x_i = 0
    Keeps     z (z_i > 0 exactly where x_i > 0)
    Example
        >>> relu(np.array([-1.0, 2.0]))
        array([0., 2.])

    Reference Nair and Hinton 2010, section 2
    """

    def forward(x):
        return np.maximum(x, 0)

    def grad_x(gz, out):
        return relu_grad(gz, out)


class ReluGrad(Op, broadcasts=True, kernel=kernels.relu_grad):
    """gx = gz where z > 0, else 0: the gradient of relu, in one pass over memory.

    Shapes    gz, z: the same; gx: as gz
    Forward   gx_i = gz_i if z_i > 0 else 0
    Backward  dL/dgz_i = dL/dgx_i if z_i > 0 else 0      because gx is linear in gz
              dL/dz_i = 0                                because gx only jumps in z
    Keeps     z (for gz)
    Example
        >>> relu_grad(np.array([5.0, 7.0]), np.array([0.0, 2.0]))
        array([0., 7.])
    """

    def forward(gz, z):
        return np.where(z > 0, gz, np.zeros((), gz.dtype))

    def grad_gz(gx, z):
        return relu_grad(gx, z)

    def grad_z(gx):
        return np.zeros(gx.shape, gx.dtype)


class LeakyRelu(Op, broadcasts=True):
    """z = x above 0 and a small multiple of x below, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = x_i if x_i > 0 else slope x_i
    Backward  dL/dx_i = dL/dz_i (1 if x_i > 0 else slope)      because z is linear on both sides
    Keeps     x
    Example
        >>> leaky_relu(np.array([-1.0, 2.0]), negative_slope=0.1)
        array([-0.1,  2. ])

    Reference Maas, Hannun and Ng 2013, equation 2
    """

    def forward(x, *, negative_slope=0.01):
        return np.where(x > 0, x, x * number("leaky_relu", "negative_slope", negative_slope))

    def grad_x(gz, x, negative_slope):
        return where(x > 0, gz, gz * negative_slope)


class Elu(Op, broadcasts=True):
    """z = x above 0 and alpha (e^x - 1) below, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = x_i if x_i > 0 else alpha (e^x_i - 1)
    Backward  dL/dx_i = dL/dz_i (1 if x_i > 0 else z_i + alpha)      because z + alpha = alpha e^x
    Keeps     x and z
    Example
        >>> elu(np.array([-np.inf, 0.0, 2.0]))
        array([-1.,  0.,  2.])

    Reference Clevert, Unterthiner and Hochreiter 2016, equation 15
    """

    def forward(x, *, alpha=1.0):
        return np.where(x > 0, x, number("elu", "alpha", alpha) * np.expm1(np.minimum(x, 0)))

    def grad_x(gz, x, out, alpha):
        return where(x > 0, gz, gz * (out + alpha))


class Softplus(Op, broadcasts=True):
    """z = ln(1 + e^x), a smooth relu, elementwise.

    Shapes    x: any; z: as x; beta, threshold: numbers
    Forward   z_i = ln(1 + e^(beta x_i)) / beta, and x_i itself where beta x_i > threshold
    Backward  dL/dx_i = dL/dz_i sigmoid(beta x_i)    because dz/dx = e^(beta x) / (1 + e^(beta x));
              dL/dz_i itself above the threshold
    Keeps     x
    Example
        >>> softplus(np.array([0.0, 100.0])).round(4)
        array([  0.6931, 100.    ])
    """

    def forward(x, *, beta=1.0, threshold=20.0):
        if not number("softplus", "beta", beta) > 0:
            raise ArgError(f"softplus: beta must be positive, got {beta}; it divides")
        with np.errstate(invalid="ignore"):  # np.logaddexp warns of a NaN that it passes on
            return np.where(x * beta > threshold, x, np.logaddexp(x * beta, x * 0) / beta)

    def grad_x(gz, x, beta, threshold):
        return where(x * beta > threshold, gz, gz * sigmoid(x * beta))


class Erf(Op, broadcasts=True):
    """z = erf x, the error function, elementwise.

    Shapes    x: any; z: as x
    Forward   z_i = 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x_i, within 1e-15
    Backward  dL/dx_i = dL/dz_i 2 / sqrt(pi) e^(-x_i^2)      because z is an integral up to x
    Keeps     x
    Example
        >>> erf(np.array([0.0, 1.0, np.inf])).round(4)
        array([0.    , 0.8427, 1.    ])

    Reference W. J. Cody, "Rational Chebyshev approximations for the error function", 1969
    """

    def forward(x):
        a = np.abs(x)  # NaN belongs to no piece and falls to the last one
        pieces = [a <= 0.46875, (a > 0.46875) & (a <= 4.0)]
        return np.copysign(np.piecewise(a, pieces, [erf_near, erf_middle, erf_far]), x)

    def grad_x(gz, x):
        return gz * (2.0 / math.sqrt(math.pi) * exp(-(x * x)))


class Gelu(Op, broadcasts=True):
    """z = x times the chance that a standard normal number is below x, elementwise.

    Shapes    x: any; z: as x; approximate: "none" or "tanh"
    Forward   z_i = x_i P(x_i),  P(x) = (1 + erf(x / sqrt 2)) / 2, or with "tanh"
              P(x) = (1 + tanh u) / 2,  u = sqrt(2 / pi) (x + 0.044715 x^3)
    Backward  dL/dx_i = dL/dz_i (P(x_i) + x_i P'(x_i))      because z is a product;
              P'(x) = e^(-x^2 / 2) / sqrt(2 pi), or (1 - tanh^2 u) u' / 2
    Keeps     x
    Example
        >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
        array([-0.1587,  0.    ,  0.8413])

    Reference Hendrycks and Gimpel 2016, section 2
    """

    def forward(x, *, approximate="none"):
        if approximate not in ("none", "tanh"):
            raise ArgError(f"gelu: approximate is {approximate!r}; use 'none' or 'tanh'")
        return x * gelu_gate(x, approximate)[0]

    def grad_x(gz, x, approximate):
        gate, slope = gelu_gate(x, approximate)
        return gz * (gate + x * slope)


def gelu_gate(x: Any, approximate: str) -> tuple[Any, Any]:
    """P(x) and P'(x) of gelu, for arrays and Tensors."""
    if approximate == "none":
        density = exp(-0.5 * (x * x)) * (1.0 / math.sqrt(2.0 * math.pi))
        return 0.5 * (1.0 + erf(x * math.sqrt(0.5))), density
    c, a = math.sqrt(2.0 / math.pi), 0.044715
    square = x * x
    t = tanh(c * (x + a * (square * x)))
    return 0.5 * (1.0 + t), 0.5 * (1.0 - t * t) * (c * (1.0 + 3.0 * a * square))


# Cody's coefficients, highest power first, for numerator and denominator of the three pieces.
NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip
FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346047e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


def quotient(pair: tuple[tuple[float, ...], tuple[float, ...]], t: Array) -> Any:
    """The rational function with the two polynomials of the pair, by Horner's rule."""
    top, bottom = pair
    p: Any = top[0]
    q: Any = bottom[0]
    for a, b in zip(top[1:], bottom[1:], strict=True):
        p, q = p * t + a, q * t + b
    return p / q


def erf_near(x: Array) -> Any:
    """erf x = x R(x^2) for 0 <= x <= 0.46875."""
    return x * quotient(NEAR, x * x)


def erf_middle(x: Array) -> Any:
    """erf x = 1 - e^(-x^2) R(x) for 0.46875 < x <= 4."""
    return 1.0 - np.exp(-x * x) * quotient(MIDDLE, x)


def erf_far(x: Array) -> Any:
    """erf x = 1 - e^(-x^2) / x (1 / sqrt(pi) - R(1 / x^2) / x^2) for x > 4; 1 above 10."""
    x = np.minimum(x, 10.0)  # e^-100 is far below the last digit of 1
    t = 1.0 / (x * x)
    return 1.0 - np.exp(-x * x) / x * (1.0 / math.sqrt(math.pi) - t * quotient(FAR, t))


tanh = Tanh.apply
sigmoid = Sigmoid.apply
relu = Relu.apply
relu_grad = ReluGrad.apply
tanh_grad = TanhGrad.apply
leaky_relu = LeakyRelu.apply
elu = Elu.apply
softplus = Softplus.apply
erf = Erf.apply
gelu = Gelu.apply
