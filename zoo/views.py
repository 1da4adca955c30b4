"""Test-time views: a net looks at several windows of an image and its answers are averaged.

Design: a view is a list of ``Crop``, made from sizes alone, so the papers' counts and places can
be tested without a net.  ``probabilities`` cuts the windows, runs the net and averages softmax.
Scales are for nets of 224 pixels and shrink with the net: what is 256 for 224 is 32 for 28.

    view         crops                                                              paper
    single       1    the middle of the image
    flip         2    and its mirror image
    10-crop      10   four corners and the middle, mirrored                         AlexNet
    144-crop     144  4 scales x 3 squares x (corners, middle, whole) x 2           GoogLeNet
    multi-crop   150  3 scales x 5 x 5 places x 2                                   VGG
    all          2178 every window of 224 in 256, mirrored (the paper: 32 32 2 = 2048)  AlexNet
    dense        2    the whole image through the net as a convolution, mirrored    VGG
    multi-scale  6    dense at 256, 384, 512; 10 for nets with global averaging,    VGG, ResNet
                      at 224, 256, 384, 480, 640

Sources: Krizhevsky et al. 2012, section 4.1; Simonyan and Zisserman 2014, section 3.2; Szegedy et
al. 2014, section 7; He et al. 2015, section 3.4.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
import minigrad.functional as F
from minigrad import nn
from minigrad.data import ArrayDataset
from minigrad.data.transforms.basic import like, to_nhwc
from minigrad.data.transforms.resize import resize_nhwc, shorter_side_to
from minigrad.errors import ArgError

from .config import VIEWS, shown
from .registry import Entry
from .vgg import VGG, DenseVGG

Array = NDArray[Any]
Pair = tuple[int, int]
STORED = 256  # of a net of 224 pixels
VGG_SCALES = (256, 384, 512)
GOOGLENET_SCALES = (256, 288, 320, 352)
RESNET_SCALES = (224, 256, 384, 480, 640)
DENSE = ("dense", "multi-scale")
GRID = 5  # places along an axis, multi-crop


@dataclass(frozen=True)
class Crop:
    """A window: the image is brought to a shorter side, a box is cut out and maybe mirrored.

    A box that is not of the net's size is resized to it, except in dense evaluation.
    """

    side: int
    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def for_size(pixels: int, size: int) -> int:
    """A scale of a net of 224 (227) pixels for one of `size`."""
    return pixels if size in (224, 227) else round(pixels * size / 224)


def both(crops: Sequence[Crop]) -> list[Crop]:
    """The crops, then all of them mirrored."""
    mirrored = [Crop(c.side, c.top, c.left, c.height, c.width, True) for c in crops]
    return [*crops, *mirrored]


def windows(side: int, shape: Pair, size: int, places: Sequence[Pair]) -> list[Crop]:
    """Windows of `size` of an image that has `shape`. Raises ArgError where they do not fit."""
    if min(shape) < size:
        raise ArgError(
            f"--view-scales {side}: the image is {shape[0]}x{shape[1]} then, the net takes "
            f"{size}x{size}"
        )
    return [Crop(side, top, left, size, size) for top, left in places]


def corners_and_middle(h: int, w: int, size: int) -> list[Pair]:
    """Places of the five windows of AlexNet."""
    down, right = h - size, w - size
    return [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]


def ten_crop(side: int, shape: Pair, size: int) -> list[Crop]:
    """Four corners and the middle, mirrored."""
    return both(windows(side, shape, size, corners_and_middle(*shape, size)))


def grid_crops(side: int, shape: Pair, size: int) -> list[Crop]:
    """A regular grid of 5 x 5 windows, mirrored: 50."""
    rows, columns = (np.rint(np.linspace(0, n - size, GRID)).astype(int) for n in shape)
    places = [(int(top), int(left)) for top in rows for left in columns]
    return both(windows(side, shape, size, places))


def every_crop(side: int, shape: Pair, size: int) -> list[Crop]:
    """All windows, mirrored: 2 (H - size + 1) (W - size + 1)."""
    places = [(t, s) for t in range(shape[0] - size + 1) for s in range(shape[1] - size + 1)]
    return both(windows(side, shape, size, places))


def googlenet_crops(side: int, shape: Pair, size: int) -> list[Crop]:
    """Left, middle and right (top, middle and bottom) square; of each its corners, its middle and
    the whole of it, mirrored: 36."""
    h, w = shape
    found = []
    for part in (0, 1, 2):
        top, left = (0, round((w - h) * part / 2)) if h <= w else (round((h - w) * part / 2), 0)
        places = [(top + t, left + s) for t, s in corners_and_middle(side, side, size)]
        found += windows(side, (side, side), size, places)
        found.append(Crop(side, top, left, side, side))
    return both(found)


def crops_of(
    name: str, shape: Pair, size: int, *, stored: int | None = None, scales: Sequence[int] = ()
) -> list[Crop]:
    """The windows of a view of an image (H, W) for a net of `size` pixels.

    stored: the shorter side that windows are cut from, where a view has one scale. scales: in
    place of the paper's. Raises ArgError for an unknown view, or scales at which nothing fits.

    >>> [len(crops_of(v, (300, 400), 224)) for v in ("10-crop", "144-crop", "multi-crop", "all")]
    [10, 144, 150, 7788]
    >>> len(crops_of("all", (256, 256), 224))  # the paper counts (256 - 224)^2 2 = 2048
    2178
    """
    if name not in VIEWS:
        raise ArgError(f"--views {name}: unknown; use {', '.join(VIEWS)}")
    base = stored if stored is not None and stored > size else for_size(STORED, size)
    defaults = {
        "multi-crop": [for_size(s, size) for s in VGG_SCALES],
        "144-crop": [for_size(s, size) for s in GOOGLENET_SCALES],
        "multi-scale": [for_size(s, size) for s in RESNET_SCALES],
        "single": [stored or size], "flip": [stored or size],
    }  # fmt: skip
    found: list[Crop] = []
    for side in scales or defaults.get(name, [base]):
        scaled = shorter_side_to(side, *shape)
        if name in DENSE:
            found += both([Crop(side, 0, 0, *scaled)])
        elif name in ("single", "flip"):
            middle = windows(side, scaled, size, corners_and_middle(*scaled, size)[-1:])
            found += both(middle) if name == "flip" else middle
        else:
            found += MAKERS[name](side, scaled, size)
    return found


MAKERS = {
    "10-crop": ten_crop, "144-crop": googlenet_crops, "multi-crop": grid_crops, "all": every_crop,
}  # fmt: skip


def cut(images: Array, crops: Sequence[Crop], size: int | None) -> Array:
    """Windows of images, all of one size: uint8 (N, H, W[, C]) or float (N, C, H, W) -> N times
    len(crops) images of the same kind; windows of one image are neighbors.

    size: what boxes are resized to; None leaves them as they are.
    """
    x = to_nhwc(images, "views")
    scaled: dict[int, Array] = {}
    parts = []
    for c in crops:
        if c.side not in scaled:
            scaled[c.side] = resize_nhwc(x, shorter_side_to(c.side, *x.shape[1:3]))
        part = scaled[c.side][:, c.top : c.top + c.height, c.left : c.left + c.width]
        if size is not None:
            part = resize_nhwc(part, (size, size))
        parts.append(part[:, :, ::-1] if c.flip else part)
    stacked = np.stack(parts, axis=1)  # (N, crops, h, w, C)
    return like(stacked.reshape(-1, *stacked.shape[2:]), images)


@dataclass(frozen=True)
class View:
    """How a net is shown images: a view by name, the net's size, how images are prepared.

    prepare: a transform, uint8 or float in [0, 1] to what the net takes. early: prepare whole
    images, before windows are cut (see ``pipeline.py``). batch: windows at a time.
    """

    name: str
    size: int
    prepare: Any
    batch: int
    early: bool = False
    stored: int | None = None
    scales: tuple[int, ...] = ()

    def inputs(self, images: Array) -> Iterator[Array]:
        """What the net takes, for images of one size: arrays (N times some crops, C, h, w)."""
        shape = to_nhwc(images, "views").shape[1:3]
        crops = crops_of(self.name, shape, self.size, stored=self.stored, scales=self.scales)
        size = None if self.name in DENSE else self.size
        many = 1 if self.name in DENSE else max(1, self.batch // len(images))
        for side, same in itertools.groupby(crops, key=lambda c: c.side):
            group = list(same)
            x = images
            if self.early:  # a mean image has a place: the whole image, scaled, comes first
                whole = Crop(side, 0, 0, *shorter_side_to(side, *shape))
                x = self.prepare(cut(images, [whole], None))
            for k in range(0, len(group), many):
                part = cut(x, group[k : k + many], size)
                yield part if self.early else self.prepare(part)

    def __str__(self) -> str:
        scales = f" at {shown(self.scales)}" if self.scales else ""
        return f"view {self.name}{scales}"


def dense_form(net: nn.Module, found: Entry, model: str) -> nn.Module:
    """The net as it takes images of any size. Raises ArgError."""
    if isinstance(net, VGG):
        if net.head != "cifar":
            return DenseVGG(net).eval() if net.head == "fc" else net
    elif found.any_size:
        return net
    raise ArgError(f"--views: {model} takes images of one size only; use 10-crop")


def images_of(dataset: Any, count: int) -> Iterator[tuple[Array, Array]]:
    """Images and labels: `count` at a time where they are in memory, else one by one."""
    if isinstance(dataset, ArrayDataset):
        for start in range(0, len(dataset), count):
            images, labels = dataset.batch(np.arange(start, min(start + count, len(dataset))))
            yield images, labels
        return
    for i in range(len(dataset)):
        image, label = dataset[i]
        yield np.asarray(image)[None], np.array([label])


def softmax(logits: mg.Tensor) -> Array:
    """Class probabilities in float64, of logits (N, classes) in any dtype."""
    return F.softmax(logits.astype(np.float64), 1).numpy()


def probabilities(net: nn.Module, dataset: Any, view: View) -> tuple[Array, Array]:
    """(mean softmax over the windows (N, classes), float64; labels (N,)) of a data set.

    Raises ArgError for scales that do not fit, ShapeError for images that the net cannot take.
    """
    net.eval()
    rows, labels = [], []
    with mg.no_grad():
        for images, own in images_of(dataset, view.batch):
            total, count = 0.0, 0
            for x in view.inputs(images):
                chances = softmax(net(mg.tensor(x)))
                each = chances.reshape(len(images), -1, chances.shape[1])  # (N, crops, classes)
                total, count = total + each.sum(axis=1), count + each.shape[1]
            rows.append(total / count)
            labels.append(own)
    return np.concatenate(rows), np.concatenate(labels)
