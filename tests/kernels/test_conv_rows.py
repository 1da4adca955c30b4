"""Design: convolutions of few pixels, computed through an im2row matrix in memory; epilogues.

The oracle is the definition, tap by tap, in float64, on whole numbers: every sum is exact. Sizes
are such that the weights are many and the outputs few, on both sides of the threshold.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minigrad import set_num_threads
from minigrad._kernels import conv as kernel
from minigrad._kernels import threads
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.reference import conv as twin
from tests.layouts import is_channels_last, lay, same
from tests.strategies import FLOATS, SEEDS

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def definition(x, w, kw):
    """y[n,k,p,q] = sum over c, r, s of the padded x times w, in float64."""
    (sh, sw), (dh, dw), groups = kw["stride"], kw["dilation"], kw["groups"]
    top, bottom, left, right = kw["padding"]
    xp = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    k, c, r, s = w.shape
    p = (xp.shape[2] - dh * (r - 1) - 1) // sh + 1
    q = (xp.shape[3] - dw * (s - 1) - 1) // sw + 1
    xg = xp.reshape(len(x), groups, c, *xp.shape[2:])
    wg = w.astype(np.float64).reshape(groups, k // groups, c, r, s)
    y = np.zeros((len(x), groups, k // groups, p, q))
    for i in range(r):
        for j in range(s):
            rows = slice(i * dh, i * dh + (p - 1) * sh + 1, sh)
            seen = xg[..., rows, slice(j * dw, j * dw + (q - 1) * sw + 1, sw)]
            y += np.einsum("ngcpq,gkc->ngkpq", seen, wg[..., i, j])
    return y.reshape(len(x), k, p, q)


def whole(rng, *shape):
    """Small whole numbers, whose sums of products are exact in float32."""
    return rng.integers(-3, 4, shape).astype(np.float64)


def check(x, w, kw, rng, dtype):
    """Forward against the definition, gradients by the adjoint identity; all exactly."""
    want = definition(x, w, kw)
    x, w = x.astype(dtype), w.astype(dtype)
    y = kernel.conv2d(x, w, **kw)
    assert y.dtype == dtype and is_channels_last(y)
    np.testing.assert_array_equal(y, want)
    b = whole(rng, len(w))
    both = kernel.conv2d(x, w, b.astype(dtype), relu=True, **kw)
    np.testing.assert_array_equal(both, np.maximum(want + b.reshape(1, -1, 1, 1), 0))
    gy = whole(rng, *y.shape)
    gx = kernel.conv2d_grad_x(gy.astype(dtype), w, x_shape=x.shape, **kw)
    gw = kernel.conv2d_grad_w(gy.astype(dtype), x, w_shape=w.shape, **kw)
    assert gx.shape == x.shape and gw.shape == w.shape and gw.flags.c_contiguous
    for _ in range(2):
        at = whole(rng, *x.shape)
        assert (gx * at).sum() == (gy * definition(at, w, kw)).sum()
        at = whole(rng, *w.shape)
        assert (gw * at).sum() == (gy * definition(x, at, kw)).sum()


@given(
    n=st.integers(1, 4),
    channels=st.integers(20, 90),
    filters=st.integers(40, 130),
    groups=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    taps=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=PAIR,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*(st.integers(0, 3),) * 4),
    dtype=st.sampled_from(FLOATS),
    seed=SEEDS,
)
def test_few_pixels(
    n, channels, filters, groups, size, taps, stride, dilation, padding, dtype, seed
):
    top, bottom, left, right = padding
    assume(size[0] + top + bottom > dilation[0] * (taps[0] - 1))
    assume(size[1] + left + right > dilation[1] * (taps[1] - 1))
    rng = np.random.default_rng(seed)
    x = whole(rng, n, channels * groups, *size)
    w = whole(rng, filters * groups, channels, *taps)
    kw = dict(stride=stride, dilation=dilation, padding=padding, groups=groups)
    check(x, w, {**kw, "algorithm": "direct"}, rng, dtype)


@pytest.mark.parametrize("side", (10, 13, 14))
@pytest.mark.parametrize("groups", (1, 2))
def test_large_filters_without_padding_on_small_maps(side, groups):
    rng = np.random.default_rng(side)
    x = whole(rng, 2, 64 * groups, side, side)
    w = whole(rng, 96 * groups, 64, 7, 7)
    kw = dict(stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), groups=groups)
    check(x, w, kw, rng, np.float32)


@pytest.mark.parametrize(("filters", "c"), [(512, 300), (300, 512), (130, 130), (17, 4000)])
@pytest.mark.parametrize("stride", (1, 2, 3))
def test_pointwise(filters, c, stride):
    rng = np.random.default_rng(stride)
    x = whole(rng, 3, c, 5, 4)
    w = whole(rng, filters, c, 1, 1)
    kw = dict(stride=(stride, stride), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1)
    check(x, w, kw, rng, np.float32)


def passes(x, w, gy, kw):
    return (
        kernel.conv2d(x, w, **kw),
        kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **kw),
        kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **kw),
    )


def test_the_same_bits_for_any_threads_and_layout():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 200, 7, 7)).astype(np.float32)
    w = rng.standard_normal((300, 200, 3, 3)).astype(np.float32)
    kw = dict(stride=(2, 2), dilation=(1, 1), padding=(1, 1, 1, 1), groups=1)
    gy = rng.standard_normal((3, 300, 4, 4)).astype(np.float32)
    before = threads.get_num_threads()
    want = passes(x, w, gy, kw)
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            for layout in ("C", "channels_last", "F"):
                got = passes(lay(x, layout), lay(w, layout), lay(gy, layout), kw)
                assert all(map(same, got, want))
    finally:
        set_num_threads(before)


def test_a_gradient_is_not_multiplied_by_zeros_that_are_not_there():
    w = np.full((128, 64, 3, 3), np.inf, np.float32)
    kw = dict(stride=(2, 2), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1)
    gx = kernel.conv2d_grad_x(np.ones((1, 128, 2, 2), np.float32), w, x_shape=(1, 64, 6, 6), **kw)
    assert np.all(gx[:, :, :5, :5] == np.inf) and not np.any(gx[:, :, 5]) and not np.any(gx[..., 5])


@pytest.mark.parametrize(("n", "groups"), [(31, 1), (70, 2)])
def test_a_gradient_whose_matrix_is_made_in_pieces(n, groups):
    rng = np.random.default_rng(n)
    kw = {"stride": (1, 1), "padding": (0, 0, 0, 1), "dilation": (1, 1), "groups": groups}
    x, w = whole(rng, n, 64, 13, 12), whole(rng, 16 * groups, 64 // groups, 7, 7)
    assert n * 7 * 7 * 64 * 49 > 1 << 22  # numbers of the matrix: more than one piece
    check(x, w, {**kw, "algorithm": "direct"}, rng, np.float32)


@pytest.mark.parametrize("algorithm", ("direct", "winograd"))
@given(
    n=st.integers(1, 3),
    c=st.integers(1, 70),
    k=st.integers(1, 70),
    side=st.integers(3, 12),
    adds=st.booleans(),
    biased=st.booleans(),
    relu=st.booleans(),
    groups=st.integers(1, 2),
    seed=SEEDS,
)
def test_an_epilogue_is_what_its_twin_says(
    algorithm, n, c, k, side, adds, biased, relu, groups, seed
):
    rng = np.random.default_rng(seed)
    assume(c > 1 or groups == 1)
    x, w = whole(rng, n, c * groups, side, side), whole(rng, k * groups, c, 3, 3)
    kw = dict(stride=(1, 1), dilation=(1, 1), padding=(1, 0, 2, 1), groups=groups, relu=relu)
    y = twin.conv2d(x, w, **kw)
    arrays = dict(
        b=whole(rng, k * groups) if biased else None,
        scale=whole(rng, k * groups),
        residual=whole(rng, *y.shape) if adds else None,
    )
    want = twin.conv2d(x, w, **arrays, **kw)
    single = {key: None if a is None else a.astype(np.float32) for key, a in arrays.items()}
    got = kernel.conv2d(
        x.astype(np.float32), w.astype(np.float32), **single, **kw, algorithm=algorithm
    )
    error = 0 if algorithm == "direct" else 3e-4 * np.sqrt(9 * c)
    np.testing.assert_allclose(got, want, rtol=0, atol=error)


def test_what_an_epilogue_refuses():
    x, w = np.ones((1, 4, 5, 5), np.float32), np.ones((6, 4, 3, 3), np.float32)
    kw = dict(stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1)
    six, y = np.ones(6, np.float32), np.ones((1, 6, 3, 3), np.float32)
    with pytest.raises(ShapeError, match=r"scale has shape \(5,\), expected \(6,\)"):
        kernel.conv2d(x, w, scale=six[:5], **kw)
    with pytest.raises(ShapeError, match="residual has shape"):
        kernel.conv2d(x, w, scale=six, residual=y[:, :, 1:], **kw)
    with pytest.raises(DTypeError, match="residual is float64"):
        kernel.conv2d(x, w, scale=six, residual=y.astype(np.float64), **kw)
    with pytest.raises(ArgError, match="give scale as well"):
        kernel.conv2d(x, w, residual=y, **kw)
    with pytest.raises(ArgError, match="depthwise"):
        kernel.conv2d(x, np.ones((4, 1, 3, 3), np.float32), scale=six[:4], **{**kw, "groups": 4})
