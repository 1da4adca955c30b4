"""Convolution, pooling and padding under the names of torch.nn.functional.

Design: this file only reads arguments: an int where a pair is meant, "same", PyTorch's order of
padding.  What the ops mean is in ``ops/conv.py`` and ``ops/pool.py``, one page each.  Padding may
also be (top, bottom, left, right) where PyTorch knows only symmetric padding.
Next: ``normalization.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgError, ShapeError
from ..ops.activations import Relu
from ..ops.conv import Conv2d
from ..ops.conv_fused import Conv2dRelu
from ..ops.conv_transpose import ConvTranspose2d
from ..ops.geometry import Array, Pair, Quad, check_bytes, number, operand, pair, quad
from ..ops.index import Getitem
from ..ops.join import Pad
from ..ops.pool import AvgPool2d, MaxPool2d
from ..ops.pool_adaptive import AdaptiveAvgPool2d, GlobalAvgPool2d
from ..ops.pool_fused import TanhAvgPool2d
from ..tensor import Tensor

Value = Any  # a Tensor, or an ndarray: then a function only computes

IntOrPair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]


def conv2d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: IntOrPair = 1,
    padding: Padding | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    relu: bool = False,
    algorithm: str | None = None,
) -> Tensor:
    """Cross-correlate images with filters; formula and gradients in ``ops.conv.Conv2d``.

    input (N,C,H,W), weight (K,C/groups,R,S), bias (K,) -> (N,K,P,Q).  padding: int, (rows,
    columns), (top, bottom, left, right), "valid" (none) or "same" (P = H, Q = W; stride 1 only;
    an odd remainder goes to the bottom and right).  relu: max(0, .) of it, in the same pass over
    memory.  algorithm: "direct" or "winograd" for this call
    and its gradients instead of the faster one (``minigrad.explain`` says which and why).
    Raises ShapeError, DTypeError, ArgError, TypeError (a float or bool where an int is meant).
    """
    how = geometry("conv2d", weight, stride, padding, dilation)
    return (Conv2dRelu if relu else Conv2d).apply(
        input, weight, bias, groups=groups, algorithm=algorithm, **how
    )


def geometry(
    op: str, weight: Value, stride: IntOrPair, padding: Padding | str, dilation: IntOrPair
) -> dict[str, Any]:
    """stride, padding and dilation as the ops of convolution want them: pairs, and four pads."""
    steps, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    if isinstance(padding, str):
        operand(op, "weight", weight)
        pads = named_padding(op, padding, weight.shape, steps, dilations)
    else:
        pads = quad(op, padding)
    return dict(stride=steps, padding=pads, dilation=dilations)


def named_padding(
    op: str, name: str, weight_shape: tuple[int, ...], stride: Pair, dilation: Pair
) -> Quad:
    """(top, bottom, left, right) that "valid" or "same" stands for."""
    if name == "valid":
        return 0, 0, 0, 0
    if name != "same":
        raise ArgError(f"{op}: padding must be an int, a tuple, 'same' or 'valid', got {name!r}")
    if stride != (1, 1):
        raise ArgError(f"{op}: padding='same' needs stride 1, got stride {stride}; pad explicitly")
    if len(weight_shape) != 4:
        raise ShapeError(f"{op}: weight must be 4-D (K, C/groups, R, S), got {weight_shape}")
    rows, columns = (d * (k - 1) for d, k in zip(dilation, weight_shape[2:], strict=True))
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def conv_transpose2d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """The adjoint of conv2d as a layer; formula and gradients in ``ops.conv_transpose``.

    input (N,C,H,W), weight (C,K/groups,R,S), bias (K,) -> (N,K,P,Q) with
    P = (H-1) stride - padding + dilation (R-1) + output_padding + 1.  output_padding must be
    smaller than stride or dilation.  Raises ShapeError, DTypeError, ArgError, TypeError.
    """
    op = "conv_transpose2d"
    steps, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    more = pair(op, "output_padding", output_padding, 0)
    for m, s, d in zip(more, steps, dilations, strict=True):
        if m >= max(s, d):
            raise ArgError(
                f"{op}: output_padding must be smaller than stride or dilation, got {more} with "
                f"stride {steps} and dilation {dilations}"
            )
    rows, columns = (m // s for m, s in zip(more, steps, strict=True))
    if rows or columns:  # whole strides of output padding are further rows of zeros in the input
        input = Pad.apply(input, pad_width=((0, 0), (0, 0), (0, rows), (0, columns)))
    return ConvTranspose2d.apply(
        input,
        weight,
        bias,
        stride=steps,
        padding=quad(op, padding),
        output_padding=(more[0] % steps[0], more[1] % steps[1]),
        dilation=dilations,
        groups=groups,
    )


def max_pool2d(
    input: Value,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    relu: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest pixel of each window; formula, ties and NaN in ``ops.pool.MaxPool2d``.

    input (N,C,H,W) -> (N,C,P,Q); stride None means kernel_size.  relu: max(0, .) of it, in the
    same pass over memory.  With return_indices also the positions i W + j of the maxima in their
    H x W images, int64 (N,C,P,Q).
    Raises ArgError (padding above half the kernel...), ShapeError, DTypeError, TypeError.
    """
    op = "max_pool2d"
    kernel, dilations = pair(op, "kernel_size", kernel_size, 1), pair(op, "dilation", dilation, 1)
    steps = kernel if stride is None else pair(op, "stride", stride, 1)
    pads = quad(op, padding)
    how = dict(stride=steps, padding=pads, dilation=dilations, ceil_mode=ceil_mode)
    if not return_indices:
        return MaxPool2d.apply(input, kernel=kernel, relu=relu, **how)
    y, argmax = MaxPool2d.apply.full(input, kernel=kernel, **how)
    # max_pool2d's own ReLU would leave no place where y is 0
    y = Relu.apply(y) if relu else y
    places: Any = positions(argmax, input.shape[3], kernel[1], steps, pads, dilations)
    return y, Tensor(places) if isinstance(y, Tensor) else places


