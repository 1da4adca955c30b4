"""Training: the loop, its checkpoints, and how it stops.

Design: ``Trainer`` holds the objects of a run (net, optimizer, schedule, loader, generator) and its
place (epoch, sums of the epoch so far).  ``last.safetensors`` holds the state of all of them, so a
run that was interrupted, also in the middle of an epoch, continues with the same bits.  Ctrl-C
finishes the step and saves; a second one stops at once.  A loss that is not finite stops the run
and says where; a loss that does not move is explained while training goes on (``diagnose.py``).
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

import minigrad as mg
import minigrad.functional as F
from minigrad import io
from minigrad.data import DataLoader, Normalize
from minigrad.errors import ArgError, DataFormatError

from .config import TrainConfig
from .datasets import get_dataset
from .diagnose import Watch, why_not_finite
from .googlenet import AUX_WEIGHT, Outputs, googlenet_loss
from .optimization import Schedule, WeightAverage, make_optimizer
from .pipeline import FILE, Pipeline, Preparation, decode_size
from .registry import get_model
from .run_folder import read_metrics, write_metrics
from .summary import summary

EVAL_BATCH = 250  # images at most
EVAL_BYTES = 256 << 20  # of activations, about


class TrainingError(mg.MinigradError):
    """Training cannot go on; what was saved is good."""


class Interrupted(Exception):
    """Ctrl-C was pressed; the run is saved."""


def load_data(config: TrainConfig) -> tuple[Any, Any, Any]:
    """(training set, test set, info); image folders are read at the size that the net needs."""
    size = decode_size(config)
    train, test, info = get_dataset(config.data, size=size, progress=sys.stderr.isatty())
    if len(info.classes) < 2:
        raise DataFormatError(f"{config.data}: only one class; nothing can be learned")
    if len(train) < config.batch_size:
        raise ArgError(
            f"--batch-size {config.batch_size}: the training set has only {len(train)} images"
        )
    return train, test, info


def eval_batch(net: Any, image: tuple[int, int, int]) -> int:
    """How many images (C, H, W) a net takes at a time in evaluation: as many as fit EVAL_BYTES.

    Without a tape a layer's input and output are alive, and as much again in a branch.
    """
    largest = max(row.values for row in summary(net, image))
    return max(1, min(EVAL_BATCH, EVAL_BYTES // (3 * 4 * largest)))


def test_loader(
    dataset: Any, info: Any, *, batch: int = EVAL_BATCH, transform: Any = None
) -> DataLoader:
    """Batches of the test set, in order, normalized by channel unless a transform is given."""
    return DataLoader(dataset, batch, transform=transform or Normalize(info.mean, info.std))


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


def training_loss(output: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """Cross-entropy of logits; of nets with auxiliary heads L + 0.3 L1 + 0.3 L2."""
    if not smoothing:
        return googlenet_loss(output, labels)
    heads = output if isinstance(output, Outputs) else (output,)
    main, *others = (F.cross_entropy(y, labels, label_smoothing=smoothing) for y in heads)
    return main + sum(AUX_WEIGHT * loss for loss in others) if others else main


class Trainer:
    """One run. ``fit()`` trains from where it stands to the last epoch.

    Everything that can be wrong with net and data is found here, before anything is written.
    Raises ArgError, ShapeError, DataFormatError, FileNotFoundError.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        train, test, info = load_data(config)
        mg.manual_seed(config.seed)
        self.pipeline = Pipeline(config, train, info)
        self.info = self.pipeline.info
        self.net = get_model(
            config.model,
            num_classes=len(self.info.classes),
            in_channels=self.info.channels,
            **config.model_options(),
        )
        self.optimizer = make_optimizer(self.net, config)
        self.loader = DataLoader(
            train, config.batch_size, shuffle=True, drop_last=True, seed=config.seed,
            num_workers=config.workers, transform=self.pipeline.training(),
        )  # fmt: skip
        batch = eval_batch(self.net, (self.info.channels, *self.pipeline.size))
        self.tests = test_loader(test, self.info, batch=batch, transform=self.pipeline.testing())
        per_epoch = len(self.loader)
        self.total = config.iterations or config.epochs * per_epoch
        self.epochs = -(-self.total // per_epoch)
        self.schedule = Schedule(config, self.optimizer, self.total, per_epoch)
        self.average = WeightAverage(self.net, config.average) if config.average else None
        self.watch = Watch(train, len(self.info.classes), training_loss, self.optimizer)
        self.epoch, self.best = 0, -1.0
        self.sums = {"steps": 0, "loss": 0.0, "right": 0, "count": 0, "seconds": 0.0}
        self.metrics: list[dict[str, Any]] = []
        self.stop = False

    # -- state ----------------------------------------------------------------------------------
    def objects(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        held = {
            "model": self.net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "loader": self.loader,
            "random": mg.default_generator,
        }
        return held if self.average is None else {**held, "average": self.average}

    def save(self) -> None:
        """Write last.safetensors."""
        place = {"epoch": self.epoch, "best": self.best, "sums": self.sums}
        io.save_training(self.folder / "last.safetensors", self.objects(), place)

    def resume(self) -> None:
        """Read last.safetensors. Raises CheckpointError; then nothing has changed."""
        place = io.load_training(self.folder / "last.safetensors", self.objects())
        self.epoch, self.best, self.sums = place["epoch"], place["best"], place["sums"]
        self.metrics = read_metrics(self.folder)[: self.epoch]
        kept = Preparation.load(self.folder, self.config, self.info)
        self.pipeline.prepare.arrays.update(kept.arrays)  # the same bits on another machine

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
        loss = training_loss(output, labels, self.config.label_smoothing)
        logits = output.logits if isinstance(output, Outputs) else output
        value = loss.item()
        if not math.isfinite(value):
            self.give_up(value, images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        right = int((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
        self.schedule.after_batch(1 - right / len(labels))
        if self.average is not None:
            self.average.update()
        self.sums["steps"] += 1
        self.sums["loss"] += value
        self.sums["right"] += right
        self.sums["count"] += len(labels)
        heads = 1 + 2 * AUX_WEIGHT if isinstance(output, Outputs) else 1.0
        if said := self.watch.after_batch(value / heads, self.net, images, labels):
            print(said, file=sys.stderr, flush=True)
        return value

    def give_up(self, value: float, images: Any, labels: Any) -> None:
        """Raise TrainingError about a loss that is not finite, with the reason."""
        last = self.sums["loss"] / self.sums["steps"] if self.sums["steps"] else float("nan")
        rate = self.optimizer.param_groups[0]["lr"]
        why = why_not_finite(self.net, training_loss, images, labels, rate)
        raise TrainingError(
            f"the loss is {value} at epoch {self.epoch + 1}, batch {self.sums['steps'] + 1} "
            f"(mean before: {last:.4f}): {why}. Good states are in {self.folder}"
        )

    def train_epoch(self, bar: Any) -> None:
        """The rest of the current epoch. Raises Interrupted between two steps."""
        began = time.perf_counter() - self.sums["seconds"]
        left = min(len(self.loader), self.total - self.epoch * len(self.loader))
        left -= int(self.sums["steps"])
        if left == 0 and self.sums["steps"] < len(self.loader):  # cut at the last of --iterations
            return
        for images, labels in self.loader:
            self.step(images, labels)
            self.sums["seconds"] = time.perf_counter() - began
            mean = self.sums["loss"] / self.sums["steps"]
            bar.set_postfix_str(f"loss {mean:.3f}, acc {self.accuracy():.1%}", refresh=False)
            bar.update()
            if self.stop:
                self.save()
                raise Interrupted
            left -= 1
            if left == 0 and self.sums["steps"] < len(self.loader):
                return

    def accuracy(self) -> float:
        """Training accuracy of the epoch so far, on augmented images."""
        return float(self.sums["right"] / max(self.sums["count"], 1))

    def test(self) -> tuple[float, float]:
        """(loss, accuracy) on the test set; keeps the net if it is the best so far."""
        with self.average.applied() if self.average is not None else nullcontext():
            loss, accuracy = evaluate(self.net, self.tests)
            if accuracy > self.best:
                self.best = accuracy
                self.save_best(accuracy)
        return loss, accuracy

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate, write metrics and checkpoints, move on."""
        loss, accuracy = self.test()
        row = {
            "epoch": self.epoch + 1,
            "train_loss": self.sums["loss"] / self.sums["steps"],
            "train_accuracy": self.accuracy(),
            "test_loss": loss,
            "test_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.sums["seconds"], 3),
        }
        self.schedule.after_epoch(1 - accuracy)
        self.metrics.append(row)
        self.epoch += 1
        self.sums = {"steps": 0, "loss": 0.0, "right": 0, "count": 0, "seconds": 0.0}
        write_metrics(self.folder, self.metrics)
        self.save()
        return row

    def fit(self) -> list[dict[str, Any]]:
        """Train to the end; returns the metrics. Raises Interrupted, TrainingError."""
        live = sys.stderr.isatty()
        if not (self.folder / FILE).exists():
            self.pipeline.prepare.save(self.folder)
        with catching_interrupts(self):
            while self.epoch < self.epochs:
                with tqdm(
                    total=len(self.loader), initial=self.sums["steps"], disable=not live,
                    desc=f"epoch {self.epoch + 1}/{self.epochs}", leave=False,
                ) as bar:  # fmt: skip
                    self.train_epoch(bar)
                print(epoch_line(self.end_epoch(), self.epochs), flush=True)
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
