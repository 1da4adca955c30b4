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
NETS = {"mlp": 32, "lenet": 64, "resnet20": 128, "resnet56": 128}
TORCH_MODES = ("nchw", "channels_last", "compiled")


class Contender:
    """A child process that runs a round whenever it is told to, and prints milliseconds a step."""

    def __init__(self, label: str, command: list[str], threads: int) -> None:
        self.label = label
        self.times: list[float] = []
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
            self.times.append(float(line))
        else:
            self.alive = False

    def close(self) -> None:
        """End the child."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def contenders(net: str, mode: str, torch: str | None, threads: int) -> list[Contender]:
    """minigrad, and PyTorch in its memory formats."""
    batch = str(NETS[net])
    own = [sys.executable, str(HERE / "child_minigrad.py"), net, batch, mode]
    found = [Contender("minigrad", own, threads)]
    for form in TORCH_MODES if torch else ():
        command = [str(torch), str(HERE / "child_torch.py"), net, batch, mode, form]
        found.append(Contender(f"torch {form}", command, threads))
    return found


def measure(net: str, mode: str, torch: str | None, threads: int, rounds: int) -> str:
    """One row of the table."""
    group = contenders(net, mode, torch, threads)
    for _ in range(rounds):
        for c in group:
            if c.alive:
                c.round()
    for c in group:
        c.close()
    medians = {c.label: statistics.median(c.times) for c in group if c.times}
    cells = [f"{medians[c.label]:.2f}" if c.label in medians else "-" for c in group]
    others = [t for label, t in medians.items() if label != "minigrad"]
    ratio = f"{min(others) / medians['minigrad']:.2f}" if others else "-"
    return f"| {net} b{NETS[net]} {mode} | " + " | ".join(cells) + f" | {ratio} |"


def main(argv: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks nets")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    head = ["net, batch", "minigrad ms"] + [f"torch {m} ms" for m in TORCH_MODES if args.torch]
    print("| " + " | ".join([*head, "torch's best / minigrad"]) + " |")
    print("|" + "---|" * (len(head) + 1))
    for net in ["lenet"] if args.quick else args.nets.split(","):
        for mode in ("train", "infer"):
            rounds = 1 if args.quick else 9
            print(measure(net, mode, args.torch, args.threads, rounds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
