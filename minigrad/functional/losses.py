"""Losses under the names of torch.nn.functional.

Design: an op gives one number per row or element, ``reduced`` makes "none", "mean" or "sum" of it,
and images of labels (N,C,d1,..) become rows first.  Reductions and weights follow PyTorch, with two
differences: a mean over nothing raises instead of returning NaN, and elementwise losses do not
broadcast.  Everything after ``target`` and ``weight`` is given by name.  Next: ``nn``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgError, DTypeError, ShapeError
from ..ops.geometry import Array, floats, number, operand
from ..ops.loss import CrossEntropy, LogSoftmax, NllLoss, class_weights
from ..ops.loss_regression import (
    BinaryCrossEntropyWithLogits,
    L1Loss,
    MseLoss,
    SmoothL1Loss,
    check_same,
)
from ..tensor import Tensor

Value = Any  # a Tensor, or an ndarray: then a function only computes

REDUCTIONS = ("none", "mean", "sum")


def reduced(op: str, losses: Any, reduction: str, total: float) -> Tensor:
    """losses as they are, their sum, or their sum over total."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if total == 0:
        raise ArgError(
            f"{op}: reduction='mean' has nothing to average (no rows, every target equal to "
            f"ignore_index, or weights that sum to 0); use reduction='sum'"
        )
    return losses.sum() / total


def check_reduction(op: str, reduction: object) -> None:
    """reduction is one of the three words."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ArgError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def raw(value: Any) -> Any:
    """The array of a Tensor, or of a list of labels."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, (list, tuple, np.generic, int)):
        try:
            return np.asarray(value)
        except ValueError:
            raise DTypeError("loss: a list whose rows differ in length is no target") from None
    return value


def rows(op: str, x: Any) -> tuple[Any, tuple[int, ...]]:
    """x (C,), (N,C) or (N,C,d1,..) as rows (M,C), and the shape of one number per row."""
    operand(op, "x", x)
    if x.ndim == 0:
        raise ShapeError(f"{op}: x must be (C,), (N,C) or (N,C,d1,..), got a scalar")
    if x.ndim == 1:
        return x.reshape((1, x.shape[0])), ()
    if x.ndim == 2:
        return x, x.shape[:1]
    sizes = (x.shape[0], *x.shape[2:])
    last = x.transpose((0, *range(2, x.ndim), 1))  # (N, d1, .., C)
    return last.reshape((math.prod(sizes), x.shape[1])), sizes


def labels_of_rows(op: str, x: Any, target: Any, sizes: tuple[int, ...]) -> Array:
    """target, class indices of shape `sizes`, as (M,)."""
    labels = raw(target)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iub" and labels.shape == x.shape:
        raise DTypeError(
            f"{op}: target has x's shape {x.shape} but is {labels.dtype}: if it is one-hot, pass "
            f"target.argmax(axis=1), or .astype({x.dtype}) for probabilities"
        )
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        if labels.shape != sizes:
            raise ShapeError(f"{op}: x {x.shape} needs target of shape {sizes}, got {labels.shape}")
        return labels.reshape(-1)
    kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
    raise DTypeError(
        f"{op}: target holds class indices, which must be integers, got {kind}; cast with "
        f".astype(np.int64), or pass float probabilities of x's shape {x.shape}"
    )


def weight_of_rows(labels: Array, weight: Value | None, ignore_index: int) -> float:
    """The sum of the class weights of all rows that count: what "mean" divides by."""
    counted = labels != ignore_index
    if weight is None:
        return float(np.count_nonzero(counted))
    return float(raw(weight)[labels[counted]].sum())


