"""Training: the loop, its checkpoints, and how it stops.

Design: ``Trainer`` holds the objects of a run (net, optimizer, schedule, loader, generator) and its
place (epoch, sums of the epoch so far).  ``last.safetensors`` holds the state of all of them, so a
run that was interrupted, also in the middle of an epoch, continues with the same bits.  Ctrl-C
finishes the step and saves; a second one stops at once.  A loss that is not finite stops the run
and says where.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

import minigrad as mg
import minigrad.functional as F
from minigrad import io, optim
from minigrad.data import Compose, DataLoader, Normalize, RandomCrop, RandomHorizontalFlip
from minigrad.errors import ArgError, DataFormatError

from .config import TrainConfig
from .datasets import get_dataset
from .googlenet import Outputs, googlenet_loss
from .registry import entry, get_model
from .run_folder import read_metrics, write_metrics

EVAL_BATCH = 250


class TrainingError(mg.MinigradError):
    """Training cannot go on; what was saved is good."""


class Interrupted(Exception):
    """Ctrl-C was pressed; the run is saved."""


def image_size(config: TrainConfig, info: Any) -> tuple[int, int]:
    """(height, width) that the net will see. Raises ArgError where it cannot take them."""
    if info.size is None:
        raise ArgError(f"--data {config.data}: images differ in size; pass a data set of one size")
    net = entry(config.model)
    found, native = tuple(info.size), net.image[1:]
    if found != native and not net.any_size:
        raise ArgError(f"{config.model}: takes images of {native}, the data has {found}")
    if min(found) < net.least:
        raise ArgError(
            f"{config.model}: takes images of at least {net.least} pixels, the data has {found}"
        )
    return int(found[0]), int(found[1])


def load_data(config: TrainConfig) -> tuple[Any, Any, Any]:
    """(training set, test set, info); image folders are resized to the net's own size."""
    _, height, _ = entry(config.model).image
    train, test, info = get_dataset(config.data, size=height, progress=sys.stderr.isatty())
    if len(info.classes) < 2:
        raise DataFormatError(f"{config.data}: only one class; nothing can be learned")
    if len(train) < config.batch_size:
        raise ArgError(
            f"--batch-size {config.batch_size}: the training set has only {len(train)} images"
        )
    return train, test, info


def test_loader(dataset: Any, info: Any) -> DataLoader:
    """Batches of the test set, in order, normalized."""
    return DataLoader(dataset, EVAL_BATCH, transform=Normalize(info.mean, info.std))


