"""Design: convolutions so large that channels come in chunks, bands in parts, and sums are merged.

Below 3e6 flop everything is one task; what the properties of `test_conv.py` draw rarely is more.
Whole numbers, so that sums are exact in any order.
"""

import numpy as np
import pytest

import minigrad
from minigrad._kernels import conv as kernel
from minigrad.reference import conv as ref
from tests.kernels.probe import THREADS
from tests.kernels.winograd_probe import check_gate, rms
from tests.layouts import same

WINDOW = {"stride": (1, 2), "padding": (1, 0, 2, 1), "dilation": (1, 1)}
CASES = [  # x, w, groups
    ((2, 300, 9, 8), (20, 300, 3, 3), 1),
    ((3, 33, 40, 41), (17, 33, 3, 2), 1),
    ((2, 260, 12, 13), (34, 130, 3, 3), 2),
    ((2, 540, 5, 6), (34, 270, 3, 3), 2),       # deeper than a panel of weights, in two groups
    ((4, 270, 31, 33), (5, 270, 3, 3), 1),      # and than the sums of a task of grad_w
    ((2, 512, 7, 8), (9, 512, 1, 1), 1),        # pixels in the same sets of a cache
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


# -- the gradient of weights, whose sums are merged 16 input channels at a time --------------------


def gradient(gy, x, w_shape, kw):
    """gw in float64, by the definition: a product of matrices for each tap."""
    groups, (k, c, r_size, s_size) = kw["groups"], w_shape
    n, _, p, q = gy.shape
    gyg = gy.astype(np.float64).reshape(n, groups, k // groups, -1)
    xg = ref.pad(x.astype(np.float64), kw["padding"]).reshape(n, groups, c, *_padded(x, kw))
    gw = np.empty((groups, k // groups, c, r_size, s_size))
    for r, s, rows, cols in ref.taps((r_size, s_size), (p, q), kw["stride"], kw["dilation"]):
        seen = xg[..., rows, cols].reshape(n, groups, c, -1)
        gw[..., r, s] = (gyg @ seen.swapaxes(2, 3)).sum(axis=0)
    return gw.reshape(w_shape)


def _padded(x, kw):
    top, bottom, left, right = kw["padding"]
    return x.shape[2] + top + bottom, x.shape[3] + left + right


def merged(channels, filters, taps, groups, dtype, stride=(1, 1)):
    """gy, x, the shape of w and the keyword arguments of a layer with thousands of pixels."""
    rng = np.random.default_rng(channels)
    r, s = taps
    kw = {"stride": stride, "padding": (r // 2, 0, s // 2, 1), "dilation": (1, 1), "groups": groups}
    x = whole(rng, (5, channels * groups, 29, 31), dtype)
    sizes = zip(_padded(x, kw), taps, stride, strict=True)
    out = [ref.output_size(size, 0, tap, step, 1) for size, tap, step in sizes]
    gy = whole(rng, (5, filters * groups, *out), dtype)
    return gy, x, (filters * groups, channels, r, s), kw


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("taps", [(1, 1), (2, 2), (3, 3), (5, 5), (1, 3)], ids=str)
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 33, 100])
def test_weight_gradients_are_merged_for_every_channel_and_tap(channels, taps, groups, dtype):
    filters = 40 if groups == 1 else 17
    gy, x, w_shape, kw = merged(channels, filters, taps, groups, dtype)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, algorithm="direct", **kw)
    np.testing.assert_array_equal(gw, gradient(gy, x, w_shape, kw))


@pytest.mark.parametrize("stride", [(2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("channels", [16, 17, 33])
def test_weight_gradients_are_merged_for_every_stride(channels, stride):
    gy, x, w_shape, kw = merged(channels, 70, (3, 2), 1, np.float32, stride)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    np.testing.assert_array_equal(gw, gradient(gy, x, w_shape, kw))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 33, 100])
def test_weight_gradients_by_winograd_are_merged_for_every_channel(channels, side, groups):
    channels = max(channels, min(groups, 2))  # one channel of several groups is depthwise
    filters = 40 if groups == 1 else 17
    gy, x, w_shape, kw = merged(channels, filters, (side, side), groups, np.float32)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, algorithm="winograd", **kw)
    want = gradient(gy, x, w_shape, kw)
    check_gate(gw, want, rms(want))


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("channels", [15, 33, 100])
def test_merged_weight_gradients_have_the_same_bits_for_any_threads(channels, algorithm):
    gy, x, w_shape, kw = merged(channels, 17, (3, 3), 2, np.float32)
    rng = np.random.default_rng(0)
    gy, x = (rng.standard_normal(a.shape, np.float32) for a in (gy, x))
    want = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, algorithm=algorithm, **kw)
    for count in (*THREADS, *THREADS):
        with minigrad.threads(count):
            gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, algorithm=algorithm, **kw)
        assert same(gw, want), count
