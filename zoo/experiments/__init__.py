"""The lecture's claims as experiments: ``python -m zoo experiment list | NAME``.

Design: one file for an experiment or for a few that share their net; ``framework.py`` says what an
experiment is, ``runner.py`` runs one, ``training.py`` and ``nets.py`` are what several share.
"""

from __future__ import annotations

import difflib

from minigrad.errors import ArgError

from .ablations import ABLATIONS
from .auxiliary import AUXILIARY
from .chart import CHART
from .construction import CONSTRUCTION
from .degradation import DEGRADATION
from .ensembles import ENSEMBLES
from .equation_414 import EQUATION_414
from .filters import BOTTLENECK, SMALL_FILTERS
from .framework import Experiment, Result, Settings
from .gradient_flow import GRADIENT_FLOW
from .growth import GROWTH
from .heads import HEADS_EXPERIMENT
from .memory import MEMORY
from .published_weights import PUBLISHED_WEIGHTS
from .runner import run
from .transfer import TRANSFER
from .views import VIEWS

__all__ = ["EXPERIMENTS", "Experiment", "Result", "Settings", "experiment", "run"]

ALL = (
    DEGRADATION, CONSTRUCTION, GRADIENT_FLOW, EQUATION_414, SMALL_FILTERS, BOTTLENECK,
    HEADS_EXPERIMENT, ABLATIONS, ENSEMBLES, VIEWS, CHART, TRANSFER, GROWTH, MEMORY,
    PUBLISHED_WEIGHTS, AUXILIARY,
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in ALL}


def experiment(name: str) -> Experiment:
    """The experiment of a name ("degradation") or number ("E1"). Raises ArgError."""
    for found in EXPERIMENTS.values():
        if name in (found.name, found.id, found.id.lower()):
            return found
    near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ArgError(f"unknown experiment {name!r}; {hint}available: {', '.join(EXPERIMENTS)}")
