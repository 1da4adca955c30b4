"""Accuracy, operations, parameters, time and memory of the lecture's nets, side by side.

Design: accuracies are published (``published.py``), parameters and multiply-adds are counted by the
zoo, time and memory are measured here, each net in a process of its own with random weights, which
cost the same as trained ones.  The rank correlation says how well multiply-adds predict time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg

from . import child
from .pictures import COLORS
from .published import PUBLISHED, Published
from .registry import get_model, image_of
from .summary import summary

QUICK, FULL = 3, 15  # timed passes
BATCH = 4
FAMILIES = ("AlexNet", "NIN", "GoogLeNet", "VGG", "ResNet")


@dataclass(frozen=True)
class Row:
    """A net: what was published, counted, and measured (None where it was not)."""

    net: Published
    parameters: int
    macs: int
    values: int
    latency: float | None = None  # milliseconds of one image alone
    milliseconds: float | None = None  # of one image in a batch
    direct: float | None = None  # the same without Winograd's algorithm
    peak: int | None = None  # bytes that the process took for the net and one image

    @property
    def density(self) -> float:
        """Points of top-1 accuracy for each million of parameters."""
        return self.net.top1 / (self.parameters / 1e6)


def count(net: Published) -> Row:
    """Parameters, multiply-adds and values of one image, without memory for the numbers."""
    image = image_of(net.model, net.variant)
    found = summary(net.model, image, variant=net.variant, **net.options)
    parameters, macs, values = (found.total(w) for w in ("parameters", "macs", "values"))
    return Row(net, parameters, macs, values)


def least(run: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of the fastest of some calls, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times[1:])


def time_net(name: str, variant: str, options: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Inference of one image and of a batch, and the memory of the first; runs in a child."""
    net = get_model(name, variant=variant, **options).eval()
    one, several = (
        mg.from_numpy(np.zeros((n, *image_of(name, variant)), np.float32)) for n in (1, BATCH)
    )
    with mg.no_grad():
        latency = least(lambda: net(one), repeats)
        peak = child.peak_memory()
        return {"one": latency, "peak": peak, "each": least(lambda: net(several), repeats) / BATCH}


def measure(row: Row, repeats: int) -> Row:
    """The row with times and memory. Raises ChildError."""
    net = row.net
    arguments = (f"{__name__}:time_net", net.model, net.variant, net.options, repeats)
    found = child.call(*arguments)
    direct = child.call(*arguments, environment={"MINIGRAD_CONV": "direct"}).result["each"]
    times, before = found.result, found.before
    peak = None if times["peak"] is None or before is None else times["peak"] - before
    return replace(row, latency=times["one"], milliseconds=times["each"], direct=direct, peak=peak)


def compare(
    repeats: int, nets: Sequence[Published] = PUBLISHED, say: Callable[[str], None] | None = None
) -> list[Row]:
    """Rows of all nets; 0 repeats: without measuring."""
    rows = []
    for net in nets:
        row = count(net)
        rows.append(measure(row, repeats) if repeats else row)
        if say is not None:
            say(f"{net.label}: {rows[-1].milliseconds or 0:.0f} ms")
    return rows


