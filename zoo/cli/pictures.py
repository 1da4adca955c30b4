"""Commands that draw and compare: ``graph``, ``kernels``, ``feature-maps``, ``receptive-field``,
``compare`` and ``experiment``.

Design: a picture goes to ``--out``, or beside the user under the net's name; what can be wrong is
noticed before anything is computed.  Nets are those of a run, of a file of weights, or untrained.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import io, nn
from minigrad.errors import ArgError

from .. import compare as comparison
from ..evaluation import load_run
from ..experiments import EXPERIMENTS, Settings, experiment, run
from ..graph import architecture
from ..graph_svg import svg
from ..images import read_image
from ..pictures import (
    HOW_TO_PLOT,
    can_plot,
    draw_feature_maps,
    draw_fields,
    draw_kernels,
    feature_maps,
    middle_gradient,
    save_figure,
    windows,
)
from ..registry import MODELS, entry, get_model, image_of
from ..summary import summary
from ..weights import load_weights

Commands = _SubParsersAction  # of ArgumentParser


def seed(text: str) -> int:
    """An integer >= 0, for argparse."""
    value = int(text)
    if value < 0:
        raise ArgumentTypeError(f"{value} is not >= 0")
    return value


def add_pictures(sub: Commands[ArgumentParser]) -> None:
    """All commands of this file."""
    p = sub.add_parser("graph", help="the architecture of nets, as an SVG picture")
    p.add_argument("model", nargs="+", help="several are drawn side by side")
    p.add_argument("--variant", help="paper (the default) or torchvision")
    p.add_argument("--out", metavar="FILE.svg", help="default: MODEL.svg")
    p.set_defaults(run=graph)
    p = sub.add_parser("kernels", help="the filters of the first convolution, as a picture")
    add_net(p)
    p.set_defaults(run=kernels)
    p = sub.add_parser("feature-maps", help="what layers make of an image, as a picture")
    add_net(p)
    p.add_argument("image", help="PNG or JPEG with the extra 'images', or .npy")
    p.add_argument("--resize", action="store_true", help="resize the image to what the net takes")
    p.set_defaults(run=maps)
    p = sub.add_parser("receptive-field", help="how much of the image layers see, as a picture")
    p.add_argument("model")
    p.add_argument("--variant", help="paper (the default) or torchvision")
    p.add_argument("--layer", metavar="NAME", help="default: the last convolution or pooling")
    p.add_argument("--out", metavar="FILE", help="PNG or SVG; default: MODEL-field.png")
    p.set_defaults(run=fields)
    p = sub.add_parser("compare", help="accuracy, operations, parameters, time and memory of nets")
    p.add_argument("--quick", action="store_true", help="few timed passes: about two minutes")
    p.add_argument("--no-timing", action="store_true", help="counts only, in seconds")
    p.add_argument("--out", metavar="FOLDER", default="runs/compare")
    p.set_defaults(run=compare)
    add_experiment(sub)


def add_net(p: ArgumentParser) -> None:
    """A net: a run folder, or a name, with weights or without."""
    p.add_argument("net", metavar="RUN|MODEL", help="a run folder, or the name of a net")
    p.add_argument("--weights", metavar="FILE", help="of the named net; default: untrained")
    p.add_argument("--variant", help="of the named net: paper or torchvision")
    p.add_argument("--out", metavar="FILE", help="PNG or SVG")


def add_experiment(sub: Commands[ArgumentParser]) -> None:
    """``experiment``."""
    p = sub.add_parser("experiment", help="a claim of the lecture, tried out; `list` shows them")
    p.add_argument("name", help="a name or number of the list")
    p.add_argument("--seed", type=seed, default=0)
    p.add_argument("--out", metavar="FOLDER", help="default: runs/experiments/NAME-seedN")
    q = p.add_mutually_exclusive_group()
    q.add_argument("--quick", action="store_true", help="minutes: the default")
    q.add_argument(
        "--full", action="store_true", help="the paper's scale where there is one: hours"
    )
    p.add_argument("--data", default="fashion-mini", metavar="NAME|PATH")
    p.add_argument("--weights", metavar="FILE", help="published weights, for published-weights")
    p.set_defaults(run=run_experiment)


def run_experiment(args: Namespace) -> int:
    """Print the list, or run one. 1 where a criterion is not met."""
    if args.name == "list":
        width = max(map(len, EXPERIMENTS))
        for e in sorted(EXPERIMENTS.values(), key=lambda e: int(e.id[1:])):
            print(f"{e.id:3}  {e.name:{width}}  {e.claim}")
        return 0
    settings = Settings(args.seed, full=args.full, data=args.data, weights=args.weights)
    result = run(experiment(args.name), settings, args.out)
    return 0 if result.passed or result.skipped else 1


def picture(out: str | None, default: str) -> Path:
    """Where a picture goes. Raises ArgError for an ending, ImportError without matplotlib."""
    path = Path(out or default)
    if path.suffix not in (".png", ".svg"):
        raise ArgError(f"--out {path}: the name must end in .png or .svg")
    if not can_plot():
        raise ImportError(f"{path}: drawing {HOW_TO_PLOT}")
    return path


def chosen(args: Namespace) -> tuple[nn.Module, str, tuple[int, int, int], Any]:
    """(net, title, image, normalization or None) of RUN|MODEL. Raises ArgError."""
    if args.net not in MODELS:
        if not Path(args.net).exists():
            entry(args.net)  # says what is known, and what may be meant
        if args.weights or args.variant:
            raise ArgError("--weights and --variant go with the name of a net; a run knows its own")
        found = load_run(args.net)
        about = found.about
        image = (about.channels, *found.size)
        return found.net, found.title, image, (about.mean, about.std)
    mg.manual_seed(0)
    net = get_model(args.net, variant=args.variant).eval()
    image = image_of(args.net, args.variant)
    if args.weights is None:
        return net, f"{args.net}, untrained", image, None
    load_weights(net, args.weights)
    statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the published weights
    return net, f"{args.net}, {Path(args.weights).name}", image, statistics


def stem(args: Namespace) -> str:
    """The beginning of a picture's name."""
    return Path(args.net).name


