"""Convolution and batch normalization as one layer, where that is one pass over memory.

Design: by known statistics batch normalization is a factor and a term for each channel (Ioffe and
Szegedy 2015, algorithm 2).  The convolution's kernel applies them to its sums before they are
stored, and the residual and the ReLU with them.  The factors are not multiplied into the filters:
that would write all filters anew for every batch.  In training, and wherever a gradient is
recorded or a hook wants to see the layers one by one, the two layers simply follow each other.
Next: ``containers.py``, where ``Sequential`` does this by itself.
"""

from __future__ import annotations

import numpy as np

from minigrad._engine import is_grad_enabled
from minigrad._kernels import conv as kernels
from minigrad.functional.windows import named_padding
from minigrad.nn.layers import Conv2d
from minigrad.nn.norm import BatchNorm2d
from minigrad.ops.geometry import quad
from minigrad.tensor import Tensor


def conv_norm(
    conv: Conv2d,
    norm: BatchNorm2d,
    x: Tensor,
    residual: Tensor | None = None,
    *,
    relu: bool = False,
) -> Tensor:
    """``norm(conv(x), residual, relu=relu)``, in one pass over memory in evaluation.

    x (N, C, H, W); residual (N, K, P, Q), as the result.  The numbers are those of the two layers
    but for rounding.  Raises what the layers raise.
    """
    mean, var = norm.running_mean, norm.running_var
    if not one_pass(conv, norm, x, residual) or mean is None or var is None:
        return norm(conv(x), residual, relu=relu)
    w = conv.weight.data
    scale = 1 / np.sqrt(var.data + w.dtype.type(norm.eps))  # (K,)
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = -mean.data * scale
    if conv.bias is not None:
        shift = shift + conv.bias.data * scale
    if norm.bias is not None:
        shift = shift + norm.bias.data
    pads = conv.padding
    if isinstance(pads, str):
        pads = named_padding("conv2d", pads, w.shape, conv.stride, conv.dilation)
    y = kernels.conv2d(
        x.data,
        w,
        shift,
        stride=conv.stride,
        padding=quad("conv2d", pads),
        dilation=conv.dilation,
        groups=conv.groups,
        relu=relu,
        scale=scale,
        residual=None if residual is None else residual.data,
    )
    return Tensor(y)


def one_pass(conv: Conv2d, norm: BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    """Whether both layers are what they seem, nothing watches, and all operands fit."""
    plain = type(conv).forward is Conv2d.forward and type(norm).forward is BatchNorm2d.forward
    if not plain or norm.training or is_grad_enabled() or conv._hooks or norm._hooks:
        return False
    operands = [x, conv.weight, conv.bias, norm.running_mean, norm.running_var]
    operands += [norm.weight, norm.bias, residual]
    return (
        not (1 < conv.groups == conv.in_channels)
        and isinstance(x, Tensor)
        and x.ndim == 4
        and x.shape[1] == conv.in_channels > 0
        and norm.num_features == conv.out_channels
        and all(t is None or t.dtype == conv.weight.dtype for t in operands)
    )
