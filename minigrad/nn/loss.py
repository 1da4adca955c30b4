"""Losses as modules; the functions are in `minigrad.functional`.

Design: a loss compares a prediction with a target and reduces by `reduction`: "mean" (default),
"sum" or "none". Class labels are int64 (N,); scores x are (N, K). Names and arguments are
PyTorch's.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad.errors import ArgError
from minigrad.nn.module import Module
from minigrad.ops.geometry import integer, number
from minigrad.tensor import Tensor


class _Loss(Module):
    """Holds the reduction."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ArgError(
                f"{type(self).__name__}: reduction must be 'mean', 'sum' or 'none', "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The reduction where it is not the mean."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class _ClassLoss(_Loss):
    """Holds one weight per class, too."""

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight, persistent=weight is not None)
        self.ignore_index = integer(type(self).__name__, "ignore_index", ignore_index, -(2**63))


class CrossEntropyLoss(_ClassLoss):
    """Softmax and negative log-likelihood of the label: scores x (N, K), labels (N,) or
    probabilities (N, K)."""

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing)
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ArgError(
                f"CrossEntropyLoss: label_smoothing must lie between 0 and 1, got {label_smoothing}"
            )

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or (N,) without reduction."""
        return F.cross_entropy(
            x,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of the label: log-probabilities x (N, K), labels (N,)."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or (N,) without reduction."""
        return F.nll_loss(
            x, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(_Loss):
    """(x - target)^2; equal shapes."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or x's shape without reduction."""
        return F.mse_loss(x, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|x - target|; equal shapes."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or x's shape without reduction."""
        return F.l1_loss(x, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta/2, d = x - target. Source: Girshick 2015,
    equation 3."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = number("SmoothL1Loss", "beta", beta)
        if not self.beta >= 0.0:
            raise ArgError(f"SmoothL1Loss: beta must be 0 or more, got {beta}")

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or x's shape without reduction."""
        return F.smooth_l1_loss(x, target, reduction=self.reduction, beta=self.beta)


class BCEWithLogitsLoss(_Loss):
    """-(t log s(x) + (1 - t) log(1 - s(x))), s the sigmoid, computed without overflow; equal
    shapes."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scalar, or x's shape without reduction."""
        return F.binary_cross_entropy_with_logits(
            x, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
