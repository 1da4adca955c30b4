"""Design: what every op of the registry owes in numbers, asked of every case of `cases.py`.

A test function asks one thing of one case: the same result on arrays and on Tensors; first and
second derivatives against differences; float32 that stays float32; NaN that is not swallowed.
`test_every_layout.py` asks about memory, `test_reference_tape.py` all of it again of the tape in
Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.gradcheck import gradcheck, gradgradcheck
from minigrad.op import registry
from tests.registry.asking import all_of, bits, play, some
from tests.registry.cases import CASES, LAST_BITS, NEEDS_ELEMENTS, NOT_DRAWN
from tests.registry.draws import EMPTY, JUMPS, LINEAR, PIECEWISE, SMOOTH, direction, tensors

STEPS = {LINEAR: (1.0, 1e-11), PIECEWISE: (2.0**-8, 1e-12), SMOOTH: (2.0**-14, 1e-7)}

# -- the tables are closed -------------------------------------------------------------------------


def test_every_op_has_cases_and_every_case_an_op():
    ops = {c.op for c in CASES}
    assert ops == set(registry), ops ^ set(registry)
    solid = {c.op for c in CASES if c.kind != EMPTY}
    assert solid == set(registry), f"only empty cases: {set(registry) - solid}"


def test_every_op_has_an_empty_case_or_a_reason():
    assert {c.op for c in CASES if c.kind == EMPTY} == set(registry) - set(NEEDS_ELEMENTS)
    assert set(LAST_BITS) <= set(registry)


def test_names_of_cases_differ_and_their_values_are_no_kinks():
    names = [str(c) for c in CASES]
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}
    for case in CASES:
        if case.kind == JUMPS:  # some are at a tie on purpose
            continue
        floats = [case.arrays()[i].ravel() for i in case.floats]
        values = np.abs(np.concatenate([*floats, [0.0]]))
        assert np.unique(values).size == values.size, case


def test_constants_of_every_op_take_more_than_their_default():
    for name, op in registry.items():
        given = {k for c in CASES if c.op == name for k in c.constants}
        wanted = set(op.spec.params) - set(NOT_DRAWN.get(name, ()))
        assert given == wanted, f"{name}: {given ^ wanted}"


def test_every_input_of_every_op_is_given_and_every_optional_one_is_left_out():
    for name, op in registry.items():
        counts = {len(c.inputs) for c in CASES if c.op == name}
        spec = op.spec
        if spec.variadic:
            assert len(counts) > 1 or name == "stack", name
            continue
        assert max(counts) == len(spec.inputs) and min(counts) == spec.required, (name, counts)


# -- values ----------------------------------------------------------------------------------------


@all_of
def test_arrays_and_tensors_give_the_same(case):
    arrays = case.arrays()
    plain = case(*arrays)
    assert isinstance(plain, np.ndarray | np.generic)
    with mg.no_grad():
        quiet = case(*tensors(case, arrays))
    taped = case(*tensors(case, arrays))
    assert not quiet.requires_grad
    assert taped.requires_grad == bool(case.wanted)
    assert bits(np.asarray(plain)) == bits(quiet.data) == bits(taped.data)
    assert np.isfinite(plain).all() or case.kind == EMPTY


@some((LINEAR, PIECEWISE, SMOOTH))
def test_first_derivatives(case):
    eps, tol = STEPS[case.kind]
    xs = tensors(case, case.arrays())
    leaves = [xs[i] for i in case.wanted]
    assert gradcheck(lambda *_: case(*xs), leaves, eps=eps, tol=tol, limit=12, directions=1)
    _, *gradients = play(case, case.arrays())
    for i, g in zip(case.wanted, gradients, strict=True):
        nothing = g is None or not g.any()
        assert nothing == (case.input_name(i) in case.zero), f"{case.input_name(i)} proves nothing"


@some((LINEAR, PIECEWISE, SMOOTH))
def test_second_derivatives(case):
    eps, tol = STEPS[case.kind]
    xs = tensors(case, case.arrays())

    def call(*leaves: Any) -> Any:
        inputs = list(xs)
        for i, x in zip(case.wanted, leaves, strict=True):
            inputs[i] = x
        return case(*inputs)

    leaves = [xs[i] for i in case.wanted]
    assert gradgradcheck(call, leaves, eps=eps, tol=10 * tol, limit=6, directions=1)


@some((JUMPS,))
def test_derivatives_that_are_zero_by_definition(case):
    xs = tensors(case, case.arrays())
    y = case(*xs)
    leaves = [xs[i] for i in case.wanted]
    found = mg.grad(y, leaves, mg.Tensor(direction(y.shape, y.dtype)), create_graph=True)
    for i, g in zip(case.wanted, found, strict=True):
        assert g.shape == xs[i].shape and g.dtype == xs[i].dtype
        assert g.data.any() == (case.input_name(i) not in case.zero)


@some((LINEAR, PIECEWISE, SMOOTH))
def test_first_derivatives_are_the_same_when_recorded(case):
    arrays = case.arrays()
    want = play(case, arrays)
    xs = tensors(case, arrays)
    y = case(*xs)
    leaves = [xs[i] for i in case.wanted]
    g = mg.Tensor(direction(y.shape, y.dtype))
    found = mg.grad(y, leaves, g, create_graph=True, allow_unused=True)
    for a, b in zip(found, want[1:], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.data.shape == b.shape and a.data.dtype == b.dtype
            scale = np.abs(b).max(initial=1e-300)
            assert np.allclose(a.data, b, 0, 1e-13 * scale), np.abs(a.data - b).max()


@pytest.mark.parametrize("case", [c for c in CASES if c.fixed and c.kind != EMPTY], ids=str)
def test_constants_get_no_gradient_recorded_or_not(case):
    xs = tensors(case, case.arrays(), case.floats)
    for create_graph in (False, True):
        y = case(*xs)
        leaves = [xs[i] for i in case.floats]
        g = mg.Tensor(direction(y.shape, y.dtype))
        found = mg.grad(y, leaves, g, None, create_graph, allow_unused=True)
        for i, got in zip(case.floats, found, strict=True):
            assert (got is None) == (case.input_name(i) in case.fixed), (create_graph, i)


@all_of
def test_float32_stays_float32(case):
    if case.op == "astype":
        return
    single = play(case, case.arrays(np.float32))
    double = play(case, case.arrays())
    for a, b in zip(single, double, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == np.float32 and a.shape == b.shape
            scale = np.abs(b).max(initial=1e-300)
            assert np.allclose(a, b, 0, 4e-5 * scale, equal_nan=True)


@pytest.mark.parametrize("case", [c for c in CASES if c.nan != "no" and c.kind != EMPTY], ids=str)
def test_nan_reaches_the_output(case):
    """From every element, or (the op selects) from those whose gradient is not 0."""
    arrays = case.arrays()
    gradients = play(case, arrays)[1:]
    for i, g in zip(case.wanted, gradients, strict=True):
        felt = np.zeros(arrays[i].shape, bool) if g is None else g != 0
        for place in np.ndindex(arrays[i].shape):
            poisoned = arrays[i].copy()
            poisoned[place] = np.nan
            y = case(*arrays[:i], poisoned, *arrays[i + 1 :])
            reached = np.isnan(y).any()
            assert reached or not (case.nan == "all" or felt[place]), place
