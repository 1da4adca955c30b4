"""How parameters move: groups of parameters, the learning rate's schedule, averages of weights.

Design: ``minigrad.optim`` has the rules; here is what the papers' recipes say on top of them, each
as an object with a state, so that a checkpoint can hold it.  One optimizer, SGD with momentum, as
in every recipe of the lecture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad import nn, optim
from minigrad.errors import CheckpointError
from minigrad.optim import lr_scheduler

from .config import TrainConfig
from .parts import weighted

WINDOW = 50  # batches whose mean error ends a warm-up


def make_optimizer(net: nn.Module, config: TrainConfig) -> optim.SGD:
    """SGD over all parameters; biases of convolutions and linear layers are a group of their own
    where their learning rate or decay differs (Caffe's definitions: lr_mult 2, decay_mult 0)."""
    groups: list[dict[str, Any]] = [{"params": list(net.parameters())}]
    if (config.bias_lr, config.bias_decay) != (1.0, 1.0):
        biases = [layer.bias for layer in weighted(net) if layer.bias is not None]
        known = {id(b) for b in biases}
        groups = [{"params": [p for p in net.parameters() if id(p) not in known]}]
        if biases:
            decay = config.weight_decay * config.bias_decay
            rate = config.lr * config.bias_lr
            groups.append({"params": biases, "lr": rate, "weight_decay": decay})
    return optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay,
        nesterov=config.nesterov and config.momentum > 0,
    )  # fmt: skip


class Schedule:
    """The learning rate of a run: a step after each batch, and after each epoch.

    total: batches of the run; per_epoch: batches of an epoch. The warm-up of He et al. 2015,
    section 4.2: a small rate until the training error (the mean of the last 50 batches) is below
    80 %, "then go back"; the schedule goes on counting meanwhile.
    """

    def __init__(
        self, config: TrainConfig, optimizer: optim.SGD, total: int, per_epoch: int
    ) -> None:
        self.config, self.optimizer = config, optimizer
        self.bases = [float(group["lr"]) for group in optimizer.param_groups]
        self.inner: Any = inner_schedule(config, optimizer, total, per_epoch)
        self.by_epoch = isinstance(self.inner, lr_scheduler.ReduceLROnPlateau)
        self.warming = config.warmup_lr is not None
        self.errors: list[float] = []
        self.warm()

    def warm(self) -> None:
        """Replace the schedule's rates by those of the warm-up, while it lasts."""
        if not self.warming or self.config.warmup_lr is None:
            return
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = self.config.warmup_lr * base / self.config.lr

    def after_batch(self, error: float) -> None:
        """error: share of wrong answers in the batch."""
        if self.warming:
            self.errors = [*self.errors, error][-WINDOW:]
            done = np.mean(self.errors) < self.config.warmup_error
            self.warming = not (done and len(self.errors) == WINDOW)
        if not self.by_epoch:
            self.inner.step()
        self.warm()

    def after_epoch(self, error: float) -> None:
        """error: that of the test (validation) set."""
        if self.by_epoch:
            self.inner.step(error)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands."""
        return {
            "inner": self.inner.state_dict(), "warming": self.warming, "errors": list(self.errors),
        }  # fmt: skip

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what ``load_state_dict`` would raise, change nothing."""
        if not isinstance(state, Mapping) or state.keys() != {"inner", "warming", "errors"}:
            raise CheckpointError("Schedule: this is not its state")
        self.inner.check_state_dict(state["inner"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state (rates themselves are in the optimizer's)."""
        self.check_state_dict(state)
        self.inner.load_state_dict(state["inner"])
        self.warming, self.errors = bool(state["warming"]), list(state["errors"])


def inner_schedule(config: TrainConfig, optimizer: optim.SGD, total: int, per_epoch: int) -> Any:
    """The schedule proper: one of ``minigrad.optim.lr_scheduler``."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if config.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(
            optimizer, rates, total_steps=total, pct_start=0.25, cycle_momentum=False
        )
    if config.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, "min", config.factor, config.patience,
            min_lr=[rate * config.factor**config.reductions for rate in rates], eps=0.0,
        )  # fmt: skip
    if config.schedule == "exponential":
        return lr_scheduler.StepLR(optimizer, config.every * per_epoch, config.factor)
    scale = per_epoch if config.unit == "epochs" else 1
    milestones = [m * scale for m in config.milestones]  # none: a constant rate
    return lr_scheduler.MultiStepLR(optimizer, milestones, config.factor)


class WeightAverage:
    """A running mean of all parameters and statistics: a += (1 - d) (w - a) after each step.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that the start is soon forgotten. GoogLeNet's
    "Polyak averaging" (Szegedy et al. 2014, section 6; Polyak and Juditsky 1992 take the plain mean
    of all steps).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.steps = net, decay, 0
        self.mean = {n: v.numpy().copy() for n, v in net.state_dict().items() if is_float(v)}

    def update(self) -> None:
        """Take the parameters after a step into account."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in self.net.state_dict().items():
            if name in self.mean:
                self.mean[name] += self.mean[name].dtype.type(1 - decay) * (
                    value.numpy() - self.mean[name]
                )
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """``with average.applied():`` the net has the averages for parameters."""
        own = {n: v.numpy().copy() for n, v in self.net.state_dict().items() if n in self.mean}
        self.net.load_state_dict(self.mean, strict=False)
        try:
            yield
        finally:
            self.net.load_state_dict(own, strict=False)

    def state_dict(self) -> dict[str, Any]:
        """The averages and the number of steps."""
        return {"mean": dict(self.mean), "steps": self.steps}

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise what ``load_state_dict`` would raise, change nothing."""
        if not isinstance(state, Mapping) or state.keys() != {"mean", "steps"}:
            raise CheckpointError("WeightAverage: this is not its state")
        shapes = {n: np.shape(a) for n, a in state["mean"].items()}
        if shapes != {n: a.shape for n, a in self.mean.items()}:
            raise CheckpointError("WeightAverage: the state is of another net")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.check_state_dict(state)
        self.mean = {n: np.array(a) for n, a in state["mean"].items()}
        self.steps = int(state["steps"])


def is_float(value: Any) -> bool:
    """Whether a Tensor holds floating-point numbers."""
    return bool(value.dtype.kind == "f")
