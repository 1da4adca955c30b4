"""Transposed convolution: conv2d's gradient with respect to x, used as a layer.

Design: one op and no kernel of its own.  ``conv_transpose2d(x, w)`` is ``conv2d_grad_x`` of a
convolution that would map y to x, so its rules are ``conv2d`` and ``conv2d_grad_w`` of that
convolution.  Where to go next: ``pool.py``.
"""

from __future__ import annotations

from functools import lru_cache

from minigrad._kernels import conv as kernels
from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.conv import (
    NO_PADDING,
    ONE,
    check_bias,
    check_parameters,
    check_weight,
    conv2d,
    conv2d_grad_b,
    conv2d_grad_w,
)
from minigrad.ops.geometry import (
    LIMIT,
    Pair,
    Quad,
    Shape,
    check_bytes,
    check_image,
    floats,
    integers,
    same_dtype,
)

NO_MORE: Pair = (0, 0)


def _length(
    axis: str, size: int, kernel: int, stride: int, pads: Pair, dilation: int, more: int
) -> int:
    """(size - 1) stride - padding + dilation (kernel - 1) + output_padding + 1, checked."""
    op, taps = "conv_transpose2d", "R" if axis == "H" else "S"
    if more >= stride:
        raise ArgError(
            f"{op}: output_padding must be smaller than stride, got {more} with stride {stride} "
            f"along {axis}"
        )
    out = (size - 1) * stride - pads[0] - pads[1] + dilation * (kernel - 1) + more + 1
    if max(size * stride, dilation * kernel, pads[0] + pads[1]) >= LIMIT:
        raise ShapeError(
            f"{op}: the output along {axis} overflows with {axis}={size}, stride={stride}, "
            f"padding={pads}, dilation={dilation}, {taps}={kernel}"
        )
    if out < 1:
        raise ShapeError(
            f"{op}: padding leaves no output along {axis}: ({axis}-1)*stride - pads + "
            f"dilation*({taps}-1) + output_padding + 1 = {out} < 1 "
            f"({size - 1}*{stride} - {pads[0]} - {pads[1]} + {dilation}*({kernel}-1) + {more} + 1)"
        )
    return out


@lru_cache(maxsize=4096, typed=True)
def output_shape(
    x_shape: Shape,
    w_shape: Shape,
    stride: Pair,
    padding: Quad,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> Shape:
    """(N, K, P, Q) of conv_transpose2d, or the error with the numbers that do not fit."""
    op = "conv_transpose2d"
    check_parameters(op, stride, padding, dilation, groups)
    integers(op, "output_padding", output_padding, 2, 0)
    check_image(op, "x", x_shape)
    check_weight(op, w_shape, "(C, K/groups, R, S)")
    (n, c, h, width), (wc, kg, r, s) = x_shape, w_shape
    if c != wc:
        raise ShapeError(
            f"{op}: weight has {wc} input channels but x has {c}; "
            f"weight shape {w_shape}, x shape {x_shape}"
        )
    if c % groups:
        raise ShapeError(f"{op}: x has {c} channels, not divisible by groups={groups}")
    p = _length("H", h, r, stride[0], padding[:2], dilation[0], output_padding[0])
    q = _length("W", width, s, stride[1], padding[2:], dilation[1], output_padding[1])
    check_bytes(op, (n, kg * groups, p, q))
    return n, kg * groups, p, q


class ConvTranspose2d(Op):
    """y = x *^T w + b, the adjoint of a convolution as a layer that enlarges images.

    Shapes    x: (N, C, H, W); w: (C, K/groups, R, S); b: (K,) or None; y: (N, K, P, Q),
              P = (H-1) sh - top - bottom + dh (R-1) + output_padding + 1, Q likewise
    Forward   yp[n,k,i,j] = b[k] + sum of x[n,c,h,v] w[c,k,r,s] over c, h, v, r, s
                            with h sh + r dh = i and v sw + s dw = j; y is yp without padding
    Backward  dL/dx = conv2d(dL/dy, w)             because y = conv2d_grad_x(x, w) + b
              dL/dw = conv2d_grad_w(x, dL/dy)      because <y, v> = T(x, v, w) for every v
              dL/db[k] = sum_npq dL/dy[n,k,p,q]    because b[k] is added to every pixel of k
    Keeps     w (for x), x (for w)
    Example
        >>> conv_transpose2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 2)), stride=(1, 2))
        array([[[[1., 1., 1., 1.]]]])
        >>> conv_transpose2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 2)))
        array([[[[1., 2., 1.]]]])

    Reference Dumoulin and Visin 2016, section 4; Zeiler et al., "Deconvolutional networks", 2010
    """

    def forward(
        x,
        w,
        b=None,
        *,
        stride=ONE,
        padding=NO_PADDING,
        output_padding=NO_MORE,
        dilation=ONE,
        groups=1,
    ):
        op = "conv_transpose2d"
        same_dtype(op, "x", x, weight=floats(op, "weight", w), bias=b)
        y_shape = output_shape(x.shape, w.shape, stride, padding, output_padding, dilation, groups)
        check_bias(op, b, y_shape[1])
        y = kernels.conv2d_grad_x(
            x, w, x_shape=y_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
        if b is not None:
            y += b.reshape(-1, 1, 1)
        return y

    def grad_x(gy, w, stride, padding, dilation, groups):
        return conv2d(gy, w, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def grad_w(gy, x, w_shape, stride, padding, dilation, groups):
        return conv2d_grad_w(
            x, gy, w_shape=w_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
        )

    def grad_b(gy):
        return conv2d_grad_b(gy)


conv_transpose2d = ConvTranspose2d.apply
