"""checkpoint: forget what a stretch of the tape keeps, and compute it again in backward.

Design (Chen et al. 2016, "Training deep nets with sublinear memory cost"): the stretch is recorded
as usual, but its nodes keep nothing.  When the first of them is played, the function runs again on
the same inputs, and what the new nodes keep is handed to the old ones, in order.  So gradients, any
order of derivative and hooks are those of the ordinary tape.  The random state of the first run is
restored for the second, and batch-norm counts its statistics once (``recomputing``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ._engine import Node, TensorBase, close_segment, open_segment, set_grad_enabled
from .errors import GraphError
from .ops import random
from .tensor import Tensor
from .versions import changed_since

_state = threading.local()


def recomputing() -> bool:
    """Whether this thread is running a checkpointed function for the second time."""
    return getattr(_state, "depth", 0) > 0


class Collector:
    """The nodes of a second run, in order."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add(self, node: Any) -> None:
        """Called by the tape for every node that is made."""
        self.nodes.append(node)


class Segment(Collector):
    """A stretch of the tape whose nodes keep nothing until the first of them is played."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self.function = function
        self.args = tuple(
            (x.data, x.node is not None) if isinstance(x, TensorBase) else x for x in args
        )
        self.random_state = random.default_generator.get_state()
        self.made = Node(None, np.zeros(0)).serial  # a moment: changes after it are errors

    def add(self, node: Any) -> None:
        """Called by the tape for every node that is made."""
        node.kept, node.segment = None, self
        self.nodes.append(node)

    def inputs(self) -> list[Any]:
        """The first run's arguments again, off the graph."""
        return [Tensor(x[0]).requires_grad_(x[1]) if isinstance(x, tuple) else x for x in self.args]

    def refill(self) -> None:
        """Run the function again and hand the nodes what they keep. Raises GraphError."""
        for x in self.args:
            if isinstance(x, tuple) and changed_since(x[0], self.made):
                raise GraphError(
                    "checkpoint: an input was changed in place after the first run; change a copy "
                    "(t.clone()), or change it after backward()"
                )
        generator, collector = random.default_generator, Collector()
        now = generator.get_state()
        generator.set_state(self.random_state)
        before = set_grad_enabled(True)
        _state.depth = getattr(_state, "depth", 0) + 1
        open_segment(collector)
        try:
            self.function(*self.inputs())
        finally:
            close_segment()
            _state.depth -= 1
            set_grad_enabled(before)
            generator.set_state(now)
        if [n.name for n in collector.nodes] != [n.name for n in self.nodes]:
            raise GraphError(
                "checkpoint: the second run recorded other ops than the first "
                f"({len(collector.nodes)} against {len(self.nodes)}); the function must do the "
                "same work both times"
            )
        for old, new in zip(self.nodes, collector.nodes, strict=True):
            old.kept, old.segment = new.kept, None
        self.nodes = []


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, keeping only `args` for backward and computing the rest again.

    Same results and gradients, about a third more time, much less memory. `function` must be
    deterministic but for minigrad's own generator. Raises GraphError in backward when its second
    run differs.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.5], requires_grad=True)
    >>> checkpoint(lambda t: (t * t).exp().sum(), x).backward()
    >>> x.grad
    tensor([1.2840254])
    """
    segment = Segment(function, args)
    open_segment(segment)
    try:
        return function(*args)
    finally:
        close_segment()
