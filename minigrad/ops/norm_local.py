"""Normalizations within one sample: across channels (LRN), over a layer, over groups of channels.

Design: local response normalization is fused, with a ``composite`` that sums the window of channels
by a banded matrix.  Layer and group normalization are one derivation in two layouts; their rule is
made of ops and takes mean and variance again from x, so that every order of derivative sees how
they move with x.  Next: ``loss.py``.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad._kernels import norm as kernels
from minigrad.errors import ArgError, ShapeError
from minigrad.op import Op
from minigrad.ops.elementwise import sqrt
from minigrad.ops.geometry import Array, Shape, images, integer, number, same_dtype
from minigrad.ops.linear import matmul
from minigrad.ops.norm import axes_but_channels, check_eps, column


def band(channels: int, size: int) -> Array:
    """(C, C): whether channel j is in c's window, from size//2 before to (size-1)//2 after c.

    >>> band(3, 2).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """
    c = np.arange(channels)
    after = c[None, :] - c[:, None]  # (C, C), how far j lies after c
    return (-(size // 2) <= after) & (after <= (size - 1) // 2)


class LocalResponseNorm(Op):
    """y = x / (k + alpha/size sum of x^2 over neighboring channels)^beta.

    Shapes    x, y: (N, C, H, W); size: channels in a window, size//2 before and (size-1)//2 after
              the channel; it may be even or exceed C
    Forward   s[c] = k + alpha/size sum_j x[j]^2, j in the window of c;  y[c] = x[c] s[c]^-beta
              (at each pixel; with k = 0 a window of zeros gives 0/0 = NaN)
    Backward  dL/dx[j] = dL/dy[j] s[j]^-beta
                         - 2 alpha beta/size x[j] sum_c dL/dy[c] x[c] s[c]^(-beta-1)
                         because x[j] is in y[j] and in each s[c] whose window holds j: sum over c
    Keeps     x
    Example
        >>> x = np.array([3.0, 4.0]).reshape(1, 2, 1, 1)
        >>> local_response_norm(x, size=3, alpha=3.0, beta=0.5, k=0.0).ravel()
        array([0.6, 0.8])

    Reference Krizhevsky, Sutskever and Hinton 2012, section 3.3; alpha/size as in PyTorch, where
              the paper has alpha
    """

    def forward(x, *, size, alpha=1e-4, beta=0.75, k=1.0):
        op = "local_response_norm"
        integer(op, "size", size, 1)
        for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
            if not np.isfinite(number(op, name, value)):
                raise ArgError(f"{op}: {name} must be finite, got {value}")
        if k < 0 or alpha < 0:
            raise ArgError(f"{op}: k and alpha must not be negative, got k={k}, alpha={alpha}")
        images(op, "x", x)
        return kernels.local_response_norm(x, size=size, alpha=alpha, beta=beta, k=k)

    def grads(gy, needs, x, size, alpha, beta, k):
        gx = kernels.local_response_norm_grad(gy, x, size=size, alpha=alpha, beta=beta, k=k)
        return (gx,)

    def composite(x, *, size, alpha=1e-4, beta=0.75, k=1.0):
        n, c, h, w = x.shape
        near = matmul(band(c, size).astype(x.dtype), (x * x).reshape((n, c, h * w)))
        s = float(k) + float(alpha) / size * near.reshape(x.shape)
        return x * s ** -float(beta)


def standardize(x, axes):
    """Return (x - mean, var) over `axes`, from which both norms below start."""
    d = x - x.mean(axis=axes, keepdims=True)
    return d, (d * d).mean(axis=axes, keepdims=True)


def standardize_grad(gxhat, d, rstd, axes):
    """The gradient through xhat = (x - mean) rstd, where mean and rstd move with x."""
    xhat = d * rstd
    along_mean = gxhat.mean(axis=axes, keepdims=True)
    along_xhat = (gxhat * xhat).mean(axis=axes, keepdims=True)
    return rstd * (gxhat - along_mean - xhat * along_xhat)


class LayerNorm(Op):
    """y = gamma xhat + beta, xhat = x with mean 0 and variance 1 over its last axes.

    Shapes    x, y: any; gamma, beta: shape = x's last axes, or None (1, 0)
    Forward   mean, var over the axes of `shape`, sample by sample;
              xhat = (x - mean) / sqrt(var + eps);  y = gamma xhat + beta
    Backward  with gxhat = dL/dy gamma and < > the mean over the axes of `shape`
              dL/dx = (gxhat - <gxhat> - xhat <gxhat xhat>) / sqrt(var + eps)
                                                because mean and var move with x as well
              dL/dgamma = sum dL/dy xhat        because dy/dgamma = xhat; sum over samples
              dL/dbeta = sum dL/dy              because dy/dbeta = 1
    Keeps     x, gamma
    Example
        >>> layer_norm(np.array([[1.0, 3.0], [10.0, 6.0]]), shape=(2,), eps=1e-12)
        array([[-1.,  1.],
               [ 1., -1.]])

    Reference Ba, Kiros and Hinton, "Layer normalization", 2016, equations 3 and 4
    """

    def forward(x, gamma=None, beta=None, *, shape, eps=1e-5):
        op = "layer_norm"
        eps = check_eps(op, eps)
        same_dtype(op, "x", x, weight=gamma, bias=beta)
        check_layer(op, x.shape, shape, weight=gamma, bias=beta)
        d, var = standardize(x, last_axes(x.ndim, shape))
        d /= np.sqrt(var + eps)
        y = d if gamma is None else d * gamma
        return y if beta is None else y + beta

    def grads(gy, needs, x, gamma, shape, eps):
        axes, samples = last_axes(x.ndim, shape), tuple(range(x.ndim - len(shape)))
        d, var = standardize(x, axes)
        rstd = 1 / sqrt(var + float(eps))
        gxhat = gy if gamma is None else gy * gamma
        return (
            standardize_grad(gxhat, d, rstd, axes) if needs[0] else None,
            (gy * d * rstd).sum(axis=samples) if needs[1] else None,
            gy.sum(axis=samples) if needs[2] else None,
        )


def last_axes(ndim: int, shape: Shape) -> tuple[int, ...]:
    """The axes that `shape` names: the last ones."""
    return tuple(range(ndim - len(shape), ndim))


def check_layer(op: str, x_shape: Shape, shape: object, **affine: Array | None) -> None:
    """`shape` is how x's shape ends, and weight and bias have it."""
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise TypeError(f"{op}: normalized_shape must be an int or a tuple of ints, got {shape!r}")
    if not shape or x_shape[-len(shape) :] != shape or 0 in shape:
        raise ShapeError(
            f"{op}: normalized_shape {shape} must be how x's shape ends, and not empty; "
            f"x has shape {x_shape}"
        )
    for name, a in affine.items():
        if a is not None and a.shape != shape:
            raise ShapeError(f"{op}: {name} has shape {a.shape}, expected {shape}")


