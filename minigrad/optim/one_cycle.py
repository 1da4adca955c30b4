"""OneCycleLR: up, down, and far down, one step a batch; the momentum moves the other way.

Design: the cycle is a list of phases, each an interpolation between two rates; `lr_at` finds the
phase. Values are PyTorch's. Source: Smith and Topin 2017, https://arxiv.org/abs/1708.07120.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from minigrad.errors import ArgError
from minigrad.ops.geometry import integer, number
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedules import LRScheduler, per_group


class Phase(NamedTuple):
    """From the end of the phase before to step `end`, rates and momenta go from begin to finish."""

    end: float
    lr_begin: str
    lr_finish: str
    momentum_begin: str
    momentum_finish: str


class OneCycleLR(LRScheduler):
    """lr rises from max_lr / div_factor to max_lr in the first pct_start of the steps, then falls
    to the start / final_div_factor.

    The length is total_steps, or epochs times steps_per_epoch; a step beyond it raises ArgError.
    `max_lr` is a number or one per group. With cycle_momentum, momentum (or beta1) goes from
    max_momentum to base_momentum and back. `three_phase` falls to the starting rate as fast as it
    rose, and only then further.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        *,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = integer("OneCycleLR", "epochs", epochs, 1) * integer(
                "OneCycleLR", "steps_per_epoch", steps_per_epoch, 1
            )
        self.total_steps = integer("OneCycleLR", "total_steps", total_steps, 1)
        if not 0.0 <= number("OneCycleLR", "pct_start", pct_start) <= 1.0:
            raise ArgError(f"OneCycleLR: pct_start must lie between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ArgError(
                f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}"
            )
        for name, divisor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not number("OneCycleLR", name, divisor) > 0.0:
                raise ArgError(f"OneCycleLR: {name} must be greater than 0, got {divisor}")
        self.anneal_strategy = anneal_strategy
        self.phases = _phases(self.total_steps, pct_start, three_phase=three_phase)
        self.momenta = {"low": base_momentum, "high": max_momentum}
        groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and any(not {"momentum", "betas"} & group.keys() for group in groups):
            raise ArgError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum; pass cycle_momentum=False"
            )
        peaks = [
            number("OneCycleLR", "max_lr", lr)
            for lr in per_group("OneCycleLR", max_lr, len(groups))
        ]
        self.rates = [
            {"start": lr / div_factor, "max": lr, "min": lr / div_factor / final_div_factor}
            for lr in peaks
        ]
        if last_epoch == -1:
            for group, rates in zip(groups, self.rates, strict=True):
                group["initial_lr"] = rates["start"]
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """The rate of a group at a step, counted from 0."""
        phase, reached = self._place(epoch)
        rates = self.rates[group]
        return self._between(rates[phase.lr_begin], rates[phase.lr_finish], reached)

    def set(self) -> None:
        """Set rates and, with cycle_momentum, momenta."""
        super().set()
        if not self.cycle_momentum:
            return
        phase, reached = self._place(self.last_epoch)
        momentum = self._between(
            self.momenta[phase.momentum_begin], self.momenta[phase.momentum_finish], reached
        )
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def step(self) -> None:
        """Move to the next step; ArgError behind the last, changing nothing."""
        if self.last_epoch + 1 > self.total_steps:  # a loop steps once after its last batch too
            raise ArgError(
                f"OneCycleLR: step {self.last_epoch + 2} of a cycle of {self.total_steps} steps"
            )
        super().step()

    def _place(self, step: int) -> tuple[Phase, float]:
        """The phase of a step and how much of it is over, 0 to 1."""
        start = 0.0
        for phase in self.phases[:-1]:
            if step <= phase.end:
                break
            start = phase.end
        else:
            phase = self.phases[-1]
        return phase, (step - start) / (phase.end - start) if phase.end != start else 1.0

    def _between(self, begin: float, finish: float, reached: float) -> float:
        if self.anneal_strategy == "linear":
            return begin + (finish - begin) * reached
        return finish + (begin - finish) / 2.0 * (math.cos(math.pi * reached) + 1)


def _phases(steps: int, pct_start: float, *, three_phase: bool) -> list[Phase]:
    top = float(pct_start * steps) - 1
    if three_phase:
        return [
            Phase(top, "start", "max", "high", "low"),
            Phase(float(2 * pct_start * steps) - 2, "max", "start", "low", "high"),
            Phase(steps - 1, "start", "min", "high", "high"),
        ]
    return [
        Phase(top, "start", "max", "high", "low"),
        Phase(steps - 1, "max", "min", "low", "high"),
    ]
