"""What an op is: a forward function and one gradient rule per input.

Design: a subclass of ``Op`` is a page of mathematics, not an object: its functions take no
``self`` and no instance is ever made.  Their signatures say what the tape keeps (``spec.py``).
``Cls.apply`` is the op as a function: on arrays it computes, on Tensors it also records.

Absent on purpose: shapes and dtypes are not inferred here; each op checks its own input.
Next: ``ops/elementwise.py`` for the pages themselves, ``src/tape.pyx`` for what plays them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from ._engine import Rule
from .errors import ArgError
from .spec import SUPPORTED, Spec, read_spec, snake_case

__all__ = ["SUPPORTED", "Op", "Spec", "custom_op", "registry", "snake_case"]

registry: dict[str, type[Op]] = {}


class Op:
    """One differentiable function.  Subclass it; never instantiate it.

    Class keywords: ``broadcasts`` (the engine undoes broadcasting of the gradients),
    ``byproducts`` (names of what ``forward`` returns after its output), ``kernel`` (compiled twin
    of ``forward`` for operands of one shape).  An op with by-products that cost something may also
    define ``forward_only``, which gives the output alone, for calls whose by-products nobody keeps.

    >>> import numpy as np
    >>> class Cube(Op):
    ...     def forward(x): return x * x * x
    ...     def grad_x(gz, x): return gz * (3.0 * x * x)
    >>> Cube.apply(np.array([2.0]))
    array([8.])
    """

    apply: ClassVar[Rule]
    spec: ClassVar[Spec]

    def __init_subclass__(
        cls,
        *,
        broadcasts: bool = False,
        byproducts: tuple[str, ...] = (),
        kernel: Any = None,
    ) -> None:
        super().__init_subclass__()
        cls.spec = read_spec(cls, broadcasts, byproducts, kernel)
        cls.apply = Rule(cls.spec)
        if cls.__module__.startswith("minigrad.ops"):
            if cls.spec.name in registry:
                raise ArgError(f"op {cls.spec.name!r} is defined twice")
            registry[cls.spec.name] = cls

    def __new__(cls, *args: Any) -> Op:
        raise TypeError(f"{cls.__name__} is not instantiated; call {cls.__name__}.apply(...)")


def custom_op(
    forward: Callable[..., Any], *grads: Callable[..., Any] | None, name: str | None = None
) -> Rule:
    """Make an op from functions: ``custom_op(forward, grad_of_first_input, ...)``.

    One gradient rule per input, in order; ``None`` for an input without a derivative.  Signatures
    mean what they mean in ``Op``.  Raises ArgError when the count of rules does not fit.

    >>> import numpy as np
    >>> square = custom_op(lambda x: x * x, lambda gz, x: 2.0 * gz * x, name="square")
    >>> square(np.array([3.0]))
    array([9.])
    """
    inputs = [
        p.name for p in inspect.signature(forward).parameters.values() if p.kind != p.KEYWORD_ONLY
    ]
    if len(grads) != len(inputs):
        raise ArgError(
            f"custom_op: forward has {len(inputs)} inputs {tuple(inputs)} but {len(grads)} "
            "gradient rules were given; give one per input, None where there is no derivative"
        )
    body: dict[str, Any] = {"forward": forward, "__doc__": forward.__doc__}
    body.update({f"grad_{i}": g for i, g in zip(inputs, grads, strict=True) if g is not None})
    title = name or forward.__name__
    op: type[Op] = type(title if title.isidentifier() else "custom", (Op,), body)
    return op.apply
