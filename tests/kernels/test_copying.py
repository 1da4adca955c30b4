"""Design: copies of images between any two orders in memory, bit for bit NumPy's."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import set_num_threads
from minigrad._kernels import copying as kernel
from minigrad._kernels import threads
from tests.layouts import LAYOUTS, lay, same
from tests.strategies import FLOATS, SEEDS

TARGETS = ("C", "F", "reversed", "strided", "offset", "channels_last", "sliced")
SHAPES = (  # (N, C, H, W), all above what NumPy copies: see copying.pyx
    (2, 3, 32, 33), (1, 3, 1, 5003), (3, 1, 41, 40), (5, 16, 9, 7), (2, 33, 70, 1), (1, 4999, 1, 1),
    (70, 70, 1, 1), (4, 2, 1, 601), (2, 40, 17, 19),
)  # fmt: skip


def bits(rng, dtype, shape):
    """Every bit pattern, signaling NaN and denormals included."""
    return rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]


def check(x, target, x_layout):
    """assign writes what np.copyto writes, and nothing around it."""
    x = lay(x, x_layout)
    out, expected = (lay(np.zeros(x.shape, x.dtype), target) for _ in range(2))
    kernel.assign(out, x)
    np.copyto(expected, x)
    assert same(out, expected)
    assert out.base is None or same(out.base, expected.base)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_any_order_to_any_other(dtype, shape):
    x = bits(np.random.default_rng(1), dtype, shape)
    for layout, target in product(LAYOUTS, TARGETS):
        check(x, target, layout)


@given(
    dtype=st.sampled_from(FLOATS),
    shape=st.tuples(*4 * [st.integers(1, 24)]),
    step=st.integers(-3, 3).filter(bool),
    axes=st.permutations(range(4)),
    other=st.permutations(range(4)),
    seed=SEEDS,
)
def test_any_permutation_and_step(dtype, shape, step, axes, other, seed):
    def strided(order):
        big = np.zeros([n * abs(step) for n in (shape[i] for i in order)], dtype)
        return big[(slice(None, None, step),) * 4].transpose(np.argsort(order))

    x, out, expected = strided(axes), strided(other), strided(other)
    x[...] = bits(np.random.default_rng(seed), dtype, shape)
    kernel.assign(out, x)
    np.copyto(expected, x)
    assert same(out, expected) and same(out.base, expected.base)  # the gaps are untouched


@pytest.mark.parametrize("shape", SHAPES)
def test_one_number_fills_all(shape):
    for value, target in product((np.float32(np.nan), np.float32(-0.0)), TARGETS):
        out = lay(np.ones(shape, np.float32), target)
        kernel.assign(out, np.broadcast_to(value, shape))
        assert same(out, np.full(shape, value))


@pytest.mark.parametrize("width", (1, 2, 3, 17))
def test_neighboring_channels_are_written_between_the_others(width):
    shape = (2, width, 50, 60)
    x = bits(np.random.default_rng(2), np.float32, shape)
    for source in (x, lay(x, "channels_last"), np.broadcast_to(np.float32(7), shape)):
        big, expected = (lay(np.ones((2, width + 2, 50, 60), np.float32), "channels_last")
                         for _ in range(2))  # fmt: skip
        kernel.assign(big[:, 1:-1], source)
        np.copyto(expected[:, 1:-1], source)
        assert same(big, expected)


@pytest.mark.parametrize("count", (1, 2, 3))
def test_the_same_for_any_number_of_threads(count):
    before = threads.get_num_threads()
    set_num_threads(count)
    try:
        for c, layout, target in product((3, 64), LAYOUTS, ("C", "channels_last", "strided")):
            check(bits(np.random.default_rng(0), np.float32, (8, c, 67, 61)), target, layout)
    finally:
        set_num_threads(before)


def test_what_is_no_image_of_floats_is_copied_as_numpy_does():
    x = np.arange(3 * 50 * 60.0).reshape(1, 3, 50, 60)
    for other in (x.astype(np.float32), x.astype(">f8"), x.astype(np.int32), x[0], x[:, :1], x.T.T):
        for dtype in (np.float64, np.float32):
            out, expected = np.zeros(x.shape, dtype), np.zeros(x.shape, dtype)
            kernel.assign(out, other)
            np.copyto(expected, other)
            assert same(out, expected)
    kernel.assign(out, 3)
    assert (out == 3).all()


def test_an_array_that_is_written_over_itself_is_read_first():
    x = np.arange(2 * 3 * 50 * 60.0).reshape(2, 3, 50, 60)
    expected = x[:, :, ::-1].copy()
    kernel.assign(x, x[:, :, ::-1])
    assert same(x, expected)


def test_bad_input_is_what_numpy_says():
    x = np.zeros((2, 3, 50, 60))
    with pytest.raises(ValueError, match="broadcast"):
        kernel.assign(x, x[:, :2])
    with pytest.raises(ValueError, match="read-only"):
        kernel.assign(lay(x, "readonly"), x)
    with pytest.raises(TypeError):
        kernel.assign([1.0], x)
