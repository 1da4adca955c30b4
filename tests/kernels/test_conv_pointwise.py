"""Design: gradients of 1x1 filters from so few pixels that they are one product of matrices.

That way is taken where 256 x N x P x Q <= C x K (channels of a group). The oracle is the product of
matrices that a 1x1 convolution is, in float64, of the pixels that its stride meets; exact on whole
numbers. Cases lie on both sides of the threshold.
"""

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

import minigrad
from minigrad._kernels import conv as kernel
from minigrad._kernels import memory
from tests.kernels.probe import THREADS
from tests.layouts import LAYOUTS, check_memory, lay, same, u
from tests.strategies import FLOATS, SEEDS, integers, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
PLAIN = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
PADDINGS = st.sampled_from((  # most of them none
    *[(0, 0, 0, 0)] * 4, (1, 0, 2, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1),
))  # fmt: skip
PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def met(x, kw):
    """(N,C,P,Q): the pixels that a 1x1 filter meets."""
    (sh, sw), (top, bottom, left, right) = kw["stride"], kw["padding"]
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))[:, :, ::sh, ::sw]


def definition(gy, x, kw):
    """gw (K,C/G,1,1) = sum over n, p, q of gy[n,k,p,q] x[n,c,p sh,q sw], in float64."""
    seen, groups = met(x, kw).astype(np.float64), kw["groups"]
    columns = seen.transpose(1, 0, 2, 3).reshape(groups, x.shape[1] // groups, -1)
    rows = gy.astype(np.float64).transpose(1, 0, 2, 3).reshape(groups, gy.shape[1] // groups, -1)
    return (rows @ columns.swapaxes(1, 2)).reshape(gy.shape[1], -1, 1, 1)


def problem(n, c, k, size, kw, dtype, seed=0, make=integers):
    """gy, x, the shape of w; c and k channels a group."""
    rng, groups = np.random.default_rng(seed), kw["groups"]
    x = make(rng, (n, c * groups, *size), dtype)
    gy = make(rng, (n, k * groups, *met(x, kw).shape[2:]), dtype)
    return gy, x, (k * groups, c, 1, 1)


def check(gy, x, w_shape, kw):
    before = gy.copy(), x.copy()
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    assert gw.dtype == x.dtype and gw.shape == w_shape and gw.flags.c_contiguous
    np.testing.assert_array_equal(gw, definition(gy, x, kw))
    check_memory((gw,), (gy, x))
    assert same(gy, before[0]) and same(x, before[1])


def few(gy, w_shape, groups):
    """Whether the pixels are few enough."""
    return 256 * gy[:, 0].size <= w_shape[0] // groups * w_shape[1]


@DTYPES
@given(
    n=st.integers(1, 5), c=st.integers(1, 200), k=st.integers(30, 300), groups=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)), stride=PAIR, padding=PADDINGS, seed=SEEDS,
)  # fmt: skip
def test_gradients_equal_the_product_on_whole_numbers(
    dtype, n, c, k, groups, size, stride, padding, seed
):
    kw = {**PLAIN, "stride": stride, "padding": padding, "groups": groups}
    gy, x, w_shape = problem(n, c, k, size, kw, dtype, seed)
    event(f"few: {few(gy, w_shape, groups)}")
    check(gy, x, w_shape, kw)


