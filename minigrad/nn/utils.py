"""Helpers on lists of parameters: clip gradients, view all parameters as one vector.

Design: gradients are changed in place, parameters are not (except by `vector_to_parameters`).
Names are PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.inplace import read_only
from minigrad.ops.geometry import number
from minigrad.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    *,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by one factor so that the norm of their concatenation is at most
    max_norm.

    Returns the norm before. The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch; sums
    are in float64. `norm_type` is p of the p-norm, inf for the largest element. A norm that is
    not finite makes the gradients NaN as the formula says, or raises ArgError with
    error_if_nonfinite, changing nothing. Source: Pascanu et al. 2013,
    https://arxiv.org/abs/1211.5063, algorithm 1.
    """
    max_norm, p = (
        number("clip_grad_norm_", "max_norm", max_norm),
        number("clip_grad_norm_", "norm_type", norm_type),
    )
    if not (max_norm >= 0.0 and p > 0.0):
        raise ArgError(
            "clip_grad_norm_: needs max_norm >= 0 and norm_type > 0, "
            f"got {max_norm} and {norm_type}"
        )
    grads = _gradients(parameters)
    if not grads:
        return 0.0
    norms = [_norm(grad.data, p) for grad in grads]
    total = _norm(np.array(norms), p)
    if error_if_nonfinite and not math.isfinite(total):
        raise ArgError(f"clip_grad_norm_: the norm of the gradients is {total}; they are unchanged")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:
        for grad in grads:
            grad.data *= factor
            grad.mutated_()
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip every element of every gradient to [-clip_value, clip_value]."""
    bound = number("clip_grad_value_", "clip_value", clip_value)
    if not bound >= 0.0:
        raise ArgError(f"clip_grad_value_: clip_value must be 0 or more, got {clip_value}")
    for grad in _gradients(parameters):
        np.clip(grad.data, -bound, bound, out=grad.data)
        grad.mutated_()


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All values in one new vector (n,), in order, without a tape."""
    arrays = [p.data for p in parameters]
    if len({a.dtype for a in arrays}) != 1:
        raise DTypeError(
            "parameters_to_vector: needs parameters of one dtype, "
            f"got {[str(a.dtype) for a in arrays]}"
        )
    return Tensor(np.concatenate([a.reshape(-1) for a in arrays]))


def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector (n,) back into the parameters, in order; ShapeError, and nothing changed, if
    n is not their size."""
    targets = list(parameters)
    size = sum(p.size for p in targets)
    if vector.shape != (size,):
        raise ShapeError(
            f"vector_to_parameters: the parameters have {size} elements, "
            f"the vector shape {vector.shape}"
        )
    for p in targets:
        if not p.data.flags.writeable:
            raise read_only("vector_to_parameters", p)
    start = 0
    for p in targets:
        p.data[...] = vector.data[start : start + p.size].reshape(p.shape)
        p.mutated_()
        start += p.size


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in listed if p.grad is not None]


def _norm(a: Array, p: float) -> float:
    """The p-norm of all elements, in float64."""
    magnitudes = np.abs(a).astype(np.float64).reshape(-1)
    if math.isinf(p):
        return float(magnitudes.max(initial=0.0))
    if p == 2.0:
        return math.sqrt(float(magnitudes @ magnitudes))
    return float(np.sum(magnitudes**p) ** (1.0 / p))
