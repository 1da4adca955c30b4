"""Which tape plays: the compiled one, or its plain-Python twin.

Design: ``MINIGRAD_TAPE=reference`` swaps in ``minigrad/reference/tape.py`` so that a debugger can
step through ``backward``.  Everything above imports the tape's names from here and never knows
which one it got.
"""

import os
from typing import TYPE_CHECKING

from .errors import ArgError

_choice = os.environ.get("MINIGRAD_TAPE", "compiled")

if TYPE_CHECKING or _choice == "compiled":
    from ._record import Rule
    from ._sweep import sweep
    from ._tape import (
        Node,
        TensorBase,
        close_segment,
        configure,
        is_grad_enabled,
        mutated,
        open_segment,
        set_anomaly,
        set_grad_enabled,
    )
elif _choice == "reference":
    from .reference.tape import (
        Node,
        Rule,
        TensorBase,
        close_segment,
        configure,
        is_grad_enabled,
        mutated,
        open_segment,
        set_anomaly,
        set_grad_enabled,
        sweep,
    )
else:
    raise ArgError(f"MINIGRAD_TAPE={_choice!r} is unknown; use 'compiled' or 'reference'")

__all__ = [
    "Node",
    "Rule",
    "TensorBase",
    "close_segment",
    "configure",
    "is_grad_enabled",
    "mutated",
    "open_segment",
    "set_anomaly",
    "set_grad_enabled",
    "sweep",
]