def cross_entropy(
    input: Value,
    target: Value,
    weight: Value | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax and negative log likelihood in one; formula in ``ops.loss.CrossEntropy``.

    input: logits (C,), (N,C) or (N,C,d1,..); target: class indices, integers of input's shape
    without C, or probabilities, floats of input's shape; weight (C,).  "mean" divides by the
    weights of the rows that count (class indices) or by the number of rows (probabilities).
    Raises ArgError (label out of range, nothing to average), ShapeError, DTypeError.
    """
    op = "cross_entropy"
    check_reduction(op, reduction)
    x, sizes = rows(op, input)
    values = raw(target)
    if getattr(values, "dtype", np.dtype(bool)).kind == "f" and values.shape == input.shape:
        losses = soft_rows(input, target, weight, label_smoothing)
        return reduced(op, losses, reduction, math.prod(sizes))
    labels = labels_of_rows(op, input, target, sizes)
    losses = CrossEntropy.apply(
        x, labels, weight, ignore_index=ignore_index, label_smoothing=label_smoothing
    )
    total = weight_of_rows(labels, weight, ignore_index)
    losses = losses if len(sizes) == 1 else losses.reshape(sizes)
    return reduced(op, losses, reduction, total)


def soft_rows(x: Any, target: Any, weight: Any, label_smoothing: float) -> Any:
    """-sum_c weight_c q_c log softmax(x)_c along the class axis, q the smoothed target."""
    op, axis = "cross_entropy", min(1, x.ndim - 1)
    smoothing = number(op, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ArgError(f"{op}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if raw(target).dtype != x.dtype:
        raise DTypeError(
            f"{op}: x is {x.dtype} but target is {raw(target).dtype}; cast with .astype"
        )
    q = target
    if smoothing:
        q = target * (1 - smoothing) + smoothing / x.shape[axis]
    if weight is not None:
        class_weights(op, x.shape[axis], raw(weight))
        q = q * weight.reshape((-1, *(1,) * (x.ndim - axis - 1)))
    return -(LogSoftmax.apply(x, axis=axis) * q).sum(axis=axis)


def nll_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of labels; formula in ``ops.loss.NllLoss``.

    input: log probabilities (C,), (N,C) or (N,C,d1,..); target: integers of input's shape without
    C; weight (C,).  Raises as cross_entropy does.
    """
    check_reduction("nll_loss", reduction)
    x, sizes = rows("nll_loss", input)
    labels = labels_of_rows("nll_loss", input, target, sizes)
    losses = NllLoss.apply(x, labels, weight, ignore_index=ignore_index)
    total = weight_of_rows(labels, weight, ignore_index)
    return reduced("nll_loss", losses.reshape(sizes), reduction, total)


def mse_loss(input: Value, target: Value, *, reduction: str = "mean") -> Tensor:
    """(input - target)^2, reduced; shapes equal. Raises ShapeError, DTypeError, ArgError."""
    check_reduction("mse_loss", reduction)
    losses = MseLoss.apply(input, target)
    return reduced("mse_loss", losses, reduction, losses.size)


def l1_loss(input: Value, target: Value, *, reduction: str = "mean") -> Tensor:
    """|input - target|, reduced; shapes equal. Raises ShapeError, DTypeError, ArgError."""
    check_reduction("l1_loss", reduction)
    losses = L1Loss.apply(input, target)
    return reduced("l1_loss", losses, reduction, losses.size)


def smooth_l1_loss(
    input: Value, target: Value, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """A parabola within beta of 0 and |input - target| - beta/2 beyond, reduced; beta 0 is l1_loss.

    Shapes equal.  Raises ShapeError, DTypeError, ArgError.
    """
    check_reduction("smooth_l1_loss", reduction)
    if number("smooth_l1_loss", "beta", beta) == 0:
        losses = L1Loss.apply(input, target)
    else:
        losses = SmoothL1Loss.apply(input, target, beta=beta)
    return reduced("smooth_l1_loss", losses, reduction, losses.size)


def binary_cross_entropy_with_logits(
    input: Value,
    target: Value,
    weight: Value | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Value | None = None,
) -> Tensor:
    """-pos_weight y log s(x) - (1 - y) log(1 - s(x)), times weight, reduced; s the sigmoid.

    input, target: one shape; weight, pos_weight: broadcast to it.  Formula in
    ``ops.loss_regression``.  Raises ShapeError, DTypeError, ArgError.
    """
    op = "binary_cross_entropy_with_logits"
    check_reduction(op, reduction)
    if pos_weight is None:
        losses = BinaryCrossEntropyWithLogits.apply(input, target)
    else:
        check_same(op, raw(input), raw(target))
        ones = np.ones(input.shape, input.dtype)
        positive = BinaryCrossEntropyWithLogits.apply(input, ones)  # -log s(x)
        losses = (1 - target) * input + (1 + (pos_weight - 1) * target) * positive
    if weight is not None:
        floats(op, "weight", raw(weight))
        losses = losses * weight
    if losses.shape != input.shape:
        raise ShapeError(
            f"{op}: weight and pos_weight must broadcast to x's shape {input.shape}, "
            f"they give {losses.shape}"
        )
    return reduced(op, losses, reduction, losses.size)
