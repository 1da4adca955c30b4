"""Design: normalizations from their papers' equations, one line an equation.

Batch normalization takes x (N,C) or (N,C,H,W) and works over every axis but 1; with `residual` and
`relu` it is y = relu(gamma xhat + beta + residual). The variance is the mean of (x - m)^2, never
E[x^2] - m^2, and divides by m = N*H*W (the running average's N - 1 is nn's affair). gamma and beta
may be None: 1 and 0.

No running averages and no modes here: training and inference are two functions.

Reference: Ioffe and Szegedy 2015, algorithms 1 and 2; Krizhevsky, Sutskever and Hinton 2012,
section 3.3; Ba, Kiros and Hinton 2016; Wu and He 2018.
Where to go next: `loss.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.reference.elementwise import relu as _relu
from minigrad.reference.elementwise import relu_grad

Array = NDArray[Any]


def _axes(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _col(v: Array | None, x: Array, default: float) -> Array:
    """(C,) -> (1,C) or (1,C,1,1), to be broadcast against x; None -> default."""
    if v is None:
        v = np.full(x.shape[1], default, x.dtype)
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance (C,) of x (N,C) or (N,C,H,W), over every axis but 1; 0 of none."""
    if not x.size:
        return np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
    mean = x.mean(axis=_axes(x))
    return mean, ((x - _col(mean, x, 0)) ** 2).mean(axis=_axes(x))


def batch_norm_inference(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool = False,
) -> Array:
    """y = gamma (x - mean) / sqrt(var + eps) + beta (+ residual), then relu if asked for."""
    xhat = (x - _col(mean, x, 0)) / np.sqrt(_col(var, x, 1) + eps)
    z = _col(gamma, x, 1) * xhat + _col(beta, x, 0)
    if residual is not None:
        z = z + residual
    return _relu(z) if relu else z


def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool = False,
) -> tuple[Array, Array, Array]:
    """x (N,C) or (N,C,H,W) -> (y as x, mean (C,), biased var (C,)), statistics from x itself."""
    mean, var = moments(x)
    y = batch_norm_inference(x, gamma, beta, mean, var, residual, eps=eps, relu=relu)
    return y, mean, var


def batch_norm_grad(
    gy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool = False,
    needs_residual: bool = False,
) -> tuple[Array, Array, Array, Array | None]:
    """-> (gx as x, ggamma (C,), gbeta (C,), gresidual as x or None).

    mean and var depend on x, which adds two paths to gx (Ioffe and Szegedy, section 3):
    gvar = sum gxhat (x - mean) (-1/2) (var + eps)^(-3/2), and gmean = sum gxhat (-rstd), because
    var does not change with mean at the mean.
    """
    axes, m = _axes(x), x.size // max(x.shape[1], 1)
    d = x - _col(mean, x, 0)
    rstd = 1 / np.sqrt(_col(var, x, 1) + eps)  # (1, C, 1, 1)
    gz = gy
    if relu:
        z = batch_norm_inference(x, gamma, beta, mean, var, residual, eps=eps)
        gz = relu_grad(gy, z)
    gbeta = gz.sum(axis=axes)
    ggamma = (gz * d * rstd).sum(axis=axes)
    gxhat = gz * _col(gamma, x, 1)
    gvar = (gxhat * d).sum(axis=axes, keepdims=True) * -0.5 * rstd**3
    gmean = -(gxhat * rstd).sum(axis=axes, keepdims=True)
    gx = gxhat * rstd + gvar * 2 * d / max(m, 1) + gmean / max(m, 1)
    return gx, ggamma, gbeta, gz if needs_residual else None


def batch_norm_inference_grad(
    gy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None = None,
    *,
    eps: float,
    relu: bool = False,
    needs_residual: bool = False,
) -> tuple[Array, Array, Array, Array | None]:
    """As `batch_norm_grad` with mean and var constant: gx = gz gamma / sqrt(var + eps)."""
    rstd = 1 / np.sqrt(_col(var, x, 1) + eps)
    gz = gy
    if relu:
        gz = relu_grad(gy, batch_norm_inference(x, gamma, beta, mean, var, residual, eps=eps))
    gbeta = gz.sum(axis=_axes(x))
    ggamma = (gz * (x - _col(mean, x, 0)) * rstd).sum(axis=_axes(x))
    gx = gz * _col(gamma, x, 1) * rstd
    return gx, ggamma, gbeta, gz if needs_residual else None


def _window(c: int, size: int, channels: int) -> slice:
    """Channels that normalize channel c: size//2 before it, (size - 1)//2 after it."""
    return slice(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, channels))


def _lrn_scale(x: Array, size: int, alpha: float, k: float) -> Array:
    """s_c = k + alpha/size sum of x_j^2 over the window of c; shape of x."""
    scale = np.full_like(x, k)
    for c in range(x.shape[1]):
        near = x[:, _window(c, size, x.shape[1])]
        scale[:, c] += alpha / size * (near * near).sum(axis=1)
    return scale


def local_response_norm(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """x (N,C,H,W) -> y = x / s^beta, s_c = k + alpha/size sum_j x_j^2 (PyTorch's alpha/size)."""
    return x * _lrn_scale(x, size, alpha, k) ** -beta


def local_response_norm_grad(
    gy: Array, x: Array, *, size: int, alpha: float, beta: float, k: float
) -> Array:
    """gy, x (N,C,H,W) -> gx: x_j reaches y_j directly and every y_c in whose window j lies.

    gx_j = gy_j s_j^-beta + sum_c gy_c x_c (-beta) s_c^(-beta-1) (alpha/size) 2 x_j
    """
    scale = _lrn_scale(x, size, alpha, k)
    gx = gy * scale**-beta
    gscale = gy * x * -beta * scale ** (-beta - 1)
    for c in range(x.shape[1]):
        near = _window(c, size, x.shape[1])
        gx[:, near] += gscale[:, c : c + 1] * (alpha / size) * 2 * x[:, near]
    return gx


def layer_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, *, axes: int, eps: float
) -> Array:
    """Normalize over the last `axes` axes; gamma and beta have their shape."""
    over = tuple(range(x.ndim - axes, x.ndim))
    d = x - x.mean(axis=over, keepdims=True)
    y: Array = d / np.sqrt((d * d).mean(axis=over, keepdims=True) + eps)
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def group_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, *, groups: int, eps: float
) -> Array:
    """x (N,C,...): normalize each of G groups of C/G channels of each sample; gamma, beta (C,)."""
    grouped = x.reshape(x.shape[0], groups, -1)  # (N, G, C/G * H * W)
    y = layer_norm(grouped, axes=1, eps=eps).reshape(x.shape)
    return y * _col(gamma, x, 1) + _col(beta, x, 0)
