"""Matrix products and convolutions, pass by pass, against the peak and against what bounds them.

Design: a kernel is measured beside the multiply-add peak: bursts of calibration and rounds of the
kernel alternate, and the best of each are compared (of the peak, the best of the run so far),
because on a shared machine the median says how busy the neighbors were.  On one thread its
processor time counts, which leaves out the neighbors' turns.  GFLOP/s are direct-equivalent:
2 N P Q K C/groups R S per pass, whatever was executed, so Winograd's algorithm may exceed 100 % of
the peak.

The bound (Williams, Waterman and Patterson 2009, "Roofline") is the longer of two times that no
arrangement of the algorithm that ran can beat:

    memory        x, w and y moved once each, as fast as a copy of as many bytes runs beside it:
                  what fits a cache is copied from there, as the kernel would find it
    arithmetic    the flop that are executed, at the peak: 2 N P Q K C/groups R S directly, and
                  2 * 36 * tiles * K C/groups by Winograd's algorithm, whose transforms are left out

Where to go next: ``ladder.py`` for one layer in many ways, ``src/simd/conv.h`` and ``winograd.h``
for what is measured, ``nets.py`` for whole training steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minigrad as mg
from minigrad._kernels import conv, dispatch, elementwise, gemm, threads

Array = NDArray[Any]
PASSES = ("forward", "grad_x", "grad_w")
LEAST_SHARED = 1 << 18  # elements: elementwise loops over fewer run on one thread


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

    @property
    def out(self) -> int:
        """P = Q."""
        return (self.h + 2 * self.pad - self.r) // self.stride + 1

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """(K, C/groups, R, R)."""
        return self.k, self.c // self.groups, self.r, self.r


LAYERS = (
    # 3x3, stride 1: VGG, ResNets
    Layer("3x3 56x56 64-64", 8, 64, 56, 64, 3, 1, 1),
    Layer("3x3 112x112 64-128", 4, 64, 112, 128, 3, 1, 1),
    Layer("3x3 28x28 256-256", 8, 256, 28, 256, 3, 1, 1),
    Layer("3x3 14x14 512-512", 8, 512, 14, 512, 3, 1, 1),
    Layer("3x3 8x8 64-64", 128, 64, 8, 64, 3, 1, 1),
    Layer("3x3 16x16 32-32", 128, 32, 16, 32, 3, 1, 1),
    Layer("3x3 32x32 16-16", 128, 16, 32, 16, 3, 1, 1),
    # other 3x3: AlexNet, NIN, GoogLeNet, the first layers, a new stage
    Layer("3x3 13x13 256-384", 16, 256, 13, 384, 3, 1, 1),
    Layer("3x3 8x8 192-192", 64, 192, 8, 192, 3, 1, 1),
    Layer("3x3 28x28 96-128", 8, 96, 28, 128, 3, 1, 1),
    Layer("3x3 7x7 160-320", 8, 160, 7, 320, 3, 1, 1),
    Layer("3x3 224x224 3-64", 4, 3, 224, 64, 3, 1, 1),
    Layer("3x3 32x32 3-16", 128, 3, 32, 16, 3, 1, 1),
    Layer("3x3 s2 32x32 16-32", 128, 16, 32, 32, 3, 2, 1),
    Layer("3x3 s2 56x56 128-128", 8, 128, 56, 128, 3, 2, 1),
    # 5x5: AlexNet (one column, two), NIN, GoogLeNet, LeNet
    Layer("5x5 27x27 96-256", 16, 96, 27, 256, 5, 1, 2),
    Layer("5x5 27x27 96-256 g2", 16, 96, 27, 256, 5, 1, 2, 2),
    Layer("5x5 16x16 96-192", 64, 96, 16, 192, 5, 1, 2),
    Layer("5x5 7x7 48-128", 8, 48, 7, 128, 5, 1, 2),
    Layer("5x5 14x14 24-64", 8, 24, 14, 64, 5, 1, 2),
    Layer("5x5 32x32 3-192", 64, 3, 32, 192, 5, 1, 2),
    Layer("5x5 28x28 1-6", 64, 1, 28, 6, 5, 1, 2),
    Layer("5x5 14x14 6-16", 64, 6, 14, 16, 5),
    # large filters of first layers: ResNets and GoogLeNet, AlexNet
    Layer("7x7 s2 224x224 3-64", 8, 3, 224, 64, 7, 2, 3),
    Layer("11x11 s4 227x227 3-96", 16, 3, 227, 96, 11, 4, 0),
    # 1x1: ResNet-50's four stages and a projection, NIN, GoogLeNet
    Layer("1x1 56x56 256-64", 8, 256, 56, 64, 1),
    Layer("1x1 56x56 64-256", 8, 64, 56, 256, 1),
    Layer("1x1 28x28 512-128", 8, 512, 28, 128, 1),
    Layer("1x1 14x14 256-1024", 8, 256, 14, 1024, 1),
    Layer("1x1 7x7 2048-512", 8, 2048, 7, 512, 1),
    Layer("1x1 s2 56x56 256-512", 8, 256, 56, 512, 1, 2),
    Layer("1x1 32x32 192-160", 64, 192, 32, 160, 1),
    Layer("1x1 14x14 512-24", 8, 512, 14, 24, 1),
    # one filter for each channel
    Layer("3x3 28x28 depthwise", 8, 256, 28, 256, 3, 1, 1, 256),
    Layer("3x3 s2 56x56 depthwise", 8, 128, 56, 128, 3, 2, 1, 128),
)
PRODUCTS = ((1024, 1024, 1024), (2048, 512, 256), (128, 128, 784), (64, 84, 120))


_peaks: dict[tuple[int, str], float] = {}  # (threads, dtype): the best of this run


def calibrate(team: int, dtype: str, bursts: int) -> float:
    """The best multiply-add rate of `team` threads that this run has seen, in flop/s.

    Bursts are short, because a team is only as fast as the thread that a neighbor holds up.
    """
    best = _peaks.get((team, dtype), 0.0)
    for _ in range(bursts):
        best = max(best, dispatch.fma_peak(team, dtype=dtype, seconds=1e-3))
    _peaks[team, dtype] = best
    return best


def measure(
    run: Callable[[], object], team: int, dtype: str, seconds: float
) -> tuple[float, float]:
    """Best time of run, in seconds, and the best peak of `team` threads, in flop/s.

    On one thread its processor time counts, unless the run is so short that asking for it would.
    """
    start = time.perf_counter()
    run()
    long = time.perf_counter() - start > 1e-3
    clock = time.thread_time if team == 1 and long else time.perf_counter
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or not np.isfinite(best):
        calibrate(team, dtype, 5)
        stop = time.perf_counter() + seconds / 10
        while True:
            start = clock()
            run()
            best = min(best, clock() - start)
            if time.perf_counter() > stop:
                break
    return float(best), calibrate(team, dtype, 1)


def copy_seconds(moved: float, team: int, dtype: str, seconds: float) -> float:
    """Best time to copy an array of half of `moved` bytes: as many are read as are written.

    A copy that is too small to be shared out counts as one that each thread does its part of.
    """
    x = np.ones(max(1, int(moved / 2 / np.dtype(dtype).itemsize)), dtype)
    teams = {1} if x.size < LEAST_SHARED else {1, team}  # on a busy machine one may be faster
    best = np.inf
    for members in teams:
        threads.set_num_threads(members)
        end, runs = time.perf_counter() + seconds / len(teams), 0
        while time.perf_counter() < end or runs < 5:
            start = time.perf_counter()
            elementwise.neg(x)  # a loop of loads and stores
            best, runs = min(best, time.perf_counter() - start), runs + 1
    threads.set_num_threads(team)
    return float(best) / (team if x.size < LEAST_SHARED else 1)


# -- bounds ---------------------------------------------------------------------------------------


def direct_flop(layer: Layer) -> float:
    """2 N P Q K C/groups R S: what one pass needs by the definition."""
    return 2.0 * layer.n * layer.out**2 * float(np.prod(layer.w_shape))


def executed_flop(layer: Layer, which: str, algorithm: str) -> float:
    """What the products of one pass execute, zeros of the padding apart."""
    if algorithm == "direct":
        return direct_flop(layer)
    m, size = 7 - layer.r, layer.h if which == "grad_x" else layer.out
    tiles = layer.n * (-(-size // m)) ** 2
    return 2.0 * 36 * tiles * layer.k * (layer.c // layer.groups)


def moved_bytes(layer: Layer, dtype: str) -> float:
    """x, w and y once each: one of them is written, the others read, whichever the pass."""
    reals = layer.n * (layer.c * layer.h**2 + layer.k * layer.out**2) + np.prod(layer.w_shape)
    return float(reals) * np.dtype(dtype).itemsize


def row(
    labels: tuple[str, ...], flop: float, executed: float, best: float, peak: float, memory: float
) -> str:
    """One row: labels, ms, GFLOP/s, % of the peak; the bound in ms, what sets it, and % of it."""
    arithmetic = executed / peak
    bound, name = max((memory, "memory"), (arithmetic, "arithmetic"))
    cells = [
        *labels,
        f"{best * 1e3:.3f}",
        f"{flop / best / 1e9:.1f}",
        f"{100 * flop / best / peak:.0f}",
        f"{bound * 1e3:.3f}",
        name,
        f"{100 * bound / best:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def head(*labels: str) -> str:
    """The two lines above the rows."""
    cells = [*labels, "ms", "GFLOP/s", "% of peak", "bound ms", "set by", "% of bound"]
    return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)


# -- what is measured -----------------------------------------------------------------------------


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
    print(head("product m x n x k", "A, B"))
    for m, n, k in PRODUCTS[-1:] if args.quick else PRODUCTS:
        reals, item = m * k + k * n + m * n, np.dtype(args.dtype).itemsize
        team = args.threads if 2.0 * m * n * k > 3e6 else 1
        memory = copy_seconds(float(reals * item), team, args.dtype, args.seconds / 4)
        for kind in ("NN", "NT", "TN"):
            a = matrix(rng, m, k, args.dtype, kind[0])
            b = matrix(rng, k, n, args.dtype, kind[1])
            flop = 2.0 * m * n * k
            best, peak = measure(partial(gemm.matmul, a, b), team, args.dtype, args.seconds)
            print(row((f"{m} x {n} x {k}", kind), flop, flop, best, peak, memory), flush=True)


def passes(
    layer: Layer, dtype: str, rng: np.random.Generator, algorithm: str | None = None
) -> tuple[float, dict[str, Callable[[], Array]]]:
    """Direct flop of one pass, and the three passes as functions without arguments."""
    x = channels_last(rng, (layer.n, layer.c, layer.h, layer.h), dtype)
    w = rng.standard_normal(layer.w_shape).astype(dtype)
    gy = channels_last(rng, (layer.n, layer.k, layer.out, layer.out), dtype)
    options: dict[str, Any] = {
        "stride": (layer.stride,) * 2,
        "padding": (layer.pad,) * 4,
        "dilation": (1, 1),
        "groups": layer.groups,
        "algorithm": algorithm,
    }
    return direct_flop(layer), {
        "forward": lambda: conv.conv2d(x, w, **options),
        "grad_x": lambda: conv.conv2d_grad_x(gy, w, x_shape=x.shape, **options),
        "grad_w": lambda: conv.conv2d_grad_w(gy, x, w_shape=layer.w_shape, **options),
    }


def algorithms(layer: Layer, dtype: str) -> dict[str, str]:
    """What runs in each pass, as ``minigrad.explain`` tells it."""
    plan = mg.explain(
        layer.w_shape,
        (layer.n, layer.c, layer.h, layer.h),
        stride=layer.stride,
        padding=layer.pad,
        groups=layer.groups,
        dtype=dtype,
    )
    return {how.name: how.algorithm for how in plan.passes}


def measure_layers(args: argparse.Namespace, rng: np.random.Generator) -> None:
    """Every layer, every pass."""
    wanted = [s.strip() for s in args.layers.split(",")]
    layers = [a for a in LAYERS if any(s in a.name for s in wanted)]
    print(head("layer", "pass", "algorithm"))
    for layer in layers[-2:] if args.quick else layers:
        flop, runs = passes(layer, args.dtype, rng)
        used = algorithms(layer, args.dtype)
        how = (args.threads, args.dtype, args.seconds / 4)
        memory = copy_seconds(moved_bytes(layer, args.dtype), *how)
        for which in PASSES:
            best, peak = measure(runs[which], args.threads, args.dtype, args.seconds)
            executed = executed_flop(layer, which, used[which])
            labels = (f"{layer.name} b{layer.n}", which, used[which])
            print(row(labels, flop, executed, best, peak, memory), flush=True)


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
    peak = calibrate(args.threads, args.dtype, 5 if args.quick else 500) / 1e9
    copied = 256 << 20
    rate = copied / copy_seconds(copied, args.threads, args.dtype, args.seconds / 2) / 1e9
    print(
        f"{dispatch.isa()}, {args.dtype}, {args.threads} threads, peak {peak:.0f} GFLOP/s, copy of "
        f"256 MB {rate:.1f} GB/s (read and written)\n"
    )
    try:
        if not args.layers:
            measure_products(args, rng)
            print()
        measure_layers(args, rng)
    finally:
        threads.set_num_threads(before)


if __name__ == "__main__":
    main()
