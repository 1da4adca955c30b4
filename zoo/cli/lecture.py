"""``lecture``: the ledger on the screen; ``history``: the ILSVRC as a table and as a picture.

Design: a row is its number, line and verdict, the statement, what is right, our numbers and where
the code is; numbers are computed while they are printed.
"""

from __future__ import annotations

import shutil
import textwrap
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections import Counter

from .. import history as ilsvrc
from ..lecture import (
    ERRORS,
    NOTE,
    SECTIONS,
    SLIPS,
    VERDICTS,
    Error,
    Row,
    errors_about,
    place_of,
    select,
    span,
    text_of,
)
from ..lecture.row import Numbers

INDENT = 6


def add_lecture(sub: _SubParsersAction[ArgumentParser]) -> None:
    """``lecture`` and ``history``."""
    p = sub.add_parser("lecture", help="the lecture's statements: verdict, our number, the code")
    p.add_argument("which", nargs="?", metavar="ROW|SECTION",
                   help=f"a row such as A8, or {', '.join(SECTIONS)}; default: all")  # fmt: skip
    p.add_argument("--errors", action="store_true", help="the twelve errors of the lecture")
    p.set_defaults(run=lecture)
    p = sub.add_parser("history", help="the ImageNet challenge, year by year")
    p.add_argument("--plot", metavar="FILE", help="write the bar chart, as PNG or SVG")
    p.set_defaults(run=history)


def width() -> int:
    """Columns to fill: the terminal's, at most 100."""
    return min(shutil.get_terminal_size((100, 24)).columns, 100)


def wrapped(label: str, text: str) -> str:
    """A labelled paragraph, indented below its label."""
    head = " " * INDENT + label.ljust(7)
    return textwrap.fill(text, width(), initial_indent=head, subsequent_indent=" " * len(head),
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def numbers_text(found: Numbers) -> str:
    """Numbers with their names."""
    return "; ".join(f"{name}: {text_of(value)}" for name, value in found.items())


def row_text(row: Row) -> str:
    """A row in a few lines."""
    lines = [f"{row.id:4}  line {row.line}, {row.verdict}", wrapped("says", row.statement)]
    if row.correction:
        lines.append(wrapped("note" if row.verdict in VERDICTS[::3] else "true", row.correction))
    if row.compute:
        lines.append(wrapped("ours", numbers_text(row.numbers())))
    if not row.checked:
        lines.append(wrapped("", "(quoted, not read again in a paper)"))
    if row.code:
        lines.append(wrapped("code", place_of(row.code)))
    return "\n".join(lines)


def error_text(error: Error) -> str:
    """One of the twelve errors in a few lines."""
    return "\n".join(
        [
            f"{error.number:2}.   line {error.line}, rows {', '.join(error.rows)}",
            wrapped("says", error.said),
            wrapped("true", error.right),
            wrapped("why", error.why),
            wrapped("ours", numbers_text(error.compute())),
        ]
    )


def print_errors(which: str | None, found: list[Error]) -> int:
    """Print errors, and the smaller ones where all were asked for."""
    for error in found:
        print(error_text(error), end="\n\n")
    if which is None:
        print("smaller ones:", *(f"  * {slip}" for slip in SLIPS), sep="\n")
    elif not found:
        print(f"none of the {len(ERRORS)} errors is about {which}")
    return 0


def lecture(args: Namespace) -> int:
    """Print rows of the ledger, or the errors that are about them. Raises ArgError."""
    rows = select(args.which)
    if args.errors:
        return print_errors(args.which, errors_about(rows))
    for title, section in SECTIONS.values():
        chosen = [row for row in section if row in rows]
        if chosen and len(rows) > 1:
            print(f"== {title} ({span(chosen)})\n")
        for row in chosen:
            print(row_text(row), end="\n\n")
    if len(rows) > 1:
        tally = Counter(row.verdict for row in rows)
        counts = ", ".join(f"{tally[verdict]} {verdict}" for verdict in VERDICTS if tally[verdict])
        counts += "s" if tally[NOTE] > 1 else ""
        print(f"{len(rows)} statements: {counts}")
    return 0


def history(args: Namespace) -> int:
    """Print the table of the ILSVRC, and draw it. Raises ArgError, ImportError, OSError."""
    written = ilsvrc.plot(args.plot) if args.plot else None
    print(ilsvrc.table())
    if written is not None:
        print(f"written: {written}")
    return 0
