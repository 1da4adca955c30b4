"""Changing a Tensor in place: ``x += 1``, ``x[i] = v``, ``x.copy_(v)``.

Design: an untracked Tensor is simply overwritten.  A tracked one is overwritten *and* moves on to a
new node; whoever kept its old value raises GraphError when played (``versions.py``), and so does
whoever uses an old view of it.  Leaves that need a gradient refuse (use ``no_grad``), and so do
views that are on the tape: write to the Tensor they came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import versions
from ._engine import TensorBase, is_grad_enabled, mutated
from ._kernels import kept
from .errors import DTypeError, GraphError, ShapeError
from .ops import index

if TYPE_CHECKING:
    from .tensor import Tensor


def is_view(t: Tensor) -> bool:
    """Whether `t` sees only part of a buffer, or sees it in another shape."""
    root = versions.owner(t.data)
    return root is not t.data and (root.size != t.size or t.data.base is None)


def read_only(name: str, t: Tensor) -> GraphError:
    """The error of `name`, which would write to the Tensor `t` and may not; says the way out."""
    held = kept.is_held(t.data) or kept.is_held(versions.owner(t.data))
    way = "leave `with nn.fixed_weights(..):` first" if held else "work on t.clone()"
    return GraphError(f"{name}: the memory of this Tensor is read-only; {way}")


def update(t: Tensor, rule: Any, other: Any) -> Tensor:
    """``t += other`` and its kind."""
    tracked = is_grad_enabled() and (t.requires_grad or getattr(other, "requires_grad", False))
    if tracked and is_view(t) and not t.is_leaf:
        return rule(t, other)  # x[0] += 1: __setitem__ writes the result into x
    return overwrite(t, rule(t, other), ..., rule.__name__ + "_")


def overwrite(t: Tensor, value: Any, key: Any, name: str) -> Tensor:
    """Write `value` into ``t[key]``, in memory and on the tape."""
    tracked = is_grad_enabled() and (t.requires_grad or getattr(value, "requires_grad", False))
    raw = value.data if isinstance(value, TensorBase) else np.asarray(value)
    floats = raw.dtype.kind == t.dtype.kind == "f" and raw.dtype != t.dtype
    if floats and not isinstance(value, int | float | list):
        raise DTypeError(
            f"{name}: the Tensor is {t.dtype}, the value {raw.dtype}; cast with .astype"
        )
    if not t.data.flags.writeable:
        raise read_only(name, t)
    node, key = t.node, index.plain(key)
    if tracked:
        if t.requires_grad and t.is_leaf:
            raise GraphError(
                f"{name}: a leaf that needs a gradient cannot be changed while recording; use "
                "`with minigrad.no_grad():`, or work on t.clone()"
            )
        if is_view(t):
            raise GraphError(f"{name}: a view is on the tape; write to the Tensor it came from")
        if key is ... and raw.shape == t.shape:
            node = value.node if isinstance(value, TensorBase) else None
        else:
            new = value if isinstance(value, TensorBase) else raw.astype(t.dtype)
            node = index.setitem(t, new, index=key).node
    try:
        t.data[key] = raw
    except (ValueError, IndexError, TypeError) as error:
        raise ShapeError(f"{name}: cannot write {raw.shape} into {t.shape}: {error}") from None
    mutated(t.data, node if tracked else None)
    if tracked:
        t.node = node
    return t
