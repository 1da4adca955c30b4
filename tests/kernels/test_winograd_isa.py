"""Design: Winograd's algorithm under every instruction set this CPU has, each in its own process.

The children run with MINIGRAD_POISON=1, so that memory nobody wrote shows as NaN, and with operands
that touch forbidden pages, so that a read outside them ends the process.
"""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minigrad._kernels import dispatch
from tests.kernels.probe import THREADS, digest
from tests.kernels.winograd_probe import (
    CASES,
    PASSES,
    check_gate,
    exact,
    how,
    operands,
    results,
    rms,
    units,
)


@functools.cache
def probe(isa, folder):
    """(report, saved arrays) of `winograd_probe` under an instruction set; None if it is absent."""
    path = folder / f"{isa}.npz"
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.winograd_probe", str(path)],
        env={**os.environ, "MINIGRAD_ISA": isa, "MINIGRAD_POISON": "1"},
        capture_output=True,
        text=True,
    )
    if "this CPU does not have" in run.stderr:
        return None
    assert run.returncode == 0, f"ended with {run.returncode}: {run.stderr}"
    with np.load(path) as saved:
        return json.loads(run.stdout), {name: saved[name] for name in saved.files}


@functools.cache
def judged(name):
    """Operands, results in float64 (y, gx, gw, and y with bias and ReLU) and units of a case."""
    x_shape, w_shape, _, _ = CASES[name]
    x, w, b, gy = operands(x_shape, w_shape, how(name), len(name), relu=len(name) % 2 == 1)
    y, gx, gw = exact(x, w, gy, how(name))
    fused = np.maximum(y + b.astype(np.float64).reshape(1, -1, 1, 1), 0)
    return (y, gx, gw, fused), units(x, w, gy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("winograd")


@pytest.fixture(params=dispatch.isas())
def child(request, folder):
    found = probe(request.param, folder)
    if found is None:
        pytest.skip(f"this CPU has no {request.param}")
    assert found[0]["isa"] == request.param
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_pass_keeps_the_accuracy_gate_relative_to_the_rms_of_its_output(child, name):
    want, _ = judged(name)
    for i, what in enumerate(PASSES):
        check_gate(child[1][f"{name}/{i}"], want[i], rms(want[i]), what)
    unit = max(rms(want[0]), rms(want[3]))  # a bias may leave little of the rest to a ReLU
    check_gate(child[1][f"{name}/3"], want[3], unit, "bias and relu")


def test_bits_do_not_depend_on_threads_repetition_or_the_place_of_operands(child):
    differ = {name for name, digests in child[0]["digests"].items() if len(set(digests)) > 1}
    assert not differ
    assert all(len(digests) == 2 * len(THREADS) for digests in child[0]["digests"].values())


def test_memory_that_nobody_wrote_is_not_used(folder):
    found = probe(dispatch.isa(), folder)
    for name in CASES:  # here nothing is poisoned
        assert digest(results(name)) == found[0]["digests"][name][0], name


@pytest.mark.parametrize("name", CASES)
def test_the_unit_of_the_properties_is_the_rms_of_a_large_output(name):
    want, scale = judged(name)
    for out, unit in zip(want[:3], scale, strict=True):
        assert 0.3 < rms(out) / unit < 2  # 1/3: of nine taps one is inside a single pixel
