"""Activations, linear layers and dropout under the names of torch.nn.functional.

Design: one line each; PyTorch's argument names and defaults in front of the ops, whose pages have
the formulas.  Next: ``windows.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgError, DTypeError
from ..ops.activations import Elu, Gelu, LeakyRelu, Relu, Sigmoid, Softplus, Tanh
from ..ops.geometry import check_bytes, integer, number, operand
from ..ops.linear import Linear, LinearRelu
from ..ops.loss import LogSoftmax, Softmax
from ..ops.random import Dropout, Dropout2d, Generator, check_chance
from ..ops.select import Clip
from ..ops.shape import Flatten
from ..tensor import Tensor

Value = Any  # a Tensor, or an ndarray: then a function only computes


def relu(input: Value) -> Tensor:
    """max(x, 0); relu'(0) = 0."""
    return Relu.apply(input)


def relu6(input: Value) -> Tensor:
    """min(max(x, 0), 6)."""
    return Clip.apply(input, min=0.0, max=6.0)


def leaky_relu(input: Value, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope x."""
    return LeakyRelu.apply(
        input, negative_slope=number("leaky_relu", "negative_slope", negative_slope)
    )


def elu(input: Value, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (e^x - 1)."""
    return Elu.apply(input, alpha=number("elu", "alpha", alpha))


def gelu(input: Value, approximate: str = "none") -> Tensor:
    """x times the normal distribution's P(X < x); approximate "none" or "tanh"."""
    if not isinstance(approximate, str):
        raise TypeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return Gelu.apply(input, approximate=approximate)


def silu(input: Value) -> Tensor:
    """x sigmoid(x)."""
    return input * Sigmoid.apply(input)


def softplus(input: Value, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""
    op = "softplus"
    sharpness, limit = number(op, "beta", beta), number(op, "threshold", threshold)
    return Softplus.apply(input, beta=sharpness, threshold=limit)


def sigmoid(input: Value) -> Tensor:
    """1 / (1 + e^-x)."""
    return Sigmoid.apply(input)


def logsigmoid(input: Value) -> Tensor:
    """log sigmoid(x), without overflow."""
    return -Softplus.apply(-input, threshold=np.inf)


def tanh(input: Value) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(input)


def softmax(input: Value, dim: int = -1) -> Tensor:
    """e^x / sum e^x along an axis. Raises ArgError for an axis that is not there."""
    return Softmax.apply(input, axis=dim)


def log_softmax(input: Value, dim: int = -1) -> Tensor:
    """log softmax(x) along an axis, without overflow. Raises ArgError for a missing axis."""
    return LogSoftmax.apply(input, axis=dim)


def linear(input: Value, weight: Value, bias: Value | None = None, *, relu: bool = False) -> Tensor:
    """input (..,I), weight (O,I), bias (O,) -> (..,O).  relu: max(0, .) of it, in the same pass
    over memory.  Raises ShapeError, DTypeError.
    """
    return (LinearRelu if relu else Linear).apply(input, weight, bias)


def flatten(input: Value, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from start_dim to end_dim into one, row-major."""
    return Flatten.apply(input, start_dim=start_dim, end_dim=end_dim)


def dropout(
    input: Value, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Set each number to 0 with chance p and scale the others by 1/(1-p); input itself if not
    training.  generator None means the default one.  Raises ArgError for p outside [0, 1].
    """
    check_chance("dropout", p)
    return Dropout.apply(input, p=p, generator=generator) if training and p else input


def dropout2d(
    input: Value, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Set whole channels of (N,C,..) to 0 with chance p; otherwise as dropout."""
    check_chance("dropout2d", p)
    return Dropout2d.apply(input, p=p, generator=generator) if training and p else input


def one_hot(input: Value, num_classes: int = -1) -> Tensor:
    """Class indices of any shape -> int64 of shape (.., num_classes), 1 at the index.

    num_classes -1 means the largest index + 1.  Raises DTypeError, ArgError (index out of range).
    """
    operand("one_hot", "input", input)
    labels = np.asarray(input)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: class indices must be integers, got {labels.dtype}")
    labels = labels.astype(np.int64, copy=False)
    most = int(labels.max(initial=-1))
    classes = integer("one_hot", "num_classes", num_classes, -1)
    classes = most + 1 if classes == -1 else classes
    if labels.size and (labels.min() < 0 or most >= classes):
        raise ArgError(
            f"one_hot: indices must be in 0 to {classes - 1}, got {labels.min()} to {most}"
        )
    check_bytes("one_hot", (*labels.shape, classes))
    hot = (labels[..., None] == np.arange(classes)).astype(np.int64)
    return Tensor(hot) if isinstance(input, Tensor) else hot
