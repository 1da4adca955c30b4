"""Pooling: the largest or the mean pixel of each window, and the maps that are their gradients.

Design: a maximum pool is, where it is differentiable, the selection of one pixel per window.  The
selection ``max_pool2d_gather`` and its adjoint ``max_pool2d_grad`` are linear and each other's
rules; ``max_pool2d`` only decides which pixels (``argmax``, one byte each), and not even that where
nothing is recorded (``forward_only``).  A ReLU of the maximum (or before it: the same numbers)
selects no pixel where it is flat, so the rules stay what they are.
An average is linear, so its adjoint is all that it needs, and the adjoint of the adjoint is the
average again.

Conventions: padding never wins a maximum; a tie goes to the first pixel of the window, row-major;
NaN wins; a window that dilation leads past every pixel has the value -inf and no gradient.  Next:
``pool_fused.py``, averages of a tanh; global and adaptive averages are in ``pool_adaptive.py``.
"""

from __future__ import annotations

from functools import lru_cache

from minigrad._kernels import pool as kernels
from minigrad.errors import ArgError, ShapeError
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
)

ONE: Pair = (1, 1)
NO_PADDING: Quad = (0, 0, 0, 0)


@lru_cache(maxsize=4096, typed=True)  # a net asks the same questions at every step
def output_size(
    op: str,
    x_shape: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    ceil_mode: bool,
) -> Pair:
    """(P, Q) of a pool over x, or the error that says why there is none."""
    check_image(op, "x", x_shape)
    integers(op, "kernel_size", kernel, 2, 1)
    integers(op, "stride", stride, 2, 1)
    integers(op, "padding", padding, 4, 0)
    integers(op, "dilation", dilation, 2, 1)
    for axis in (0, 1):
        most = (dilation[axis] * (kernel[axis] - 1) + 1) // 2
        if max(padding[2 * axis : 2 * axis + 2]) > most:
            raise ArgError(
                f"{op}: padding must be at most half of the kernel (dilated), got padding "
                f"{padding} for kernel_size {kernel}, dilation {dilation}: at most {most} "
                f"along {'HW'[axis]}"
            )
    h, w = x_shape[2:]
    p = output_length(
        op, "H", h, kernel[0], stride[0], padding[:2], dilation[0], ceil_mode=ceil_mode
    )
    q = output_length(
        op, "W", w, kernel[1], stride[1], padding[2:], dilation[1], ceil_mode=ceil_mode
    )
    check_bytes(op, (*x_shape[:2], p, q))
    return p, q


def _same_shape(op: str, name: str, a: Array, argmax: Array) -> None:
    floats(op, name, a)
    if a.shape != argmax.shape:
        raise ShapeError(
            f"{op}: {name} has shape {a.shape} but argmax has {argmax.shape}; "
            f"argmax must come from the max_pool2d whose gradient this is"
        )


def _largest(
    x: Array,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    dilation: Pair,
    ceil_mode: bool,
    relu: bool,
    *,
    places: bool,
) -> tuple[Array, Array | None]:
    floats("max_pool2d", "x", x)
    output = output_size("max_pool2d", x.shape, kernel, stride, padding, dilation, ceil_mode)
    where = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return kernels.max_pool2d(x, output=output, relu=relu, places=places, **where)


