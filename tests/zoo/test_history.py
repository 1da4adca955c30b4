"""The history of the ILSVRC: the table, the chart, and the command."""

import subprocess
import sys

import pytest

from minigrad.errors import ArgError
from zoo import cli, history
from zoo.history import HUMAN, ILSVRC, second, table, winner

# the table of the case studies, without numbers that nobody read again
CHECKED = {
    2010: ("NEC-UIUC", None, 28.2), 2012: ("SuperVision", 8, 16.4), 2013: ("Clarifai", 8, 11.7),
    2014: ("GoogLeNet", 22, 6.67), 2015: ("MSRA", 152, 3.57),
}  # fmt: skip


def test_winners():
    found = {e.year: (e.team, e.layers, e.error) for e in ILSVRC if e.checked and e.place == 1}
    assert found == CHECKED
    assert [e.year for e in ILSVRC if not e.checked] == [2011, 2016, 2017]
    assert HUMAN == 5.1


def test_the_podium_of_2014():
    found = [(e.place, e.error) for e in ILSVRC if e.year == 2014]
    assert found == [(1, 6.67), (2, 7.32), (3, 7.35)]
    assert second(2014).layers == 19 and second(2012) is None


def test_years_are_in_order_and_errors_of_winners_fall():
    years = [e.year for e in ILSVRC]
    assert years == sorted(years) and set(years) == set(range(2010, 2018))
    errors = [winner(year).error for year in sorted(CHECKED)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < HUMAN < errors[-2]


def test_depth_of_winners_is_that_of_the_zoo():
    from minigrad import nn
    from zoo import get_model

    with nn.meta():
        net = get_model("alexnet")
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert winner(2012).layers == len(weighted)


def test_an_unknown_year():
    with pytest.raises(ArgError, match="no winner of 2009; the ILSVRC ran from 2010 to 2017"):
        winner(2009)


def test_localization_and_detection():
    assert min(history.LOCALIZATION.values()) == history.LOCALIZATION["ResNet 2015"] == 9.0
    assert history.DETECTION["ResNet 2015"] == 62.1


def test_the_table_marks_what_was_not_checked():
    lines = table().splitlines()
    assert lines[0].split() == ["year", "team", "net", "layers", "error", "%", "note"]
    marked = [line.split()[0] for line in lines[1:-3] if "?" in line]
    assert marked == ["2011", "2016", "2017"]
    assert "152" in lines[8] and "3.57" in lines[8] and "5.1" in lines[11]


def test_the_command_prints_the_table(capsys):
    assert cli.main(["history"]) == 0
    assert capsys.readouterr().out == table() + "\n"


def test_the_command_refuses_other_pictures(tmp_path, capsys):
    assert cli.main(["history", "--plot", str(tmp_path / "a.jpg")]) == 2
    assert "must be called NAME.png or NAME.svg" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_chart(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure()
    history.draw(figure)
    depth, error = figure.axes
    assert [bar.get_height() for bar in error.patches] == [e.error for e in ILSVRC if e.place < 3]
    assert [bar.get_height() for bar in depth.patches][2:7] == [8, 8, 22, 19, 152]
    assert HUMAN in {line.get_ydata()[0] for line in error.lines}
    path = tmp_path / "history.svg"
    assert cli.main(["history", "--plot", str(path)]) == 0
    assert path.read_text().lstrip().startswith("<?xml")
    assert f"written: {path}" in capsys.readouterr().out


WITHOUT = """
import sys
sys.modules["matplotlib"] = None
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "matplotlib" else real(name, *a)
from zoo import cli
sys.exit(cli.main(["history", "--plot", sys.argv[1]]))
"""


def test_without_matplotlib_the_chart_says_what_to_install(tmp_path):
    path = tmp_path / "a.png"
    command = [sys.executable, "-c", WITHOUT, str(path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and not path.exists()
    assert run.stderr.count("\n") == 1 and 'pip install -e ".[plot]"' in run.stderr