@DTYPES
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (1, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("c, k", [(64, 64), (65, 64), (63, 65), (17, 241), (512, 8), (8, 513)])
def test_both_sides_of_the_threshold(c, k, stride, groups, dtype):
    kw, seen = {**PLAIN, "stride": stride, "groups": groups}, set()
    for n, (p, q) in ((1, (4, 4)), (1, (3, 5)), (16, (1, 1)), (1, (1, 17)), (2, (3, 3))):
        rest = [min(i, step - 1) for i, step in enumerate(stride, 1)]  # pixels that nobody meets
        size = tuple((o - 1) * s + 1 + r for o, s, r in zip((p, q), stride, rest, strict=True))
        gy, x, w_shape = problem(n, c, k, size, kw, dtype, seed=n)
        assert gy.shape[2:] == (p, q)
        check(gy, x, w_shape, kw)
        seen.add(few(gy, w_shape, groups))
    assert seen == {False, True}


@DTYPES
@pytest.mark.parametrize("side", range(4))
def test_padding_that_leaves_the_size_of_the_output_is_met_all_the_same(side, dtype):
    padding = tuple(int(i == side) for i in range(4))
    for stride in ((2, 2), (3, 3), (2, 3)):
        for size in ((7, 7), (5, 7), (4, 6), (1, 1)):  # stride 2 keeps the outputs of odd sides
            kw = {**PLAIN, "stride": stride, "padding": padding}
            check(*problem(1, 65, 70, size, kw, dtype, seed=side), kw)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("name, n, c, k, side", [
    ("one pixel", 1, 300, 257, 1), ("a batch of pixels", 67, 200, 100, 1),
    ("bottleneck", 1, 1024, 256, 7), ("shortcut", 2, 256, 513, 7), ("classifier", 1, 512, 1001, 7),
    ("odd channels", 1, 511, 513, 5), ("one filter", 1, 5000, 1, 3), ("one channel", 1, 1, 5001, 3),
])  # fmt: skip
def test_layers_of_nets(name, n, c, k, side, stride):
    kw = {**PLAIN, "stride": (stride, stride)}
    check(*problem(n, c, k, (side, side + 1), kw, np.float32, seed=len(name)), kw)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(which=st.integers(1, 3), stride=PAIR, padding=PADDINGS, groups=st.integers(1, 2), seed=SEEDS,
       count=st.sampled_from(THREADS))  # fmt: skip
def test_every_layout_and_number_of_threads_gives_the_same_bits(
    layout, which, stride, padding, groups, seed, count
):
    kw = {**PLAIN, "stride": stride, "padding": padding, "groups": groups}
    gy, x, w_shape = problem(2, 131, 97, (5, 3), kw, np.float32, seed, reals)
    gy, x = (lay(a, layout) if which >> i & 1 else a for i, a in enumerate((gy, x)))
    plain = [np.array(a, order="C", subok=False) for a in (gy, x)]
    want = kernel.conv2d_grad_w(*plain, w_shape=w_shape, **kw)
    with minigrad.threads(count):
        got = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    assert same(got, want)


@given(stride=PAIR, padding=PADDINGS, groups=st.integers(1, 3), n=st.integers(1, 3), seed=SEEDS)
def test_float32_stays_within_the_proven_bound(stride, padding, groups, n, seed):
    kw = {**PLAIN, "stride": stride, "padding": padding, "groups": groups}
    gy, x, w_shape = problem(n, 65, 130, (6, 7), kw, np.float32, seed, reals)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    bound = (gy[:, 0].size + 2) * u(np.float32) * definition(abs(gy), abs(x), kw)
    assert np.all(abs(gw - definition(gy, x, kw)) <= bound)


@DTYPES
@given(stride=PAIR, groups=st.integers(1, 2), seed=SEEDS,
       special=st.sampled_from((np.nan, np.inf, -np.inf)))  # fmt: skip
def test_special_values_count_where_the_stride_meets_them_and_nowhere_else(
    dtype, stride, groups, seed, special
):
    kw = {**PLAIN, "stride": stride, "groups": groups}
    gy, x, w_shape = problem(1, 128, 96, (7, 5), kw, dtype, seed)
    spot = np.unravel_index(seed % x.size, x.shape)
    x[spot] = special
    with np.errstate(invalid="ignore"):
        want = definition(gy, x, kw)
    inside = all(at % step == 0 for at, step in zip(spot[2:], stride, strict=True))
    assert np.isfinite(want).all() == (not inside)
    np.testing.assert_array_equal(kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw), want)


def test_float64_keeps_forty_bit_fractions():
    kw = {**PLAIN, "stride": (2, 1)}
    gy, x, w_shape = problem(1, 70, 66, (5, 4), kw, np.float64)
    fine = 1 + np.arange(x.size).reshape(x.shape) * 2.0**-40
    check(gy, fine, w_shape, kw)
    check(1 + np.arange(gy.size).reshape(gy.shape) * 2.0**-40, x, w_shape, kw)


@DTYPES
@pytest.mark.parametrize("groups", [1, 3])
def test_no_batch_gives_a_zero_gradient(groups, dtype):
    kw = {**PLAIN, "groups": groups}
    gy, x, w_shape = problem(0, 40, 30, (3, 4), kw, dtype)
    blocks = [memory.empty_array(w_shape, dtype) for _ in range(4)]
    for block in blocks:
        block.fill(np.nan)  # the result will have one of these
    del blocks, block
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    assert gw.shape == w_shape and (gw == 0).all()


@given(stride=PAIR, groups=st.integers(1, 2), seed=SEEDS)
def test_adjoint_identity(stride, groups, seed):
    kw = {**PLAIN, "stride": stride, "groups": groups}
    gy, x, w_shape = problem(2, 130, 66, (5, 4), kw, np.float64, seed, reals)
    assume(few(gy, w_shape, groups))
    w = reals(np.random.default_rng(seed + 1), w_shape)
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **kw)
    y = kernel.conv2d(x, w, **kw)
    size = (abs(y) * abs(gy)).sum()
    assert abs((gw * w).sum() - (y * gy).sum()) <= 1e-12 * size


@DTYPES
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("c, k, channels", [(3, 5, 1), (20, 35, 1), (64, 130, 2), (1100, 33, 2)])
def test_bands_that_end_amid_images_are_the_same_convolution(dtype, groups, c, k, channels):
    """Pixels of 1x1 layers are cut as one row, whatever image they belong to."""
    kw = PLAIN | {"groups": groups}
    size, n = ((7, 13), 11) if c < 1000 else ((5, 3), 7)
    gy, x, w_shape = problem(n, c, k, size, kw, dtype)
    w = integers(np.random.default_rng(1), w_shape, dtype)
    if channels == 2:  # x and gy are some channels of a wider array
        x, gy = (np.concatenate([a, a], axis=1)[:, : a.shape[1]] for a in (x, gy))
    options = {"algorithm": "direct"} | kw
    filters = w.reshape(groups, k, c).astype(np.float64)
    rows = x.astype(np.float64).reshape(n, groups, c, -1)
    y = (filters @ rows).reshape(gy.shape)
    back = filters.swapaxes(1, 2) @ gy.astype(np.float64).reshape(n, groups, k, -1)
    same_numbers = np.testing.assert_array_equal
    same_numbers(kernel.conv2d(x, w, None, **options), y)
    same_numbers(kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **options), back.reshape(x.shape))
    same_numbers(kernel.conv2d_grad_w(gy, x, w_shape=w_shape, **options), definition(gy, x, kw))