class MaxPool2d(Op, byproducts=("argmax",)):
    """y = the largest pixel of each window; with relu max(0, .) of it, in the same pass.

    Shapes    x: (N, C, H, W); y, argmax: (N, C, P, Q),
              P = floor((H + top + bottom - dh (R-1) - 1) / sh) + 1 (ceil with ceil_mode)
    Forward   y[n,c,p,q] = max_rs x[n, c, p sh + r dh - top, q sw + s dw - left];
              argmax[n,c,p,q] = r S + s of the first pixel that attains it (NaN counts as largest)
              with relu, y = max(0, that), and argmax = R S, which is no pixel, unless y > 0
    Backward  dL/dx = max_pool2d_grad(dL/dy, argmax)    because dy/dx = 1 at the argmax, 0 elsewhere
    Keeps     argmax
    Example
        >>> x = np.array([[[[1.0, 3.0, 3.0, 2.0]]]])
        >>> max_pool2d(x, kernel=(1, 2), stride=(1, 2))
        array([[[[3., 3.]]]])
        >>> y, argmax = max_pool2d.full(x, kernel=(1, 2), stride=(1, 2))
        >>> argmax.ravel().tolist()
        [1, 0]
        >>> max_pool2d.full(x - 3, kernel=(1, 2), stride=(1, 2), relu=True)[1].ravel().tolist()
        [2, 2]

    Reference Krizhevsky, Sutskever and Hinton 2012, section 3.4 (overlapping pooling)
    """

    def forward(
        x, *, kernel, stride, padding=NO_PADDING, dilation=ONE, ceil_mode=False, relu=False
    ):
        return _largest(x, kernel, stride, padding, dilation, ceil_mode, relu, places=True)

    def forward_only(
        x, *, kernel, stride, padding=NO_PADDING, dilation=ONE, ceil_mode=False, relu=False
    ):
        return _largest(x, kernel, stride, padding, dilation, ceil_mode, relu, places=False)[0]

    def grad_x(gy, argmax, x_shape, kernel, stride, padding, dilation):
        return max_pool2d_grad(
            gy,
            argmax,
            x_shape=x_shape,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )


class MaxPool2dGrad(Op):
    """gx = gy put back at the pixels that won; where windows overlap, the sum.

    Shapes    gy, argmax: (N, C, P, Q); gx: x_shape = (N, C, H, W)
    Forward   gx[n,c,i,j] = sum of gy[n,c,p,q] over the windows (p, q) whose argmax is pixel (i, j)
    Backward  dL/dgy = max_pool2d_gather(dL/dgx, argmax)    because each gy lands on one pixel
    Keeps     argmax
    Example
        >>> argmax = np.array([[[[1, 0]]]], dtype=np.uint8)
        >>> gy = np.array([[[[5.0, 7.0]]]])
        >>> max_pool2d_grad(gy, argmax, x_shape=(1, 1, 1, 4), kernel=(1, 2), stride=(1, 2))
        array([[[[0., 5., 7., 0.]]]])

    Reference PyTorch's max_pool2d_with_indices_backward
    """

    def forward(gy, argmax, *, x_shape, kernel, stride, padding=NO_PADDING, dilation=ONE):
        _same_shape("max_pool2d_grad", "gy", gy, argmax)
        return kernels.max_pool2d_grad(
            gy,
            argmax,
            x_shape=x_shape,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )

    def grad_gy(gx, argmax, kernel, stride, padding, dilation):
        return max_pool2d_gather(
            gx, argmax, kernel=kernel, stride=stride, padding=padding, dilation=dilation
        )


class MaxPool2dGather(Op):
    """y = v at the pixels that won an earlier max_pool2d, the derivative of its gradient.

    Shapes    v: (N, C, H, W); argmax, y: (N, C, P, Q)
    Forward   y[n,c,p,q] = v at the pixel argmax[n,c,p,q] of window (p, q)
    Backward  dL/dv = max_pool2d_grad(dL/dy, argmax)    because it is the adjoint of the selection
    Keeps     argmax
    Example
        >>> argmax = np.array([[[[1, 0]]]], dtype=np.uint8)
        >>> v = np.array([[[[1.0, 2.0, 3.0, 4.0]]]])
        >>> max_pool2d_gather(v, argmax, kernel=(1, 2), stride=(1, 2))
        array([[[[2., 3.]]]])

    Reference PyTorch's max_pool2d_with_indices_backward, differentiated
    """

    def forward(v, argmax, *, kernel, stride, padding=NO_PADDING, dilation=ONE):
        images("max_pool2d_gather", "v", v)
        return kernels.max_pool2d_gather(
            v, argmax, kernel=kernel, stride=stride, padding=padding, dilation=dilation
        )

    def grad_v(gy, argmax, v_shape, kernel, stride, padding, dilation):
        return max_pool2d_grad(
            gy,
            argmax,
            x_shape=v_shape,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )


