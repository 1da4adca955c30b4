"""What a small op costs: forward + record, and a node of backward, against the bare NumPy call; and
what dropout costs, which waits for its random words and then for memory.

``python -m benchmarks ops``.  Ten-element float64 operands; the best of several rounds, alternating
between the tape and NumPy, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad._kernels.memory import pooled_arrays


def per_call(function: Callable[[int], object], n: int) -> float:
    """Microseconds per iteration of one run."""
    start = time.perf_counter()
    function(n)
    return (time.perf_counter() - start) / n * 1e6


def alternate(n: int, rounds: int, *functions: Callable[[int], object]) -> list[float]:
    """The median of each function's runs, taken in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for row, function in zip(times, functions, strict=True):
            row.append(per_call(function, n))
    return [statistics.median(row) for row in times]


def binary(op: Callable[[object, object], object], n: int, rounds: int) -> list[float]:
    """NumPy, untracked Tensors, tracked Tensors: one binary op."""
    a = np.linspace(1.0, 2.0, 10)
    b = np.linspace(2.0, 3.0, 10)
    plain = mg.tensor(a), mg.tensor(b)
    tracked = mg.tensor(a, requires_grad=True), mg.tensor(b, requires_grad=True)

    def run(x: object, y: object) -> Callable[[int], None]:
        def loop(n: int) -> None:
            for _ in range(n):
                op(x, y)

        return loop

    return alternate(n, rounds, run(a, b), run(*plain), run(*tracked))


def backward(n: int, rounds: int) -> tuple[float, float]:
    """(a node of backward, the bare NumPy arithmetic of its rule): a chain of multiplications."""
    a = np.ones(10)  # a long product of anything else overflows
    y = mg.tensor(a)
    x = mg.tensor(a, requires_grad=True)
    seed = np.ones(10)

    def play(n: int) -> float:
        z = x
        for _ in range(n):
            z = z * y
        start = time.perf_counter()
        z.backward(seed)
        return (time.perf_counter() - start) / n * 1e6

    def bare(n: int) -> float:
        g = seed
        start = time.perf_counter()
        for _ in range(n):
            g = g * a
        return (time.perf_counter() - start) / n * 1e6

    pairs = [(play(n), bare(n)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def dropout(shape: tuple[int, ...], rounds: int) -> tuple[float, float, float, float]:
    """Milliseconds of dropout on channels-last images: forward, the random words alone, backward;
    and of a multiplication by a number, which touches the same memory."""
    n, c, h, w = shape
    x = np.ones((n, h, w, c), np.float32).transpose(0, 3, 1, 2)
    t, g = mg.tensor(x, requires_grad=True), mg.tensor(x)
    draws = mg.Generator(0)
    draws.words(2)  # the first draw imports numpy.random
    rows = []
    for _ in range(rounds):
        t.grad = None
        times = [time.perf_counter()]
        y = F.dropout(t, 0.5, generator=draws)
        times.append(time.perf_counter())
        with pooled_arrays():
            draws.words(x.size)
        times.append(time.perf_counter())
        y.backward(g)
        times.append(time.perf_counter())
        del y  # so that the product finds its block in the pool, as the others do
        z = g * 2.0
        times.append(time.perf_counter())
        del z
        rows.append(1e3 * np.diff(times))
    forward, words, back, product = np.median(rows[rounds > 1 :], axis=0)
    return forward, words, back, product


def main(argv: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ops")
    parser.add_argument("--quick", action="store_true", help="one short round")
    n, rounds = (200, 1) if parser.parse_args(argv).quick else (20_000, 15)
    cases: dict[str, Callable[[Any, Any], object]] = {
        "add": lambda x, y: x + y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "mul by number": lambda x, y: x * 2.0,
    }
    print("| op, 10 elements | NumPy us | untracked us | forward + record us | above NumPy us |")
    print("|---|---|---|---|---|")
    for name, op in cases.items():
        bare, plain, tracked = binary(op, n, rounds)
        print(f"| {name} | {bare:.2f} | {plain:.2f} | {tracked:.2f} | {tracked - bare:+.2f} |")
    node, arithmetic = backward(n, rounds)
    print(
        f"\nbackward, per mul node: {node:.2f} us, of which the bare arithmetic {arithmetic:.2f}: "
        f"{node - arithmetic:+.2f}"
    )
    shape = (2, 16, 8, 8) if rounds == 1 else (64, 192, 32, 32)
    forward, words, back, product = dropout(shape, rounds)
    print(
        f"\ndropout of {'x'.join(map(str, shape))}, channels-last: forward {forward:.2f} ms, of "
        f"which the random words {words:.2f}; backward {back:.2f} ms; x * 2: {product:.2f} ms"
    )


if __name__ == "__main__":
    main([])
