"""E13: naive Inception modules, stacked, grow without end; reductions keep them in bounds.

Design: exact, from shapes alone: the modules of the lecture (28x28, 256 maps in) one on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import nn

from ..googlenet import Inception, NaiveInception
from ..summary import summary
from .framework import Experiment, Plot, Result, Settings, Table, Verdict

START, MODULES = 256, 6


def stack(build: Callable[[int], nn.Module], count: int = MODULES) -> list[tuple[int, int]]:
    """(maps out, multiply-adds) of each module of a stack; build: maps in -> module."""
    found, maps = [], START
    for _ in range(count):
        with nn.meta():
            module = build(maps)
        cost = summary(module, (maps, 28, 28)).total("macs")
        maps = int(module(mg.zeros(1, maps, 3, 3)).shape[1])
        found.append((maps, cost))
    return found


def naive(maps: int) -> nn.Module:
    """The lecture's module without reductions: 1x1, 128; 3x3, 192; 5x5, 96; pooling."""
    return NaiveInception(maps, 128, 192, 96)


def reduced(maps: int) -> nn.Module:
    """The same with 64 maps in front of the large windows and behind the pooling."""
    return Inception(maps, 128, 64, 192, 64, 96, 64)


def run(settings: Settings) -> Result:
    """Maps and cost of six modules of either kind."""
    plain, small = stack(naive), stack(reduced)
    rows = [(k + 1, *a, *b) for k, (a, b) in enumerate(zip(plain, small, strict=True))]
    table = Table(
        f"stacks on 28x28x{START}",
        ("module", "naive: maps", "multiply-adds", "reduced: maps", "multiply-adds"), list(rows),
    )  # fmt: skip
    verdicts = [
        *(
            Verdict(f"naive module {k + 1}: maps", maps, "==", START + 416 * (k + 1))
            for k, (maps, _) in enumerate(plain)
        ),
        *(Verdict(f"reduced module {k + 1}: maps", m, "==", 480) for k, (m, _) in enumerate(small)),
        Verdict("cost of the last naive module over the first", plain[-1][1] / plain[0][1],
                ">", 2.0),
    ]  # fmt: skip
    return Result([table], verdicts, [Plot(lambda f: draw(f, plain, small), (6.8, 2.7))])


def draw(figure: Any, plain: list[tuple[int, int]], small: list[tuple[int, int]]) -> None:
    """Maps and multiply-adds against the number of modules."""
    left, right = figure.subplots(1, 2)
    x = range(1, MODULES + 1)
    for label, found in (("naive", plain), ("with 1x1 reductions", small)):
        left.plot([0, *x], [START, *(m for m, _ in found)], "o-", label=label)
        right.plot(x, [c / 1e9 for _, c in found], "o-", label=label)
    left.set(xlabel="modules", ylabel="maps", ylim=(0, None))
    right.set(xlabel="module", ylabel="multiply-adds, 10⁹", ylim=(0, None), xticks=list(x))
    left.legend()


GROWTH = Experiment(
    "E13", "growth",
    "a naive module passes its input's maps on, so depth only grows: 256, 672, 1088, ...",
    "none: arithmetic; the lecture's output of one module is 28x28x672",
    "Szegedy et al. 2014, section 4",
    "exact",
    run,
)  # fmt: skip
