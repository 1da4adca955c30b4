"""Why does it not learn? Statistics of every layer, and sentences about what they mean.

Design: ``measure`` runs one batch forward and backward and notes, for each convolution and linear
layer, what comes out, which units are dead, and how large the gradient is beside the weights; it
leaves the net, its statistics and the random generator as they were.  ``verdicts`` turns numbers
into sentences; thresholds are far from what the zoo's own nets show (the tests hold both sides).
``Watch`` and ``why_not_finite`` are what training asks while it runs.

    out mean, std   of the layer's output (ConvReLU: after its ReLU) over batch and pixels
    dead            share of its maps that are 0 after the ReLU for every image and pixel
    |g|, |w|        norms of the weight's gradient and of the weight
    step            lr |g| / |w|: how much one step changes the weights; about 1e-3 is usual
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad import nn
from minigrad.data import ArrayDataset
from minigrad.errors import GraphError

Array = NDArray[Any]
Loss = Callable[[Any, Any], Any]
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm)
STUCK = 200  # steps at the loss of guessing before training says so
NEAR = 0.01  # of the loss of guessing
SHRUNK, GROWN = 1e-3, 1e3  # deviation of an output beside the first layer's, without normalization
SPREAD = 1e6  # largest over smallest |g| / |w| of two layers
DEAD = 0.6  # of a layer's maps
FAR_STEP, TINY_STEP = 2.0, 1e-7  # median lr |g| / |w|
FIRST_LOSS = 5.0  # times the loss of guessing
FEW = 16  # images: with fewer, a unit of a linear layer may be 0 for all of them by chance


@dataclass
class Layer:
    """What one weighted layer did on a batch."""

    name: str
    maps: int
    mean: float = math.nan
    std: float = math.nan
    dead: float | None = None  # None: no ReLU follows
    gradient: float = math.nan
    weight: float = math.nan
    constant: bool = False  # all weights are equal

    def step(self, lr: float) -> float:
        """lr |g| / |w|; infinite for weights that are 0 and have a gradient."""
        if self.gradient == 0:
            return 0.0
        return lr * self.gradient / self.weight if self.weight else math.inf


@dataclass
class Report:
    """A batch: its loss, the loss of guessing, the layers in the order in which they ran."""

    loss: float
    chance: float
    normalized: bool
    layers: list[Layer] = field(default_factory=list)


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """``with unchanged(net):`` afterwards running statistics and random numbers are as before;
    gradients are gone."""
    buffers = {name: b.numpy().copy() for name, b in net.named_buffers()}
    random = mg.default_generator.get_state()
    try:
        yield
    finally:
        net.load_state_dict(buffers, strict=False)
        mg.default_generator.set_state(random)
        net.zero_grad()


class Observer:
    """Forward hooks that fill Layers: a layer's own output, then the first ReLU behind it."""

    def __init__(self, net: nn.Module) -> None:
        self.layers: dict[str, Layer] = {}
        self.current: Layer | None = None
        self.removers = []
        for name, module in net.named_modules():
            if not isinstance(module, nn.Dropout):
                self.removers.append(module.register_forward_hook(self.hook(name)))

    def hook(self, name: str) -> Any:
        """The hook of a module."""

        def note(module: Any, inputs: Any, out: Any) -> None:
            if not isinstance(out, mg.Tensor):
                return
            y = out.numpy()
            if isinstance(module, nn.Conv2d | nn.Linear):
                self.current = self.layers.setdefault(name, Layer(name, y.shape[1]))
                self.current.mean = float(y.mean(dtype=np.float64))
                self.current.std = float(y.std(dtype=np.float64))
            if self.may_rectify(name, module):
                self.rectified(y)

        return note

    def may_rectify(self, name: str, module: Any) -> bool:
        """Whether a module's output may be the ReLU of the layer that ran last: a ReLU, a norm with
        its own, a subclass of the layer (ConvReLU), or a module around the layer."""
        if self.current is None or type(module) in (nn.Conv2d, nn.Linear):
            return False
        kinds = (nn.ReLU, nn.ReLU6, nn.Conv2d, nn.Linear, *NORMS)
        around = f"{name}." if name else ""
        return isinstance(module, kinds) or self.current.name.startswith(around)

    def rectified(self, y: Array) -> None:
        """Count dead maps, if this is the ReLU of the layer that ran last."""
        layer = self.current
        if layer is None or layer.dead is not None or y.ndim < 2 or y.shape[1] != layer.maps:
            return
        if y.ndim == 2 and len(y) < FEW:
            return
        if y.min() >= 0 and (y == 0).any():
            live = (y != 0).any(axis=tuple(k for k in range(y.ndim) if k != 1))
            layer.dead = float(1 - live.mean())

    def remove(self) -> None:
        """Take the hooks away."""
        for remove in self.removers:
            remove()


