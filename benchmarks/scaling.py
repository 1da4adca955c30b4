"""How a training step grows with the threads, and what a batch is worth.

``python -m benchmarks scaling``: two tables.

    threads   a step of each net on 1 to n threads; speed-up over one thread, and that over the
              number of threads (efficiency)
    batch     one net at 1, 2, 4, ... 512 images, on all threads: images a second, the speed-up over
              batch 1, and the share of the best batch's rate (efficiency)

Design: the processes of ``nets.py``, one for each number of threads or images; rounds alternate.
The best round counts, not the median: what is asked is how the program scales, not how busy the
machine was.
"""

from __future__ import annotations

import argparse
import os
import sys

from .nets import HERE, NETS, Contender

STEPS = "resnet20,vgg16"
MODES = {"train": "a training step", "infer": "inference"}


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, which is always the last."""
    found = [1 << i for i in range(most.bit_length())]
    return found if found[-1] == most else [*found, most]


def thread_counts(most: int) -> list[int]:
    """Every number of threads up to 8, then powers of two, and `most`."""
    return [n for n in range(1, most + 1) if n <= 8 or n in powers_of_two(most)]


def best_times(runs: list[tuple[str, int, str, int]], rounds: int) -> list[float]:
    """Milliseconds a step of every (net, batch, mode, threads): the best of alternating rounds."""
    group = []
    for net, batch, mode, threads in runs:
        command = [sys.executable, str(HERE / "child_minigrad.py"), net, str(batch), mode]
        group.append(Contender(f"{net} b{batch}", command, threads))
    for _ in range(rounds):
        for child in group:
            if child.alive:
                child.round()
    for child in group:
        child.close()
    for child in group:
        if not child.times:
            raise SystemExit(f"{child.label}: the process ended before its first round")
    return [min(child.times) for child in group]


def by_threads(args: argparse.Namespace) -> None:
    """A table row for every net and number of threads."""
    print("| net, batch | threads | ms a step | speed-up | efficiency % |\n|---|---|---|---|---|")
    counts = thread_counts(args.threads)
    for net in args.nets.split(","):
        batch = 8 if args.quick else NETS[net]
        times = best_times([(net, batch, "train", n) for n in counts], args.rounds)
        for n, took in zip(counts, times, strict=True):
            faster = times[0] / took
            print(
                f"| {net} b{batch} | {n} | {took:.2f} | {faster:.2f} | {100 * faster / n:.0f} |",
                flush=True,
            )


def by_batch(args: argparse.Namespace, mode: str) -> None:
    """A table row for every batch of one net."""
    batches = powers_of_two(args.most)
    runs = [(args.net, batch, mode, args.threads) for batch in batches]
    rates = [
        batch / took * 1e3
        for batch, took in zip(batches, best_times(runs, args.rounds), strict=True)
    ]
    print(f"\n| {args.net}, {MODES[mode]}: batch | ms | images/s | speed-up | efficiency % |")
    print("|---|---|---|---|---|")
    for batch, rate in zip(batches, rates, strict=True):
        print(
            f"| {batch} | {batch / rate * 1e3:.3f} | {rate:.0f} | {rate / rates[0]:.2f} | "
            f"{100 * rate / max(rates):.0f} |"
        )


def main(argv: list[str]) -> None:
    """Print the tables."""
    quick = "--quick" in argv
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="up to")
    parser.add_argument("--nets", default="lenet" if quick else STEPS, help="of the first table")
    parser.add_argument("--net", default="lenet" if quick else "resnet20", help="of the second")
    parser.add_argument("--most", type=int, default=4 if quick else 512, help="images of a batch")
    parser.add_argument("--modes", default="train" if quick else "train,infer", help="second table")
    parser.add_argument("--rounds", type=int, default=1 if quick else 7)
    parser.add_argument("--quick", action="store_true", help="LeNet, small batches, one round")
    args = parser.parse_args(argv)
    unknown = [net for net in [*args.nets.split(","), args.net] if net not in NETS]
    if unknown:
        parser.error(f"unknown net {unknown[0]!r}; there are {', '.join(NETS)}")
    by_threads(args)
    for mode in args.modes.split(","):
        by_batch(args, mode)


if __name__ == "__main__":
    main(sys.argv[1:])
