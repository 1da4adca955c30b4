# cython: language_level=3, cdivision=True
"""Pooling: maxima and means over windows of channels-last images, and their gradients.

Design: this file validates, turns geometry into tables (which taps of a window lie inside the image,
which outputs reach a pixel), and hands rows of work to C (`src/simd/pooling.c`). Padding, dilation,
ceil_mode and adaptive bins live in the tables only: mean, adaptive and global pooling are one kernel.

Conventions: a NaN wins its window, the first NaN if there are several; ties go to the first tap in
row-major order; a window that misses the image is -inf (maximum, index 0) or 0 (mean), and sends no
gradient. argmax is the tap r*S + s: a byte while R*S <= 255, else int32.

Deliberately not here: the output size, which the caller computes (ceil_mode), and rules such as
"padding at most half the window" (minigrad/ops/pool.py). Next: `norm.pyx`.
"""
import numpy as np

from minigrad.errors import ArgError, DTypeError, ShapeError

cimport numpy as cnp
from libc.stdint cimport intptr_t

from minigrad._kernels.dispatch cimport kernel_table, table_for
from minigrad._kernels.grid cimport dense, floats, images, integers, pixels, run_rows, volume
from minigrad._kernels.memory cimport empty, scratch, scratch_free

cnp.import_array()

cdef extern from "pooling.h" nogil:
    ctypedef struct span:
        intptr_t lo, hi
    ctypedef struct hit:
        intptr_t at, tap
    ctypedef struct max_pool_args:
        intptr_t n, c, h, w, p, q, s, row_stride, col_stride, top, left, row_dilation, col_dilation
        const span *row_taps
        const span *col_taps
        const span *row_hits
        const span *col_hits
        const hit *row_hit
        const hit *col_hit
        int wide
        const void *x
        const void *argmax_in
        void *y
        void *argmax
    ctypedef struct mean_pool_args:
        intptr_t n, c, h, w, p, q
        const span *rows
        const span *cols
        const span *row_outs
        const span *col_outs
        const double *row_size
        const double *col_size
        const double *row_common
        const double *col_common
        const void *x
        void *y

cdef intptr_t MAX_TAPS = 1 << 24     # a tap's index is exact in a float32


cdef class Tables:
    """Memory of tables, freed with the object."""
    cdef void *memory

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        scratch_free(self.memory)


cdef class Axis:
    """A window's geometry along one axis: `length` pixels, `outputs` window positions."""
    cdef intptr_t length, outputs, taps, stride, before, after, dilation

    def __init__(self, op, length, outputs, taps, stride, before, after, dilation):
        end = (outputs - 1) * stride + (taps - 1) * dilation + before + after + length
        if end >= 1 << 62:
            raise ShapeError(f"{op}: window positions overflow 62 bits: {outputs} outputs, stride "
                             f"{stride}, {taps} taps, dilation {dilation}, padding {before}")
        if outputs > 1 << 40:
            raise ShapeError(f"{op}: {outputs} outputs along one axis do not fit in memory")
        self.length, self.outputs, self.taps = length, outputs, taps
        self.stride, self.before, self.after, self.dilation = stride, before, after, dilation


cdef void tap_spans(Axis a, span *out) noexcept:
    """For every output: the taps that lie inside the image."""
    cdef intptr_t p, start, lo, hi
    for p in range(a.outputs):
        start = p * a.stride - a.before
        lo = (-start + a.dilation - 1) // a.dilation if start < 0 else 0
        hi = (a.length - start + a.dilation - 1) // a.dilation if start < a.length else 0
        lo = min(lo, a.taps)
        out[p].lo = lo
        out[p].hi = max(lo, min(hi, a.taps))


cdef void tap_hits(Axis a, const span *taps, span *spans, hit *hits, intptr_t step,
                   intptr_t tap_step) noexcept:
    """For every pixel: the (output, tap) pairs that are this pixel, by outputs, scaled."""
    cdef intptr_t p, r, i, at = 0, count
    for i in range(a.length):
        spans[i].lo = spans[i].hi = 0
    for p in range(a.outputs):
        for r in range(taps[p].lo, taps[p].hi):
            spans[p * a.stride - a.before + r * a.dilation].hi += 1
    for i in range(a.length):
        count = spans[i].hi
        spans[i].lo = spans[i].hi = at
        at += count
    for p in range(a.outputs):
        for r in range(taps[p].lo, taps[p].hi):
            i = p * a.stride - a.before + r * a.dilation
            hits[spans[i].hi].at = p * step
            hits[spans[i].hi].tap = r * tap_step
            spans[i].hi += 1


