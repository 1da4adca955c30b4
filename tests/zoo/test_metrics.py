"""The top-k error: its definition, its ties, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.errors import ArgError, DTypeError, ShapeError
from zoo.metrics import places, topk_error

BATCHES = st.tuples(st.integers(1, 12), st.integers(1, 9))


@st.composite
def scored(draw):
    """Few different scores, so that ties are common, and labels."""
    n, classes = draw(BATCHES)
    scores = draw(hnp.arrays(np.float32, (n, classes), elements=st.sampled_from([-1.0, 0.0, 2.5])))
    return scores, draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def by_sorting(scores, y, k):
    """The definition, with a stable sort: the k first classes in descending order."""
    wrong = 0
    for row, label in zip(scores, y, strict=True):
        first = sorted(range(len(row)), key=lambda c: -row[c])[:k]  # stable: lower index first
        wrong += label not in first
    return wrong / len(y)


@given(scored())
def test_it_is_the_definition_also_with_ties(batch):
    scores, y = batch
    for k in range(1, scores.shape[1] + 1):
        assert topk_error(scores, y, k) == pytest.approx(by_sorting(scores, y, k))


@given(scored())
def test_it_never_grows_with_k_and_ends_at_zero(batch):
    scores, y = batch
    errors = [topk_error(scores, y, k) for k in range(1, scores.shape[1] + 1)]
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0.0


@given(scored())
def test_top_1_is_what_training_calls_one_minus_accuracy(batch):
    scores, y = batch
    assert topk_error(scores, y) == pytest.approx(1 - (scores.argmax(axis=1) == y).mean())


def test_the_lower_index_wins_a_tie():
    scores = np.zeros((6, 6))
    assert places(scores, np.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]
    assert topk_error(scores, np.arange(6), 1) == pytest.approx(5 / 6)
    assert topk_error(scores, np.arange(6), 5) == pytest.approx(1 / 6)


def test_it_depends_on_the_order_of_scores_only():
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(40, 10)), rng.integers(0, 10, 40)
    for k in (1, 5):
        assert topk_error(scores, y, k) == topk_error(np.exp(scores) / 3, y, k)
    assert topk_error(scores, y, 5) < topk_error(scores, y, 1)


def test_nan_is_never_right_and_infinity_is_a_score():
    scores = np.array([[np.nan, 1.0, 2.0], [0.0, np.nan, 3.0], [np.inf, 1.0, -np.inf]])
    y = np.array([0, 2, 0])
    assert places(scores, y).tolist() == [3, 3, 0]
    assert topk_error(scores, y, 3) == pytest.approx(2 / 3)


def test_tensors_are_taken_as_arrays_are():
    logits = mg.tensor([[0.1, 0.7, 0.2]], requires_grad=True)
    assert topk_error(logits, mg.tensor([2]), 2) == 0.0


@pytest.mark.parametrize(
    ("logits", "y", "k", "error", "message"),
    [
        (np.zeros((2, 3)), [0, 1, 2], 1, ShapeError, r"got \(2, 3\) and \(3,\)"),
        (np.zeros(3), 0, 1, ShapeError, r"expected logits \(N, classes\)"),
        (np.zeros((2, 3)), [0.0, 1.0], 1, DTypeError, "labels must be integers, got float64"),
        (np.zeros((0, 3)), np.zeros(0, int), 1, ArgError, "no images"),
        (np.zeros((2, 3)), [0, 3], 1, ArgError, "label 3 is not one of 3 classes"),
        (np.zeros((2, 3)), [0, -1], 1, ArgError, "label -1 is not one of 3 classes"),
        (np.zeros((2, 3)), [0, 1], 0, ArgError, "k must be an integer from 1 to 3, got 0"),
        (np.zeros((2, 3)), [0, 1], 5, ArgError, "from 1 to 3, got 5"),
        (np.zeros((2, 3)), [0, 1], True, ArgError, "got True"),
    ],
)
def test_what_makes_no_sense_is_refused(logits, y, k, error, message):
    with pytest.raises(error, match=message):
        topk_error(logits, y, k)
