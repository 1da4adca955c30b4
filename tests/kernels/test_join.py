"""Design: concatenation along the channels of channels-last images, bit for bit NumPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import set_num_threads
from minigrad._kernels import join as kernel
from minigrad._kernels import threads
from tests.layouts import check_memory, is_channels_last, lay, same
from tests.strategies import FLOATS, SEEDS

SIDES = st.integers(1, 6)


def images(rng, dtype, n, c, h, w):
    return lay(rng.standard_normal((n, c, h, w)).astype(dtype), "channels_last")


@given(
    dtype=st.sampled_from(FLOATS),
    n=SIDES,
    h=SIDES,
    w=SIDES,
    channels=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    cut=st.integers(0, 3),
    seed=SEEDS,
)
def test_pixels_are_side_by_side(dtype, n, h, w, channels, cut, seed):
    rng = np.random.default_rng(seed)
    xs = tuple(images(rng, dtype, n, c + cut, h, w)[:, cut:] for c in channels)
    z = kernel.concat_channels(xs)
    if n * h * w == 1:
        return  # one pixel: NumPy's
    assert z is not None and is_channels_last(z) and same(z, np.concatenate(xs, 1))
    check_memory((z,), xs)


@pytest.mark.parametrize("count", (1, 2, 3))
def test_the_same_for_any_number_of_threads(count):
    rng = np.random.default_rng(0)
    xs = tuple(images(rng, np.float32, 8, c, 56, 56) for c in (64, 3, 33))
    before = threads.get_num_threads()
    set_num_threads(count)
    try:
        assert same(kernel.concat_channels(xs), np.concatenate(xs, 1))
    finally:
        set_num_threads(before)


def test_other_arrays_are_left_to_numpy():
    rng = np.random.default_rng(0)
    x = images(rng, np.float32, 2, 3, 4, 5)
    for other in (
        x.astype(np.float64),
        np.broadcast_to(x[:, :, :1, :1], x.shape),
        np.broadcast_to(x[:, :, :1], x.shape),
        np.broadcast_to(x[:1], x.shape),
        x[:, :, :, :4],
        x[:1],
        np.ascontiguousarray(x),
        x[:, ::2],
        x[:, :, ::-1],
        x.view(">f4"),
        x[0],
        x[:, :0],
    ):
        assert kernel.concat_channels((x, other)) is None
    assert kernel.concat_channels((x.astype(np.int32),)) is None
    assert kernel.concat_channels((x.tolist(),)) is None
