"""Design: one optimizer step on lists of arrays, in place, parameter by parameter.

The kernels update all parameters in one parallel sweep; here the update rule can be read. Learning
rate schedules, parameter groups and state live in `minigrad.optim`, not here.

Reference: Sutskever et al. 2013 (momentum, Nesterov, in PyTorch's form); Kingma and Ba 2015,
algorithm 1; Loshchilov and Hutter 2019 (decoupled weight decay); Graves 2013, equations 38 to 45.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sgd(
    params: Sequence[Array],
    grads: Sequence[Array],
    buffers: Sequence[Array] | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """p -= lr d with d = g + weight_decay p; with momentum, b = momentum b + (1 - dampening) d.

    Then d becomes b, or d + momentum b for Nesterov. Changes params and buffers in place.
    """
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        d = g + weight_decay * p
        if momentum:
            assert buffers is not None
            b = buffers[i]
            b[...] = momentum * b + (1 - dampening) * d
            d = d + momentum * b if nesterov else b
        p[...] = p - lr * d


def adam(
    params: Sequence[Array],
    grads: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    step: int,
) -> None:
    """p -= lr mhat / (sqrt(vhat) + eps), mhat = m / (1 - beta1^step), vhat likewise; in place.

    weight_decay joins the gradient (Adam), or shrinks p by 1 - lr weight_decay first (AdamW).
    step counts from 1.
    """
    for p, g, mi, vi in zip(params, grads, m, v, strict=True):
        if decoupled:
            p[...] = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        mi[...] = beta1 * mi + (1 - beta1) * g
        vi[...] = beta2 * vi + (1 - beta2) * g * g
        mhat, vhat = mi / (1 - beta1**step), vi / (1 - beta2**step)
        p[...] = p - lr * mhat / (np.sqrt(vhat) + eps)


def rmsprop(
    params: Sequence[Array],
    grads: Sequence[Array],
    squares: Sequence[Array],
    *,
    lr: float,
    alpha: float,
    eps: float,
    momenta: Sequence[Array] | None = None,
    means: Sequence[Array] | None = None,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    """v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps), in place.

    With means, the variance v - a^2 stands for v, a = alpha a + (1 - alpha) g ("centered"). With
    momentum the step is collected first, b = momentum b + step, and p -= lr b.
    """
    for i, (p, g, v) in enumerate(zip(params, grads, squares, strict=True)):
        g = g + weight_decay * p
        v[...] = alpha * v + (1 - alpha) * g * g
        spread: Array = v
        if means is not None:
            means[i][...] = alpha * means[i] + (1 - alpha) * g
            spread = v - means[i] ** 2
        d = g / (np.sqrt(spread) + eps)
        if momentum:
            assert momenta is not None
            momenta[i][...] = momentum * momenta[i] + d
            d = momenta[i]
        p[...] = p - lr * d
