"""ReduceLROnPlateau: lower the rate when a measured quantity stops getting better.

Design: the one schedule that depends on results, so it keeps what it has seen; all of it is in
`state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minigrad.errors import ArgError, CheckpointError
from minigrad.ops.geometry import integer, number
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedules import per_group

STATE = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class ReduceLROnPlateau:
    """lr = max(factor lr, min_lr) after more than `patience` epochs in a row that were not better
    than the best.

    Better means, with mode "min": value < best (1 - threshold), or best - threshold with
    threshold_mode "abs" (mode "max" mirrors both). For `cooldown` epochs after a reduction none
    counts as bad. NaN is never better. Reductions smaller than `eps` are left out. Names and
    results are PyTorch's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"ReduceLROnPlateau: expected an Optimizer, got {type(optimizer).__name__}"
            )
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgError(
                "ReduceLROnPlateau: mode must be 'min' or 'max' and threshold_mode 'rel' or 'abs', "
                f"got {mode!r} and {threshold_mode!r}"
            )
        self.factor = number("ReduceLROnPlateau", "factor", factor)
        if not 0.0 <= self.factor < 1.0:
            raise ArgError(f"ReduceLROnPlateau: factor must be less than 1, got {factor}")
        self.optimizer, self.mode, self.threshold_mode = optimizer, mode, threshold_mode
        self.patience = integer("ReduceLROnPlateau", "patience", patience, 0)
        self.cooldown = integer("ReduceLROnPlateau", "cooldown", cooldown, 0)
        self.threshold = number("ReduceLROnPlateau", "threshold", threshold)
        self.eps = number("ReduceLROnPlateau", "eps", eps)
        self.min_lrs = [
            number("ReduceLROnPlateau", "min_lr", lr)
            for lr in per_group("ReduceLROnPlateau", min_lr, len(optimizer.param_groups))
        ]
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Take the epoch's value (a number, or a Tensor of one element) into account."""
        value = float(metrics)
        self.last_epoch += 1
        if self.is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def is_better(self, value: float) -> bool:
        """Whether `value` beats the best so far by the threshold."""
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            goal = self.best * (1.0 + sign * self.threshold)
        else:
            goal = self.best + sign * self.threshold
        return value > goal if self.mode == "max" else value < goal

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lr = max(group["lr"] * self.factor, least)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """The rate of every group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The best value and the counters."""
        return {name: getattr(self, name) for name in STATE}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what `load_state_dict` would raise, change nothing."""
        if not isinstance(state, Mapping) or state.keys() != set(STATE):
            raise CheckpointError(
                f"ReduceLROnPlateau: this is not its state; expected {', '.join(STATE)}"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises CheckpointError, changing nothing, where it does
        not fit."""
        self.check_state_dict(state)
        for name in STATE:
            setattr(self, name, state[name])
