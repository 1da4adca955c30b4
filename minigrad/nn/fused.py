"""Layers that follow each other in fewer passes over memory.

Design: `steps` finds what belongs together in a row of modules.  A ReLU is done by the layer before
it, or better by the maximum pool behind it.  Of a map in front of a pool most pixels do not matter;
a pool that knows where its maximum is not above 0 needs neither the map nor a mask of it.  A tanh
is done by the average pool behind it.

`conv_norm` is convolution and batch normalization as one layer.  By known statistics the latter is
a factor and a term for each channel (Ioffe and Szegedy 2015, algorithm 2).  In evaluation the
convolution's kernel applies them to its sums before they are stored, and the residual and the ReLU
with them: one pass.  The factors are not multiplied into the filters: that would write all filters
anew for every batch.  In training the statistics are taken of outputs that have just been computed
(``ops.conv_fused``).  Where a hook wants to see the layers one by one, they simply follow each
other.  Next: ``containers.py``, where ``Sequential`` does all this by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

import minigrad.functional as F
from minigrad._engine import is_grad_enabled
from minigrad._kernels import conv as kernels
from minigrad.functional.windows import geometry
from minigrad.nn.activation import ReLU, Tanh
from minigrad.nn.layers import Conv2d
from minigrad.nn.module import Module
from minigrad.nn.norm import BatchNorm2d
from minigrad.nn.pooling import AvgPool2d, MaxPool2d
from minigrad.ops.geometry import Array
from minigrad.tensor import Tensor


def conv_norm(
    conv: Conv2d,
    norm: BatchNorm2d,
    x: Tensor,
    residual: Tensor | None = None,
    *,
    relu: bool = False,
) -> Tensor:
    """``norm(conv(x), residual, relu=relu)``, in fewer passes over memory.

    x (N, C, H, W); residual (N, K, P, Q), as the result.  The numbers are those of the two layers
    but for rounding.  Raises what the layers raise.
    """
    if not alone(conv, norm, x, residual):
        return norm(conv(x), residual, relu=relu)
    if norm.training or norm.running_mean is None or norm.running_var is None:
        with norm.batch() as (mean, var, momentum):
            return F.conv2d_batch_norm(
                x, conv.weight, conv.bias, mean, var, norm.weight, norm.bias,
                conv.stride, conv.padding, conv.dilation, conv.groups,
                momentum=momentum, eps=norm.eps, residual=residual, relu=relu,
            )  # fmt: skip
    if is_grad_enabled() or 1 < conv.groups == conv.in_channels:
        return norm(conv(x), residual, relu=relu)
    return Tensor(by_known_statistics(conv, norm, x, residual, relu))


def by_known_statistics(
    conv: Conv2d,
    norm: BatchNorm2d,
    x: Tensor,
    residual: Tensor | None,
    relu: bool,
    out: Array | None = None,
) -> Array:
    """Both layers in evaluation, as one convolution with an epilogue; out: where it is stored."""
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None
    w = conv.weight.data
    scale = 1 / np.sqrt(var.data + w.dtype.type(norm.eps))  # (K,)
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = -mean.data * scale
    if conv.bias is not None:
        shift = shift + conv.bias.data * scale
    if norm.bias is not None:
        shift = shift + norm.bias.data
    return kernels.conv2d(
        x.data,
        w,
        shift,
        groups=conv.groups,
        relu=relu,
        scale=scale,
        residual=None if residual is None else residual.data,
        out=out,
        **geometry("conv2d", w, conv.stride, conv.padding, conv.dilation),
    )


def alone(conv: Conv2d, norm: BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    """Whether both layers are what they seem, nothing watches, and all operands fit."""
    plain = type(conv).forward is Conv2d.forward and type(norm).forward is BatchNorm2d.forward
    if not plain or conv._hooks or norm._hooks:
        return False
    operands = [x, conv.weight, conv.bias, norm.running_mean, norm.running_var]
    operands += [norm.weight, norm.bias, residual]
    return (
        isinstance(x, Tensor)
        and x.ndim == 4
        and x.shape[1] == conv.in_channels > 0
        and norm.num_features == conv.out_channels
        and all(t is None or t.dtype == conv.weight.dtype for t in operands)
    )


Step = Callable[[Any], Any]


def steps(modules: Iterable[Module]) -> list[Step]:
    """Calls that give, one after another, what the modules give, where possible in fewer passes.

    A module with hooks is called as it is, and what it is called with is what it would get.
    """
    found: list[tuple[Any, bool | None]] = []  # what to call, and its argument relu if it has one
    for module in modules:
        last: Any
        last, rectifies = found[-1] if found else (None, None)
        behind_conv = isinstance(last, Conv2d) and rectifies is False
        relu = None if module._hooks else getattr(type(module).forward, "relu", None)
        if is_plain(ReLU, module) and rectifies is not None:
            found[-1] = last, True
        elif relu is not None and is_pool(module) and (rectifies or is_plain(ReLU, last)):
            found[-1:] = [(last, False)] if rectifies else []
            found.append((module, True))
        elif relu is not None and isinstance(module, BatchNorm2d) and behind_conv:
            found[-1] = partial(conv_norm, last, module), relu
        elif is_plain(AvgPool2d, module) and is_plain(Tanh, last):
            found[-1] = partial(module, tanh=True), None
        else:
            found.append((module, relu))
    return [call if relu is None else partial(call, relu=relu) for call, relu in found]


def is_plain(kind: type[Module], module: Any) -> bool:
    """A module of that very class that no hook watches."""
    return type(module) is kind and not module._hooks


def is_pool(module: Module) -> bool:
    """A maximum pool that may as well come before the ReLU: dilation can lead its windows past all
    pixels, where 0 and -inf differ, and the first place of a maximum among zeros is lost."""
    return isinstance(module, MaxPool2d) and module.dilation == (1, 1) and not module.return_indices
