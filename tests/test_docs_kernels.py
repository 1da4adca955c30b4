"""docs/kernels.md is about this source: what it quotes is there, and its examples run."""

import doctest
import re
from pathlib import Path

import pytest

from benchmarks import ladder

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "kernels.md"
TEXT = PAGE.read_text()
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.S)  # without fenced blocks
QUOTED = re.findall(r"`([^`\n]+)`", PROSE)
FOLDERS = ("minigrad", "src", "zoo", "tests", "docs", "benchmarks")
SOURCES = {
    path: path.read_text()
    for folder in ("src", "minigrad", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".c", ".h", ".pyx", ".py")
}


def excerpts():
    """(path of the source named last before it, the excerpt) of every block of C or Cython."""
    for found in re.finditer(r"```(?:c|cython)\n(.*?)```", TEXT, re.S):
        before = re.findall(r"`(src/[\w/]+\.(?:c|h|pyx))`", TEXT[: found.start()])
        yield pytest.param(before[-1], found.group(1), id=f"{before[-1]}:{found.start()}")


def words(text):
    """The text with one space between words, whatever its lines."""
    return " ".join(text.split())


@pytest.mark.parametrize(("name", "excerpt"), list(excerpts()))
def test_an_excerpt_is_in_the_source_that_the_page_names(name, excerpt):
    assert 0 < len(excerpt.strip().splitlines()) <= 10
    rest = words((ROOT / name).read_text())
    for piece in re.split(r"^\s*\.\.\.$", excerpt, flags=re.M):  # "..." stands for what is left out
        assert words(piece) in rest
        rest = rest.partition(words(piece))[2]


def test_the_page_has_excerpts_of_the_tile_the_bands_the_phases_the_tasks_and_the_maps():
    of = {param.values[0] for param in excerpts()}
    wanted = {"block.h", "gemm.h", "band.h", "conv_grad_w.c", "winograd_maps.h"}
    assert {f"src/simd/{name}" for name in wanted} <= of
    assert {"src/kernels/conv_plan.pyx", "src/kernels/tasks.pyx"} <= of


def test_every_file_that_the_page_names_exists():
    paths = [q for q in QUOTED if q.startswith(tuple(f"{folder}/" for folder in FOLDERS))]
    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]
    links = re.findall(r"\]\(([\w/.-]+)\)", PROSE)
    assert links and all((PAGE.parent / link).exists() for link in links)


def test_every_name_that_the_page_quotes_is_in_the_sources():
    names = {q for q in QUOTED if re.fullmatch(r"[A-Za-z_]\w*", q)}
    assert len(names) > 15
    everything = set(re.findall(r"\w+", "\n".join(SOURCES.values())))
    assert not names - everything


def test_every_constant_that_the_page_states_has_that_value():
    stated = re.findall(r"`([A-Z_]+)`\s=\s(\d+)", PROSE)
    assert len(stated) >= 4
    kernels = "\n".join(t for p, t in SOURCES.items() if p.parent.name == "kernels")
    wrong = [pair for pair in stated if not re.search(r"\b{} = {}\b".format(*pair), kernels)]
    assert not wrong


def test_the_ladder_of_the_page_is_that_of_the_benchmark():
    head = ladder.table(ladder.LAYER, [], {}).splitlines()[0]
    assert head in TEXT
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    rows = [line for line in lines if line.count("|") == head.count("|")][2:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names[:3] == ["seven loops in Python", "nine taps in NumPy", "im2row, NumPy's product"]
    assert names[3].startswith("im2row, our product, ") and names[4].startswith("direct, ")
    assert sum(name.startswith("winograd, ") for name in names) == 2
    gflop = [float(row.split("|")[4]) for row in rows]
    times = [float(row.split("|")[2]) for row in rows]
    for rate, took in zip(gflop, times, strict=True):
        assert rate * took == pytest.approx(1e3 * 1.85, rel=0.01)


@pytest.fixture(scope="module")
def played():
    """(results, names) after all examples of the page have run."""
    page = doctest.DocTestParser().get_doctest(TEXT, {}, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    return runner.run(page, clear_globs=False), page.globs


def test_the_examples_of_the_page_run(played):
    results, _ = played
    assert results.attempted > 30 and results.failed == 0


def test_the_errors_that_the_page_states_are_those_that_its_snippet_measures(played):
    errors = played[1]["errors"]
    row = re.compile(
        r"^\| (\d+) \| `?(\w+)`? \| " + r"([\de.-]+) \| " * 3 + r"([\de.-]+) \|$", re.M
    )
    rows = row.findall(TEXT)
    assert [(c, name) for c, name, *_ in rows] == [
        (c, name) for c in ("64", "256") for name in ("forward", "grad_x", "grad_w")
    ]
    measured = {}
    for channels, size in ((64, 24), (256, 12)):
        for algorithm in ("direct", "winograd"):
            measured[str(channels), algorithm] = errors(channels, size, algorithm)
    for channels, name, direct_rms, winograd_rms, direct_max, winograd_max in rows:
        for algorithm, rms, greatest in (
            ("direct", direct_rms, direct_max), ("winograd", winograd_rms, winograd_max),
        ):  # fmt: skip
            got = measured[channels, algorithm][name]
            assert float(rms) / 1.5 < got[0] < float(rms) * 1.5, (channels, name, algorithm)
            assert float(greatest) / 3 < got[1] < float(greatest) * 3, (channels, name, algorithm)
