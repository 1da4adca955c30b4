"""Normalizations under the names of torch.nn.functional.

Design: ops change nothing, so the running averages of batch normalization live here: they are
checked before anything is computed and written last, so an error leaves them as they were; what
``checkpoint`` computes a second time is counted once.
Next: ``losses.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checkpointing import recomputing
from ..errors import ArgError, DTypeError, ShapeError
from ..ops.conv_fused import Conv2dMoments
from ..ops.geometry import Array, floats, number, operand
from ..ops.norm import BatchNorm, BatchNormInference
from ..ops.norm_local import GroupNorm, LayerNorm, LocalResponseNorm
from ..tensor import Tensor
from .windows import IntOrPair, Padding, geometry

Value = Any  # a Tensor, or an ndarray: then a function only computes


def batch_norm(
    input: Value,
    running_mean: Value | None,
    running_var: Value | None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: Value | None = None,
    relu: bool = False,
) -> Tensor:
    """Normalize each channel; formulas in ``ops.norm``.

    input (N,C), (N,C,L) or (N,C,H,W); running_mean, running_var, weight, bias (C,).  In training
    the statistics are the batch's, and running averages that are given become
    (1 - momentum) old + momentum new, with the unbiased variance; else they are used.  residual
    (as input) is added and relu applied afterwards, in the same pass over memory.
    Raises ArgError (one value per channel in training; eps, momentum out of range), ShapeError,
    DTypeError, ValueError (a running average that cannot be written).
    """
    if not 0 <= number("batch_norm", "momentum", momentum) <= 1:
        raise ArgError(f"batch_norm: momentum must be in [0, 1], got {momentum}")
    operand("batch_norm", "x", input)
    floats("batch_norm", "x", input.data if isinstance(input, Tensor) else input)
    mean = running(input, "running_mean", running_mean, write=training)
    var = running(input, "running_var", running_var, write=training)
    lines = input.ndim == 3
    x, extra = input, residual
    if lines:  # (N, C, L) is (N, C, L, 1)
        x = input.reshape((*input.shape, 1))
        extra = None if residual is None else residual.reshape((*residual.shape, 1))
    if training:
        y, new_mean, new_var = BatchNorm.apply.full(x, weight, bias, extra, eps=eps, relu=relu)
        if not recomputing():
            average(running_mean, mean, new_mean, momentum)
            average(running_var, var, unbiased(new_var, input), momentum)
    else:
        if mean is None or var is None:
            raise ArgError(
                "batch_norm: running_mean and running_var are needed when training=False; "
                "pass both, or training=True"
            )
        y = BatchNormInference.apply(x, mean, var, weight, bias, extra, eps=eps, relu=relu)
    return y.reshape(input.shape) if lines else y


def conv2d_batch_norm(
    input: Value,
    weight: Value,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    gamma: Value | None = None,
    beta: Value | None = None,
    stride: IntOrPair = 1,
    padding: Padding | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Value | None = None,
    relu: bool = False,
) -> Tensor:
    """``batch_norm(conv2d(..), training=True)``, one pass over memory less (``ops.conv_fused``).

    input (N,C,H,W), weight (K,C/groups,R,S), the others (K,) or None, residual as the result.
    Raises what the two raise.
    """
    if not 0 <= number("batch_norm", "momentum", momentum) <= 1:
        raise ArgError(f"batch_norm: momentum must be in [0, 1], got {momentum}")
    how = geometry("conv2d", weight, stride, padding, dilation)
    mean = running(weight, "running_mean", running_mean, write=True, axis=0)
    var = running(weight, "running_var", running_var, write=True, axis=0)
    z, *moments = Conv2dMoments.apply.full(input, weight, bias, groups=groups, **how)
    y, new_mean, new_var = BatchNorm.apply.full(
        z, gamma, beta, residual, eps=eps, relu=relu, moments=tuple(moments)
    )
    if not recomputing():
        average(running_mean, mean, new_mean, momentum)
        average(running_var, var, unbiased(new_var, z), momentum)
    return y


def running(
    input: Value, name: str, buffer: Value | None, *, write: bool, axis: int = 1
) -> Array | None:
    """The array of a running average that fits input's axis and, if needed, can be written."""
    if buffer is None:
        return None
    array: Any = buffer.data if isinstance(buffer, Tensor) else buffer
    channels = input.shape[axis : axis + 1]
    if not isinstance(array, np.ndarray) or array.dtype != input.dtype:
        kind = getattr(array, "dtype", type(array).__name__)
        raise DTypeError(f"batch_norm: {name} is {kind} but x is {input.dtype}; cast with .astype")
    if array.shape != channels:
        raise ShapeError(
            f"batch_norm: {name} has shape {array.shape}, expected {channels} for x {input.shape}"
        )
    if write and not array.flags.writeable:
        raise ValueError(
            f"batch_norm: {name} is read-only, so training cannot update it; pass a copy, or None"
        )
    return array


def unbiased(var: Array, x: Value) -> Array:
    """The biased variance (C,) of x, as an estimate from a sample."""
    count = x.size // x.shape[1]
    return var * (count / (count - 1))


def average(buffer: Value | None, old: Array | None, new: Array, momentum: float) -> None:
    """old <- (1 - momentum) old + momentum new, in place, known to the tape."""
    if old is not None:
        old *= 1 - momentum
        old += (momentum * new).astype(old.dtype, copy=False)
        if isinstance(buffer, Tensor):
            buffer.mutated_()


def layer_norm(
    input: Value,
    normalized_shape: int | tuple[int, ...],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last axes, which have normalized_shape; formula in ``ops.norm_local``.

    weight, bias: normalized_shape or None.  Raises ShapeError, DTypeError, ArgError, TypeError.
    """
    shape = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    return LayerNorm.apply(input, weight, bias, shape=tuple(shape), eps=eps)


def group_norm(
    input: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize groups of channels of each sample; formula in ``ops.norm_local``.

    input (N,C,...), weight, bias (C,) or None.  Raises ShapeError, DTypeError, ArgError, TypeError.
    """
    return GroupNorm.apply(input, weight, bias, groups=num_groups, eps=eps)


def local_response_norm(
    input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by the energy of neighboring channels; formula in ``ops.norm_local``.

    input (N,C,L) or (N,C,H,W); alpha is divided by size, as in PyTorch.
    Raises ShapeError, DTypeError, ArgError, TypeError.
    """
    operand("local_response_norm", "x", input)
    if input.ndim != 3:
        return LocalResponseNorm.apply(input, size=size, alpha=alpha, beta=beta, k=k)
    x = input.reshape((*input.shape, 1))
    y = LocalResponseNorm.apply(x, size=size, alpha=alpha, beta=beta, k=k)
    return y.reshape(input.shape)
