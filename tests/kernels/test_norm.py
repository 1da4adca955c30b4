"""Design: batch and local response normalization against their twins in float64.

A float32 kernel is compared with the float64 twin of the same (rounded) input, to a tolerance set
by the size of what is added, never by a fixed absolute number.
"""

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from minigrad._kernels import norm as kernel
from minigrad.errors import ArgError
from minigrad.reference import norm as ref
from tests.layouts import LAYOUTS, check_memory, is_channels_last, lay, same, u
from tests.strategies import FLOATS, SEEDS, nchw, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
MODES = st.fixed_dictionaries(
    {"relu": st.booleans(), "residual": st.booleans(), "affine": st.booleans()}
)


@st.composite
def shapes(draw, min_values=2):
    """(N,C) or (N,C,H,W) with at least min_values numbers a channel."""
    n, c, h, w = draw(nchw(max_side=9, min_n=1))
    if draw(st.booleans()):
        return n + min_values, c
    return n + (n * h * w < min_values), c, h, w


def operands(shape, seed, dtype, mode):
    """x, gamma, beta, residual, gy."""
    rng = np.random.default_rng(seed)
    x, res, gy = (reals(rng, shape, dtype) * 2 for _ in range(3))
    x += reals(rng, shape[1], dtype).reshape((1, -1) + (1,) * (len(shape) - 2))
    gamma, beta = reals(rng, shape[1], dtype), reals(rng, shape[1], dtype)
    if not mode["affine"]:
        gamma = beta = None
    return x, gamma, beta, res if mode["residual"] else None, gy


def wide(*arrays):
    return tuple(None if a is None else a.astype(np.float64) for a in arrays)


def off_the_kink(x, gamma, beta, res, gy, eps):
    """gy with zeros where the pre-activation is so near 0 that float32 may mask it otherwise."""
    z = ref.batch_norm(*wide(x, gamma, beta, res), eps=eps)[0]
    return np.where(abs(z) < 1e-4, 0, gy).astype(gy.dtype)


def check_close(got, want, dtype, scale, terms=1.0):
    """|got - want| <= 64 u sqrt(terms) (scale + |want|), same shape and dtype."""
    assert got.shape == want.shape and got.dtype == dtype
    assert np.all(abs(got - want) <= 64 * u(dtype) * np.sqrt(terms) * (scale + abs(want)))


@DTYPES
@given(shapes(), MODES, SEEDS)
def test_batch_norm_forward_equals_the_reference(dtype, shape, mode, seed):
    event(f"{len(shape)}-D")
    x, gamma, beta, res, _ = operands(shape, seed, dtype, mode)
    relu, eps = mode["relu"], 1e-3
    y, mean, var = kernel.batch_norm(x, gamma, beta, res, eps=eps, relu=relu)
    want = ref.batch_norm(*wide(x, gamma, beta, res), eps=eps, relu=relu)
    scale = abs(x).max() / np.sqrt(want[2].min() + eps)
    check_close(y, want[0], dtype, 8 * scale)
    check_close(mean, want[1], dtype, abs(x).max())
    check_close(var, want[2], dtype, want[2])
    assert len(shape) == 2 or is_channels_last(y)
    check_memory((y, mean, var), (x, gamma, beta, res))
    got = kernel.batch_norm_inference(x, gamma, beta, mean, var, res, eps=eps, relu=relu)
    args = wide(x, gamma, beta, mean, var, res)
    check_close(got, ref.batch_norm_inference(*args, eps=eps, relu=relu), dtype, 8 * scale)


