"""Derivatives as functions: grad, vjp, jvp, hvp, jacobian, hessian; and recording as a choice.

Design: everything here is a short use of ``sweep``.  Because gradient rules are written with ops,
``create_graph=True`` records them, and every order of derivative is one more sweep.  ``jvp`` is the
derivative of a vector-Jacobian product with respect to its vector (the double-vjp trick), so no
forward mode is needed.

Absent on purpose: complex derivatives.  Next: ``checkpointing.py`` (recompute instead of keeping),
``anomaly.py`` (where was this NaN born), ``show.py`` (the tape as a table and a picture).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from ._engine import TensorBase, configure, is_grad_enabled, set_grad_enabled, sweep
from .errors import ArgError, GraphError
from .op import Op, Spec
from .ops import join
from .tensor import Tensor, seed

__all__ = [
    "enable_grad",
    "grad",
    "hessian",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "no_grad",
    "vjp",
]


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Record, or not, in this thread, until the block ends."""
    before = set_grad_enabled(on)
    try:
        yield
    finally:
        set_grad_enabled(before)


def no_grad() -> Any:
    """``with no_grad():`` (or ``@no_grad()``): ops compute and nothing is written on the tape."""
    return recording(False)


def enable_grad() -> Any:
    """``with enable_grad():`` record again, inside a ``no_grad`` block."""
    return recording(True)


class Alias(Op):
    """y = x under another name: lets a fused op tell its own inputs from their ancestors."""

    def forward(x: Any) -> Any:
        return x

    def grad_x(gy: Any) -> Any:
        return gy


def compose(spec: Spec, inputs: list[Any], params: Sequence[Any], g: Tensor, needs: Any) -> Any:
    """The gradients of a fused op, through its composite definition, on the tape.

    params: what the node keeps after its inputs; the constants come first.
    """
    define = cast("Callable[..., Any]", spec.composite)
    with enable_grad():
        ends = [Alias.apply(x) if n else x for x, n in zip(inputs, needs, strict=True)]
        constants = dict(zip(spec.params, params[: len(spec.params)], strict=True))
        y = define(*ends, **constants)
        wanted = [e for e, n in zip(ends, needs, strict=True) if n]
        found = iter(grad([y], wanted, [g], create_graph=True, allow_unused=True))
    return [next(found) if n else None for n in needs]


configure(compose=compose)


