"""Design: conv2d_moments is conv2d, and the mean and variance of its channels in float64.

Every way to the sums takes them of other pieces: bands, blocks of tiles, deep layers, groups one at
a time; where a way takes none, they are taken of y. The oracle sums y itself, once more.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad._kernels import conv as kernel
from minigrad._kernels import norm
from minigrad.errors import ArgError
from tests.strategies import SEEDS

KIND = {np.float32: 2e-6, np.float64: 1e-13}


def arrays(seed, x_shape, w_shape, dtype, far=3.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(x_shape).astype(dtype) + dtype(far)
    w = rng.standard_normal(w_shape).astype(dtype)
    return x, w, (10 * rng.standard_normal(w_shape[0])).astype(dtype)


def check(x, w, b, **how):
    """y as conv2d gives it, bit for bit; its moments by their definition."""
    y, mean, var = kernel.conv2d_moments(x, w, b, **how)
    np.testing.assert_array_equal(y, kernel.conv2d(x, w, b, **how))
    wide, bound = y.astype(np.float64), KIND[x.dtype.type]
    assert mean.dtype == var.dtype == x.dtype and mean.shape == var.shape == (w.shape[0],)
    want, square = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    np.testing.assert_allclose(mean, want, rtol=bound, atol=bound * np.sqrt(square.max()))
    np.testing.assert_allclose(var, square, rtol=bound, atol=bound**2)
    return y, mean, var


@given(
    n=st.integers(1, 9),
    c=st.sampled_from((1, 3, 16, 31, 64, 70)),
    k=st.sampled_from((1, 5, 16, 33, 64, 70, 130)),
    kernel_size=st.sampled_from((1, 3, 5)),
    size=st.tuples(st.integers(5, 21), st.integers(5, 21)),
    stride=st.integers(1, 2),
    groups=st.integers(1, 3),
    biased=st.booleans(),
    dtype=st.sampled_from((np.float32, np.float64)),
    algorithm=st.sampled_from(("auto", "direct", "winograd")),
    seed=SEEDS,
)
def test_moments_are_those_of_the_outputs(
    n, c, k, kernel_size, size, stride, groups, biased, dtype, algorithm, seed
):
    if algorithm == "winograd" and (
        kernel_size == 1 or stride > 1 or dtype is np.float64 or (c == 1 and groups > 1)
    ):
        algorithm = "auto"
    x, w, b = arrays(seed, (n, c * groups, *size), (k * groups, c, kernel_size, kernel_size), dtype)
    half = kernel_size // 2
    check(
        x, w, b if biased else None, stride=(stride, stride), padding=(half, 0, half, half),
        dilation=(1, 1), groups=groups, algorithm=algorithm,
    )  # fmt: skip


DEEP = [((2, 256, 14, 14), (256, 256, 3, 3), 1), ((8, 520, 7, 7), (512, 520, 3, 3), 1),
        ((3, 512, 9, 9), (512, 256, 3, 3), 2), ((40, 64, 16, 16), (64, 64, 3, 3), 1)]  # fmt: skip


@pytest.mark.parametrize("x_shape, w_shape, groups", DEEP)
def test_deep_and_wide_layers(x_shape, w_shape, groups):
    x, w, b = arrays(0, x_shape, w_shape, np.float32, far=0.5)
    how = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=groups)
    results = []
    for count in (1, 2, 3):
        with mg.threads(count):
            results.append(check(x, w, b, **how))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_mean_far_from_zero_leaves_the_variance_alone():
    x = np.ones((64, 8, 16, 16), np.float32)
    w = np.zeros((16, 8, 3, 3), np.float32)
    w[:, :, 1, 1] = 1000
    x += np.random.default_rng(0).uniform(-1e-3, 1e-3, x.shape).astype(np.float32)
    check(x, w, None, stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)


def test_none_nan_and_one():
    how = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    x, w, b = arrays(1, (0, 3, 4, 4), (5, 3, 3, 3), np.float32)
    y, mean, var = kernel.conv2d_moments(x, w, b, **how)
    assert y.shape == (0, 5, 2, 2) and not mean.any() and not var.any()
    x, w, b = arrays(1, (1, 3, 3, 3), (5, 3, 3, 3), np.float32)
    y, mean, var = kernel.conv2d_moments(x, w, b, **how)
    np.testing.assert_array_equal(mean, y.ravel())
    assert not var.any()
    x, w, b = arrays(2, (4, 3, 9, 9), (20, 3, 3, 3), np.float32)
    w[7, 1, 1, 1] = np.nan
    _, mean, var = kernel.conv2d_moments(x, w, b, **how)
    assert np.flatnonzero(np.isnan(mean)).tolist() == [7] == np.flatnonzero(np.isnan(var)).tolist()


def test_moments_alone_are_those_of_batch_norm():
    x = np.random.default_rng(3).standard_normal((6, 20, 7, 5)).astype(np.float32)
    _, mean, var = norm.batch_norm(x, None, None, eps=1e-5, relu=False)
    for one, two in zip(norm.moments(x), (mean, var), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_unknown_algorithm_is_refused():
    x, w, b = arrays(4, (1, 3, 5, 5), (2, 3, 3, 3), np.float32)
    with pytest.raises(ArgError, match="fastest"):
        kernel.conv2d_moments(
            x, w, b, stride=(1, 1), padding=(0,) * 4, dilation=(1, 1), groups=1, algorithm="fastest"
        )
