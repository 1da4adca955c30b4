"""E11: accuracy, operations and parameters of the lecture's nets in one chart.

Design: the work is ``zoo.compare``; here stand the sentences of the lecture (after Canziani et al.
2017 and CS231n) as criteria on its rows.
"""

from __future__ import annotations

from ..compare import (
    BATCH,
    FULL,
    HEADER,
    QUICK,
    Row,
    cells,
    compare,
    correlations,
    draw,
    time_correlation,
)
from .framework import Experiment, Plot, Result, Settings, Table, Verdict, say


def claims(rows: list[Row]) -> list[Verdict]:
    """What the lecture reads off the chart, with counts and published accuracies only."""
    by = {row.net.label: row for row in rows}
    winners = [by[n] for n in ("AlexNet", "GoogLeNet", "VGG-19", "ResNet-152")]
    others = [row for row in rows if row.net.family != "VGG"]
    vgg = [row for row in rows if row.net.family == "VGG"]
    densest = max(winners, key=lambda row: row.density)
    return [
        Verdict("VGG: its least parameters over the most of others",
                min(r.parameters for r in vgg) / max(r.parameters for r in others), ">", 1.0),
        Verdict("VGG-19: multiply-adds over the most of others",
                by["VGG-19"].macs / max(r.macs for r in others), ">", 1.0),
        Verdict("GoogLeNet: parameters over the least of the other winners",
                by["GoogLeNet"].parameters
                / min(r.parameters for r in winners if r is not by["GoogLeNet"]), "<", 1.0),
        Verdict("GoogLeNet: accuracy per parameter over that of the best winner",
                by["GoogLeNet"].density / densest.density, ">=", 1.0),
        Verdict("GoogLeNet over AlexNet, accuracy per parameter (Canziani: about 10)",
                by["GoogLeNet"].density / by["AlexNet"].density, ">=", 8.0),
        Verdict("GoogLeNet over VGG-16, accuracy per parameter (Canziani: about 20)",
                by["GoogLeNet"].density / by["VGG-16"].density, ">=", 15.0),
        Verdict("AlexNet: lowest accuracy among the winners, minus the next",
                by["AlexNet"].net.top1 - min(r.net.top1 for r in winners[1:]), "<", 0.0),
        Verdict("AlexNet: multiply-adds over the least of the other winners",
                by["AlexNet"].macs / min(r.macs for r in winners[1:]), "<", 1.0),
        Verdict("ResNet-152: accuracy over the best of the others",
                by["ResNet-152"].net.top1
                - max(r.net.top1 for r in rows if r is not by["ResNet-152"]), ">", 0.0),
    ]  # fmt: skip


def run(settings: Settings) -> Result:
    """Count, measure, and compare."""
    rows = compare(settings.pick(QUICK, FULL), say=say)
    verdicts = [
        *claims(rows),
        Verdict(f"rank correlation of multiply-adds and time, direct, batch of {BATCH}",
                time_correlation(rows), ">=", 0.9),
    ]  # fmt: skip
    note = (
        f"{correlations(rows)}; alone, AlexNet's time is that of reading its 61M weights; by "
        "default, Winograd's algorithm makes VGG faster than its multiply-adds say"
    )
    table = Table(
        "published accuracy, counts, inference of one image", HEADER, list(map(cells, rows))
    )
    return Result([table], verdicts, [Plot(lambda f: draw(f, rows), (9.6, 4.2))], [note])


CHART = Experiment(
    "E11", "chart",
    "VGG has the most parameters and operations, GoogLeNet the fewest parameters of the winners, "
    "AlexNet few operations and the lowest accuracy, ResNet the highest; operations predict time",
    "Canziani: accuracy per parameter of GoogLeNet about 10 times AlexNet's and 20 times VGG-16's",
    "Canziani, Paszke and Culurciello 2017, figures 1, 2 and 10",
    "accuracies are published, not measured here; times are of this machine",
    run,
)  # fmt: skip
