"""E10: an image is shown to a net in several windows, and the answers are averaged.

Design: places are checked on an image whose pixels are numbered, so that a crop says where it was
cut; a linear layer read as a convolution must give the same answers; then small nets that were
trained on random windows are tested with more and more of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad.data import ArrayDataset

from ..pictures import COLORS
from ..vgg import VGG, DenseVGG
from ..views import View, crops_of, cut, probabilities, softmax
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say
from .nets import SmallNet
from .training import Array, Images, Recipe, error, fit, images

STORED, WINDOW = 32, 24
SHOWN = ("single", "flip", "10-crop", "144-crop", "all")


def numbered(h: int, w: int) -> Array:
    """An image (1, 1, H, W) whose pixel in row i, column j is w i + j."""
    return np.arange(h * w, dtype=np.float32).reshape(1, 1, h, w)


def ten_crop_corners(stored: int = 256, size: int = 224) -> list[tuple[int, int, bool]]:
    """(top, left, mirrored) of the ten windows, read off the pixels that were cut; -1 for what is
    no window of the image."""
    places = crops_of("10-crop", (stored, stored), size, stored=stored)
    crops = cut(numbered(stored, stored), places, None)
    found = []
    for window in crops[:, 0]:
        first, right = int(window[0, 0]), int(window[0, -1])
        mirrored = right < first
        top, left = divmod(right if mirrored else first, stored)
        rows = stored * (top + np.arange(size))[:, None]
        columns = left + np.arange(size)
        whole = rows + (columns[::-1] if mirrored else columns)
        found.append((top, left, mirrored) if (window == whole).all() else (-1, -1, mirrored))
    return found


def expected_corners(stored: int = 256, size: int = 224) -> list[tuple[int, int, bool]]:
    """Four corners and the middle, then their mirror images."""
    room = stored - size
    places = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]
    return [(top, left, mirrored) for mirrored in (False, True) for top, left in places]


def tiny_vgg(seed: int) -> VGG:
    """VGG's form with few maps: 224 pixels, five poolings, linear layers on 7x7."""
    mg.manual_seed(seed)
    net = VGG((4, "M", 4, "M", 8, "M", 8, "M", 8, "M"), 10, hidden=32)
    return net.eval()


def dense_differences(seed: int) -> dict[str, float]:
    """Dense evaluation against its definition: on one place, and averaged over a map."""
    net = tiny_vgg(seed)
    small, large = (mg.randn(2, 3, side, side) for side in (224, 288))
    with mg.no_grad():
        own, dense = net(small).numpy(), DenseVGG(net)(small).numpy()
        scores = net.score_map(large).numpy()  # (2, 10, 3, 3)
        averaged = DenseVGG(net)(large).numpy()
    scale = np.abs(own).max()
    return {
        "FC read as convolution, 224 pixels": float(np.abs(own - dense).max() / scale),
        "mean of the 3x3 map at 288 pixels": float(
            np.abs(scores.mean(axis=(2, 3)) - averaged).max() / scale
        ),
    }


def multi_scale_difference(seed: int) -> float:
    """The view "multi-scale" against the mean of softmax at each of its scales, mirrored too."""
    net, scales = DenseVGG(tiny_vgg(seed)), (256, 288)
    x = np.random.default_rng(seed).standard_normal((1, 3, 256, 256)).astype(np.float32)
    whole = View("multi-scale", 224, lambda images: images, 8, scales=scales)
    parts = [View("dense", 224, lambda images: images, 8, scales=(side,)) for side in scales]
    with mg.no_grad():
        answers = [
            np.mean([softmax(net(mg.tensor(v)))[0] for v in view.inputs(x)], axis=0)
            for view in (whole, *parts)
        ]
    return float(np.abs(answers[0] - np.mean(answers[1:], axis=0)).max())


