"""Design: all planted faults, in one list; the size of a sample is drawn from a fixed seed."""

from __future__ import annotations

import random

from tests.sabotage import kernels, library, rules, windows, winograd
from tests.sabotage.fault import Fault

FAULTS: list[Fault] = [
    *windows.FAULTS,
    *winograd.FAULTS,
    *kernels.FAULTS,
    *rules.FAULTS,
    *library.FAULTS,
]


def sample(count: int, seed: int = 0) -> list[Fault]:
    """`count` faults that any machine can notice, the same for the same seed."""
    anywhere = [fault for fault in FAULTS if not fault.isa]
    return random.Random(seed).sample(anywhere, min(count, len(anywhere)))
