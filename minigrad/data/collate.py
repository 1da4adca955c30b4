"""From samples to a batch, and from arrays to Tensors.

Design: two small recursive functions over tuples, lists and dictionaries.  Tensors appear only
in ``to_tensors``, and ``minigrad.tensor`` is imported only when it is called, so every other
part of ``minigrad.data`` runs on NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.data.dataset import as_array
from minigrad.errors import DTypeError, ShapeError


def collate(samples: Sequence[Any]) -> Any:
    """A list of equal-structured samples as one sample with a leading batch axis.

    Arrays and Tensors are stacked; integers become int64 and floats float32 arrays of shape
    (N,); tuples, lists and dictionaries are collated field by field; strings stay a list.

    Raises   ShapeError if arrays differ in shape; DTypeError for a kind that is none of these
    """
    first = samples[0]
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, Mapping):
        return {key: collate([s[key] for s in samples]) for key in first}
    if isinstance(first, tuple | list):
        if any(len(s) != len(first) for s in samples):
            raise ShapeError("collate: samples have different numbers of fields")
        return tuple(collate(column) for column in zip(*samples, strict=True))
    if isinstance(first, bool | int | np.integer):
        return np.asarray(samples, dtype=np.int64)
    if isinstance(first, float):
        return np.asarray(samples, dtype=np.float32)
    arrays = [as_array(s) for s in samples]
    if arrays[0].dtype == object:
        raise DTypeError(f"collate: cannot stack {type(first).__name__}; pass collate=")
    for i, a in enumerate(arrays):
        if a.shape != arrays[0].shape:
            raise ShapeError(
                f"collate: sample {i} of the batch has shape {a.shape}, sample 0 has"
                f" {arrays[0].shape}; resize or crop them to one size first"
            )
    return np.stack(arrays)


def to_tensors(batch: Any) -> Any:
    """``batch`` with every array of numbers as a Tensor on the same memory.

    The arrays must be the batch's own: nothing is copied.  Label types narrower than int64 are
    widened to it; whatever is not an array of numbers is left as it is.
    """
    if isinstance(batch, Mapping):
        return {key: to_tensors(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(to_tensors(value) for value in batch)
    if not isinstance(batch, np.ndarray):
        return batch
    from minigrad.tensor import Tensor

    if batch.dtype.kind in "iu" and batch.ndim <= 1:
        batch = batch.astype(np.int64, copy=False)
    return Tensor(batch) if batch.dtype.kind in "fiub" else batch
