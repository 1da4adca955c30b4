"""What the tests of networks share: nets without memory, counts, gradients of everything."""

from functools import cache

import numpy as np

import minigrad as mg
import zoo
from minigrad import nn


def shapes_of(name, **options):
    """A net in evaluation mode, without memory for its numbers."""
    with nn.meta():
        return zoo.get_model(name, **options).eval()


def parameters(net):
    return sum(p.size for p in net.parameters())


@cache
def summary(name, size=None, **options):
    """The table of a net; the same question is answered once in a run of the tests."""
    return zoo.summary(name, None if size is None else (3, size, size), **options)


def total(found, what, kinds=None):
    """The sum over the layers of some kinds, without the input."""
    return sum(getattr(r, what) for r in found.rows[1:] if kinds is None or r.kind in kinds)


def layers(found, *kinds):
    return [r for r in found if r.kind in kinds]


def weighted(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def assert_gradients_reach_everything(net, loss):
    """Every parameter has a gradient of finite numbers, and some weight of each layer a non-zero
    one."""
    net.zero_grad()
    loss.backward()
    for name, p in net.named_parameters():
        g = p.grad.numpy()
        assert np.isfinite(g).all(), name
        assert g.any() or name.endswith("bias"), name


def images(*shape, dtype=np.float32):
    return mg.randn(*shape, dtype=dtype)
