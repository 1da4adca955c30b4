"""Activations as modules, for `Sequential`; the functions and their derivatives are in
`minigrad.functional`.

Design: elementwise and without parameters; the shape never changes, except that the softmaxes
need an axis.
"""

from __future__ import annotations

import minigrad.functional as F
from minigrad.errors import ArgError
from minigrad.nn.module import Module
from minigrad.ops.geometry import integer, number
from minigrad.tensor import Tensor


class ReLU(Module):
    """max(x, 0). Source: Nair and Hinton 2010."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6). Source: Krizhevsky 2010, "Convolutional deep belief networks on
    CIFAR-10"."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x. Source: Maas et al. 2013."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """x where x > 0, else alpha (exp(x) - 1). Source: Clevert et al. 2016."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        """The limit at minus infinity."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """x Phi(x), or its tanh approximation. Source: Hendrycks and Gimpel 2016."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Which of the two."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x / (1 + exp(-x)). Source: Elfwing et al. 2018, https://arxiv.org/abs/1702.03118."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.silu(x)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = number("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The two constants."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.sigmoid(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.tanh(x)


class Softmax(Module):
    """exp(x) / sum exp(x) along axis `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = integer(type(self).__name__, "dim", dim, -64)

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """x - log sum exp(x) along axis `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return F.log_softmax(x, self.dim)
