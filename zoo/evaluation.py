"""A trained net with all that it takes to test it, and what it answers on a test set.

Design: ``Subject`` is a net from a run folder (``load_run``) or from a file of published weights:
the net, the facts of its data, how images are prepared.  ``answers`` gives class probabilities, so
that ``eval`` and ``ensemble`` differ only in what they print.  Only test images are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad import io, nn
from minigrad.errors import ArgError, CheckpointError, DataFormatError

from .config import TrainConfig
from .datasets import DatasetInfo, HeldOut, get_test_set
from .metrics import topk_error
from .pipeline import Preparation, decode_size, has_places, testing
from .registry import Entry, entry, get_model
from .run_folder import latest_folder
from .trainer import eval_batch, test_loader
from .vgg import VGG
from .views import DENSE, VGG_SCALES, View, dense_form, for_size, probabilities, softmax

Array = NDArray[Any]
MANY = 10  # classes, above which the top-5 error says something


@dataclass(frozen=True)
class Subject:
    """A net to test. config: None for published weights. data: what it is tested on, if known."""

    net: nn.Module
    entry: Entry
    about: DatasetInfo
    model: str
    title: str
    data: str | None
    prepare: Preparation
    config: TrainConfig | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the net sees."""
        return self.about.size or (self.entry.image[1], self.entry.image[2])

    def view(self, name: str, scales: tuple[int, ...] = ()) -> View:
        """A view of images for this net. Raises ArgError where it cannot be."""
        h, w = self.size
        if h != w:
            raise ArgError(f"--views {name}: views are of squares, the net sees {h}x{w} pixels")
        if self.prepare.one_size and (name not in ("single", "flip") or scales):
            raise ArgError(
                f"--views {name}: the net was trained on whitened images of one size; use single "
                "or flip"
            )
        config, stored, early = self.config, None, False
        if config is not None:
            early = has_places(config) and not self.prepare.one_size
            if config.size is not None:
                least = config.scales[0] if config.crop == "jitter" else config.size
                stored = config.resize or least
        if name == "multi-scale" and not scales and isinstance(self.net, VGG):
            scales = tuple(for_size(s, h) for s in VGG_SCALES)
        largest = max(scales, default=for_size(640, h)) if name in DENSE else h
        batch = eval_batch(self.net, (self.about.channels, h, w))
        batch = max(1, batch * h * h // largest**2)
        return View(name, h, self.prepare, batch, early, stored, tuple(scales))


def load_run(run_folder: str | Path | None = None) -> Subject:
    """The best net of a run, by default of the latest; its data is not needed.

    Raises FileNotFoundError, CheckpointError.
    """
    folder = latest_folder() if run_folder is None else Path(run_folder)
    path = folder / "best.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no best.safetensors there; is it a run folder?")
    config = TrainConfig.load(folder / "config.json")
    saved = io.load(path)
    try:
        about = DatasetInfo.from_json(saved.metadata["data"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: does not say what it was trained on ({error!r})") from None
    net = get_model(
        config.model, num_classes=len(about.classes), in_channels=about.channels,
        **config.model_options(),
    )  # fmt: skip
    try:
        net.load_state_dict(saved.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Subject(
        net.eval(), entry(config.model, config.variant), about, config.model,
        f"{config.model} of {folder}", config.data, Preparation.load(folder, config, about), config,
    )  # fmt: skip


def images_for(subject: Subject, data: str, views: str = "single") -> HeldOut:
    """The test set of a net, or another of the same kind. Raises DataFormatError if it is not."""
    config, about = subject.config, subject.about
    size = subject.entry.image[1] if config is None else decode_size(config)
    at_once = views in ("single", "flip")  # other views see images as they are
    found = get_test_set(data, size=size if at_once else None, whole=not at_once)
    counts = len(found.classes), len(about.classes)
    if counts[0] != counts[1]:
        raise DataFormatError(f"{data}: {counts[0]} classes, the net was trained on {counts[1]}")
    if found.classes != about.classes and config is not None:  # a file does not have the names
        raise DataFormatError(
            f"{data}: classes are {found.classes}, the net was trained on {about.classes}"
        )
    if found.channels != about.channels:
        raise DataFormatError(
            f"{data}: channels are {found.channels}, the net was trained on {about.channels}"
        )
    return found


def answers(
    subject: Subject, test: HeldOut, views: str = "single", scales: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    """(class probabilities (N, classes), float64; labels (N,)), averaged over the view's windows.

    Raises ArgError for a view that cannot be, ShapeError for images that the net cannot take.
    """
    if views != "single" or scales:
        view = subject.view(views, scales)
        net = subject.net
        if views in DENSE:
            net = dense_form(net, subject.entry, subject.model)
        return probabilities(net, test.images, view)
    config, prepare = subject.config, subject.prepare
    transform = prepare if config is None else testing(config, prepare)
    batch = eval_batch(subject.net, (subject.about.channels, *subject.size))
    loader = test_loader(test.images, subject.about, batch=batch, transform=transform)
    subject.net.eval()
    rows, labels = [], []
    with mg.no_grad():
        for x, own in loader:
            rows.append(softmax(subject.net(x)))
            labels.append(own.numpy())
    return np.concatenate(rows), np.concatenate(labels)


def log_loss(chances: Array, labels: Array) -> float:
    """-mean log p of the right class; the cross-entropy, where one net sees one view."""
    own = np.take_along_axis(chances, labels[:, None], axis=1)
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def result_line(chances: Array, labels: Array) -> str:
    """Loss, accuracy and, where there are many classes, the top-5 error, as text."""
    accuracy = 1 - topk_error(chances, labels, 1)
    text = f"loss {log_loss(chances, labels):.4f}, accuracy {accuracy:.2%}"
    if chances.shape[1] > MANY:
        text += f", top-5 error {topk_error(chances, labels, 5):.2%}"
    return text
