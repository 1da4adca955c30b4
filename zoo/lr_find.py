"""Short trainings that answer a question: which learning rate, does it start, can it learn at all?

Design: functions that train a net for some steps on batches and return the losses; they change the
net and nothing else.  ``lr_find`` is the range test of Smith 2017 ("Cyclical learning rates for
training neural networks", section 3.3): the rate grows by a constant factor each step, and the loss
tells where learning begins and where it breaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad import nn, optim
from minigrad.errors import ArgError

Array = NDArray[Any]
Loss = Callable[[Any, Any], Any]
SMOOTH = 0.9  # decay of the mean of losses
BROKEN = 3.0  # times the smallest smoothed loss
RISE = 1.5  # of the loss in a rehearsal


@dataclass(frozen=True)
class Found:
    """Learning rates and the smoothed losses that training had at them."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def lowest(self) -> int:
        """The step with the smallest loss; behind it the loss rises."""
        return int(np.argmin(self.losses))

    @property
    def steepest(self) -> int:
        """The step around which the loss falls fastest per factor of the rate, before the lowest.

        A fall is measured over a fifth of all steps: from one step to the next it says more about
        the batch than about the rate.
        """
        losses = np.array(self.losses[: self.lowest + 1])
        reach = min(max(1, len(self.losses) // 10), (len(losses) - 1) // 2)
        if reach < 1:
            return 0
        falls = losses[2 * reach :] - losses[: -2 * reach]
        return reach + int(np.argmin(falls))

    @property
    def fell(self) -> bool:
        """Whether the loss fell at any rate by more than a twentieth."""
        return min(self.losses) < 0.95 * self.losses[0]


def one_step(net: nn.Module, optimizer: Any, loss_of: Loss, images: Any, labels: Any) -> float:
    """A step of training; returns the loss before it."""
    loss = loss_of(net(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


def set_rate(optimizer: Any, lr: float, bases: list[float]) -> None:
    """Give every group its share of a learning rate."""
    for group, base in zip(optimizer.param_groups, bases, strict=True):
        group["lr"] = lr * base / bases[0]


def lr_find(
    net: nn.Module, optimizer: Any, loss_of: Loss, batches: Iterable[tuple[Any, Any]],
    *, low: float = 1e-6, high: float = 10.0, steps: int = 100,
) -> Found:  # fmt: skip
    """Train while the rate grows from low to high; stops where the loss breaks.

    batches: repeated as often as needed. Raises ArgError for low >= high or fewer than 10 steps.
    """
    if not (0 < low < high and math.isfinite(high)):
        raise ArgError(f"--from {low:g} --to {high:g}: needs 0 < from < to")
    if steps < 10:
        raise ArgError(f"--steps {steps}: must be >= 10")
    bases = [group["lr"] for group in optimizer.param_groups]
    net.train()
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for k, (images, labels) in zip(range(steps), cycle_of(batches), strict=False):
        lr = low * (high / low) ** (k / (steps - 1))
        set_rate(optimizer, lr, bases)
        loss = one_step(net, optimizer, loss_of, images, labels)
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        smooth = mean / (1 - SMOOTH ** (k + 1))
        if not math.isfinite(smooth) or (losses and smooth > BROKEN * min(losses)):
            break
        rates.append(lr)
        losses.append(smooth)
    if not losses:
        raise ArgError(f"--from {low:g}: the loss is not finite at once; take a smaller one")
    return Found(tuple(rates), tuple(losses))


def cycle_of(batches: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    """Batches over and over; a loader shuffles anew each time, a list stays as it is."""
    if isinstance(batches, list):
        yield from cycle(batches)
    while True:
        yield from batches


def rehearse(
    net: nn.Module, optimizer: Any, loss_of: Loss, batches: Iterable[tuple[Any, Any]], steps: int
) -> list[float]:
    """Losses of the first steps, the rate rising to the optimizer's own; ends where one is not
    finite."""
    bases = [group["lr"] for group in optimizer.param_groups]
    net.train()
    losses: list[float] = []
    for k, (images, labels) in zip(range(steps), cycle_of(batches), strict=False):
        set_rate(optimizer, bases[0] * (k + 1) / steps, bases)
        losses.append(one_step(net, optimizer, loss_of, images, labels))
        if not math.isfinite(losses[-1]):
            break
    for group, base in zip(optimizer.param_groups, bases, strict=True):
        group["lr"] = base
    return losses


def rehearsal_verdict(losses: list[float], chance: float, lr: float) -> str | None:
    """A sentence, if the loss broke or rose in a rehearsal."""
    if not math.isfinite(losses[-1]):
        return f"the loss is {losses[-1]} after {len(losses)} steps at up to --lr {lr:g}; {SMALLER}"
    end = float(np.mean(losses[-5:]))
    if end > RISE * max(losses[0], chance):
        return (
            f"the loss rises from {losses[0]:.3g} to {end:.3g} in {len(losses)} steps at up to "
            f"--lr {lr:g}; {SMALLER}"
        )
    return None


SMALLER = "take a smaller --lr (python -m zoo lr-find)"


@dataclass(frozen=True)
class Memory:
    """How well a net learned one batch by heart: steps, last loss, accuracy on the batch."""

    steps: int
    loss: float
    accuracy: float


def overfit_one_batch(
    net: nn.Module, loss_of: Loss, images: Any, labels: Any, *, steps: int = 200, lr: float = 1e-3
) -> Memory:
    """Train on one batch, by Adam, until all its labels are right and the loss is small.

    A net that cannot do this has an error that no data or schedule will mend: in its layers, its
    loss, its start, or the labels. Dropout stays on.
    """
    adam = optim.Adam(list(net.parameters()), lr=lr)
    net.train()
    loss, accuracy, done = math.nan, 0.0, 0
    for done in range(1, steps + 1):  # noqa: B007
        output = net(images)
        logits = output[0] if isinstance(output, tuple) else output
        value = loss_of(output, labels)
        loss = float(value.item())
        accuracy = float((logits.numpy().argmax(axis=1) == labels.numpy()).mean())
        if not math.isfinite(loss) or (accuracy == 1.0 and loss < 0.1):
            break
        adam.zero_grad()
        value.backward()
        adam.step()
    return Memory(done, loss, accuracy)
