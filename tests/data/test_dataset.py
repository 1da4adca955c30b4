"""Datasets: indexing, subsets, concatenation, and splits that lose nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.data import (
    ArrayDataset,
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    collate,
    random_split,
)
from minigrad.errors import ArgError, DTypeError, ShapeError


class Squares:
    """A dataset without ``batch``: sample i is (i, i * i)."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index * index


def numbers(n: int, start: int = 0) -> ArrayDataset:
    return ArrayDataset(np.arange(start, start + n), np.arange(start, start + n) * 10)


def test_everything_here_is_a_dataset():
    for d in (numbers(3), Subset(numbers(3), [0]), ConcatDataset([numbers(3)]), Squares(2)):
        assert isinstance(d, Dataset)


def test_array_dataset_gives_tuples_of_its_arrays():
    d = numbers(5)
    assert len(d) == 5
    assert d[3] == (3, 30)
    x, y = d.batch(np.array([4, 0, 4]))
    assert x.tolist() == [4, 0, 4] and y.tolist() == [40, 0, 40]


def test_array_dataset_refuses_what_has_no_common_length():
    with pytest.raises(ShapeError, match=r"differ in length, \[3, 4\]"):
        ArrayDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError, match="0-d"):
        ArrayDataset(np.float32(1))
    with pytest.raises(ArgError, match="no arrays"):
        TensorDataset()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.data())
def test_concat_batch_equals_its_samples_one_by_one(lengths, data):
    d = ConcatDataset([numbers(n, 100 * k) for k, n in enumerate(lengths)])
    assert len(d) == sum(lengths)
    if len(d) == 0:
        return
    indices = np.array(data.draw(st.lists(st.integers(0, len(d) - 1), min_size=1, max_size=9)))
    x, y = d.batch(indices)
    assert [(a, b) for a, b in zip(x, y, strict=True)] == [d[int(i)] for i in indices]


def test_concat_mixes_datasets_with_and_without_batch():
    d = ConcatDataset([Squares(3), numbers(2)])
    x, y = d.batch(np.array([4, 2, 0]))
    assert x.tolist() == [1, 2, 0] and y.tolist() == [10, 4, 0]
    assert d[-1] == (1, 10)
    with pytest.raises(IndexError, match="index 5 is outside 5"):
        d[5]
    with pytest.raises(ArgError, match="no datasets"):
        ConcatDataset([])


def test_subset_of_a_subset():
    inner = Subset(numbers(10), [9, 7, 5])
    outer = Subset(inner, [2, 0])
    assert [outer[i][0] for i in range(2)] == [5, 9]
    assert outer.batch(np.array([1, 0]))[0].tolist() == [9, 5]
    with pytest.raises(ArgError, match="index 3 is outside a dataset of 3"):
        Subset(inner, [0, 3])


@given(st.integers(0, 40), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_random_split_is_a_partition(n, parts, seed):
    fractions = [p / sum(parts) for p in parts]
    subsets = random_split(numbers(n), fractions, seed=seed)
    assert sorted(i for s in subsets for i in s.indices) == list(range(n))
    assert all(abs(len(s) - n * f) < len(parts) for s, f in zip(subsets, fractions, strict=True))


def test_random_split_by_counts_is_repeatable_and_checked():
    a, b = random_split(numbers(10), [7, 3], seed=5)
    again, _ = random_split(numbers(10), [7, 3], seed=5)
    other, _ = random_split(numbers(10), [7, 3], seed=6)
    assert len(a) == 7 and len(b) == 3
    assert a.indices.tolist() == again.indices.tolist() != other.indices.tolist()
    with pytest.raises(ArgError, match="sum to 9; expected 10 samples"):
        random_split(numbers(10), [7, 2])
    with pytest.raises(ArgError, match="negative"):
        random_split(numbers(10), [11, -1])


def test_collate_keeps_the_structure_of_samples():
    samples = [{"x": np.full(2, i), "y": i, "t": float(i), "name": str(i)} for i in range(3)]
    batch = collate(samples)
    assert batch["x"].shape == (3, 2)
    assert batch["y"].dtype == np.int64 and batch["t"].dtype == np.float32
    assert batch["name"] == ["0", "1", "2"]
    nested = collate([(1, (2.0, np.zeros(3)))] * 4)
    assert nested[1][1].shape == (4, 3)


def test_collate_names_the_sample_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"sample 1 .* \(3,\), sample 0 has \(2,\)"):
        collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match="numbers of fields"):
        collate([(1, 2), (1,)])
    with pytest.raises(DTypeError, match="cannot stack object"):
        collate([object(), object()])
