# cython: language_level=3, cdivision=True
"""Batch normalization (with residual and ReLU) and local response normalization.

Design: this file validates, cuts rows into a number of slots that depends on the shape only, and
runs the sweeps of `src/simd/norm.c` in parallel: statistics, then y; sums, then gx. Nothing but x
is kept between forward and backward: the ReLU's mask is recomputed by the expression that made y.
Local response normalization is one sweep each way (`src/simd/lrn.c`).

Deliberately not here: running averages, modes, statistics of other groups than the batch
(layer and group normalization are made of small ops).
Next: `loss.pyx`.
"""
import numpy as np

from minigrad.errors import ArgError, ShapeError

cimport numpy as cnp
from libc.stdint cimport intptr_t

from minigrad._kernels.dispatch cimport norm_args, norm_kernels, rows_kernel, table_for
from minigrad._kernels.grid cimport data, images, integers, number, run_rows, vector
from minigrad._kernels.memory cimport empty, scratch, scratch_free
from minigrad._kernels.operands cimport c_order, channels_last, floats

cnp.import_array()

cdef extern from "norm.h":
    enum:
        NORM_COLUMNS, NORM_SLOTS

cdef extern from "lrn.h":
    enum:
        LRN_LINES
        LRN_SLACK
    ctypedef struct lrn_args:
        intptr_t pixels, per_task, channels, before, after
        double scale, beta, k
        void *lines
        intptr_t line
        const void *x
        const void *gy
        void *y

cdef intptr_t SLOT_ROWS = 256        # of a slot, at least
cdef intptr_t BLOCK = 256            # channels of a task, as in norm.c
cdef intptr_t PAD = 16               # reals behind the columns, so that a vector may overrun


cdef object dense(object a):
    """a (N,C), or (N,C,H,W), with the channels of a pixel side by side."""
    return channels_last(a) if cnp.PyArray_NDIM(<cnp.ndarray>a) == 4 else c_order(a)


cdef object like(object x):
    """An uninitialized array of x's shape and dtype, channels-last if it has 4 axes."""
    cdef cnp.ndarray a = x
    cdef Py_ssize_t dims[4]
    cdef int i
    for i in range(a.ndim):
        dims[i] = a.shape[i]
    return empty(a.ndim, dims, cnp.PyArray_TYPE(a), True)


