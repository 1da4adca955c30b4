"""The tape as a table and as a picture."""

import re
import xml.etree.ElementTree as ET

import pytest

import minigrad as mg
from minigrad.errors import GraphError
from minigrad.show import dot, show, svg, table


def loss():
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    w = mg.tensor([[3.0], [4.0]], requires_grad=True)
    return (x @ w).tanh().sum()


def test_the_table_lists_every_node_once_with_what_it_keeps(capsys):
    y = loss()
    show(y)
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"\s{2,}", line)[1] for line in lines[2:-1]] == [
        "leaf", "leaf", "matmul", "tanh", "sum"
    ]  # fmt: skip
    assert "5 nodes" in lines[-1]
    matmul = next(line for line in lines if "matmul" in line)
    assert "1x2" in matmul and "2x1" in matmul


def test_an_array_kept_twice_is_counted_once():
    x = mg.ones(100, requires_grad=True)
    y = (x * x).sum()
    assert "400 bytes kept" in table(y)


def test_a_played_tape_says_so():
    y = loss()
    y.backward()
    assert "played" in table(y)


def test_dot_names_every_edge():
    text = dot(loss())
    assert text.startswith("digraph") and text.count("->") == 4


def test_svg_is_well_formed_and_holds_every_node():
    root = ET.fromstring(svg(loss()))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sum("leaf" in t for t in texts) == 2 and any("tanh" in t for t in texts)


def test_show_writes_the_file_it_is_asked_for(tmp_path):
    y = loss()
    show(y, str(tmp_path / "tape.svg"))
    show(y, str(tmp_path / "tape.dot"))
    assert (tmp_path / "tape.svg").read_text().startswith("<svg")
    assert (tmp_path / "tape.dot").read_text().startswith("digraph")


def test_an_untracked_tensor_has_no_tape():
    with pytest.raises(GraphError, match="not tracked"):
        show(mg.ones(1))
