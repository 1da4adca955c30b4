"""Design: elementwise kernels against NumPy: exact where one rounding is all, else a few ulps.

A kernel may answer None ("not mine"), but not to dense operands that agree: that is counted as a
failure here, so that the fast road cannot silently close. An element must not see its neighbors:
cutting an array in pieces, which moves elements between vector body and tail, keeps every bit.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad._kernels import elementwise as kernel
from minigrad.errors import MinigradError
from minigrad.reference import elementwise as ref
from tests.layouts import check_memory, is_channels_last, lay, same
from tests.strategies import CHANNELS, FLOATS, SEEDS, integers, nchw, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
DENSE = ("C", "F", "channels_last", "readonly")
SIZES = st.sampled_from((0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1000, 70_001))
EXACT = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum, "relu_grad": ref.relu_grad,
}  # fmt: skip
EXACT_UNARY = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "square": np.square, "relu": ref.relu,
}  # fmt: skip
ROUNDED = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": ref.sigmoid}
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 88.0, -88.0, 709.0, -709.0, 1e4, -1e4)


def values(dtype):
    """Special values and ordinary ones, cyclically, so that each meets each over two arrays."""
    return np.array([*SPECIAL, 0.5, -2.5, 3.0, 1e-3], dtype)


def check_ulps(got, want, dtype, ulps):
    """NaN where NaN, infinite where infinite, else within some units in the last place."""
    assert got.dtype == dtype and got.shape == want.shape
    want = want.astype(dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    tiny = np.finfo(dtype).tiny  # float32 kernels flush what is below
    error = abs(got[finite].astype(np.longdouble) - want[finite])
    assert np.all(error <= np.maximum(ulps * np.spacing(abs(want[finite])), 1.01 * tiny))


@pytest.fixture(autouse=True)
def quiet():
    """NumPy warns of invalid and overflowing results; here they are wanted."""
    with np.errstate(all="ignore"):
        yield


def test_every_kernel_is_in_a_table_of_this_file():
    found = {name for name, f in vars(kernel).items() if isinstance(f, kernel.Elementwise)}
    assert found == {*EXACT, *EXACT_UNARY, *ROUNDED, "pow", "leaky_relu", "tanh_grad"}


@DTYPES
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("layout", DENSE)
def test_two_dense_operands_of_one_layout(dtype, name, layout):
    rng = np.random.default_rng(len(name))
    x, y = (lay(reals(rng, (3, 5, 4, 7), dtype), layout) for _ in range(2))
    got, want = getattr(kernel, name)(x, y), EXACT[name](x, y)
    assert got is not None
    assert same(got, want)
    assert got.strides == np.add(x, y).strides  # the memory order is kept
    check_memory((got,), (x, y))


@DTYPES
@pytest.mark.parametrize("name", EXACT)
@given(size=SIZES, seed=SEEDS)
def test_every_size_and_the_special_values(dtype, name, size, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.choice(values(dtype), size) for _ in range(2))
    got = getattr(kernel, name)(x, y)
    assert got is not None and got.dtype == dtype
    if name == "relu_grad":  # the gradient at a NaN is no promise
        keep = ~np.isnan(y)
        got, x, y = got[keep], x[keep], y[keep]
    np.testing.assert_array_equal(got, EXACT[name](x, y))


@DTYPES
@pytest.mark.parametrize("name", [*EXACT_UNARY, *ROUNDED])
@given(size=SIZES, seed=SEEDS)
def test_unary_kernels(dtype, name, size, seed):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(size) < 0.3, rng.choice(values(dtype), size), 9 * reals(rng, size))
    x = x.astype(dtype)
    got = getattr(kernel, name)(x)
    assert got is not None
    if name in EXACT_UNARY:
        np.testing.assert_array_equal(got, EXACT_UNARY[name](x))
        assert got.dtype == dtype
    else:
        check_ulps(got, ROUNDED[name](x.astype(np.longdouble)), dtype, 4)
    check_memory((got,), (x,))


@DTYPES
def test_tanh_is_odd_and_within_two_units_everywhere(dtype):
    """Near 0, between powers of two of e^2x, where it reaches 1, and at 0, which keeps its sign."""
    x = np.concatenate([np.linspace(0, 12, 40001), np.linspace(0, 0.2, 40001),
                        np.geomspace(2.0**-140, 1, 10001)]).astype(dtype)  # fmt: skip
    got = kernel.tanh(x)
    check_ulps(got, np.tanh(x.astype(np.longdouble)), dtype, 2)
    assert np.all(got <= 1) and kernel.tanh(-x).tobytes() == (-got).tobytes()


@DTYPES
@pytest.mark.parametrize("exponent", [2.0, 0.5, -1.0, 3.0, 0.0, 1.0, -0.5, 1.7])
def test_pow_with_a_number_as_exponent(dtype, exponent):
    x = np.concatenate([values(dtype), np.linspace(0.01, 20, 50, dtype=dtype)])
    got = kernel.pow(x, exponent)
    if got is not None:
        check_ulps(got, np.power(x, dtype(exponent)), dtype, 4)


@DTYPES
def test_pow_of_two_arrays(dtype):
    rng = np.random.default_rng(0)
    x, y = (4 * rng.random(1000)).astype(dtype), (3 * reals(rng, 1000)).astype(dtype)
    got = kernel.pow(x, y)
    if got is not None:
        want = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
        check_ulps(got, want, dtype, 4)


@DTYPES
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
@given(size=SIZES, seed=SEEDS, number=st.sampled_from((2.0, -0.5, 3, 0.1, np.inf)))
def test_a_number_may_stand_on_either_side(dtype, name, size, seed, number):
    x = reals(np.random.default_rng(seed), size, dtype)
    for args in ((x, number), (number, x), (x, np.asarray(number, dtype))):
        got = getattr(kernel, name)(*args)
        assert got is not None or name in ("maximum", "minimum")  # these leave numbers to NumPy
        if got is not None:
            want = EXACT[name](*args)
            assert got.dtype == dtype == want.dtype
            np.testing.assert_array_equal(got, want)


@DTYPES
@given(size=SIZES, slope=st.sampled_from((0.01, 0.5, 0.0, -1.0, 2.0)), seed=SEEDS)
def test_leaky_relu_takes_any_slope(dtype, size, slope, seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate([reals(rng, size, dtype), values(dtype)])
    got = kernel.leaky_relu(x, slope)
    assert got is not None and got.dtype == dtype
    np.testing.assert_array_equal(got, ref.leaky_relu(x, dtype(slope)))


@DTYPES
@given(size=SIZES, cut=st.integers(0, 70), seed=SEEDS)
def test_an_element_does_not_see_its_neighbors(dtype, size, cut, seed):
    x = (4 * reals(np.random.default_rng(seed), size)).astype(dtype)
    for name in ROUNDED:
        f = getattr(kernel, name)
        assert same(f(x), np.concatenate([f(x[:cut]), f(x[cut:])]))


@DTYPES
def test_operands_that_do_not_agree_are_left_to_numpy(dtype):
    x = np.ones((4, 6), dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    for y in (x[:1], x.astype(other), np.ones((6, 4), dtype), np.ones((4, 6), np.int64),
              np.asfortranarray(x), np.ones((4, 12), dtype)[:, ::2], x[:, ::-1]):  # fmt: skip
        for got in (kernel.add(x, y), kernel.add(y, x)):
            if got is not None:  # allowed, if it is what NumPy says
                assert same(got, np.add(x, y))


@DTYPES
@given(size=SIZES, seed=SEEDS)
def test_tanh_grad_is_g_times_one_minus_z_squared(dtype, size, seed):
    rng = np.random.default_rng(seed)
    g, z = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    z = np.tanh(4 * z)
    exact = g.astype(np.longdouble) * (1 - z.astype(np.longdouble) ** 2)
    got = kernel.tanh_grad(g, z)
    assert got.dtype == dtype and np.all(abs(got - exact) <= 2 * np.finfo(dtype).eps * abs(g))


@DTYPES
@given(
    shape=st.tuples(*(st.integers(1, 9),) * 4),
    before=st.integers(0, 9),
    after=st.integers(0, 9),
    seed=SEEDS,
)
def test_some_channels_of_images_meet_others_pixel_by_pixel(dtype, shape, before, after, seed):
    rng = np.random.default_rng(seed)
    n, c, h, w = shape
    whole = rng.standard_normal((n, h, w, before + c + after)).astype(dtype).transpose(0, 3, 1, 2)
    x = whole[:, before : before + c]
    y = rng.standard_normal((n, h, w, c)).astype(dtype).transpose(0, 3, 1, 2)
    for name, want in (("relu_grad", ref.relu_grad), ("sub", np.subtract)):
        for a, b in ((x, y), (y, x), (x, x)):
            got = getattr(kernel, name)(a, b)
            assert got is None or (same(got, want(a, b)) and is_channels_last(got))


def test_pixel_by_pixel_with_threads_and_not_with_numpy():
    whole = np.arange(64.0 * 48 * 20 * 20, dtype=np.float32).reshape(64, 20, 20, 48)
    whole = whole.transpose(0, 3, 1, 2)
    x, y = whole[:, 5:35], np.ones((64, 20, 20, 30), np.float32).transpose(0, 3, 1, 2)
    got = kernel.sub(x, y)
    assert got is not None and same(got, x - y)
    assert kernel.sub(x, y.copy()) is None  # C order: pixels lie elsewhere
    assert kernel.sub(x[:, :, ::2], y[:, :, ::2]) is None
    for one in (y[:, :, :1, :1], y[:, :, :1], y[..., :1], y[:1]):  # read many times: stride 0
        assert kernel.sub(x, np.broadcast_to(one, x.shape)) is None
        assert kernel.sub(np.broadcast_to(one, x.shape), x) is None


@given(
    shape=st.tuples(*(st.integers(1, 4),) * 4),
    ones=st.tuples(*(st.booleans(),) * 4),
    order=st.permutations(range(4)),
    seed=SEEDS,
)
def test_views_of_any_strides_mean_what_numpy_says(shape, ones, order, seed):
    rng = np.random.default_rng(seed)
    small = [1 if one else n for n, one in zip(shape, ones, strict=True)]
    y = rng.standard_normal([small[a] for a in order]).astype(np.float32)
    y = np.broadcast_to(y.transpose(np.argsort(order)), shape)
    x = lay(rng.standard_normal(shape).astype(np.float32), "channels_last")
    for a, b in ((x, y), (y, x), (y, y)):
        got = kernel.sub(a, b)
        assert got is None or same(got, a - b)


@DTYPES
def test_relu_conventions(dtype):
    x = np.array([-1, -0.0, 0, 2, np.nan, np.inf, -np.inf] * 5, dtype)
    np.testing.assert_array_equal(kernel.relu(x), ref.relu(x))
    gy = np.full(x.size, 7, dtype)
    got = kernel.relu_grad(gy, x)
    keep = ~np.isnan(x)
    np.testing.assert_array_equal(got[keep], ref.relu_grad(gy, x)[keep])


@DTYPES
@given(size=SIZES, seed=SEEDS)
def test_add_in_place_stays_in_place(dtype, size, seed):
    rng = np.random.default_rng(seed)
    buffer = np.full(size + 18, np.nan, dtype)
    total, term = buffer[9 : 9 + size], reals(rng, size, dtype)
    total[...] = reals(rng, size, dtype)
    want = total + term
    assert kernel.add_(total, term) is total
    assert same(total, want)
    assert np.isnan(buffer[:9]).all() and np.isnan(buffer[9 + size :]).all()


@DTYPES
@pytest.mark.parametrize("first", ["C", "F", "channels_last", "strided", "reversed"])
@pytest.mark.parametrize("second", ["C", "F", "channels_last", "broadcast", "readonly", "memmap"])
def test_add_in_place_takes_any_layouts(dtype, first, second):
    rng = np.random.default_rng(0)
    total = lay(reals(rng, (3, 5, 4, 7), dtype), first)
    term = lay(reals(rng, (3, 5, 4, 7), dtype), second)
    want = total + term
    kernel.add_(total, term)
    assert same(total, want)


OVERLAPS = {
    "behind": (slice(1, None), slice(None, -1)),
    "ahead": (slice(None, -1), slice(1, None)),
    "mirrored": (slice(None), slice(None, None, -1)),
    "itself": (slice(None), slice(None)),
}


@DTYPES
@pytest.mark.parametrize("size", [7, 1000, 70_001])
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_add_in_place_of_overlapping_memory_reads_before_it_writes(dtype, size, overlap):
    total, term = OVERLAPS[overlap]
    x = reals(np.random.default_rng(size), size, dtype)
    want = x[total] + x[term]
    kernel.add_(x[total], x[term])
    assert same(x[total], want)


def test_add_in_place_refuses_what_it_cannot_write():
    x = np.ones(8, np.float32)
    for total, term in (
        (lay(x, "readonly"), x),
        (x, np.ones(7, np.float32)),
        (x, np.ones(8)),
        (np.broadcast_to(x[:1], (8,)), x),
    ):
        before = total.copy()
        with pytest.raises((MinigradError, ValueError, TypeError)):
            kernel.add_(total, term)
        assert same(total, before)


@DTYPES
@pytest.mark.parametrize("layout", ["C", "F", "channels_last", "strided", "readonly", "broadcast"])
@given(shape=nchw(), rank2=st.booleans(), seed=SEEDS)
def test_bias_relu(dtype, layout, shape, rank2, seed):
    rng = np.random.default_rng(seed)
    shape = shape[:2] if rank2 else shape
    x, b = lay(integers(rng, shape, dtype), layout), integers(rng, shape[1], dtype)
    got = kernel.bias_relu(x, b)
    np.testing.assert_array_equal(got, ref.bias_relu(x, b))
    assert got.dtype == dtype and (rank2 or is_channels_last(got))
    assert shape[1] in CHANNELS or shape[1] - 1 in CHANNELS


@DTYPES
@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("layout", ["F", "reversed", "strided", "offset", "broadcast", "readonly"])
def test_a_function_gives_one_value_in_every_layout(dtype, name, layout):
    x = lay(reals(np.random.default_rng(1), (5, 6, 9), dtype), layout)
    got, want = getattr(kernel, name)(x), getattr(kernel, name)(np.array(x, order="C"))
    assert got is not None
    np.testing.assert_array_equal(got, want)
