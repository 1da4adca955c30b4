"""Design: calls that every kernel must refuse, run in a process of their own.

`python -m tests.kernels.bad_inputs` prints a JSON object: the name of each call, and the classes
(with bases) and message of what it raised, or null if it raised nothing. A crash ends the process
and with it the test in `test_bad_inputs.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from minigrad._kernels import conv, dropout, gemm, loss, norm, optim, pool

F = np.float32
HUGE = (2**31, 2**32, 2**62, 2**63 - 1)
REACHING = ("kernel 2147483648", "kernel 4294967296")  # an average over a window cut by the image
Call = Callable[[], object]


def ones(*shape: int, dtype: type = F) -> np.ndarray:
    return np.ones(shape, dtype)


def vast(*shape: int, dtype: type = F) -> np.ndarray:
    """An array of any shape in four bytes of memory."""
    return np.lib.stride_tricks.as_strided(ones(1, dtype=dtype), shape, [0] * len(shape))


PLAIN = dict(stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
X, W, GY = ones(2, 4, 6, 7), ones(3, 4, 2, 3), ones(2, 3, 5, 5)


def conv_calls() -> Iterator[tuple[str, Call]]:
    bad_keywords = {
        "stride 0": {"stride": (0, 1)},
        "stride negative": {"stride": (1, -1)},
        "dilation 0": {"dilation": (1, 0)},
        "padding negative beyond the image": {"padding": (-4, -4, 0, 0)},
        "groups 0": {"groups": 0},
        "groups negative": {"groups": -1},
        "groups that do not divide": {"groups": 3},
        "groups with the weight of none": {"groups": 2},
        "stride of three": {"stride": (1, 1, 1)},
        "stride of a string": {"stride": ("1", "1")},
        "stride not whole": {"stride": (1.5, 1)},
        "padding of a pair": {"padding": (1, 1)},
        **{f"padding {v}": {"padding": (v, v, 0, 0)} for v in HUGE},
        **{f"dilation {v}": {"dilation": (v, 1)} for v in HUGE},
        "stride 2^64": {"stride": (2**64, 1)},
    }
    for name, change in bad_keywords.items():
        kw = {**PLAIN, **change}
        yield f"conv2d {name}", partial(conv.conv2d, X, W, **kw)
        yield f"conv2d_grad_x {name}", partial(conv.conv2d_grad_x, GY, W, x_shape=X.shape, **kw)
        yield f"conv2d_grad_w {name}", partial(conv.conv2d_grad_w, GY, X, w_shape=W.shape, **kw)
    operands = {
        "x of rank 3": (X[0], W),
        "x of rank 0": (np.float32(1), W),
        "x of rank 5": (X[None], W),
        "w of rank 2": (X, W[0, 0]),
        "kernel above the image": (X, ones(3, 4, 7, 3)),
        "kernel without rows": (X, ones(3, 4, 0, 3)),
        "channels that differ": (X, ones(3, 5, 2, 3)),
        "operands exchanged": (W, X),
        "dtypes mixed": (X, W.astype(np.float64)),
        "whole numbers": (X.astype(np.int64), W.astype(np.int64)),
        "half precision": (X.astype(np.float16), W.astype(np.float16)),
        "complex": (X.astype(complex), W.astype(complex)),
        "objects": (X.astype(object), W),
        "a list": ([[1.0]], W),
        "None": (None, W),
        "a bias too short": (X, W, ones(2)),
        "a bias of rank 2": (X, W, ones(3, 1)),
        "a bias of another dtype": (X, W, ones(3, dtype=np.float64)),
        "ten terabytes": (vast(2**20, 4, 2**10, 2**10), W),
        "a size that overflows": (vast(2**20, 1, 2**20, 2**20), ones(2**4, 1, 1, 1)),
    }
    for name, args in operands.items():
        yield f"conv2d {name}", partial(conv.conv2d, *args, **PLAIN)
    for name, shape in {
        "x_shape of another image": (2, 4, 9, 7),
        "x_shape of rank 3": (2, 4, 6),
        "x_shape negative": (2, 4, -6, 7),
        "x_shape of another batch": (3, 4, 6, 7),
        "x_shape huge": (2, 4, 2**62, 2**62),
    }.items():
        yield f"conv2d_grad_x {name}", partial(conv.conv2d_grad_x, GY, W, x_shape=shape, **PLAIN)
    for name, shape in {
        "w_shape of another kernel": (3, 4, 3, 3),
        "w_shape of rank 2": (3, 4),
        "w_shape huge": (2**62, 4, 2, 3),
        "w_shape of other channels": (3, 5, 2, 3),
    }.items():
        yield f"conv2d_grad_w {name}", partial(conv.conv2d_grad_w, GY, X, w_shape=shape, **PLAIN)
    yield "bias_grad of rank 2", partial(conv.bias_grad, ones(2, 3))
    yield "bias_grad of whole numbers", partial(conv.bias_grad, GY.astype(int))


def gemm_calls() -> Iterator[tuple[str, Call]]:
    a, b = ones(2, 3), ones(3, 4)
    yield "matmul inner sides", partial(gemm.matmul, a, a)
    yield "matmul rank 1", partial(gemm.matmul, a[0], b)
    yield "matmul dtypes", partial(gemm.matmul, a, b.astype(float))
    yield "matmul whole numbers", partial(gemm.matmul, a.astype(int), b.astype(int))
    yield "matmul None", partial(gemm.matmul, a, None)
    yield "matmul overflow", partial(gemm.matmul, vast(2**40, 1), vast(1, 2**40))
    yield "matmul memory", partial(gemm.matmul, vast(2**22, 1), vast(1, 2**21))
    yield "bmm batches", partial(gemm.bmm, ones(2, 2, 3), ones(3, 3, 4))
    yield "bmm rank", partial(gemm.bmm, a, b)
    yield "linear sides", partial(gemm.linear, a, ones(4, 2))
    yield "linear bias", partial(gemm.linear, a, ones(4, 3), ones(3))
    yield "linear bias dtype", partial(gemm.linear, a, ones(4, 3), ones(4, dtype=np.float64))


def pool_calls() -> Iterator[tuple[str, Call]]:
    good = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0), dilation=(1, 1))
    at = np.zeros((2, 4, 3, 3), np.uint8)
    for name, change in {
        "kernel 0": {"kernel": (0, 2)},
        "kernel negative": {"kernel": (2, -2)},
        "stride 0": {"stride": (2, 0)},
        "dilation 0": {"dilation": (0, 1)},
        "kernel of one": {"kernel": (2,)},
        "kernel not whole": {"kernel": (2.5, 2)},
        **{f"kernel {v}": {"kernel": (v, v)} for v in HUGE},
    }.items():
        kw = {**good, **change}
        yield f"max_pool2d {name}", partial(pool.max_pool2d, X, output=(3, 3), **kw)
        grad = partial(pool.max_pool2d_grad, ones(2, 4, 3, 3), at, x_shape=X.shape, **kw)
        yield f"max_pool2d_grad {name}", grad
        if "dilation" not in name and name not in REACHING:
            del kw["dilation"]
            kw |= dict(count_include_pad=True, divisor=None)
            yield f"avg_pool2d {name}", partial(pool.avg_pool2d, X, output=(3, 3), **kw)
    for output in ((0, 3), (-1, 3), (2**31, 2**31), (2**62, 2**62), (3,)):
        yield f"max_pool2d output {output}", partial(pool.max_pool2d, X, output=output, **good)
        adaptive = partial(pool.adaptive_avg_pool2d, X, output=output)
        yield f"adaptive_avg_pool2d output {output}", adaptive
    yield "max_pool2d rank 3", partial(pool.max_pool2d, X[0], output=(3, 3), **good)
    yield "max_pool2d whole", partial(pool.max_pool2d, X.astype(int), output=(3, 3), **good)
    grad = partial(pool.max_pool2d_grad, x_shape=X.shape, **good)
    yield "max_pool2d_grad shapes differ", partial(grad, ones(2, 4, 3, 2), at)
    yield "max_pool2d_grad argmax of floats", partial(grad, ones(2, 4, 3, 3), ones(2, 4, 3, 3))
    gather = partial(pool.max_pool2d_gather, **good)
    yield "max_pool2d_gather batch", partial(gather, X[:1], at)
    yield "max_pool2d_gather floats", partial(gather, X, ones(2, 4, 3, 3))
    grad = pool.adaptive_avg_pool2d_grad
    yield "adaptive_avg_pool2d_grad channels", partial(grad, ones(2, 3, 3, 3), x_shape=X.shape)
    yield "global_avg_pool2d rank", partial(pool.global_avg_pool2d, X[0])
    grad = partial(pool.global_avg_pool2d_grad, ones(2, 4, 1, 1))
    yield "global_avg_pool2d_grad huge", partial(grad, x_shape=(2, 4, 2**62, 2**62))
    yield "global_avg_pool2d_grad shape", partial(grad, x_shape=(3, 4, 5, 5))


def dropout_calls() -> Iterator[tuple[str, Call]]:
    bits, words = np.zeros(42, np.uint8), np.zeros(336, np.uint32)
    drop = partial(dropout.drop, scale=2.0, channels_last=False)
    yield "drop too few bits", partial(drop, X, bits[:41])
    yield "drop too many bits", partial(drop, X, np.zeros(43, np.uint8))
    yield "drop bits of rank 2", partial(drop, X, bits.reshape(1, 42))
    yield "drop bits that are booleans", partial(drop, X, bits.astype(bool))
    yield "drop bits that are a list", partial(drop, X, [0] * 42)
    yield "drop whole numbers", partial(drop, X.astype(int), bits)
    yield "drop a number", partial(drop, 1.0, bits)
    yield "drop rank 3 as images", partial(drop, X[0], bits[:21], channels_last=True)
    yield "drop ten terabytes", partial(drop, vast(2**20, 2**21), bits)
    pack = partial(dropout.pack_mask, limit=1)
    yield "pack_mask words of 64 bits", partial(pack, words.astype(np.uint64))
    yield "pack_mask rank 2", partial(pack, words.reshape(2, 168))
    yield "pack_mask None", partial(pack, None)
    yield "pack_mask images of another size", partial(pack, words, images=(2, 4, 6, 8))
    yield "pack_mask three sizes of images", partial(pack, words, images=(2, 4, 42))
    yield "pack_mask images negative", partial(pack, words, images=(-2, -4, 6, 7))
    yield "pack_mask images huge", partial(pack, words, images=(2**62, 2**62, 16, 336))
    yield "pack_mask limit negative", partial(dropout.pack_mask, words, limit=-1)
    yield "pack_mask limit too large", partial(dropout.pack_mask, words, limit=2**32)


def other_calls() -> Iterator[tuple[str, Call]]:
    v = ones(4)
    bn = partial(norm.batch_norm, eps=1e-5, relu=False)
    yield "batch_norm gamma", partial(bn, X, ones(3), v)
    yield "batch_norm dtype", partial(bn, X, v.astype(float), v)
    yield "batch_norm rank", partial(bn, X[0], v, v)
    yield "batch_norm residual", partial(bn, X, v, v, ones(2, 4, 6, 6))
    yield "batch_norm whole", partial(bn, X.astype(int), v, v)
    grad = partial(norm.batch_norm_grad, eps=1e-5, relu=False, needs_residual=False)
    yield "batch_norm_grad gy", partial(grad, ones(2, 4, 6, 6), X, v, v, v, v)
    yield "batch_norm_grad mean", partial(grad, X, X, v, v, ones(5), v)
    still = partial(norm.batch_norm_inference, eps=1e-5, relu=False)
    yield "batch_norm_inference var", partial(still, X, v, v, v, ones(5))
    lrn = dict(size=0, alpha=1.0, beta=0.75, k=1.0)
    yield "local_response_norm size 0", partial(norm.local_response_norm, X, **lrn)
    lrn["size"] = 3
    yield "local_response_norm rank", partial(norm.local_response_norm, X[0, 0], **lrn)
    grad = norm.local_response_norm_grad
    yield "local_response_norm_grad shapes", partial(grad, X[:1], X, **lrn)
    z, labels = ones(5, 3), np.zeros(5, np.int64)
    ce = partial(loss.cross_entropy, ignore_index=-100, label_smoothing=0.0)
    yield "cross_entropy rank", partial(ce, z[0], labels, None)
    yield "cross_entropy labels", partial(ce, z, labels[:4], None)
    yield "cross_entropy labels of floats", partial(ce, z, ones(5), None)
    yield "cross_entropy weight", partial(ce, z, labels, ones(4))
    yield "cross_entropy weight dtype", partial(ce, z, labels, ones(3, dtype=np.float64))
    yield "cross_entropy label", partial(ce, z, labels + 3, None)
    yield "log_softmax rank", partial(loss.log_softmax, z[0])
    yield "log_softmax_grad", partial(loss.log_softmax_grad, z, z[:4])
    p = [ones(3)]
    kw = dict(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.0)
    yield "sgd lists", partial(optim.sgd, p, [], p, **kw)
    yield "sgd shapes", partial(optim.sgd, p, [ones(4)], [ones(3)], **kw)
    yield "sgd dtypes", partial(optim.sgd, p, [ones(3, dtype=np.float64)], [ones(3)], **kw)
    frozen = ones(3)
    frozen.flags.writeable = False
    yield "sgd read-only", partial(optim.sgd, [frozen], [ones(3)], [ones(3)], **kw)
    kw = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.0, decoupled=False, step=1)
    yield "adam shapes", partial(optim.adam, p, [ones(3)], [ones(3)], [ones(2)], **kw)
    yield "adam None", partial(optim.adam, p, [None], [ones(3)], [ones(3)], **kw)


def main() -> None:
    found: dict[str, list | None] = {}
    for family in (conv_calls, gemm_calls, pool_calls, dropout_calls, other_calls):
        for name, call in family():
            print(name, flush=True)  # the last line names the call that crashed
            try:
                call()
                found[name] = None
            except Exception as error:
                found[name] = [[c.__name__ for c in type(error).__mro__], str(error)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
