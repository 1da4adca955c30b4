"""Design: with kept weights every convolution is the same bits as without, whatever came before."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad._kernels import conv, kept
from tests.layouts import same
from tests.strategies import FLOATS, SEEDS, reals

# name: x, w, stride, padding, groups, algorithm; all kinds of packing, and the ways that keep none
CASES = {
    "direct": ((2, 5, 9, 8), (19, 5, 3, 3), 1, 1, 1, "direct"),
    "direct, chunks of channels": ((1, 200, 9, 9), (40, 200, 3, 3), 1, 1, 1, "direct"),
    "direct, stride": ((2, 8, 11, 11), (24, 8, 5, 5), 2, 2, 1, "direct"),
    "direct, groups": ((3, 12, 7, 7), (18, 6, 3, 3), 1, 0, 2, "direct"),
    "pointwise": ((2, 33, 7, 9), (17, 33, 1, 1), 1, 0, 1, "direct"),
    "images": ((32, 3, 8, 8), (6, 3, 5, 5), 1, 0, 1, "direct"),
    "winograd": ((2, 16, 32, 31), (24, 16, 3, 3), 1, 1, 1, "winograd"),
    "winograd, groups": ((2, 16, 30, 30), (40, 8, 3, 3), 1, 1, 2, "winograd"),
    "winograd, 5x5": ((2, 16, 31, 32), (17, 16, 5, 5), 1, 2, 1, "winograd"),
    "winograd, groups one by one": ((1, 512, 68, 68), (512, 256, 3, 3), 1, 1, 2, "winograd"),
    "winograd, deep": ((1, 64, 14, 14), (72, 64, 3, 3), 1, 1, 1, "winograd"),
    "depthwise": ((2, 8, 9, 9), (8, 1, 3, 3), 1, 1, 8, "direct"),
    "rows": ((1, 256, 3, 3), (130, 256, 3, 3), 1, 0, 1, "direct"),
}
NOTHING = {"winograd, deep", "depthwise", "rows"}


@pytest.fixture
def hold():
    """Hold arrays; let go of them at the end, and of what was kept."""
    held = []

    def hold(array):
        kept.hold(array)
        held.append(array)

    yield hold
    for array in held:
        kept.release(array)
    assert kept.kept_bytes() == 0


def options(stride, padding, groups, algorithm):
    return dict(stride=(stride,) * 2, padding=(padding,) * 4, dilation=(1, 1), groups=groups,
                algorithm=algorithm)  # fmt: skip


def case(name, dtype, seed=0):
    x_shape, w_shape, *rest = CASES[name]
    rng = np.random.default_rng(seed)
    return reals(rng, x_shape, dtype), reals(rng, w_shape, dtype), options(*rest)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CASES)
def test_kept_weights_give_the_same_bits_on_any_threads(name, dtype, hold):
    x, w, how = case(name, dtype)
    if "winograd" in name and dtype == np.float64:
        pytest.skip("Winograd is for float32")
    bias = reals(np.random.default_rng(1), w.shape[0], dtype)
    want = conv.conv2d(x, w, bias, **how)
    hold(w)
    for threads in (1, 2, 3, 1):
        with mg.threads(threads):
            assert same(conv.conv2d(x, w, bias, **how), want)
    assert (kept.kept_bytes() == 0) == (name in NOTHING)


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOTHING])
def test_weights_are_packed_once(name, hold):
    x, w, how = case(name, np.float32)
    hold(w)
    before = conv.conv2d(x, w, **how)
    w[...] = 0  # breaks the promise: nothing sees it, for nothing is packed again
    assert same(conv.conv2d(x, w, **how), before)
    assert not conv.conv2d(x, w.copy(), **how).any()
    assert not conv.conv2d(x, w[...], **how).any()  # a view is another array


@given(
    calls=st.lists(
        st.tuples(st.integers(1, 40), st.integers(3, 40), st.sampled_from((None, "direct"))),
        min_size=2, max_size=5,
    ), channels=st.integers(1, 70), outputs=st.integers(1, 70), seed=SEEDS,
)  # fmt: skip
def test_one_weight_may_meet_images_of_any_size(calls, channels, outputs, seed):
    rng = np.random.default_rng(seed)
    w = reals(rng, (outputs, channels, 3, 3), np.float32)
    kept.hold(w)
    try:
        for images, side, algorithm in calls:
            x = reals(rng, (max(1, images // side), channels, side, side), np.float32)
            how = options(1, 1, 1, algorithm)
            assert same(conv.conv2d(x, w, **how), conv.conv2d(x, w.copy(), **how))
            gy = reals(rng, (x.shape[0], outputs, side, side), np.float32)
            gx = [conv.conv2d_grad_x(gy, v, x_shape=x.shape, **how) for v in (w, w.copy())]
            assert same(*gx)
    finally:
        assert kept.release(w)


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_one_weight_may_meet_other_groups(algorithm, hold):
    w = reals(np.random.default_rng(0), (40, 8, 3, 3), np.float32)
    hold(w)
    for groups in (1, 2, 4, 1):
        x = reals(np.random.default_rng(groups), (2, 8 * groups, 40, 40), np.float32)
        how = options(1, 1, groups, algorithm)
        assert same(conv.conv2d(x, w, **how), conv.conv2d(x, w.copy(), **how))


def test_a_weight_that_is_held_twice_is_released_twice():
    w = np.ones((4, 4, 3, 3), np.float32)
    kept.hold(w)
    kept.hold(w)
    assert not kept.release(w) and kept.is_held(w)
    assert kept.release(w) and not kept.is_held(w)
    with pytest.raises(KeyError):
        kept.release(w)


def test_threads_of_python_share_what_is_kept(hold):
    x, w, how = case("winograd", np.float32)
    want = conv.conv2d(x, w, **how)
    hold(w)
    results = []
    workers = [
        threading.Thread(target=lambda: results.extend(conv.conv2d(x, w, **how) for _ in range(5)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 20 and all(same(y, want) for y in results)
