"""The folder of a run: configuration, environment, metrics, checkpoints, curves.

    config.json          every choice the result depends on
    environment.json     versions, instruction set, threads
    metrics.jsonl        one line an epoch
    last.safetensors     everything that --resume needs, bit for bit
    best.safetensors     the parameters and statistics of the best epoch, by test accuracy
    preparation.safetensors  the mean image or whitening matrix, where images need one
    curves.png           loss and accuracy (needs matplotlib, the extra "plot")

Design: the folder is made before training starts, so a path that cannot be written fails at once.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import io
from minigrad.errors import ArgError, CheckpointError

OWN_FILES = (
    "metrics.jsonl", "last.safetensors", "best.safetensors", "preparation.safetensors",
    "curves.png",
)  # fmt: skip
BARS = " ▁▂▃▄▅▆▇█"


def environment() -> dict[str, str]:
    """What a result may depend on besides the configuration."""
    return {
        "minigrad": mg.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": str(mg.get_num_threads()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def choose_folder(out: str | None, model: str, data: str, *, force: bool) -> Path:
    """Where a new run will be. Raises ArgError when there is something already."""
    if out is None:
        base = Path("runs")
        stem = f"{model}-{Path(data).stem}"
        taken = {p.name for p in base.glob(f"{stem}-*")} if base.exists() else set()
        number = next(k for k in range(1, 10_000) if f"{stem}-{k}" not in taken)
        path = base / f"{stem}-{number}"
    else:
        path = Path(out)
    if path.exists() and not path.is_dir():
        raise ArgError(f"--out {path}: is not a folder; give another name")
    if path.exists() and any(path.iterdir()) and not force:
        raise ArgError(f"--out {path}: exists and is not empty; use --force, or --resume {path}")
    return path


def make_folder(path: Path, files: Mapping[str, str]) -> None:
    """Make the folder with these files, without those of an earlier run.

    Raises OSError, now rather than after an epoch; a folder that was new is then gone again.
    """
    new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            io.atomic_write(path / name, [text.encode()])
        for name in OWN_FILES:
            (path / name).unlink(missing_ok=True)
    except OSError:
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def latest_folder() -> Path:
    """The youngest run under ``runs/``. Raises FileNotFoundError with the way out."""
    found = [p.parent for p in Path("runs").glob("*/best.safetensors")]
    if not found:
        raise FileNotFoundError(
            "no trained run under runs/; train one with `python -m zoo train`, or name its folder"
        )
    return max(found, key=lambda p: (p / "best.safetensors").stat().st_mtime)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl. Raises CheckpointError for a damaged file."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise CheckpointError(f"{path}: not a metrics file ({error})") from error


def write_metrics(folder: Path, metrics: list[dict[str, Any]]) -> None:
    """Replace metrics.jsonl in one step."""
    lines = "".join(json.dumps(m) + "\n" for m in metrics)
    io.atomic_write(folder / "metrics.jsonl", [lines.encode()])


def sparkline(values: list[float]) -> str:
    """A curve in one line of text, from its lowest to its highest value."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[1 + round((v - low) / span * (len(BARS) - 2))] for v in values)


def terminal_curves(metrics: list[dict[str, Any]]) -> str:
    """Loss and accuracy as lines of text."""
    rows = []
    forms = {"train_loss": "{:.3f}", "test_loss": "{:.3f}", "test_accuracy": "{:.1%}"}
    for key, form in forms.items():
        values = [m[key] for m in metrics]
        first, last = form.format(values[0]), form.format(values[-1])
        rows.append(f"  {key:14} {first:>7} {sparkline(values)} {last}")
    return "\n".join(rows)


def draw_curves(folder: Path, metrics: list[dict[str, Any]], title: str) -> Path | None:
    """Write curves.png; None when matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    epochs = [m["epoch"] for m in metrics]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(epochs, [m["train_loss"] for m in metrics], "o-", ms=3, label="training (augmented)")
    left.plot(epochs, [m["test_loss"] for m in metrics], "o-", ms=3, label="test")
    left.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(epochs, [100 * m["train_accuracy"] for m in metrics], "o-", ms=3)
    right.plot(epochs, [100 * m["test_accuracy"] for m in metrics], "o-", ms=3)
    best = max(m["test_accuracy"] for m in metrics)
    right.set(xlabel="epoch", ylabel="accuracy, %", title=f"best test accuracy {best:.1%}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
