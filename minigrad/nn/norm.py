"""Normalisation layers: BatchNorm1d/2d, LayerNorm, GroupNorm, LocalResponseNorm.

Design: what happens to the numbers is in `minigrad.functional`; here live the parameters, the
running statistics and the question whether we train. Names, arguments and `state_dict` keys are
PyTorch's. BatchNorm's forward takes a residual and a ReLU with it, which is one sweep over memory
instead of three.

Sources: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167; Ba et al. 2016,
https://arxiv.org/abs/1607.06450; Wu and He 2018, https://arxiv.org/abs/1803.08494; Krizhevsky et
al. 2012, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import minigrad.functional as F
from minigrad.checkpointing import recomputing
from minigrad.errors import ArgError, ShapeError
from minigrad.nn import init
from minigrad.nn.layers import flag, new
from minigrad.nn.meta import filled
from minigrad.nn.module import Module, takes_relu
from minigrad.nn.parameter import Parameter
from minigrad.ops.geometry import integer, number
from minigrad.tensor import Tensor


def _eps(layer: str, eps: float) -> float:
    eps = number(layer, "eps", eps)
    if not 0.0 < eps < math.inf:
        raise ArgError(f"{layer}: eps must be greater than 0, got {eps}")
    return eps


class _BatchNorm(Module):
    """y = (x - mean) / sqrt(var + eps) gamma + beta per channel.

    In training mean and (biased) var are the batch's, and the running ones move towards them by
    `momentum` (towards the unbiased variance); momentum None means the plain average of all
    batches. In evaluation the running ones are used, or the batch's where track_running_stats is
    False.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    ranks: tuple[int, ...] = ()
    shapes: str = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = integer(name, "num_features", num_features, 1)
        self.eps = _eps(name, eps)
        self.momentum = None if momentum is None else number(name, "momentum", momentum)
        if self.momentum is not None and not 0.0 <= self.momentum <= 1.0:
            raise ArgError(
                f"{name}: momentum must lie between 0 and 1 (or be None), got {momentum}"
            )
        self.affine = flag(name, "affine", affine)
        self.track_running_stats = flag(name, "track_running_stats", track_running_stats)
        self.weight = new(num_features) if affine else None
        self.bias = new(num_features) if affine else None
        start = {
            "running_mean": filled((num_features,), 0),
            "running_var": filled((num_features,), 1),
            "num_batches_tracked": filled((), 0, np.int64),
        }
        for buffer, value in start.items():
            self.register_buffer(buffer, Tensor(value) if track_running_stats else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """gamma = 1, beta = 0, no batch seen."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)
        self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        if (
            self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        ):
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    @takes_relu
    def forward(self, x: Tensor, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """Normalise x, add `residual` (of x's shape) if given, apply ReLU if asked; the shape
        stays."""
        name = type(self).__name__
        if x.ndim not in self.ranks:
            raise ShapeError(f"{name}: expected {self.shapes}, got {x.ndim}-D {x.shape}")
        if x.shape[1] != self.num_features:
            raise ShapeError(
                f"{name}: x has {x.shape[1]} channels, the layer {self.num_features} (x {x.shape})"
            )
        affine = (self.weight, self.bias)
        how: Any = dict(eps=self.eps, residual=residual, relu=relu)
        if not self.training and self.running_mean is not None:
            return F.batch_norm(x, self.running_mean, self.running_var, *affine, **how)
        with self.batch() as (mean, var, momentum):
            return F.batch_norm(x, mean, var, *affine, training=True, momentum=momentum, **how)

    @contextmanager
    def batch(self) -> Iterator[tuple[Tensor | None, Tensor | None, float]]:
        """While a batch is normalized by its own statistics: the running mean and variance that
        they go into, (None, None) if into none, and their weight there. Counts the batch."""
        if not self.training or self.num_batches_tracked is None or recomputing():
            yield None, None, 0.0
            return
        yield self.running_mean, self.running_var, self._next_momentum()
        self.num_batches_tracked.data[...] += 1
        self.num_batches_tracked.mutated_()

    def _next_momentum(self) -> float:
        """The weight of the coming batch in the running statistics, which must be writable."""
        for name in self._buffers:
            if not self.__dict__[name].data.flags.writeable:
                raise ValueError(
                    f"{type(self).__name__}: {name} is read-only and cannot be updated; "
                    "call eval() to use it as it is"
                )
        if self.momentum is not None:
            return self.momentum
        return 1.0 / (1 + int(self.__dict__["num_batches_tracked"].data))

    def extra_repr(self) -> str:
        """Size and options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x (N, C) or (N, C, L), per channel C."""

    ranks = (2, 3)
    shapes = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x (N, C, H, W), per channel C over N, H and W."""

    ranks = (4,)
    shapes = "(N, C, H, W)"


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) gamma + beta, statistics over the last axes, whose shape
    is given."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        *,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = (
            normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        )
        self.normalized_shape = tuple(
            integer("LayerNorm", "normalized_shape", size, 1) for size in sizes
        )
        if not sizes:
            raise ArgError("LayerNorm: normalized_shape names no axis")
        self.eps = _eps("LayerNorm", eps)
        self.elementwise_affine = flag("LayerNorm", "elementwise_affine", elementwise_affine)
        self.weight = new(*self.normalized_shape) if elementwise_affine else None
        self.bias = (
            new(*self.normalized_shape)
            if elementwise_affine and flag("LayerNorm", "bias", bias)
            else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """gamma = 1, beta = 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Shape and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise x (N, C, ...) over groups of C/num_groups channels and all pixels; gamma and beta
    per channel."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, *, affine: bool = True
    ) -> None:
        super().__init__()
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ArgError(
                f"GroupNorm: num_channels {num_channels} is not divisible by "
                f"num_groups {num_groups}"
            )
        self.eps = _eps("GroupNorm", eps)
        self.affine = flag("GroupNorm", "affine", affine)
        self.weight = new(num_channels) if affine else None
        self.bias = new(num_channels) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """gamma = 1, beta = 0."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes and options."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LocalResponseNorm(Module):
    """y = x / (k + alpha/size sum of x^2 over `size` neighbouring channels)^beta; Krizhevsky et
    al. 2012, section 3.3.

    PyTorch's definition: the paper's alpha is alpha/size here.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = integer("LocalResponseNorm", "size", size, 1)
        self.alpha = number("LocalResponseNorm", "alpha", alpha)
        self.beta = number("LocalResponseNorm", "beta", beta)
        self.k = number("LocalResponseNorm", "k", k)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The four constants."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
