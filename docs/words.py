"""Blocks of words for the pages: the lecture's ledger, recipes, experiments, code, quotations.

Design: a function takes the words after the kind and returns Markdown.  What is measured is never
typed: it is quoted from a file of this repository, with its place.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from functools import reduce
from pathlib import Path

from zoo import history, lecture
from zoo.experiments import EXPERIMENTS, experiment
from zoo.recipes import get_recipe, list_recipes

from . import runs
from .drawings import file_of
from .tables import folded, grid

ROOT = Path(__file__).resolve().parent.parent


def errors(*numbers: str) -> str:
    """Those of the lecture's twelve errors."""
    found = [error for error in lecture.ERRORS if str(error.number) in numbers]
    if len(found) != len(numbers):
        raise ValueError(f"errors are 1 to {len(lecture.ERRORS)}, got {' '.join(numbers)}")
    rows = [(str(e.number), e.line, e.said, f"**{e.right}**", e.why) for e in found]
    return grid(("error", "line", "the lecture says", "right is", "because"), rows)


def slips() -> str:
    """The smaller errors of the lecture."""
    return "\n".join(f"* {slip}" for slip in lecture.SLIPS)


def ledger(first: str, last: str = "") -> str:
    """Every statement of a section of the lecture, or from one row to another, to be opened."""
    found = lecture.select(first)
    if last:
        ids = [*lecture.LEDGER]
        (start,), (end,) = found, lecture.select(last)
        found = lecture.select()[ids.index(start.id) : ids.index(end.id) + 1]
    rows = [(row.id, row.line, row.statement, row.verdict, row.correction) for row in found]
    title = f"The lecture, statement by statement ({lecture.span(found)})"
    return folded(title, grid(("row", "line", "the lecture says", "verdict", "note"), rows))


def challenge() -> str:
    """The ILSVRC, year by year."""
    rows = []
    for e in history.ILSVRC:
        method = e.method.replace("-\n", "-").replace("\n", " ")
        error = f"{e.error:g}{'' if e.checked else ' (not read again)'}"
        rows.append((str(e.year), e.team, method, str(e.layers or ""), error, str(e.place), e.note))
    rows.append(("", "people", "", "", f"{history.HUMAN:g}", "", "the better of two annotators"))
    return grid(("year", "team", "net", "layers", "top-5 error %", "place", "note"), rows)


def recipes(*prefixes: str) -> str:
    """Recipes whose names start so (all, without words), and what was published."""
    wanted = [name for name in list_recipes() if name.startswith(prefixes or "")]
    found = [get_recipe(name) for name in wanted]
    rows = [(f"`{r.name}`", r.title, r.source, r.published or f"scales down `{r.scales_down}`")
            for r in found]  # fmt: skip
    return grid(("`zoo train --recipe`", "what", "source", "published"), rows)


def experiments(*ids: str) -> str:
    """Cards of experiments (all, without words), and the kept runs of those that are named."""
    found = [experiment(word) for word in ids] or [*EXPERIMENTS.values()]
    rows = [(e.id, f"`{e.name}`", e.claim, e.published, e.caveat) for e in found]
    header = ("", "`zoo experiment`", "claim", "published", "what a small run cannot show")
    return "\n\n".join(filter(None, (grid(header, rows), runs.of(*ids))))


def picture(*names: str) -> str:
    """The drawing of one net, or of several side by side, and the command that makes it."""
    file, listed = file_of(names), " ".join(names)
    link = f"![The architecture of {' and '.join(names)}](../images/{file})"
    return f"{link}\n\n`python -m zoo graph {listed} --out docs/images/{file}`"


def source(name: str) -> str:
    """The code of a dotted name, as it stands."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            home = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        try:
            found = reduce(getattr, parts[k:], home)
        except AttributeError as error:
            raise ValueError(f"{name}: {error}") from error
        return f"```python\n{textwrap.dedent(inspect.getsource(found)).rstrip()}\n```"
    raise ValueError(f"{name}: no such module")


# -- measured -------------------------------------------------------------------------------------


def quote(file: str, *words: str) -> str:
    """The sentence of a file in which some words stand, with its place."""
    wanted = " ".join(words)
    found = [
        sentence
        for paragraph in (ROOT / file).read_text(encoding="utf-8").split("\n\n")
        for sentence in re.split(r"(?<=\.) (?=[A-Z])", " ".join(paragraph.split()))
        if wanted in sentence
    ]
    if len(found) != 1:
        raise ValueError(f"{file}: {len(found)} sentences have the words {wanted!r}")
    return f"> {found[0]}\n\n([{file}](../../{file}))"


def benchmarks(*nets: str) -> str:
    """Rows of the newest table of nets in ``benchmarks/results`` that are about these."""
    file = max(f for f in ROOT.glob("benchmarks/results/*.md") if "| net" in f.read_text())
    lines = file.read_text(encoding="utf-8").splitlines()
    starts = [k for k, text in enumerate(lines) if text.startswith("| net") and "infer" in
              " ".join(lines[k : k + 6])]  # fmt: skip
    if not starts:
        raise ValueError(f"{file.name}: no table of nets")
    rows = []
    for text in lines[starts[0] + 2 :]:
        if not text.startswith("|"):
            break
        if re.match(rf"\| `?({'|'.join(nets)})\b", text):
            rows.append(text)
    if not rows:
        raise ValueError(f"{file.name}: no row about {', '.join(nets)}")
    place = f"(milliseconds; [{file.name}](../../benchmarks/results/{file.name}))"
    return "\n".join([*lines[starts[0] : starts[0] + 2], *rows, "", place])


WORDS: dict[str, Callable[..., str]] = {
    "errors": errors, "slips": slips, "ledger": ledger, "challenge": challenge,
    "recipes": recipes, "experiments": experiments, "picture": picture, "source": source,
    "quote": quote, "benchmarks": benchmarks,
}  # fmt: skip
