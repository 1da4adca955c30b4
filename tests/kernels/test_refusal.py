"""Design: memory refused at any request of any kernel: MemoryError, nothing lost, nothing changed.

The pool refuses the first request of a call, then the second, and so on until the call succeeds.
After each refusal the blocks in use are those of before, the inputs have their values, and the
kernel works.
"""

import gc

import numpy as np
import pytest

from minigrad._kernels import conv, dropout, elementwise, gemm, loss, memory, norm, optim, pool

RNG = np.random.default_rng(0)


def real(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X, W, B = real(4, 20, 13, 11), real(24, 20, 3, 3), real(24)
GY, V = real(4, 24, 13, 11), real(20)
WINDOW = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)}
POOL = {**WINDOW, "dilation": (1, 1)}
CONV = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
DEPTHWISE = {**CONV, "groups": 20}
POOLED, ARGMAX = pool.max_pool2d(X, output=(7, 6), **POOL)
AVERAGE = {**WINDOW, "count_include_pad": True, "divisor": None}
BN = {"eps": 1e-5, "relu": True}
LABELS = RNG.integers(0, 300, 50)
CE = {"ignore_index": -100, "label_smoothing": 0.1}
ROWS, PROBS = loss.cross_entropy(real(50, 300), LABELS, None, **CE)
LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "dampening": 0.0}
WORDS = RNG.integers(0, 2**32, 16 * X.size, np.uint32)
BITS = dropout.pack_mask(WORDS[: X.size], limit=2**31)
STATE = [real(40, 50) for _ in range(3)]

CALLS = {
    "matmul": lambda: gemm.matmul(real(70, 90), real(90, 80)),
    "matmul of transposes": lambda: gemm.matmul(real(90, 70).T, real(80, 90).T),
    "bmm": lambda: gemm.bmm(real(5, 30, 20), real(5, 20, 40)),
    "linear": lambda: gemm.linear(real(64, 100), real(50, 100), real(50), relu=True),
    "conv2d": lambda: conv.conv2d(X, W, B, relu=True, **CONV),
    "conv2d depthwise": lambda: conv.conv2d(X, W[:20, :1], **DEPTHWISE),
    "conv2d_grad_x": lambda: conv.conv2d_grad_x(GY, W, x_shape=X.shape, **CONV),
    "conv2d_grad_w": lambda: conv.conv2d_grad_w(GY, X, w_shape=W.shape, **CONV),
    "bias_grad": lambda: conv.bias_grad(GY),
    "max_pool2d": lambda: pool.max_pool2d(X, output=(7, 6), **POOL),
    "max_pool2d_grad": lambda: pool.max_pool2d_grad(POOLED, ARGMAX, x_shape=X.shape, **POOL),
    "max_pool2d_gather": lambda: pool.max_pool2d_gather(X, ARGMAX, **POOL),
    "avg_pool2d": lambda: pool.avg_pool2d(X, output=(7, 6), **AVERAGE),
    "avg_pool2d_grad": lambda: pool.avg_pool2d_grad(
        POOLED, x_shape=X.shape, output=(7, 6), **AVERAGE
    ),
    "tanh_avg_pool2d": lambda: pool.tanh_avg_pool2d(X, output=(7, 6), **AVERAGE),
    "tanh_avg_pool2d_grad": lambda: pool.tanh_avg_pool2d_grad(POOLED, X, **AVERAGE),
    "drop": lambda: dropout.drop(X, BITS, scale=2.0, channels_last=True),
    "pack_mask": lambda: dropout.pack_mask(WORDS, limit=2**31, images=(4, 320, 13, 11)),
    "global_avg_pool2d": lambda: pool.global_avg_pool2d(X),
    "batch_norm": lambda: norm.batch_norm(X, V, V, X, **BN),
    "batch_norm_grad": lambda: norm.batch_norm_grad(
        X, X, V, V, V, V * V, X, needs_residual=True, **BN
    ),
    "batch_norm_inference": lambda: norm.batch_norm_inference(X, V, V, V, V * V, **BN),
    "local_response_norm": lambda: norm.local_response_norm(X, **LRN),
    "log_softmax": lambda: loss.log_softmax(real(50, 300)),
    "cross_entropy": lambda: loss.cross_entropy(real(50, 300), LABELS, None, **CE),
    "cross_entropy_grad": lambda: loss.cross_entropy_grad(ROWS, PROBS, LABELS, None, **CE),
    "add": lambda: elementwise.add(X, X),
    "exp": lambda: elementwise.exp(X),
    "bias_relu": lambda: elementwise.bias_relu(X, V),
    "sgd": lambda: optim.sgd(STATE[:1], STATE[1:2], STATE[2:], **SGD),
    "empty_array": lambda: memory.empty_array(5000),
}
INPUTS = (X, W, B, GY, V, POOLED, ARGMAX, LABELS, ROWS, PROBS, *STATE)


@pytest.fixture(autouse=True)
def willing():
    """Whatever happens in a test, the pool works afterwards."""
    yield
    memory.refuse_in(-1)


@pytest.mark.parametrize("name", CALLS)
def test_a_refused_request_is_a_memory_error_and_nothing_else(name):
    call, refused = CALLS[name], 0
    before = [a.copy() for a in INPUTS]
    call()
    for a, old in zip(INPUTS, before, strict=True):  # sgd alone changes what it is given
        a[...] = old
    gc.collect()
    blocks = memory.memory_stats()["live_blocks"]
    for request in range(100):
        memory.refuse_in(request)
        try:
            call()
        except MemoryError as error:
            refused += 1
            assert "unable to allocate" in str(error)
        else:
            break
        assert all(np.array_equal(a, old) for a, old in zip(INPUTS, before, strict=True))
        gc.collect()
        assert memory.memory_stats()["live_blocks"] == blocks
    assert 1 <= refused < 100
    memory.refuse_in(-1)
    call()
