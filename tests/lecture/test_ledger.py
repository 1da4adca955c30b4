"""The ledger itself: complete, every row with a test and every test with a row; its command."""

import ast
import re
from pathlib import Path

import pytest

from minigrad.errors import ArgError
from zoo import cli
from zoo.lecture import LEDGER, NOTE, SECTIONS, VERDICTS, place_of, select, text_of

ROOT = Path(__file__).resolve().parents[2]
# verdicts of the case studies, row by row: right, ~ with a caveat, x wrong, - none
VERDICT_OF = {"y": "right", "~": "with a caveat", "x": "wrong", "-": "note"}
CASE_STUDIES = {
    "I": "~y~~y-yy~~",
    "A": "yxyx~y~yyyyyyyyyyyyxyy~yy~y",
    "V": "y~yyyy~yyyx-xyyxyyyyyyyyyy",
    "N": "yxyyyyyyyyyxyyy",
    "R": "yyyyyy~y~~yyyyyxy~yyyyyyy",
    "C": "y",
}


def rows_of_functions():
    """The row that each test function of this folder names: test_A8_... is of A8."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.FunctionDef) and re.match(r"test_([A-Z]\d+)_", node.name)
            if named:
                yield named[1], node


def test_every_row_has_a_test_and_every_test_a_row():
    assert {row for row, _ in rows_of_functions()} == set(LEDGER)


def test_every_test_of_a_row_judges_that_row():
    judging = set()
    for row, node in rows_of_functions():
        calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
        named = [c for c in calls if isinstance(c.func, ast.Name)]
        judged = {c.args[0].value for c in named if c.func.id in ("judged", "documented")}
        assert judged <= {row}, node.name
        judging |= judged
    assert judging == set(LEDGER)


def test_no_test_is_defined_twice():
    names = [node.name for _, node in rows_of_functions()]
    assert len(names) == len(set(names))


def test_rows_and_verdicts_are_those_of_the_case_studies():
    wanted = {
        f"{letter}{k}": VERDICT_OF[mark]
        for letter, marks in CASE_STUDIES.items()
        for k, mark in enumerate(marks, 1)
    }
    assert {row.id: row.verdict for row in LEDGER.values()} == wanted
    assert len(LEDGER) == sum(len(rows) for _, rows in SECTIONS.values()) == 104


@pytest.mark.parametrize("row", LEDGER.values(), ids=LEDGER)
def test_a_row_says_what_is_right_and_where_the_code_is(row):
    assert row.verdict in VERDICTS and re.fullmatch(r"[\d, -]+", row.line) and row.statement
    if row.verdict != VERDICTS[0] or row.compute is None:
        assert row.correction  # what is not simply right, or not computed, is explained
    if row.compute is not None:
        assert row.compute.__name__ == row.id.lower()
        assert row.code or row.id in ("R24",)
    if row.code and " " not in row.code:
        file, line = re.fullmatch(r"([\w/.]+):(\d+) \w+", place_of(row.code)).groups()
        name = row.code.rpartition(".")[2]
        assert name in (ROOT / file).read_text().splitlines()[int(line) - 1]


@pytest.mark.parametrize("code", sorted({r.code for r in LEDGER.values() if " " in r.code}))
def test_a_command_that_a_row_names_can_be_given(code):
    python, dash_m, program, *arguments = code.split()
    assert [python, dash_m, program] == ["python", "-m", "zoo"]
    assert cli.parser().parse_args(arguments).command == arguments[0]


def test_rows_that_gate_nothing_are_these():
    assert [row.id for row in LEDGER.values() if not row.checked] == ["I6", "R23", "R24"]


def test_rows_are_found_by_number_and_section():
    assert [row.id for row in select("a8")] == ["A8"]
    assert len(select("A")) == len(select("AlexNet")) == 27
    assert len(select()) == 104
    with pytest.raises(ArgError, match=r"no row or section 'A28'; did you mean A27\? rows: I1"):
        select("A28")


def test_numbers_as_text():
    assert text_of((96, 55, 55)) == "96x55x55"
    assert text_of([1_000_000, 2.5, "x"]) == "1,000,000 | 2.5 | x"
    assert (text_of(True), text_of(0.123456)) == ("True", "0.1235")


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_a_row(capsys):
    assert cli.main(["lecture", "A4"]) == 0
    text = capsys.readouterr().out
    for part in ("A4", "line 42, wrong", "65 million", "58,631,144", "zoo/alexnet.py:"):
        assert part in text


def test_the_command_prints_everything_and_counts(capsys):
    assert cli.main(["lecture"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^([IAVNRC]\d+) ", text, re.M) == list(LEDGER)
    assert "104 statements: 78 right, 15 with a caveat, 9 wrong, 2 notes" in text
    assert max(map(len, text.splitlines())) <= 100
    for row in LEDGER.values():
        if row.verdict == NOTE:
            assert row.correction.split()[0] in text


def test_the_command_prints_errors(capsys):
    assert cli.main(["lecture", "--errors"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^ ?(\d+)\.  ", text, re.M) == [str(k) for k in range(1, 13)]
    assert "271,351,808" in text and "Clarifai" in text
    assert cli.main(["lecture", "vgg", "--errors"]) == 0
    assert re.findall(r"^ ?(\d+)\.  ", capsys.readouterr().out, re.M) == ["2", "12"]
    assert cli.main(["lecture", "A1", "--errors"]) == 0
    assert capsys.readouterr().out == "none of the 12 errors is about A1\n"


@pytest.mark.parametrize(("which", "meant"), [("R26", "R25?"), ("resnets", "resnet"), ("Q", None)])
def test_an_unknown_row_is_answered_with_what_may_be_meant(which, meant, capsys):
    assert cli.main(["lecture", which]) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"zoo lecture: error: the ledger has no row or section {which!r}; ")
    assert (f"did you mean {meant}" in text) if meant else ("did you mean" not in text)
    assert text.count("\n") == 1
