"""Calls a function of the zoo in a process of its own, and says how much memory it took.

    python -m zoo.child MODULE:FUNCTION [JSON ARGUMENTS]

Design: what a measurement of memory needs is a fresh process; what it may not have is the memory of
a parent.  The child prints one line of JSON: the function's result, the peak of its resident memory
and what it held before the call.  Memory is ``/proc``'s high-water mark, which a new program starts
afresh, or ``getrusage`` where there is no ``/proc``; None where there is neither.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minigrad as mg

STATUS = Path("/proc/self/status")


class ChildError(mg.MinigradError):
    """The process of a measurement has failed."""


@dataclass(frozen=True)
class Outcome:
    """What the function gave back, and bytes of memory: at its peak, and before the call."""

    result: Any
    peak: int | None
    before: int | None


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes."""
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def call(function: str, *arguments: Any, environment: dict[str, str] | None = None) -> Outcome:
    """Call "zoo.module:function" with arguments that JSON can carry. Raises ChildError."""
    settings = {"OMP_WAIT_POLICY": "passive"} | dict(os.environ) | (environment or {})
    settings["OMP_NUM_THREADS"] = str(mg.get_num_threads())
    root = str(Path(__file__).resolve().parent.parent)
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, (root, settings.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "zoo.child", function, json.dumps(arguments)],
        capture_output=True, text=True, env=settings,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ChildError(f"{function}: the process ended with code {done.returncode}: {last}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main(function: str, arguments: str = "[]") -> None:
    """The child's side."""
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name)
    before = peak_memory()
    result = found(*json.loads(arguments))
    print(json.dumps({"result": result, "peak": peak_memory(), "before": before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