def by_group(shape: Shape, groups: int) -> tuple[int, int, int]:
    """(N, G, values in a group) of x's shape (N, C, ...)."""
    return shape[0], groups, math.prod(shape[1:]) // groups


class GroupNorm(Op):
    """y = gamma xhat + beta, xhat = x with mean 0 and variance 1 per sample and group of channels.

    Shapes    x, y: (N, C, ...); gamma, beta: (C,) or None (1, 0); groups divides C
    Forward   mean, var over the C/groups channels and all pixels of a group, sample by sample;
              xhat = (x - mean) / sqrt(var + eps);  y = gamma xhat + beta
    Backward  with gxhat = dL/dy gamma and < > the mean over a group
              dL/dx = (gxhat - <gxhat> - xhat <gxhat xhat>) / sqrt(var + eps)
                                                because mean and var move with x as well
              dL/dgamma = sum dL/dy xhat        because dy/dgamma = xhat; over samples and pixels
              dL/dbeta = sum dL/dy              because dy/dbeta = 1
    Keeps     x, gamma
    Example
        >>> x = np.array([[1.0, 3.0, 10.0, 6.0]])
        >>> group_norm(x, groups=2, eps=1e-12)
        array([[-1.,  1.,  1., -1.]])

    Reference Wu and He, "Group normalization", 2018, section 3.1
    """

    def forward(x, gamma=None, beta=None, *, groups, eps=1e-5):
        op = "group_norm"
        eps = check_eps(op, eps)
        integer(op, "num_groups", groups, 1)
        same_dtype(op, "x", x, weight=gamma, bias=beta)
        if x.ndim < 2 or 0 in x.shape[1:]:
            raise ShapeError(f"{op}: expected x (N, C, ...) that is not empty, got {x.shape}")
        if x.shape[1] % groups:
            raise ShapeError(f"{op}: x has {x.shape[1]} channels, not divisible by {groups} groups")
        for name, a in (("weight", gamma), ("bias", beta)):
            if a is not None and a.shape != x.shape[1:2]:
                raise ShapeError(f"{op}: {name} has shape {a.shape}, expected ({x.shape[1]},)")
        d, var = standardize(x.reshape(by_group(x.shape, groups)), 2)
        y = (d / np.sqrt(var + eps)).reshape(x.shape)
        y = y if gamma is None else y * gamma.reshape(column(x.ndim))
        return y if beta is None else y + beta.reshape(column(x.ndim))

    def grads(gy, needs, x, gamma, groups, eps):
        column_shape, grouped = column(x.ndim), by_group(x.shape, groups)
        d, var = standardize(x.reshape(grouped), 2)
        rstd = 1 / sqrt(var + float(eps))
        gxhat = gy if gamma is None else gy * gamma.reshape(column_shape)
        axes = axes_but_channels(x.ndim)
        return (
            standardize_grad(gxhat.reshape(grouped), d, rstd, 2).reshape(x.shape)
            if needs[0]
            else None,
            (gy * (d * rstd).reshape(x.shape)).sum(axis=axes) if needs[1] else None,
            gy.sum(axis=axes) if needs[2] else None,
        )


local_response_norm = LocalResponseNorm.apply
layer_norm = LayerNorm.apply
group_norm = GroupNorm.apply
