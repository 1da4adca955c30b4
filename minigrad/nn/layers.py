"""Layers with weights: Linear, Conv2d, ConvTranspose2d; and Flatten, Identity, Dropout.

Design: a layer holds parameters and calls one function of `minigrad.functional`, where the
mathematics is. Names, argument order, shapes and starting values are PyTorch's (weights uniform
on +-1/sqrt(fan_in), the same for biases). Flags are keyword-only. Shapes: N images, C channels, H
rows, W columns. Next: `norm.py`, `pooling.py`.
"""

from __future__ import annotations

import math

import minigrad.functional as F
from minigrad.errors import ArgError
from minigrad.nn import init
from minigrad.nn.meta import filled
from minigrad.nn.module import Module, takes_relu
from minigrad.nn.parameter import Parameter
from minigrad.ops.geometry import integer, number, pair, quad
from minigrad.ops.random import Generator
from minigrad.tensor import Tensor

Size = int | tuple[int, int]
Padding = int | str | tuple[int, int] | tuple[int, int, int, int]


def starting_values(
    weight: Parameter, bias: Parameter | None, generator: Generator | None = None
) -> None:
    """PyTorch's default: weight and bias uniform on +-1/sqrt(fan_in).

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.6, up to a factor sqrt(3).
    """
    bound = 1.0 / math.sqrt(max(init.fans(weight)[0], 1))
    init.kaiming_uniform_(weight, a=math.sqrt(5.0), generator=generator)
    if bias is not None:
        init.uniform_(bias, -bound, bound, generator)


def new(*shape: int) -> Parameter:
    """A float32 parameter of zeros, to be filled by `reset_parameters`."""
    return Parameter(filled(shape, 0))


def flag(layer: str, name: str, value: bool) -> bool:
    """The value if it is True or False; TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{layer}: {name} must be True or False, got {value!r}")
    return value


class Linear(Module):
    """y = x W^T + b: x (..., I) -> (..., O), weight (O, I), bias (O,)."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, 1)
        self.out_features = integer("Linear", "out_features", out_features, 1)
        self.weight = new(out_features, in_features)
        self.bias = new(out_features) if flag("Linear", "bias", bias) else None
        self.reset_parameters()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the starting values anew."""
        starting_values(self.weight, self.bias, generator)

    @takes_relu
    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """x (..., I) -> (..., O); relu: max(0, .) of it, in the same pass over memory."""
        return F.linear(x, self.weight, self.bias, relu=relu)

    def extra_repr(self) -> str:
        """Sizes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class _Convolution(Module):
    """What the two convolutions have in common: sizes and their checks."""

    weight: Parameter
    bias: Parameter | None
    stride: tuple[int, int]

    def _sizes(self, in_channels: int, out_channels: int, kernel_size: Size, groups: int) -> None:
        name = type(self).__name__
        self.in_channels = integer(name, "in_channels", in_channels, 1)
        self.out_channels = integer(name, "out_channels", out_channels, 1)
        self.groups = integer(name, "groups", groups, 1)
        self.kernel_size = pair(name, "kernel_size", kernel_size, 1)
        for which, count in (("in_channels", in_channels), ("out_channels", out_channels)):
            if count % groups:
                raise ArgError(f"{name}: {which} {count} is not divisible by groups {groups}")

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the starting values anew."""
        starting_values(self.weight, self.bias, generator)

    def _sizes_text(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )


class Conv2d(_Convolution):
    """Cross-correlation: x (N, C, H, W) -> (N, K, P, Q), weight (K, C/groups, R, S), bias (K,).

    P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1. `padding` is an int, (rows,
    columns), (top, bottom, left, right), "same" (stride 1) or "valid".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._sizes(in_channels, out_channels, kernel_size, groups)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        self.padding = _padding(padding, self.stride)
        self.weight = new(out_channels, in_channels // groups, *self.kernel_size)
        self.bias = new(out_channels) if flag("Conv2d", "bias", bias) else None
        self.reset_parameters()

    @takes_relu
    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """x (N, C, H, W) -> (N, K, P, Q); relu: max(0, .) of it, in the same pass over memory."""
        return F.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            relu=relu,
        )

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = self._sizes_text()
        text += f", padding={self.padding!r}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


def _padding(padding: Padding, stride: tuple[int, int]) -> Padding:
    """The padding as a pair, as four numbers, "same" or "valid"."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ArgError(f"Conv2d: padding must be 'same', 'valid' or numbers, got {padding!r}")
        if padding == "same" and stride != (1, 1):
            raise ArgError(f"Conv2d: padding 'same' needs stride 1, got {stride}")
        return padding
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        return quad("Conv2d", padding)
    return pair("Conv2d", "padding", padding, 0)


class ConvTranspose2d(_Convolution):
    """The transpose of Conv2d's linear map: x (N, C, H, W) -> (N, K, P, Q), weight (C, K/groups,
    R, S), bias (K,).

    P = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        *,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        super().__init__()
        self._sizes(in_channels, out_channels, kernel_size, groups)
        self.stride = pair("ConvTranspose2d", "stride", stride, 1)
        self.padding = pair("ConvTranspose2d", "padding", padding, 0)
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, 0)
        self.dilation = pair("ConvTranspose2d", "dilation", dilation, 1)
        self.weight = new(in_channels, out_channels // groups, *self.kernel_size)
        self.bias = new(out_channels) if flag("ConvTranspose2d", "bias", bias) else None
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, K, P, Q)."""
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = self._sizes_text()
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", output_padding={self.output_padding}" if self.output_padding != (0, 0) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class Dropout(Module):
    """In training each element is zero with probability p, else divided by 1 - p; in evaluation
    the identity.

    Source: Srivastava et al. 2014, in the inverted form.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = number(type(self).__name__, "p", p)
        if not 0.0 <= self.p <= 1.0:
            raise ArgError(f"{type(self).__name__}: p is a probability between 0 and 1, got {p}")

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Dropout of whole channels of x (N, C, H, W). Source: Tompson et al. 2015."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return F.dropout2d(x, self.p, training=self.training)


class Flatten(Module):
    """One axis instead of the axes from start_dim to end_dim (in N C H W order): (N, C, H, W) ->
    (N, C H W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = integer("Flatten", "start_dim", start_dim, -64)
        self.end_dim = integer("Flatten", "end_dim", end_dim, -64)

    def forward(self, x: Tensor) -> Tensor:
        """Axes start_dim to end_dim become one."""
        return F.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """y = x."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x itself."""
        return x