def measure(
    net: nn.Module, loss_of: Loss, images: Any, labels: Any, chance: float | None = None
) -> Report:
    """Forward and backward of one batch in training mode; the net stays as it is.

    loss_of(output, labels) gives the loss; chance: the loss of guessing, ln(classes) by default.
    """
    observer, mode = Observer(net), net.training
    try:
        with unchanged(net):
            net.train()
            output = net(images)
            loss = loss_of(output, labels)
            net.zero_grad()
            loss.backward()
            for name, module in net.named_modules():
                layer = observer.layers.get(name)
                if isinstance(module, nn.Conv2d | nn.Linear) and layer is not None:
                    w, g = module.weight.numpy(), module.weight.grad
                    layer.weight = float(np.linalg.norm(w.astype(np.float64)))
                    layer.constant = w.size > 1 and bool((w == w.flat[0]).all())
                    if g is not None:
                        layer.gradient = float(np.linalg.norm(g.numpy().astype(np.float64)))
    finally:
        observer.remove()
        net.train(mode)
    logits = output[0] if isinstance(output, tuple) else output
    normalized = any(isinstance(m, NORMS) for m in net.modules())
    guess = math.log(logits.shape[1]) if chance is None else chance
    return Report(loss.item(), guess, normalized, list(observer.layers.values()))


def verdicts(report: Report, lr: float | None = None, *, fresh: bool = True) -> list[str]:
    """What is suspicious, a sentence each; empty for a healthy net. Causes come before what they
    cause: the first check that finds something is the last that is asked.

    lr: the learning rate, to judge how far a step goes. fresh: the net has not been trained, so
    the first loss should be that of guessing.
    """
    for check in (constant_weights, scales, dead_units, gradients):
        if found := check(report):
            return found
    if fresh and report.loss > FIRST_LOSS * report.chance:
        return [
            f"the first loss is {report.loss:.3g}, that of guessing {report.chance:.3g}: the last "
            "layer puts out numbers that are too large; let its weights start smaller"
        ]
    return [] if lr is None else step_size(report, lr)


def constant_weights(report: Report) -> list[str]:
    """Layers, except the last, whose weights are all equal."""
    same = [layer.name for layer in report.layers[:-1] if layer.constant]
    if not same:
        return []
    return [
        f"{listed(same)}: all weights are equal, so all maps of a layer are and stay the same; "
        "start them at random (nn.init.kaiming_normal_)"
    ]


def scales(report: Report) -> list[str]:
    """Outputs that are not numbers, or that shrink or grow from layer to layer."""
    bad = [layer.name for layer in report.layers if not math.isfinite(layer.std)]
    if bad:
        return [f"layer {bad[0]}: its output is not finite; start smaller, or normalize the images"]
    moving = [layer for layer in report.layers if layer.std > 0 and not layer.constant]
    if report.normalized or len(moving) < 2:
        return []
    first, last = moving[0], report.layers[-1]  # a last layer may start small
    low = min((layer for layer in moving if layer is not last), key=lambda layer: layer.std)
    high = max(moving, key=lambda layer: layer.std)
    told = "outputs {} from {:.2g} ({}) to {:.2g} ({}): the weights start too {}, and no batch "
    told += "norm corrects it; use nn.init.kaiming_normal_, or batch norm"
    if low.std < SHRUNK * first.std:
        return [told.format("shrink", first.std, first.name, low.std, low.name, "small")]
    if high.std > GROWN * first.std:
        return [told.format("grow", first.std, first.name, high.std, high.name, "large")]
    return []


def dead_units(report: Report) -> list[str]:
    """Layers most of whose ReLUs never fire."""
    dead = [layer for layer in report.layers if (layer.dead or 0) > DEAD]
    if not dead:
        return []
    worst = max(dead, key=lambda layer: layer.dead or 0)
    return [
        f"{listed([layer.name for layer in dead])}: dead ReLUs ({worst.dead:.0%} of the maps of "
        f"{worst.name} are 0 for every image) get no gradient and stay dead; start biases at 0 or "
        "above, and take a smaller --lr if training has killed them"
    ]