cdef intptr_t total(const span *spans, intptr_t n) noexcept:
    cdef intptr_t i, count = 0
    for i in range(n):
        count += spans[i].hi - spans[i].lo
    return count


cdef Tables forward_tables(max_pool_args *a, Axis rows, Axis cols):
    """Fill a's geometry and its tables of taps."""
    cdef Tables made = Tables()
    made.memory = scratch((rows.outputs + cols.outputs) * sizeof(span))
    cdef span *row = <span *>made.memory
    cdef span *col = row + rows.outputs
    tap_spans(rows, row)
    tap_spans(cols, col)
    a.h, a.w, a.p, a.q, a.s = rows.length, cols.length, rows.outputs, cols.outputs, cols.taps
    a.row_stride, a.col_stride = rows.stride, cols.stride
    a.row_dilation, a.col_dilation = rows.dilation, cols.dilation
    a.top, a.left = rows.before, cols.before
    a.row_taps, a.col_taps = row, col
    return made


cdef Tables gradient_tables(max_pool_args *a, Axis rows, Axis cols):
    """From a's tables of taps: what reaches each pixel."""
    cdef Tables made = Tables()
    cdef intptr_t row_hits = total(a.row_taps, a.p), col_hits = total(a.col_taps, a.q)
    made.memory = scratch((a.h + a.w) * sizeof(span) + (row_hits + col_hits) * sizeof(hit))
    cdef span *row = <span *>made.memory
    cdef span *col = row + a.h
    cdef hit *row_hit = <hit *>(col + a.w)
    tap_hits(rows, a.row_taps, row, row_hit, a.q * a.c, a.s)
    tap_hits(cols, a.col_taps, col, row_hit + row_hits, a.c, 1)
    a.row_hits, a.col_hits, a.row_hit, a.col_hit = row, col, row_hit, row_hit + row_hits
    return made


cdef tuple window_axes(str op, shape, output, kernel, stride, padding, dilation):
    """Two Axis objects from the arguments of a call, all validated."""
    kernel = integers(op, "kernel", kernel, 2, 1)
    stride = integers(op, "stride", stride, 2, 1)
    padding = integers(op, "padding", padding, 4, 0)
    dilation = integers(op, "dilation", dilation, 2, 1)
    output = integers(op, "output", output, 2, 1)
    return tuple(Axis(op, shape[2 + i], output[i], kernel[i], stride[i], padding[2 * i],
                      padding[2 * i + 1], dilation[i]) for i in (0, 1))


cdef object output_array(str op, shape, int typenum):
    """A channels-last array of 4 axes."""
    cdef Py_ssize_t dims[4]
    volume(op, shape, cnp.NPY_DOUBLE)
    dims[0], dims[1], dims[2], dims[3] = shape
    return empty(4, dims, typenum, True)


cdef bint is_wide(str op, Axis rows, Axis cols) except -1:
    """Does a tap's index need more than a byte?"""
    if rows.taps > MAX_TAPS // cols.taps:
        raise ArgError(f"{op}: a window of {rows.taps} x {cols.taps} taps; the limit is 2^24")
    return rows.taps * cols.taps > 255


cdef object index_pixels(str op, argmax, bint wide):
    """argmax (N,C,P,Q) of the right dtype -> (N,P,Q,C) dense."""
    wanted = np.int32 if wide else np.uint8
    if not isinstance(argmax, np.ndarray) or argmax.dtype != wanted:
        raise DTypeError(f"{op}: argmax must be {np.dtype(wanted)} for this window, got "
                         f"{getattr(argmax, 'dtype', type(argmax).__name__)}")
    if argmax.ndim != 4:
        raise ShapeError(f"{op}: argmax must have 4 axes, got shape {argmax.shape}")
    return pixels(argmax)


cdef tuple image_shape(str op, x_shape, gy):
    """x_shape as four sizes that fit gy in N and C, and of which only N may be 0."""
    x_shape = integers(op, "x_shape", x_shape, 4, 0)
    if x_shape[:2] != gy.shape[:2]:
        raise ShapeError(f"{op}: gy {gy.shape} does not belong to an x of shape {x_shape}")
    if 0 in x_shape[1:]:
        raise ShapeError(f"{op}: an x of shape {x_shape} has no pixels; only N may be 0")
    return x_shape


