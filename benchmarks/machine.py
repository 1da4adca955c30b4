"""The machine line: on what a table was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad._kernels import dispatch


def processor() -> str:
    """The processor's own name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_line() -> str:
    """Processor, cores, FMA peak, versions: one line for the top of a table."""
    threads = mg.get_num_threads()
    peak = dispatch.fma_peak(threads) / 1e9
    return (
        f"{processor()}, {os.cpu_count()} cores, {threads} threads, {dispatch.isa()}, FMA peak "
        f"{peak:.0f} GFLOP/s (float32, measured now); {platform.system()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, minigrad {mg.__version__}"
    )
