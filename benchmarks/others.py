"""What a small op costs in other engines: a chain of multiplications of ten elements.

``python benchmarks/others.py PYTHON [PYTHON ...]``: each interpreter measures the engines that it
has (minigrad, torch, mygrad, autograd), each in a process of its own, rounds alternating.
"""

import statistics
import subprocess
import sys
import time

import numpy as np

ENGINES = ("minigrad", "torch", "mygrad", "autograd")
N = 300


def timed(x, y):
    """(forward seconds, backward seconds) of a chain of x y y y ...; `x` is a tracked tensor."""
    start = time.perf_counter()
    z = x
    for _ in range(N):
        z = z * y
    z = z.sum()
    middle = time.perf_counter()
    z.backward()
    return middle - start, time.perf_counter() - middle


def run_minigrad(a):
    """A chain in minigrad."""
    import minigrad as mg

    return timed(mg.tensor(a, requires_grad=True), mg.tensor(a))


def run_torch(a):
    """A chain in PyTorch."""
    import torch

    torch.set_num_threads(1)
    return timed(torch.tensor(a, requires_grad=True), torch.tensor(a))


def run_mygrad(a):
    """A chain in MyGrad."""
    import mygrad

    return timed(mygrad.tensor(a), a)


def run_autograd(a):
    """The same in HIPS autograd, which runs forward and backward in one call."""
    import autograd.numpy as anp
    from autograd import grad

    def chain(x):
        z = x
        for _ in range(N):
            z = z * a
        return anp.sum(z)

    start = time.perf_counter()
    grad(chain)(a)
    return time.perf_counter() - start, 0.0


def child(engine):
    """One round per line of input: microseconds an op, forward and backward."""
    run = {"minigrad": run_minigrad, "torch": run_torch, "mygrad": run_mygrad,
           "autograd": run_autograd}[engine]  # fmt: skip
    a = np.linspace(0.99, 1.01, 10)
    for _ in range(5):
        run(a)
    print("ready", flush=True)
    for _ in sys.stdin:
        rounds = [run(a) for _ in range(20)]
        forward, backward = (statistics.median(r[k] for r in rounds) / N * 1e6 for k in (0, 1))
        print(forward, backward, flush=True)


def start(python, engine):
    """A child that measures an engine, or None where the interpreter does not have it."""
    process = subprocess.Popen(
        [python, __file__, "child", engine], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return process if process.stdout.readline().strip() == "ready" else None


def main(argv):
    """Print the table."""
    pythons = argv or [sys.executable]
    found = {}
    for engine in ENGINES:
        for python in pythons:
            if engine not in found and (process := start(python, engine)):
                found[engine] = process
    times = {engine: [] for engine in found}
    for _ in range(7):
        for engine, process in found.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            times[engine].append([float(v) for v in process.stdout.readline().split()])
    print("| engine | forward + record, us an op | backward, us an op | together |")
    print("|---|---|---|---|")
    for engine, rows in times.items():
        f, b = (statistics.median(r[k] for r in rows) for k in (0, 1))
        cells = f"{f:.2f} | {b:.2f}" if b else "- | -"
        print(f"| {engine} | {cells} | {f + b:.2f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2])
    else:
        main(sys.argv[1:])
