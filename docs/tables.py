"""Tables of counts for the pages: a function for each kind of block.

Design: a function takes the words after the kind and returns Markdown.  Counts come from
``zoo.summary``: a net without memory for its numbers (``nn.meta``) runs on a batch of no images, so
that shapes are exact and nothing is computed.  Blocks of words are in ``words.py``.

A net is written NAME, NAME@VARIANT or NAME:OPTION=VALUE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import nn
from zoo import get_model, list_models
from zoo.googlenet import Inception, NaiveInception
from zoo.registry import entry, image_of
from zoo.summary import Row, Summary, watch
from zoo.vgg import TABLES

Cell = float | str | None
ROOT = Path(__file__).resolve().parent.parent
COUNTS = ("values", "weights", "parameters", "macs")
COLUMNS = ("weights", "parameters", "MACs", "values")
HEADER = ("layer", "kind", "output", "values", "weights", "parameters", "MACs", "field")
# params (K) and ops (M) of Szegedy et al. 2014, table 1
SZEGEDY = {
    "conv1": (2.7, 34), "conv2": (112, 360), "3a": (159, 128), "3b": (380, 304), "4a": (364, 73),
    "4b": (437, 88), "4c": (463, 100), "4d": (580, 119), "4e": (840, 170), "5a": (1072, 54),
    "5b": (1388, 71), "fc": (1000, 1),
}  # fmt: skip
LECTURE: dict[str, Callable[[], nn.Module]] = {  # the module of the lecture, on 28x28 maps
    "naive": lambda: NaiveInception(256, 128, 192, 96),
    "reduced": lambda: Inception(256, 128, 64, 192, 64, 96, 64),
}


# -- Markdown -------------------------------------------------------------------------------------


def number(value: Cell) -> str:
    """A cell: counts with commas, nothing for 0 and None."""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return "" if not value else f"{value:,}"


def grid(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table; columns of numbers are set to the right."""
    right = [all(not isinstance(row[k], str) for row in rows) for k in range(len(header))]
    lines = [list(header), ["--:" if r else "---" for r in right]]
    lines += [[number(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def folded(title: str, body: str) -> str:
    """A long table that a reader opens."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


# -- counts ---------------------------------------------------------------------------------------


@cache
def counted(net: str) -> Summary:
    """The layers of a net, at its own size of image. Raises ArgError."""
    name, _, words = net.partition(":")
    name, _, variant = name.partition("@")
    options: dict[str, Any] = dict(word.split("=") for word in words.split(",") if word)
    image = image_of(name, variant or None)
    with nn.meta():
        made = get_model(name, variant=variant or None, **options)
    return of(made, image)


def of(made: nn.Module, image: tuple[int, ...]) -> Summary:
    """The layers of a net that was built in ``nn.meta``."""
    with mg.no_grad():
        rows = watch(made.eval(), mg.zeros(0, *image))
    ran = sum(row.parameters for row in rows)
    first = Row("input", "", image, math.prod(image), 0, 0, 0, 1)
    return Summary((first, *rows), sum(p.size for p in made.parameters()) - ran)


def line(row: Row) -> tuple[Cell, ...]:
    """A layer's cells."""
    name = row.name if row.name == "input" else f"`{row.name}`"
    size = "x".join(map(str, row.output))
    return (name, row.kind, size, *(getattr(row, what) for what in COUNTS), row.field)


def total(found: Summary) -> tuple[Cell, ...]:
    """The last line of a table of layers."""
    return ("**total**", "", "", *(found.total(what) for what in COUNTS), None)


def layers(net: str) -> str:
    """Every layer of a net."""
    found = counted(net)
    megabytes = 4 * found.total("values") / 1e6
    after = f"Values of one image in float32: {megabytes:.1f} MB."
    if found.idle:
        after += f" Auxiliary heads, in training only: {found.idle:,} more parameters."
    return f"{grid(HEADER, [*map(line, found), total(found)])}\n\n{after}"


def long(net: str) -> str:
    """Every layer, to be opened."""
    count = len(counted(net).rows) - 1
    return folded(f"All {count:,} layers of <code>{net}</code>", layers(net))


def parts(net: str) -> str:
    """The sums of a net's direct children, such as stages and modules."""
    found = counted(net)
    names = list(dict.fromkeys(row.name.partition(".")[0] for row in found))
    rows = []
    for name in names:
        own = [row for row in found if row.name.partition(".")[0] == name]
        kinds = [row.kind for row in own]
        deep = kinds.count("Conv2d") + kinds.count("ConvReLU") + kinds.count("Linear")
        sums = [sum(getattr(row, what) for row in own) for what in COUNTS]
        output = own[-1].output
        if name.startswith("inception"):  # the branches side by side
            ends = [a for a, b in zip(own, [*own[1:], own[0]], strict=True)
                    if branch(a) != branch(b)]  # fmt: skip
            output = (sum(row.output[0] for row in ends), *output[1:])
        rows.append((name if name == "input" else f"`{name}`", deep, "x".join(map(str, output)),
                     *sums, max(row.field for row in own)))  # fmt: skip
    header = ("part", "weighted layers", *HEADER[2:])
    last = total(found)
    return grid(header, [*rows, (last[0], sum(row[1] for row in rows), *last[2:])])


def branch(row: Row) -> str:
    """The branch of an inception module that a layer belongs to."""
    return ".".join(row.name.split(".")[:2])


def nets(*patterns: str) -> str:
    """Names of ``get_model``, and what each net costs."""
    rows: list[tuple[Cell, ...]] = []
    for name in (name for p in patterns for name in list_models(p)):
        forms = [name] if entry(name).torchvision is None else [name, f"{name}@torchvision"]
        for form in forms:
            found = counted(form)
            image = "x".join(map(str, found.rows[0].output))
            variant = form.partition("@")[2]
            options = ", ".join(f"`{option}`" for option in entry(name, variant or None).options)
            counts = [found.total(what) for what in ("weights", "parameters", "macs", "values")]
            rows.append((f"`{name}`", variant, image, *counts, options))
    return grid(("name", "variant", "image", *COLUMNS, "options"), rows)


def shortcuts(*names: str) -> str:
    """Parameters and MACs of residual nets with options A, B and C."""
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        found = [counted(f"{name}:shortcut={option}") for option in "ABC"]
        rows.append((f"`{name}`", *(f.total("parameters") for f in found),
                     *(f.total("macs") for f in found)))  # fmt: skip
    ends = [f"{what}, {option}" for what in ("parameters", "MACs") for option in "ABC"]
    return grid(("net", *ends), rows)


def strides(*names: str) -> str:
    """MACs of bottleneck nets with the stride on the first 1x1 and on the 3x3 convolution."""
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        first, second = (counted(f"{name}:stride_on={where}") for where in ("1x1", "3x3"))
        rows.append((f"`{name}`", first.total("parameters"), second.total("parameters"),
                     first.total("macs"), second.total("macs")))  # fmt: skip
    ends = [f"{what}, {w}" for what in ("parameters", "MACs") for w in ("1x1", "3x3")]
    return grid(("net", *ends), rows)


def configurations() -> str:
    """The rows of VGG's table 1, by size of the maps."""
    stages: dict[str, list[str]] = {}
    for letter, row in TABLES.items():
        text = " ".join(f"`{item}`" if isinstance(item, str) else str(item) for item in row)
        stages[letter] = text.removesuffix(" `M`").split(" `M` ")
    rows = [(f"**{letter}**", *cells) for letter, cells in stages.items()]
    return grid(("net", *(f"{224 >> k} pixels" for k in range(5))), rows)


def szegedy() -> str:
    """Table 1 of the GoogLeNet paper beside what its own rows give."""
    found = counted("googlenet")
    ours: dict[str, list[int]] = {name: [0, 0] for name in SZEGEDY}
    for row in found:
        name = row.name.partition(".")[0].removeprefix("inception")
        name = "conv2" if name == "conv3" else name
        if name in ours:
            ours[name][0] += row.parameters
            ours[name][1] += row.macs
    rows = [(SZEGEDY[name][0], p, SZEGEDY[name][1], m) for name, (p, m) in ours.items()]
    sums = [round(sum(column), 1) for column in zip(*rows, strict=True)]
    names = [*(f"`{name}`" for name in ours), "**sum**"]
    header = ("layer", "paper, K", "parameters", "paper, M", "MACs")
    return grid(header, [(name, *row) for name, row in zip(names, [*rows, sums], strict=True)])


def module(which: str) -> str:
    """The inception module of the lecture on 28x28 maps of 256: naive, or reduced."""
    with nn.meta():
        found = of(LECTURE[which](), (256, 28, 28))
    return grid(HEADER, [*map(line, found), total(found)])


COUNTED: dict[str, Callable[..., str]] = {
    "layers": layers, "long": long, "parts": parts, "nets": nets, "shortcuts": shortcuts,
    "strides": strides, "configurations": configurations, "szegedy": szegedy, "module": module,
}  # fmt: skip
