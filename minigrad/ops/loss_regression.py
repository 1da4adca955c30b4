"""Losses that compare two arrays element by element.

Design: one number per element, both sides differentiable, shapes equal: (N, 1) against (N,) would
broadcast to (N, N) and train on nonsense, so it raises.  ``functional`` reduces.
Next: ``random.py``.
"""

from __future__ import annotations

import numpy as np

from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.activations import sigmoid
from minigrad.ops.elementwise import abs as absolute
from minigrad.ops.elementwise import sign
from minigrad.ops.geometry import Array, floats, number, same_dtype
from minigrad.ops.select import where


def check_same(op: str, x: Array, y: Array) -> None:
    """x and y are float arrays of one dtype and one shape."""
    same_dtype(op, "input", x, target=floats(op, "target", y))
    if x.shape != y.shape:
        raise ShapeError(
            f"{op}: input has shape {x.shape} but target has {y.shape}; make them equal with "
            f".reshape or broadcast_to: broadcasting a loss is nearly always a mistake"
        )


class MseLoss(Op):
    """z = (x - y)^2, elementwise.

    Shapes    x, y, z: equal
    Forward   z_i = (x_i - y_i)^2
    Backward  dL/dx_i = 2 dL/dz_i (x_i - y_i)      because dz_i/dx_i = 2 (x_i - y_i)
              dL/dy_i = -2 dL/dz_i (x_i - y_i)     because dz_i/dy_i = -2 (x_i - y_i)
    Keeps     x, y
    Example
        >>> mse_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
        array([0., 9.])

    Reference Gauss, "Theoria motus", 1809, article 179
    """

    def forward(x, y):
        check_same("mse_loss", x, y)
        d = x - y
        return d * d

    def grad_x(gz, x, y):
        return gz * (2.0 * (x - y))

    def grad_y(gz, x, y):
        return gz * (2.0 * (y - x))


class L1Loss(Op):
    """z = |x - y|, elementwise.

    Shapes    x, y, z: equal
    Forward   z_i = |x_i - y_i|
    Backward  dL/dx_i = dL/dz_i sign(x_i - y_i)    because |d| = d sign(d); 0 at the kink
              dL/dy_i = -dL/dz_i sign(x_i - y_i)   because d moves against y
    Keeps     x, y
    Example
        >>> l1_loss(np.array([1.0, 2.0]), np.array([1.0, 5.0]))
        array([0., 3.])

    Reference Boscovich 1757; PyTorch's L1Loss
    """

    def forward(x, y):
        check_same("l1_loss", x, y)
        return np.abs(x - y)

    def grad_x(gz, x, y):
        return gz * sign(x - y)

    def grad_y(gz, x, y):
        return gz * sign(y - x)


def slope(d, beta):
    """The derivative of smooth L1: d/beta inside, its sign outside."""
    return where(absolute(d) < beta, d / float(beta), sign(d))


class SmoothL1Loss(Op):
    """z = a parabola near 0 and |d| - beta/2 beyond, d = x - y, elementwise.

    Shapes    x, y, z: equal; beta > 0 is where the two pieces meet
    Forward   z_i = d_i^2 / (2 beta) if |d_i| < beta, else |d_i| - beta/2
    Backward  dL/dx_i = dL/dz_i (d_i/beta if |d_i| < beta, else sign(d_i))
                                                   because that is dz_i/dd_i, and dd_i/dx_i = 1
              dL/dy_i = -dL/dx_i                   because dd_i/dy_i = -1
    Keeps     x, y
    Example
        >>> smooth_l1_loss(np.array([0.0, 0.0]), np.array([1.0, 3.0]), beta=2.0)
        array([0.25, 2.  ])

    Reference Girshick, "Fast R-CNN", 2015, equation 3; Huber 1964
    """

    def forward(x, y, *, beta=1.0):
        limit = number("smooth_l1_loss", "beta", beta)
        if not 0 < limit < float("inf"):
            raise ArgError(f"smooth_l1_loss: beta must be positive, got {beta}; for 0 use l1_loss")
        check_same("smooth_l1_loss", x, y)
        d = np.abs(x - y)
        return np.where(d < limit, d * d * (0.5 / limit), d - 0.5 * limit)

    def grad_x(gz, x, y, beta):
        return gz * slope(x - y, beta)

    def grad_y(gz, x, y, beta):
        return gz * slope(y - x, beta)


class BinaryCrossEntropyWithLogits(Op):
    """z = -y log s(x) - (1 - y) log(1 - s(x)), s the sigmoid, elementwise and without overflow.

    Shapes    x, y, z: equal; y: probabilities in [0, 1]
    Forward   z_i = max(x_i, 0) - x_i y_i + log(1 + e^-|x_i|)
    Backward  dL/dx_i = dL/dz_i (s(x_i) - y_i)     because d(softplus(x))/dx = s(x)
              dL/dy_i = -dL/dz_i x_i               because z_i = softplus(x_i) - x_i y_i
    Keeps     x and y (for x), x (for y)
    Example
        >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0]))
        array([0.69314718, 0.        ])

    Reference PyTorch's BCEWithLogitsLoss; Cox 1958 (logistic regression)
    """

    def forward(x, y):
        check_same("binary_cross_entropy_with_logits", x, y)
        return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))

    def grad_x(gz, x, y):
        return gz * (sigmoid(x) - y)

    def grad_y(gz, x):
        return -(gz * x)


mse_loss = MseLoss.apply
l1_loss = L1Loss.apply
smooth_l1_loss = SmoothL1Loss.apply
binary_cross_entropy_with_logits = BinaryCrossEntropyWithLogits.apply