def trained_errors(data: Images, recipe: Recipe, seeds: list[int]) -> dict[str, list[float]]:
    """Test errors in percent of each view, one a seed."""
    test = ArrayDataset(data.test_x, data.test_y)
    found: dict[str, list[float]] = {name: [] for name in SHOWN}
    for seed in seeds:
        mg.manual_seed(seed)
        net = SmallNet(WINDOW, data.channels, len(data.classes), norm="bn")
        fit(net, data, recipe, seed)
        for name in SHOWN:
            view = View(name, WINDOW, lambda images: images, 500, stored=STORED)
            found[name].append(error(*probabilities(net, test, view)))
        say(f"seed {seed}: " + ", ".join(f"{n} {v[-1]:.2f} %" for n, v in found.items()))
    return found


def run(settings: Settings) -> Result:
    """Places and equalities, then errors."""
    wrong = sum(a != b for a, b in zip(ten_crop_corners(), expected_corners(), strict=True))
    counts = {n: len(crops_of(n, (256, 256), 224)) for n in ("10-crop", "144-crop", "all")}
    dense = dense_differences(settings.seed)
    data = images(settings, STORED, settings.pick(5000, 50_000))
    recipe = Recipe(settings.pick(600, 6000), lr=0.05, window=WINDOW, weight_decay=5e-4)
    found = trained_errors(data, recipe, settings.seeds(settings.pick(3, 5)))
    rows = [
        (name, len(crops_of(name, (STORED, STORED), WINDOW, stored=STORED)), float(np.mean(errors)),
         float(np.std(errors)))
        for name, errors in found.items()
    ]  # fmt: skip
    table = Table(
        f"{data.name} at {STORED}x{STORED}, nets of {WINDOW}x{WINDOW}, mean of "
        f"{len(found['single'])} seeds",
        ("view", "windows", "test error %", "deviation"), list(rows),
    )  # fmt: skip
    means = {row[0]: row[2] for row in rows}
    verdicts = [
        Verdict("10-crop: windows in a wrong place", wrong, "==", 0),
        Verdict("144-crop: 4 scales x 3 squares x 6 x 2", counts["144-crop"], "==", 4 * 3 * 6 * 2),
        Verdict("all windows of 224 in 256, mirrored", counts["all"], "==", 33 * 33 * 2),
        *(Verdict(what, value, "<=", 1e-5) for what, value in dense.items()),
        Verdict("multi-scale minus the mean over scales", multi_scale_difference(settings.seed),
                "<=", 1e-6),
        Verdict("error of 10-crop minus that of one window", means["10-crop"] - means["single"],
                "<=", 0.0),
    ]  # fmt: skip
    return Result([table], verdicts, [Plot(lambda f: draw(f, rows, found), (5.2, 2.8))])


def draw(figure: Any, rows: list[tuple[Any, ...]], found: dict[str, list[float]]) -> None:
    """The error of every seed with each view, and their mean."""
    axis = figure.subplots()
    x = range(len(rows))
    for k, errors in enumerate(zip(*found.values(), strict=True)):
        label = None if k else "one seed"
        axis.plot(x, errors, "o", color=COLORS[0], alpha=0.6, ms=4, label=label)
    axis.plot(x, [row[2] for row in rows], "_", color="black", ms=26, mew=1.6, label="mean")
    for place, row in enumerate(rows):
        axis.annotate(f"{row[2]:.1f}", (place, row[2]), (16, 0), textcoords="offset points",
                      va="center", fontsize=8)  # fmt: skip
    axis.set_xticks(x, [f"{row[0]}\n({row[1]})" for row in rows])
    axis.set(xlabel="view (windows of an image)", ylabel="test error, %",
             xlim=(-0.5, len(rows) - 0.4))  # fmt: skip
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left")


VIEWS = Experiment(
    "E10", "views",
    "averaging over windows of an image lowers the error; a linear layer is a convolution",
    "GoogLeNet, top-5 error %: 1 crop 10.07, 10 crops 9.15, 144 crops 7.89; VGG D: dense 24.8, "
    "multi-crop 24.6, both 24.4 (top-1)",
    "Szegedy et al. 2014, table 3; Simonyan and Zisserman 2014, table 5",
    "places and equalities are exact; the gain on small images is about a point, and nets that saw "
    "one scale in training lose by the scales of the 144 crops",
    run,
)  # fmt: skip
