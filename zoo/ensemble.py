"""Ensembles: several trained nets vote by averaging their class probabilities.

Design: members are run folders that were trained on the same classes.  The mean of probabilities
has a loss of at most the mean of the members' losses, always: -log is convex (Jensen).  That the
error falls too is experience, not mathematics (Krizhevsky et al. 2012, section 5: 18.2 % for one
net, 16.4 % for five; top-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import ArgError, ShapeError

from .evaluation import Subject, log_loss
from .metrics import topk_error

Array = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """Loss (mean -log p of the right class) and error, in [0, 1]."""

    loss: float
    error: float


@dataclass(frozen=True)
class Ensemble:
    """What members and their mean scored."""

    members: tuple[Score, ...]
    together: Score

    @property
    def mean(self) -> Score:
        """The mean of the members' losses and errors."""
        loss, error = (
            float(np.mean([getattr(m, what) for m in self.members])) for what in ("loss", "error")
        )
        return Score(loss, error)


def score(chances: Array, labels: Array) -> Score:
    """Of class probabilities (N, classes) on labels (N,)."""
    return Score(log_loss(chances, labels), topk_error(chances, labels, 1))


def combine(members: list[Array], labels: Array) -> Ensemble:
    """Members' class probabilities (N, classes) each, on labels (N,).

    Raises ArgError without members, ShapeError where shapes differ.
    """
    if not members:
        raise ArgError("ensemble: no members; give at least one run")
    shapes = {m.shape for m in members}
    if len(shapes) > 1:
        raise ShapeError(f"ensemble: members answered {sorted(shapes)}; use the same test set")
    together = np.mean(members, axis=0)  # (N, classes)
    return Ensemble(tuple(score(m, labels) for m in members), score(together, labels))


def common_data(members: list[Subject], given: str | None) -> str:
    """The data set that all members are tested on. Raises ArgError where they disagree."""
    first = members[0]
    for member in members[1:]:
        if member.about.classes != first.about.classes:
            raise ArgError(f"ensemble: {member.title} has other classes than {first.title}")
    found = sorted({str(m.data) for m in members})
    if given is None and len(found) > 1:
        raise ArgError(f"ensemble: trained on {', '.join(found)}; pass --data NAME|PATH")
    return found[0] if given is None else given


def table(titles: list[str], found: Ensemble) -> str:
    """Members, their mean, and the ensemble, as text."""
    rows = [
        *zip(titles, found.members, strict=True), ("mean of members", found.mean),
        (f"ensemble of {len(titles)}", found.together),
    ]  # fmt: skip
    width = max(len(title) for title, _ in rows)
    lines = [f"{'':{width}}    loss   error"]
    lines += [f"{title:{width}}  {s.loss:6.4f}  {s.error:6.2%}" for title, s in rows]
    return "\n".join(lines)