def listed(x: Any) -> list[Any]:
    """One Tensor or several, as a list."""
    return [x] if isinstance(x, TensorBase) else list(x)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs`; no ``.grad`` is touched.

    outputs, inputs: a Tensor or a sequence. grad_outputs: one per output, in its shape (1 where the
    output has one element). Returns one Tensor per input. Raises GraphError when an input is not
    tracked or, unless `allow_unused`, has no influence on the outputs (then: None).

    >>> import minigrad as mg
    >>> x = mg.tensor([3.0], requires_grad=True)
    >>> mg.grad((x * x).sum(), x)
    (tensor([6.]),)
    """
    outs, ins = listed(outputs), listed(inputs)
    gs = [None] * len(outs) if grad_outputs is None else listed(grad_outputs)
    if len(gs) != len(outs):
        raise ArgError(f"grad: {len(outs)} outputs but {len(gs)} grad_outputs; give one each")
    for i, x in enumerate(ins):
        if x.node is None:
            raise GraphError(f"grad: input {i} is not tracked; call requires_grad_() and use it")
    seeds = [seed(y, g, create_graph=create_graph) for y, g in zip(outs, gs, strict=True)]
    found = sweep(
        [y.node for y in outs], seeds, [x.node for x in ins], bool(retain_graph), create_graph
    )
    result: list[Tensor | None] = []
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise GraphError(
                f"grad: input {i} has no influence on the outputs; pass allow_unused=True to get "
                "None for it"
            )
        if g is None or isinstance(g, Tensor):
            result.append(g)
        else:
            result.append(Tensor(g if g.flags.writeable else np.array(g)))
    return tuple(result)


def fresh(inputs: Any) -> list[Tensor]:
    """Inputs as new points of the tape: gradients stop here and touch no leaf."""
    return [
        Alias.apply(x) if x.requires_grad else x.detach().requires_grad_() for x in listed(inputs)
    ]


def like(inputs: Any, results: Sequence[Any]) -> Any:
    """One Tensor for one Tensor, a tuple for a sequence."""
    return results[0] if isinstance(inputs, TensorBase) else tuple(results)


def zeros_where_none(gs: Sequence[Tensor | None], xs: Sequence[Tensor]) -> list[Tensor]:
    """No influence means a zero derivative."""
    return [
        Tensor(np.zeros(x.shape, x.dtype)) if g is None else g for g, x in zip(gs, xs, strict=True)
    ]


def vjp(
    function: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False
) -> tuple[Any, Any]:
    """(function(inputs), v^T J): the vector-Jacobian product.

    v: in the output's shape; 1 when the output has one element. The second result has the inputs'
    shapes. Raises what `function`, or ``grad``, raises.
    """
    with enable_grad():
        xs = fresh(inputs)
        y = function(*xs)
        gs = grad(y, xs, v, create_graph=create_graph, allow_unused=True)
    out = y if create_graph else like(y, [t.detach() for t in listed(y)])
    return out, like(inputs, zeros_where_none(gs, xs))


def jvp(
    function: Callable[..., Any], inputs: Any, v: Any, create_graph: bool = False
) -> tuple[Any, Any]:
    """(function(inputs), J v): the Jacobian-vector product, by differentiating v^T J twice.

    v: one per input, in its shape. The second result has the output's shape.
    """
    with enable_grad():
        xs = fresh(inputs)
        y = function(*xs)
        ys = listed(y)
        dummies = [Tensor(np.ones(t.shape, t.dtype)).requires_grad_() for t in ys]
        tracked = [(t, d) for t, d in zip(ys, dummies, strict=True) if t.requires_grad]
        if not tracked:
            return y, like(y, zeros_where_none([None] * len(ys), ys))
        gs = grad(
            [t for t, _ in tracked],
            xs,
            [d for _, d in tracked],
            create_graph=True,
            allow_unused=True,
        )  # linear in the dummies: its derivative with respect to them is J v
        pairs = [
            (g, d) for g, d in zip(gs, listed(v), strict=True) if g is not None and g.requires_grad
        ]
        jv: Sequence[Tensor | None] = [None] * len(ys)
        if pairs:
            jv = grad(
                [g for g, _ in pairs],
                dummies,
                [d for _, d in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
    out = y if create_graph else like(y, [t.detach() for t in ys])
    return out, like(y, zeros_where_none(jv, ys))


def hvp(function: Callable[..., Any], inputs: Any, v: Any, create_graph: bool = False) -> Any:
    """(function(inputs), H v): the Hessian of a scalar function times a vector.

    Two sweeps (reverse over reverse), never the Hessian itself (Pearlmutter 1994).
    """
    with enable_grad():
        xs = fresh(inputs)
        y = function(*xs)
        gs = grad(y, xs, create_graph=True, allow_unused=True)
        pairs = [
            (g, d) for g, d in zip(gs, listed(v), strict=True) if g is not None and g.requires_grad
        ]
        hv: Sequence[Tensor | None] = [None] * len(xs)
        if pairs:
            hv = grad(
                [g for g, _ in pairs],
                xs,
                [d for _, d in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
    return (y if create_graph else y.detach()), like(inputs, zeros_where_none(hv, xs))


def jacobian(function: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """J of shape (*output shape, *input shape), one sweep per output element.

    For several inputs, a tuple of Jacobians.
    """
    with enable_grad():
        xs = fresh(inputs)
        y = function(*xs)
        rows: list[list[Tensor]] = []
        for k in range(y.size):
            unit = np.zeros(y.size, y.dtype)
            unit[k] = 1
            gs: Sequence[Tensor | None] = [None] * len(xs)
            if y.requires_grad:
                gs = grad(
                    y,
                    xs,
                    Tensor(unit.reshape(y.shape)),
                    retain_graph=True,
                    create_graph=create_graph,
                    allow_unused=True,
                )
            rows.append(zeros_where_none(gs, xs))
        blocks = [
            join.stack(*column, axis=0).reshape(y.shape + x.shape)
            if rows
            else Tensor(np.zeros(y.shape + x.shape, x.dtype))
            for x, column in zip(xs, zip(*rows, strict=True), strict=True)
        ]
    return like(inputs, blocks)


def hessian(function: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """H of a scalar function of one Tensor: shape (*input shape, *input shape)."""
    if not isinstance(inputs, TensorBase):
        raise ArgError("hessian: give one Tensor; stack or concatenate several into one")

    def gradient(x: Any) -> Any:
        y = function(x)
        g = grad(y, x, create_graph=True, allow_unused=True)[0] if y.requires_grad else None
        return zeros_where_none([g], [x])[0]

    return jacobian(gradient, inputs, create_graph=create_graph)
