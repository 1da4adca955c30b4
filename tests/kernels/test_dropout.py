"""Design: dropout kernels against NumPy's packbits and unpackbits, bit by bit.

A word decides, so the oracle is a comparison; the order of the bits is NumPy's transpose. NaN fills
what is dropped in half of the draws: a product with 0 would let it through.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad._kernels import dropout as kernel
from minigrad.reference import dropout as ref
from tests.layouts import LAYOUTS, check_memory, is_channels_last, lay, same
from tests.strategies import CHANNELS, FLOATS, SEEDS, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
SIZES = st.one_of(st.integers(0, 140), st.sampled_from((1000, 16_384, 16_385, 50_001)))
LIMITS = st.one_of(
    st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1)), st.integers(0, 2**32 - 1)
)
IMAGES = st.tuples(
    st.integers(0, 3), st.sampled_from((*CHANNELS, 40, 64)), st.integers(0, 21), st.integers(1, 20)
)


def drawn(seed, n, limit):
    """Words, some of them beside the limit."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, n, np.uint32)
    near = np.clip(np.array([limit - 1, limit, limit + 1]), 0, 2**32 - 1).astype(np.uint32)
    return np.where(rng.random(n) < 0.2, rng.choice(near, n), words)


@given(n=SIZES, limit=LIMITS, seed=SEEDS)
def test_a_bit_says_whether_a_word_is_at_least_the_limit(n, limit, seed):
    words = drawn(seed, n, limit)
    bits = kernel.pack_mask(words, limit=limit)
    assert same(bits, np.packbits(words >= limit, bitorder="little"))
    check_memory((bits,), (words,))


@given(shape=IMAGES, limit=LIMITS, seed=SEEDS)
def test_bits_of_images_count_channels_last(shape, limit, seed):
    words = drawn(seed, int(np.prod(shape)), limit)
    kept = (words >= limit).reshape(shape).transpose(0, 2, 3, 1)
    want = np.packbits(kept, bitorder="little")
    assert same(kernel.pack_mask(words, limit=limit, images=shape), want)


@DTYPES
@given(n=SIZES, seed=SEEDS, poisoned=st.booleans())
def test_kept_numbers_are_scaled_and_the_others_are_zero(dtype, n, seed, poisoned):
    rng = np.random.default_rng(seed)
    x, kept = reals(rng, n, dtype), rng.random(n) < 0.5
    if poisoned:
        x[~kept] = rng.choice([np.nan, np.inf, -np.inf, -1.0], n).astype(dtype)[~kept]
    z = kernel.drop(x, np.packbits(kept, bitorder="little"), scale=4 / 3, channels_last=False)
    want = np.zeros_like(x)
    want[kept] = x[kept] * dtype(4 / 3)
    assert same(z, want)
    check_memory((z,), (x,))


@DTYPES
def test_what_is_kept_may_be_anything(dtype):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, np.finfo(dtype).tiny / 4, 3.0], dtype)
    z = kernel.drop(x, np.array([0x7F], np.uint8), scale=1.0, channels_last=False)
    assert same(z, x)
    none = kernel.drop(x, np.array([0x80], np.uint8), scale=1.0, channels_last=False)
    assert same(none, np.zeros_like(x))


@DTYPES
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 16, 5, 3), (1, 1, 1, 1), (2, 8, 0, 3)])
def test_a_layout_changes_nothing_but_where_the_result_lies(dtype, layout, shape, channels_last):
    rng = np.random.default_rng(7)
    x = lay(reals(rng, shape, dtype), layout)
    bits = rng.integers(0, 256, (x.size + 7) // 8).astype(np.uint8)
    z = kernel.drop(x, bits, scale=2.0, channels_last=channels_last)
    assert same(z, ref.drop(np.array(x), bits, scale=2.0, channels_last=channels_last))
    assert is_channels_last(z) if channels_last else z.flags.c_contiguous
    check_memory((z,), (x,))


@DTYPES
def test_no_axes_and_bits_with_gaps(dtype):
    one = kernel.drop(np.array(3.0, dtype), np.array([1], np.uint8), scale=2, channels_last=False)
    assert one.shape == () and one == 6
    x, bits = np.ones(100, dtype), np.arange(26, dtype=np.uint8)[::2]
    z = kernel.drop(x, bits, scale=1, channels_last=False)
    assert same(z, ref.drop(x, bits, scale=1, channels_last=False))


def test_words_with_gaps():
    words = np.arange(1000, dtype=np.uint32)[::-3]
    assert same(kernel.pack_mask(words, limit=500), ref.pack_mask(words, limit=500))
