"""Design: what kernels must refuse, seen from outside: no crash, the right class, a useful text."""

import json
import resource
import subprocess
import sys

import pytest

GOOD = {"ShapeError", "DTypeError", "ArgError", "MemoryError", "TypeError", "ValueError"}


@pytest.fixture(scope="module")
def found():
    """name of the call -> [classes, message]; classes are empty if nothing was raised."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.bad_inputs"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0, f"died of {run.returncode} in: {lines[-1]}\n{run.stderr[-2000:]}"
    result = {name: error or [[], ""] for name, error in json.loads(lines[-1]).items()}
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert max(before, after) < 2**20, "a refused call took a gibibyte"
    assert len(result) >= 150
    return result


def test_every_bad_call_is_refused(found):
    assert [name for name, error in found.items() if not error[0]] == []


def test_every_refusal_has_a_fitting_class(found):
    odd = {name: error for name, error in found.items() if error[0] and not GOOD & {*error[0]}}
    assert not odd


def test_refusals_of_shapes_and_dtypes_are_the_projects_own(found):
    for name, (classes, message) in found.items():
        if "dtype" in name or "whole numbers" in name or "half" in name:
            assert "DTypeError" in classes, (name, classes, message)
        if ("rank" in name or "another" in name) and "_shape" not in name:
            assert {"ShapeError", "DTypeError"} & {*classes}, (name, classes, message)


def test_sizes_that_overflow_are_refused_before_memory_is_asked_for(found):
    for name in ("conv2d a size that overflows", "matmul overflow"):
        assert "MinigradError" in found[name][0] or "MemoryError" in found[name][0], found[name]


def test_messages_name_the_kernel_and_give_numbers(found):
    for name, (classes, message) in found.items():
        if "MinigradError" in classes and "not a possible shape" not in message:
            assert name.split()[0] in message, (name, message)
            assert "Mismatch" not in message and ".c:" not in message
            assert len(message.splitlines()[0]) <= 300, (name, message)
