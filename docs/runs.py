"""Blocks of the pages that show kept runs: experiments and trainings in ``docs/experiments``.

Design: a run is kept by its own files, as the program wrote them (``--out docs/experiments/...``);
here they are read and nothing else is said.  An experiment's folder is NAME-seedN and holds
NAME.json and pictures.  A training's is the name of its recipe and holds config.json,
metrics.jsonl, environment.json, curves.png, and time.txt: user's and system's seconds of the
processor, which ``/usr/bin/time -f "%U %S" -o time.txt`` writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.experiments import EXPERIMENTS, Experiment, experiment
from zoo.experiments.framework import Table
from zoo.recipes import get_recipe, list_recipes

from .tables import folded, grid

KEPT = Path(__file__).resolve().parent / "experiments"
LINK = "../experiments"  # from a page


def kept(e: Experiment) -> list[tuple[Path, dict[str, Any]]]:
    """The JSON files of an experiment's runs, by name, and what they hold."""
    files = sorted(KEPT.glob(f"{e.name}-seed*/{e.name}.json"))
    return [(file, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def met(run: dict[str, Any]) -> str:
    """How many criteria: "4 of 4"."""
    return f"{sum(v['passed'] for v in run['verdicts'])} of {len(run['verdicts'])}"


def cost(run: dict[str, Any]) -> float:
    """Seconds of the processor, to a tenth."""
    return round(run["processor_seconds"], 1)


def pictures(file: Path) -> list[str]:
    """The pictures beside a JSON file, as Markdown."""
    return [f"![{image.stem}]({LINK}/{file.parent.name}/{image.name})"
            for image in sorted(file.parent.glob("*.png"))]  # fmt: skip


def outcome(file: Path, run: dict[str, Any]) -> str:
    """A run of an experiment as its JSON file has it, to be opened."""
    title = f"{run['id']}, seed {run['settings']['seed']}: {met(run)} criteria ({cost(run):.0f} s)"
    body = [f"[{file.name}]({LINK}/{file.parent.name}/{file.name})"]
    for table in run["tables"]:
        body += [f"{table['title']}:", Table(**table).markdown()]
    relations = [(v["what"], f"{v['value']:.4g}", f"{v['relation']} {v['bound']:.4g}",
                  "yes" if v["passed"] else "**no**") for v in run["verdicts"]]  # fmt: skip
    body += [*run["notes"], grid(("criterion", "measured", "wanted", "met"), relations)]
    return folded(title, "\n\n".join([*body, *pictures(file)]))


def results() -> str:
    """Every kept run of every experiment in a line."""
    rows = []
    for e in EXPERIMENTS.values():
        for _, run in kept(e):
            passed = "yes" if run["passed"] else "**no**"
            where = run["environment"]
            rows.append((e.id, f"[`{e.name}`](#{e.id.lower()}-{e.name.replace('.', '')})",
                         str(run["settings"]["seed"]), met(run), passed, f"{cost(run):,.1f}",
                         where["threads"]))  # fmt: skip
    header = ("", "experiment", "seed", "criteria met", "passed", "processor seconds", "threads")
    return grid(header, rows)


def figures() -> str:
    """A section for each experiment: claim, anchor, picture, and its runs."""
    parts = []
    for e in EXPERIMENTS.values():
        runs = kept(e)
        parts += [f"### {e.id} {e.name}", f"The claim: {e.claim}.", f"Published: {e.published}.",
                  f"Source: {e.source}.", f"What a small run cannot show: {e.caveat}."]  # fmt: skip
        parts += pictures(runs[0][0]) if runs else []
        parts += [outcome(file, run) for file, run in runs]
    return "\n\n".join(parts)


def of(*ids: str) -> str:
    """The kept runs of some experiments."""
    return "\n\n".join(outcome(*run) for word in ids for run in kept(experiment(word)))


def metrics(name: str) -> list[dict[str, Any]]:
    """The lines that a kept training wrote, one an epoch; none for a recipe without."""
    file = KEPT / name / "metrics.jsonl"
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def trainings(*prefixes: str) -> str:
    """Kept trainings of recipes whose names start so (all, without words), in a line each."""
    rows = []
    for name in list_recipes():
        found = metrics(name) if name.startswith(prefixes or "") else []
        if not found:
            continue
        config, about = (json.loads((KEPT / name / f"{file}.json").read_text(encoding="utf-8"))
                         for file in ("config", "environment"))  # fmt: skip
        seconds = sum(map(float, (KEPT / name / "time.txt").read_text().split()))
        best = max(found, key=lambda row: row["test_accuracy"])
        rows.append((f"`{name}`", config["model"], config["data"], str(len(found)),
                     f"{found[-1]['test_accuracy']:.2%}",
                     f"{best['test_accuracy']:.2%} ({best['epoch']})",
                     f"{seconds / 60:.1f}", about["threads"]))  # fmt: skip
    header = ("recipe", "net", "data", "epochs", "test accuracy", "best (epoch)",
              "processor minutes", "threads")  # fmt: skip
    return grid(header, rows)


def curve(name: str) -> str:
    """The curves of a kept training. Raises ValueError for a recipe that none is kept of."""
    if not metrics(name):
        raise ValueError(f"{name}: no training of it in {KEPT.name}")
    title = get_recipe(name).title
    return f"![{title}]({LINK}/{name}/curves.png)"


RUNS: dict[str, Callable[..., str]] = {
    "results": results, "figures": figures, "trainings": trainings, "curve": curve,
}  # fmt: skip
