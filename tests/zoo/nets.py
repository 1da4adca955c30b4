"""What the tests of networks share: nets without memory, counts, gradients of everything."""

import sys
from functools import cache

import numpy as np

import minigrad as mg
import zoo
from minigrad import nn, optim
from zoo.googlenet import googlenet_loss
from zoo.registry import image_of


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


def training_step(name, batch, limit=None):
    """One step at the net's own size, with so few frames of Python's left; the loss. Also called
    in a process of its own."""
    mg.manual_seed(0)
    net, before = zoo.get_model(name), sys.getrecursionlimit()
    optimizer = optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    sys.setrecursionlimit(limit or before)
    try:
        loss = googlenet_loss(net(images(batch, *image_of(name))), mg.randint(0, 10, (batch,)))
        loss.backward()
        optimizer.step()
    finally:
        sys.setrecursionlimit(before)
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    return loss.item()


def images(*shape, dtype=np.float32):
    return mg.randn(*shape, dtype=dtype)