def max_pool2d(x, *, kernel, stride, padding, dilation, output):
    """x (N,C,H,W) -> (y, argmax), both (N,C,P,Q) with output = (P, Q).

    padding = (top, bottom, left, right). Raises ShapeError, DTypeError, ArgError.
    """
    cdef max_pool_args a
    images("max_pool2d", "x", x)
    cdef Axis rows, cols
    rows, cols = window_axes("max_pool2d", x.shape, output, kernel, stride, padding, dilation)
    a.wide = is_wide("max_pool2d", rows, cols)
    a.n, a.c = x.shape[0], x.shape[1]
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
    shape = (a.n, a.c, rows.outputs, cols.outputs)
    y = output_array("max_pool2d", shape, typenum)
    argmax = output_array("max_pool2d", shape, cnp.NPY_INT32 if a.wide else cnp.NPY_UINT8)
    tables = forward_tables(&a, rows, cols)
    cdef cnp.ndarray dense_x = pixels(x)
    a.x = cnp.PyArray_DATA(dense_x)
    a.y, a.argmax = cnp.PyArray_DATA(<cnp.ndarray>y), cnp.PyArray_DATA(<cnp.ndarray>argmax)
    cdef double traffic = <double>x.nbytes / max(a.n * a.p, 1) + y.nbytes / max(a.n * a.p, 1)
    run_rows(table_for(typenum).pooling.max_forward, &a, a.n * a.p, traffic)
    return y, argmax


def max_pool2d_grad(gy, argmax, *, x_shape, kernel, stride, padding, dilation):
    """gy, argmax (N,C,P,Q) -> gx of x_shape: each gy goes to the tap that won; overlaps add up."""
    cdef max_pool_args a
    images("max_pool2d_grad", "gy", gy)
    x_shape = image_shape("max_pool2d_grad", x_shape, gy)
    cdef Axis rows, cols
    rows, cols = window_axes("max_pool2d_grad", x_shape, gy.shape[2:], kernel, stride, padding,
                             dilation)
    a.wide = is_wide("max_pool2d_grad", rows, cols)
    cdef cnp.ndarray taps = index_pixels("max_pool2d_grad", argmax, a.wide)
    if argmax.shape != gy.shape:
        raise ShapeError(f"max_pool2d_grad: gy {gy.shape} and argmax {argmax.shape} differ")
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>gy)
    gx = output_array("max_pool2d_grad", x_shape, typenum)
    a.n, a.c = gy.shape[0], gy.shape[1]
    tables = forward_tables(&a, rows, cols)
    reached = gradient_tables(&a, rows, cols)
    cdef cnp.ndarray dense_gy = pixels(gy)
    a.x, a.argmax_in = cnp.PyArray_DATA(dense_gy), cnp.PyArray_DATA(taps)
    a.y = cnp.PyArray_DATA(<cnp.ndarray>gx)
    cdef double traffic = (<double>gx.nbytes + gy.nbytes) / max(a.n * a.h, 1)
    run_rows(table_for(typenum).pooling.max_gradient, &a, a.n * a.h, traffic)
    return gx


def max_pool2d_gather(v, argmax, *, kernel, stride, padding, dilation):
    """v (N,C,H,W), argmax (N,C,P,Q) -> v at the winning taps (N,C,P,Q); 0 where none is inside."""
    cdef max_pool_args a
    images("max_pool2d_gather", "v", v)
    if not isinstance(argmax, np.ndarray) or argmax.ndim != 4:
        raise ShapeError("max_pool2d_gather: argmax must be an array of 4 axes")
    if argmax.shape[:2] != v.shape[:2]:
        raise ShapeError(f"max_pool2d_gather: argmax {argmax.shape} does not fit v {v.shape}")
    cdef Axis rows, cols
    rows, cols = window_axes("max_pool2d_gather", v.shape, argmax.shape[2:], kernel, stride,
                             padding, dilation)
    a.wide = is_wide("max_pool2d_gather", rows, cols)
    cdef cnp.ndarray taps = index_pixels("max_pool2d_gather", argmax, a.wide)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>v)
    out = output_array("max_pool2d_gather", argmax.shape, typenum)
    a.n, a.c = v.shape[0], v.shape[1]
    tables = forward_tables(&a, rows, cols)
    cdef cnp.ndarray dense_v = pixels(v)
    a.x, a.argmax_in = cnp.PyArray_DATA(dense_v), cnp.PyArray_DATA(taps)
    a.y = cnp.PyArray_DATA(<cnp.ndarray>out)
    cdef double traffic = (<double>v.nbytes + out.nbytes) / max(a.n * a.p, 1)
    run_rows(table_for(typenum).pooling.max_gather, &a, a.n * a.p, traffic)
    return out