def positions(
    argmax: Array, width: int, columns: int, stride: Pair, padding: Quad, dilation: Pair
) -> Array:
    """argmax r S + s of each window (N,C,P,Q) -> i W + j in the image, int64."""
    r, s = np.divmod(argmax.astype(np.int64), columns)  # (N, C, P, Q)
    p, q = np.ogrid[: argmax.shape[2], : argmax.shape[3]]
    i = p * stride[0] + r * dilation[0] - padding[0]
    j = q * stride[1] + s * dilation[1] - padding[2]
    return i * width + j


def avg_pool2d(
    input: Value,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    tanh: bool = False,
) -> Tensor:
    """The mean of each window; formula and divisors in ``ops.pool.AvgPool2d``.

    input (N,C,H,W) -> (N,C,P,Q); stride None means kernel_size.  tanh: the mean of tanh input, in
    the same pass over memory.
    Raises ArgError, ShapeError, DTypeError, TypeError.
    """
    op = "avg_pool2d"
    kernel = pair(op, "kernel_size", kernel_size, 1)
    return (TanhAvgPool2d if tanh else AvgPool2d).apply(
        input,
        kernel=kernel,
        stride=kernel if stride is None else pair(op, "stride", stride, 1),
        padding=quad(op, padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor_override,
    )


def adaptive_avg_pool2d(
    input: Value, output_size: int | tuple[int | None, int | None] | None
) -> Tensor:
    """Means of bins that cover the image; formula in ``ops.pool_adaptive``.

    input (N,C,H,W) -> (N,C,P,Q); an entry None keeps that size.
    Raises ArgError, ShapeError, DTypeError, TypeError.
    """
    op = "adaptive_avg_pool2d"
    operand(op, "x", input)
    sizes: Any = output_size
    if not isinstance(sizes, (tuple, list)):
        sizes = (sizes, sizes)
    if any(size is None for size in sizes) and input.ndim == 4 and len(sizes) == 2:
        sizes = tuple(
            n if size is None else size for size, n in zip(sizes, input.shape[2:], strict=True)
        )
    output = pair(op, "output_size", sizes, 1)
    if output == (1, 1):
        return GlobalAvgPool2d.apply(input)
    return AdaptiveAvgPool2d.apply(input, output=output)


def global_avg_pool2d(input: Value) -> Tensor:
    """The mean of each channel's image, (N,C,H,W) -> (N,C,1,1). Raises ShapeError, DTypeError."""
    return GlobalAvgPool2d.apply(input)


PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    input: Value, pad: tuple[int, ...], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Put places around the last axes: pad = (left, right, top, bottom, ...), last axis first.

    mode: "constant" (with value, 0 by default), "reflect", "replicate" or "circular"; negative
    numbers crop.  Raises ArgError, ShapeError, TypeError.
    """
    if mode not in PAD_MODES:
        raise ArgError(f"pad: mode {mode!r} is unknown; use one of {', '.join(PAD_MODES)}")
    operand("pad", "input", input)
    if value is not None and mode != "constant":
        raise ArgError(f"pad: mode {mode!r} takes no value, got {value!r}")
    if not isinstance(pad, (tuple, list)) or not all(type(n) is int for n in pad):
        raise TypeError(f"pad: pad must be a tuple of ints, got {pad!r}")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgError(
            f"pad: pad takes two ints (before, after) per axis from the last to the first, at most "
            f"{2 * input.ndim} for shape {input.shape}; got {len(pad)}: {pad}"
        )
    widths = [(0, 0)] * input.ndim
    for axis in range(len(pad) // 2):
        widths[-1 - axis] = (pad[2 * axis], pad[2 * axis + 1])
    check_mode(input.shape, widths, mode)
    if any(n < 0 for n in pad):
        ends = zip(input.shape, widths, strict=True)
        crop = tuple(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in ends)
        input = Getitem.apply(input, index=crop)
        widths = [(max(0, b), max(0, a)) for b, a in widths]
    check_bytes("pad", tuple(n + sum(w) for n, w in zip(input.shape, widths, strict=True)))
    fill = 0.0 if value is None else number("pad", "value", value)
    return Pad.apply(input, pad_width=tuple(widths), mode=PAD_MODES[mode], value=fill)


def check_mode(shape: tuple[int, ...], widths: list[tuple[int, int]], mode: str) -> None:
    """ShapeError where there is too little to crop or to copy."""
    most = {"reflect": -1, "circular": 0}.get(mode)
    for axis, (n, (before, after)) in enumerate(zip(shape, widths, strict=True)):
        if n + min(0, before) + min(0, after) < 0:
            raise ShapeError(f"pad: cannot crop {(before, after)} off axis {axis} of {shape}")
        if most is not None and max(before, after) > max(0, n + most):
            raise ShapeError(
                f"pad: mode {mode!r} can add at most {n + most} places to axis {axis} of shape "
                f"{shape}, got {(before, after)}"
            )