@DTYPES
@pytest.mark.parametrize("name", ["batch_norm_grad", "batch_norm_inference_grad"])
@given(shapes(), MODES, st.booleans(), SEEDS)
def test_batch_norm_gradients_equal_the_reference(dtype, name, shape, mode, needs_residual, seed):
    x, gamma, beta, res, gy = operands(shape, seed, dtype, mode)
    kw = dict(eps=1e-2, relu=mode["relu"], needs_residual=needs_residual and res is not None)
    gy = off_the_kink(x, gamma, beta, res, gy, 1e-2)
    _, mean, var = ref.batch_norm(*wide(x, gamma, beta, res), eps=1e-2)
    mean, var = mean.astype(dtype), var.astype(dtype)
    got = getattr(kernel, name)(gy, x, gamma, beta, mean, var, res, **kw)
    want = getattr(ref, name)(*wide(gy, x, gamma, beta, mean, var, res), **kw)
    size, gain = abs(gy).max(), 1 if gamma is None else abs(gamma).max()
    rstd = 1 / np.sqrt(var.min() + 1e-2)
    xhat = abs(x).max() * rstd
    m = x.size // shape[1]
    check_close(got[0], want[0], dtype, size * gain * rstd * (1 + xhat * xhat))
    if gamma is not None:
        check_close(got[1], want[1], dtype, size * (1 + xhat) * m)
        check_close(got[2], want[2], dtype, size * m)
    assert (got[3] is None) == (want[3] is None)
    if got[3] is not None:
        np.testing.assert_array_equal(got[3], want[3])
    if mode["relu"] or got[3] is None:
        check_memory(got, (gy, x, gamma, beta, mean, var, res))
    else:  # without relu the residual's gradient is gy, and may be gy itself
        check_memory(got[:3], (gy, x, gamma, beta, mean, var, res))


@given(shapes(), SEEDS)
def test_batch_norm_normalizes(shape, seed):
    mode = {"residual": False, "affine": True}
    x, gamma, beta, _, gy = operands(shape, seed, np.float64, mode)
    y, mean, var = kernel.batch_norm(x, gamma, beta, eps=1e-3, relu=False)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(y.mean(axis=axes), beta, rtol=0, atol=1e-10)
    want = gamma**2 * var / (var + 1e-3)
    np.testing.assert_allclose(y.var(axis=axes), want, rtol=1e-10, atol=1e-12)
    gx = kernel.batch_norm_grad(
        gy, x, gamma, beta, mean, var, eps=1e-3, relu=False, needs_residual=False
    )[0]
    size = abs(gx).sum(axis=axes) + 1e-300
    assert np.all(abs(gx.sum(axis=axes)) <= 1e-10 * size)
    z = kernel.batch_norm(4 * x + 8, gamma, beta, eps=16e-3, relu=False)[0]
    np.testing.assert_allclose(z, y, rtol=0, atol=1e-9)


def test_batch_norm_variance_survives_a_large_mean():
    x = reals(np.random.default_rng(0), (8, 17, 6, 5), np.float32) + np.float32(4096)
    y, mean, var = kernel.batch_norm(x, None, None, eps=1e-5, relu=False)
    _, want_mean, want_var = ref.batch_norm(x.astype(np.float64), None, None, eps=1e-5)
    np.testing.assert_allclose(mean, want_mean, rtol=2e-7)
    np.testing.assert_allclose(var, want_var, rtol=1e-3)
    assert abs(y).max() < 6


def test_batch_norm_over_many_pixels_does_not_drift():
    x = np.random.default_rng(0).random((4, 5, 128, 128), np.float32)
    _, mean, var = kernel.batch_norm(x, None, None, eps=1e-5, relu=False)
    _, want_mean, want_var = ref.batch_norm(x.astype(np.float64), None, None, eps=1e-5)
    np.testing.assert_allclose(mean, want_mean, rtol=1e-5)
    np.testing.assert_allclose(var, want_var, rtol=1e-5)


@DTYPES
def test_batch_norm_relu_gradient_is_zero_at_zero_and_nan_spreads_in_its_channel(dtype):
    x = np.zeros((2, 3, 2, 2), dtype)
    zero, one = np.zeros(3, dtype), np.ones(3, dtype)
    got = kernel.batch_norm_grad(
        np.ones_like(x), x, one, zero, zero, one, eps=1e-5, relu=True, needs_residual=False
    )
    assert all((g == 0).all() for g in got[:3])
    x = reals(np.random.default_rng(0), (2, 3, 4, 5), dtype)
    x[1, 1, 2, 3] = np.nan
    y, mean, _ = kernel.batch_norm(x, one, zero, eps=1e-5, relu=False)
    assert np.isnan(mean[1]) and np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
    x[1, 1, 2, 3] = 0
    y = kernel.batch_norm_inference(x, one, np.array([0, np.nan, 0], dtype), zero, one,
                                    eps=1e-5, relu=True)  # fmt: skip
    assert np.isnan(y[:, 1]).all()  # relu keeps NaN


@DTYPES
@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 1, 1)])
def test_one_value_a_channel_has_no_variance(dtype, shape):
    with pytest.raises(ArgError, match="batch_norm"):
        kernel.batch_norm(np.ones(shape, dtype), None, None, eps=1e-5, relu=False)