cdef class Boxes:
    """The windows of mean pooling: per axis what each covers, and its factor of the divisor."""
    cdef mean_pool_args a
    cdef void *memory

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        scratch_free(self.memory)

    cdef int allocate(self, intptr_t h, intptr_t w, intptr_t p, intptr_t q) except -1:
        self.memory = scratch((p + q + h + w) * (sizeof(span) + sizeof(double)))
        cdef span *spans = <span *>self.memory
        self.a.h, self.a.w, self.a.p, self.a.q = h, w, p, q
        self.a.rows, self.a.cols = spans, spans + p
        self.a.row_outs, self.a.col_outs = spans + p + q, spans + p + q + h
        self.a.row_size = <double *>(spans + p + q + h + w)
        self.a.col_size = self.a.row_size + p
        self.a.row_common = self.a.col_size + q
        self.a.col_common = self.a.row_common + h
        return 0

    cdef object run(self, str op, object x, object shape, bint gradient):
        """Allocate the result and run: x is gy when `gradient`."""
        cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray>x)
        y = output_array(op, shape, typenum)
        cdef cnp.ndarray dense_x = pixels(x)
        self.a.n, self.a.c = shape[0], shape[1]
        self.a.x, self.a.y = cnp.PyArray_DATA(dense_x), cnp.PyArray_DATA(<cnp.ndarray>y)
        cdef intptr_t rows = self.a.n * (self.a.h if gradient else self.a.p)
        cdef double traffic = (<double>x.nbytes + y.nbytes) / max(rows, 1)
        if gradient:
            run_rows(table_for(typenum).pooling.mean_gradient, &self.a, rows, traffic)
        else:
            run_rows(table_for(typenum).pooling.mean_forward, &self.a, rows, traffic)
        return y


cdef void cover(const span *boxes, const double *size, intptr_t outputs, span *outs,
                double *common, intptr_t length) noexcept:
    """For every pixel: the outputs whose box holds it (boxes move forward, so they are a span), and
    their size if it is the same for all, else 0."""
    cdef intptr_t i, p
    for i in range(length):
        outs[i].lo = outs[i].hi = 0
        common[i] = 1
    for p in range(outputs):
        for i in range(boxes[p].lo, boxes[p].hi):
            if outs[i].hi == 0:
                outs[i].lo = p
                common[i] = size[p]
            elif common[i] != size[p]:
                common[i] = 0
            outs[i].hi = p + 1


cdef void cover_both(mean_pool_args *a) noexcept:
    cover(a.rows, a.row_size, a.p, <span *>a.row_outs, <double *>a.row_common, a.h)
    cover(a.cols, a.col_size, a.q, <span *>a.col_outs, <double *>a.col_common, a.w)


cdef void window_boxes(Axis a, span *boxes, double *size, bint include_pad) noexcept:
    """Windows clipped to the image; their size inside the padded image or inside the image."""
    cdef intptr_t p, start, stop
    for p in range(a.outputs):
        start = p * a.stride - a.before
        stop = min(start + a.taps, a.length + a.after)
        boxes[p].lo = min(max(start, 0), a.length)
        boxes[p].hi = max(boxes[p].lo, min(stop, a.length))
        size[p] = stop - start if include_pad else boxes[p].hi - boxes[p].lo


cdef void adaptive_boxes(intptr_t length, intptr_t outputs, span *boxes, double *size) noexcept:
    """Bin p of m: floor(p L / m) up to ceil((p + 1) L / m)."""
    cdef intptr_t p
    for p in range(outputs):
        boxes[p].lo = p * length // outputs
        boxes[p].hi = ((p + 1) * length + outputs - 1) // outputs
        size[p] = boxes[p].hi - boxes[p].lo


