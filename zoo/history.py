"""The history of the ImageNet challenge (ILSVRC): who entered, how deep, with which error.

Design: tables as data; the text, the bar chart and the lecture's ledger read them.  ``checked`` is
False for numbers that were not read again in a paper: the table marks them with a question mark,
the chart with dashes, and no test depends on them.  The chart needs matplotlib (extra ``plot``).

Sources: Krizhevsky et al. 2012 (2010 and 2012), Zeiler and Fergus 2013, Szegedy et al. 2014,
Simonyan and Zisserman 2014, He et al. 2015 (tables 4, 5 and 14), Russakovsky et al. 2015 (people).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad.errors import ArgError

from .pictures import COLORS, save_figure

IMAGES = (".png", ".svg")


@dataclass(frozen=True)
class Entry:
    """An entry of the challenge. layers: with weights, None for methods that are not deep.

    error: top-5 in percent on the test set, without images from outside where both are known.
    """

    year: int
    team: str
    method: str  # as the chart calls it
    layers: int | None
    error: float
    place: int
    note: str = ""
    checked: bool = True


ILSVRC: tuple[Entry, ...] = (
    Entry(2010, "NEC-UIUC", "sparse\ncoding", None, 28.2, 1, "Lin et al.; top-1 error 47.1"),
    Entry(2011, "XRCE", "Fisher\nvectors", None, 25.8, 1, "Sánchez and Perronnin", checked=False),
    Entry(2012, "SuperVision", "AlexNet", 8, 16.4, 1, "5 nets; 15.3 with 2 of 7 nets pre-trained on"
          " 22,000 classes; the second had 26.2"),
    Entry(2013, "Clarifai", "Clarifai", 8, 11.7, 1, "Zeiler; 11.2 with more images; the published "
          "net of Zeiler and Fergus: 14.8 (6 nets)"),
    Entry(2014, "GoogLeNet", "GoogLeNet", 22, 6.67, 1, "7 nets, 144 crops"),
    Entry(2014, "VGG", "VGG", 19, 7.32, 2, "7 nets; first in localization"),
    Entry(2014, "MSRA", "SPP-net", None, 7.35, 3, "He et al. 2014"),
    Entry(2015, "MSRA", "ResNet", 152, 3.57, 1, "6 nets"),
    Entry(2016, "Trimps-Soushen", "Trimps-\nSoushen", None, 2.99, 1, "ensemble", checked=False),
    Entry(2017, "WMW", "SENet", None, 2.25, 1, "ensemble", checked=False),
)  # fmt: skip
HUMAN = 5.1  # percent, top-5: the better of two people who classified by hand

# percent: localization, top-5 error (class and box), and detection, mean average precision
LOCALIZATION = {"OverFeat 2013": 29.9, "GoogLeNet 2014": 26.7, "VGG 2014": 25.3, "ResNet 2015": 9.0}
DETECTION = {"UvA 2013": 22.6, "GoogLeNet 2014": 43.9, "ResNet 2015": 62.1}


def winner(year: int) -> Entry:
    """The first of a year. Raises ArgError.

    >>> winner(2015).team, winner(2015).error
    ('MSRA', 3.57)
    """
    for found in ILSVRC:
        if (found.year, found.place) == (year, 1):
            return found
    years = sorted({e.year for e in ILSVRC})
    raise ArgError(f"no winner of {year}; the ILSVRC ran from {years[0]} to {years[-1]}")


def second(year: int) -> Entry | None:
    """The second of a year, where the table has it."""
    return next((e for e in ILSVRC if (e.year, e.place) == (year, 2)), None)


def table() -> str:
    """The history as text."""
    lines = [("year", "team", "net", "layers", "error %", "note")]
    for e in ILSVRC:
        error = f"{e.error:g}{'' if e.checked else '?'}"
        place = "" if e.place == 1 else f" (place {e.place})"
        method = e.method.replace("-\n", "-").replace("\n", " ")
        lines.append((str(e.year), e.team + place, method, str(e.layers or ""), error, e.note))
    lines.append(("", "people", "", "", f"{HUMAN:g}", "the better of two annotators"))
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    rows = []
    for line in lines:
        cells = [c.rjust(w) if k in (3, 4) else c.ljust(w)
                 for k, (c, w) in enumerate(zip(line[:5], widths, strict=True))]  # fmt: skip
        rows.append("  ".join([*cells, line[5]]).rstrip())
    rows.append("top-5 classification error on the test set; ?: not read again in a paper")
    for what, found in (
        ("localization, top-5 error", LOCALIZATION),
        ("detection, mean average precision", DETECTION),
    ):
        rows.append(f"{what} %: " + ", ".join(f"{k} {v:g}" for k, v in found.items()))
    return "\n".join(rows)


def draw(figure: Any) -> None:
    """Fill a figure of matplotlib: errors of the first two of each year, people, depth."""
    shown = [e for e in ILSVRC if e.place <= 2]
    places = range(len(shown))
    blue, orange, pale = COLORS[0], COLORS[1], "#a9cfe8"
    depth, error = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    errors, layers = [e.error for e in shown], [e.layers or 0 for e in shown]
    for axes, values in ((error, errors), (depth, layers)):
        bars = axes.bar(places, values, width=0.72, color=blue, edgecolor=blue, zorder=2)
        for bar, e in zip(bars, shown, strict=True):
            if e.place > 1 or not e.checked:
                bar.set_facecolor(pale if e.checked else "white")
                bar.set_linestyle("-" if e.checked else "--")
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
    for place, e in zip(places, shown, strict=True):
        ink = "white" if e.checked and e.place == 1 else "black"
        error.text(place, e.error - 0.35, f"{e.error:g}", color=ink, weight="bold", ha="center",
                   va="top", zorder=4, fontsize=8)  # fmt: skip
        what = str(e.layers) if e.layers else ("not deep" if e.year < 2012 else "ensemble")
        depth.text(place, (e.layers or 0) + 4, what, ha="center", va="bottom", fontsize=8)
    error.axhline(HUMAN, color=orange, linestyle="--", linewidth=1.2, zorder=3)
    error.text(len(shown) - 0.45, HUMAN + 0.3, f"people: {HUMAN:g}", color=orange, ha="right",
               va="bottom", fontsize=8)  # fmt: skip
    error.set_xticks(places, [f"{e.year}\n{e.method}" for e in shown], fontsize=8)
    error.set(ylabel="top-5 error, %", ylim=(0, 30), xlim=(-0.55, len(shown) - 0.45))
    depth.set(ylabel="layers", ylim=(0, 185))
    title = "ILSVRC classification: winners (VGG: second); dashed: not read again in a paper"
    depth.set_title(title, loc="left")


def plot(path: str | Path) -> Path:
    """Write the bar chart as PNG or SVG; returns the path.

    Raises ArgError for another ending, ImportError without matplotlib, OSError.
    """
    file = Path(path)
    if file.suffix not in IMAGES:
        raise ArgError(f"{file}: the picture must be called NAME.png or NAME.svg")
    save_figure(file, draw, (7.2, 4.6))
    return file
