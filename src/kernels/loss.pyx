# cython: language_level=3, cdivision=True
"""Softmax, log-softmax and cross-entropy by rows of a matrix (N, C), with their gradients.

Design: validation here, rows in parallel by `src/simd/loss.c`. Labels are checked before anything
is computed: the first that is no class is named. Cross-entropy gives one loss per row and keeps the
probabilities; class weights, `ignore_index` and label smoothing mean what they mean in PyTorch.

Deliberately not here: reduction over rows (minigrad/functional/) and other axes than the last.
"""
import numpy as np

from minigrad.errors import ArgError, DTypeError, ShapeError

cimport numpy as cnp
from libc.stdint cimport int64_t, intptr_t

from minigrad._kernels.dispatch cimport rows_kernel, table_for
from minigrad._kernels.grid cimport data, number, run_rows, vector
from minigrad._kernels.memory cimport empty
from minigrad._kernels.operands cimport c_order, floats

cnp.import_array()

cdef extern from "loss.h":
    ctypedef struct loss_args:
        intptr_t classes
        const void *x
        const void *g
        void *y
        void *loss
        const int64_t *labels
        int64_t ignore
        const void *weight
        double weight_sum, smoothing

cdef double ROW_COST = 8             # the arithmetic of a row against its memory traffic


cdef object matrix(str op, str name, object a, int typenum):
    """a (N, C) dense, with C >= 1."""
    a = floats(op, name, a, 2, typenum)
    if a.shape[1] == 0:
        raise ShapeError(f"{op}: {name} of shape {a.shape} has no classes")
    return c_order(a)


cdef object matrix_like(object a):
    cdef Py_ssize_t dims[2]
    dims[0], dims[1] = a.shape
    return empty(2, dims, cnp.PyArray_TYPE(<cnp.ndarray>a), False)


cdef int run(rows_kernel kernel, loss_args *a, object y) except -1:
    """kernel over all rows of y."""
    return run_rows(kernel, a, y.shape[0], ROW_COST * a.classes * y.itemsize)


cdef object class_labels(str op, object x, object labels, object ignore_index):
    """labels as dense int64 (N,), each a class or ignore_index."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DTypeError(f"{op}: labels must be integer class indices, got {kind}; "
                         f"cast with .astype(np.int64)")
    if labels.shape != x.shape[:1]:
        raise ShapeError(f"{op}: labels have shape {labels.shape}, expected ({x.shape[0]},)")
    if not isinstance(ignore_index, (int, np.integer)) or not -1 << 63 <= ignore_index < 1 << 63:
        raise ArgError(f"{op}: ignore_index must be an integer of 64 bits, got {ignore_index!r}")
    cdef cnp.ndarray dense_labels = np.require(labels, np.int64, ("C", "A"))
    cdef const int64_t *label = <const int64_t *>cnp.PyArray_DATA(dense_labels)
    cdef int64_t ignore = ignore_index
    cdef intptr_t i, classes = x.shape[1]
    for i in range(dense_labels.shape[0]):
        if (label[i] < 0 or label[i] >= classes) and label[i] != ignore:
            raise ArgError(f"{op}: label {labels[i]} at index {i} is no class: there are C = "
                           f"{classes}, 0 to {classes - 1} (ignore_index {ignore_index})")
    return dense_labels


cdef object targets(str op, loss_args *a, object x, object weight, int typenum, smoothing):
    """Fill in classes, weights and smoothing; return the dense weights."""
    a.classes = x.shape[1]
    a.smoothing = number(op, "label_smoothing", smoothing)
    if not 0 <= a.smoothing <= 1:
        raise ArgError(f"{op}: label_smoothing must be in [0, 1], got {smoothing}")
    weight = vector(op, "weight", weight, a.classes, typenum)
    a.weight = data(weight)
    a.weight_sum = a.classes if weight is None else weight.sum(dtype=np.float64)
    return weight


def softmax(x):
    """x (N,C) -> e^x_c / sum_c e^x_c."""
    cdef loss_args a
    x = matrix("softmax", "x", x, -1)
    y = matrix_like(x)
    a.classes, a.x, a.y = x.shape[1], data(x), data(y)
    run(table_for(cnp.PyArray_TYPE(<cnp.ndarray>x)).loss.softmax, &a, y)
    return y


def log_softmax(x):
    """x (N,C) -> x - log sum_c e^x_c."""
    cdef loss_args a
    x = matrix("log_softmax", "x", x, -1)
    y = matrix_like(x)
    a.classes, a.x, a.y = x.shape[1], data(x), data(y)
    run(table_for(cnp.PyArray_TYPE(<cnp.ndarray>x)).loss.log_softmax, &a, y)
    return y


def log_softmax_grad(g, out):
    """g, out (N,C) -> gx = g - e^out sum_c g."""
    cdef loss_args a
    out = matrix("log_softmax_grad", "out", out, -1)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>out)
    g = matrix("log_softmax_grad", "g", g, typenum)
    if g.shape != out.shape:
        raise ShapeError(f"log_softmax_grad: g has shape {g.shape}, out has {out.shape}")
    gx = matrix_like(out)
    a.classes, a.x, a.g, a.y = out.shape[1], data(out), data(g), data(gx)
    run(table_for(typenum).loss.log_softmax_gradient, &a, gx)
    return gx


def cross_entropy(x, labels, weight=None, *, ignore_index=-100, label_smoothing=0.0):
    """x (N,C), labels (N,), weight (C,) -> (loss per row (N,), softmax probabilities (N,C)).

    Raises ArgError for a label that is no class, DTypeError for labels that are no integers.
    """
    cdef loss_args a
    x = matrix("cross_entropy", "x", x, -1)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    cdef cnp.ndarray y = class_labels("cross_entropy", x, labels, ignore_index)
    weight = targets("cross_entropy", &a, x, weight, typenum, label_smoothing)
    cdef Py_ssize_t rows = x.shape[0]
    probs, loss = matrix_like(x), empty(1, &rows, typenum, False)
    a.x, a.y, a.loss = data(x), data(probs), data(loss)
    a.labels, a.ignore = <const int64_t *>data(y), ignore_index
    run(table_for(typenum).loss.cross_entropy, &a, probs)
    return loss, probs


def cross_entropy_grad(g_row, probs, labels, weight=None, *, ignore_index=-100,
                       label_smoothing=0.0):
    """g_row (N,), probs (N,C), labels (N,) -> gx (N,C) = g (probs sum_c target - target)."""
    cdef loss_args a
    probs = matrix("cross_entropy_grad", "probs", probs, -1)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>probs)
    if g_row is None:
        raise DTypeError("cross_entropy_grad: g_row must be a NumPy array, got NoneType")
    g_row = vector("cross_entropy_grad", "g_row", g_row, probs.shape[0], typenum)
    cdef cnp.ndarray y = class_labels("cross_entropy_grad", probs, labels, ignore_index)
    weight = targets("cross_entropy_grad", &a, probs, weight, typenum, label_smoothing)
    gx = matrix_like(probs)
    a.x, a.g, a.y = data(probs), data(g_row), data(gx)
    a.labels, a.ignore = <const int64_t *>data(y), ignore_index
    run(table_for(typenum).loss.cross_entropy_gradient, &a, gx)
    return gx
