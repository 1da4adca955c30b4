"""Pieces that several families of networks share.

Design: what is said in more than one paper's table and is not a layer of ``minigrad.nn``: a layer
with its ReLU, which `Sequential` leaves to a maximum pool behind it; the checks of options and of
image sizes.
"""

from __future__ import annotations

from typing import Any

from minigrad import Tensor, nn
from minigrad.errors import ArgError, ShapeError


class ConvReLU(nn.Conv2d):
    """A convolution and a ReLU."""

    @nn.takes_relu
    def forward(self, x: Tensor, *, relu: bool = True) -> Tensor:
        """relu(x * w + b)."""
        return super().forward(x, relu=relu)


class BatchNormReLU(nn.BatchNorm2d):
    """Batch normalization and a ReLU in one pass over memory."""

    @nn.takes_relu
    def forward(self, x: Tensor, residual: Tensor | None = None, *, relu: bool = True) -> Tensor:
        """relu(batch_norm(x) + residual)."""
        return super().forward(x, residual, relu=relu)


def weighted(net: nn.Module) -> list[Any]:
    """The convolutions and linear layers of a net, in the order of its table."""
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def check_choice(net: str, option: str, value: object, known: tuple[Any, ...]) -> None:
    """ArgError unless the value of an option is one of those known."""
    if not any(value is k or (type(value) is type(k) and value == k) for k in known):
        *most, last = map(repr, known)
        choices = f"{', '.join(most)} or {last}" if most else last
        raise ArgError(f"{net}: {option} {value!r} is unknown; use {choices}")


def check_exact(net: str, x: Tensor, size: int, way_out: str) -> None:
    """ShapeError unless images (N, C, H, W) are `size` pixels high and wide."""
    if x.ndim == 4 and x.shape[2:] != (size, size):
        h, w = x.shape[2:]
        raise ShapeError(f"{net}: takes images of {size}x{size}, got {h}x{w} pixels; {way_out}")


def check_least(net: str, x: Tensor, size: int) -> None:
    """ShapeError unless images (N, C, H, W) are at least `size` pixels high and wide."""
    if x.ndim == 4 and min(x.shape[2:]) < size:
        h, w = x.shape[2:]
        raise ShapeError(
            f"{net}: takes images of at least {size}x{size}, got {h}x{w} pixels; resize them"
        )
