"""Convolution and the maps that are its gradients.

Design: conv2d is linear in x and linear in w, so its gradients are the same sum with two of the
three arrays swapped in their roles.  The trio ``conv2d``, ``conv2d_grad_x``, ``conv2d_grad_w`` is
closed: each one's rules are the other two, which gives every order of derivative.  With xp = x
padded by zeros, all of them are readings of one trilinear form

    T(gy, x, w) = sum_nkpq gy[n,k,p,q] sum_crs xp[n, c, p sh + r dh, q sw + s dw] w[k,c,r,s]

(c runs over the channels of k's group).  Parameters are exact here: stride (sh, sw), padding (top,
bottom, left, right), dilation (dh, dw); "same", ints and PyTorch's defaults are read in
``functional``.  How the sums are computed is in ``src/kernels/conv.pyx``, by which algorithm (None,
"auto", "direct", "winograd") in ``conv_choice.pyx``; what they mean, in loops, in
``reference/conv.py``.  Where to go next: ``conv_transpose.py``.

The tables of the docstrings use N C H W for x, K R S for the filters, P Q for the output.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from minigrad._kernels import conv as kernels
from minigrad.errors import ShapeError
from minigrad.op import Op
from minigrad.ops.geometry import (
    Array,
    Pair,
    Quad,
    Shape,
    check_bytes,
    check_image,
    floats,
    images,
    integer,
    integers,
    output_length,
    same_dtype,
)
from minigrad.ops.shape import broadcast_to

ONE: Pair = (1, 1)
NO_PADDING: Quad = (0, 0, 0, 0)


def check_parameters(op: str, stride: Pair, padding: Quad, dilation: Pair, groups: int) -> None:
    """The kinds and least values of what every op here is told."""
    integers(op, "stride", stride, 2, 1)
    integers(op, "padding", padding, 4, 0)
    integers(op, "dilation", dilation, 2, 1)
    integer(op, "groups", groups, 1)


def check_weight(op: str, w_shape: Shape, axes: str = "(K, C/groups, R, S)") -> None:
    """w has four axes, none of them empty."""
    if len(w_shape) != 4 or 0 in w_shape:
        raise ShapeError(f"{op}: weight must be 4-D {axes} without an empty axis, got {w_shape}")


@lru_cache(maxsize=4096, typed=True)  # a net asks the same questions at every step
def output_shape(
    op: str,
    x_shape: Shape,
    w_shape: Shape,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    groups: int,
) -> Shape:
    """(N, K, P, Q) of conv2d, or the error with the numbers that do not fit."""
    check_parameters(op, stride, padding, dilation, groups)
    check_image(op, "x", x_shape)
    check_weight(op, w_shape)
    (n, c, h, width), (k, cg, r, s) = x_shape, w_shape
    hint = _swap_hint(x_shape, w_shape, groups)
    if k % groups:
        raise ShapeError(f"{op}: weight has {k} output channels, not divisible by groups={groups}")
    if c % groups:
        raise ShapeError(f"{op}: x has {c} channels, not divisible by groups={groups}{hint}")
    if c != cg * groups:
        raise ShapeError(
            f"{op}: weight has {cg} input channels per group but x has {c} channels with "
            f"groups={groups} (expected {c // groups}); weight shape {w_shape}, x shape {x_shape}"
            f"{hint}"
        )
    p = output_length(op, "H", h, r, stride[0], padding[:2], dilation[0], hint=hint)
    q = output_length(op, "W", width, s, stride[1], padding[2:], dilation[1], hint=hint)
    check_bytes(op, (n, k, p, q))
    check_bytes(op, x_shape)
    return n, k, p, q


def _swap_hint(x_shape: Shape, w_shape: Shape, groups: int) -> str:
    """A hint for conv2d(w, x): said only if the other order would fit."""
    fits = w_shape[1] == x_shape[1] * groups and all(
        kernel <= size for kernel, size in zip(x_shape[2:], w_shape[2:], strict=True)
    )
    return "; argument order swapped? conv2d(x, weight) fits" if fits else ""


def _match(op: str, name: str, given: Shape, expected: Shape) -> None:
    if given != expected:
        raise ShapeError(f"{op}: {name} has shape {given}, expected {expected}")


def check_bias(op: str, b: Array | None, channels: int) -> None:
    """b has one number per output channel."""
    if b is not None and b.shape != (channels,):
        raise ShapeError(
            f"{op}: bias must have shape ({channels},), one number per output channel, "
            f"got {b.shape}"
        )


def checked(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Quad, dilation: Pair, groups: int
) -> dict[str, Any]:
    """The geometry of conv2d(x, w, b) by name, once all of it fits together."""
    same_dtype("conv2d", "x", x, weight=floats("conv2d", "weight", w), bias=b)
    output_shape("conv2d", x.shape, w.shape, stride, padding, dilation, groups)
    check_bias("conv2d", b, w.shape[0])
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


class Conv2d(Op):
    """y = x * w + b, the cross-correlation of images with filters.

    Shapes    x: (N, C, H, W); w: (K, C/groups, R, S); b: (K,) or None; y: (N, K, P, Q),
              P = floor((H + top + bottom - dh (R-1) - 1) / sh) + 1, Q likewise
    Forward   y[n,k,p,q] = b[k] + sum_crs xp[n, c, p sh + r dh, q sw + s dw] w[k,c,r,s]
    Backward  dL/dx = conv2d_grad_x(dL/dy, w)      because y is linear in x: the adjoint map
              dL/dw = conv2d_grad_w(dL/dy, x)      because y is linear in w: the adjoint map
              dL/db[k] = sum_npq dL/dy[n,k,p,q]    because b[k] is added to every pixel of k
    Keeps     w (for x), x (for w)
    Example
        >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
        >>> w = np.ones((1, 1, 2, 2))
        >>> y = conv2d(x, w)
        >>> y[0, 0]
        array([[ 8., 12.],
               [20., 24.]])
        >>> gy = np.array([[[[1.0, -2.0], [3.0, 5.0]]]])      # <conv x, gy> = <x, grad_x gy>
        >>> float((y * gy).sum() - (x * conv2d_grad_x(gy, w, x_shape=x.shape)).sum())
        0.0

    Reference Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016,
              sections 2 and 4; padding may be asymmetric here
    """

    def forward(
        x, w, b=None, *, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        how = checked(x, w, b, stride, padding, dilation, groups)
        return kernels.conv2d(x, w, b, algorithm=algorithm, **how)

    def grad_x(gy, w, x_shape, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d_grad_x(gy, w, x_shape=x_shape, algorithm=algorithm, **how)

    def grad_w(gy, x, w_shape, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d_grad_w(gy, x, w_shape=w_shape, algorithm=algorithm, **how)

    def grad_b(gy):
        return conv2d_grad_b(gy)


class Conv2dGradX(Op):
    """gx = the adjoint of x -> conv2d(x, w), applied to gy: what each tap read, it gives back.

    Shapes    gy: (N, K, P, Q); w: (K, C/groups, R, S); gx: x_shape = (N, C, H, W)
    Forward   gxp[n,c,i,j] = sum of gy[n,k,p,q] w[k,c,r,s] over k, p, q, r, s
                             with p sh + r dh = i and q sw + s dw = j; gx is gxp without padding
    Backward  dL/dgy = conv2d(dL/dgx, w)           because the adjoint of the adjoint is the map
              dL/dw = conv2d_grad_w(gy, dL/dgx)    because <gx, v> = T(gy, v, w) for every v
    Keeps     w (for gy), gy (for w)
    Example
        >>> conv2d_grad_x(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), x_shape=(1, 1, 3, 3))
        array([[[[1., 2., 1.],
                 [2., 4., 2.],
                 [1., 2., 1.]]]])

    Reference Dumoulin and Visin 2016, section 4.1 (transposed convolution)
    """

    def forward(
        gy, w, *, x_shape, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        op = "conv2d_grad_x"
        same_dtype(op, "gy", gy, w=w)
        y_shape = output_shape(op, x_shape, w.shape, stride, padding, dilation, groups)
        _match(op, "gy", gy.shape, y_shape)
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return kernels.conv2d_grad_x(gy, w, x_shape=x_shape, algorithm=algorithm, **how)

    def grad_gy(gx, w, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d(gx, w, algorithm=algorithm, **how)

    def grad_w(gx, gy, w_shape, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d_grad_w(gy, gx, w_shape=w_shape, algorithm=algorithm, **how)


class Conv2dGradW(Op):
    """gw = the adjoint of w -> conv2d(x, w), applied to gy: gy times what each tap read.

    Shapes    gy: (N, K, P, Q); x: (N, C, H, W); gw: w_shape = (K, C/groups, R, S)
    Forward   gw[k,c,r,s] = sum_npq gy[n,k,p,q] xp[n, c, p sh + r dh, q sw + s dw]
    Backward  dL/dgy = conv2d(x, dL/dgw)           because <gw, v> = T(gy, x, v) for every v
              dL/dx = conv2d_grad_x(gy, dL/dgw)    for the same reason
    Keeps     x (for gy), gy (for x)
    Example
        >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
        >>> conv2d_grad_w(np.ones((1, 1, 2, 2)), x, w_shape=(1, 1, 2, 2))
        array([[[[ 8., 12.],
                 [20., 24.]]]])

    Reference Dumoulin and Visin 2016, section 2.4; the form T of this module's docstring
    """

    def forward(
        gy, x, *, w_shape, stride=ONE, padding=NO_PADDING, dilation=ONE, groups=1, algorithm=None
    ):
        op = "conv2d_grad_w"
        same_dtype(op, "gy", gy, x=x)
        y_shape = output_shape(op, x.shape, w_shape, stride, padding, dilation, groups)
        _match(op, "gy", gy.shape, y_shape)
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return kernels.conv2d_grad_w(gy, x, w_shape=w_shape, algorithm=algorithm, **how)

    def grad_gy(gw, x, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d(x, gw, algorithm=algorithm, **how)

    def grad_x(gw, gy, x_shape, stride, padding, dilation, groups, algorithm):
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        return conv2d_grad_x(gy, gw, x_shape=x_shape, algorithm=algorithm, **how)


class Conv2dGradB(Op):
    """gb[k] = the sum of gy over images and pixels, the gradient of a bias.

    Shapes    gy: (N, K, P, Q); gb: (K,)
    Forward   gb[k] = sum_npq gy[n,k,p,q]
    Backward  dL/dgy[n,k,p,q] = dL/dgb[k]          because each gy[n,k,p,q] is added once
    Keeps     nothing
    Example
        >>> conv2d_grad_b(np.ones((2, 3, 4, 5)))
        array([40., 40., 40.])

    Reference the adjoint of broadcasting
    """

    def forward(gy):
        images("conv2d_grad_b", "gy", gy)
        return kernels.bias_grad(gy)

    def grad_gy(gb, gy_shape):
        return broadcast_to(gb.reshape((1, gy_shape[1], 1, 1)), shape=gy_shape)


conv2d = Conv2d.apply
conv2d_grad_x = Conv2dGradX.apply
conv2d_grad_w = Conv2dGradW.apply
conv2d_grad_b = Conv2dGradB.apply
