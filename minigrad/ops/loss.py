"""Softmax and the losses of classification, row by row.

Design: each loss here is one number per row; ``functional`` reduces them, so a mean over rows is
written once.  Cross-entropy is fused (softmax, logarithm and choice of the label in one pass, with
the probabilities as by-product) and has a ``composite`` made of log_softmax.  The negative log
likelihood is linear in the log probabilities and its adjoint is an op, so the two are each other's
rules.  Labels are checked before anything is computed.  Next: ``loss_regression.py``.
"""

from __future__ import annotations

import numpy as np

from minigrad._kernels import loss as kernels
from minigrad.errors import ArgError, DTypeError, ShapeError
from minigrad.op import Op
from minigrad.ops.elementwise import exp
from minigrad.ops.geometry import Array, floats, integer, number, same_dtype
from minigrad.ops.select import where


def check_axis(op: str, axis: object, ndim: int) -> int:
    """axis as an int in [0, ndim)."""
    axis = integer(op, "axis", axis, -ndim)
    if axis >= ndim:
        raise ArgError(f"{op}: axis {axis} is out of range for {ndim} axes")
    return axis % ndim


def along_rows(kernel, axis, *arrays):
    """kernel, which works on the rows of (M, C), along any axis of arrays of one shape."""
    moved = [np.moveaxis(a, axis, -1) for a in arrays]
    if moved[0].size == 0:
        return arrays[0].copy()
    y = kernel(*(a.reshape(-1, a.shape[-1]) for a in moved))  # (M, C)
    return np.moveaxis(y.reshape(moved[0].shape), -1, axis)


class LogSoftmax(Op):
    """y = x - log sum e^x along an axis: the logarithm of softmax, without overflow.

    Shapes    x, y: any with at least one axis
    Forward   y_c = x_c - m - log sum_j e^(x_j - m), m = max x
    Backward  dL/dx = log_softmax_grad(dL/dy, y)    because dy_c/dx_j = [c = j] - e^y_j
    Keeps     y
    Example
        >>> log_softmax(np.array([[1000.0, 1000.0]]))
        array([[-0.69314718, -0.69314718]])

    Reference Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax
              functions", 2021, section 3
    """

    def forward(x, *, axis=-1):
        floats("log_softmax", "x", x)
        axis = check_axis("log_softmax", axis, x.ndim)
        return along_rows(kernels.log_softmax, axis, x)

    def grad_x(gy, out, axis):
        return log_softmax_grad(gy, out, axis=axis)


class LogSoftmaxGrad(Op):
    """gx = gy - p sum gy along an axis, p = e^y the probabilities of log_softmax's y.

    Shapes    gy, y, gx: equal
    Forward   gx_c = gy_c - e^y_c sum_j gy_j
    Backward  with v = dL/dgx
              dL/dgy_c = v_c - sum_j v_j e^y_j       because gy_c is in gx_c and in every sum
              dL/dy_c = -v_c e^y_c sum_j gy_j        because only gx_c reads y_c
    Keeps     y (for gy), gy and y (for y)
    Example
        >>> log_softmax_grad(np.array([[1.0, 0.0]]), np.log([[0.25, 0.75]]))
        array([[ 0.75, -0.75]])

    Reference PyTorch's log_softmax_backward
    """

    def forward(gy, y, *, axis=-1):
        same_dtype("log_softmax_grad", "gy", gy, y=y)
        if gy.shape != y.shape:
            raise ShapeError(f"log_softmax_grad: gy {gy.shape} and y {y.shape} must have one shape")
        return along_rows(kernels.log_softmax_grad, axis, gy, y)

    def grad_gy(v, y, axis):
        return v - (v * exp(y)).sum(axis=axis, keepdims=True)

    def grad_y(v, gy, y, axis):
        return -(v * exp(y)) * gy.sum(axis=axis, keepdims=True)


