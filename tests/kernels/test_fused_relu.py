"""Design: the ReLU that ends conv2d, linear and batch_norm cuts at 0 and lets NaN through.

Whole vectors, partial ones, several chunks of channels and depthwise filters have loops of their
own, so each is asked.
"""

import numpy as np
import pytest

from minigrad._kernels import conv, gemm, norm

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1)}
SHAPES = [  # channels in, out, groups
    (3, 5, 1), (3, 8, 1), (3, 16, 1), (3, 33, 1), (260, 17, 1), (5, 5, 5), (16, 16, 16), (9, 18, 9),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c, k, groups", SHAPES)
def test_conv2d_cuts_at_zero_and_keeps_nan(dtype, c, k, groups):
    rng = np.random.default_rng(c + k)
    x = rng.integers(-3, 4, (2, c, 6, 7)).astype(dtype)
    w = rng.integers(-3, 4, (k, c // groups, 3, 3)).astype(dtype)
    b = rng.integers(-3, 4, k).astype(dtype)
    x[0, c // 2, 2, 3] = np.nan
    plain = conv.conv2d(x, w, b, groups=groups, **WINDOW)
    assert np.isnan(plain).any() and (plain < 0).any()
    cut = conv.conv2d(x, w, b, groups=groups, relu=True, **WINDOW)
    np.testing.assert_array_equal(cut, np.maximum(plain, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("i, o", [(3, 1), (7, 16), (2000, 5), (2000, 33), (4, 64)])
def test_linear_cuts_at_zero_and_keeps_nan(dtype, i, o):
    rng = np.random.default_rng(i + o)
    x, w = (rng.integers(-3, 4, s).astype(dtype) for s in ((13, i), (o, i)))
    b = rng.integers(-3, 4, o).astype(dtype)
    x[4, i // 2] = np.nan
    plain = gemm.linear(x, w, b)
    assert np.isnan(plain[4]).all() and (plain < 0).any()
    np.testing.assert_array_equal(gemm.linear(x, w, b, relu=True), np.maximum(plain, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1, 5, 16, 33])
def test_batch_norm_cuts_at_zero_and_keeps_nan(dtype, c):
    rng = np.random.default_rng(c)
    x = rng.standard_normal((6, c)).astype(dtype)
    mean, var = np.zeros(c, dtype), np.ones(c, dtype)
    x[2, c // 2] = np.nan
    plain = norm.batch_norm_inference(x, None, None, mean, var, eps=0.5, relu=False)
    cut = norm.batch_norm_inference(x, None, None, mean, var, eps=0.5, relu=True)
    np.testing.assert_array_equal(cut, np.maximum(plain, 0))
