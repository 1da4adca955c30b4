"""Design: the closed world. Every kernel has a twin with the same arguments and is compiled."""

import inspect

import pytest

from minigrad import reference
from minigrad._kernels import conv, dropout, elementwise, gemm, loss, norm, optim, pool
from minigrad.reference import conv as ref_conv
from minigrad.reference import dropout as ref_dropout
from minigrad.reference import linear as ref_linear
from minigrad.reference import loss as ref_loss
from minigrad.reference import norm as ref_norm
from minigrad.reference import optim as ref_optim
from minigrad.reference import pool as ref_pool

PAIRS = [
    (conv, ref_conv),
    (dropout, ref_dropout),
    (gemm, ref_linear),
    (loss, ref_loss),
    (norm, ref_norm),
    (optim, ref_optim),
    (pool, ref_pool),
]


def functions(module):
    """The public functions that a module defines itself."""
    return {
        name: f
        for name, f in vars(module).items()
        if not name.startswith("_")
        and callable(f)
        and not isinstance(f, type)
        and f.__module__ == module.__name__
    }


@pytest.mark.parametrize("kernel, twin", PAIRS)
def test_every_kernel_has_a_twin_with_the_same_arguments(kernel, twin):
    kernels = functions(kernel)
    assert kernels
    for name, f in kernels.items():
        ours, theirs = (inspect.signature(g).parameters for g in (f, getattr(twin, name)))
        assert [*ours] == [*theirs], name
        assert [p.kind for p in ours.values()] == [p.kind for p in theirs.values()], name


@pytest.mark.parametrize("module", [elementwise, *(kernel for kernel, _ in PAIRS)])
def test_the_kernels_under_test_are_compiled_and_not_the_twins(module):
    assert module.__name__.startswith("minigrad._kernels.")
    assert module.__file__.endswith((".so", ".pyd"))


def test_the_twins_import_nothing_compiled():
    for _, twin in PAIRS:
        modules = {getattr(v, "__module__", None) for v in vars(twin).values()}
        modules |= {v.__name__ for v in vars(twin).values() if inspect.ismodule(v)}
        own = {m for m in modules if m and m.startswith("minigrad")}
        assert all(m.startswith(reference.__name__) for m in own)