def evaluate(net: Any, loader: DataLoader) -> tuple[float, float]:
    """(mean cross-entropy, accuracy) of a net in evaluation mode."""
    net.eval()
    loss = right = count = 0.0
    with mg.no_grad():
        for images, labels in loader:
            logits = net(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += float((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
            count += len(labels)
    net.train()
    return loss / count, right / count


class Trainer:
    """One run. ``fit()`` trains from where it stands to the last epoch."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        train, test, self.info = load_data(config)
        mg.manual_seed(config.seed)
        height, width = image_size(config, self.info)
        self.net = get_model(
            config.model,
            num_classes=len(self.info.classes),
            in_channels=self.info.channels,
            **config.model_options(),
        )
        self.optimizer = optim.SGD(
            self.net.parameters(), lr=config.lr, momentum=config.momentum,
            weight_decay=config.weight_decay, nesterov=config.momentum > 0,
        )  # fmt: skip
        augment: list[Any] = []
        if config.crop_padding:
            augment.append(RandomCrop((height, width), padding=config.crop_padding))
        if config.flip:
            augment.append(RandomHorizontalFlip())
        self.loader = DataLoader(
            train, config.batch_size, shuffle=True, drop_last=True, seed=config.seed,
            num_workers=config.workers,
            transform=Compose([*augment, Normalize(self.info.mean, self.info.std)]),
        )  # fmt: skip
        self.tests = test_loader(test, self.info)
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=config.epochs * len(self.loader),
            pct_start=0.25, cycle_momentum=False,
        )  # fmt: skip
        self.epoch, self.best = 0, -1.0
        self.sums = {"steps": 0, "loss": 0.0, "right": 0, "count": 0, "seconds": 0.0}
        self.metrics: list[dict[str, Any]] = []
        self.stop = False

    # -- state ----------------------------------------------------------------------------------
    def objects(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "loader": self.loader,
            "random": mg.default_generator,
        }

    def save(self) -> None:
        """Write last.safetensors."""
        place = {"epoch": self.epoch, "best": self.best, "sums": self.sums}
        io.save_training(self.folder / "last.safetensors", self.objects(), place)

    def resume(self) -> None:
        """Read last.safetensors. Raises CheckpointError; then nothing has changed."""
        place = io.load_training(self.folder / "last.safetensors", self.objects())
        self.epoch, self.best, self.sums = place["epoch"], place["best"], place["sums"]
        self.metrics = read_metrics(self.folder)[: self.epoch]

    def save_best(self, accuracy: float) -> None:
        """Write best.safetensors: the net's state_dict, and the facts of the data it knows."""
        about = {
            "model": self.config.model,
            "data": self.info.to_json(),
            "epoch": str(self.epoch + 1),
            "test_accuracy": f"{accuracy:.4f}",
        }
        io.save(self.folder / "best.safetensors", self.net.state_dict(), about)

    # -- the loop -------------------------------------------------------------------------------
    def step(self, images: Any, labels: Any) -> float:
        """One optimizer step; returns the loss. Raises TrainingError when it is not finite."""
        output = self.net(images)
        loss = googlenet_loss(output, labels)  # of nets without auxiliary heads: cross-entropy
        logits = output.logits if isinstance(output, Outputs) else output
        value = loss.item()
        if not math.isfinite(value):
            last = self.sums["loss"] / self.sums["steps"] if self.sums["steps"] else float("nan")
            raise TrainingError(
                f"the loss is {value} at epoch {self.epoch + 1}, batch {self.sums['steps'] + 1} "
                f"(mean before: {last:.4f}); try a smaller --lr. Good states are in {self.folder}"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.sums["steps"] += 1
        self.sums["loss"] += value
        self.sums["right"] += int((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
        self.sums["count"] += len(labels)
        return value

    def train_epoch(self, bar: Any) -> None:
        """The rest of the current epoch. Raises Interrupted between two steps."""
        began = time.perf_counter() - self.sums["seconds"]
        for images, labels in self.loader:
            self.step(images, labels)
            self.sums["seconds"] = time.perf_counter() - began
            mean = self.sums["loss"] / self.sums["steps"]
            bar.set_postfix_str(f"loss {mean:.3f}, acc {self.accuracy():.1%}", refresh=False)
            bar.update()
            if self.stop:
                self.save()
                raise Interrupted

    def accuracy(self) -> float:
        """Training accuracy of the epoch so far, on augmented images."""
        return float(self.sums["right"] / max(self.sums["count"], 1))

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate, write metrics and checkpoints, move on."""
        loss, accuracy = evaluate(self.net, self.tests)
        row = {
            "epoch": self.epoch + 1,
            "train_loss": self.sums["loss"] / self.sums["steps"],
            "train_accuracy": self.accuracy(),
            "test_loss": loss,
            "test_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.sums["seconds"], 3),
        }
        if accuracy > self.best:
            self.best = accuracy
            self.save_best(accuracy)
        self.metrics.append(row)
        self.epoch += 1
        self.sums = {"steps": 0, "loss": 0.0, "right": 0, "count": 0, "seconds": 0.0}
        write_metrics(self.folder, self.metrics)
        self.save()
        return row

    def fit(self) -> list[dict[str, Any]]:
        """Train to the end; returns the metrics. Raises Interrupted, TrainingError."""
        live = sys.stderr.isatty()
        with catching_interrupts(self):
            while self.epoch < self.config.epochs:
                with tqdm(
                    total=len(self.loader), initial=self.sums["steps"], disable=not live,
                    desc=f"epoch {self.epoch + 1}/{self.config.epochs}", leave=False,
                ) as bar:  # fmt: skip
                    self.train_epoch(bar)
                print(epoch_line(self.end_epoch(), self.config.epochs), flush=True)
                if self.stop:
                    raise Interrupted
        return self.metrics


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One line of text for an epoch."""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  loss {row['train_loss']:.3f}  "
        f"train {row['train_accuracy']:.1%}  test {row['test_accuracy']:.1%}  "
        f"{row['seconds']:.1f} s"
    )


@contextmanager
def catching_interrupts(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C once: stop after this step. Twice: stop now."""

    def handler(number: int, frame: FrameType | None) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True
        print("\nstopping after this step (once more: stop at once)", file=sys.stderr)

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: signals are somebody else's matter
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
