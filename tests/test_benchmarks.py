"""Benchmarks are run once, tiny: they print their tables; what they measure is nobody's test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["ops", "conv", "memory", "nets"])
def test_a_benchmark_prints_its_table_under_the_machine_line(name):
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "GFLOP/s" in run.stdout.splitlines()[0]
    assert len(re.findall(r"\d+\.\d+", run.stdout)) > 3


def test_an_unknown_benchmark_is_refused_with_the_list():
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2 and "there are ops, conv" in run.stderr
