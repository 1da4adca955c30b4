"""The lecture ("CNN case studies", chapter 4.4) as a ledger: every statement, a verdict, and our
number, computed.

    row      a row, and numbers as text          imagenet    I1 to I10
    counts   counting in nets, quoted errors     alexnet     A1 to A27
    errors   the twelve errors of the lecture    vgg         V1 to V26
                                                 inception   N1 to N15
                                                 resnet      R1 to R25, C1

Design: a section is a file with a tuple of rows; here they come together and are found by number or
by name.  Every row has a test of its number in ``tests/lecture``, and every test a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from minigrad.errors import ArgError

from . import alexnet, imagenet, inception, resnet, vgg
from .errors import ERRORS, SLIPS, Error
from .row import CAVEAT, NOTE, RIGHT, VERDICTS, WRONG, Row, place_of, text_of

__all__ = ["CAVEAT", "ERRORS", "LEDGER", "NOTE", "RIGHT", "SECTIONS", "SLIPS", "VERDICTS", "WRONG",
           "Error", "Row", "errors_about", "place_of", "select", "span",
           "text_of"]  # fmt: skip

SECTIONS: dict[str, tuple[str, tuple[Row, ...]]] = {
    "imagenet": ("ImageNet and its challenge", imagenet.ROWS),
    "alexnet": ("AlexNet", alexnet.ROWS),
    "vgg": ("VGG", vgg.ROWS),
    "googlenet": ("Network in network and GoogLeNet", inception.ROWS),
    "resnet": ("ResNet", resnet.ROWS[:-1]),
    "comparison": ("The comparison", resnet.ROWS[-1:]),
}
LETTERS = dict(zip("IAVNRC", SECTIONS, strict=True))
LEDGER: dict[str, Row] = {row.id: row for _, rows in SECTIONS.values() for row in rows}


def span(rows: Sequence[Row]) -> str:
    """The numbers of rows that follow each other: "A1 to A27"."""
    return rows[0].id if len(rows) == 1 else f"{rows[0].id} to {rows[-1].id}"


def select(what: str | None = None) -> list[Row]:
    """The rows of a number ("A8"), of a section ("alexnet" or "A"), or all.

    Raises ArgError that says what may be meant.
    """
    if what is None:
        return [*LEDGER.values()]
    if what.upper() in LEDGER:
        return [LEDGER[what.upper()]]
    name = LETTERS.get(what.upper(), what.lower())
    if name in SECTIONS:
        return [*SECTIONS[name][1]]
    near = difflib.get_close_matches(what.lower(), SECTIONS, n=1)
    if what[:1].upper() in LETTERS and what[1:].isdigit():  # a row that is not there: the last
        near = [SECTIONS[LETTERS[what[0].upper()]][1][-1].id]
    hint = f"did you mean {near[0]}? " if near else ""
    ends = ", ".join(span(rows) for _, rows in SECTIONS.values())
    raise ArgError(
        f"the ledger has no row or section {what!r}; {hint}rows: {ends}; sections: "
        f"{', '.join(SECTIONS)}"
    )


def errors_about(rows: list[Row]) -> list[Error]:
    """Those of the twelve errors that are about one of these rows."""
    ids = {row.id for row in rows}
    return [error for error in ERRORS if ids.intersection(error.rows)]
