"""Design: relations between two convolutions (metamorphic tests); all exact on whole numbers.

They need no oracle, so they also judge the reference. Each is numbered as in the literature of the
house: linearity, transposition, shift, batch, permutation, groups, dilation, padding, stride, and
the two degenerate kernels. Winograd's algorithm has no part in them: its sums of whole numbers are
not exact.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np
from hypothesis import given

from minigrad._kernels import conv, gemm
from tests.layouts import same
from tests.strategies import convs, integers, reals

PASSES = ("conv2d", "conv2d_grad_x", "conv2d_grad_w")
kernel = SimpleNamespace(**{p: partial(getattr(conv, p), algorithm="direct") for p in PASSES})


def draw(case, make=integers, dtype=np.float32):
    rng = np.random.default_rng(case.seed)
    shapes = case.x_shape, case.w_shape, case.y_shape
    return tuple(make(rng, shape, dtype) for shape in shapes)


def plain(**changes):
    kw = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    return {**kw, **changes}


def turned(case):
    """The keyword arguments of the same problem with rows and columns swapped."""
    kw = case.kwargs
    top, bottom, left, right = kw["padding"]
    swap = {name: kw[name][::-1] for name in ("stride", "dilation")}
    return {**swap, "padding": (left, right, top, bottom), "groups": case.groups}


def turn(a):
    return a.transpose(0, 1, 3, 2)


@given(convs())
def test_convolution_is_linear_in_each_operand(case):
    x, w, _ = draw(case)
    x2, w2, b = x[::-1], w[..., ::-1], np.arange(case.k, dtype=np.float32)
    y = kernel.conv2d(x, w, **case.kwargs)
    both = kernel.conv2d(x + 2 * x2, w, **case.kwargs)
    np.testing.assert_array_equal(both, y + 2 * kernel.conv2d(x2, w, **case.kwargs))
    both = kernel.conv2d(x, w - w2, **case.kwargs)
    np.testing.assert_array_equal(both, y - kernel.conv2d(x, w2, **case.kwargs))
    shifted = kernel.conv2d(x, w, b, **case.kwargs)
    np.testing.assert_array_equal(shifted, y + b.reshape(1, -1, 1, 1))


@given(convs())
def test_swapping_rows_and_columns_everywhere_transposes_every_pass(case):
    x, w, gy = draw(case)
    kw, back = case.kwargs, turned(case)
    y = kernel.conv2d(turn(x), turn(w), **back)
    np.testing.assert_array_equal(turn(y), kernel.conv2d(x, w, **kw))
    gx = kernel.conv2d_grad_x(turn(gy), turn(w), x_shape=turn(x).shape, **back)
    np.testing.assert_array_equal(turn(gx), kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw))
    gw = kernel.conv2d_grad_w(turn(gy), turn(x), w_shape=turn(w).shape, **back)
    np.testing.assert_array_equal(turn(gw), kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **kw))


@given(convs())
def test_shifting_the_input_by_one_stride_shifts_the_output_by_one(case):
    x, w, _ = draw(case)
    (sh, sw), kw = case.kwargs["stride"], case.kwargs
    wide = np.pad(x, ((0, 0), (0, 0), (sh, 0), (sw, 0)))  # zeros above and to the left
    y = kernel.conv2d(wide, w, **kw)
    np.testing.assert_array_equal(y[:, :, 1:, 1:], kernel.conv2d(x, w, **kw))


@given(convs())
def test_a_batch_is_its_samples(case):
    x, w, gy = draw(case, reals)
    kw, n = case.kwargs, case.n
    y = kernel.conv2d(x, w, **kw)
    gx = kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw)
    one = (1, *case.x_shape[1:])
    for i in range(n):
        assert same(y[i : i + 1], kernel.conv2d(x[i : i + 1], w, **kw))
        got = kernel.conv2d_grad_x(gy[i : i + 1], w, x_shape=one, **kw)
        assert same(gx[i : i + 1], got)
    x, _, gy = draw(case)
    gws = [
        kernel.conv2d_grad_w(gy[i : i + 1], x[i : i + 1], w_shape=w.shape, **kw) for i in range(n)
    ]
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **kw)
    np.testing.assert_array_equal(gw, sum(gws, np.zeros_like(gw)))


@given(convs())
def test_permuted_channels_permute_the_output(case):
    kw, rng = {**case.kwargs, "groups": 1}, np.random.default_rng(case.seed)
    x, w, _ = draw(case, reals)
    x = x[:, : case.w_shape[1]]  # one group
    out, inn = rng.permutation(case.k), rng.permutation(x.shape[1])
    assert same(kernel.conv2d(x, w[out], **kw), kernel.conv2d(x, w, **kw)[:, out])
    x, w, _ = draw(case)
    x = x[:, : case.w_shape[1]]
    y = kernel.conv2d(x, w, **kw)
    np.testing.assert_array_equal(kernel.conv2d(x[:, inn], w[:, inn], **kw), y)


@given(convs())
def test_groups_are_a_block_diagonal_dense_weight(case):
    x, w, gy = draw(case)
    cg, kg = case.c // case.groups, case.k // case.groups
    dense = np.zeros((case.k, case.c, *w.shape[2:]), w.dtype)
    for g in range(case.groups):
        dense[g * kg : (g + 1) * kg, g * cg : (g + 1) * cg] = w[g * kg : (g + 1) * kg]
    kw, one = case.kwargs, {**case.kwargs, "groups": 1}
    np.testing.assert_array_equal(kernel.conv2d(x, w, **kw), kernel.conv2d(x, dense, **one))
    gx = kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw)
    want = kernel.conv2d_grad_x(gy, dense, x_shape=x.shape, **one)
    np.testing.assert_array_equal(gx, want)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **kw)
    want = kernel.conv2d_grad_w(gy, x, w_shape=dense.shape, **one)
    for g in range(case.groups):
        rows = slice(g * kg, (g + 1) * kg)
        np.testing.assert_array_equal(gw[rows], want[rows, g * cg : (g + 1) * cg])


@given(convs())
def test_dilation_padding_and_stride_are_what_they_abbreviate(case):
    x, w, _ = draw(case)
    kw = case.kwargs
    (sh, sw), (dh, dw), (top, bottom, left, right) = kw["stride"], kw["dilation"], kw["padding"]
    y = kernel.conv2d(x, w, **kw)
    r, s = w.shape[2:]
    stuffed = np.zeros((*w.shape[:2], dh * (r - 1) + 1, dw * (s - 1) + 1), w.dtype)
    stuffed[:, :, ::dh, ::dw] = w
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    dense = kernel.conv2d(padded, stuffed, **plain(groups=case.groups))
    np.testing.assert_array_equal(y, dense[:, :, ::sh, ::sw])


@given(convs())
def test_one_by_one_kernels_and_whole_image_kernels_are_matrix_products(case):
    rng = np.random.default_rng(case.seed)
    (n, c, h, w), k = case.x_shape, case.k
    x, kc = integers(rng, (n, c, h, w), np.float32), integers(rng, (k, c), np.float32)
    y = kernel.conv2d(x, kc[:, :, None, None], **plain())
    pixels = x.transpose(0, 2, 3, 1).reshape(-1, c)
    want = gemm.matmul(pixels, kc.T).reshape(n, h, w, k).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(y, want)
    whole = integers(rng, (k, c, h, w), np.float32)
    y = kernel.conv2d(x, whole, **plain())
    want = gemm.linear(x.reshape(n, c * h * w), whole.reshape(k, -1))
    np.testing.assert_array_equal(y[:, :, 0, 0], want)
