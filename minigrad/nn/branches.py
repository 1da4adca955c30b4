"""Branches side by side: their channels concatenated, without a copy where they are convolutions.

Design: concatenation writes every map again.  Where all branches end in a convolution and a ReLU,
the last convolutions store their sums where they belong.  On the tape they are one op
(``ops.conv_join``), so all that comes before is played first; in inference branch follows branch,
while its maps are in the cache, and a batch normalization by known statistics is part of the
convolution (``fused.py``).  ``row`` finds the last convolution, in nested Sequentials and in
modules that say what they are made of.  Anything else is concatenated: where a hook wants to see a
branch's result, where batch normalization is in training, where a branch ends in a pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from minigrad._engine import is_grad_enabled
from minigrad._kernels import conv as kernels
from minigrad._kernels.memory import empty_array
from minigrad.errors import ShapeError
from minigrad.functional.windows import geometry
from minigrad.nn.activation import ReLU
from minigrad.nn.containers import Sequential
from minigrad.nn.fused import alone, by_known_statistics, conv_norm, is_plain, steps
from minigrad.nn.layers import Conv2d
from minigrad.nn.module import Module
from minigrad.nn.norm import BatchNorm2d
from minigrad.ops.conv_join import check_sizes, conv2d_relu_concat, output
from minigrad.ops.geometry import Array, Shape
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

    x (N, C, H, W); branches give (N, K_i, P, Q); result (N, sum of K_i, P, Q), the same bits
    (a marked forward is taken at its word).  Gradients of x are added up in another order.
    Raises what the branches raise, ArgError without any, ShapeError where results do not fit.
    """
    ends = [ending(branch) for branch in branches]
    found = [end for end in ends if end is not None and end.may_be_played()]
    if not branches or len(found) < len(branches) or not isinstance(x, Tensor):
        return concat(*(branch(x) for branch in branches), axis=1)
    return recorded(found, x) if is_grad_enabled() else stored(found, x)


class Ending(NamedTuple):
    """A branch as the modules before its last convolution, that, and what normalizes it."""

    modules: list[Module]
    conv: Conv2d
    norm: BatchNorm2d | None
    how: dict[str, Any]  # stride, padding, dilation and groups, as the ops want them

    def before(self, x: Any) -> Any:
        """What the convolution gets."""
        for step in steps(self.modules):
            x = step(x)
        return x

    def may_be_played(self) -> bool:
        """Whether all that follows the sums can be done as they are stored."""
        norm = self.norm
        return norm is None or not (
            is_grad_enabled()
            or norm.training
            or norm.running_mean is None
            or norm.running_var is None
            or 1 < self.conv.groups == self.conv.in_channels
        )

    def shape(self, x: Tensor) -> Shape:
        """(N, K, P, Q) of the result; raises what the convolution would."""
        b = self.conv.bias
        return output(x.data, self.conv.weight.data, None if b is None else b.data, self.how)

    def store(self, x: Tensor, out: Array) -> None:
        """relu(norm(conv(x))) into out."""
        w, b = self.conv.weight.data, self.conv.bias
        if self.norm is None:
            kernels.conv2d(x.data, w, b if b is None else b.data, relu=True, out=out, **self.how)
        elif alone(self.conv, self.norm, x, None):
            by_known_statistics(self.conv, self.norm, x, None, True, out)
        else:
            y = conv_norm(self.conv, self.norm, x, relu=True)  # raises what does not fit
            if y.shape != out.shape:
                raise ShapeError(f"concat_branches: {y.shape} does not fit into {out.shape}")
            out[...] = y.data


def recorded(ends: list[Ending], x: Tensor) -> Tensor:
    """The last convolutions of all branches as one op."""
    xs = [t for end in ends for t in (end.before(x), end.conv.weight, end.conv.bias)]
    return conv2d_relu_concat(*xs, geometries=tuple(tuple(end.how.values()) for end in ends))


def stored(ends: list[Ending], x: Tensor) -> Tensor:
    """Branch after branch, each stored beside the one before."""
    channels = sum(end.conv.out_channels for end in ends)
    y = ends[0].before(x)
    first = ends[0].shape(y)
    n, _, p, q = first
    z, start = empty_array((n, channels, p, q), y.dtype, channels_last=True), 0
    for i, end in enumerate(ends):
        y = end.before(x) if i else y
        stop = start + end.conv.out_channels
        try:
            end.store(y, z[:, start:stop])
        except ShapeError:
            check_sizes([first] * i + [end.shape(y)])
            raise
        start = stop
    return Tensor(z)


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
    if not modules or not is_plain(ReLU, modules.pop()):
        return None
    if modules and type(modules[-1]).forward is BatchNorm2d.forward:
        norm = modules.pop()
    conv: Any = modules.pop() if modules else None
    if not isinstance(conv, Conv2d) or type(conv).forward is not Conv2d.forward:
        return None
    watched = conv._hooks or (norm is not None and norm._hooks)
    if watched:
        return None
    how = geometry("conv2d", conv.weight, conv.stride, conv.padding, conv.dilation)
    return Ending(modules, conv, norm, {**how, "groups": conv.groups})
