"""What a row of the ledger is: a statement of the lecture, a verdict, and our number.

Design: a row is data with one function, which computes our numbers from the zoo when it is asked,
and never stores them.  A row without a function is documentation, and its correction says what
there is to know.  ``checked`` is False where a number was not read again in a paper: such numbers
are shown and gate nothing.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Numbers = dict[str, Any]  # ints, floats, text, tuples (shapes) and lists of them

RIGHT, CAVEAT, WRONG, NOTE = "right", "with a caveat", "wrong", "note"
VERDICTS = (RIGHT, CAVEAT, WRONG, NOTE)


@dataclass(frozen=True)
class Row:
    """A statement: its number in the ledger, its line in the lecture, in short, and what is true.

    correction: what is right, or the caveat; nothing where there is nothing to add. code: where the
    zoo has it, as a dotted name or a command.
    """

    id: str
    line: str
    statement: str
    verdict: str
    correction: str = ""
    code: str = ""
    compute: Callable[[], Numbers] | None = None
    checked: bool = True

    def numbers(self) -> Numbers:
        """Ours, by name; none for a row of documentation."""
        return {} if self.compute is None else self.compute()


def text_of(value: Any) -> str:
    """A number as people read it: counts with commas, shapes as 96x55x55, lists with bars."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, list):
        return " | ".join(map(text_of, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, bool | str) else f"{value:,}"


def place_of(code: str) -> str:
    """A dotted name as "zoo/alexnet.py:42 AlexNet"; a command as it is.

    Raises ImportError, AttributeError for a name that is not there.
    """
    if " " in code or not code:
        return code
    module, _, name = code.rpartition(".")
    home = importlib.import_module(module)
    found = getattr(home, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        file, line = inspect.getsourcefile(found) or "", inspect.getsourcelines(found)[1]
    else:  # a table
        file = inspect.getsourcefile(home) or ""
        starts = [text.partition(":")[0].partition(" =")[0] for text in open_lines(file)]
        line = starts.index(name) + 1
    root = Path(__file__).resolve().parents[2]
    return f"{Path(file).resolve().relative_to(root).as_posix()}:{line} {name}"


def open_lines(file: str) -> list[str]:
    """The lines of a source file."""
    return Path(file).read_text(encoding="utf-8").splitlines()
