"""What an experiment is, what it gives back, and how its outcome becomes text and JSON.

Design: an ``Experiment`` is a card (what is claimed, what was published and where, what a small
run cannot show) and a function from ``Settings`` to a ``Result``.  A result holds tables, verdicts
and plots; a verdict compares a measured number with a bound, so that passing is computed and never
said.  Running, printing and writing files is ``runner.py``.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Cell = str | int | float | None
RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a user may choose. weights: a file of published weights, for the one that needs it."""

    seed: int = 0
    full: bool = False
    data: str = "fashion-mini"
    weights: str | None = None

    def pick(self, quick: T, full: T) -> T:
        """One of two, for a run of minutes or for one of hours."""
        return full if self.full else quick

    def seeds(self, count: int) -> list[int]:
        """So many seeds; those of another ``seed`` are all different."""
        return [self.seed * count + k for k in range(count)]


def cell(value: Cell) -> str:
    """A cell as text: counts with commas, other numbers with four digits."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and rows."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Any]]  # cells

    def __str__(self) -> str:
        texts = [self.header, *(tuple(map(cell, row)) for row in self.rows)]
        widths = [max(len(line[k]) for line in texts) for k in range(len(self.header))]
        left = [all(isinstance(r[k], str | None) for r in self.rows) for k in range(len(widths))]
        lines = [
            "  ".join(
                c.ljust(w) if at_left else c.rjust(w)
                for c, w, at_left in zip(line, widths, left, strict=True)
            ).rstrip()
            for line in texts
        ]
        return "\n".join([self.title, lines[0], "  ".join("-" * w for w in widths), *lines[1:]])

    def markdown(self) -> str:
        """The same as a Markdown table, without the title; a bar in a cell is escaped."""
        numbers = [
            all(not isinstance(r[k], str) for r in self.rows) for k in range(len(self.header))
        ]
        lines = [list(self.header), ["--:" if n else "---" for n in numbers]]
        lines += [[cell(value) for value in row] for row in self.rows]
        lines = [[text.replace("|", "\\|") for text in line] for line in lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Verdict:
    """``value`` stands in ``relation`` to ``bound``, or the experiment has failed."""

    what: str
    value: float
    relation: str
    bound: float

    @property
    def passed(self) -> bool:
        """Whether it does; a NaN does not."""
        return bool(RELATIONS[self.relation](self.value, self.bound))

    def __str__(self) -> str:
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark}  {self.what}: {cell(self.value)} {self.relation} {cell(self.bound)}"


def within(what: str, value: float, low: float, high: float) -> list[Verdict]:
    """low <= value <= high, as two verdicts."""
    return [Verdict(what, value, ">=", low), Verdict(what, value, "<=", high)]


@dataclass(frozen=True)
class Plot:
    """A picture: ``draw`` fills an empty figure of matplotlib of ``size`` inches."""

    draw: Callable[[Any], None]
    size: tuple[float, float] = (7.2, 4.0)
    name: str = ""  # what the file is called after the experiment's name, where there are several


@dataclass
class Result:
    """What an experiment found. skipped: why it could not run."""

    tables: list[Table] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every verdict holds; an experiment without a verdict has not passed."""
        return bool(self.verdicts) and all(v.passed for v in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as plain data."""
        return {
            "passed": None if self.skipped else self.passed,
            "skipped": self.skipped,
            "verdicts": [asdict(v) | {"passed": v.passed} for v in self.verdicts],
            "tables": [asdict(t) for t in self.tables],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Experiment:
    """A card and the function that does the work."""

    id: str  # E1 to E16
    name: str
    claim: str
    published: str  # the figures that the literature has
    source: str  # and where
    caveat: str
    run: Callable[[Settings], Result]

    def card(self) -> str:
        """What is known before it runs."""
        lines = {"published": self.published, "source": self.source, "caveat": self.caveat}
        return "\n".join(
            [f"{self.id} {self.name}: {self.claim}", *(f"  {k:10}{v}" for k, v in lines.items())]
        )


def say(text: str) -> None:
    """A line about progress, for people who watch."""
    if sys.stderr.isatty():
        print(f"  {text}", file=sys.stderr, flush=True)