def kernels(args: Namespace) -> int:
    """Draw the first layer's filters."""
    path = picture(args.out, f"{stem(args)}-kernels.png")
    net, title, _, _ = chosen(args)
    save_figure(path, lambda figure: draw_kernels(figure, net, title), (5.6, 4.0))
    print(path)
    return 0


def maps(args: Namespace) -> int:
    """Draw feature maps of an image."""
    path = picture(args.out, f"{stem(args)}-maps.png")
    net, title, (channels, *size), normal = chosen(args)
    pixels = read_image(args.image, channels, (size[0], size[1]), resize=args.resize)
    x = pixels - 0.5 if normal is None else pixels
    if normal is not None:
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in normal)
        x = (pixels - mean) / std
    found = feature_maps(net, x)
    shown = pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
    title = f"{title}, {Path(args.image).name}"
    save_figure(path, lambda figure: draw_feature_maps(figure, found, shown, title), (8.4, 6.2))
    print(path)
    return 0


def fields(args: Namespace) -> int:
    """Draw receptive fields."""
    path = picture(args.out, f"{args.model}-field.png")
    image = image_of(args.model, args.variant)
    rows = summary(args.model, image, variant=args.variant).rows
    layer = args.layer or windows(rows)[-1].name
    mg.manual_seed(0)
    net = get_model(args.model, variant=args.variant)
    gradient = middle_gradient(net, image, layer)
    draw = partial(draw_fields, rows=rows, gradient=gradient, layer=layer, title=args.model)
    save_figure(path, draw, (8.4, 3.4))
    print(path)
    return 0


def graph(args: Namespace) -> int:
    """Draw the architecture of one net, or of several side by side."""
    path = Path(args.out or "-".join(args.model) + ".svg")
    if path.suffix != ".svg":
        raise ArgError(f"--out {path}: the name must end in .svg")
    nets = []
    for name in args.model:
        found = summary(name, image_of(name, args.variant), variant=args.variant)
        note = f"{found.total('parameters'):,} parameters, {found.total('macs'):,} multiply-adds"
        nets.append((name, note, architecture(name, args.variant)))
    io.atomic_write(path, [svg(nets).encode(), b"\n"])
    print(path)
    return 0


def compare(args: Namespace) -> int:
    """Print the table, write it as Markdown, and the chart."""
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    repeats = 0 if args.no_timing else comparison.QUICK if args.quick else comparison.FULL
    say = partial(print, file=sys.stderr, flush=True) if sys.stderr.isatty() else None
    rows = comparison.compare(repeats, say=say)
    print(comparison.text_table(rows))
    text = comparison.markdown_table(rows)
    if repeats:
        print(comparison.correlations(rows))
        text += f"\n\n{comparison.correlations(rows)}\n"
    io.atomic_write(folder / "compare.md", [text.encode(), b"\n"])
    if not can_plot():
        print(f"written: {folder / 'compare.md'}; the chart {HOW_TO_PLOT}")
        return 0
    size = (9.6, 4.4) if repeats else (6.4, 4.4)
    save_figure(folder / "compare.png", lambda f: comparison.draw(f, rows), size)
    print(f"written: compare.md, compare.png in {folder}")
    return 0
