"""The tape in plain Python: the specification of ``src/tape.pyx``, and a place to set breakpoints.

Design: a ``Node`` remembers its op, its parents and what the gradient rules asked for.  A node is
made after its parents, so the order of serial numbers is a topological order; playing the nodes
from the largest number to the smallest is all that ``sweep`` does.  Nodes point to nodes, never to
Tensors.  ``MINIGRAD_TAPE=reference`` puts this file in the place of the compiled tape.

Absent on purpose: speed.  Next: ``op.py`` for where rules come from, ``autograd.py`` for callers.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from .. import versions
from ..errors import GraphError

counter = itertools.count(1)
state = threading.local()
hooks: dict[str, Any] = {"tensor": None, "unbroadcast": None, "anomaly": None, "compose": None}
OPERATORS = ["add", "sub", "mul", "div", "pow", "matmul"]


def configure(*, tensor=None, unbroadcast=None, accumulate=None, compose=None, operators=None):
    """Tell the tape what lies above it: the Tensor class, how to undo broadcasting, operators."""
    hooks["compose"] = compose or hooks["compose"]
    if operators is not None:
        for name in OPERATORS:
            python = {"div": "truediv"}.get(name, name)
            rule = operators[name]
            setattr(TensorBase, f"__{python}__", lambda a, b, r=rule: operate(r, a, b))
            setattr(TensorBase, f"__r{python}__", lambda a, b, r=rule: operate(r, b, a))
        setattr(TensorBase, "__neg__", lambda a, r=operators["neg"]: r(a))  # noqa: B010  (mypy)
    hooks["tensor"] = tensor or hooks["tensor"]
    hooks["unbroadcast"] = unbroadcast or hooks["unbroadcast"]


def operate(rule, a, b):
    kinds = (TensorBase, np.ndarray, np.generic, int, float, list)
    return rule(a, b) if isinstance(a, kinds) and isinstance(b, kinds) else NotImplemented


def is_grad_enabled():
    return getattr(state, "recording", True)


def set_grad_enabled(on):
    state.recording, before = bool(on), is_grad_enabled()
    return before


def set_anomaly(watcher):
    hooks["anomaly"], before = watcher, hooks["anomaly"]
    return before


def open_segment(segment):
    """From here on, nodes of this thread belong to a checkpoint segment (see autograd.py)."""
    state.segments = [*getattr(state, "segments", []), segment]


def close_segment():
    state.segments = state.segments[:-1]


def mutated(array, tracked=None):
    """A buffer was changed in place; `tracked`: the node that stands for its new value."""
    now = next(counter)
    versions.bump(array, now, tracked=tracked is not None)
    if tracked is not None:
        tracked.born = now


class TensorBase:
    __slots__ = ("__weakref__", "data", "node")

    def __init__(self, data, node=None):
        self.data, self.node = data, node


class Node:
    """One op on the tape (or a leaf: no op, and a gradient of its own)."""

    def __init__(self, rule, out, parents=(), kept=None, needs=()):
        self.serial = self.born = next(counter)
        self.rule, self.parents, self.kept, self.needs = rule, parents, kept, needs
        self.shape, self.dtype = out.shape, out.dtype
        self.hooks, self.after_hooks = [], []
        self.grad = self.trace = self.segment = None
        self.played = False

    @property
    def name(self):
        return self.rule.spec.name if self.rule else "leaf"

    def kept_items(self):
        return (
            []
            if self.kept is None
            else [
                (self.rule.spec.label(s), v)
                for s, value in self.kept.items()
                for v in (value if isinstance(value, tuple) else (value,))
                if isinstance(v, np.ndarray)
            ]
        )


class Rule:
    """An op as a function: ``Cls.apply``."""

    def __init__(self, spec):
        self.spec, self.__name__, self.__doc__ = spec, spec.name, spec.op.__doc__

    def __repr__(self):
        return f"<op {self.spec.name}>"

    def __call__(self, *args, **kwargs):
        return self.full(*args, **kwargs)[0]

    def full(self, *args, **kwargs):
        """Call the op; return (output, by-products...)."""
        spec = self.spec
        inputs, params = spec.bind(args, kwargs)
        nodes = [x.node if isinstance(x, TensorBase) else None for x in inputs]
        arrays = spec.admit([x.data if isinstance(x, TensorBase) else x for x in inputs])
        try:
            made = spec.forward(*arrays, **dict(zip(spec.params, params, strict=True)))
        except ValueError as why:
            raise (spec.misfit(why, arrays) or why) from None
        out, *byproducts = made if spec.byproducts else (made,)
        if not any(isinstance(x, TensorBase) for x in inputs):
            return out, *byproducts
        out = np.asarray(out)
        diff = spec.differentiable if not spec.variadic else spec.differentiable * len(inputs)
        needs = [n is not None and d for n, d in zip(nodes, diff, strict=True)]
        node = None
        if is_grad_enabled() and any(needs):
            check_views(self, nodes, arrays)
            for i, x in enumerate(inputs):  # a user's own array may change later: keep a copy
                if isinstance(x, np.ndarray) and x.flags.writeable and arrays[i] is x:
                    arrays[i] = x.copy("K")
            kept = self.keep(needs, arrays, params, out, byproducts)
            parents = tuple(n if need else None for n, need in zip(nodes, needs, strict=True))
            node = Node(self, out, parents, kept, tuple(needs))
            if getattr(state, "segments", None):
                state.segments[-1].add(node)
        if hooks["anomaly"]:
            hooks["anomaly"].forward(self, arrays, out, node)
        return hooks["tensor"](out, node), *byproducts

    def keep(self, needs, arrays, params, out, byproducts):
        """Just what the rules of the inputs that need a gradient name, by source."""
        spec = self.spec
        kept = {}

        def add(source, i):
            kind, index = source
            if spec.variadic and kind in (0, 3, 4):
                names = {3: "shape", 4: "dtype"}  # an input may be None
                kept[source] = tuple(getattr(a, names[kind], None) if kind else a for a in arrays)
            elif kind not in (6, 7):
                kept[source] = (
                    lambda: arrays[index],
                    lambda: out,
                    lambda: params[index],
                    lambda: np.shape(arrays[index]),
                    lambda: arrays[index].dtype,
                    lambda: byproducts[index],
                )[kind]()

        for i, need in enumerate(needs):
            gradient = spec.joint or spec.gradients[0 if spec.variadic else i]
            for source in gradient.sources if need else ():
                add(source, i)
        if spec.composite:
            for i in range(len(spec.inputs)):
                add((0, i), i)
            for i in range(len(params)):
                add((2, i), i)
        return kept

    def play(self, node, g, create_graph):
        """The gradient of every input that needs one."""
        spec, kept = self.spec, node.kept

        def lift(value, parent):  # the same rule is played on Tensors for higher derivatives
            lifts = create_graph and isinstance(value, np.ndarray)
            return hooks["tensor"](value, parent) if lifts else value

        if create_graph and spec.composite:
            each = kept[0, 0] if spec.variadic else [kept[0, i] for i in range(len(spec.inputs))]
            inputs = list(map(lift, each, node.parents))
            params = [kept[2, i] for i in range(len(spec.params))]
            return hooks["compose"](spec, inputs, params, g, node.needs)

        def value(source, i):
            kind, index = source
            if kind == 6:
                return node.needs
            if kind == 7:
                return i
            if kind == 0 and spec.variadic:
                return tuple(map(lift, kept[source], node.parents))
            parent = node if kind == 1 else node.parents[index] if kind == 0 else None
            return lift(kept[source], parent) if kind < 2 else kept[source]

        if spec.joint:
            return spec.joint.function(g, *(value(s, 0) for s in spec.joint.sources))
        grads = []
        for i, need in enumerate(node.needs):
            rule = spec.gradients[0 if spec.variadic else i]
            grads.append(rule.function(g, *(value(s, i) for s in rule.sources)) if need else None)
        return grads


def check_views(rule, nodes, arrays):
    for node, array in zip(nodes, arrays, strict=True):
        if node is not None and node.rule and versions.tracked_since(array, node.born):
            raise GraphError(
                f"{rule.__name__}: this input shares memory with a Tensor that was changed in "
                f"place after the input was made by {node.name}; make it again, or change a clone()"
            )


def reachable(roots, floor):
    """Every node under `roots` that is not older than `floor`, the youngest first."""
    seen, stack = set(), list(roots)
    while stack:
        node = stack.pop()
        if node in seen or node.serial < floor:
            continue
        if node.played:
            raise GraphError(
                f"{node.name}: this part of the graph was already played and its kept arrays are "
                "gone; call backward(retain_graph=True) the first time"
            )
        seen.add(node)
        stack.extend(p for p in node.parents if p is not None)
    return sorted(seen, key=lambda node: node.serial, reverse=True)


def sweep(roots, gradients, inputs=None, retain=False, create_graph=False):
    """Play the tape backward from `roots`.

    Without `inputs`, every leaf gets its gradient added to ``leaf.grad``.  With `inputs` (a list of
    nodes), returns their gradients (None where nothing flows) and touches no leaf.  Gradients are
    Tensors when `create_graph`, else arrays.  Raises GraphError for a graph that was played, or a
    kept array that was changed since.
    """
    nodes = reachable(roots, min((n.serial for n in inputs), default=0) if inputs else 0)
    leads = set(inputs or ())  # nodes with a path to an input: nobody plays the others
    if inputs is not None:
        for node in reversed(nodes):
            if any(p in leads for p in node.parents):
                leads.add(node)
    slots: dict[Any, Any] = {}
    for node, g in zip(roots, gradients, strict=True):
        slots[node] = slots[node] + g if node in slots else g
    before = set_grad_enabled(create_graph)
    try:
        captured = {}
        for node in nodes:
            if node not in slots or (inputs is not None and node not in leads):
                continue
            g = slots[node] if node.rule is None else slots.pop(node)
            for hook in node.hooks:
                g = run_hook(hook, g, create_graph)
            if inputs is not None and node in inputs:
                captured[node] = g
            if node.rule is None:
                slots[node] = g
                continue
            for parent, contribution in play_node(node, g, create_graph):
                if inputs is None or parent in leads:
                    old = slots.get(parent)
                    slots[parent] = contribution if old is None else old + contribution
            if not (retain or create_graph):
                node.kept, node.parents, node.played = None, (), True
        if inputs is not None:
            return [captured.get(node) for node in inputs]
        for node, g in slots.items():
            if node.rule is None:
                deposit(node, g, create_graph)
    finally:
        set_grad_enabled(before)
    return None


def run_hook(hook, g, create_graph):
    changed = hook(g if create_graph else hooks["tensor"](g, None))
    if changed is None:
        return g
    return changed if create_graph else getattr(changed, "data", changed)


def play_node(node, g, create_graph):
    """Yield (parent, gradient) of one node, checked."""
    if node.kept is None:
        node.segment.refill()
    for name, array in node.kept_items():
        if versions.changed_since(array, node.serial):
            raise GraphError(
                f"{node.name}: {name} {array.shape} was changed in place after it was recorded; "
                "change a copy (t.clone()), or change it after backward()"
            )
    grads = node.rule.play(node, g, create_graph)
    for hook in node.after_hooks:
        hook(tuple(grads), g)
    for i, (parent, need) in enumerate(zip(node.parents, node.needs, strict=True)):
        if not need or grads[i] is None:
            continue
        value = grads[i] if create_graph else np.asarray(getattr(grads[i], "data", grads[i]))
        if value.shape != parent.shape and node.rule.spec.broadcasts:
            value = hooks["unbroadcast"](value, parent.shape)
        if value.shape != parent.shape or value.dtype != parent.dtype:
            raise GraphError(
                f"{node.name}: the gradient of input {i} is {value.shape} {value.dtype}, the input "
                f"{parent.shape} {parent.dtype}"
            )
        if hooks["anomaly"]:
            hooks["anomaly"].backward(node, i, g, value)
        yield parent, value


def deposit(leaf, g, create_graph):
    """Add to a leaf's gradient; leaves own their gradients, so arrays are copied."""
    if create_graph:
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    elif leaf.grad is None:
        leaf.grad = hooks["tensor"](np.array(g, order="K"), None)
    else:
        leaf.grad.data += g
        mutated(leaf.grad.data)
