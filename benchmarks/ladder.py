"""One convolution from its definition to the fastest kernel: every rung runs and says what is new.

``python -m benchmarks ladder``.  The layer is 3x3, 64 to 64 channels, on 8 images of 56x56, as in
the first blocks of ResNet-18.  Each rung adds one idea to the one before; ``docs/kernels.md`` walks
up.

Design: a rung gives its best time, the peak of the threads it used, and its error: the greatest
difference from the definition in float64, over the first image, in units of that image's root mean
square.  A rung that is wrong ends the run: a fast wrong answer is no rung.  Rungs in Python run
here on one thread, NumPy's BLAS included.  Kernels run in a child process each, because the
instruction set is chosen at import (MINIGRAD_ISA).  The seven loops compute a small part of the
layer, and their time is scaled up by the number of multiply-adds.

GFLOP/s are direct-equivalent, as in ``kernels_conv.py``.  "% of peak" is of the multiply-add peak
of the best instruction set on as many threads as the rung uses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import minigrad as mg
from minigrad._kernels import conv, dispatch, gemm
from minigrad.reference import conv as reference

from .kernels_conv import Layer, calibrate, channels_last, direct_flop, measure

Array = NDArray[Any]
LAYER = Layer("3x3 56x56 64-64", 8, 64, 56, 64, 3, 1, 1)
QUICK = Layer("3x3 8x8 16-16", 2, 16, 8, 16, 3, 1, 1)
PLAIN: dict[str, Any] = {
    "stride": (1, 1),
    "padding": (1, 1, 1, 1),
    "dilation": (1, 1),
    "groups": 1,
}
WORST = 5e-5  # of an output's root mean square: the gate of Winograd's algorithm


class Rung(NamedTuple):
    """One way to compute the layer: its best time (s), threads, peak (flop/s) there, and error."""

    name: str
    news: str
    seconds: float
    team: int
    peak: float
    error: float


def operands(layer: Layer) -> tuple[Array, Array]:
    """x, channels-last, and w (He et al. 2015), the same in every process."""
    rng = np.random.default_rng(0)
    x = channels_last(rng, (layer.n, layer.c, layer.h, layer.h), "float32")
    w = rng.standard_normal(layer.w_shape) * np.sqrt(2 / (layer.c * 9))
    return x, w.astype(np.float32)


def error(y: Array, x: Array, w: Array) -> float:
    """Greatest error of the part of the first image that y (.., K', P', Q) holds."""
    want = reference.conv2d(x[:1].astype(np.float64), w.astype(np.float64), **PLAIN)
    part = want[0, : y.shape[1], : y.shape[2]]
    return float(abs(y[0] - part).max() / np.sqrt(np.mean(want**2)))


# -- the rungs in Python --------------------------------------------------------------------------


def seven_loops(x: Array, w: Array, filters: int, rows: int) -> Array:
    """The definition, for the first image, some filters and some rows: (1, filters, rows, Q)."""
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((1, filters, rows, x.shape[3]), x.dtype)
    for n in range(1):
        for k in range(filters):
            for p in range(rows):
                for q in range(x.shape[3]):
                    for c in range(x.shape[1]):
                        for r in range(3):
                            for s in range(3):
                                y[n, k, p, q] += xp[n, c, p + r, q + s] * w[k, c, r, s]
    return y


def im2row(x: Array, w: Array, product: Callable[[Array, Array], Array]) -> Array:
    """The matrix of all windows, written out: (N P Q, C R S) times (C R S, K)."""
    n, c, h, width = x.shape
    k, _, r, s = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(xp, (r, s), axis=(2, 3))  # (N, C, P, Q, R, S)
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * width, c * r * s)
    y = product(rows, w.reshape(k, -1).T)
    return y.reshape(n, h, width, k).transpose(0, 3, 1, 2)


def python_rungs(layer: Layer, seconds: float) -> list[Rung]:
    """The loops, the loop over taps, and im2row with NumPy's product; one thread."""
    x, w = operands(layer)
    filters, rows = 1, min(2, layer.h)
    part = filters * rows / (layer.n * layer.k * layer.h)
    ways: list[tuple[str, str, float, Callable[[], Array]]] = [
        ("seven loops in Python", f"the definition; 1/{1 / part:.0f} of the layer ran, scaled up",
         part, lambda: seven_loops(x, w, filters, rows)),
        ("nine taps in NumPy", "a loop over taps only; a tap is one call on whole arrays",
         1.0, lambda: reference.conv2d(x, w, **PLAIN)),
        ("im2row, NumPy's product", "all windows written out: one matrix product, by NumPy's BLAS",
         1.0, lambda: im2row(x, w, np.matmul)),
    ]  # fmt: skip
    rungs = []
    with mg.threads(1):
        for name, news, share, run in ways:
            best, peak = measure(run, 1, "float32", seconds)
            rungs.append(Rung(name, news, best / share, 1, peak, error(run(), x, w)))
    return rungs


