"""Design: what every op of the registry owes, asked of every case of `cases.py`.

A test function asks one thing of one case: the same result on arrays and on Tensors; first and
second derivatives against differences; the same bits in every memory layout of every input and of
the incoming gradient; the same gradients whoever else needs one, with operands untouched; float32
that stays float32; NaN that is not swallowed; a graph that is gone when it has been played.
`test_reference_tape.py` asks all of it again of the tape in Python.
"""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError
from minigrad.gradcheck import gradcheck, gradgradcheck
from minigrad.op import registry
from tests.layouts import lay
from tests.registry.cases import CASES, LAST_BITS, NEEDS_ELEMENTS
from tests.registry.draws import EMPTY, JUMPS, LINEAR, PIECEWISE, SMOOTH, Case, direction, tensors

STEPS = {LINEAR: (1.0, 1e-11), PIECEWISE: (2.0**-8, 1e-12), SMOOTH: (2.0**-14, 1e-7)}
LAYOUTS = ("C", "F", "reversed", "strided", "broadcast", "offset", "readonly", "channels_last")
WHOLE = ("F", "reversed", "readonly")  # for labels and masks, which have no NaN


def all_of(test: Callable[[Case], None]) -> Any:
    return pytest.mark.parametrize("case", CASES, ids=str)(test)


def some(kinds: tuple[str, ...]) -> Any:
    return pytest.mark.parametrize("case", [c for c in CASES if c.kind in kinds], ids=str)


def bits(a: np.ndarray) -> tuple[Any, ...]:
    return a.shape, a.dtype.str, np.ascontiguousarray(a).tobytes()


def play(case: Case, arrays: list[Any], g: Any = None) -> list[Any]:
    """The output and the gradients of the wanted inputs (None where there is none)."""
    xs = tensors(case, arrays)
    y = case(*xs)
    g = direction(y.shape, y.dtype) if g is None else g
    leaves = [xs[i] for i in case.wanted]
    found = mg.grad(y, leaves, mg.Tensor(g), allow_unused=True)
    return [y.data, *(None if t is None else t.data for t in found)]


def agree(case: Case, got: list[Any], want: list[Any], context: Any) -> None:
    """Bit by bit, or within 1e-14 of the largest where sums follow the memory order."""
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        which = f"{context}: " + ("output" if i == 0 else f"gradient {i - 1}")
        assert (a is None) == (b is None), which
        if a is None or bits(a) == bits(b):
            continue
        assert case.op in LAST_BITS, f"{which} differs in its bits"
        assert a.shape == b.shape and a.dtype == b.dtype, which
        scale = np.abs(b).max(initial=1e-300)
        assert np.allclose(a, b, 0, 1e-14 * scale), f"{which} is off by {np.abs(a - b).max()}"


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
        assert given == set(op.spec.params), f"{name}: {given ^ set(op.spec.params)}"


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


# -- memory ----------------------------------------------------------------------------------------


def laid(a: Any, layout: str) -> Any:
    if not isinstance(a, np.ndarray) or a.ndim == 0:
        return a
    if a.dtype.kind != "f":
        return lay(a, layout if layout in WHOLE else "C")
    return lay(a, layout)


@all_of
def test_layouts_of_inputs(case):
    arrays = case.arrays()
    for layout in LAYOUTS:
        moved = [laid(a, layout) for a in arrays]
        sources = [np.array(a) if isinstance(a, np.ndarray) else a for a in moved]
        for i in [*range(len(arrays)), None]:
            if i is not None and not isinstance(arrays[i], np.ndarray):
                continue
            mixed = moved if i is None else [*arrays[:i], moved[i], *arrays[i + 1 :]]
            same = sources if i is None else [*arrays[:i], sources[i], *arrays[i + 1 :]]
            agree(case, play(case, mixed), play(case, same), f"{layout} of input {i}")


@all_of
def test_layouts_of_the_incoming_gradient(case):
    arrays = case.arrays()
    y = case(*arrays)
    g = direction(np.shape(y), np.asarray(y).dtype)
    for layout in LAYOUTS:
        moved = laid(g, layout)
        want = play(case, arrays, np.array(moved))
        agree(case, play(case, arrays, moved), want, layout)


@all_of
def test_subsets_of_inputs_and_nothing_is_touched(case):
    arrays = case.arrays()
    before = [bits(a) if isinstance(a, np.ndarray) else a for a in arrays]
    _, *want = play(case, arrays)
    for needs in itertools.product([False, True], repeat=len(case.wanted)):
        chosen = [i for i, need in zip(case.wanted, needs, strict=True) if need]
        xs = tensors(case, arrays, chosen)
        y = case(*xs)
        assert y.requires_grad == bool(chosen)
        if not chosen:
            continue
        g = direction(y.shape, y.dtype)
        sent = bits(g)
        y.backward(mg.Tensor(g))
        for i, w in zip(case.wanted, want, strict=True):
            got = xs[i].grad
            if i not in chosen or w is None:
                assert got is None
                continue
            assert bits(got.data) == bits(w), f"input {i} when {chosen} are needed"
            assert got.shape == arrays[i].shape and got.dtype == arrays[i].dtype
        after = [bits(a) if isinstance(a, np.ndarray) else a for a in arrays]
        assert after == before and bits(g) == sent, "an operand was changed"
        held = [xs[i].grad.data for i in chosen if xs[i].grad is not None]
        for a, b in itertools.combinations([*held, g, *arrays], 2):
            assert b is None or not isinstance(b, np.ndarray) or not any(
                np.shares_memory(a, b) for a in held if a is not b
            ), "a gradient shares memory"


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


@all_of
def test_a_played_graph_is_gone(case):
    if not case.wanted:
        return
    xs = tensors(case, case.arrays())
    held = [xs[i].data for i in case.wanted]
    gc.disable()
    try:
        counts = [sys.getrefcount(a) for a in held]
        y = case(*xs)
        probe, g = weakref.ref(y.data), mg.Tensor(direction(y.shape, y.dtype))
        y.backward(g)
        with pytest.raises(GraphError, match="retain_graph"):
            y.backward(g)
        del y
        assert probe() is None
        assert [sys.getrefcount(a) for a in held] == counts
    finally:
        gc.enable()
