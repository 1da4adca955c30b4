"""What the tests of the lecture share: the ledger's numbers, and sizes computed by hand."""

import numpy as np

import minigrad as mg
import zoo
from minigrad import nn
from zoo.lecture import LEDGER


def judged(row, verdict):
    """The numbers of a row of the ledger, whose verdict must be this one."""
    assert LEDGER[row].verdict == verdict
    return LEDGER[row].numbers()


def documented(row, verdict, *words):
    """A row that computes nothing: its sentence has these words."""
    assert judged(row, verdict) == {}
    for word in words:
        assert word in LEDGER[row].correction


def size(pixels, kernel, stride=1, padding=0):
    """Pixels behind a window."""
    return (pixels + 2 * padding - kernel) // stride + 1


def meta(name, **options):
    """A net in evaluation mode, without memory for its numbers."""
    with nn.meta():
        return zoo.get_model(name, **options).eval()


def kinds(net, *wanted):
    """The modules of some kinds, in order."""
    return [m for m in net.modules() if isinstance(m, wanted)]


def parameters(net):
    return sum(p.size for p in net.parameters())


def random(*shape, seed=0):
    return mg.tensor(np.random.default_rng(seed).standard_normal(shape))


def integers(*shape, seed=0):
    """Small whole numbers, with which sums are exact."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)