def ranks(values: Sequence[float]) -> Any:
    """Places from 1; equal values share the mean of their places."""
    array = np.asarray(values, np.float64)
    return np.array([(array < v).sum() + ((array == v).sum() + 1) / 2 for v in array])


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the places.

    >>> round(rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]), 12)
    0.8
    """
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def time_correlation(rows: Sequence[Row], which: str = "direct") -> float:
    """The rank correlation of multiply-adds and a time: "latency", "milliseconds" or "direct".

    Raises ValueError without times.
    """
    times = [getattr(row, which) for row in rows]
    if any(t is None for t in times):
        raise ValueError("compare: not every net was timed")
    return rank_correlation([row.macs for row in rows], times)


def correlations(rows: Sequence[Row]) -> str:
    """All three as a line of text."""
    names = {
        "direct": "direct convolution",
        "milliseconds": "default",
        "latency": "one image alone",
    }
    found = ", ".join(f"{name} {time_correlation(rows, k):.3f}" for k, name in names.items())
    return f"rank correlation of multiply-adds and time: {found}"


HEADER = (
    "net", "weights of", "top-1 %", "top-5 %", "GMAC", "parameters M", "top-1 % per M",
    "values M", "ms alone", "ms in batch", "direct", "GMAC/s", "peak MB",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    ms, gmac = row.milliseconds, row.macs / 1e9
    return (
        row.net.label,
        row.net.source,
        f"{row.net.top1:.2f}",
        "" if row.net.top5 is None else f"{row.net.top5:.2f}",
        f"{gmac:.2f}",
        f"{row.parameters / 1e6:.1f}",
        f"{row.density:.2f}",
        f"{row.values / 1e6:.2f}",
        "" if row.latency is None else f"{row.latency:.1f}",
        "" if ms is None else f"{ms:.1f}",
        "" if row.direct is None else f"{row.direct:.1f}",
        "" if ms is None else f"{1e3 * gmac / ms:.0f}",
        "" if row.peak is None else f"{row.peak / 1e6:.0f}",
    )


def text_table(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if k < 2 else c.rjust(w)
            for k, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """The same in Markdown."""
    rule = ("---", "---", *("--:" for _ in HEADER[2:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEADER, rule, *map(cells, rows)))


# where a label stands: points to the right and up from the middle of its bubble
PLACES = {
    "AlexNet": (14, 3), "AlexNet, one column": (14, -11), "NIN": (8, 5), "GoogLeNet": (-7, -14),
    "GoogLeNet, BN": (1, 9), "VGG-11": (0, -21), "VGG-13": (0, -21), "VGG-16": (0, -21),
    "VGG-19": (0, -21), "ResNet-18": (9, -4), "ResNet-34": (-8, 9), "ResNet-50": (-8, 11),
    "ResNet-101": (-10, 13), "ResNet-152": (-10, 15),
}  # fmt: skip


def bubbles(axis: Any, rows: Sequence[Row], x: Callable[[Row], float]) -> None:
    """Accuracy against x, the area of a bubble in proportion to the parameters."""
    for family, color in zip(FAMILIES, COLORS, strict=False):
        own = [row for row in rows if row.net.family == family]
        axis.scatter(
            [x(r) for r in own], [r.net.top1 for r in own], label=family, color=color, alpha=0.55,
            s=[4.5 * r.parameters / 1e6 for r in own], edgecolor=color, linewidth=0.8,
        )  # fmt: skip
        axis.scatter([x(r) for r in own], [r.net.top1 for r in own], color=color, s=5)
    for row in rows:
        axis.annotate(
            row.net.label, (x(row), row.net.top1), PLACES.get(row.net.label, (0, 12)),
            textcoords="offset points", fontsize=7,
            ha="left" if PLACES.get(row.net.label, (0, 0))[0] > 0 else "center",
        )  # fmt: skip


def size_legend(axis: Any) -> None:
    """What the areas mean."""
    handles = [
        axis.scatter([], [], s=4.5 * m, color="0.75", edgecolor="0.4", label=f"{m} M")
        for m in (5, 50, 140)
    ]
    axis.legend(handles=handles, title="parameters", loc="lower right", labelspacing=1.5,
                borderpad=1.2, handletextpad=1.4)  # fmt: skip


def draw(figure: Any, rows: Sequence[Row]) -> None:
    """Canziani's chart; where times are known, a second one of time against operations."""
    timed = all(row.milliseconds is not None for row in rows)
    axes = figure.subplots(1, 2, width_ratios=(1.7, 1)) if timed else [figure.subplots()]
    bubbles(axes[0], rows, lambda row: row.macs / 1e9)
    axes[0].set(xlabel="multiply-adds of one image, 10⁹ (operations: twice as many)",
                ylabel="published top-1 accuracy, one crop, %", xlim=(-0.9, 22),
                ylim=(53, 81))  # fmt: skip
    size_legend(axes[0])
    if timed:
        draw_times(axes[1], rows)


def draw_times(axis: Any, rows: Sequence[Row]) -> None:
    """Measured time against multiply-adds."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for family, color in zip(FAMILIES, COLORS, strict=False):
        own = [row for row in rows if row.net.family == family]
        x = [r.macs / 1e9 for r in own]
        axis.plot(x, [r.direct for r in own], "o", ms=5, color=color, label=family)
        axis.plot(x, [r.milliseconds for r in own], "o", ms=5, color=color, mfc="none")
    axis.plot([], [], "o", ms=5, color="0.4", label="direct convolution")
    axis.plot([], [], "o", ms=5, color="0.4", mfc="none", label="with Winograd's algorithm")
    axis.set(xlabel="multiply-adds, 10⁹", ylabel=f"inference in a batch of {BATCH}, ms per image",
             xscale="log", yscale="log",
             title=f"rank correlation {time_correlation(rows):.3f} (direct)")  # fmt: skip
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(LogLocator(subs=(1, 2, 5)))
        one.set_major_formatter("{x:g}")
        one.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=7)
