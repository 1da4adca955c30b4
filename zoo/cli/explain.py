"""``predict --explain``: where the net looks, as a picture beside the image.

Design: a net with global average pooling is explained by its class activation maps, any other, and
any layer that is asked for, by Grad-CAM (``zoo.localize``).  One panel shows the image, the others
the map of each of the most likely classes over it, with the box around what is above a fifth of
the map's peak.  Names of files are settled before the net runs, so nothing is written where
something is wrong.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad.errors import ArgError

from ..localize import box_of, class_activation_maps, default_layer, grad_cam, layer_of, upsample
from ..pictures import COLORS, HOW_TO_PLOT, can_plot, save_figure

Array = NDArray[Any]
PANELS = 3  # classes in a picture, at most


def add_explain(p: ArgumentParser) -> None:
    """Options of ``predict``."""
    q = p.add_argument_group("where the net looks")
    q.add_argument("--explain", action="store_true", help="draw it as IMAGE-explained.png")
    q.add_argument("--out", metavar="FILE|FOLDER", help="NAME.png, or a folder, for the pictures")
    q.add_argument("--layer", metavar="NAME", help="Grad-CAM at this layer (default: the last)")
    q.add_argument("--force", action="store_true", help="replace pictures that exist")


def targets(args: Namespace) -> list[Path | None]:
    """The picture of each image; None without ``--explain``.

    Raises ArgError where options contradict or a picture exists, ImportError, OSError.
    """
    if not args.explain:
        for option in ("out", "layer", "force"):
            if getattr(args, option):
                raise ArgError(f"--{option} needs --explain")
        return [None] * len(args.image)
    if not can_plot():
        raise ImportError(f"--explain {HOW_TO_PLOT}")
    images = [Path(path) for path in args.image]
    found = [path.with_name(f"{path.stem}-explained.png") for path in images]
    if args.out and args.out.endswith(".png"):
        if len(images) > 1:
            raise ArgError(f"--out {args.out}: one picture for {len(images)} images; give a folder")
        found = [Path(args.out)]
    elif args.out:
        if not Path(args.out).is_dir():
            raise ArgError(f"--out {args.out}: must be NAME.png or a folder that exists")
        found = [Path(args.out) / path.name for path in found]
    if len(set(found)) < len(found):
        raise ArgError("--explain: two images would have the same picture; explain them apart")
    for path in found:
        if path.resolve() in [image.resolve() for image in images]:
            raise ArgError(f"{path}: is one of the images; give another --out")
        if os.path.lexists(path) and not args.force:
            raise ArgError(f"{path}: exists; use --force to replace it")
    return [*found]


def maps_of(
    net: mg.nn.Module, x: Any, classes: Sequence[int], layer: str | None
) -> tuple[Any, str]:
    """(a map for each class (K, h, w), what it is called) for one image x (1, C, H, W).

    Raises ArgError, ShapeError.
    """
    if layer is None:
        try:
            return class_activation_maps(net, x)[0][0, list(classes)], "class activation map"
        except ArgError:  # no global pooling
            layer = default_layer(net, x)
    layer_of(net, layer)
    heat = [grad_cam(net, x, [k], layer)[0] for k in classes]
    return np.stack(heat), f"Grad-CAM at {layer}"


def explain(
    net: mg.nn.Module, x: Any, pixels: Array, guesses: Sequence[tuple[int, str]],
    path: Path, layer: str | None = None,
) -> None:  # fmt: skip
    """Write the picture of one image.

    x: (1, C, H, W), as the net takes it; pixels: (C, H, W) in [0, 1]; guesses: classes and what
    stands above their panels. Raises ArgError, ShapeError, ImportError, OSError.
    """
    guesses = guesses[:PANELS]
    heat, method = maps_of(net, x, [k for k, _ in guesses], layer)
    heat = upsample(heat, (pixels.shape[1], pixels.shape[2]))
    titles = [title for _, title in guesses]
    width = 2.2 * (1 + len(guesses))
    size = (width, 2.15 * pixels.shape[1] / pixels.shape[2] + 0.5)
    save_figure(path, lambda figure: draw(figure, pixels, heat, titles, method), size)


def draw(figure: Any, pixels: Array, heat: Array, titles: Sequence[str], method: str) -> None:
    """Fill a figure of matplotlib: the image, then a map over it for each title."""
    picture = pixels.transpose(1, 2, 0)
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    height, width = picture.shape[:2]
    panels = figure.subplots(1, 1 + len(titles), squeeze=False)[0]
    for axes, title in zip(panels, ["image", *titles], strict=True):
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    for axes, values in zip(panels[1:], heat, strict=True):
        peak = max(float(values.max()), 1e-12)
        axes.imshow(np.clip(values / peak, 0, 1), extent=(0, width, height, 0), cmap="inferno",
                    alpha=0.6, vmin=0, vmax=1, interpolation="bilinear")  # fmt: skip
        left, top, right, bottom = box_of(values)
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top],
                  color=COLORS[5], linewidth=1.4)  # fmt: skip
        axes.set(xlim=(0, width), ylim=(height, 0))
    figure.suptitle(f"{method}; box: above a fifth of its peak", fontsize=9, y=0.02, va="bottom")
