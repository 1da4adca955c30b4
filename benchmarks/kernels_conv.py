"""Matrix products and convolutions against the multiply-add peak of this machine, pass by pass.

Design: a kernel is measured beside the peak, in the same second: rounds of calibration and of the
kernel alternate, and the best of each are compared, because on a shared machine the median says how
busy the neighbors were. GFLOP/s count 2 N P Q K C/groups R S per pass, whatever was executed.
``--dtype float64``, ``--threads N``, ``--layers a,b`` narrow it down; the ladder at the end
computes one layer in four ways, from a NumPy loop over taps to the kernel on all threads.

Where to go next: ``src/simd/conv.h`` for what is measured, ``nets.py`` for whole training steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minigrad._kernels import conv, dispatch, gemm, threads
from minigrad.reference import conv as reference

Array = NDArray[Any]


class Layer(NamedTuple):
    """One convolution: N images of C x H x H, K filters of R x R."""

    name: str
    n: int
    c: int
    h: int
    k: int
    r: int
    stride: int = 1
    pad: int = 0
    groups: int = 1


LAYERS = (
    Layer("3x3 56x56 64-64", 8, 64, 56, 64, 3, 1, 1),
    Layer("3x3 28x28 256-256", 8, 256, 28, 256, 3, 1, 1),
    Layer("3x3 14x14 512-512", 8, 512, 14, 512, 3, 1, 1),
    Layer("3x3 8x8 64-64", 128, 64, 8, 64, 3, 1, 1),
    Layer("3x3 16x16 32-32", 128, 32, 16, 32, 3, 1, 1),
    Layer("3x3 32x32 16-16", 128, 16, 32, 16, 3, 1, 1),
    Layer("3x3 s2 32x32 16-32", 128, 16, 32, 32, 3, 2, 1),
    Layer("3x3 32x32 3-16", 128, 3, 32, 16, 3, 1, 1),
    Layer("7x7 s2 224x224 3-64", 8, 3, 224, 64, 7, 2, 3),
    Layer("11x11 s4 227x227 3-96", 16, 3, 227, 96, 11, 4, 0),
    Layer("1x1 56x56 256-64", 8, 256, 56, 64, 1),
    Layer("1x1 56x56 64-256", 8, 64, 56, 256, 1),
    Layer("5x5 28x28 1-6", 64, 1, 28, 6, 5, 1, 2),
    Layer("5x5 14x14 6-16", 64, 6, 14, 16, 5),
    Layer("3x3 28x28 depthwise", 8, 256, 28, 256, 3, 1, 1, 256),
)
PRODUCTS = ((1024, 1024, 1024), (2048, 512, 256), (128, 128, 784), (64, 84, 120))


def measure(
    run: Callable[[], object], team: int, dtype: str, seconds: float
) -> tuple[float, float]:
    """Best time of run, in seconds, and best peak of `team` threads beside it, in flop/s."""
    run()
    best, peak, end = np.inf, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end or not peak:
        for _ in range(5):  # short ones: a neighbor's turn spoils few of them
            peak = max(peak, dispatch.fma_peak(team, dtype=dtype, seconds=seconds / 400))
        stop = time.perf_counter() + seconds / 10
        while True:
            start = time.perf_counter()
            run()
            now = time.perf_counter()
            best = min(best, now - start)
            if now > stop:
                break
    return float(best), peak


def line(name: str, flop: float, best: float, peak: float) -> str:
    """One cell group of the table."""
    rate = flop / best
    return f"{name:24}{best * 1e3:9.3f} ms {rate / 1e9:7.1f} GFLOP/s {100 * rate / peak:4.0f} %"


def channels_last(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Random (N, C, H, W) whose memory is (N, H, W, C)."""
    n, c, h, w = shape
    return rng.standard_normal((n, h, w, c)).astype(dtype).transpose(0, 3, 1, 2)


def matrix(rng: np.random.Generator, rows: int, cols: int, dtype: str, kind: str) -> Array:
    """Random (rows, cols): N in C order, T the transpose of such a one."""
    if kind == "T":
        return matrix(rng, cols, rows, dtype, "N").T
    return rng.standard_normal((rows, cols)).astype(dtype)


def measure_products(args: argparse.Namespace, rng: np.random.Generator) -> None:
    """C = A B with A and B as they lie (N) or transposed (T)."""
    for m, n, k in PRODUCTS[-1:] if args.quick else PRODUCTS:
        for kind in ("NN", "NT", "TN"):
            a = matrix(rng, m, k, args.dtype, kind[0])
            b = matrix(rng, k, n, args.dtype, kind[1])
            flop = 2.0 * m * n * k
            team = args.threads if flop > 3e6 else 1
            best, peak = measure(partial(gemm.matmul, a, b), team, args.dtype, args.seconds)
            print(line(f"{kind} {m} x {n} x {k}", flop, best, peak), flush=True)


