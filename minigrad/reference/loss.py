"""Design: softmax and cross-entropy by rows, stable by the shift with the row's (real) maximum.

Class weights and label smoothing follow PyTorch: with smoothing e, the row's target is
(1 - e) onehot(label) + e/C, and each class's term carries that class's weight. A row whose label is
`ignore_index` has loss 0 and gradient 0. Reduction over rows (mean, and by which weights) is not
here: it belongs to the op.

Where to go next: `optim.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def log_softmax(x: Array) -> Array:
    """x (N,C) -> x - log sum_c e^x_c, each row shifted by its maximum first.

    >>> log_softmax(np.array([[0.0, 0.0]]))
    array([[-0.69314718, -0.69314718]])
    """
    z: Array = x - x.real.max(axis=1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    return z


def softmax(x: Array) -> Array:
    """x (N,C) -> e^x_c / sum_c e^x_c, each row shifted by its maximum first."""
    p: Array = np.exp(log_softmax(x))
    return p


def log_softmax_grad(g: Array, out: Array) -> Array:
    """g, out (N,C) -> gx = g - softmax * (sum of g along the row), softmax = e^out."""
    gx: Array = g - np.exp(out) * g.sum(axis=1, keepdims=True)
    return gx


def _targets(
    labels: Array, classes: int, weight: Array | None, ignore_index: int, smoothing: float
) -> Array:
    """Row targets times class weights (N,C); zero rows for ignored labels."""
    target = np.zeros((labels.shape[0], classes))
    for row, label in enumerate(labels):
        if label != ignore_index:
            target[row] += smoothing / classes
            target[row, label] += 1 - smoothing
    return target if weight is None else target * weight


def cross_entropy(
    x: Array,
    labels: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """x (N,C), labels (N,), weight (C,) -> (loss of each row (N,), softmax probabilities (N,C))."""
    logp = log_softmax(x)
    target = _targets(labels, x.shape[1], weight, ignore_index, label_smoothing)
    return -np.where(target != 0, target * logp, 0).sum(axis=1), np.exp(logp)


def cross_entropy_grad(
    g_row: Array,
    probs: Array,
    labels: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """g_row (N,), probs (N,C) -> gx (N,C): g_row (probs * (sum of the row's target) - target)."""
    target = _targets(labels, probs.shape[1], weight, ignore_index, label_smoothing)
    gx: Array = g_row[:, None] * (probs * target.sum(axis=1, keepdims=True) - target)
    return gx
