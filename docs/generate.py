"""generate: fill the marked blocks of the pages in ``docs/zoo`` from the code that they describe.

    python -m docs.generate            write the pages and drawings that are stale
    python -m docs.generate --check    write nothing; 1 if one of them is stale

Design: a block stands between ``<!-- table: KIND WORDS -->`` and ``<!-- end -->``; ``tables.py``,
``words.py`` and ``runs.py`` have a function for each kind, which gets the words and returns
Markdown.  Whatever stood in a block is replaced, so numbers of the zoo are never typed into a page;
``tests/test_docs.py`` fails while a page, or a drawing that it shows (``drawings.py``), is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from minigrad import io

from .drawings import drawing, file_of
from .runs import RUNS
from .tables import COUNTED, counted
from .words import WORDS

WHAT = "Fill the marked blocks of docs/zoo from the code."
KINDS = COUNTED | WORDS | RUNS
PAGES = Path(__file__).resolve().parent / "zoo"
BLOCK = re.compile(r"^<!-- table: ([^\n]+) -->$(.*?)^<!-- end -->$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^<!-- (?:table:.*|end) -->$", re.MULTILINE)


def content(command: str) -> str:
    """The Markdown of a block. Raises ValueError for a kind that there is not."""
    kind, *words = command.split()
    if kind not in KINDS:
        raise ValueError(f"unknown kind of table {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind](*words)


def filled(text: str) -> str:
    """A page with its blocks made anew. Raises ValueError for a block without start or end."""
    marks = ["table" if "table:" in mark else "end" for mark in MARK.findall(text)]
    if marks != ["table", "end"] * len(BLOCK.findall(text)):
        raise ValueError("a block needs <!-- table: ... --> and then <!-- end --> on their lines")

    def made(block: re.Match[str]) -> str:
        return f"<!-- table: {block[1]} -->\n\n{content(block[1])}\n\n<!-- end -->"

    return BLOCK.sub(made, text)


def drawings(text: str) -> dict[str, str]:
    """The drawings that a page shows: names of files, and what they should hold."""
    lists = [command.split()[1:] for command, _ in BLOCK.findall(text) if "picture " in command]
    return {file_of(names): drawing(names, [*map(counted, names)]) for names in lists}


def stale_files(folder: Path) -> dict[Path, str]:
    """Pages, and drawings in ``images`` beside the folder, that are not what the code gives, and
    what they should be. Raises ValueError."""
    wanted: dict[Path, str] = {}
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        try:
            wanted[page] = filled(text)
            found = drawings(text)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{page.name}: {error}") from error
        wanted |= {folder.parent / "images" / name: drawn for name, drawn in found.items()}
    return {file: text for file, text in wanted.items() if not holds(file, text)}


def holds(file: Path, text: str) -> bool:
    """Whether a file is there and holds this text."""
    return file.is_file() and file.read_text(encoding="utf-8") == text


def main(argv: Sequence[str] | None = None) -> int:
    """Write stale files, or name them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=WHAT)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is stale")
    parser.add_argument("--folder", type=Path, default=PAGES, help="default: docs/zoo")
    args = parser.parse_args(argv)
    try:
        stale = stale_files(args.folder)
    except ValueError as error:
        print(f"docs.generate: error: {error}", file=sys.stderr)
        return 1
    for file, text in stale.items():
        if args.check:
            print(f"{file.name} is stale; run python -m docs.generate", file=sys.stderr)
        else:
            file.parent.mkdir(exist_ok=True)
            io.atomic_write(file, [text.encode()])
            print(f"written: {file.name}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
