"""Design: the three passes of the compiled convolution against their twins.

On whole numbers every order of summation gives the same float, so equality is exact; on reals the
float32 kernel must stay within the proven bound (n + 2) u (|x| * |w|), for any order of summation.

Where to go next: `test_conv_relations.py` (what holds between two convolutions).
"""

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from minigrad._kernels import conv as kernel
from minigrad.reference import conv as ref
from tests.layouts import LAYOUTS, check_memory, is_channels_last, lay, same, u
from tests.strategies import FLOATS, SEEDS, Axis, Conv, big_convs, convs, integers, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)


def operands(case, dtype, make=integers):
    """x, w, b, gy of a problem."""
    rng = np.random.default_rng(case.seed)
    shapes = case.x_shape, case.w_shape, (case.k,), case.y_shape
    return tuple(make(rng, shape, dtype) for shape in shapes)


def passes(k, case, x, w, gy):
    """y, gx, gw of module k (the kernel or the twin), by the definition."""
    kwargs = {**case.kwargs, "algorithm": "direct"}
    return (
        k.conv2d(x, w, **kwargs),
        k.conv2d_grad_x(gy, w, x_shape=case.x_shape, **kwargs),
        k.conv2d_grad_w(gy, x, w_shape=case.w_shape, **kwargs),
    )


def check_exact(case, dtype):
    x, w, b, gy = operands(case, dtype)
    before = [a.copy() for a in (x, w, b, gy)]
    outs = passes(kernel, case, x, w, gy)
    for out, want in zip(outs, passes(ref, case, x, w, gy), strict=True):
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, want)
    gb = kernel.bias_grad(gy)
    np.testing.assert_array_equal(gb, ref.bias_grad(gy))
    check_memory((*outs, gb), (x, w, b, gy))
    assert is_channels_last(outs[0]) and is_channels_last(outs[1])
    assert outs[2].flags.c_contiguous and gb.dtype == dtype
    assert all(same(a, old) for a, old in zip((x, w, b, gy), before, strict=True))


@DTYPES
@given(case=convs())
def test_all_passes_equal_the_reference_on_whole_numbers(dtype, case):
    for name in case.classes():
        event(name)
    check_exact(case, dtype)


@DTYPES
@given(case=big_convs())
def test_all_passes_equal_the_reference_on_many_rows_and_tails(dtype, case):
    check_exact(case, dtype)


LAYERS = {  # n, c, k, groups; rows and columns as (size, kernel, stride, before, after, dilation)
    "alexnet 1": (2, 3, 96, 1, (51, 11, 4, 2, 2, 1), (47, 11, 4, 2, 1, 1)),
    "alexnet 2": (1, 96, 72, 2, (13, 5, 1, 2, 2, 1), (11, 5, 1, 2, 2, 1)),
    "resnet stem": (2, 3, 64, 1, (37, 7, 2, 3, 3, 1), (41, 7, 2, 3, 3, 1)),
    "many channels in": (1, 530, 19, 1, (7, 3, 1, 1, 1, 1), (6, 3, 1, 1, 1, 1)),
    "many channels out": (1, 17, 1027, 1, (5, 3, 1, 1, 1, 1), (7, 3, 2, 1, 1, 1)),
    "bottleneck": (2, 513, 130, 1, (6, 1, 1, 0, 0, 1), (8, 1, 1, 0, 0, 1)),
    "shortcut": (2, 66, 257, 1, (14, 1, 2, 0, 0, 1), (12, 1, 2, 0, 0, 1)),
    "batch of small images": (67, 16, 33, 1, (8, 3, 1, 1, 1, 1), (9, 3, 1, 1, 1, 1)),
    "batch of pixels": (130, 65, 10, 1, (1, 1, 1, 0, 0, 1), (1, 1, 1, 0, 0, 1)),
    "wide image": (1, 5, 9, 1, (3, 3, 1, 1, 1, 1), (700, 3, 1, 1, 1, 1)),
    "tall image": (1, 9, 5, 1, (700, 3, 2, 1, 1, 2), (3, 2, 1, 1, 0, 1)),
    "wide depthwise": (2, 131, 131, 131, (9, 5, 2, 2, 2, 1), (12, 5, 1, 2, 2, 1)),
    "depthwise times three": (2, 40, 120, 40, (9, 3, 1, 2, 2, 2), (12, 3, 2, 1, 1, 1)),
    "many small groups": (2, 96, 64, 32, (9, 3, 1, 1, 1, 1), (10, 3, 1, 1, 1, 1)),
}


