"""The README's commands are commands that exist, and benchmarks run."""

import re
from pathlib import Path

import pytest

from zoo.cli import parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SHELL = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.strip()
]


def test_the_two_commands_are_there_as_written():
    assert "pip install -e . && python -m zoo train" in SHELL
    assert 'pip install -e ".[test]" && python -m pytest' in SHELL


@pytest.mark.parametrize("line", [s for s in SHELL if "python -m zoo" in s])
def test_every_zoo_command_of_the_readme_parses(line):
    arguments = line.split("python -m zoo ")[1].split()
    assert parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_page_names_exists(name):
    text = (ROOT / name).read_text()
    for path in re.findall(r"`((?:minigrad|src|zoo|tests|docs|benchmarks)/[\w./*{},<>-]*)`", text):
        plain = path.replace("*", "").rstrip("/")
        if not any(c in path for c in "*{<"):
            assert (ROOT / plain).exists(), f"{name} names {path}"


def test_the_changelog_names_the_version():
    from minigrad import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
