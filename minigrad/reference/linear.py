"""Design: matrix products by einsum, one line each.

No order of summation is promised: a test compares exactly on small integers and within the bound
(n + 2) u (|a| |b|) on reals. Gradients are matrix products again.

Where to go next: `conv.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.reference.elementwise import relu as _relu

Array = NDArray[Any]


def matmul(a: Array, b: Array) -> Array:
    """a (M,K) times b (K,N) -> (M,N): c_mn = sum_k a_mk b_kn.

    >>> matmul(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    c: Array = np.einsum("mk,kn->mn", a, b)
    return c


def bmm(a: Array, b: Array) -> Array:
    """a (B,M,K) times b (B,K,N) -> (B,M,N), one product a batch entry."""
    c: Array = np.einsum("bmk,bkn->bmn", a, b)
    return c


def linear(x: Array, w: Array, b: Array | None = None, *, relu: bool = False) -> Array:
    """x (N,I), w (O,I), b (O,) -> (N,O): y_no = sum_i x_ni w_oi + b_o, then relu if asked for."""
    y: Array = np.einsum("ni,oi->no", x, w)
    if b is not None:
        y = y + b
    return _relu(y) if relu else y


def linear_grad(gy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """gy (N,O) -> (gx (N,I), gw (O,I), gb (O,)): every path from an operand to y, added up."""
    return np.einsum("no,oi->ni", gy, w), np.einsum("no,ni->oi", gy, x), np.einsum("no->o", gy)
