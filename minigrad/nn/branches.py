"""Branches side by side: their channels concatenated, without a copy where they are convolutions.

Design: concatenation writes every map again.  Where all branches end in a convolution and a ReLU,
what comes before is played first, then the last convolutions store their sums side by side: in one
op (``ops.conv_join``), or, with batch normalization by known statistics, each with its epilogue.
``row`` finds the last convolution, in nested Sequentials and in modules that say what they are made
of.  Anything else (a hook that wants to see a branch's result, statistics of the batch, gradients
through batch normalization, a branch that ends in a pool) is concatenated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from minigrad._engine import is_grad_enabled
from minigrad._kernels.memory import empty_array
from minigrad.functional.windows import geometry
from minigrad.nn.activation import ReLU
from minigrad.nn.containers import Sequential
from minigrad.nn.fused import alone, by_known_statistics, conv_norm, is_relu, steps
from minigrad.nn.layers import Conv2d
from minigrad.nn.module import Module
from minigrad.nn.norm import BatchNorm2d
from minigrad.ops.conv_join import NAMES, conv2d_relu_concat, joint_shape
from minigrad.ops.join import concat
from minigrad.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
RELU = ReLU()


def conv_norm_relu(conv: str, norm: str) -> Callable[[F], F]:
    """Mark a `forward` that is relu(norm(conv(x))) of the attributes with these names; norm may be
    None. `concat_branches` may then play the two by themselves."""

    def mark(forward: F) -> F:
        forward.row = conv, norm  # type: ignore[attr-defined]
        return forward

    return mark


def concat_branches(x: Tensor, *branches: Module) -> Tensor:
    """``concat(*(branch(x) for branch in branches), axis=1)``, without a copy where possible.

    x (N, C, H, W); branches give (N, K_i, P, Q); result (N, sum of K_i, P, Q), the same bits.
    Gradients of x are added up in another order.  Raises what the branches raise, ArgError without
    any, ShapeError where their results do not fit.
    """
    ends = [ending(branch) for branch in branches]
    found = [end for end in ends if end is not None and end.may_be_played()]
    if not branches or len(found) < len(branches):
        return concat(*(branch(x) for branch in branches), axis=1)
    inputs = [end.before(x) for end in found]
    if all(end.norm is None for end in found):
        xs = [t for end, x in zip(found, inputs, strict=True) for t in end.operands(x)]
        return conv2d_relu_concat(*xs, geometries=tuple(end.geometry() for end in found))
    if not all(
        end.norm is not None and alone(end.conv, end.norm, x, None)
        for end, x in zip(found, inputs, strict=True)
    ):
        return concat(*(end.last(x) for end, x in zip(found, inputs, strict=True)), axis=1)
    return in_evaluation(found, inputs)


class Ending(NamedTuple):
    """A branch as the modules before its last convolution, that, and what normalizes it."""

    modules: list[Module]
    conv: Conv2d
    norm: BatchNorm2d | None

    def before(self, x: Any) -> Any:
        """What the convolution gets."""
        for step in steps(self.modules):
            x = step(x)
        return x

    def last(self, x: Tensor) -> Tensor:
        """What the branch gives, by itself."""
        if self.norm is None:
            return self.conv(x, relu=True)
        return conv_norm(self.conv, self.norm, x, relu=True)

    def operands(self, x: Any) -> tuple[Any, Any, Any]:
        """x, w and b."""
        return x, self.conv.weight, self.conv.bias

    def geometry(self) -> tuple[Any, ...]:
        """(stride, padding, dilation, groups) of the convolution, as its ops want them."""
        c = self.conv
        how = geometry("conv2d", c.weight, c.stride, c.padding, c.dilation)
        return *(how[name] for name in NAMES[:3]), c.groups

    def may_be_played(self) -> bool:
        """Whether the convolution's kernel can do all the rest: ReLU, known statistics."""
        norm = self.norm
        return norm is None or not (
            is_grad_enabled()
            or norm.training
            or norm.running_mean is None
            or norm.running_var is None
            or 1 < self.conv.groups == self.conv.in_channels
        )


def row(module: Module) -> list[Module]:
    """The modules that follow each other in `module`, as far as no hook watches."""
    forward = type(module).forward
    if module._hooks:
        return [module]
    if forward is Sequential.forward:
        return [inner for child in module.children() for inner in row(child)]
    names = getattr(forward, "row", None)
    if names is None:
        return [module]
    return [*(m for m in (getattr(module, name) for name in names) if m is not None), RELU]


def ending(branch: Module) -> Ending | None:
    """The last convolution of a branch that ends in one, a batch normalization if any, a ReLU."""
    modules = row(branch)
    norm: Any = None
    if not modules or not is_relu(modules.pop()):
        return None
    if modules and type(modules[-1]).forward is BatchNorm2d.forward:
        norm = modules.pop()
    conv: Any = modules.pop() if modules else None
    if not isinstance(conv, Conv2d) or type(conv).forward is not Conv2d.forward:
        return None
    watched = conv._hooks or (norm is not None and norm._hooks)
    return None if watched else Ending(modules, conv, norm)


def in_evaluation(ends: list[Ending], inputs: list[Tensor]) -> Tensor:
    """Convolutions, known statistics and ReLUs, stored side by side."""
    xs = [t for end, x in zip(ends, inputs, strict=True) for t in end.operands(x)]
    arrays = tuple(None if t is None else t.data for t in xs)
    shape = joint_shape(arrays, tuple(end.geometry() for end in ends))
    z, start = empty_array(shape, xs[0].dtype, channels_last=True), 0
    for end, x in zip(ends, inputs, strict=True):
        part = z[:, start : start + end.conv.out_channels]
        start += end.conv.out_channels
        assert end.norm is not None
        by_known_statistics(end.conv, end.norm, x, None, True, part)
    return Tensor(z)
