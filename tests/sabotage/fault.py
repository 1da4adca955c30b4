"""Design: a fault is one replacement in one file, and the tests that should notice it.

`find` must occur exactly once in the file (`test_catalogue.py` checks), so the catalogue follows
the sources: who rewrites a line finds its fault and plants it in the new line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fault:
    """`find` becomes `put` in `file`; `tests` are arguments of pytest, the likeliest first.

    isa: the only instruction set that runs the line, or "" for all.
    """

    id: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]
    isa: str = ""

    def problem(self, root: Path = ROOT) -> str | None:
        """Why this fault cannot be planted, or None."""
        path = root / self.file
        if not path.exists():
            return f"{self.file} does not exist"
        count = path.read_text().count(self.find)
        if count != 1:
            return f"{self.find!r} occurs {count} times in {self.file}"
        return "nothing is changed" if self.find == self.put else None

    def plant(self, root: Path) -> None:
        """Change the file under root."""
        path = root / self.file
        path.write_text(path.read_text().replace(self.find, self.put))


def faults_in(
    file: str, tests: str, rows: Sequence[tuple[str, str, str]], isa: str = ""
) -> list[Fault]:
    """Faults of one file: (id, find, put); `tests` are separated by spaces."""
    return [Fault(i, file, find, put, tuple(tests.split()), isa) for i, find, put in rows]
