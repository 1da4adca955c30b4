"""Design: convolutions so large that channels come in chunks, bands in parts, and sums are merged.

Below 3e6 flop everything is one task; what the properties of `test_conv.py` draw rarely is more.
Whole numbers, so that sums are exact in any order.
"""

import numpy as np
import pytest

from minigrad._kernels import conv as kernel
from minigrad.reference import conv as ref

WINDOW = {"stride": (1, 2), "padding": (1, 0, 2, 1), "dilation": (1, 1)}
CASES = [  # x, w, groups
    ((2, 300, 9, 8), (20, 300, 3, 3), 1),
    ((3, 33, 40, 41), (17, 33, 3, 2), 1),
    ((2, 260, 12, 13), (34, 130, 3, 3), 2),
    ((2, 150, 40, 41), (150, 1, 3, 3), 150),
    ((3, 70, 31, 33), (140, 1, 3, 2), 70),
]  # fmt: skip


def whole(rng, shape, dtype):
    return rng.integers(-2, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x_shape, w_shape, groups", CASES, ids=str)
def test_all_passes_are_exact_on_whole_numbers(dtype, x_shape, w_shape, groups):
    rng = np.random.default_rng(sum(x_shape))
    x, w, b = (whole(rng, s, dtype) for s in (x_shape, w_shape, w_shape[0]))
    kw = {**WINDOW, "groups": groups}
    y = kernel.conv2d(x, w, b, **kw)
    np.testing.assert_array_equal(y, ref.conv2d(x, w, b, **kw))
    gy = whole(rng, y.shape, dtype)
    gx = kernel.conv2d_grad_x(gy, w, x_shape=x_shape, **kw)
    np.testing.assert_array_equal(gx, ref.conv2d_grad_x(gy, w, x_shape=x_shape, **kw))
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    np.testing.assert_array_equal(gw, ref.conv2d_grad_w(gy, x, w_shape=w_shape, **kw))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_bias_adds_up_all_parts(dtype):
    gy = whole(np.random.default_rng(0), (5, 37, 41, 43), dtype)
    np.testing.assert_array_equal(kernel.bias_grad(gy), gy.sum(axis=(0, 2, 3)))


def test_the_gradient_of_a_bias_is_added_up_in_double():
    gy = 1 + np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7) * 2.0**-40
    np.testing.assert_array_equal(kernel.bias_grad(gy), gy.sum(axis=(0, 2, 3)))


def test_weights_are_packed_in_double():
    x = np.ones((1, 3, 4, 5))
    w = 1 + np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2) * 2.0**-40
    kw = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    np.testing.assert_array_equal(kernel.conv2d(x, w, **kw), ref.conv2d(x, w, **kw))
