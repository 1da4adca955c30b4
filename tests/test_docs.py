"""The pages about the zoo are true: tables are what the code gives, links and names lead somewhere,
commands are commands, every net has a page, and no measured number was typed."""

import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from docs import generate, runs, words
from docs.tables import grid
from zoo.cli import main, parser
from zoo.experiments import EXPERIMENTS, Experiment, Result, Settings, experiment, run
from zoo.experiments.framework import Table, Verdict
from zoo.lecture import LEDGER, select
from zoo.recipes import get_recipe
from zoo.registry import entry, list_models

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "zoo"
PAGES = sorted(FOLDER.glob("*.md"))
STUDIES = [page for page in PAGES if page.name not in ("index.md", "papers.md", "experiments.md")]
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
ABSOLUTE = re.compile(r"""(^|[\s"'=:(,])(/\w+/|[A-Z]:\\)""")  # a place of a machine
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_study = pytest.mark.parametrize("page", STUDIES, ids=lambda page: page.name)


def read(page):
    return page.read_text(encoding="utf-8")


def typed(text):
    """A page without what the program writes into it."""
    return generate.BLOCK.sub("", text)


def links(text):
    """Texts and targets of links outside of code."""
    return LINK.findall(CODE.sub("", text))


def section(text, title):
    """What stands under a heading of the second level; None if there is no such heading."""
    found = re.search(rf"^## {title}[^\n]*$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found and found[1]


# -- tables ---------------------------------------------------------------------------------------


@each_page
def test_every_table_is_what_the_code_gives(page):
    assert generate.filled(read(page)) == read(page), "stale; run python -m docs.generate"


def test_a_changed_number_is_noticed_and_mended(tmp_path, capsys):
    page, picture = tmp_path / "zoo" / "lenet.md", tmp_path / "images" / "zoo-lenet.svg"
    page.parent.mkdir()
    page.write_text(read(FOLDER / "lenet.md").replace("61,706", "61,760"))
    folder = ["--folder", str(page.parent)]
    assert generate.main([*folder, "--check"]) == 1
    told = capsys.readouterr().err
    assert "lenet.md is stale; run python -m docs.generate" in told and "zoo-lenet.svg" in told
    assert "61,760" in read(page) and not picture.exists()
    assert generate.main(folder) == 0
    assert "| **total** |  |  | 8,878 | 61,470 | 61,706 | 416,520 |  |" in read(page)
    assert generate.main([*folder, "--check"]) == 0
    picture.write_text(read(picture).replace("6×28×28", "6×28×27"))
    assert generate.main([*folder, "--check"]) == 1


@each_page
def test_every_drawing_is_what_the_code_gives(page):
    for name, drawn in generate.drawings(read(page)).items():
        assert read(ROOT / "docs" / "images" / name) == drawn, "stale; run python -m docs.generate"


def test_a_drawing_is_what_the_command_draws(tmp_path):
    page, file = read(FOLDER / "lenet.md"), tmp_path / "lenet.svg"
    assert main(["graph", "lenet", "--out", str(file)]) == 0
    assert {"zoo-lenet.svg": read(file)} == generate.drawings(page)


def test_no_drawing_is_left_that_no_page_shows():
    text = "".join(map(read, PAGES))
    for file in ROOT.glob("docs/images/zoo-*"):
        assert f"../images/{file.name})" in text, file.name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- table: layers lenet -->\n", "needs"),
        ("<!-- end -->\n", "needs"),
        ("<!-- table: layers lenet -->\n<!-- table: slips -->\n<!-- end -->\n", "needs"),
        ("<!-- table: leyers lenet -->\n<!-- end -->\n", "unknown kind of table 'leyers'"),
        ("<!-- table: layers lenot -->\n<!-- end -->\n", "did you mean lenet?"),
        ("<!-- table: layers -->\n<!-- end -->\n", "missing 1 required positional argument"),
        ("<!-- table: errors 13 -->\n<!-- end -->\n", "errors are 1 to 12"),
        ("<!-- table: source zoo.alexnet.NoNet -->\n<!-- end -->\n", "NoNet"),
        ("<!-- table: quote README.md words of nobody -->\n<!-- end -->\n", "0 sentences"),
        ("<!-- table: benchmarks nonet -->\n<!-- end -->\n", "no row about nonet"),
    ],
)
def test_a_block_that_cannot_be_made_is_one_line_and_changes_nothing(tmp_path, capsys, text, words):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert generate.main(["--folder", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert words in message and message.startswith("docs.generate: error: page.md: ")
    assert message.count("\n") == 1 and read(page) == text


def test_every_kind_of_table_is_used():
    used = {block[0].split()[0] for page in PAGES for block in generate.BLOCK.findall(read(page))}
    assert used == set(generate.KINDS)


def test_cells_are_escaped_and_numbers_are_set_to_the_right():
    table = grid(("name", "n"), [("a|b", 1234), ("c", None)])
    assert table == "| name | n |\n| --- | --: |\n| a\\|b | 1,234 |\n| c |  |"


def test_a_run_that_is_kept_is_shown(tmp_path, monkeypatch, capsys):
    table = Table("losses", ("net", "loss"), [("plain-20", 1.23456), ("plain-56", None)])
    result = Result([table], [Verdict("gap", 0.5, ">=", 0.4), Verdict("lead", 0.1, ">=", 0.4)])
    card = Experiment("E1", "degradation", "c", "p", "s", "v", lambda settings: result)
    monkeypatch.setattr(runs, "KEPT", tmp_path)
    assert "<details>" not in words.experiments("E1")
    run(card, Settings(seed=3), str(tmp_path / "degradation-seed3"))
    shown = words.experiments("E1", "E2")
    assert "<summary>E1, seed 3: 1 of 2 criteria (0 s)</summary>" in shown
    assert "| plain-56 |  |" in shown and "1.235 |" in shown
    assert "| gap | 0.5 | >= 0.4 | yes |" in shown and "| lead | 0.1 | >= 0.4 | **no** |" in shown
    assert "(../experiments/degradation-seed3/degradation.json)" in shown
    line = "| E1 | [`degradation`](#e1-degradation) | 3 | 1 of 2 | **no** | 0.0 |"
    assert line in runs.results() and "E2" not in runs.results()
    assert shown.split("\n\n", 1)[1] in runs.figures() and "### E16" in runs.figures()
    assert "<details>" not in words.experiments("E2")
    assert "1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_seeds_of_every_experiment_are_kept_and_passed(name):
    e = experiment(name)
    found = [kept for _, kept in runs.kept(e)]
    assert [kept["settings"]["seed"] for kept in found] == [0, 1]
    for kept in found:
        assert kept["passed"] and kept["verdicts"] and all(v["passed"] for v in kept["verdicts"])
        assert kept["processor_seconds"] <= 300 and not kept["settings"]["full"]
        card = ("id", "claim", "published", "source", "caveat")
        assert [kept[key] for key in card] == [getattr(e, key) for key in card], "an older card"


def test_kept_runs_are_small_and_name_no_place_of_a_machine():
    files = [file for file in runs.KEPT.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 4 << 20
    assert all(file.suffix in (".json", ".jsonl", ".png", ".txt") for file in files)
    texts = [read(file) for file in files if file.suffix != ".png"]
    assert ABSOLUTE.search('"/some/place"') and not any(map(ABSOLUTE.search, texts))


def test_results_of_benchmarks_are_tables_and_name_no_place_of_a_machine():
    files = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    assert files and not [f.name for f in files if ABSOLUTE.search(read(f))]
    assert not [f.name for f in files if "Traceback" in read(f)]


def test_a_training_that_is_kept_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", tmp_path)
    assert "resnet" not in runs.trainings()
    with pytest.raises(ValueError, match="no training"):
        runs.curve("resnet20-mini")
    folder = tmp_path / "resnet20-mini"
    folder.mkdir()
    get_recipe("resnet20-mini").config().save(folder / "config.json")
    (folder / "environment.json").write_text('{"threads": "1"}')
    (folder / "time.txt").write_text("177.5 2.5\n")
    lines = [
        json.dumps({"epoch": n + 1, "test_accuracy": a}) for n, a in enumerate((0.5, 0.9, 0.875))
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    wanted = "| `resnet20-mini` | resnet20 | fashion-mini | 3 | 87.50% | 90.00% (2) | 3.0 | 1 |"
    assert wanted in runs.trainings("resnet") and wanted not in runs.trainings("vgg")
    assert "(../experiments/resnet20-mini/curves.png)" in runs.curve("resnet20-mini")


# -- links and names ------------------------------------------------------------------------------


def anchors(text):
    """Headings as GitHub links to them."""
    heads = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_every_link_leads_somewhere(page):
    found = links(read(page))
    assert found
    for _, target in found:
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists() and file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(read(file)), target


@cache
def names(path):
    """Functions, classes, their methods, and tables of a Python file."""
    found = set()
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target)
                      if isinstance(name, ast.Name)}  # fmt: skip
    return found


def named(text):
    """Names in code that links give, with their files."""
    return [(words[1:-1], target) for words, target in links(text)
            if words.startswith("`") and target.endswith(".py")]  # fmt: skip


@each_page
def test_every_name_is_in_its_file(page):
    for name, target in named(read(page)):
        assert name in names((page.parent / target).resolve()), f"{target} has no {name}"


@each_page
def test_files_in_backticks_exist(page):
    text = CODE.sub("", typed(read(page)))
    for path in re.findall(r"`((?:minigrad|zoo|tests|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_row_of_the_index_of_papers_has_code_and_a_test():
    rows = [line for line in read(FOLDER / "papers.md").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| where |")]
    assert len(rows) > 50
    for row in rows:
        where, what, code, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert where and what
        assert named(code) and not any("tests/" in target for _, target in named(code)), row
        assert named(tests), row
        assert all(name.startswith("test_") and "tests/" in t for name, t in named(tests)), row


@pytest.mark.parametrize("family", ["lenet", "alexnet", "vgg", "nin", "googlenet", "resnet",
                                    "resnet_cifar", "resnet_preact"])  # fmt: skip
def test_every_family_is_in_the_index_of_papers(family):
    assert f"(../../zoo/{family}.py)" in read(FOLDER / "papers.md")


# -- nets and commands ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_net_has_a_page(name):
    assert any(f"`{name}`" in read(page) for page in STUDIES)


def test_every_statement_of_the_lecture_is_on_a_page():
    text = "".join(map(read, PAGES))
    assert not [row for row in LEDGER if f"| {row} |" not in text]


def commands(text):
    """Commands of a page: lines of shell blocks, and those in backticks."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(python -m [^`]+)`", CODE.sub("", text))
    return [line for line in (*lines, *inline) if line]


def check_zoo(words):
    """A command of the zoo that parses, about nets, recipes and rows that there are."""
    args = parser().parse_args(words)
    assert args.command == words[0]
    models = getattr(args, "model", None) or []
    for name in [models] if isinstance(models, str) else models:
        entry(name, getattr(args, "variant", None))
    if getattr(args, "recipe", None):
        get_recipe(args.recipe)
    if args.command == "recipes" and words[1:]:
        get_recipe(words[1])
    if args.command == "experiment" and args.name != "list":
        experiment(args.name)
    if args.command in ("kernels", "feature-maps") and not args.net.startswith("runs/"):
        entry(args.net)
    if args.command == "lecture":
        assert select(args.which)


@each_page
def test_every_command_is_one(page):
    found = commands(typed(read(page)))
    assert found or page.name == "papers.md"
    for line in found:
        python, _, module, *words = shlex.split(line)
        assert python == "python", line
        if module == "zoo":
            check_zoo(words)
        elif module == "docs.generate":
            assert set(words) <= {"--check"}
        else:
            assert (module, words) == ("benchmarks", ["nets"]), line


@pytest.mark.parametrize("line", ["python -m zoo info vgg15", "python -m zoo train --recipe nil"])
def test_a_command_about_nothing_is_noticed(line):
    with pytest.raises(Exception, match="unknown"):
        check_zoo(line.split()[3:])


# -- what a page has ------------------------------------------------------------------------------

PARTS = [
    "What the paper",
    "The code beside it",
    "Picture",
    "Tables",
    "Where the",
    "Our runs",
    "Exercises",
]


@each_study
def test_a_study_has_its_parts_in_order(page):
    heads = re.findall(r"^## (.*)$", read(page), re.MULTILINE)
    order = [next(k for k, head in enumerate(heads) if head.startswith(part)) for part in PARTS]
    assert order == sorted(order)


@each_study
def test_four_to_six_exercises_each_with_what_answers_it(page):
    found = re.split(r"^\d\. ", section(read(page), "Exercises"), flags=re.MULTILINE)[1:]
    assert 4 <= len(found) <= 6
    for exercise in found:
        question, arrow, answer = exercise.partition("→")
        assert question.strip() and arrow
        assert commands(answer) or named(answer), exercise


@each_study
def test_measured_numbers_are_quoted_and_not_typed(page):
    text = CODE.sub("", typed(section(read(page), "Our runs")))
    text = LINK.sub("", text)
    assert not re.findall(r"\d[\d.,]*\s*(?:%|ms\b|s\b|seconds|minutes)", text)
    assert not re.findall(r"\d+\.\d+", text)