cdef class Call:
    """One call: its operands, dense and alive, and the scratch of its sweeps."""
    cdef norm_args a
    cdef const norm_kernels *kernels
    cdef int typenum
    cdef str op
    cdef object x, gy, residual, gamma, beta     # kept alive
    cdef void *memory
    cdef double row_bytes

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        scratch_free(self.memory)

    cdef int setup(self, str op, object x, object gamma, object beta, object residual,
                   bint relu) except -1:
        self.op = op
        if isinstance(x, np.ndarray) and x.ndim != 2 and x.ndim != 4:
            raise ShapeError(f"{op}: expected x (N,C) or (N,C,H,W), got {x.ndim}-D {x.shape}")
        x = floats(op, "x", x, x.ndim if isinstance(x, np.ndarray) else 4, -1)
        if 0 in x.shape[1:]:
            raise ShapeError(f"{op}: x of shape {x.shape} has no pixels; only N may be 0")
        self.typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
        self.kernels = table_for(self.typenum).norm
        self.a.channels = x.shape[1]
        self.a.rows = x.size // self.a.channels
        self.a.sample_rows = max(self.a.rows, 1)
        self.a.slots = max(1, min(NORM_SLOTS, self.a.rows // SLOT_ROWS))
        self.a.blocks = max(1, self.a.channels // BLOCK)
        self.a.relu = relu
        self.a.gy = self.a.y = self.a.g = NULL
        self.x = dense(x)
        self.residual = self.same("residual", residual)
        self.gamma = vector(op, "gamma", gamma, self.a.channels, self.typenum)
        self.beta = vector(op, "beta", beta, self.a.channels, self.typenum)
        self.a.x, self.a.residual = data(self.x), data(self.residual)
        self.row_bytes = <double>self.a.channels * x.itemsize
        cdef size_t columns = (NORM_COLUMNS * self.a.channels + PAD) * x.itemsize
        cdef size_t partial = self.a.slots * 3 * self.a.channels * sizeof(double)
        self.memory = scratch(columns + partial)
        self.a.partial = <double *>self.memory
        self.a.columns = <char *>self.memory + partial
        return 0

    cdef object same(self, str name, object a):
        """a in dense form, of x's shape and dtype; None stays None."""
        if a is None:
            return None
        a = floats(self.op, name, a, self.x.ndim, self.typenum)
        if a.shape != self.x.shape:
            raise ShapeError(f"{self.op}: {name} has shape {a.shape}, x has {self.x.shape}")
        return dense(a)

    cdef object channel_vector(self):
        cdef Py_ssize_t dims[1]
        dims[0] = self.a.channels
        return empty(1, dims, self.typenum, False)

    cdef int over_slots(self, rows_kernel kernel, double tensors) except -1:
        """Run a kernel of sums over its tasks; `tensors` is how many it reads or writes."""
        cdef intptr_t tasks = self.a.slots * self.a.blocks
        return run_rows(kernel, &self.a, tasks, self.a.rows * self.row_bytes * tensors / tasks)

    cdef object apply(self):
        """y, from the columns."""
        y = like(self.x)
        self.a.y = data(y)
        run_rows(self.kernels.apply, &self.a, self.a.rows,
                 self.row_bytes * (2 if self.residual is None else 3))
        return y

    cdef tuple gradient(self, object gy, object mean, object var, double eps, bint moving,
                        bint needs_residual):
        """(gx, ggamma, gbeta, gresidual or None)."""
        self.gy = self.same("gy", gy)
        mean = vector(self.op, "mean", mean, self.a.channels, self.typenum)
        var = vector(self.op, "var", var, self.a.channels, self.typenum)
        ggamma, gbeta, gx = self.channel_vector(), self.channel_vector(), like(self.x)
        masked = like(self.x) if self.a.relu and needs_residual else None
        self.a.gy, self.a.y, self.a.g = data(self.gy), data(gx), data(masked)
        self.kernels.set_columns(&self.a, 0, data(mean), data(var), data(self.gamma),
                                 data(self.beta), eps)
        self.over_slots(self.kernels.gradient_sums, 3)
        self.kernels.merge_sums(&self.a, data(var), eps, moving, data(ggamma), data(gbeta))
        run_rows(self.kernels.gradient_apply, &self.a, self.a.rows, self.row_bytes * 3)
        return gx, ggamma, gbeta, (gy if masked is None else masked) if needs_residual else None


cdef double variance_eps(str op, object eps) except? -1:
    cdef double value = number(op, "eps", eps)
    if value < 0:
        raise ArgError(f"{op}: eps must not be negative, got {eps}")
    return value


def batch_norm(x, gamma, beta, residual=None, *, eps, relu):
    """x, residual (N,C) or (N,C,H,W), gamma, beta (C,) or None -> (y, mean, biased variance).

    Raises ArgError when there is one value per channel; of none (N = 0) mean and variance are 0.
    """
    cdef Call call = Call()
    cdef double epsilon = variance_eps("batch_norm", eps)
    call.setup("batch_norm", x, gamma, beta, residual, relu)
    if call.a.rows == 1:
        raise ArgError(f"batch_norm: variance needs >1 value per channel, got x {x.shape}")
    mean, var = call.channel_vector(), call.channel_vector()
    call.over_slots(call.kernels.moments, 1)
    call.kernels.merge_moments(&call.a, data(mean), data(var))
    call.kernels.set_columns(&call.a, 0, data(mean), data(var), data(call.gamma),
                             data(call.beta), epsilon)
    return call.apply(), mean, var


def moments(x):
    """x (N,C) or (N,C,H,W) -> (mean, biased variance) of each channel; 0 of none (N = 0)."""
    cdef Call call = Call()
    call.setup("moments", x, None, None, None, False)
    mean, var = call.channel_vector(), call.channel_vector()
    call.over_slots(call.kernels.moments, 1)
    call.kernels.merge_moments(&call.a, data(mean), data(var))
    return mean, var


def batch_norm_grad(gy, x, gamma, beta, mean, var, residual=None, *, eps, relu, needs_residual):
    """-> (gx, ggamma, gbeta, gresidual | None); mean and var are those of x.

    Without relu gresidual is gy itself.
    """
    cdef Call call = Call()
    cdef double epsilon = variance_eps("batch_norm_grad", eps)
    call.setup("batch_norm_grad", x, gamma, beta, residual, relu)
    return call.gradient(gy, mean, var, epsilon, True, needs_residual)


def batch_norm_inference(x, gamma, beta, mean, var, residual=None, *, eps, relu):
    """x, residual (N,C) or (N,C,H,W) -> y, with a mean and variance (C,) that are given."""
    cdef Call call = Call()
    cdef double epsilon = variance_eps("batch_norm_inference", eps)
    call.setup("batch_norm_inference", x, gamma, beta, residual, relu)
    mean = vector(call.op, "mean", mean, call.a.channels, call.typenum)
    var = vector(call.op, "var", var, call.a.channels, call.typenum)
    call.kernels.set_columns(&call.a, 0, data(mean), data(var), data(call.gamma),
                             data(call.beta), epsilon)
    return call.apply()


def batch_norm_inference_grad(gy, x, gamma, beta, mean, var, residual=None, *, eps, relu,
                              needs_residual):
    """As batch_norm_grad, when mean and var are constants: gx = gy gamma / sqrt(var + eps)."""
    cdef Call call = Call()
    cdef double epsilon = variance_eps("batch_norm_inference_grad", eps)
    call.setup("batch_norm_inference_grad", x, gamma, beta, residual, relu)
    return call.gradient(gy, mean, var, epsilon, False, needs_residual)


cdef object response(str op, object gy, object x, size, alpha, beta, k):
    """local_response_norm (gy None) or its gradient."""
    cdef lrn_args a
    x = images(op, "x", x)
    (size,) = integers(op, "size", (size,), 1, 1)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    if gy is not None:
        gy = floats(op, "gy", gy, 4, typenum)
        if gy.shape != x.shape:
            raise ShapeError(f"{op}: gy has shape {gy.shape}, x has {x.shape}")
        gy = channels_last(gy)
    a.channels = x.shape[1]
    a.pixels = x.size // a.channels
    a.before = min(size // 2, a.channels - 1)
    a.after = min((size - 1) // 2, a.channels - 1)
    a.scale = number(op, "alpha", alpha) / size
    a.beta, a.k = number(op, "beta", beta), number(op, "k", k)
    a.line = a.channels + a.before + a.after + LRN_SLACK
    cdef double pixel_bytes = <double>a.channels * x.itemsize * (2 if gy is None else 3)
    a.per_task = max(1, <intptr_t>(65536 / pixel_bytes))
    cdef intptr_t tasks = (a.pixels + a.per_task - 1) // a.per_task
    y = like(x)
    a.x, a.gy, a.y = data(x), data(gy), data(y)
    a.lines = scratch(max(1, tasks * LRN_LINES * a.line) * x.itemsize)
    try:
        # the arithmetic costs about four times the traffic
        if gy is None:
            run_rows(table_for(typenum).lrn.forward, &a, tasks, 4 * a.per_task * pixel_bytes)
        else:
            run_rows(table_for(typenum).lrn.gradient, &a, tasks, 4 * a.per_task * pixel_bytes)
    finally:
        scratch_free(a.lines)
    return y


def local_response_norm(x, *, size, alpha, beta, k):
    """x (N,C,H,W) -> x (k + alpha/size sum x_j^2)^-beta, j from c - size//2 to c + (size-1)//2.

    k = 0 makes a window of zeros 0/0: NaN.
    """
    return response("local_response_norm", None, x, size, alpha, beta, k)


def local_response_norm_grad(gy, x, *, size, alpha, beta, k):
    """gy, x (N,C,H,W) -> gx."""
    return response("local_response_norm_grad", gy, x, size, alpha, beta, k)
