"""Small data and a small training loop, shared by the experiments that train.

Design: images are brought to 8, 16 or 32 pixels by zero padding and means over squares, so that a
run takes seconds; the loop is SGD with momentum, crops and flips, and a learning rate that is
divided by ten at given parts of the run, as in the papers.  The long way, with checkpoints, is
``zoo.trainer``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.data import ArrayDataset, Compose, DataLoader, RandomCrop, RandomHorizontalFlip
from minigrad.errors import ArgError

from ..datasets import get_dataset
from .framework import Settings

Array = NDArray[Any]
EVAL_BATCH = 500
TESTS = 2000  # test images at most


@dataclass(frozen=True)
class Images:
    """Training and test images (N, C, side, side), mean 0, deviation 1 a channel; labels (N,)."""

    name: str
    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Of one image."""
        return int(self.train_x.shape[1])


def pooled(images: Array, side: int) -> Array:
    """uint8 (N, H, W[, C]) as float32 (N, C, side, side): zeros around, then means over squares.

    Raises ArgError for images smaller than `side`.
    """
    x = images if images.ndim == 4 else images[..., None]
    n, h, w, c = x.shape
    step = -(-max(h, w) // side)
    if max(h, w) < side - side // 4:
        raise ArgError(f"--data: images of {h}x{w} are too small for {side}x{side}")
    out = np.zeros((n, side * step, side * step, c), np.float32)
    top, left = (side * step - h) // 2, (side * step - w) // 2
    out[:, top : top + h, left : left + w] = x
    out = out.reshape(n, side, step, side, step, c).mean(axis=(2, 4)) / 255
    return np.ascontiguousarray(out).transpose(0, 3, 1, 2)


def images(settings: Settings, side: int, count: int | None = None) -> Images:
    """The data set of the settings at `side` x `side` pixels, `count` images to train on.

    Which images does not depend on the seed. Raises ArgError and what ``get_dataset`` raises.
    """
    train, test, info = get_dataset(settings.data, size=32)
    rng = np.random.default_rng(0)
    parts = []
    for which, most in ((train, count), (test, TESTS)):
        whole = which if isinstance(which, ArrayDataset) else which.load()
        x, y = whole.arrays
        chosen = np.sort(rng.permutation(len(x))[: len(x) if most is None else most])
        if x.dtype != np.uint8:
            raise ArgError(f"--data {settings.data}: experiments take uint8 images, not {x.dtype}")
        parts.append((pooled(x[chosen], side), np.asarray(y[chosen], np.int64)))
    (x, y), (test_x, test_y) = parts
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    std = x.std(axis=(0, 2, 3), keepdims=True) + 1e-6
    return Images(info.name, (x - mean) / std, y, (test_x - mean) / std, test_y, info.classes)


@dataclass(frozen=True)
class Recipe:
    """How to train. drops: at which parts of the run the learning rate is divided by ten."""

    steps: int
    lr: float = 0.05
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drops: tuple[float, ...] = (2 / 3,)
    crop: int = 0  # pixels of padding
    window: int | None = None  # side of a random window, where it is not that of the image
    flip: bool = True


def batches(data: Images, recipe: Recipe, seed: int) -> Iterator[tuple[Any, Any]]:
    """Epoch after epoch of shuffled, augmented batches."""
    side = recipe.window or data.train_x.shape[2]
    cropped = recipe.crop or recipe.window
    changes: list[Any] = [RandomCrop(side, recipe.crop)] if cropped else []
    changes += [RandomHorizontalFlip()] if recipe.flip else []
    loader = DataLoader(
        ArrayDataset(data.train_x, data.train_y), recipe.batch_size, shuffle=True, drop_last=True,
        seed=seed, transform=Compose(changes) if changes else None,
    )  # fmt: skip
    while True:
        yield from loader


def fit(
    net: nn.Module,
    data: Images,
    recipe: Recipe,
    seed: int,
    loss_of: Callable[[Any, Any], Any] = F.cross_entropy,
    stop: Callable[[int, float], bool] | None = None,
) -> list[float]:
    """Train; returns the loss of every step.

    It ends early where ``stop(step, loss)`` says so, and where the loss is not finite.
    """
    sgd = optim.SGD(
        [p for p in net.parameters() if p.requires_grad], lr=recipe.lr, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    marks = [int(part * recipe.steps) for part in recipe.drops]
    schedule = optim.lr_scheduler.MultiStepLR(sgd, marks, gamma=0.1)
    losses: list[float] = []
    net.train()
    for step, (x, y) in enumerate(batches(data, recipe, seed)):
        if step == recipe.steps:
            break
        loss = loss_of(net(x), y)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or (stop is not None and stop(step, losses[-1])):
            break
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        schedule.step()
    return losses


def smooth(losses: list[float], keep: float = 0.98) -> list[float]:
    """The exponential moving average, corrected for its start."""
    average, weight, out = 0.0, 0.0, []
    for loss in losses:
        average = keep * average + (1 - keep) * loss
        weight = keep * weight + (1 - keep)
        out.append(average / weight)
    return out


def logits(net: Callable[[Any], Any], x: Array) -> Array:
    """What a net says about images (N, C, H, W), in blocks, without recording: (N, classes)."""
    with mg.no_grad():
        parts = [
            net(mg.from_numpy(x[k : k + EVAL_BATCH])).numpy() for k in range(0, len(x), EVAL_BATCH)
        ]
    return np.concatenate(parts)


def error(scores: Array, labels: Array) -> float:
    """The part of wrong answers, in percent."""
    return float((scores.argmax(axis=1) != labels).mean() * 100)


def errors(net: nn.Module, data: Images) -> tuple[float, float]:
    """(training error, test error) in percent, in evaluation mode; leaves the net in training."""
    net.eval()
    found = (
        error(logits(net, data.train_x), data.train_y),
        error(logits(net, data.test_x), data.test_y),
    )
    net.train()
    return found
