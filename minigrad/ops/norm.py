"""Batch normalization, with the ReLU and the residual addition that follow it in a ResNet.

Design: fused ops.  One kernel reads x once for the statistics and once to normalize, rectify and
add, and ``grads`` does all gradients in one sweep, recomputing the ReLU's mask from x instead of
keeping it.  ``composite`` says the same in small ops: it is the definition, the oracle of the tests
and what ``create_graph=True`` differentiates.

Absent on purpose: running averages.  An op changes nothing; ``functional.batch_norm`` owns that.
Next: ``norm_local.py`` for the other normalizations.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad._engine import TensorBase
from minigrad._kernels import norm as kernels
from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.activations import relu as rectify
from minigrad.ops.elementwise import sqrt
from minigrad.ops.geometry import Array, Shape, number, same_dtype


def check_eps(op: str, eps: object) -> float:
    """eps, a positive number, as a float: a NumPy number would change the dtype."""
    value = number(op, "eps", eps)
    if not 0 < value < float("inf"):
        raise ArgError(f"{op}: eps must be positive and finite, got {eps}")
    return value


def _check(
    op: str, x: Array, eps: object, residual: Array | None, **channels: Array | None
) -> None:
    """x is (N, C) or (N, C, H, W); what is per channel has shape (C,), residual x's shape."""
    same_dtype(op, "x", x, **channels, residual=residual)
    if x.ndim not in (2, 4):
        raise ShapeError(f"{op}: expected x (N,C) or (N,C,H,W), got {x.ndim}-D {x.shape}")
    check_norm(op, x.shape, eps, residual, **channels)


def check_norm(
    op: str, shape: Shape, eps: object, residual: Array | None, **channels: Array | None
) -> None:
    """What goes with x of a shape: eps, arrays (C,), and a residual of that shape."""
    check_eps(op, eps)
    for name, a in channels.items():
        if a is not None and a.shape != (shape[1],):
            raise ShapeError(
                f"{op}: {name} has shape {a.shape} but x has {shape[1]} channels: "
                f"expected ({shape[1]},) for x {shape}"
            )
    if residual is not None and residual.shape != shape:
        raise ShapeError(
            f"{op}: residual has shape {residual.shape} but x has {shape}; they must be equal"
        )


def check_many(op: str, shape: Shape) -> None:
    """ArgError where a channel of x has one value or none: its variance says nothing."""
    if math.prod(shape) <= shape[1]:
        raise ArgError(
            f"{op}: variance needs >1 value per channel in training, got x {shape}; "
            f"use a larger batch or training=False"
        )


def axes_but_channels(ndim: int) -> tuple[int, ...]:
    """Every axis but 1, over which a channel's statistics are taken."""
    return (0, *range(2, ndim))


def column(ndim: int) -> Shape:
    """The shape in which a per-channel vector broadcasts against x: (1, C, 1, 1)."""
    return (1, -1, *(1,) * (ndim - 2))


def _affine(xhat, gamma, beta, residual, relu):
    """relu(gamma xhat + beta + residual) of what is given, in small ops."""
    shape = column(xhat.ndim)
    y = xhat if gamma is None else xhat * gamma.reshape(shape)
    y = y if beta is None else y + beta.reshape(shape)
    y = y if residual is None else y + residual
    return rectify(y) if relu else y


