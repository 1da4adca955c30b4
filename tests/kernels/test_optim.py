"""Design: optimizer steps against their twins, inside buffers whose margins must stay untouched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad._kernels import optim as kernel
from minigrad.reference import optim as ref
from tests.layouts import lay, u
from tests.strategies import FLOATS, SEEDS, reals

DTYPES = pytest.mark.parametrize("dtype", FLOATS)
SHAPES = st.lists(
    st.sampled_from(
        ((), (1,), (7,), (8,), (33,), (0,), (3, 5), (17, 16), (5, 3, 3, 2), (1030,), (70_000,))
    ),
    min_size=0,
    max_size=5,
)
SGD = st.fixed_dictionaries(
    {
        "lr": st.sampled_from((0.1, 0.0, 1.0)),
        "momentum": st.sampled_from((0.0, 0.9)),
        "weight_decay": st.sampled_from((0.0, 1e-2)),
    }
)
ADAM = st.fixed_dictionaries(
    {
        "lr": st.sampled_from((1e-3, 0.1)),
        "beta1": st.sampled_from((0.9, 0.0)),
        "beta2": st.sampled_from((0.999, 0.9)),
        "eps": st.sampled_from((1e-8, 1e-2)),
        "weight_decay": st.sampled_from((0.0, 1e-2)),
        "decoupled": st.booleans(),
        "step": st.sampled_from((1, 2, 1000)),
    }
)
MARGIN = 9


def guarded(a):
    """A copy of a inside a NaN-filled buffer: (the view, the buffer)."""
    buffer = np.full(a.size + 2 * MARGIN, np.nan, a.dtype)
    view = buffer[MARGIN : MARGIN + a.size].reshape(a.shape)
    view[...] = a
    return view, buffer


def drawn(shapes, seed, dtype, count):
    rng = np.random.default_rng(seed)
    return [[reals(rng, s, dtype) for s in shapes] for _ in range(count)]


def check(step, ref_step, lists, changed, kwargs):
    """Run both on copies of `lists`; the first `changed` entries may change, within rounding."""
    guards = [[guarded(a) for a in arrays] for arrays in lists]
    step(*[[view for view, _ in arrays] for arrays in guards], **kwargs)
    wide = [[a.astype(np.float64) for a in arrays] for arrays in lists]
    ref_step(*wide, **kwargs)
    for which, (got, want, old) in enumerate(zip(guards, wide, lists, strict=True)):
        for (view, buffer), exact, before in zip(got, want, old, strict=True):
            assert np.isnan(buffer[:MARGIN]).all() and np.isnan(buffer[-MARGIN:]).all()
            if which not in changed:
                np.testing.assert_array_equal(view, before)
                continue
            scale = np.maximum(abs(before), 1) + abs(exact - before)
            assert np.all(abs(view - exact) <= 32 * u(view.dtype) * scale)


@DTYPES
@given(SHAPES, SGD, st.booleans(), st.sampled_from((0.0, 0.3)), SEEDS)
def test_sgd_equals_the_reference(dtype, shapes, kw, nesterov, dampening, seed):
    nesterov = nesterov and kw["momentum"] > 0
    kw = {**kw, "nesterov": nesterov, "dampening": 0.0 if nesterov else dampening}
    lists = drawn(shapes, seed, dtype, 3)
    changed = (0, 2) if kw["momentum"] else (0,)
    check(kernel.sgd, ref.sgd, lists, changed, kw)


@DTYPES
@given(SHAPES, ADAM, st.booleans(), SEEDS)
def test_adam_equals_the_reference(dtype, shapes, kw, fresh, seed):
    params, grads, m, v = drawn(shapes, seed, dtype, 4)
    v = [np.asarray(0.1 + a * a, dtype) for a in v]  # a division by 0.3 at worst
    if fresh:
        m, v = ([np.zeros_like(a) for a in arrays] for arrays in (m, v))
        kw = {**kw, "step": 1}
    check(kernel.adam, ref.adam, [params, grads, m, v], (0, 2, 3), kw)


def rmsprop_of(module, momentum, centered):
    """module.rmsprop with all its lists positional, unused ones left out of the call."""

    def step(params, grads, squares, momenta, means, **kwargs):
        lists = {"momenta": momenta if momentum else None, "means": means if centered else None}
        module.rmsprop(params, grads, squares, **lists, **kwargs)

    return step


@DTYPES
@given(SHAPES, st.sampled_from((0.0, 0.9)), st.booleans(), st.sampled_from((0.0, 1e-2)), SEEDS)
def test_rmsprop_equals_the_reference(dtype, shapes, momentum, centered, decay, seed):
    params, grads, squares, momenta, means = drawn(shapes, seed, dtype, 5)
    squares = [np.asarray(1 + a * a) for a in squares]  # a variance far from 0
    means = [np.asarray(np.tanh(a) / 2) for a in means]
    kw = dict(lr=0.1, alpha=0.9, eps=1e-2, momentum=momentum, weight_decay=decay)
    lists = [params, grads, squares, momenta, means]
    changed = (0, 2, *((3,) if momentum else ()), *((4,) if centered else ()))
    ours, theirs = (rmsprop_of(m, momentum, centered) for m in (kernel, ref))
    check(ours, theirs, lists, changed, kw)


@DTYPES
def test_sgd_without_momentum_needs_no_buffers(dtype):
    p, g = (a[0] for a in drawn([(5, 3)], 0, dtype, 2))
    want = p.astype(np.float64)
    kw = dict(lr=0.1, weight_decay=0.5)
    ref.sgd([want], [g.astype(np.float64)], None, **kw)
    kernel.sgd([p], [g], None, **kw)
    np.testing.assert_allclose(p, want, rtol=0, atol=32 * u(dtype))


@DTYPES
@pytest.mark.parametrize("layout", ["F", "reversed", "strided", "offset", "readonly", "broadcast"])
def test_gradients_may_lie_in_memory_as_they_like(dtype, layout):
    p, g, b = (a[0] for a in drawn([(5, 3, 4)], 0, dtype, 3))
    g = lay(g, layout)
    want, want_b = p.astype(np.float64), b.astype(np.float64)
    kw = dict(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.1)
    ref.sgd([want], [np.array(g, np.float64)], [want_b], **kw)
    kernel.sgd([p], [g], [b], **kw)
    np.testing.assert_allclose(p, want, rtol=0, atol=32 * u(dtype))


@DTYPES
@pytest.mark.parametrize("layout", ["F", "channels_last"])
def test_parameters_may_be_dense_in_any_order(dtype, layout):
    p, g, b = (a[0] for a in drawn([(5, 3, 4, 2)], 0, dtype, 3))
    want, want_b = p.astype(np.float64), b.astype(np.float64)
    p, b = lay(p, layout), lay(b, layout)
    kw = dict(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.1)
    ref.sgd([want], [g.astype(np.float64)], [want_b], **kw)
    kernel.sgd([p], [g], [b], **kw)
    np.testing.assert_allclose(p, want, rtol=0, atol=32 * u(dtype))
    np.testing.assert_allclose(b, want_b, rtol=0, atol=32 * u(dtype))


def test_nan_gradients_reach_the_parameters():
    p, g, b = np.ones(9, np.float32), np.zeros(9, np.float32), np.zeros(9, np.float32)
    g[4] = np.nan
    kw = dict(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.0)
    kernel.sgd([p], [g], [b], **kw)
    assert np.isnan(p[4]) and np.isfinite(np.delete(p, 4)).all()
