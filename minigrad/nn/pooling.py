"""Pooling layers: the argument lists of the functions in `minigrad.functional`, kept for later.

Design: no parameters, no state. Shapes: x (N, C, H, W) -> (N, C, P, Q). Which element of a tie
gets the gradient, and what ceil_mode and padding mean, is written with the functions.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad.errors import ArgError
from minigrad.nn.layers import Size, flag
from minigrad.nn.module import Module, takes_relu
from minigrad.ops.geometry import integer, pair
from minigrad.tensor import Tensor


class _Pool(Module):
    """Window, step and padding, checked."""

    def _sizes(self, kernel_size: Size, stride: Size | None, padding: Size) -> None:
        name = type(self).__name__
        self.kernel_size = pair(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(name, "stride", stride, 1)
        self.padding = pair(name, "padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ArgError(
                f"{name}: padding {self.padding} must be at most half the kernel_size "
                f"{self.kernel_size}"
            )

    def extra_repr(self) -> str:
        """Sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool):
    """The largest element of every window; `stride` defaults to `kernel_size`."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self._sizes(kernel_size, stride, padding)
        self.dilation = pair("MaxPool2d", "dilation", dilation, 1)
        self.return_indices = flag("MaxPool2d", "return_indices", return_indices)
        self.ceil_mode = flag("MaxPool2d", "ceil_mode", ceil_mode)

    @takes_relu
    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(N, C, H, W) -> (N, C, P, Q); with return_indices a pair, indices into H W second.

        relu: max(0, .) of the maxima, in the same pass over memory.
        """
        return F.max_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
            relu=relu,
        )

    def extra_repr(self) -> str:
        """Sizes and options."""
        return f"{super().extra_repr()}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(_Pool):
    """The mean of every window; padding counts as zeros unless count_include_pad is False."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self._sizes(kernel_size, stride, padding)
        self.ceil_mode = flag("AvgPool2d", "ceil_mode", ceil_mode)
        self.count_include_pad = flag("AvgPool2d", "count_include_pad", count_include_pad)
        if divisor_override is not None:
            divisor_override = integer("AvgPool2d", "divisor_override", divisor_override, 1)
        self.divisor_override = divisor_override

    def forward(self, x: Tensor, *, tanh: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, C, P, Q). tanh: the means of tanh x, in the same pass over memory."""
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            divisor_override=self.divisor_override,
            tanh=tanh,
        )


class AdaptiveAvgPool2d(Module):
    """The mean over windows chosen so that the output has `output_size` (an int, a pair; None
    keeps the input's)."""

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        super().__init__()
        sizes = (
            output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        )
        if len(sizes) != 2:
            raise ArgError(f"AdaptiveAvgPool2d: output_size takes 2 sizes, got {output_size!r}")
        rows, columns = (
            None if s is None else integer("AdaptiveAvgPool2d", "output_size", s, 1) for s in sizes
        )
        self.output_size = (rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, *output_size)."""
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        """The output's size."""
        return f"output_size={self.output_size}"