class BatchNorm(Op, byproducts=("mean", "var")):
    """y = relu(gamma xhat + beta + residual), xhat = x with mean 0 and variance 1 per channel.

    Shapes    x, residual, y: (N, C) or (N, C, H, W); gamma, beta, mean, var: (C,); m = N H W
              gamma, beta, residual may be None (1, 0, 0); without relu, relu(z) reads z
              moments: None, or (mean, var) of this x from who has them (conv2d_moments)
    Forward   mean = 1/m sum x;  var = 1/m sum (x - mean)^2;  xhat = (x - mean) / sqrt(var + eps)
              y = relu(gamma xhat + beta + residual)
    Backward  with gz = dL/dy where y > 0, else 0
              dL/dgamma = sum gz xhat      because dy/dgamma = xhat
              dL/dbeta = sum gz            because dy/dbeta = 1
              dL/dx = gamma / sqrt(var + eps) (gz - dL/dbeta / m - xhat dL/dgamma / m)
                                           because mean and var move with x as well
              dL/dresidual = gz            because the residual is only added
    Keeps     x, gamma, beta, residual, mean, var; the mask is recomputed
    Example
        >>> x = np.array([[1.0], [3.0]])
        >>> batch_norm(x, eps=1e-12)
        array([[-1.],
               [ 1.]])
        >>> y, mean, var = batch_norm.full(x, eps=1e-12)
        >>> mean, var
        (array([2.]), array([1.]))

    Reference Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1 and section 3;
              He et al. 2016, figure 2, for the residual
    """

    def forward(x, gamma=None, beta=None, residual=None, *, eps, relu=False, moments=None):
        _check("batch_norm", x, eps, residual, weight=gamma, bias=beta)
        check_many("batch_norm", x.shape)
        if moments is None:
            return kernels.batch_norm(x, gamma, beta, residual, eps=eps, relu=relu)
        normalize = kernels.batch_norm_inference
        return normalize(x, gamma, beta, *moments, residual, eps=eps, relu=relu), *moments

    def grads(gy, needs, x, gamma, beta, mean, var, residual, eps, relu):
        flags = {"eps": eps, "relu": relu, "needs_residual": needs[3]}
        gradients = kernels.batch_norm_grad(gy, x, gamma, beta, mean, var, residual, **flags)
        return tuple(g if need else None for g, need in zip(gradients, needs, strict=True))

    def composite(x, gamma=None, beta=None, residual=None, *, eps, relu=False, moments=None):
        axes = axes_but_channels(x.ndim)
        d = x - x.mean(axis=axes, keepdims=True)
        var = (d * d).mean(axis=axes, keepdims=True)
        return _affine(d / sqrt(var + float(eps)), gamma, beta, residual, relu)


class BatchNormInference(Op):
    """y = relu(gamma (x - mean) / sqrt(var + eps) + beta + residual), statistics given.

    Shapes    x, residual, y: (N, C) or (N, C, H, W); mean, var, gamma, beta: (C,)
              gamma, beta, residual may be None (1, 0, 0); without relu, relu(z) reads z
    Forward   xhat = (x - mean) / sqrt(var + eps);  y = relu(gamma xhat + beta + residual)
    Backward  with gz = dL/dy where y > 0, else 0
              dL/dx = gz gamma / sqrt(var + eps)   because mean and var are constants here
              dL/dgamma = sum gz xhat              because dy/dgamma = xhat
              dL/dbeta = sum gz                    because dy/dbeta = 1
              dL/dresidual = gz                    because the residual is only added
              mean and var get no gradient: they are records of the past
    Keeps     the inputs; the mask is recomputed
    Example
        >>> mean, var = np.array([1.0]), np.array([3.0])
        >>> batch_norm_inference(np.array([[3.0]]), mean, var, eps=1.0)
        array([[1.]])

    Reference Ioffe and Szegedy 2015, algorithm 2
    """

    def forward(x, mean, var, gamma=None, beta=None, residual=None, *, eps, relu=False):
        _check(
            "batch_norm", x, eps, residual,
            running_mean=mean, running_var=var, weight=gamma, bias=beta,
        )  # fmt: skip
        return kernels.batch_norm_inference(x, gamma, beta, mean, var, residual, eps=eps, relu=relu)

    def grads(gy, needs, x, mean, var, gamma, beta, residual, eps, relu):
        flags = {"eps": eps, "relu": relu, "needs_residual": needs[5]}
        gx, ggamma, gbeta, gresidual = kernels.batch_norm_inference_grad(
            gy, x, gamma, beta, mean, var, residual, **flags
        )
        gradients = (gx, None, None, ggamma, gbeta, gresidual)
        return tuple(g if need else None for g, need in zip(gradients, needs, strict=True))

    def composite(x, mean, var, gamma=None, beta=None, residual=None, *, eps, relu=False):
        shape = column(x.ndim)
        mean, var = (t.data if isinstance(t, TensorBase) else t for t in (mean, var))
        xhat = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + float(eps))
        return _affine(xhat, gamma, beta, residual, relu)


batch_norm = BatchNorm.apply
batch_norm_inference = BatchNormInference.apply
