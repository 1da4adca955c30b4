"""Design: what every op of the registry owes about memory, asked of every case of `cases.py`.

The same bits in every memory layout of every input and of the incoming gradient; the same gradients
whoever else needs one, with operands untouched and nothing shared; a graph that is gone when it has
been played.
"""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError
from tests.layouts import lay
from tests.registry.asking import all_of, bits, play
from tests.registry.cases import LAST_BITS
from tests.registry.draws import Case, direction, tensors

LAYOUTS = ("C", "F", "reversed", "strided", "broadcast", "offset", "readonly", "channels_last")
WHOLE = ("F", "reversed", "readonly")  # for labels and masks, which have no NaN


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
            assert (
                b is None
                or not isinstance(b, np.ndarray)
                or not any(np.shares_memory(a, b) for a in held if a is not b)
            ), "a gradient shares memory"


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
