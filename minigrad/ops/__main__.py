"""The formula sheet: ``python -m minigrad.ops [name ...]``.

Design: every op's docstring has the same sections in the same order, so the sheet is read from the
registry and cannot fall behind the code.  Each op is printed with its equation, Forward, Backward
and Keeps; the order is the reading order of ``minigrad.ops``.

Absent on purpose: a second copy of any formula.  Next: ``minigrad/tensor.py``.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import sys
from collections.abc import Sequence

import minigrad.ops
from minigrad.op import registry

LABELS = ("Shapes", "Forward", "Backward", "Keeps", "Example", "Reference")
PRINTED = ("Forward", "Backward", "Keeps")


def sections(doc: str) -> dict[str, list[str]]:
    """The lines of an op's docstring by label; the equation has the label "".

    >>> sections("z = x\\n\\nForward   z_i\\n          = x_i\\nKeeps     nothing")
    {'': ['z = x'], 'Forward': ['z_i', '= x_i'], 'Keeps': ['nothing']}
    """
    found: dict[str, list[str]] = {"": []}
    label = ""
    for line in inspect.cleandoc(doc).splitlines():
        first = line.split(" ", 1)[0]
        if first in LABELS:
            label = first
            found[label], line = [], line[len(first) :]
        if line.strip():
            found[label].append(line[10:].rstrip() if line.startswith(" " * 10) else line.strip())
    return found


def page(name: str) -> str:
    """One op of the sheet: its name and equation, then a line for each line of its formulas."""
    parts = sections(registry[name].__doc__ or "")
    lines = [f"{name}: " + "\n    ".join(parts[""])]
    for label in PRINTED:
        for i, line in enumerate(parts.get(label, [])):
            lines.append(f"    {label if i == 0 else '':<10}{line}")
    return "\n".join(lines)


def reading_order() -> list[str]:
    """The names of all ops, those of ``minigrad.ops.__all__`` first and in its order."""
    listed = [name for name in minigrad.ops.__all__ if name in registry]
    return listed + sorted(
        name
        for name, op in registry.items()
        if name not in listed and op.__module__.startswith("minigrad.ops")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the sheet, or the pages of the ops named; 2 for a name that is no op."""
    parser = argparse.ArgumentParser(
        prog="python -m minigrad.ops", description="The formula sheet, made from the source."
    )
    parser.add_argument("names", nargs="*", metavar="name", help="ops to print (default: all)")
    names = parser.parse_args(argv).names or reading_order()
    for name in names:
        if name not in registry:
            near = difflib.get_close_matches(name, registry, n=3) or reading_order()[:5]
            parser.error(f"no op is called {name!r}; did you mean {', '.join(near)}?")
    print("\n\n".join(page(name) for name in names))
    return 0


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
