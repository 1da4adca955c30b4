"""``python -m benchmarks [NAME ...] [--torch PYTHON]``: print tables; all of them by default.

What else is given goes to the benchmark that is named: ``python -m benchmarks nets --nets lenet``.
"""

from __future__ import annotations

import argparse
import importlib

from .machine import machine_line

NAMES = {
    "ops": "ops",
    "conv": "kernels_conv",
    "ladder": "ladder",
    "sweep": "sweep",
    "scaling": "scaling",
    "memory": "memory",
    "nets": "nets",
}


def main() -> None:
    """Run the benchmarks that were named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run at all?")
    args, rest = parser.parse_known_args()
    if rest and len(args.names) != 1:
        parser.error(f"{' '.join(rest)}: name the one benchmark that this is for")
    unknown = [n for n in args.names if n not in NAMES]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    print(machine_line())
    for name in args.names or list(NAMES):
        print(f"\n## {name}\n")
        options = ["--quick", *rest] if args.quick else rest
        if args.torch and name in ("nets", "sweep"):
            options = [*options, "--torch", args.torch]
        importlib.import_module(f".{NAMES[name]}", __package__).main(options)


if __name__ == "__main__":
    main()