def gradients(report: Report) -> list[str]:
    """Layers that hardly learn beside others."""
    speeds = [(layer.step(1.0), layer) for layer in report.layers if layer.gradient > 0]
    if not speeds:
        return ["no weight has a gradient: the loss does not depend on them"]
    (slow, low), (fast, high) = (f(speeds, key=lambda item: item[0]) for f in (min, max))
    if fast <= SPREAD * slow or math.isinf(fast):
        return []
    order = [layer.name for layer in report.layers]
    kind = "vanishes" if order.index(low.name) < order.index(high.name) else "explodes"
    return [
        f"the gradient {kind} toward the input: beside its weights that of {low.name} is "
        f"{fast / slow:.1g} times smaller than that of {high.name}; use shortcuts, batch norm or "
        "nn.init.kaiming_normal_"
    ]


def step_size(report: Report, lr: float) -> list[str]:
    """A learning rate at which one step is too far, or does nothing."""
    steps = sorted(layer.step(lr) for layer in report.layers if layer.gradient > 0)
    if not steps:
        return []
    middle = steps[len(steps) // 2]
    told = f"one step at --lr {lr:g} changes the weights by {middle:.1g} of their size"
    if middle > FAR_STEP:
        return [f"{told}: too far; take a smaller --lr (python -m zoo lr-find)"]
    if middle < TINY_STEP:
        return [f"{told}: next to nothing; take a larger --lr (python -m zoo lr-find)"]
    return []


def listed(names: list[str]) -> str:
    """A few names of layers and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"layer{'s' if names[1:] else ''} {', '.join(names[:3])}{more}"


def guessing(train: Any, classes: int) -> float:
    """The loss of a net that knows how often each class comes and nothing else: the entropy of the
    labels, ln(classes) where all are equally frequent."""
    if isinstance(train, ArrayDataset):
        shares = np.bincount(train.arrays[-1], minlength=classes) / max(len(train), 1)
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    return math.log(classes)


class Watch:
    """Notices, once in a run, a loss that stays at that of guessing, and says why.

    train: the training images; loss_of, optimizer: as training uses them.
    """

    def __init__(self, train: Any, classes: int, loss_of: Loss, optimizer: Any) -> None:
        self.classes, self.chance = classes, guessing(train, classes)
        self.loss_of, self.optimizer = loss_of, optimizer
        self.losses: deque[float] = deque(maxlen=STUCK)
        self.told = False

    def after_batch(self, loss: float, net: nn.Module, images: Any, labels: Any) -> str | None:
        """What there is to say after a step. The net stays as it is."""
        self.losses.append(loss)
        if self.told or len(self.losses) < STUCK:
            return None
        if abs(float(np.mean(self.losses)) - self.chance) > NEAR * self.chance:
            return None
        self.told = True
        rate = self.optimizer.param_groups[0]["lr"]
        report = measure(net, self.loss_of, images, labels, self.chance)
        reasons = verdicts(report, rate, fresh=False) or [
            f"no layer looks wrong: try another --lr than {rate:.2g} (python -m zoo lr-find), a "
            "larger start of the weights, or batch norm"
        ]
        return (
            f"the loss has stayed at {self.chance:.3f} for {STUCK} steps, which is what guessing "
            f"among {self.classes} classes gives (ln {self.classes} = "
            f"{math.log(self.classes):.3f}): {'; '.join(reasons)}"
        )


def why_not_finite(net: nn.Module, loss_of: Loss, images: Any, labels: Any, lr: float) -> str:
    """Where a loss of NaN or infinity on this batch comes from."""
    if not np.isfinite(images.numpy()).all():
        return "the images themselves hold NaN or infinity; look at the data"
    for name, p in net.named_parameters():
        if not np.isfinite(p.numpy()).all():
            return (
                f"{name} holds NaN or infinity already, so an earlier step went too far; take a "
                f"smaller --lr than {lr:g} (python -m zoo lr-find)"
            )
    try:
        with unchanged(net), mg.anomaly():
            loss_of(net(images), labels).backward()
    except GraphError as born:
        return f"{born}; take a smaller --lr than {lr:g}"
    report = measure(net, loss_of, images, labels)
    grown = [layer for layer in report.layers if not math.isfinite(layer.std)]
    where = f"the output of {grown[0].name} is infinite" if grown else "the loss itself overflows"
    return f"{where}; take a smaller --lr than {lr:g}, or a smaller start of the weights"
