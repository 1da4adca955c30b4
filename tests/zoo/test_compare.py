"""The comparison of nets: published, counted, measured; and the process that measures."""

import math

import numpy as np
import pytest

from zoo import child, compare
from zoo.cli import main
from zoo.compare import Row, count, rank_correlation, ranks, text_table, time_correlation
from zoo.experiments.chart import claims
from zoo.published import PUBLISHED, published

# GMAC and millions of parameters, as the sources of the accuracies state them
STATED = {
    "AlexNet": (0.72, 61.0), "AlexNet, one column": (0.71, 61.1), "NIN": (1.10, 7.6),
    "GoogLeNet": (1.58, 7.0), "GoogLeNet, BN": (1.50, 6.6), "VGG-11": (7.61, 132.9),
    "VGG-13": (11.31, 133.0), "VGG-16": (15.47, 138.4), "VGG-19": (19.63, 143.7),
    "ResNet-18": (1.81, 11.7), "ResNet-34": (3.66, 21.8), "ResNet-50": (4.09, 25.6),
    "ResNet-101": (7.80, 44.5), "ResNet-152": (11.51, 60.2),
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return compare.compare(0)


def with_times(rows, times):
    from dataclasses import replace

    return [replace(r, latency=t, milliseconds=t, direct=t, peak=10**8)
            for r, t in zip(rows, times, strict=True)]  # fmt: skip


def test_counts_are_those_that_were_stated(rows):
    assert [r.net.label for r in rows] == [*STATED]
    for row in rows:
        gmac, millions = STATED[row.net.label]
        assert row.macs / 1e9 == pytest.approx(gmac, abs=0.012)
        assert row.parameters / 1e6 == pytest.approx(millions, abs=0.05)


def test_what_the_lecture_reads_off_the_chart(rows):
    assert all(v.passed for v in claims(rows)), [str(v) for v in claims(rows) if not v.passed]


def test_published_accuracies_are_sane():
    assert len({p.label for p in PUBLISHED}) == len(PUBLISHED)
    for entry in PUBLISHED:
        assert 50 < entry.top1 < 80 and (entry.top5 is None or entry.top1 < entry.top5 < 95)
    assert published("VGG-16").top5 == 90.38
    with pytest.raises(KeyError):
        published("VGG-17")


def test_ranks_share_ties_and_the_correlation_is_spearmans():
    assert ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]
    assert rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    a, b = rng.permutation(9), rng.permutation(9)
    d = ranks(a) - ranks(b)
    assert rank_correlation(a, b) == pytest.approx(1 - 6 * (d**2).sum() / (9 * 80))


def test_the_correlation_needs_all_times(rows):
    timed = with_times(rows, [float(r.macs) for r in rows])
    assert time_correlation(timed) == pytest.approx(1)
    with pytest.raises(ValueError, match="timed"):
        time_correlation([*timed[:-1], rows[-1]])


def test_tables_say_the_same(rows):
    timed = with_times(rows, [float(k + 1) for k in range(len(rows))])
    text, markdown = text_table(timed), compare.markdown_table(timed)
    assert len(text.splitlines()) == len(rows) + 1
    assert len(markdown.splitlines()) == len(rows) + 2
    vgg = next(line for line in markdown.splitlines() if line.startswith("| VGG-16 "))
    assert "| 71.59 | 90.38 | 15.47 | 138.4 |" in vgg
    assert len({line.count("|") for line in markdown.splitlines()}) == 1


def test_a_net_is_timed_alone_and_in_a_batch():
    found = compare.time_net("lenet", "paper", {}, 1)
    assert 0 < found["one"] < 1e4 and 0 < found["each"] < 1e4


def test_the_chart_draws_all_nets(rows, tmp_path):
    from zoo.pictures import save_figure

    figures = []

    def draw(figure, shown):
        compare.draw(figure, shown)
        figures.append(figure)

    timed = with_times(rows, [r.macs / 1e8 for r in rows])
    for name, shown in (("a.png", rows), ("b.png", timed)):
        save_figure(tmp_path / name, lambda figure, shown=shown: draw(figure, shown), (8, 4))
    texts = {t.get_text() for t in figures[0].axes[0].texts}
    assert texts == {r.net.label for r in rows}
    assert len(figures[0].axes) == 1 and "1.000" in figures[1].axes[1].get_title()


def test_the_command_writes_table_and_chart(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "compare", lambda repeats, say=None: [count(PUBLISHED[9])])
    assert main(["compare", "--no-timing", "--out", str(tmp_path / "c")]) == 0
    assert "ResNet-18" in capsys.readouterr().out
    assert (tmp_path / "c" / "compare.md").read_text().startswith("| net |")
    assert (tmp_path / "c" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_child_calls_and_measures_and_says_why_it_failed():
    found = child.call("zoo.compare:rank_correlation", [1, 2, 3], [1, 2, 4])
    assert found.result == pytest.approx(1)
    if found.peak is not None:
        assert 10e6 < found.before <= found.peak < 1e9
    with pytest.raises(child.ChildError, match="ValueError"):
        child.call("zoo.compare:rank_correlation", "abc", [1, 2, 3])


def test_density_is_points_for_each_million():
    row = Row(published("GoogLeNet"), 7_000_000, 1, 1)
    assert math.isclose(row.density, 68.7 / 7)
