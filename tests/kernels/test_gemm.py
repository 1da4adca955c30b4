"""Design: matmul, bmm and linear against einsum; sizes around every tile edge, any strides.

Exact on whole numbers; on reals within (k + 2) u (|a| |b|), the bound for any order of summation.
"""

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from minigrad._kernels import gemm as kernel
from minigrad.reference import linear as ref
from tests.layouts import LAYOUTS, check_memory, lay, same, u
from tests.strategies import FLOATS, SEEDS, integers, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
SIDES = st.sampled_from((1, 2, 3, 5, 6, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 47, 65, 0))
DEPTHS = st.sampled_from((1, 2, 3, 7, 8, 9, 16, 31, 64, 65, 0))
BATCHES = st.integers(0, 3)


@DTYPES
@given(m=SIDES, k=DEPTHS, n=SIDES, seed=SEEDS)
def test_matmul_is_exact_on_whole_numbers(dtype, m, k, n, seed):
    event("empty" if 0 in (m, k, n) else "full")
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype)
    c = kernel.matmul(a, b)
    np.testing.assert_array_equal(c, ref.matmul(a, b))
    assert c.dtype == dtype and c.shape == (m, n) and c.flags.c_contiguous
    check_memory((c,), (a, b))


@DTYPES
@pytest.mark.parametrize("size", [(70, 600, 50), (300, 9, 300), (5, 1500, 700), (129, 257, 513)])
def test_matmul_is_exact_across_block_edges(dtype, size):
    m, k, n = size
    rng = np.random.default_rng(m)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype)
    want = a.astype(np.int64) @ b.astype(np.int64)
    np.testing.assert_array_equal(kernel.matmul(a, b), want)
    at, bt = np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T
    for left, right in ((at, b), (a, bt), (at, bt)):
        np.testing.assert_array_equal(kernel.matmul(left, right), want)


@given(m=SIDES, k=DEPTHS, n=SIDES, seed=SEEDS)
def test_matmul_float32_stays_within_the_proven_bound(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = reals(rng, (m, k), np.float32), reals(rng, (k, n), np.float32)
    wide = a.astype(np.float64), b.astype(np.float64)
    error = np.abs(kernel.matmul(a, b) - ref.matmul(*wide))
    assert np.all(error <= (k + 2) * u(np.float32) * ref.matmul(abs(wide[0]), abs(wide[1])))


@DTYPES
@given(m=SIDES, k=DEPTHS, n=SIDES, seed=SEEDS)
def test_matmul_of_transposes_is_the_transpose(dtype, m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype)
    np.testing.assert_array_equal(kernel.matmul(b.T, a.T).T, kernel.matmul(a, b))


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(m=SIDES, k=DEPTHS, n=SIDES, batch=BATCHES, which=st.integers(1, 3), seed=SEEDS)
def test_every_layout_gives_the_same_bits(dtype, layout, m, k, n, batch, which, seed):
    rng = np.random.default_rng(seed)
    a, b, bias = reals(rng, (m, k), dtype), reals(rng, (k, n), dtype), reals(rng, n, dtype)
    a3, b3 = reals(rng, (batch, m, k), dtype), reals(rng, (batch, k, n), dtype)
    a, a3 = (lay(v, layout) if which & 1 else v for v in (a, a3))
    b, b3 = (lay(v, layout) if which & 2 else v for v in (b, b3))
    plain = [np.array(v, order="C", subok=False) for v in (a, b, a3, b3)]
    assert same(kernel.matmul(a, b), kernel.matmul(*plain[:2]))
    assert same(kernel.bmm(a3, b3), kernel.bmm(*plain[2:]))
    got = kernel.linear(a, b.T, lay(bias, layout))
    want = kernel.linear(plain[0], plain[1].T, np.array(lay(bias, layout)))
    np.testing.assert_allclose(got, want, rtol=0, atol=0)


@DTYPES
@given(batch=BATCHES, m=SIDES, k=DEPTHS, n=SIDES, shared=st.sampled_from("-ab"), seed=SEEDS)
def test_bmm_is_a_matmul_for_each_entry(dtype, batch, m, k, n, shared, seed):
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (batch, m, k), dtype), integers(rng, (batch, k, n), dtype)
    if batch:
        a = np.broadcast_to(a[:1], a.shape) if shared == "a" else a
        b = np.broadcast_to(b[:1], b.shape) if shared == "b" else b
    c = kernel.bmm(a, b)
    assert c.shape == (batch, m, n) and c.dtype == dtype
    np.testing.assert_array_equal(c, ref.bmm(a, b))


@DTYPES
@given(n=SIDES, i=DEPTHS, o=SIDES, bias=st.booleans(), relu=st.booleans(), seed=SEEDS)
def test_linear_adds_the_bias_and_cuts_at_zero(dtype, n, i, o, bias, relu, seed):
    rng = np.random.default_rng(seed)
    x, w, b = (integers(rng, s, dtype) for s in ((n, i), (o, i), o))
    b = b if bias else None
    got = kernel.linear(x, w, b, relu=relu)
    np.testing.assert_array_equal(got, ref.linear(x, w, b, relu=relu))
    assert got.dtype == dtype
    check_memory((got,), (x, w, b))


@DTYPES
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "size", [(32, 784, 256), (7, 1200, 303), (150, 2310, 37), (600, 400, 1300)]
)
def test_linear_is_exact_where_the_transpose_is_computed(dtype, relu, size):
    n, i, o = size
    rng = np.random.default_rng(o)
    x, w, b = (integers(rng, s, dtype) for s in ((n, i), (o, i), o))
    want = x.astype(np.float64) @ w.T.astype(np.float64) + b
    got = kernel.linear(x, w, b, relu=relu)
    np.testing.assert_array_equal(got, np.maximum(want, 0) if relu else want)
    np.testing.assert_array_equal(kernel.matmul(x, w.T), want - b)


@given(m=SIDES, k=DEPTHS, n=SIDES, seed=SEEDS)
def test_float64_keeps_forty_bit_fractions(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = 1 + rng.integers(0, 2**40, (m, k)) * 2.0**-40, integers(rng, (k, n))
    np.testing.assert_array_equal(kernel.matmul(a, b), ref.matmul(a, b))


@DTYPES
@given(
    m=SIDES, k=DEPTHS, n=SIDES, seed=SEEDS,
    special=st.sampled_from((np.nan, np.inf, -np.inf)), left=st.booleans(),
)  # fmt: skip
def test_nan_and_infinity_meet_zero_as_ieee_says(dtype, m, k, n, seed, special, left):
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype)
    operand = a if left else b
    if operand.size:
        operand.flat[seed % operand.size] = special
    with np.errstate(invalid="ignore"):
        want = ref.matmul(a, b)
    np.testing.assert_array_equal(kernel.matmul(a, b), want)
    np.testing.assert_array_equal(kernel.bmm(a[None], b[None])[0], want)
    np.testing.assert_array_equal(kernel.linear(a, b.T), want)


def test_long_float32_sums_do_not_drift():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 2**16), np.float32), rng.random((2**16, 5), np.float32)
    want = a.astype(np.float64) @ b.astype(np.float64)
    assert np.all(abs(kernel.matmul(a, b) - want) <= 1e-5 * want)
