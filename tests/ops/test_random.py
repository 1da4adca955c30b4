"""Design: a seed decides every number, and nothing else does: not the number of threads, not the
draws of another generator, not NumPy's global state. Dropout is linear once its mask is drawn, so
the gradient has the mask of the forward pass."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.errors import ArgError, ShapeError
from minigrad.ops.random import Generator, default_generator, unpack_mask
from tests.layouts import LAYOUTS, lay
from tests.ops.checks import direction


def frozen(call, x, g):
    """y and dL/dx, the mask drawn from seed 5."""
    t = mg.Tensor(x).requires_grad_()
    y = call(t, generator=Generator(5))
    y.backward(mg.Tensor(g))
    return y.numpy(), t.grad.numpy()


DROPOUTS = [(ops.dropout, (7, 11)), (ops.dropout, (3,)), (ops.dropout2d, (3, 4, 5, 2))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "shape"), DROPOUTS)
def test_the_gradient_uses_the_mask_of_the_forward_pass(op, shape, dtype):
    x, g = direction(shape, 0, dtype), direction(shape, 1, dtype)
    y, gx = frozen(lambda t, generator: op(t, p=0.4, generator=generator), x, g)
    assert y.dtype == gx.dtype == dtype
    assert np.array_equal(y == 0, gx == 0)
    scale = dtype(1 / 0.6)
    kept = y != 0
    assert np.array_equal(y[kept], x[kept] * scale) and np.array_equal(gx[kept], g[kept] * scale)


def test_dropout_has_a_second_derivative():
    x = mg.Tensor(direction((4, 5), 0)).requires_grad_()
    g = mg.Tensor(direction((4, 5), 1)).requires_grad_()
    y = ops.dropout(x, p=0.5, generator=Generator(1))
    (gx,) = mg.grad(y, x, g, create_graph=True)
    (gg,) = mg.grad(gx, g, mg.Tensor(x.numpy().copy()))
    assert np.array_equal(gg.numpy(), y.numpy())  # the map is its own adjoint


def stream(seed, shape, p):
    """Which numbers are kept, by definition: a 32-bit word of Philox each, in C order."""
    n = int(np.prod(shape))
    words = np.random.Philox(seed).random_raw((n + 1) // 2).view(np.uint32)[:n]
    return (words >= min(round(p * 2**32), 2**32 - 1)).reshape(shape)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1 - 2.0**-30])
@pytest.mark.parametrize("shape", [(), (1,), (7, 11), (3, 5, 4, 7), (2, 16, 5, 9), (4, 8, 33, 32)])
def test_a_word_of_the_stream_drops_a_number_whatever_the_layout(shape, p):
    x = direction(shape, 0, np.float32)
    kept = stream(21, shape, p)
    for layout in LAYOUTS if shape else ("C",):
        laid = lay(x, layout)
        y, bits, last = ops.dropout.full(laid, p=p, generator=Generator(21))
        assert bits.dtype == np.uint8 and bits.nbytes == (x.size + 7) // 8
        assert np.array_equal(unpack_mask(bits, shape, channels_last=last), kept)
        want = np.where(kept, np.array(laid) * np.float32(1 / (1 - p)), np.float32(0))
        assert np.array_equal(y, want)
    assert np.array_equal(Generator(21).mask(shape, p), kept)


def test_the_gradient_may_lie_otherwise_than_x():
    shape = (2, 8, 5, 3)
    x, g = direction(shape, 0), direction(shape, 1)
    want = np.where(stream(5, shape, 0.5), 2 * g, 0)
    for one in LAYOUTS:
        for other in ("C", "F", "reversed", "channels_last"):
            t = mg.Tensor(lay(x, one)).requires_grad_()
            y = ops.dropout(t, p=0.5, generator=Generator(5))
            (gx,) = mg.grad(y, t, mg.Tensor(lay(g, other)))
            assert np.array_equal(gx.numpy(), want), (one, other)


def test_a_tape_keeps_a_bit_for_each_number():
    t = mg.Tensor(np.ones((8, 64, 16, 16), np.float32)).requires_grad_()
    y = ops.dropout(t, p=0.5)
    held = sum(a.nbytes for _, a in y.node.kept_items())
    assert held == t.size // 8


def test_whole_numbers_become_float64():
    for p in (0.0, 0.5, 1.0):
        assert ops.dropout(np.arange(6), p=p).dtype == np.float64
    assert ops.dropout(np.arange(6), p=0.0).tolist() == [0, 1, 2, 3, 4, 5]


def test_bits_that_do_not_fit_are_refused():
    bits = np.zeros(2, np.uint8)
    with pytest.raises(ShapeError, match=r"drop: x \(17,\) needs bits of shape \(3,\)"):
        ops.dropout_grad(np.ones(17), bits, p=0.5)
    for shape, last in (((17,), False), ((8,), False), ((16,), True)):
        with pytest.raises(ShapeError, match="unpack_mask"):
            unpack_mask(bits, shape, channels_last=last)


def test_whole_channels_are_dropped():
    y = ops.dropout2d(np.ones((16, 8, 3, 5)), p=0.5, generator=Generator(2))
    per_channel = y.reshape(16, 8, -1)
    assert (per_channel == per_channel[:, :, :1]).all()
    assert 0 < (per_channel[:, :, 0] == 0).sum() < 128


def test_p_zero_is_the_identity_bitwise_and_p_one_is_zero():
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    for op in (ops.dropout, ops.dropout2d):
        assert np.array_equal(op(x, p=0.0), x)
        assert np.array_equal(op(x, p=1.0), np.zeros_like(x))
        y, gx = frozen(lambda t, generator, op=op: op(t, p=1.0, generator=generator), x, x)
        assert not y.any() and not gx.any()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_p(p):
    n = 200_000
    y = ops.dropout(np.ones(n), p=p, generator=Generator(3))
    sigma = np.sqrt(p * (1 - p) / n)
    assert abs((y == 0).mean() - p) < 5 * sigma
    assert abs(y.mean() - 1) < 5 * sigma / (1 - p)


def test_a_dropped_nan_or_infinity_is_zero():
    x = np.full(1000, np.nan)
    y = ops.dropout(x, p=0.5, generator=Generator(0))
    assert set(np.isnan(y)) == {True, False} and (y[~np.isnan(y)] == 0).all()


def test_the_same_seed_gives_the_same_mask_for_any_number_of_threads():
    masks = []
    before = mg.get_num_threads()
    try:
        for n in (1, 2, 3, 5):
            mg.set_num_threads(n)
            masks.append(ops.dropout(np.ones(50_001), p=0.5, generator=Generator(9)))
    finally:
        mg.set_num_threads(before)
    assert all(np.array_equal(m, masks[0]) for m in masks)


def test_manual_seed_restarts_the_default_generator():
    mg.manual_seed(11)
    a = ops.dropout(np.ones(100), p=0.5), default_generator.rand((3,))
    b = ops.dropout(np.ones(100), p=0.5)
    mg.manual_seed(11)
    c = ops.dropout(np.ones(100), p=0.5), default_generator.rand((3,))
    assert np.array_equal(a[0], c[0]) and np.array_equal(a[1], c[1])
    assert not np.array_equal(a[0], b)


def test_a_state_survives_json_and_continues_with_the_next_number():
    g = Generator(4)
    g.rand((7,)), g.mask((3,), 0.5), g.randn((5,), np.float64), g.integers(0, 10, (3,))
    state = json.loads(json.dumps(g.get_state()))
    want = g.rand((9,)), g.mask((100,), 0.3), g.permutation(8), g.randn((4,))
    other = Generator(0)
    other.set_state(state)
    got = other.rand((9,)), other.mask((100,), 0.3), other.permutation(8), other.randn((4,))
    assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))
    assert other.seed == 4


@pytest.mark.parametrize("bad", [{}, {"state": 3}, None, [], {"seed": 1, "state": {}}])
def test_a_bad_state_is_refused_and_changes_nothing(bad):
    g = Generator(4)
    before = g.get_state()
    with pytest.raises(ArgError, match="set_state: not a state"):
        g.set_state(bad)
    assert g.get_state() == before


def test_numpys_global_state_is_neither_read_nor_changed():
    np.random.seed(0)
    a = Generator(1).rand((4,))
    state = np.random.get_state()[1].copy()
    np.random.seed(1)
    assert np.array_equal(Generator(1).rand((4,)), a)
    np.random.seed(0)
    assert np.array_equal(np.random.get_state()[1], state)


def test_draws_have_their_dtype_and_range():
    g = Generator(0)
    for dtype in (np.float32, np.float64):
        u, z = g.rand((10_000,), dtype), g.randn((10_000,), dtype)
        assert u.dtype == z.dtype == dtype
        assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.02
        assert abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.05
    assert sorted(g.permutation(6)) == list(range(6))
    assert set(g.integers(2, 5, (200,))) == {2, 3, 4}


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 3, 4)])
def test_nothing_in_gives_nothing_out(shape):
    assert ops.dropout(np.ones(shape), p=0.5).shape == shape


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70])
def test_a_seed_out_of_range(seed):
    with pytest.raises(ArgError, match=r"manual_seed: seed must be from 0 to 2\^64 - 1"):
        Generator(seed)
    with pytest.raises(ArgError):
        mg.manual_seed(seed)


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_a_seed_of_the_wrong_kind(seed):
    with pytest.raises(TypeError, match="manual_seed: seed must be an int"):
        Generator(seed)


@pytest.mark.parametrize("op", [ops.dropout, ops.dropout2d])
def test_a_chance_that_is_none(op):
    x = np.ones((2, 3, 4, 5))
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ArgError, match=r"dropout(2d)?: p is the chance to drop, from 0 to 1"):
            op(x, p=p)
    for p in ("0.5", None, True):
        with pytest.raises(TypeError, match=r"dropout(2d)?: p must be a number"):
            op(x, p=p)


def test_a_refused_dropout_draws_nothing():
    g = Generator(3)
    before = g.get_state()
    with pytest.raises(ArgError):
        ops.dropout(np.ones(3), p=2.0, generator=g)
    with pytest.raises(ShapeError, match=r"dropout2d: expected \(N, C, H, W\), got \(3,\)"):
        ops.dropout2d(np.ones(3), p=0.5, generator=g)
    assert g.get_state() == before


@pytest.mark.parametrize("op", [ops.dropout, ops.dropout2d])
def test_channels_last_stays_channels_last(op):
    x = np.ones((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2)  # (N, C, H, W)
    t = mg.Tensor(x).requires_grad_()
    y = op(t, p=0.5)
    y.backward(mg.Tensor(x.copy("K")))
    assert y.numpy().strides == x.strides == t.grad.numpy().strides
