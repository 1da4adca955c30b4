"""Design: pooling window by window, the conventions written where they apply.

The caller computes the output size (P, Q), so `ceil_mode` is only another output size; a window may
then reach beyond the padding. Padding is (top, bottom, left, right).

Maximum: padding never wins. A tie goes to the first tap in row-major order, a NaN beats every
number and the first NaN beats later ones. argmax is r*S + s, the tap's index in the window. A
window without a tap inside the image has the value -inf, index 0, and its gradient is dropped.
With relu, y = max(0, that); where y is not above 0 (or is NaN) the ReLU's derivative is 0, and
argmax is R*S, which is no tap.

Average: the divisor is `divisor` if given, else the part of the window inside the padded image
(`count_include_pad`) or inside the image itself. A window without a tap inside the image is 0.

Reference: PyTorch's documentation of MaxPool2d, AvgPool2d and AdaptiveAvgPool2d.
Where to go next: `norm.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Quad = tuple[int, int, int, int]
Shape4 = tuple[int, int, int, int]


def positions(output: Pair) -> Iterator[Pair]:
    """Every (p, q) of an output of size (P, Q), row-major."""
    for p in range(output[0]):
        for q in range(output[1]):
            yield p, q


Tap = tuple[int, int, int]


def _inside(
    pq: Pair, size: Pair, kernel: Pair, stride: Pair, padding: Quad, dilation: Pair
) -> Iterator[Tap]:
    """(index r*S + s, row, column) of the window's taps that lie inside the image, row-major."""
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            i = pq[0] * stride[0] + r * dilation[0] - padding[0]
            j = pq[1] * stride[1] + s * dilation[1] - padding[2]
            if 0 <= i < size[0] and 0 <= j < size[1]:
                yield r * kernel[1] + s, i, j


def index_dtype(kernel: Pair) -> type[np.integer[Any]]:
    """One byte while r*S + s and R*S, which stands for no tap, fit; else int32."""
    return np.uint8 if kernel[0] * kernel[1] <= 255 else np.int32


def max_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    output: Pair,
    relu: bool = False,
    places: bool = True,
) -> tuple[Array, Array | None]:
    """x (N,C,H,W) -> (y, argmax), both (N,C,P,Q); relu: y = max(0, .); places: argmax, or None.

    >>> x = np.array([[[[1.0, 3.0, 3.0]]]])
    >>> no = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1))
    >>> max_pool2d(x, kernel=(1, 3), output=(1, 1), **no)
    (array([[[[3.]]]]), array([[[[1]]]], dtype=uint8))
    """
    y = np.full(x.shape[:2] + output, -np.inf, x.dtype)
    argmax = np.zeros(y.shape, index_dtype(kernel))
    for p, q in positions(output):
        best, at = y[:, :, p, q], argmax[:, :, p, q]  # (N, C) views
        first = True
        for index, i, j in _inside((p, q), x.shape[2:], kernel, stride, padding, dilation):
            v = x[:, :, i, j]
            wins = (v.real > best.real) | (np.isnan(v) & ~np.isnan(best)) | first
            best[wins], at[wins], first = v[wins], index, False
    if relu:
        argmax[~(y.real > 0)] = kernel[0] * kernel[1]
        y[y.real <= 0] = 0
    return y, argmax if places else None


def max_pool2d_grad(
    gy: Array,
    argmax: Array,
    *,
    x_shape: Shape4,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
) -> Array:
    """gy, argmax (N,C,P,Q) -> gx (N,C,H,W): each gy goes to the tap that won; overlaps add up."""
    gx = np.zeros(x_shape, gy.dtype)
    for p, q in positions(gy.shape[2:]):
        for index, i, j in _inside((p, q), x_shape[2:], kernel, stride, padding, dilation):
            gx[:, :, i, j] += np.where(argmax[:, :, p, q] == index, gy[:, :, p, q], 0)
    return gx


def max_pool2d_gather(
    v: Array, argmax: Array, *, kernel: Pair, stride: Pair, padding: Quad, dilation: Pair
) -> Array:
    """v (N,C,H,W), argmax (N,C,P,Q) -> v at the winning taps (N,C,P,Q); 0 where none is inside."""
    out = np.zeros(argmax.shape, v.dtype)
    for p, q in positions(argmax.shape[2:]):
        for index, i, j in _inside((p, q), v.shape[2:], kernel, stride, padding, dilation):
            at = argmax[:, :, p, q] == index
            out[:, :, p, q][at] = v[:, :, i, j][at]
    return out


