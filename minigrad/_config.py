"""What was built and what is in use: ``minigrad.show_config()`` and ``python -m minigrad``."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from ._kernels import dispatch, memory, threads
from ._version import __version__


def numpy_blas() -> str:
    """Name and version of the BLAS that NumPy was built with (minigrad's hot path uses none)."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def config() -> dict[str, str]:
    """The facts that ``show_config`` prints."""
    build = dispatch.build_info()
    openmp = build["openmp"] or "no (serial build)"
    return {
        "minigrad": __version__,
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "numpy": f"{np.__version__}, BLAS: {numpy_blas()}",
        "instruction sets": f"built {', '.join(dispatch.isas())}; in use {dispatch.isa()}",
        "compiler": f"{build['compiler']} {build['flags']}",
        "OpenMP": openmp,
        "threads": str(threads.get_num_threads()),
        "allocator": ", ".join(f"{k} {v}" for k, v in memory.memory_stats().items()),
    }


def show_config() -> None:
    """Print version, instruction sets, compiler, flags, OpenMP, threads, BLAS and allocator."""
    for key, value in config().items():
        print(f"{key:17} {value}")