def passes(
    layer: Layer, dtype: str, rng: np.random.Generator
) -> tuple[float, dict[str, Callable[[], Array]]]:
    """Flop of one pass, and the three passes as functions without arguments."""
    x = channels_last(rng, (layer.n, layer.c, layer.h, layer.h), dtype)
    w_shape = (layer.k, layer.c // layer.groups, layer.r, layer.r)
    w = rng.standard_normal(w_shape).astype(dtype)
    options: dict[str, Any] = {
        "stride": (layer.stride,) * 2,
        "padding": (layer.pad,) * 4,
        "dilation": (1, 1),
        "groups": layer.groups,
    }
    y_shape = conv.conv2d(x, w, **options).shape
    gy = channels_last(rng, y_shape, dtype)
    flop = 2.0 * np.prod(y_shape) * np.prod(w_shape[1:])
    return float(flop), {
        "forward": lambda: conv.conv2d(x, w, **options),
        "grad_x": lambda: conv.conv2d_grad_x(gy, w, x_shape=x.shape, **options),
        "grad_w": lambda: conv.conv2d_grad_w(gy, x, w_shape=w_shape, **options),
    }


def measure_layers(args: argparse.Namespace, rng: np.random.Generator) -> None:
    """Every layer, every pass."""
    wanted = [s.strip() for s in args.layers.split(",")]
    layers = [a for a in LAYERS if any(s in a.name for s in wanted)]
    for layer in layers[-2:] if args.quick else layers:
        flop, runs = passes(layer, args.dtype, rng)
        print(f"{layer.name}, N = {layer.n}, {flop / 1e9:.2f} GFLOP")
        for name, run in runs.items():
            best, peak = measure(run, args.threads, args.dtype, args.seconds)
            print(line("  " + name, flop, best, peak), flush=True)


def im2row(x: Array, w: Array) -> Array:
    """A 3x3 forward pass with the im2row matrix written out: (N P Q, C R S) times (C R S, K)."""
    n, c, h, width = x.shape
    k, _, r, s = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(xp, (r, s), axis=(2, 3))  # (N, C, P, Q, R, S)
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * width, c * r * s)
    y = gemm.matmul(rows, w.reshape(k, -1).T)
    return y.reshape(n, h, width, k).transpose(0, 3, 1, 2)


def ladder(args: argparse.Namespace, rng: np.random.Generator) -> None:
    """One 3x3 layer, 32 to 32 channels at 16x16, from the definition up."""
    layer = Layer("", 4 if args.quick else 64, 32, 16, 32, 3, 1, 1)
    x = channels_last(rng, (layer.n, layer.c, layer.h, layer.h), args.dtype)
    w = rng.standard_normal((layer.k, layer.c, 3, 3)).astype(args.dtype)
    ones = (1, 1)
    options: dict[str, Any] = {"stride": ones, "padding": ones * 2, "dilation": ones, "groups": 1}
    flop = 2.0 * layer.n * layer.h**2 * layer.k * layer.c * 9
    rungs: list[tuple[str, int, Callable[[], object]]] = [
        ("loop over taps (NumPy)", 1, lambda: reference.conv2d(x, w, **options)),
        ("im2row, then product", 1, lambda: im2row(x, w)),
        ("offsets for im2row", 1, lambda: conv.conv2d(x, w, **options)),
        ("the same, all threads", args.threads, lambda: conv.conv2d(x, w, **options)),
    ]
    print(f"the ladder: 3x3 16x16 32-32, N = {layer.n}; % of the peak of the threads in use")
    for name, team, run in rungs:
        threads.set_num_threads(team)
        best, peak = measure(run, team, args.dtype, args.seconds)
        print(line("  " + name, flop, best, peak), flush=True)


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks conv", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two layers, a few milliseconds")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=threads.get_num_threads())
    parser.add_argument("--layers", default="", help="substrings of layers' names, by commas")
    args = parser.parse_args(argv)
    args.seconds = 0.02 if args.quick else 0.8
    before = threads.get_num_threads()
    threads.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    peak = dispatch.fma_peak(args.threads, dtype=args.dtype) / 1e9
    print(f"{dispatch.isa()}, {args.dtype}, {args.threads} threads, peak {peak:.0f} GFLOP/s\n")
    try:
        if not args.layers:
            measure_products(args, rng)
        measure_layers(args, rng)
        if not args.layers:
            ladder(args, rng)
    finally:
        threads.set_num_threads(before)


if __name__ == "__main__":
    main()