def _spans(
    pq: Pair, size: Pair, kernel: Pair, stride: Pair, padding: Quad
) -> tuple[slice, slice, int]:
    """Rows and columns of the window inside the image, and its area inside the padded image."""
    spans, area = [], 1
    for axis in (0, 1):
        before, after = padding[2 * axis], padding[2 * axis + 1]
        start = pq[axis] * stride[axis] - before
        stop = min(start + kernel[axis], size[axis] + after)
        area *= stop - start
        spans.append(slice(max(start, 0), max(min(stop, size[axis]), max(start, 0))))
    return spans[0], spans[1], area


def _divisor(rows: slice, cols: slice, area: int, include_pad: bool, divisor: int | None) -> int:
    inner = (rows.stop - rows.start) * (cols.stop - cols.start)
    return divisor or (area if include_pad else max(inner, 1))


def avg_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array:
    """x (N,C,H,W) -> (N,C,P,Q): the window's sum inside the image over its divisor."""
    y = np.zeros(x.shape[:2] + output, x.dtype)
    for pq in positions(output):
        rows, cols, area = _spans(pq, x.shape[2:], kernel, stride, padding)
        if rows.start < rows.stop and cols.start < cols.stop:
            d = _divisor(rows, cols, area, count_include_pad, divisor)
            y[:, :, pq[0], pq[1]] = x[:, :, rows, cols].sum(axis=(2, 3)) / d
    return y


def avg_pool2d_grad(
    gy: Array,
    *,
    x_shape: Shape4,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array:
    """gy (N,C,P,Q) -> gx (N,C,H,W): every pixel of a window receives gy over the same divisor."""
    gx = np.zeros(x_shape, gy.dtype)
    for pq in positions(output):
        rows, cols, area = _spans(pq, x_shape[2:], kernel, stride, padding)
        d = _divisor(rows, cols, area, count_include_pad, divisor)
        gx[:, :, rows, cols] += gy[:, :, pq[0], pq[1], None, None] / d
    return gx


def tanh_avg_pool2d(
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    output: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> tuple[Array, Array]:
    """x (N,C,H,W) -> (the means of tanh x (N,C,P,Q), tanh x)."""
    z = np.tanh(x)
    y = avg_pool2d(
        z,
        kernel=kernel,
        stride=stride,
        padding=padding,
        output=output,
        count_include_pad=count_include_pad,
        divisor=divisor,
    )
    return y, z


def tanh_avg_pool2d_grad(
    gy: Array,
    z: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Array:
    """gy (N,C,P,Q), z = tanh x (N,C,H,W) -> gx: the gradient of the means times 1 - z^2."""
    p, q = gy.shape[2:]
    n, c, h, w = z.shape
    g = avg_pool2d_grad(
        gy,
        x_shape=(n, c, h, w),
        kernel=kernel,
        stride=stride,
        padding=padding,
        output=(p, q),
        count_include_pad=count_include_pad,
        divisor=divisor,
    )
    return g * (1 - z * z)


def _bins(pq: Pair, size: Pair, output: Pair) -> tuple[slice, slice]:
    """Bin i of m covers floor(i H / m) up to, not including, ceil((i + 1) H / m)."""
    rows, cols = (
        slice(i * h // m, -(-(i + 1) * h // m)) for i, h, m in zip(pq, size, output, strict=True)
    )
    return rows, cols


def adaptive_avg_pool2d(x: Array, *, output: Pair) -> Array:
    """x (N,C,H,W) -> (N,C,P,Q): the mean of each of P x Q bins, which may overlap."""
    y = np.zeros(x.shape[:2] + output, x.dtype)
    for p, q in positions(output):
        rows, cols = _bins((p, q), x.shape[2:], output)
        y[:, :, p, q] = x[:, :, rows, cols].mean(axis=(2, 3))
    return y


def adaptive_avg_pool2d_grad(gy: Array, *, x_shape: Shape4) -> Array:
    """gy (N,C,P,Q) -> gx (N,C,H,W): each pixel of a bin receives gy over the bin's area."""
    gx = np.zeros(x_shape, gy.dtype)
    for p, q in positions(gy.shape[2:]):
        rows, cols = _bins((p, q), x_shape[2:], gy.shape[2:])
        area = (rows.stop - rows.start) * (cols.stop - cols.start)
        gx[:, :, rows, cols] += gy[:, :, p, q, None, None] / area
    return gx


def global_avg_pool2d(x: Array) -> Array:
    """x (N,C,H,W) -> (N,C,1,1): the mean of each channel's image."""
    y: Array = x.mean(axis=(2, 3), keepdims=True)
    return y


def global_avg_pool2d_grad(gy: Array, *, x_shape: Shape4) -> Array:
    """gy (N,C,1,1) -> gx (N,C,H,W): gy / (H W) everywhere."""
    gx = np.empty(x_shape, gy.dtype)
    gx[...] = gy / (x_shape[2] * x_shape[3])
    return gx
