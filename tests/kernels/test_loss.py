"""Design: softmax and cross-entropy kernels against their twins, and the laws of a loss by rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad._kernels import loss as kernel
from minigrad.errors import MinigradError
from minigrad.reference import loss as ref
from tests.layouts import LAYOUTS, NAN_MARGINS, check_memory, lay, same, u
from tests.strategies import FLOATS, SEEDS, integers, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
ROWS = st.integers(0, 9)
CLASSES = st.sampled_from((1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 33, 100, 1000))
KWARGS = st.fixed_dictionaries(
    {
        "ignore_index": st.sampled_from((-100, 0, -1)),
        "label_smoothing": st.sampled_from((0.0, 0.1, 0.5, 1.0)),
    }
)


def operands(n, c, seed, dtype, ignore=-100, weighted=True):
    """x (N,C), labels (N,) a third of them ignored, weight (C,) or None, g_row (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < 0.3, ignore, rng.integers(0, c, n))
    weight = (0.1 + rng.random(c)).astype(dtype) if weighted else None
    return 4 * reals(rng, (n, c), dtype), labels, weight, reals(rng, n, dtype)


def wide(*arrays):
    return tuple(None if a is None else a.astype(np.float64) for a in arrays)


def check_close(got, want, dtype, scale):
    assert got.shape == want.shape and got.dtype == dtype
    assert np.all(abs(got - want) <= 32 * u(dtype) * (scale + abs(want)))


@DTYPES
@given(ROWS, CLASSES, SEEDS)
def test_softmax_and_its_logarithm_equal_the_reference(dtype, n, c, seed):
    x, *_ = operands(n, c, seed, dtype)
    g = reals(np.random.default_rng(seed), (n, c), dtype)
    out = kernel.log_softmax(x)
    gx = kernel.log_softmax_grad(g, out)
    check_close(out, ref.log_softmax(*wide(x)), dtype, abs(x).max(initial=0))
    want = ref.log_softmax_grad(*wide(g, out))
    check_close(gx, want, dtype, 2 * abs(g).sum(axis=1, keepdims=True))
    probs = kernel.softmax(x)
    check_close(probs, ref.softmax(*wide(x)), dtype, abs(x).max(initial=0) * probs)
    check_memory((out, gx, probs), (x, g))


@DTYPES
@given(ROWS, CLASSES, st.booleans(), KWARGS, SEEDS)
def test_cross_entropy_equals_the_reference(dtype, n, c, weighted, kw, seed):
    x, labels, weight, g = operands(n, c, seed, dtype, kw["ignore_index"], weighted)
    rows, probs = kernel.cross_entropy(x, labels, weight, **kw)
    want_rows, want_probs = ref.cross_entropy(*wide(x), labels, *wide(weight), **kw)
    size = 1 if weight is None else weight.max()
    check_close(rows, want_rows, dtype, size * abs(x).max(initial=0))
    check_close(probs, want_probs, dtype, abs(x).max(initial=0) * want_probs)
    gx = kernel.cross_entropy_grad(g, probs, labels, weight, **kw)
    want = ref.cross_entropy_grad(*wide(g, probs), labels, *wide(weight), **kw)
    check_close(gx, want, dtype, 2 * size * abs(g).reshape(n, 1))
    check_memory((rows, probs, gx), (x, labels, weight, g))
    ignored = labels == kw["ignore_index"]
    assert (rows[ignored] == 0).all() and (gx[ignored] == 0).all()


@given(st.integers(1, 9), CLASSES, SEEDS)
def test_gradient_rows_sum_to_zero_and_probabilities_to_one(n, c, seed):
    x, labels, weight, g = operands(n, c, seed, np.float64)
    kw = dict(ignore_index=-100, label_smoothing=0.3)
    _, probs = kernel.cross_entropy(x, labels, weight, **kw)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-12)
    gx = kernel.cross_entropy_grad(g, probs, labels, weight, **kw)
    assert np.all(abs(gx.sum(axis=1)) <= 1e-12 * (abs(gx).sum(axis=1) + 1))


