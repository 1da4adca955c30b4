"""What a small op costs: forward + record, and a node of backward, against the bare NumPy call.

``python -m benchmarks ops``.  Ten-element float64 operands; the best of several rounds, alternating
between the tape and NumPy, so that a busy machine slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import minigrad as mg

N = 20_000
ROUNDS = 15


def per_call(function: Callable[[int], object]) -> float:
    """Microseconds per iteration of one run."""
    start = time.perf_counter()
    function(N)
    return (time.perf_counter() - start) / N * 1e6


def alternate(*functions: Callable[[int], object]) -> list[float]:
    """The median of each function's runs, taken in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for row, function in zip(times, functions, strict=True):
            row.append(per_call(function))
    return [statistics.median(row) for row in times]


def binary(name: str, op: Callable[[object, object], object]) -> tuple[str, list[float]]:
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

    return name, alternate(run(a, b), run(*plain), run(*tracked))


def backward() -> tuple[float, float]:
    """(a node of backward, the bare NumPy arithmetic of its rule): a chain of multiplications."""
    a = np.linspace(0.9, 1.1, 10)
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

    rounds = [(play(N), bare(N)) for _ in range(ROUNDS)]
    return statistics.median(r[0] for r in rounds), statistics.median(r[1] for r in rounds)


def main(argv: list[str]) -> None:
    """Print the table."""
    rows = [
        binary("add", lambda x, y: x + y),
        binary("mul", lambda x, y: x * y),
        binary("div", lambda x, y: x / y),
        binary("mul by number", lambda x, y: x * 2.0),
    ]
    print("| op, 10 elements | NumPy us | untracked us | forward + record us | above NumPy us |")
    print("|---|---|---|---|---|")
    for name, (bare, plain, tracked) in rows:
        print(f"| {name} | {bare:.2f} | {plain:.2f} | {tracked:.2f} | {tracked - bare:+.2f} |")
    node, arithmetic = backward()
    print(
        f"\nbackward, per mul node: {node:.2f} us, of which the bare arithmetic {arithmetic:.2f}: "
        f"{node - arithmetic:+.2f}"
    )


if __name__ == "__main__":
    main([])
