"""Design: element-wise twins, with the values at the kinks written out.

relu'(0) = 0, abs'(0) = sign(0) = 0, ties of maximum and minimum send half to each side, and a
clip passes the gradient inside its bounds, bounds included. Comparisons look at the real part, so
every function may be fed a complex number. Nothing here broadcasts on purpose: NumPy does.

Where to go next: `linear.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def relu(x: Array) -> Array:
    """max(x, 0), any shape; NaN stays NaN.

    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.where(x.real <= 0, np.zeros_like(x), x)


def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope x."""
    return np.where(x.real > 0, x, slope * x)


def relu_grad(gy: Array, x: Array) -> Array:
    """gy where x > 0, else 0, so relu'(0) = 0; x may also be relu's own output."""
    return np.where(x.real > 0, gy, np.zeros_like(gy))


def bias_relu(x: Array, b: Array, *, relu: bool = True) -> Array:
    """x (N,K) or (N,K,P,Q) plus b (K,) on axis 1, then max(., 0) if asked for."""
    y = x + b.reshape((1, -1) + (1,) * (x.ndim - 2))  # (N, K, 1...) broadcasts
    return _relu(y) if relu else y


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) without overflow: both branches use e^-|x|."""
    e = np.exp(np.where(x.real >= 0, -x, x))
    return np.where(x.real >= 0, 1 / (1 + e), e / (1 + e))


def tanh(x: Array) -> Array:
    """(e^x - e^-x) / (e^x + e^-x)."""
    return np.tanh(x)


def absolute(x: Array) -> Array:
    """|x| by the sign of the real part, so that it stays analytic away from 0."""
    return np.where(x.real < 0, -x, x)


def maximum(x: Array, y: Array) -> Array:
    """The larger of two, compared by real part."""
    return np.where(x.real >= y.real, x, y)


def maximum_grad(g: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """g to the larger operand; half to each at a tie."""
    share = np.where(x.real > y.real, 1.0, np.where(x.real == y.real, 0.5, 0.0))
    return g * share, g * (1 - share)


def clip(x: Array, low: float, high: float) -> Array:
    """x kept within [low, high], compared by real part."""
    y = np.where(x.real < low, np.full_like(x, low), x)
    return np.where(x.real > high, np.full_like(x, high), y)


def clip_grad(g: Array, x: Array, low: float, high: float) -> Array:
    """g where low <= x <= high, else 0."""
    return np.where((x.real >= low) & (x.real <= high), g, np.zeros_like(g))


_relu = relu
