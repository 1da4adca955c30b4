"""Design: the catalogue cannot rot. Each fault's text occurs once; its tests exist."""

import pytest

from tests.sabotage.catalogue import FAULTS, sample
from tests.sabotage.fault import ROOT
from tests.sabotage.workshop import parts_to_build


def test_there_are_enough_faults_and_no_two_alike():
    assert len(FAULTS) >= 64
    assert len({f.id for f in FAULTS}) == len(FAULTS)
    assert len({(f.file, f.find, f.put) for f in FAULTS}) == len(FAULTS)
    assert sample(12) == sample(12) and len(sample(12)) == 12


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.id)
def test_a_fault_can_be_planted(fault):
    assert fault.problem() is None
    assert all((ROOT / test.partition("::")[0]).exists() for test in fault.tests)


def test_the_workshop_builds_what_a_file_is_part_of():
    assert parts_to_build("minigrad/ops/loss.py") == ([], [])
    assert parts_to_build("src/sweep.pyx") == (["_sweep"], [])
    assert parts_to_build("src/kernels/conv.pyx") == (["conv"], [])
    modules, objects = parts_to_build("src/simd/pooling.c")
    assert (modules, objects) == (["dispatch"], ["pooling"])
    assert parts_to_build("src/simd/heap.h") == (["memory"], [])
    modules, objects = parts_to_build("src/simd/block.h")
    assert modules == ["dispatch"] and {"gemm", "conv_forward", "conv_grad_w"} <= set(objects)