@DTYPES
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_real_nets_equal_the_reference(dtype, name):
    n, c, k, groups, *windows = LAYERS[name]
    h, w = (Axis(*v, ref.output_size(v[0], v[3] + v[4], v[1], v[2], v[5])) for v in windows)
    check_exact(Conv(n, c, k, groups, h, w, seed=len(name)), dtype)


@DTYPES
@given(case=convs(), relu=st.booleans(), bias=st.booleans())
def test_bias_and_relu_are_fused_faithfully(dtype, case, relu, bias):
    x, w, b, _ = operands(case, dtype)
    b = b if bias else None
    got = kernel.conv2d(x, w, b, relu=relu, algorithm="direct", **case.kwargs)
    np.testing.assert_array_equal(got, ref.conv2d(x, w, b, relu=relu, **case.kwargs))


@given(case=convs())
def test_float32_stays_within_the_proven_bound(case):
    x, w, _, gy = operands(case, np.float32, reals)
    wide = [a.astype(np.float64) for a in (x, w, gy)]
    got = passes(kernel, case, x, w, gy)
    exact, size = passes(ref, case, *wide), passes(ref, case, *[abs(a) for a in wide])
    _, cg, r, s = case.w_shape
    taps = (cg * r * s, case.k // case.groups * r * s, case.n * case.h.out * case.w.out)
    for y, want, a, n in zip(got, exact, size, taps, strict=True):
        assert np.all(np.abs(y - want) <= (n + 2) * u(np.float32) * a)


@given(case=convs())
def test_adjoint_identities(case):
    x, w, _, gy = operands(case, np.float64, reals)
    y, gx, gw = passes(kernel, case, x, w, gy)
    size = (ref.conv2d(abs(x), abs(w), **case.kwargs) * abs(gy)).sum() + 1e-300
    assert abs((y * gy).sum() - (gx * x).sum()) <= 1e-13 * size
    assert abs((y * gy).sum() - (gw * w).sum()) <= 1e-13 * size
    gb = kernel.bias_grad(gy)
    assert np.all(abs(gb - gy.sum(axis=(0, 2, 3))) <= 1e-13 * (abs(gy).sum() + 1e-300))


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(case=convs(max_out=4), which=st.integers(0, 7))
def test_every_layout_gives_the_same_bits(dtype, layout, case, which):
    x, w, b, gy = operands(case, dtype, reals)
    which = which or 7
    x, w, gy = (
        lay(a, layout) if which >> i & 1 else a for i, a in enumerate((x, w, gy))
    )  # fmt: skip
    b = lay(b, layout)
    plain = [np.array(a, order="C", subok=False) for a in (x, w, gy, b)]
    for got, want in zip(
        passes(kernel, case, x, w, gy), passes(kernel, case, *plain[:3]), strict=True
    ):
        assert same(got, want)
    assert same(kernel.bias_grad(gy), kernel.bias_grad(plain[2]))
    got = kernel.conv2d(x, w, b, **case.kwargs)
    assert same(got, kernel.conv2d(plain[0], plain[1], plain[3], **case.kwargs))


@DTYPES
@given(case=convs(), special=st.sampled_from((np.nan, np.inf, -np.inf)), spot=SEEDS)
def test_nan_and_infinity_go_where_the_sums_take_them(dtype, case, special, spot):
    x, w, _, gy = operands(case, dtype)
    if case.n == 0:
        return
    x.flat[spot % x.size] = special
    gy.flat[spot % gy.size] = special
    with np.errstate(invalid="ignore"):
        y, gx, _ = passes(ref, case, x, w, gy)
        gw = ref.conv2d_grad_w(np.ones_like(gy), x, w_shape=case.w_shape, **case.kwargs)
    got_y, got_gx, _ = passes(kernel, case, x, w, gy)
    got_gw = kernel.conv2d_grad_w(np.ones_like(gy), x, w_shape=case.w_shape, **case.kwargs)
    np.testing.assert_array_equal(got_y, y)
    np.testing.assert_array_equal(got_gx, gx)
    np.testing.assert_array_equal(got_gw, gw)


@DTYPES
@given(case=convs(), special=st.sampled_from((np.nan, np.inf)), spot=SEEDS)
def test_a_special_weight_reaches_every_window_that_is_inside(dtype, case, special, spot):
    x, w, _, _ = operands(case, dtype)
    w.flat[spot % w.size] = special
    with np.errstate(invalid="ignore"):
        want = ref.conv2d(x, w, **case.kwargs)
    ones = np.ones_like(x), np.ones_like(w)
    inside = ref.conv2d(*ones, **case.kwargs) == w[0].size
    got = kernel.conv2d(x, w, **case.kwargs)
    np.testing.assert_array_equal(got[inside], want[inside])


@given(case=convs())
def test_float64_keeps_forty_bit_fractions(case):
    x, w, _, gy = operands(case, np.float64)
    rng = np.random.default_rng(case.seed)
    fine = [1 + rng.integers(0, 2**40, a.shape) * 2.0**-40 for a in (x, gy)]
    for got, want in zip(
        passes(kernel, case, fine[0], w, fine[1])[:2],
        passes(ref, case, fine[0], w, fine[1])[:2],
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)
    kw = {"w_shape": case.w_shape, **case.kwargs}
    got, want = (k.conv2d_grad_w(fine[1], x, **kw) for k in (kernel, ref))
    np.testing.assert_array_equal(got, want)


def test_float32_weight_gradient_over_65536_pixels_does_not_drift():
    rng = np.random.default_rng(0)
    x, gy = (rng.random((4, c, 128, 128), np.float32) for c in (3, 5))
    where = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1))
    got = kernel.conv2d_grad_w(gy, x, w_shape=(5, 3, 1, 1), groups=1, **where)
    want = np.einsum("nkpq,ncpq->kc", gy.astype(np.float64), x.astype(np.float64))
    assert np.all(abs(got[:, :, 0, 0] - want) <= 1e-5 * want)
    gb = kernel.bias_grad(gy)
    want = gy.astype(np.float64).sum(axis=(0, 2, 3))
    assert np.all(abs(gb - want) <= 1e-5 * want)


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_batch_gives_zero_weight_and_bias_gradients(dtype):
    x, w, gy = np.zeros((0, 3, 5, 6), dtype), np.ones((4, 3, 2, 3), dtype), np.zeros((0, 4, 4, 4))
    where = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    gy = gy.astype(dtype)
    assert kernel.conv2d(x, w, **where).shape == gy.shape
    assert kernel.conv2d_grad_x(gy, w, x_shape=x.shape, **where).shape == x.shape
    gw = kernel.conv2d_grad_w(gy, x, w_shape=w.shape, **where)
    assert gw.shape == w.shape and (gw == 0).all()
    assert kernel.bias_grad(gy).tolist() == [0] * 4


def test_float32_kernels_leave_the_processor_state_alone():
    x, w = np.ones((1, 16, 12, 12), np.float32), np.ones((16, 16, 3, 3), np.float32)
    where = dict(stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
    kernel.conv2d(x, w, **where)
    tiny = np.float64(5e-324)
    assert tiny / 1 == tiny and np.float32(1e-45) * np.float32(1) > 0
    small = np.full((1, 16, 12, 12), 2.0**-1060)  # subnormal in float64: kept, never flushed
    got = kernel.conv2d(small, w.astype(np.float64), **where)
    assert got[0, 0, 5, 5] == 144 * 2.0**-1060