@DTYPES
@given(st.integers(1, 5), CLASSES, st.sampled_from((-1024.0, 1024.0, 2.0**20)), SEEDS)
def test_a_constant_added_to_every_logit_changes_nothing(dtype, n, c, shift, seed):
    rng = np.random.default_rng(seed)
    x, labels = integers(rng, (n, c), dtype) / 8, rng.integers(0, c, n)  # exact when shifted
    kw = dict(ignore_index=-100, label_smoothing=0.1)
    a = kernel.cross_entropy(x, labels, None, **kw)
    b = kernel.cross_entropy(x + dtype(shift), labels, None, **kw)
    np.testing.assert_array_equal(a[1], b[1])
    tolerance = 8 * u(dtype) * abs(shift)  # the row's log-sum is added to logits of this size
    np.testing.assert_allclose(a[0], b[0], rtol=0, atol=tolerance)


@given(st.integers(1, 9), CLASSES, SEEDS)
def test_deleting_ignored_rows_changes_nothing(n, c, seed):
    x, labels, weight, g = operands(n, c, seed, np.float32)
    kw = dict(ignore_index=-100, label_smoothing=0.1)
    keep = labels != -100
    rows, probs = kernel.cross_entropy(x, labels, weight, **kw)
    fewer, fewer_probs = kernel.cross_entropy(x[keep], labels[keep], weight, **kw)
    assert same(rows[keep], fewer) and same(probs[keep], fewer_probs)
    gx = kernel.cross_entropy_grad(g, probs, labels, weight, **kw)
    got = kernel.cross_entropy_grad(g[keep], fewer_probs, labels[keep], weight, **kw)
    assert same(gx[keep], got)


@given(st.integers(1, 9), CLASSES, SEEDS)
def test_smoothing_is_linear_between_its_ends(n, c, seed):
    x, labels, weight, _ = operands(n, c, seed, np.float64)
    zero, half, one = (
        kernel.cross_entropy(x, labels, weight, ignore_index=-100, label_smoothing=e)[0]
        for e in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(half, (zero + one) / 2, rtol=1e-12, atol=1e-12)


@DTYPES
def test_large_and_special_logits(dtype):
    x = np.array([[1e4, -1e4, 0], [np.nan, 0, 1], [-np.inf, 0, 0], [3e4, 3e4, 3e4]], dtype)
    labels = np.array([1, 0, 1, 2])
    kw = dict(ignore_index=-100, label_smoothing=0.0)
    rows, probs = kernel.cross_entropy(x, labels, None, **kw)
    assert rows[0] == 2e4 and probs[0].tolist() == [1, 0, 0]
    assert np.isnan(rows[1])
    np.testing.assert_allclose(rows[[2, 3]], [np.log(2), np.log(3)], rtol=1e-3)
    assert probs[2].tolist() == [0, 0.5, 0.5]
    np.testing.assert_array_equal(kernel.softmax(x), probs)
    out = kernel.log_softmax(x)
    assert np.isnan(out[1]).all() and out[2, 0] == -np.inf and np.isfinite(out[[0, 3]]).all()


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(ROWS, CLASSES, SEEDS)
def test_every_layout_gives_the_same_bits(dtype, layout, n, c, seed):
    x, labels, weight, g_row = operands(n, c, seed, dtype)
    g = reals(np.random.default_rng(seed), (n, c), dtype)
    if layout not in NAN_MARGINS:  # NaN margins cannot be whole numbers
        labels = lay(labels, layout)
    arrays = [lay(x, layout), labels, lay(weight, layout), lay(g_row, layout), lay(g, layout)]
    plain = [np.array(a, order="C", subok=False) for a in arrays]
    kw = dict(ignore_index=-100, label_smoothing=0.1)
    results = []
    for x, labels, weight, g_row, g in (arrays, plain):
        rows, probs = kernel.cross_entropy(x, labels, weight, **kw)
        probs = lay(probs, layout)
        if g is plain[-1]:
            probs = np.array(probs, order="C", subok=False)
        grad = kernel.cross_entropy_grad(g_row, probs, labels, weight, **kw)
        out = kernel.log_softmax(x)
        results.append(
            (rows, np.array(probs), grad, out, kernel.softmax(x), kernel.log_softmax_grad(g, out))
        )
    assert all(same(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("label", [3, -1, 2**40, -(2**63)])
def test_a_label_outside_the_classes_is_refused_with_its_row(label):
    x = np.zeros((4, 3), np.float32)
    labels = np.array([0, 1, label, 2])
    with pytest.raises(MinigradError, match=rf"{label}\b"):
        kernel.cross_entropy(x, labels, None, ignore_index=-100, label_smoothing=0.0)
    with pytest.raises(MinigradError):
        kernel.cross_entropy_grad(
            np.ones(4, np.float32), x, labels, None, ignore_index=-100, label_smoothing=0.0
        )
