"""explain: which algorithm would compute a convolution, and why.

Design: the answer comes from the code that chooses (``src/kernels/conv_choice.pyx``), not from a
description of it.  Nothing is computed and nothing is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._kernels import conv_choice, dispatch
from .errors import ArgError
from .ops.geometry import Pair, Quad, Shape, pair, quad


@dataclass(frozen=True)
class Pass:
    """One of forward, grad_x, grad_w: its algorithm, why, and the estimates in cycles of a core."""

    name: str
    algorithm: str
    reason: str
    direct: float | None
    winograd: float | None


@dataclass(frozen=True)
class Explanation:
    """The three passes of one convolution; ``print`` it, or look at ``.passes``."""

    x_shape: Shape
    w_shape: Shape
    dtype: str
    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        """A line a pass."""
        head = f"conv2d of x {self.x_shape} with w {self.w_shape}, {self.dtype}, {dispatch.isa()}"
        return "\n".join([head, *(f"  {p.name:8} {p.algorithm:9} {p.reason}" for p in self.passes)])


def shape_of(name: str, a: Any) -> Shape:
    """The shape of an array or Tensor, or a shape."""
    shape = a.shape if hasattr(a, "shape") else a
    if not isinstance(shape, tuple | list) or len(shape) != 4:
        raise ArgError(f"explain: {name} must be four sizes, an array or a Tensor, got {a!r}")
    return tuple(shape)


def explain(
    conv: Any,
    x: Any,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | Quad | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    dtype: Any = np.float32,
    algorithm: str | None = None,
) -> Explanation:
    """What runs for ``conv(x)`` and for its gradients, and why.

    conv: an ``nn.Conv2d`` (which brings stride, padding, dilation and groups), or the weight
    (K, C/groups, R, S): an array, a Tensor or just the shape. x: an array, a Tensor or a shape
    (N, C, H, W). dtype is that of x where x has one. algorithm as in ``functional.conv2d``.
    Raises ArgError, ShapeError.

    >>> print(explain((64, 64, 3, 3), (8, 64, 56, 56), padding=1, algorithm="direct").passes[0])
    Pass(name='forward', algorithm='direct', reason="'direct' was asked for", direct=...
    """
    from .functional.windows import named_padding
    from .nn import Conv2d

    w = conv
    if isinstance(conv, Conv2d):
        w, stride, padding = conv.weight, conv.stride, conv.padding
        dilation, groups = conv.dilation, conv.groups
    x_shape, w_shape = shape_of("x", x), shape_of("the weight", w)
    kind = np.dtype(getattr(x, "dtype", dtype))
    if kind not in (np.float32, np.float64):
        raise ArgError(f"explain: dtype must be float32 or float64, got {kind}")
    steps, gaps = pair("explain", "stride", stride, 1), pair("explain", "dilation", dilation, 1)
    if isinstance(padding, str):
        pads = named_padding("explain", padding, w_shape, steps, gaps)
    else:
        pads = quad("explain", padding)
    found = conv_choice.plan(
        x_shape,
        w_shape,
        stride=steps,
        padding=pads,
        dilation=gaps,
        groups=groups,
        real64=kind == np.float64,
        algorithm=algorithm,
    )
    passes = tuple(Pass(name, *values) for name, values in found.items())
    return Explanation(x_shape, w_shape, kind.name, passes)
