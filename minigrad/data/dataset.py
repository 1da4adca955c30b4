"""Datasets: things with a length whose samples are found by number.

Design: a dataset is any object with ``__len__`` and ``__getitem__(i) -> sample``; a sample is a
tuple such as ``(image, label)``.  A dataset that can gather many samples faster than one by one
also has ``batch(indices) -> tuple of arrays``; the loader prefers it.  Everything here is NumPy:
Tensors are made by the loader, at the last moment.  Random changes to images are not here
either; see ``transforms``, and ``loader.py`` for the order in which samples come.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.errors import ArgError, ShapeError

Array = NDArray[Any]


@runtime_checkable
class Dataset(Protocol):
    """What the loader needs: a length, and a sample for each index from 0 to length - 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def as_array(value: object) -> Array:
    """The NumPy array of ``value``: an array itself, a Tensor's data, or a new array."""
    if isinstance(value, np.ndarray):
        return value
    numpy = getattr(value, "numpy", None)
    return np.asarray(numpy() if callable(numpy) else value)


def gather(dataset: Dataset, indices: Array) -> tuple[Array, ...]:
    """The samples at ``indices`` as stacked arrays, by ``dataset.batch`` where it exists."""
    fast = getattr(dataset, "batch", None)
    if fast is not None:
        fields: tuple[Array, ...] = fast(indices)
        return fields
    samples = [dataset[int(i)] for i in indices]
    columns = zip(*(s if isinstance(s, tuple) else (s,) for s in samples), strict=True)
    return tuple(np.stack([as_array(v) for v in column]) for column in columns)


class ArrayDataset:
    """Arrays of equal length: sample ``i`` is ``(a[i], b[i], ...)``.

    Shapes   every array: (N, ...), the same N
    Raises   ShapeError for different lengths or a 0-d array, ArgError for no array at all
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        if not arrays:
            raise ArgError("ArrayDataset: no arrays given; pass images, labels")
        self.arrays = tuple(as_array(a) for a in arrays)
        if any(a.ndim == 0 for a in self.arrays):
            raise ShapeError("ArrayDataset: a 0-d array has no samples; expected shape (N, ...)")
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ShapeError(f"ArrayDataset: arrays differ in length, {lengths}; cut them to one")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)

    def batch(self, indices: Array) -> tuple[Array, ...]:
        """The samples at ``indices`` (n,) as one array of shape (n, ...) per field."""
        return tuple(a[indices] for a in self.arrays)


class TensorDataset(ArrayDataset):
    """``ArrayDataset`` under the name that PyTorch gives it; Tensors are taken as arrays."""


class Subset:
    """The samples of ``dataset`` at ``indices``, in that order (repeats are allowed).

    Raises   ArgError for an index outside the dataset
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | Array) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        bad = (self.indices < 0) | (self.indices >= len(dataset))
        if bad.any():
            raise ArgError(
                f"Subset: index {int(self.indices[bad][0])} is outside a dataset of {len(dataset)}"
                " samples"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: Array) -> tuple[Array, ...]:
        """The samples at positions ``indices`` of this subset, gathered from the dataset."""
        return gather(self.dataset, self.indices[indices])


class ConcatDataset:
    """Datasets end to end: their samples one after the other.

    Raises   ArgError for an empty list
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        if not datasets:
            raise ArgError("ConcatDataset: no datasets given; pass a list of at least one")
        self.datasets = list(datasets)
        self.ends = [int(n) for n in np.cumsum([len(d) for d in self.datasets])]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index {index} is outside {n} samples")
        index %= n
        k = bisect.bisect_right(self.ends, index)
        return self.datasets[k][index - (self.ends[k - 1] if k else 0)]

    def batch(self, indices: Array) -> tuple[Array, ...]:
        """The samples at ``indices``, gathered dataset by dataset and put back in order."""
        indices = np.asarray(indices)
        owner = np.searchsorted(self.ends, indices, side="right")
        order = np.argsort(owner, kind="stable")
        parts = []
        for k in np.unique(owner):
            start = self.ends[k - 1] if k else 0
            parts.append(gather(self.datasets[k], indices[owner == k] - start))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return tuple(np.concatenate(field)[back] for field in zip(*parts, strict=True))


def random_split(
    dataset: Dataset, lengths: Sequence[int | float], *, seed: int = 0
) -> list[Subset]:
    """``dataset`` cut at random into disjoint parts.

    ``lengths`` are sample counts that sum to the length, or fractions that sum to 1; what
    rounding leaves over goes to the first parts, one each.  The same seed gives the same parts.

    Raises   ArgError if the lengths are negative or do not sum to the length or to 1
    """
    n = len(dataset)
    if any(v < 0 for v in lengths):
        raise ArgError(f"random_split: negative length in {list(lengths)}")
    if any(isinstance(v, float) for v in lengths) and abs(sum(lengths) - 1) < 1e-6:
        counts = [int(n * v + 1e-9) for v in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
    elif sum(lengths) == n:
        counts = [int(v) for v in lengths]
    else:
        raise ArgError(
            f"random_split: lengths {list(lengths)} sum to {sum(lengths)}; expected {n} samples"
            " or fractions that sum to 1"
        )
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(n)
    ends = np.cumsum([0, *counts])
    return [Subset(dataset, order[a:b]) for a, b in itertools.pairwise(ends)]
