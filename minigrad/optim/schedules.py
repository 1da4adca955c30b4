"""Learning-rate schedules: functions of the epoch (or of the step, if you step every batch).

Design: but for ReduceLROnPlateau a schedule is a closed formula, lr = f(base_lr, epoch); nothing
accumulates, so a resumed run computes the same numbers. base_lr is the group's lr when its first
schedule was made ("initial_lr"). Values are PyTorch's for one schedule, or several in a
SequentialLR. Two schedules on one optimizer do not multiply (PyTorch's do): the later call wins;
use SequentialLR or LambdaLR. Next: `plateau.py`, `one_cycle.py`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minigrad.errors import ArgError, CheckpointError
from minigrad.ops.geometry import integer, number
from minigrad.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: a subclass says in `lr_at` what the rate is. The constructor sets the rate of
    epoch 0."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ArgError(
                    f"{type(self).__name__}: to continue at epoch {last_epoch}, group {i} needs "
                    "'initial_lr'; load the optimizer's state first"
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = integer(type(self).__name__, "last_epoch", last_epoch, -1) + 1
        self.set()

    def lr_at(self, epoch: int, group: int) -> float:
        """The learning rate of a parameter group in an epoch, counted from 0."""
        raise NotImplementedError

    def set(self) -> None:
        """Give every group its rate of the epoch that `last_epoch` names."""
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.lr_at(self.last_epoch, i)

    def step(self) -> None:
        """Move to the next epoch; call it after the optimizer's step."""
        self.last_epoch += 1
        self.set()

    def get_last_lr(self) -> list[float]:
        """The rate of every group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands (rates themselves are in the optimizer's state)."""
        return {"base_lrs": list(self.base_lrs), "last_epoch": self.last_epoch}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what `load_state_dict` would raise, change nothing."""
        own = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise CheckpointError(
                f"{type(self).__name__}: this is not its state; expected {', '.join(own)}"
            )
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise CheckpointError(
                f"{type(self).__name__}: the state is for {len(state['base_lrs'])} parameter "
                f"groups, the optimizer has {len(self.base_lrs)}"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises CheckpointError, changing nothing, where it does
        not fit."""
        self.check_state_dict(state)
        for key, value in state.items():
            setattr(self, key, list(value) if isinstance(value, list) else value)


def per_group(name: str, value: object, count: int) -> list[Any]:
    """One value per parameter group, from one value or a list of them."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ArgError(
            f"{name}: expected one value or {count} (one per parameter group), got {len(values)}"
        )
    return values


class LambdaLR(LRScheduler):
    """lr = base_lr fn(epoch); one function, or one per group. Functions are code: a checkpoint
    does not hold them."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = getattr(optimizer, "param_groups", [])
        self.lr_lambdas = per_group("LambdaLR", lr_lambda, len(groups))
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """base_lr fn(epoch)."""
        return self.base_lrs[group] * float(self.lr_lambdas[group](epoch))


class StepLR(LRScheduler):
    """lr = base_lr gamma^floor(epoch / step_size)."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = integer("StepLR", "step_size", step_size, 1)
        self.gamma = number("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """base_lr gamma^floor(epoch / step_size)."""
        return self.base_lrs[group] * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base_lr gamma^(number of milestones reached)."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(integer("MultiStepLR", "milestones", m, 0) for m in milestones)
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """base_lr gamma^(number of milestones <= epoch)."""
        return self.base_lrs[group] * self.gamma ** bisect.bisect_right(self.milestones, epoch)


class LinearLR(LRScheduler):
    """Warm-up: lr = base_lr times a factor that goes linearly from start_factor to end_factor in
    total_iters."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = number("LinearLR", "start_factor", start_factor)
        self.end_factor = number("LinearLR", "end_factor", end_factor)
        if not (0.0 < self.start_factor <= 1.0 and 0.0 <= self.end_factor <= 1.0):
            raise ArgError(
                "LinearLR: needs 0 < start_factor <= 1 and 0 <= end_factor <= 1, got "
                f"{start_factor} and {end_factor}"
            )
        self.total_iters = integer("LinearLR", "total_iters", total_iters, 1)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """base_lr (start + (end - start) min(epoch / total_iters, 1))."""
        reached = min(epoch, self.total_iters) / self.total_iters
        return self.base_lrs[group] * (
            self.start_factor + (self.end_factor - self.start_factor) * reached
        )


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base_lr at epoch 0 to eta_min at T_max (and back up after it).

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5, without
    restarts.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = integer("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, group: int) -> float:
        """eta_min + (base_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2."""
        return (
            self.eta_min
            + (self.base_lrs[group] - self.eta_min)
            * (1 + math.cos(math.pi * epoch / self.T_max))
            / 2
        )


class SequentialLR(LRScheduler):
    """One schedule after another: schedule i counts from 0 again at milestones[i - 1]."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.schedulers = list(schedulers)
        self.milestones = [integer("SequentialLR", "milestones", m, 0) for m in milestones]
        if not self.schedulers or len(self.schedulers) != len(self.milestones) + 1:
            raise ArgError(
                f"SequentialLR: {len(self.schedulers)} schedulers need {len(self.schedulers) - 1} "
                f"milestones, got {len(self.milestones)}"
            )
        if self.milestones != sorted(self.milestones):
            raise ArgError(f"SequentialLR: milestones must increase, got {self.milestones}")
        for i, schedule in enumerate(self.schedulers):
            if getattr(schedule, "optimizer", None) is not optimizer or not hasattr(
                schedule, "base_lrs"
            ):
                raise ArgError(
                    f"SequentialLR: schedulers[{i}] ({type(schedule).__name__}) is no schedule "
                    "by epochs of this optimizer"
                )
        super().__init__(optimizer, last_epoch)

    def set(self) -> None:
        """Let the schedule whose turn it is set the rates."""
        turn = bisect.bisect_right(self.milestones, self.last_epoch)
        schedule = self.schedulers[turn]
        schedule.last_epoch = self.last_epoch - (self.milestones[turn - 1] if turn else 0)
        schedule.set()

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence and each of its schedules stands."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what `load_state_dict` would raise, change nothing."""
        super().check_state_dict(state)
        if len(state["schedulers"]) != len(self.schedulers):
            raise CheckpointError(
                f"SequentialLR: the state is of {len(state['schedulers'])} schedules, "
                f"this has {len(self.schedulers)}"
            )
        for schedule, own in zip(self.schedulers, state["schedulers"], strict=True):
            schedule.check_state_dict(own)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises CheckpointError, changing nothing, where it does
        not fit."""
        self.check_state_dict(state)
        self.base_lrs, self.last_epoch = list(state["base_lrs"]), state["last_epoch"]
        for schedule, own in zip(self.schedulers, state["schedulers"], strict=True):
            schedule.load_state_dict(own)
