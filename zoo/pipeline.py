"""From the images of a data set to what the net takes: sizes, augmentation, normalization.

Design: a ``Pipeline`` is made from a configuration and its training set and has two transforms, of
training and of testing, both lists of ``minigrad.data.transforms``.  What is learned from training
images (mean image, whitening matrix) is a ``Preparation``, which the run folder keeps, so a trained
net needs its data no more.  Test-time views of the papers are in ``views.py``.

    crop      training                                         testing
    pad       a border of zeros, a window                      the image
    random    resized, a window                                resized, the middle
    jitter    resized to a random scale, a window              resized, the middle
    area      a part of random area and aspect, resized        resized
    none      the image                                        the image

A mean of each pixel is subtracted before windows are cropped (AlexNet), except where every window
has a scale of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad import io
from minigrad.data import (
    ArrayDataset,
    CenterCrop,
    Compose,
    Normalize,
    PCAColorNoise,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
)
from minigrad.data.transforms import (
    GlobalContrastNormalize,
    PixelNormalize,
    RandomResizedCrop,
    ScaleJitterCrop,
    Whiten,
    mean_image,
    zca,
)
from minigrad.errors import ArgError, CheckpointError

from .config import TrainConfig
from .datasets import DatasetInfo
from .registry import entry
from .vgg import LEAST, SIZES

Array = NDArray[Any]
SAMPLE = 5000  # images of a set on disk that statistics are learned from
BLOCK = 500
GCN_SCALE = 55 / 3072**0.5  # Goodfellow et al. 2013: a norm of 55 for CIFAR's 3072 values
FILE = "preparation.safetensors"


class Preparation:
    """The step from pixels to what the net takes, the same in training and in testing.

    about: facts of the data; mean and deviation by channel. arrays: what else was learned,
    ``mean_image`` (H, W, C), or ``whitening_mean`` (D,) and ``whitening_matrix`` (D, D).
    Shapes   uint8 (N, H, W[, C]) or float (N, C, H, W) -> float32 (N, C, H, W)
    Raises   ShapeError for images that a whitening matrix does not fit
    """

    def __init__(self, about: DatasetInfo, arrays: dict[str, Array] | None = None) -> None:
        self.about, self.arrays = about, arrays or {}
        self.channels = Normalize(about.mean, about.std)

    @property
    def one_size(self) -> bool:
        """Whether images of one size only can be prepared (whitening)."""
        return "whitening_matrix" in self.arrays

    def __call__(self, images: Array, rng: np.random.Generator | None = None) -> Array:
        if self.one_size:
            whiten = Whiten(self.arrays["whitening_mean"], self.arrays["whitening_matrix"])
            return whiten(GlobalContrastNormalize(GCN_SCALE)(images))
        if "mean_image" not in self.arrays:
            return self.channels(images)
        h, w = images.shape[1:3] if images.dtype == np.uint8 else images.shape[2:]
        mean = self.arrays["mean_image"].transpose(2, 0, 1)[None]  # (1, C, H, W)
        fitting = Resize((h, w))(mean)[0].transpose(1, 2, 0)
        return PixelNormalize(fitting, self.about.std)(images)

    def save(self, folder: Path) -> None:
        """Write the arrays, if there are any, beside the net."""
        if self.arrays:
            io.save(folder / FILE, self.arrays)

    @classmethod
    def load(cls, folder: Path, config: TrainConfig, about: DatasetInfo) -> Preparation:
        """What ``save`` wrote. Raises CheckpointError."""
        if config.normalize == "channel":
            return cls(about)
        path = folder / FILE
        if not path.exists():
            raise CheckpointError(f"{path}: missing; the net was trained with {config.normalize}")
        return cls(about, io.load(path).tensors)


def sizes_taken(config: TrainConfig) -> tuple[int | None, int, int]:
    """(the one size that the net takes, if it takes one only; its least; its native size)."""
    net = entry(config.model, config.variant)
    native = int(net.image[1])
    head = config.options.get("head") if "head" in net.options else None  # of VGG
    if head == "gap":
        return None, LEAST, native
    if head in SIZES:
        return SIZES[head], SIZES[head], SIZES[head]
    return None if net.any_size else native, net.least, native


def decode_size(config: TrainConfig) -> int:
    """The side at which images of a folder are read."""
    found = config.resize or config.size or sizes_taken(config)[2]
    return max(found, config.scales[1]) if config.crop == "jitter" else found


def seen_size(config: TrainConfig, info: DatasetInfo) -> tuple[int, int]:
    """(height, width) that the net will see. Raises ArgError where it cannot take them."""
    if info.size is None:
        raise ArgError(f"--data {config.data}: images differ in size; pass a data set of one size")
    found = (config.size,) * 2 if config.size else (int(info.size[0]), int(info.size[1]))
    only, least, native = sizes_taken(config)
    whose = "--size is" if config.size else "the data has"
    way_out = "" if config.size else f"; pass --size {only or native} to resize them"
    if only is not None and found != (only, only):
        one = (only, only)
        raise ArgError(f"{config.model}: takes images of {one}, {whose} {found}{way_out}")
    if min(found) < least:
        raise ArgError(
            f"{config.model}: takes images of at least {least} pixels, {whose} {found}{way_out}"
        )
    return found


def blocks(dataset: Any) -> Iterator[Array]:
    """Training images in batches: all of them, or a sample of a set on disk, evenly spread."""
    if isinstance(dataset, ArrayDataset):
        for start in range(0, len(dataset), BLOCK):
            yield dataset.arrays[0][start : start + BLOCK]
        return
    chosen = np.linspace(0, len(dataset) - 1, min(SAMPLE, len(dataset))).astype(int)
    for start in range(0, len(chosen), BLOCK):
        yield np.stack([dataset[int(i)][0] for i in chosen[start : start + BLOCK]])


def resizing(config: TrainConfig) -> list[Any]:
    """To the size that windows are cropped from."""
    if config.size is None:
        return []
    least = config.scales[0] if config.crop == "jitter" else config.size
    return [Resize(config.resize or least)]


def middle(config: TrainConfig) -> list[Any]:
    """The window that testing takes."""
    return [] if config.size is None else [CenterCrop(config.size)]


def has_places(config: TrainConfig) -> bool:
    """Whether images are prepared before windows are cut: pixels have their own statistics, and
    windows the scale of the image."""
    return config.normalize != "channel" and config.crop in ("pad", "random", "none")


def testing(config: TrainConfig, prepare: Preparation) -> Compose:
    """Images as the data has them -> float32 (N, C, size, size), nothing at random."""
    last = [*middle(config), prepare]
    if has_places(config) and config.crop == "random":
        last.reverse()
    return Compose([*resizing(config), *last])


class Pipeline:
    """The transforms of a run. train: its training images. info: facts of the data.

    ``info`` of the pipeline has the size that the net sees. kept: what an interrupted run has
    learned from its images. Raises ArgError, ShapeError.
    """

    def __init__(
        self, config: TrainConfig, train: Any, info: DatasetInfo, kept: Preparation | None = None
    ) -> None:
        self.config, self.size = config, seen_size(config, info)
        self.info = replace(info, size=self.size)
        self.prepare = kept or self.learn(train)
        self.noise: list[Any] = []
        if config.color_noise:
            sample = next(blocks(train))
            self.noise = [PCAColorNoise.from_images(sample, std=config.color_noise)]

    def learn(self, train: Any) -> Preparation:
        """Statistics of the training images, as the net would see them without augmentation."""
        config = self.config
        if config.normalize == "channel":
            return Preparation(self.info)
        whole = has_places(config) and config.crop == "random"
        steps = Compose(resizing(config) + ([] if whole else middle(config)))
        images = (steps(block) for block in blocks(train))
        if config.normalize == "pixel":
            return Preparation(self.info, {"mean_image": mean_image(images)})
        contrast = GlobalContrastNormalize(GCN_SCALE)
        mean, matrix = zca(contrast(block) for block in images)
        return Preparation(self.info, {"whitening_mean": mean, "whitening_matrix": matrix})

    def window(self) -> list[Any]:
        """The window that training takes."""
        config = self.config
        if config.crop == "jitter":
            return [ScaleJitterCrop(self.size, *config.scales)]
        if config.crop == "area":
            return [RandomResizedCrop(self.size, config.area, config.aspect)]
        if config.crop == "random":
            return [RandomCrop(self.size)]
        border = config.crop_padding if config.crop == "pad" else 0
        return [RandomCrop(self.size, padding=border)] if border else []

    def training(self) -> Compose:
        """uint8 images as the data has them -> augmented float32 (N, C, *size)."""
        config = self.config
        by_itself = config.crop == "jitter" or (config.crop == "area" and config.resize is None)
        first = [] if by_itself else resizing(config)
        if config.crop in ("pad", "none"):
            first += middle(config)
        flip = [RandomHorizontalFlip()] if config.flip else []
        if has_places(config):
            return Compose([*first, *self.noise, self.prepare, *self.window(), *flip])
        return Compose([*first, *self.window(), *flip, *self.noise, self.prepare])

    def testing(self) -> Compose:
        """uint8 images as the data has them -> float32 (N, C, *size), nothing at random."""
        return testing(self.config, self.prepare)
