"""Random convolutions against the multiply-add peak: does any shape fall off a cliff?

Design: shapes are drawn from a seed: at least 16 channels in (per group) and out, at least 10 MFLOP
a pass, square filters of 1 to 7, stride 1 or 2, groups now and then.  Every pass of each is timed
beside the peak (the best of a few runs, as in ``kernels_conv.py``) and, with ``--torch PYTHON``,
beside PyTorch in a child process, in both memory formats, its best counting.  GFLOP/s are
direct-equivalent.  Printed: the slowest of all,
those furthest behind PyTorch, and the share of shapes by percent of the peak and by ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import explain
from minigrad._kernels import threads

from .kernels_conv import Layer, measure, passes

LEAST_CHANNELS, LEAST_FLOP, MOST_FLOP = 16, 1e7, 2e9
PASSES = ("forward", "grad_x", "grad_w")


def draw(rng: np.random.Generator) -> Layer:
    """One convolution of the space that is promised."""
    while True:
        r = int(rng.choice([1, 1, 3, 3, 3, 5, 7]))
        stride = int(rng.choice([1, 1, 1, 2])) if r > 1 else int(rng.choice([1, 1, 1, 1, 2]))
        groups = int(rng.choice([1, 1, 1, 1, 1, 1, 2, 4]))
        c, k = (groups * int(2 ** rng.uniform(4, 9)) // 8 * 8 or 16 for _ in range(2))
        c, k = max(c, 16 * groups) // groups * groups, max(k, 16 * groups) // groups * groups
        h, n = int(2 ** rng.uniform(2, 6.5)), int(2 ** rng.uniform(0, 7))
        pad = int(rng.choice([r // 2, r // 2, 0]))
        if h + 2 * pad < r:
            continue
        out = (h + 2 * pad - r) // stride + 1
        flop = 2.0 * n * out * out * k * (c // groups) * r * r
        if LEAST_FLOP <= flop <= MOST_FLOP and n * c * h * h < 3e7:
            name = f"{r}x{r}/{stride} {h}x{h} {c}-{k} g{groups} N{n}"
            return Layer(name, n, c, h, k, r, stride, pad, groups)


class Torch:
    """A child that times a layer's three passes in PyTorch."""

    def __init__(self, python: str, team: int, seconds: float) -> None:
        command = [python, str(Path(__file__).parent / "child_torch_conv.py"), str(seconds)]
        self.child = subprocess.Popen(
            [*command, str(team)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def times(self, layer: Layer) -> list[float]:
        """Seconds of forward, grad_x and grad_w."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(json.dumps(layer[1:]) + "\n")
        self.child.stdin.flush()
        return [float(t) for t in json.loads(self.child.stdout.readline())]


def shares(values: list[float], edges: list[float], unit: str) -> str:
    """How many values lie below each edge."""
    below = [f"{sum(v < e for v in values)} below {e:g}{unit}" for e in edges]
    return f"least {min(values):.2f}{unit}, median {np.median(values):.2f}{unit}; " + ", ".join(
        below
    )


def main(argv: list[str]) -> None:
    """Print one line for every slow shape, and the summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks sweep", description=__doc__)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--shapes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=threads.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.06, help="per pass")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    threads.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    torch = Torch(args.torch, args.threads, args.seconds) if args.torch else None
    percents: list[float] = []
    ratios: list[float] = []
    rows: list[tuple[float, str]] = []
    behind: list[tuple[float, str]] = []
    for _ in range(2 if args.quick else args.shapes):
        layer = draw(rng)
        flop, runs = passes(layer, "float32", rng)
        theirs: Any = torch.times(layer) if torch else [None] * 3
        w_shape = (layer.k, layer.c // layer.groups, layer.r, layer.r)
        plan = explain(
            w_shape,
            (layer.n, layer.c, layer.h, layer.h),
            stride=layer.stride,
            padding=layer.pad,
            groups=layer.groups,
        )
        for name, other, how in zip(PASSES, theirs, plan.passes, strict=True):
            best, peak = measure(runs[name], args.threads, "float32", args.seconds)
            percent = 100 * flop / best / peak
            percents.append(percent)
            line = (
                f"{percent:5.0f} %  {layer.name:34}{name:8} {how.algorithm:9}{best * 1e3:9.3f} ms"
            )
            if other:
                ratios.append(other / best)
                line += f"  torch / minigrad {other / best:5.2f}"
                behind.append((other / best, line))
            rows.append((percent, line))
    print("\n".join(line for _, line in sorted(rows)[:30]))
    if torch:
        print("\nthe furthest behind PyTorch\n" + "\n".join(x for _, x in sorted(behind)[:30]))
    print(f"\n{len(percents)} passes: " + shares(percents, [35, 50, 80, 100], " %"))
    if ratios:
        print("torch / minigrad: " + shares(ratios, [0.8, 1.0, 1.5, 2.0], ""))


if __name__ == "__main__":
    main(sys.argv[1:])