class Softmax(Op):
    """p = e^x / sum e^x along an axis, without overflow.

    Shapes    x, p: any with at least one axis
    Forward   p_c = e^(x_c - m) / sum_j e^(x_j - m), m = max x
    Backward  dL/dx_c = p_c (dL/dp_c - sum_j dL/dp_j p_j)    because dp_j/dx_c = p_j ([j = c] - p_c)
    Keeps     p
    Example
        >>> softmax(np.array([0.0, 0.0, -np.inf]))
        array([0.5, 0.5, 0. ])

    Reference Bridle, "Probabilistic interpretation of feedforward classification network outputs",
              1990, equation 5
    """

    def forward(x, *, axis=-1):
        floats("softmax", "x", x)
        axis = check_axis("softmax", axis, x.ndim)
        return along_rows(kernels.softmax, axis, x)

    def grad_x(gp, out, axis):
        return out * (gp - (gp * out).sum(axis=axis, keepdims=True))


def class_labels(op: str, x: Array, labels: Array, ignore_index: int) -> Array:
    """labels as int64 (N,), each in [0, C) or ignore_index; the first bad one is named."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DTypeError(
            f"{op}: target holds class indices, which must be integers, got {kind}; cast with "
            f".astype(np.int64), or pass float probabilities of x's shape {x.shape}"
        )
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"{op}: x must be (N, C) and target (N,), got x {x.shape} and target {labels.shape}"
        )
    y = labels.astype(np.int64, copy=False)
    strange = y.view(np.uint64) >= x.shape[1]  # (N,): negative, or too large
    if strange.any() and (bad := strange & (y != ignore_index)).any():
        i = int(bad.argmax())
        raise ArgError(
            f"{op}: target[{i}] = {labels[i]} is no class: C = {x.shape[1]}, classes are 0 to "
            f"{x.shape[1] - 1} (ignore_index {ignore_index})"
        )
    return y


def class_weights(op: str, classes: int, weight: Array | None) -> None:
    """weight has one number that is not negative per class."""
    if weight is None:
        return
    if weight.shape != (classes,):
        raise ShapeError(
            f"{op}: weight has shape {weight.shape}, expected ({classes},), one per class"
        )
    if not (weight >= 0).all():
        raise ArgError(f"{op}: weight must not be negative or NaN, got {weight.min()} among them")


def target_rows(y, classes, weight, ignore_index, label_smoothing):
    """(N, C): (1-e) onehot(y) + e/C, times the class weights; rows of ignored labels are 0."""
    rows = np.full((y.size, classes), label_smoothing / classes)
    counted = y != ignore_index
    rows[counted, y[counted]] += 1 - label_smoothing
    rows[~counted] = 0
    return rows if weight is None else rows * weight


class CrossEntropy(Op, byproducts=("probs",)):
    """loss_n = -sum_c t_nc log softmax(x_n)_c, t the (smoothed, weighted) target of each row.

    Shapes    x: (N, C); labels: (N,) integers; weight: (C,) or None (1); loss: (N,); probs: (N, C)
    Forward   probs = softmax(x);  loss_n = -sum_c t_nc log probs_nc
              t_nc = weight_c ((1-e) [c = labels_n] + e/C), e = label_smoothing; 0 in ignored rows
    Backward  dL/dx_nc = dL/dloss_n (probs_nc sum_j t_nj - t_nc)
                         because d(-log p_j)/dx_c = p_c - [j = c]
    Keeps     probs, labels, weight (and x, for the composite)
    Example
        >>> cross_entropy(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 1]))
        array([0.69314718, 0.        ])

    Reference Bridle 1990, section 4; Szegedy et al., "Rethinking the Inception architecture", 2016,
              section 7 (label smoothing)
    """

    def forward(x, labels, weight=None, *, ignore_index=-100, label_smoothing=0.0):
        op = "cross_entropy"
        same_dtype(op, "x", x, weight=weight)
        if not 0 <= number(op, "label_smoothing", label_smoothing) <= 1:
            raise ArgError(f"{op}: label_smoothing must be in [0, 1], got {label_smoothing}")
        y = class_labels(op, x, labels, ignore_index)
        class_weights(op, x.shape[1], weight)
        return kernels.cross_entropy(
            x, y, weight, ignore_index=ignore_index, label_smoothing=label_smoothing
        )

    def grad_x(gloss, probs, labels, weight, ignore_index, label_smoothing):
        y = labels.astype(np.int64, copy=False)
        return kernels.cross_entropy_grad(
            gloss, probs, y, weight, ignore_index=ignore_index, label_smoothing=label_smoothing
        )

    def composite(x, labels, weight=None, *, ignore_index=-100, label_smoothing=0.0):
        y = np.asarray(labels).astype(np.int64)
        weights = None if weight is None else np.asarray(weight)
        t = target_rows(y, x.shape[1], weights, ignore_index, label_smoothing).astype(x.dtype)
        logp = where(t != 0, log_softmax(x, axis=1), 0.0)  # 0 log 0 is meant to be 0
        return -(logp * t).sum(axis=1)


class NllLoss(Op):
    """loss_n = -weight x_n at the row's label, x the log probabilities.

    Shapes    x: (N, C); labels: (N,) integers; weight: (C,) or None (1); loss: (N,)
    Forward   loss_n = -weight[labels_n] x[n, labels_n], and 0 where the label is ignore_index
    Backward  dL/dx = nll_loss_grad(dL/dloss)      because the loss is linear in x: the adjoint map
    Keeps     labels, weight
    Example
        >>> nll_loss(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, -100]))
        array([0.69314718, 0.        ])

    Reference PyTorch's NLLLoss
    """

    def forward(x, labels, weight=None, *, ignore_index=-100):
        same_dtype("nll_loss", "x", x, weight=weight)
        y = class_labels("nll_loss", x, labels, ignore_index)
        class_weights("nll_loss", x.shape[1], weight)
        rows = np.flatnonzero(y != ignore_index)
        loss = np.zeros(y.shape, x.dtype)
        picked = x[rows, y[rows]]
        loss[rows] = -picked if weight is None else -picked * weight[y[rows]]
        return loss

    def grad_x(gloss, labels, weight, x_shape, ignore_index):
        return nll_loss_grad(gloss, labels, weight, classes=x_shape[1], ignore_index=ignore_index)


class NllLossGrad(Op):
    """gx = -weight gloss put at the row's label, 0 elsewhere: the adjoint of nll_loss.

    Shapes    gloss, labels: (N,); weight: (C,) or None; gx: (N, classes)
    Forward   gx[n,c] = -weight[c] gloss_n if c = labels_n, else 0
    Backward  dL/dgloss = nll_loss(dL/dgx)         because the adjoint of the adjoint is the map
    Keeps     labels, weight
    Example
        >>> nll_loss_grad(np.array([2.0]), np.array([1]), classes=3)
        array([[ 0., -2.,  0.]])

    Reference PyTorch's nll_loss_backward
    """

    def forward(gloss, labels, weight=None, *, classes, ignore_index=-100):
        y = labels.astype(np.int64, copy=False)
        rows = np.flatnonzero(y != ignore_index)
        gx = np.zeros((y.size, classes), gloss.dtype)
        gx[rows, y[rows]] = -gloss[rows] if weight is None else -gloss[rows] * weight[y[rows]]
        return gx

    def grad_gloss(gx, labels, weight, ignore_index):
        return nll_loss(gx, labels, weight, ignore_index=ignore_index)


log_softmax = LogSoftmax.apply
log_softmax_grad = LogSoftmaxGrad.apply
softmax = Softmax.apply
cross_entropy = CrossEntropy.apply
nll_loss = NllLoss.apply
nll_loss_grad = NllLossGrad.apply
