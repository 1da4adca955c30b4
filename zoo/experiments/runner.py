"""Runs an experiment and leaves its outcome: text on the screen, a JSON file, pictures.

    NAME.json        settings, environment, verdicts and tables
    NAME.png         the picture, NAME-WHAT.png where there are several (extra "plot")

Design: files are written when the experiment has ended, each whole or not at all; a folder that
cannot be written is noticed before it begins.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import io

from ..pictures import HOW_TO_PLOT, can_plot, save_figure
from ..run_folder import environment
from .framework import Experiment, Result, Settings


def folder_for(out: str | None, name: str, seed: int) -> Path:
    """The folder of an experiment's files, made and writable. Raises OSError."""
    path = Path(out) if out else Path("runs") / "experiments" / f"{name}-seed{seed}"
    path.mkdir(parents=True, exist_ok=True)
    probe = path / ".writable"
    probe.write_text("")
    probe.unlink()
    return path


def processor_seconds() -> float:
    """What this process and its children that have ended have used so far, on all cores."""
    return sum(os.times()[:4])


def record(experiment: Experiment, settings: Settings, result: Result, took: dict[str, Any]) -> Any:
    """Everything that the JSON file says; took: seconds by the wall's and the processor's clock."""
    card = {k: getattr(experiment, k) for k in ("id", "name", "claim", "published", "source")}
    return {
        **card,
        "caveat": experiment.caveat,
        "settings": asdict(settings),
        "environment": environment(),
        **took,
        **result.to_dict(),
    }


def save(experiment: Experiment, result: Result, out: Path, recorded: Any) -> str:
    """Write the files; returns what to say about them."""
    text = json.dumps(recorded, indent=2)
    names = [f"{experiment.name}.json"]
    io.atomic_write(out / names[0], [text.encode(), b"\n"])
    if result.plots and not can_plot():
        return f"{out / names[0]}; the picture {HOW_TO_PLOT}"
    for plot in result.plots:
        names.append("-".join(filter(None, (experiment.name, plot.name))) + ".png")
        save_figure(out / names[-1], plot.draw, plot.size)
    return f"{', '.join(names)} in {out}"


def run(experiment: Experiment, settings: Settings, out: str | None = None) -> Result:
    """Run it, print what it found, write its files. Raises OSError, and what the data raises."""
    folder = folder_for(out, experiment.name, settings.seed)
    print(f"{experiment.card()}\n", flush=True)
    mg.manual_seed(settings.seed)
    began = time.perf_counter(), processor_seconds()
    result = experiment.run(settings)
    seconds = time.perf_counter() - began[0]
    took = {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds() - began[1], 2),
    }
    for table in result.tables:
        print(f"{table}\n")
    for line in (*result.notes, *result.verdicts):
        print(line)
    where = save(experiment, result, folder, record(experiment, settings, result, took))
    state = f"skipped: {result.skipped}" if result.skipped else verdict(result)
    print(f"{experiment.id} {experiment.name}, seed {settings.seed}: {state} ({seconds:.1f} s)")
    print(f"written: {where}")
    return result


def verdict(result: Result) -> str:
    """One word, and how much of it."""
    good = sum(v.passed for v in result.verdicts)
    return f"{'passed' if result.passed else 'FAILED'}, {good} of {len(result.verdicts)} criteria"
