"""Design: an op's page is text, and what a machine can check of it is checked: the sections and
their order, that every Backward says why, that Keeps names what the rules ask the tape to keep, and
that the formula sheet prints all of it. (That the examples run is the doctests' business.)"""

import inspect
import re
import subprocess
import sys

import pytest

from minigrad import ops
from minigrad.op import registry
from minigrad.ops.__main__ import LABELS, main, page, reading_order, sections

OPS = [n for n in registry if registry[n].__module__.startswith("minigrad.ops")]


def rules(op):
    """The signatures of an op's gradient rules, without the incoming gradient."""
    functions = [f for n, f in vars(op).items() if n == "grads" or n.startswith("grad_")]
    return [list(inspect.signature(f.__func__).parameters)[1:] for f in functions]


@pytest.mark.parametrize("name", OPS)
def test_a_page_has_its_sections_in_order(name):
    found = [label for label in sections(registry[name].__doc__) if label]
    assert found == [label for label in LABELS if label in found]
    assert set(LABELS) - {"Reference"} <= set(found)
    assert sections(registry[name].__doc__)[""], "the equation"


@pytest.mark.parametrize("name", OPS)
def test_backward_says_why(name):
    backward = " ".join(sections(registry[name].__doc__)["Backward"])
    assert "because" in backward or "for the same reason" in backward


@pytest.mark.parametrize("name", OPS)
def test_keeps_names_what_the_rules_name(name):
    op = registry[name]
    doc = sections(op.__doc__)
    keeps = " ".join(doc["Keeps"])
    words = re.findall(r"[A-Za-z_0-9]+", keeps)
    asked = {a for rule in rules(op) for a in rule}
    for a in asked & set(op.spec.inputs):
        assert {a, a.rstrip("s"), "inputs"} & set(words), f"{a} is kept, Keeps says: {keeps}"
    for a in asked & set(op.spec.byproducts):
        assert a in words, f"{a} is kept, Keeps says: {keeps}"
    if "out" in asked:
        symbol = re.match(r"(\w+)", doc[""][0]).group(1)
        assert {symbol, "output", "out"} & set(words), f"the output is kept, Keeps says: {keeps}"
    if not asked & {*op.spec.inputs, *op.spec.byproducts, "out"}:
        assert not set(words) & set(op.spec.inputs) or "shape" in words or "dtype" in words
        assert {"nothing", "shape", "shapes", "dtype"} & set(words), f"Keeps says: {keeps}"


def test_all_that_is_public_is_in_the_reading_order():
    assert set(OPS) <= set(reading_order())
    assert [n for n in OPS if n not in ops.__all__] == []
    assert all(getattr(ops, n) is registry[n].apply for n in OPS)


def test_the_sheet_prints_every_op(capsys):
    assert main([]) == 0
    sheet = capsys.readouterr().out
    assert all(f"\n{page(n)}\n" in f"\n{sheet}" for n in OPS)
    assert max(map(len, sheet.splitlines())) <= 130


def test_one_page_and_a_wrong_name(capsys):
    assert main(["mul"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mul: z = x * y, elementwise.",
        "    Forward   z_i = x_i y_i",
        "    Backward  dL/dx_i = dL/dz_i y_i      because dz_i/dx_i = y_i",
        "              dL/dy_i = dL/dz_i x_i      because dz_i/dy_i = x_i",
        "    Keeps     y (for x), x (for y)",
    ]
    with pytest.raises(SystemExit) as stop:
        main(["sigmod"])
    assert stop.value.code == 2
    assert "no op is called 'sigmod'; did you mean sigmoid" in capsys.readouterr().err


def test_the_command_runs_and_survives_a_closed_pipe():
    command = [sys.executable, "-m", "minigrad.ops"]
    done = subprocess.run([*command, "relu"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("relu: z = max(x, 0)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(30) == 0