cdef Boxes windows(str op, shape, output, kernel, stride, padding, bint include_pad, divisor):
    """Boxes of average pooling; a divisor replaces both factors."""
    cdef Axis rows, cols
    cdef Boxes b = Boxes()
    cdef intptr_t i
    rows, cols = window_axes(op, shape, output, kernel, stride, padding, (1, 1))
    if divisor is not None:
        (divisor,) = integers(op, "divisor", (divisor,), 1, -(1 << 62))
        if divisor == 0:
            raise ArgError(f"{op}: divisor must not be 0")
    b.allocate(rows.length, cols.length, rows.outputs, cols.outputs)
    window_boxes(rows, <span *>b.a.rows, <double *>b.a.row_size, include_pad)
    window_boxes(cols, <span *>b.a.cols, <double *>b.a.col_size, include_pad)
    if divisor is not None:
        for i in range(rows.outputs):
            (<double *>b.a.row_size)[i] = divisor
        for i in range(cols.outputs):
            (<double *>b.a.col_size)[i] = 1
    cover_both(&b.a)
    return b


cdef Boxes bins(str op, shape, output):
    """Boxes of adaptive pooling: P x Q bins that cover the image, and may overlap."""
    cdef Boxes b = Boxes()
    output = integers(op, "output", output, 2, 1)
    if max(output) * max(shape[2:]) >= 1 << 62:
        raise ShapeError(f"{op}: {output} bins of an image {shape[2:]} overflow 62 bits")
    b.allocate(shape[2], shape[3], output[0], output[1])
    adaptive_boxes(b.a.h, b.a.p, <span *>b.a.rows, <double *>b.a.row_size)
    adaptive_boxes(b.a.w, b.a.q, <span *>b.a.cols, <double *>b.a.col_size)
    cover_both(&b.a)
    return b


def avg_pool2d(x, *, kernel, stride, padding, output, count_include_pad=True, divisor=None):
    """x (N,C,H,W) -> (N,C,P,Q): a window's sum over `divisor`, else over its area inside the padded
    image (count_include_pad), else inside the image. padding = (top, bottom, left, right)."""
    cdef Boxes b
    images("avg_pool2d", "x", x)
    b = windows("avg_pool2d", x.shape, output, kernel, stride, padding, count_include_pad, divisor)
    return b.run("avg_pool2d", x, x.shape[:2] + (b.a.p, b.a.q), False)


def avg_pool2d_grad(gy, *, x_shape, kernel, stride, padding, output, count_include_pad=True,
                    divisor=None):
    """gy (N,C,P,Q) -> gx of x_shape: every pixel of a window receives gy over the same divisor."""
    cdef Boxes b
    images("avg_pool2d_grad", "gy", gy)
    x_shape = image_shape("avg_pool2d_grad", x_shape, gy)
    b = windows("avg_pool2d_grad", x_shape, output, kernel, stride, padding, count_include_pad,
                divisor)
    if gy.shape[2:] != (b.a.p, b.a.q):
        raise ShapeError(f"avg_pool2d_grad: gy {gy.shape} has not the output {output}")
    return b.run("avg_pool2d_grad", gy, x_shape, True)


def adaptive_avg_pool2d(x, *, output):
    """x (N,C,H,W) -> (N,C,P,Q): the mean of each of P x Q bins."""
    cdef Boxes b
    images("adaptive_avg_pool2d", "x", x)
    b = bins("adaptive_avg_pool2d", x.shape, output)
    return b.run("adaptive_avg_pool2d", x, x.shape[:2] + (b.a.p, b.a.q), False)


def adaptive_avg_pool2d_grad(gy, *, x_shape):
    """gy (N,C,P,Q) -> gx of x_shape: each pixel of a bin receives gy over the bin's area."""
    cdef Boxes b
    images("adaptive_avg_pool2d_grad", "gy", gy)
    x_shape = image_shape("adaptive_avg_pool2d_grad", x_shape, gy)
    b = bins("adaptive_avg_pool2d_grad", x_shape, gy.shape[2:])
    return b.run("adaptive_avg_pool2d_grad", gy, x_shape, True)


def global_avg_pool2d(x):
    """x (N,C,H,W) -> (N,C,1,1): the mean of each channel's image."""
    return adaptive_avg_pool2d(x, output=(1, 1))


def global_avg_pool2d_grad(gy, *, x_shape):
    """gy (N,C,1,1) -> gx of x_shape: gy / (H W) everywhere."""
    images("global_avg_pool2d_grad", "gy", gy)
    if gy.shape[2:] != (1, 1):
        raise ShapeError(f"global_avg_pool2d_grad: gy must be (N,C,1,1), got {gy.shape}")
    return adaptive_avg_pool2d_grad(gy, x_shape=x_shape)
