"""What a training run is: every choice that its result depends on, as data.

Design: a frozen dataclass that is checked once, written to the run folder as JSON, and read back by
``--resume`` and ``eval``.  Nothing else decides what a run computes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad.errors import ArgError, CheckpointError

from .registry import entry


@dataclass(frozen=True)
class TrainConfig:
    """One run. The defaults train ResNet-20 on the embedded images in about a minute."""

    model: str = "resnet20"
    data: str = "fashion-mini"
    epochs: int = 7
    batch_size: int = 64
    lr: float = 0.2  # the peak of the one-cycle schedule
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    workers: int = 1
    crop_padding: int = 2
    flip: bool = True
    shortcut: str | None = None

    def check(self) -> TrainConfig:
        """Return self. Raises ArgError naming the option, its value and what is accepted."""
        entry(self.model)
        positive = ("epochs", "batch_size")
        for name in positive:
            if getattr(self, name) < 1:
                raise ArgError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be >= 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ArgError(f"--lr {self.lr}: must be a positive number")
        if not 0 <= self.momentum < 1:
            raise ArgError(f"--momentum {self.momentum}: must lie in [0, 1)")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ArgError(f"--weight-decay {self.weight_decay}: must be >= 0")
        if not 0 <= self.seed < 2**63:
            raise ArgError(f"--seed {self.seed}: must lie in [0, 2**63)")
        if self.workers < 0 or self.crop_padding < 0:
            raise ArgError("--workers and --crop-padding: must be >= 0")
        return self

    def model_options(self) -> dict[str, Any]:
        """Options of the net itself."""
        return {} if self.shortcut is None else {"shortcut": self.shortcut}

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what ``save`` wrote. Raises CheckpointError when it is something else."""
        try:
            return cls(**json.loads(path.read_text())).check()
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: not a training configuration ({error})") from error
