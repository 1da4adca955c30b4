"""Design: one fixed set of problems, large enough for the parallel grids, reduced to digests.

`python -m tests.kernels.probe` runs every kernel under the instruction set that MINIGRAD_ISA names
and prints one JSON object: for each problem the digest of its bits under 1, 2, 3 and 5 threads, and
whether the whole-number problems equal their twins. `test_isa_and_threads.py` reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np

from minigrad._kernels import conv, dispatch, dropout, gemm, loss, norm, optim, pool, threads
from minigrad.reference import conv as ref_conv
from minigrad.reference import dropout as ref_dropout
from minigrad.reference import pool as ref_pool
from tests.strategies import integers, reals

THREADS = (1, 2, 3, 5)
GEOMETRIES = {  # (N, C, H, W), (K, C/G, R, S), stride, padding, dilation, groups
    "3x3": ((5, 16, 29, 31), (33, 16, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "3x3 wide": ((2, 64, 14, 15), (72, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "first layer": ((6, 3, 33, 35), (17, 3, 5, 3), (2, 1), (2, 2, 1, 0), (1, 1), 1),
    "1x1 strided": ((7, 33, 26, 30), (40, 33, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    "depthwise": ((4, 48, 30, 34), (48, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 48),
    "grouped": ((4, 24, 27, 25), (36, 6, 3, 2), (1, 2), (1, 0, 1, 1), (2, 1), 4),
}

Problem = tuple[str, list[np.ndarray], list[np.ndarray] | None]


def convolutions(dtype, make) -> Iterator[Problem]:
    """The three passes and the bias of each geometry; with the twins' results if make is exact."""
    for name, (xs, ws, stride, padding, dilation, groups) in GEOMETRIES.items():
        rng = np.random.default_rng(len(name))
        kw = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        kw["algorithm"] = "direct" if make is integers else None  # whole numbers: exact
        x, w, b = (make(rng, s, dtype) for s in (xs, ws, ws[0]))
        y = conv.conv2d(x, w, b, relu=True, **kw)
        gy = make(rng, y.shape, dtype)
        outs = [
            y,
            conv.conv2d_grad_x(gy, w, x_shape=xs, **kw),
            conv.conv2d_grad_w(gy, x, w_shape=ws, **kw),
            conv.bias_grad(gy),
        ]
        want = None
        if make is integers:
            want = [
                ref_conv.conv2d(x, w, b, relu=True, **kw),
                ref_conv.conv2d_grad_x(gy, w, x_shape=xs, **kw),
                ref_conv.conv2d_grad_w(gy, x, w_shape=ws, **kw),
                ref_conv.bias_grad(gy),
            ]
        yield f"conv {name}", outs, want


def products(dtype, make) -> Iterator[Problem]:
    """matmul, bmm and linear with ragged sides."""
    rng = np.random.default_rng(1)
    a, b = make(rng, (203, 301), dtype), make(rng, (301, 157), dtype)
    a3, b3 = make(rng, (9, 61, 70), dtype), make(rng, (9, 70, 83), dtype)
    outs = [gemm.matmul(a, b), gemm.matmul(b.T, a.T), gemm.bmm(a3, b3), gemm.linear(a, b.T)]
    want = None
    if make is integers:
        ab = np.einsum("mk,kn->mn", a, b)
        want = [ab, ab.T, np.einsum("bmk,bkn->bmn", a3, b3), ab]
    yield "products", outs, want


def pools(dtype, make) -> Iterator[Problem]:
    """Max pooling with its gradient, and the averages."""
    rng = np.random.default_rng(2)
    x = make(rng, (9, 33, 40, 42), dtype)
    window = dict(kernel=(3, 2), stride=(2, 2), padding=(1, 1, 1, 0))
    dilated = {**window, "dilation": (1, 1)}
    y, at = pool.max_pool2d(x, output=(20, 21), **dilated)
    gy = make(rng, y.shape, dtype)
    gx = pool.max_pool2d_grad(gy, at, x_shape=x.shape, **dilated)
    rectified = pool.max_pool2d(x, output=(20, 21), relu=True, **dilated)
    dense = dict(kernel=(3, 3), stride=(1, 1), padding=(1,) * 4, dilation=(1, 1), output=(40, 42))
    rectified += pool.max_pool2d(x, **dense)
    rectified += pool.max_pool2d(x, places=False, **dense)[:1]
    want = None
    if make is integers:
        y_want, at_want = ref_pool.max_pool2d(x, output=(20, 21), **dilated)
        want = [y_want, at_want]
        want.append(ref_pool.max_pool2d_grad(gy, at_want, x_shape=x.shape, **dilated))
        want += ref_pool.max_pool2d(x, output=(20, 21), relu=True, **dilated)
        want += (dense_want := ref_pool.max_pool2d(x, **dense))
        want += dense_want[:1]
    yield "max pool", [y, at, gx, *rectified], want
    kw = dict(output=(20, 21), count_include_pad=False, divisor=None, **window)
    yield "average pools", [
        pool.avg_pool2d(x, **kw),
        pool.avg_pool2d_grad(gy, x_shape=x.shape, **kw),
        pool.adaptive_avg_pool2d(x, output=(7, 9)),
        pool.adaptive_avg_pool2d_grad(gy, x_shape=x.shape),
        pool.global_avg_pool2d(x),
        pool.global_avg_pool2d_grad(gy[:, :, :1, :1], x_shape=x.shape),
    ], None  # fmt: skip