LRN = st.fixed_dictionaries(
    {
        "size": st.integers(1, 12),
        "alpha": st.sampled_from((0.5, 1e-4, 2.0)),
        "beta": st.sampled_from((0.75, 0.5, 1.0, 0.3)),
        "k": st.sampled_from((1.0, 2.0, 0.25)),
    }
)


@DTYPES
@given(nchw(), LRN, SEEDS)
def test_local_response_norm_equals_the_reference(dtype, shape, kw, seed):
    rng = np.random.default_rng(seed)
    x, gy = 2 * reals(rng, shape, dtype), reals(rng, shape, dtype)
    y, gx = kernel.local_response_norm(x, **kw), kernel.local_response_norm_grad(gy, x, **kw)
    wx, wgy = wide(x, gy)
    check_close(y, ref.local_response_norm(wx, **kw), dtype, 1e-3 * abs(wx))
    want = ref.local_response_norm_grad(wgy, wx, **kw)
    size = ref.local_response_norm_grad(abs(wgy), abs(wx), **{**kw, "beta": -kw["beta"]})
    check_close(gx, want, dtype, size + 1e-3)
    assert is_channels_last(y) and is_channels_last(gx)
    check_memory((y, gx), (x, gy))


@given(nchw(min_n=1), SEEDS)
def test_local_response_norm_scaling_law_and_independent_pixels(shape, seed):
    x = reals(np.random.default_rng(seed), shape)
    kw = dict(size=5, alpha=0.5, beta=0.75)
    y = kernel.local_response_norm(x, k=1.0, **kw)
    scaled = kernel.local_response_norm(3 * x, k=9.0, **kw)
    np.testing.assert_allclose(scaled, 3 ** (1 - 1.5) * y, rtol=1e-12)
    flat = kernel.local_response_norm(x, size=5, alpha=0.0, beta=0.75, k=2.0)
    np.testing.assert_allclose(flat, x * 2.0**-0.75, rtol=1e-12)
    i, j = shape[2] - 1, shape[3] - 1
    pixel = kernel.local_response_norm(np.ascontiguousarray(x[:, :, i:, j:]), k=1.0, **kw)
    np.testing.assert_allclose(pixel, y[:, :, i:, j:], rtol=1e-13)


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(shapes(), MODES, SEEDS)
def test_every_layout_gives_the_same_bits(dtype, layout, shape, mode, seed):
    x, gamma, beta, res, gy = operands(shape, seed, dtype, mode)
    arrays = [None if a is None else lay(a, layout) for a in (x, gamma, beta, res, gy)]
    plain = [None if a is None else np.array(a, order="C", subok=False) for a in arrays]
    kw = dict(eps=1e-2, relu=mode["relu"])
    lrn = dict(size=3, alpha=0.5, beta=0.75, k=1.0)
    results = []
    for x, gamma, beta, res, gy in (arrays, plain):
        y, mean, var = kernel.batch_norm(x, gamma, beta, res, **kw)
        stats = lay(mean, layout), lay(var, layout)
        got = [y, mean, var]
        got.append(kernel.batch_norm_inference(x, gamma, beta, *stats, res, **kw))
        for f in (kernel.batch_norm_grad, kernel.batch_norm_inference_grad):
            grads = f(gy, x, gamma, beta, *stats, res, needs_residual=res is not None, **kw)
            got += [g for g in grads if g is not None]
        if len(shape) == 4:
            got.append(kernel.local_response_norm(x, **lrn))
            got.append(kernel.local_response_norm_grad(gy, x, **lrn))
        results.append(got)
    assert all(same(a, b) for a, b in zip(*results, strict=True))


@DTYPES
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 5)])
def test_no_batch_keeps_shapes(dtype, shape):
    x, v = np.zeros(shape, dtype), np.ones(3, dtype)
    y = kernel.batch_norm_inference(x, v, v, v, v, eps=1e-5, relu=True)
    assert y.shape == shape and y.dtype == dtype
    for f in (kernel.batch_norm_grad, kernel.batch_norm_inference_grad):
        gx, ggamma, gbeta, _ = f(x, x, v, v, v, v, eps=1e-5, relu=False, needs_residual=False)
        assert gx.shape == shape and (ggamma == 0).all() and (gbeta == 0).all()
