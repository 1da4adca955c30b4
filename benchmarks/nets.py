"""Training steps and inference of whole nets, against PyTorch's best.

``python -m benchmarks nets --torch PYTHON``: every contender runs in a process of its own, with the
same threads; rounds alternate (A B C A B C ...), each at least half a second after warm-up.  The
figure is the median of the rounds; the ratio is taken between medians of the same run.  PyTorch
runs in NCHW, in channels_last, and in channels_last with ``torch.compile``, with fused SGD and
denormals flushed; its best counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NETS = {  # name: batch
    "mlp": 32,
    "lenet": 64,
    "resnet20": 128,
    "resnet56": 128,
    "nin_cifar10": 64,
    "alexnet": 16,
    "googlenet": 8,
    "resnet18": 8,
    "resnet50": 4,
    "vgg16": 4,
}
TORCH_FORMS = ("nchw", "channels_last", "compiled")


class Contender:
    """A child process that runs a round whenever it is told to, and prints milliseconds a step."""

    def __init__(self, label: str, command: list[str], threads: int) -> None:
        self.label = label
        self.times: list[float] = []
        self.peak = 0.0  # MB
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "OMP_"))}
        env["OMP_NUM_THREADS"] = str(threads)
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.alive = self.read() == "ready"

    def read(self) -> str:
        """The child's next line."""
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def round(self) -> None:
        """One measurement."""
        assert self.child.stdin is not None
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        line = self.read()
        if line:
            took, self.peak = map(float, line.split())
            self.times.append(took)
        else:
            self.alive = False

    def close(self) -> None:
        """End the child."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def contenders(net: str, mode: str, args: argparse.Namespace) -> list[Contender]:
    """minigrad, and PyTorch in its memory formats."""
    batch = str(NETS[net])
    own = [sys.executable, str(HERE / "child_minigrad.py"), net, batch, mode]
    found = [Contender("minigrad", own, args.threads)]
    for form in args.forms.split(",") if args.torch else ():
        command = [str(args.torch), str(HERE / "child_torch.py"), net, batch, mode, form]
        found.append(Contender(f"torch {form}", command, args.threads))
    return found


def measure(net: str, mode: str, args: argparse.Namespace) -> tuple[str, float | None]:
    """One row of the table, and torch's best time over ours."""
    group = contenders(net, mode, args)
    for _ in range(1 if args.quick else args.rounds):
        for c in group:
            if c.alive:
                c.round()
    for c in group:
        c.close()
    medians = {c.label: statistics.median(c.times) for c in group if c.times}
    cells = [f"{medians[c.label]:.2f}" if c.label in medians else "-" for c in group]
    others = [t for label, t in medians.items() if label != "minigrad"]
    own = medians.get("minigrad")
    ratio = min(others) / own if others and own else None
    cells.append(f"{ratio:.2f}" if ratio else "-")
    cells.append(f"{group[0].peak:.0f}")
    peaks = [c.peak for c in group[1:] if c.times]
    cells.append(f"{group[0].peak / min(peaks):.2f}" if peaks else "-")
    return f"| {net} b{NETS[net]} {mode} | " + " | ".join(cells) + " |", ratio


def main(argv: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks nets")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    cores = 1 if "--quick" in argv else os.cpu_count() or 1  # a busy second core stalls a team
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--nets", default="lenet" if "--quick" in argv else ",".join(NETS))
    parser.add_argument("--forms", default=",".join(TORCH_FORMS), help="of PyTorch")
    parser.add_argument("--modes", default="train,infer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    head = ["net, batch", "minigrad ms"]
    head += [f"torch {f} ms" for f in args.forms.split(",") if args.torch]
    head += ["torch's best / minigrad", "peak MB", "of torch's least"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    ratios: dict[str, list[float]] = {}
    for net in args.nets.split(","):
        for mode in args.modes.split(","):
            row, ratio = measure(net, mode, args)
            print(row, flush=True)
            if ratio:
                ratios.setdefault(mode, []).append(ratio)
    for mode, all_of_them in ratios.items():
        print(f"\n{mode}: geometric mean {statistics.geometric_mean(all_of_them):.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