def masks(dtype, make) -> Iterator[Problem]:
    """Random words to bits, and dropout by them, in C order and channels-last."""
    rng = np.random.default_rng(4)
    x = make(rng, (3, 40, 37, 29), dtype)
    words = rng.integers(0, 2**32, x.size, np.uint32)
    outs, want = [], []
    for module, into in ((dropout, outs), (ref_dropout, want)):
        for images in (None, x.shape):
            bits = module.pack_mask(words, limit=2**30 + 12345, images=images)
            z = module.drop(x, bits, scale=1.375, channels_last=images is not None)
            into += [bits, z]
    yield "dropout", outs, want


def others(dtype) -> Iterator[Problem]:
    """Normalizations, losses and optimizer steps."""
    rng = np.random.default_rng(3)
    x, res, gy = (reals(rng, (9, 33, 40, 42), dtype) for _ in range(3))
    gamma, beta = reals(rng, 33, dtype), reals(rng, 33, dtype)
    y, mean, var = norm.batch_norm(x, gamma, beta, res, eps=1e-5, relu=True)
    grads = norm.batch_norm_grad(
        gy, x, gamma, beta, mean, var, res, eps=1e-5, relu=True, needs_residual=True
    )
    still = norm.batch_norm_inference(x, gamma, beta, mean, var, res, eps=1e-5, relu=True)
    fixed = norm.batch_norm_inference_grad(
        gy, x, gamma, beta, mean, var, res, eps=1e-5, relu=True, needs_residual=True
    )
    yield "batch norm", [y, mean, var, still, *grads, *fixed], None
    kw = dict(size=5, alpha=1e-4, beta=0.75, k=2.0)
    lrn = [norm.local_response_norm(x, **kw), norm.local_response_norm_grad(gy, x, **kw)]
    yield "local response norm", lrn, None
    z, labels = reals(rng, (700, 1000), dtype), rng.integers(0, 1000, 700)
    kw = dict(ignore_index=-100, label_smoothing=0.1)
    rows, probs = loss.cross_entropy(z, labels, None, **kw)
    gz = loss.cross_entropy_grad(rows, probs, labels, None, **kw)
    out = loss.log_softmax(z)
    yield "losses", [rows, probs, gz, out, loss.log_softmax_grad(z, out), loss.softmax(z)], None
    yield "optimizers", steps(rng, dtype), None


def steps(rng, dtype) -> list[np.ndarray]:
    """Two steps of each optimizer on tensors of very different sizes."""
    shapes = (400_001,), (3,), (), (700, 301), (64, 64, 3, 3)
    params, grads, m, v = ([reals(rng, s, dtype) for s in shapes] for _ in range(4))
    v = [np.asarray(abs(a)) for a in v]
    for step in (1, 2):
        optim.sgd(params, grads, m, lr=0.1, momentum=0.9, dampening=0.0, nesterov=True,
                  weight_decay=1e-4)  # fmt: skip
        optim.adam(params, grads, m, v, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8,
                   weight_decay=1e-2, decoupled=True, step=step)  # fmt: skip
    return [*params, *m, *v]


def digest(arrays: list[np.ndarray]) -> str:
    """One digest of the bits, in C order, of several arrays."""
    total = hashlib.sha256()
    for a in arrays:
        total.update(np.ascontiguousarray(a).tobytes())
    return total.hexdigest()


def problems() -> Iterator[Problem]:
    for dtype in (np.float32, np.float64):
        kind = np.dtype(dtype).name
        for make in (integers, reals):
            for family in (convolutions, products, pools, masks):
                for name, outs, want in family(dtype, make):
                    yield f"{name}, {make.__name__}, {kind}", outs, want
        for name, outs, want in others(dtype):
            yield f"{name}, {kind}", outs, want


def main() -> None:
    report: dict = {"isa": dispatch.isa(), "digests": {}, "wrong": [], "exact": []}
    for count in THREADS:
        threads.set_num_threads(count)
        assert threads.get_num_threads() == count
        for name, outs, want in problems():
            report["digests"].setdefault(name, []).append(digest(outs))
            if want is None:
                continue
            report["exact"].append(name)
            for i, (out, exact) in enumerate(zip(outs, want, strict=True)):
                if not np.array_equal(out, exact):
                    report["wrong"].append(f"{name}: result {i} with {count} threads")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
