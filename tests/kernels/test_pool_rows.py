"""Design: maxima whose windows share rows (3 rows, a row apart), and maxima without their places:
many channels, zeros of both signs, NaN, the smallest numbers; bits against the twin."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minigrad._kernels import pool as kernel
from minigrad.reference import pool as ref
from tests.layouts import same
from tests.strategies import FLOATS, SEEDS

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
VALUES = (0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e-40)


def check(x, relu=False, **window):
    """Both forward kernels equal the twin bit for bit."""
    want, want_at = ref.max_pool2d(x, relu=relu, **window)
    y, at = kernel.max_pool2d(x, relu=relu, **window)
    alone, none = kernel.max_pool2d(x, relu=relu, places=False, **window)
    assert none is None and same(at, want_at)
    assert same(y, want) and same(alone, want)


@DTYPES
@given(
    st.sampled_from((1, 5, 8, 16, 17, 31, 48, 64, 67, 100, 131)),
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(0, 2),
    SEEDS,
    st.booleans(),
)
@example(67, (8, 5), 3, 1, 1, 0, False)
@example(130, (9, 3), 3, 1, 0, 1, True)
def test_windows_that_share_rows(dtype, c, size, columns, stride, pad, seed, relu):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array(VALUES, dtype), (2, c, *size))
    p = size[0] + 2 * pad - 2
    q = (size[1] + 2 - columns) // stride + 1
    if p >= 1 and q >= 1:
        window = dict(kernel=(3, columns), stride=(1, stride), padding=(pad, pad, 1, 1))
        check(x, relu, dilation=(1, 1), output=(p, q), **window)


@DTYPES
@pytest.mark.parametrize(
    "kernel_columns, dilation, padding", [(2, 2, 1), (1, 1, 2), (3, 1, 4), (2, 3, 2)]
)
def test_windows_of_shared_rows_whose_columns_miss_the_image(
    dtype, kernel_columns, dilation, padding
):
    x = np.random.default_rng(0).standard_normal((2, 70, 6, 1)).astype(dtype)
    q = 1 + 2 * padding - dilation * (kernel_columns - 1)
    window = dict(kernel=(3, kernel_columns), stride=(1, 1), padding=(0, 0, padding, padding))
    check(x, dilation=(1, dilation), output=(4, q), **window)
    check(x, relu=True, dilation=(1, dilation), output=(4, q), **window)


@DTYPES
def test_the_smallest_numbers_are_compared_and_kept(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = (np.arange(1, 17, dtype=dtype) * tiny).reshape(1, 1, 4, 4).repeat(33, axis=1)
    window = dict(stride=(1, 1), padding=(0,) * 4, dilation=(1, 1))
    check(x, kernel=(3, 3), output=(2, 2), **window)
    y, at = kernel.max_pool2d(x, kernel=(2, 2), output=(3, 3), **window)
    assert (at == 3).all() and y[0, 0, 0, 0] == 6 * tiny


def test_of_several_nans_one_is_the_maximum_and_the_first_has_the_place():
    x = np.full((1, 64, 5, 5), np.nan, np.float32)
    x[:, :, 2:] *= -1
    window = dict(kernel=(3, 3), stride=(1, 1), padding=(1,) * 4, dilation=(1, 1), output=(5, 5))
    y, at = kernel.max_pool2d(x, **window)
    assert np.isnan(y).all() and (at[0, 0, 1:, 1:] == 0).all() and (at[0, 0, 0, 0] == 4).all()
    assert np.isnan(kernel.max_pool2d(x, places=False, **window)[0]).all()
