"""What memory costs: page faults of a training step, fresh pages against the pool, loops in GB/s.

``python benchmarks/memory.py [--quick]``.  A page fault is a page of 4 KiB (or 2 MiB) that
the system had to find and clear; the system counts them for the whole process.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad._kernels import dispatch, elementwise, memory, optim
from zoo import get_model

NETS = {"lenet": (64, 1, 28), "resnet20": (128, 3, 32)}  # batch, channels, side


def machine() -> str:
    """The line under every table."""
    return (
        f"{platform.machine()}, {platform.system()} {platform.release()}, {dispatch.isa()}, "
        f"{mg.get_num_threads()} threads, numpy {np.__version__}"
    )


def faults() -> int:
    """Minor page faults of this process so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def best(function: Callable[[], object], *, rounds: int) -> float:
    """The fastest of several runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def training_steps(name: str, *, batch: int, steps: int) -> list[tuple[int, float]]:
    """(page faults, milliseconds) of each step of a net on random images."""
    _, channels, side = NETS[name]
    rng = np.random.default_rng(0)
    net = get_model(name, num_classes=10)
    images = mg.tensor(rng.standard_normal((batch, channels, side, side)).astype(np.float32))
    labels = rng.integers(0, 10, batch)
    sgd = mg.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    rows = []
    for _ in range(steps):
        before, start = faults(), time.perf_counter()
        sgd.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        sgd.step()
        rows.append((faults() - before, (time.perf_counter() - start) * 1e3))
    return rows


def print_steps(*, tiny: bool) -> None:
    """Page faults of the first steps and of the warm ones."""
    print("| net | batch | faults, step 1 | step 2 | warm, most | ms warm | pool peak MB |")
    print("|---|---|---|---|---|---|---|")
    for name, (batch, _, _) in NETS.items():
        memory.empty_cache()
        rows = training_steps(name, batch=4 if tiny else batch, steps=4 if tiny else 10)
        warm = rows[3:]
        print(
            f"| {name} | {4 if tiny else batch} | {rows[0][0]} | {rows[1][0]} | "
            f"{max(f for f, _ in warm)} | {min(ms for _, ms in warm):.1f} | "
            f"{memory.memory_stats()['peak_bytes'] / 1e6:.0f} |"
        )


def print_fresh(*, tiny: bool) -> None:
    """Writing into fresh pages, against writing into a block that was used before."""
    size = 1 << (18 if tiny else 24)

    def write() -> None:
        memory.empty_array(size)[...] = 1.0

    def write_fresh() -> None:
        memory.empty_cache()
        write()

    fresh, pooled = best(write_fresh, rounds=5), best(write, rounds=5)
    print(f"\n{size * 4 / 1e6:.0f} MB written: fresh pages {fresh * 1e3:.2f} ms, ", end="")
    print(f"a block from the pool {pooled * 1e3:.2f} ms ({fresh / pooled:.1f} x)")


def print_loops(*, tiny: bool) -> None:
    """Elementwise loops and optimizer steps: bytes that must move over the time they take."""
    n = 10_000 if tiny else 4_000_000
    rounds = 2 if tiny else 15
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    m, v = np.zeros_like(x), np.zeros_like(x)
    e = elementwise
    loops: list[tuple[str, int, Callable[[], object], Callable[[], object] | None]] = [
        ("add", 3, lambda: e.add(x, y), lambda: x + y),
        ("mul by number", 2, lambda: e.mul(x, 2.0), lambda: x * 2.0),
        ("relu", 2, lambda: e.relu(x), lambda: np.maximum(x, 0)),
        ("exp", 2, lambda: e.exp(x), lambda: np.exp(x)),
        ("tanh", 2, lambda: e.tanh(x), lambda: np.tanh(x)),
        ("add in place", 3, lambda: e.add_(m, y), lambda: np.add(m, y, out=m)),
        ("sgd, momentum", 5, lambda: optim.sgd([x], [y], [m], lr=1e-9, momentum=0.9), None),
        (
            "adam",
            7,
            lambda: optim.adam(
                [x], [y], [m], [v], lr=1e-9, beta1=0.9, beta2=0.99, eps=1e-8, step=1
            ),
            None,
        ),
    ]
    print(f"\n| float32, {n} elements | ms | GB/s | NumPy ms |")
    print("|---|---|---|---|")
    for name, streams, ours, theirs in loops:
        ours()
        seconds = best(ours, rounds=rounds)
        other = f"{best(theirs, rounds=rounds) * 1e3:.2f}" if theirs else ""
        moved = streams * n * 4 / seconds / 1e9
        print(f"| {name} | {seconds * 1e3:.2f} | {moved:.1f} | {other} |")


def main(argv: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="what memory costs")
    parser.add_argument("--quick", action="store_true", help="small sizes: a test of this script")
    tiny = parser.parse_args(argv).quick
    print_steps(tiny=tiny)
    print_fresh(tiny=tiny)
    print_loops(tiny=tiny)
    print(f"\n{machine()}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