def averaged(
    op: str,
    x: Array,
    kernel: Pair,
    stride: Pair,
    padding: Quad,
    ceil_mode: bool,
    divisor: int | None,
) -> Pair:
    """(P, Q) of an average pool over x; arguments are checked."""
    floats(op, "x", x)
    output = output_size(op, x.shape, kernel, stride, padding, ONE, ceil_mode)
    if divisor is not None:
        integer(op, "divisor_override", divisor, 1)
    return output


class AvgPool2d(Op):
    """y = the mean of each window.

    Shapes    x: (N, C, H, W); y: (N, C, P, Q), P and Q as in max_pool2d without dilation
    Forward   y[n,c,p,q] = (sum of x over the window inside the image) / d[p,q], with d = divisor
              if given, else the window's area inside the padded image (count_include_pad) or
              inside the image itself
    Backward  dL/dx = avg_pool2d_grad(dL/dy)       because y is linear in x: the adjoint map
    Keeps     nothing
    Example
        >>> avg_pool2d(np.array([[[[1.0, 3.0, 5.0, 9.0]]]]), kernel=(1, 2), stride=(1, 2))
        array([[[[2., 7.]]]])

    Reference LeCun et al. 1998, section II.B (sub-sampling); PyTorch's AvgPool2d for the divisor
    """

    def forward(
        x,
        *,
        kernel,
        stride,
        padding=NO_PADDING,
        ceil_mode=False,
        count_include_pad=True,
        divisor=None,
    ):
        output = averaged("avg_pool2d", x, kernel, stride, padding, ceil_mode, divisor)
        return kernels.avg_pool2d(
            x,
            kernel=kernel,
            stride=stride,
            padding=padding,
            output=output,
            count_include_pad=count_include_pad,
            divisor=divisor,
        )

    def grad_x(gy, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
        return avg_pool2d_grad(
            gy,
            x_shape=x_shape,
            kernel=kernel,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor=divisor,
        )


class AvgPool2dGrad(Op):
    """gx = gy / d spread over each window, the adjoint of avg_pool2d.

    Shapes    gy: (N, C, P, Q); gx: x_shape = (N, C, H, W)
    Forward   gx[n,c,i,j] = sum of gy[n,c,p,q] / d[p,q] over the windows (p, q) that hold (i, j)
    Backward  dL/dgy = avg_pool2d(dL/dgx)          because the adjoint of the adjoint is the map
    Keeps     nothing
    Example
        >>> gy = np.array([[[[2.0, 6.0]]]])
        >>> avg_pool2d_grad(gy, x_shape=(1, 1, 1, 4), kernel=(1, 2), stride=(1, 2))
        array([[[[1., 1., 3., 3.]]]])

    Reference PyTorch's avg_pool2d_backward
    """

    def forward(
        gy,
        *,
        x_shape,
        kernel,
        stride,
        padding=NO_PADDING,
        ceil_mode=False,
        count_include_pad=True,
        divisor=None,
    ):
        floats("avg_pool2d_grad", "gy", gy)
        return kernels.avg_pool2d_grad(
            gy,
            x_shape=x_shape,
            kernel=kernel,
            stride=stride,
            padding=padding,
            output=gy.shape[2:],
            count_include_pad=count_include_pad,
            divisor=divisor,
        )

    def grad_gy(gx, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
        return avg_pool2d(
            gx,
            kernel=kernel,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor=divisor,
        )


max_pool2d = MaxPool2d.apply
max_pool2d_grad = MaxPool2dGrad.apply
max_pool2d_gather = MaxPool2dGather.apply
avg_pool2d = AvgPool2d.apply
avg_pool2d_grad = AvgPool2dGrad.apply
