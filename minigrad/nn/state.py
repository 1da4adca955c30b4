"""Whether a saved state fits a module, and copying one value of it.

Design: everything is judged before anything is written, and all faults are listed at once, so a
state that does not fit costs one message and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import CheckpointError
from minigrad.inplace import read_only
from minigrad.nn.meta import is_meta, own
from minigrad.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Keys(NamedTuple):
    """What `load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor | Array], *, strict: bool, name: str
) -> Keys:
    """The keys without partner; CheckpointError listing every fault if the state does not fit."""
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    faults = []
    for key, target in own.items():
        reason = misfit(target, state[key]) if key in state else None
        if reason is not None:
            faults.append(f"{key}: {reason}")
    if strict:
        faults += [f"missing key: {key}" for key in missing]
        faults += [f"unexpected key: {key}" for key in unexpected]
    if faults:
        raise CheckpointError(
            f"load_state_dict: the state does not fit {name}, which is unchanged:\n  "
            + "\n  ".join(faults)
        )
    return Keys(missing, unexpected)


def misfit(target: Tensor, value: object) -> str | None:
    """Why `value` cannot be copied into `target`, or None."""
    if not isinstance(value, (Tensor, np.ndarray)):
        return f"is {type(value).__name__}, not a Tensor or an array"
    if value.shape != target.shape:
        return f"has shape {value.shape}, expected {target.shape}"
    if value.dtype.kind != target.dtype.kind:
        return f"has dtype {value.dtype}, expected {target.dtype}"
    if not (target.data.flags.writeable or is_meta(target.data)):
        return f"cannot be written: {read_only('the module', target)}"
    return None


def write(target: Tensor, value: Tensor | Array) -> None:
    """Copy the numbers of `value` into `target`, in target's dtype."""
    own(target).data[...] = value.data if isinstance(value, Tensor) else value
    target.mutated_()