# -- the rungs in C -------------------------------------------------------------------------------


def child(layer: Layer, way: str, team: int, seconds: float) -> None:
    """What a child process does: measure one way ("im2row" or an algorithm), print JSON."""
    x, w = operands(layer)
    mg.set_num_threads(team)

    def run() -> Array:
        if way == "im2row":
            return im2row(x, w, gemm.matmul)
        return conv.conv2d(x, w, **PLAIN, algorithm=way)

    best, peak = measure(run, team, "float32", seconds)
    print(json.dumps([best, peak, error(run(), x, w)]))


def kernel_rung(layer: Layer, isa: str, way: str, team: int, seconds: float, news: str) -> Rung:
    """Run a child under an instruction set."""
    command = [sys.executable, "-m", "benchmarks.ladder", way, str(team), str(seconds)]
    command += ["--quick"] if layer == QUICK else []
    done = subprocess.run(
        command,
        env={**os.environ, "MINIGRAD_ISA": isa},
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    best, peak, wrong = json.loads(done.stdout)
    name = f"im2row, our product, {isa}" if way == "im2row" else f"{way}, {isa}"
    if way == "direct":
        news += f"; {100 * direct_flop(layer) / best / peak:.0f} % of the {isa} peak"
    return Rung(name + f", {team} threads" * (team > 1), news, best, team, peak, wrong)


def kernel_rungs(layer: Layer, seconds: float, threads: int) -> list[Rung]:
    """im2row and direct on the oldest instruction set, direct on those up to the one in use,
    Winograd on that, all threads."""
    built, used = dispatch.isas(), dispatch.isa()
    isas = built[built.index(used) :][::-1]  # the oldest first
    news = "the same matrix through src/simd/gemm.c: packed panels, tiles in registers"
    rungs = [kernel_rung(layer, isas[0], "im2row", 1, seconds, news)]
    for isa in isas:
        news = "wider vectors" if len(rungs) > 1 else "no matrix: two tables of offsets, bands"
        rungs.append(kernel_rung(layer, isa, "direct", 1, seconds, news))
    news = "36 multiplications for 144, on tiles of 4x4 outputs"
    rungs.append(kernel_rung(layer, used, "winograd", 1, seconds, news))
    if threads > 1:
        news = "tasks for all threads, the same bits"
        rungs.append(kernel_rung(layer, used, "winograd", threads, 3 * seconds, news))
    return rungs


# -- the table ------------------------------------------------------------------------------------


def digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def table(layer: Layer, rungs: list[Rung], peaks: dict[int, float]) -> str:
    """The rungs in Markdown; peaks: of each number of threads. SystemExit where a rung is wrong."""
    flop, before = direct_flop(layer), None
    lines = ["| rung | ms | times the last | GFLOP/s | % of peak | error | what is new |"]
    lines.append("|---|---|---|---|---|---|---|")
    for rung in rungs:
        if not rung.error < WORST:
            raise SystemExit(f"{rung.name} is wrong: error {rung.error:.1e}, at most {WORST:.0e}")
        rate, faster = flop / rung.seconds, f"{before / rung.seconds:.1f}" if before else ""
        lines.append(
            f"| {rung.name} | {digits(rung.seconds * 1e3)} | {faster} | {digits(rate / 1e9)} | "
            f"{digits(100 * rate / peaks[rung.team])} | {rung.error:.0e} | {rung.news} |"
        )
        before = rung.seconds
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Print the ladder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ladder")
    parser.add_argument("--quick", action="store_true", help="a tiny layer, a few milliseconds")
    parser.add_argument("--threads", type=int, default=mg.get_num_threads(), help="the last rung's")
    args = parser.parse_args(argv)
    layer, seconds = (QUICK, 0.02) if args.quick else (LAYER, 2.0)
    rungs = python_rungs(layer, seconds) + kernel_rungs(layer, seconds, args.threads)
    peaks = {
        team: max(
            calibrate(team, "float32", 5 if args.quick else 500),
            *(rung.peak for rung in rungs if rung.team == team),
        )
        for team in sorted({rung.team for rung in rungs})
    }
    stated = ", ".join(f"{peak / 1e9:.0f} GFLOP/s ({team} threads)" for team, peak in peaks.items())
    print(f"{layer.name}, N = {layer.n}: {direct_flop(layer) / 1e9:.3g} GFLOP; peaks {stated}\n")
    print(table(layer, rungs, peaks))


if __name__ == "__main__":
    name, team, span = sys.argv[1:4]
    child(QUICK if "--quick" in sys.argv else LAYER, name, int(team), float(span))
