"""Design: the three passes of a convolution, each a loop over the taps (r, s) of the kernel.

All three say one thing. With xp = x padded by zeros, tap (r, s) multiplies row p*sh + r*dh and
column q*sw + s*dw of xp with w[:, :, r, s] into y[:, :, p, q]:

    y[n,k,p,q]   = sum_crs  xp[n, c, p sh + r dh, q sw + s dw] w[k,c,r,s]
    gxp[n,c,i,j] = sum of gy[n,k,p,q] w[k,c,r,s] over all k,p,q,r,s whose tap is the pixel (i, j)
    gw[k,c,r,s]  = sum_npq  gy[n,k,p,q] xp[n, c, p sh + r dh, q sw + s dw]

Groups are an extra index: c and k count within one. There is no unrolling into columns, no GEMM and
no automatic differentiation here, on purpose; `algorithm`, which chooses between the kernels' ways
to the same sums, changes nothing.

Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
Where to go next: `pool.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.reference.elementwise import relu as _relu
from minigrad.reference.norm import moments

Array = NDArray[Any]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]


def output_size(size: int, pad: int, kernel: int, stride: int, dilation: int) -> int:
    """Number of window positions along one axis; pad counts both ends.

    >>> output_size(32, 2, 3, 1, 1), output_size(7, 0, 3, 2, 2)
    (32, 2)
    """
    return (size + pad - dilation * (kernel - 1) - 1) // stride + 1


def pad(x: Array, padding: Quad, value: float = 0.0) -> Array:
    """x (N,C,H,W) framed by `value`; padding is (top, bottom, left, right)."""
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def crop(xp: Array, padding: Quad) -> Array:
    """Undo `pad`: the inner (N,C,H,W) of a framed array."""
    top, bottom, left, right = padding
    return xp[:, :, top : xp.shape[2] - bottom, left : xp.shape[3] - right]


Tap = tuple[int, int, slice, slice]


def taps(kernel: Pair, output: Pair, stride: Pair, dilation: Pair) -> Iterator[Tap]:
    """Every (r, s), row-major, with the rows and columns of the padded input that it reads."""
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            i, j = r * dilation[0], s * dilation[1]
            rows = slice(i, i + stride[0] * (output[0] - 1) + 1, stride[0])
            cols = slice(j, j + stride[1] * (output[1] - 1) + 1, stride[1])
            yield r, s, rows, cols


def _split(a: Array, groups: int, axis: int) -> Array:
    """Axis of length G*m -> two axes (G, m)."""
    shape = a.shape
    return a.reshape((*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Quad = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
    algorithm: str | None = None,
    scale: Array | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> Array:
    """x (N,C,H,W), w (K,C/G,R,S), b (K,) -> y (N,K,P,Q), then relu if asked for.

    scale (K,) multiplies the sums before b is added; residual, as y, is added then.
    out, as y: where it is written."""
    (n, _, h, width), (k, _, *kernel) = x.shape, w.shape
    p = output_size(h, padding[0] + padding[1], kernel[0], stride[0], dilation[0])
    q = output_size(width, padding[2] + padding[3], kernel[1], stride[1], dilation[1])
    xp = _split(pad(x, padding), groups, 1)  # (N, G, C/G, Hp, Wp)
    wg = _split(w, groups, 0)  # (G, K/G, C/G, R, S)
    y = np.zeros((n, groups, k // groups, p, q), np.result_type(x, w))
    for r, s, rows, cols in taps((kernel[0], kernel[1]), (p, q), stride, dilation):
        y += np.einsum("ngcpq,gkc->ngkpq", xp[..., rows, cols], wg[..., r, s])
    y = y.reshape(n, k, p, q)
    if scale is not None:
        y = y * scale.reshape(1, k, 1, 1)
    if b is not None:
        y = y + b.reshape(1, k, 1, 1)
    if residual is not None:
        y = y + residual
    y = _relu(y) if relu else y
    if out is None:
        return y
    out[...] = y
    return out


def conv2d_moments(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
    algorithm: str | None = None,
) -> tuple[Array, Array, Array]:
    """y = conv2d(x, w, b), its mean and its biased variance over all but the channels."""
    y = conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return y, *moments(y)


def conv2d_grad_x(
    gy: Array,
    w: Array,
    *,
    x_shape: tuple[int, int, int, int],
    stride: Pair = (1, 1),
    padding: Quad = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
) -> Array:
    """gy (N,K,P,Q), w (K,C/G,R,S) -> gx (N,C,H,W): what each tap read, it gives back."""
    n, c, h, width = x_shape
    p, q = gy.shape[2:]
    top, bottom, left, right = padding
    gyg, wg = _split(gy, groups, 1), _split(w, groups, 0)  # (N, G, K/G, P, Q), (G, K/G, C/G, R, S)
    gxp = np.zeros(
        (n, groups, c // groups, h + top + bottom, width + left + right), np.result_type(gy, w)
    )
    for r, s, rows, cols in taps((w.shape[2], w.shape[3]), (p, q), stride, dilation):
        gxp[..., rows, cols] += np.einsum("ngkpq,gkc->ngcpq", gyg, wg[..., r, s])
    return crop(gxp.reshape(n, c, *gxp.shape[3:]), padding)


def conv2d_grad_w(
    gy: Array,
    x: Array,
    *,
    w_shape: tuple[int, int, int, int],
    stride: Pair = (1, 1),
    padding: Quad = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str | None = None,
) -> Array:
    """gy (N,K,P,Q), x (N,C,H,W) -> gw (K,C/G,R,S): the product of gy with what each tap read."""
    k, c, r_size, s_size = w_shape
    p, q = gy.shape[2:]
    gyg, xp = _split(gy, groups, 1), _split(pad(x, padding), groups, 1)
    gw = np.zeros((groups, k // groups, c, r_size, s_size), np.result_type(gy, x))
    for r, s, rows, cols in taps((r_size, s_size), (p, q), stride, dilation):
        gw[..., r, s] = np.einsum("ngkpq,ngcpq->gkc", gyg, xp[..., rows, cols])
    return gw.reshape(w_shape)


def bias_grad(gy: Array) -> Array:
    """gy (N,K,P,Q) -> (K,): b_k is added to every pixel of channel k, hence the sum."""
    gb: Array = np.einsum("nkpq->k", gy)
    return gb


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Quad = (0, 0, 0, 0),
    output_padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """x (N,C,H,W), w (C,K/G,R,S) -> (N,K,P,Q): conv2d's gradient by x, as a map of its own."""
    n, _, h, width = x.shape
    _, kg, r, s = w.shape
    p = (h - 1) * stride[0] + dilation[0] * (r - 1) + 1 - padding[0] - padding[1]
    q = (width - 1) * stride[1] + dilation[1] * (s - 1) + 1 - padding[2] - padding[3]
    shape = (n, kg * groups, p + output_padding[0], q + output_padding[1])
    y = conv2d_grad_x(
        x, w, x_shape=shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return y if b is None else y + b.reshape(1, -1, 1, 1)
