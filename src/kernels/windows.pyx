# cython: language_level=3, cdivision=True
"""The geometry of pooling: arguments of a call -> tables that say what each window covers.

Design: along one axis a window position is described by a span of its taps (for a maximum) or of
pixels (for a mean); the gradients need the same relation read backwards, what reaches a pixel. Rows
and columns are independent, so the tables are as long as the axes, not the images. Arguments are
Python integers until they are known to be small enough for 64-bit arithmetic.

Deliberately not here: pixels. Next: `pool.pyx`, and `src/simd/pooling.h` for what the tables mean.
"""
from minigrad.errors import ArgError, ShapeError

from libc.stdint cimport intptr_t

from minigrad._kernels.grid cimport integers
from minigrad._kernels.memory cimport scratch, scratch_free

cdef intptr_t MAX_TAPS = 1 << 24     # a tap's index is exact in a float32
cdef object MAX_OUTPUTS = 1 << 40    # along one axis: beyond it the tables alone are too big


cdef class Axis:
    """A window's geometry along one axis: `length` pixels, `outputs` window positions."""

    def __init__(self, op, length, outputs, taps, stride, before, after, dilation):
        end = (outputs - 1) * stride + (taps - 1) * dilation + before + after + length
        if end >= 1 << 62 or outputs > MAX_OUTPUTS:
            raise ShapeError(f"{op}: window positions are too many or too far: {outputs} outputs, "
                             f"stride {stride}, {taps} taps, dilation {dilation}, padding {before}")
        self.length, self.outputs, self.taps = length, outputs, taps
        self.stride, self.before, self.after, self.dilation = stride, before, after, dilation


cdef tuple window_axes(str op, shape, output, kernel, stride, padding, dilation):
    """Two Axis objects from the arguments of a call, all validated."""
    kernel = integers(op, "kernel", kernel, 2, 1)
    stride = integers(op, "stride", stride, 2, 1)
    padding = integers(op, "padding", padding, 4, 0)
    dilation = integers(op, "dilation", dilation, 2, 1)
    output = integers(op, "output", output, 2, 1)
    return tuple(Axis(op, shape[2 + i], output[i], kernel[i], stride[i], padding[2 * i],
                      padding[2 * i + 1], dilation[i]) for i in (0, 1))


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


cdef class MaxWindows:
    """The arguments of a maximum's kernels; tables are made when they are asked for."""

    def __cinit__(self):
        self.taps = self.hits = NULL

    def __dealloc__(self):
        scratch_free(self.taps)
        scratch_free(self.hits)

    cdef int find_taps(self) except -1:
        """Which taps of each output lie inside the image."""
        self.taps = scratch((self.a.p + self.a.q) * sizeof(span))
        self.a.row_taps, self.a.col_taps = <span *>self.taps, <span *>self.taps + self.a.p
        tap_spans(self.rows, <span *>self.a.row_taps)
        tap_spans(self.cols, <span *>self.a.col_taps)
        return 0

    cdef int find_hits(self) except -1:
        """Which taps of which outputs each pixel is, after find_taps."""
        cdef max_pool_args *a = &self.a
        cdef intptr_t rows = total(a.row_taps, a.p), cols = total(a.col_taps, a.q)
        self.hits = scratch((a.h + a.w) * sizeof(span) + (rows + cols) * sizeof(hit))
        cdef span *row = <span *>self.hits
        cdef span *col = row + a.h
        cdef hit *row_hit = <hit *>(col + a.w)
        tap_hits(self.rows, a.row_taps, row, row_hit, a.q * a.c, a.s)
        tap_hits(self.cols, a.col_taps, col, row_hit + rows, a.c, 1)
        a.row_hits, a.col_hits, a.row_hit, a.col_hit = row, col, row_hit, row_hit + rows
        return 0


cdef MaxWindows max_windows(str op, x_shape, output, kernel, stride, padding, dilation):
    """Validated geometry of a maximum over windows of an x of shape x_shape."""
    cdef MaxWindows made = MaxWindows()
    cdef max_pool_args *a = &made.a
    made.rows, made.cols = window_axes(op, x_shape, output, kernel, stride, padding, dilation)
    if made.rows.taps > MAX_TAPS // made.cols.taps:
        raise ArgError(f"{op}: a window of {made.rows.taps} x {made.cols.taps} taps; "
                       f"the limit is 2^24")
    a.no_tap = made.rows.taps * made.cols.taps
    a.wide, a.relu = a.no_tap > 255, False
    a.n, a.c, a.h, a.w = x_shape
    a.p, a.q, a.s = made.rows.outputs, made.cols.outputs, made.cols.taps
    a.row_stride, a.col_stride = made.rows.stride, made.cols.stride
    a.row_dilation, a.col_dilation = made.rows.dilation, made.cols.dilation
    a.top, a.left = made.rows.before, made.cols.before
    return made


cdef class MeanWindows:
    """The arguments of the mean's kernels: per axis what a window covers, and its share of the
    divisor."""

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        scratch_free(self.memory)

    cdef int allocate(self, intptr_t h, intptr_t w, intptr_t p, intptr_t q) except -1:
        """Room for the tables of h x w pixels and p x q outputs."""
        cdef mean_pool_args *a = &self.a
        self.memory = scratch((p + q + h + w) * (sizeof(span) + sizeof(double)))
        a.h, a.w, a.p, a.q = h, w, p, q
        a.rows = <span *>self.memory
        a.cols = a.rows + p
        a.row_outs = a.cols + q
        a.col_outs = a.row_outs + h
        a.row_size = <double *>(a.col_outs + w)
        a.col_size = a.row_size + p
        a.row_common = a.col_size + q
        a.col_common = a.row_common + h
        return 0


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
    a.pairs = 0
    while a.pairs < a.q and is_pair(a, a.pairs):
        a.pairs += 1


cdef bint is_pair(const mean_pool_args *a, intptr_t q) noexcept:
    """Whether window q has the columns 2 q and 2 q + 1 for itself, and the first one's size."""
    return (a.cols[q].lo == 2 * q and a.cols[q].hi == 2 * q + 2
            and a.col_size[q] == a.col_size[0]
            and a.col_outs[2 * q].lo == q and a.col_outs[2 * q].hi == q + 1
            and a.col_outs[2 * q + 1].lo == q and a.col_outs[2 * q + 1].hi == q + 1)


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


cdef MeanWindows mean_windows(str op, x_shape, output, kernel, stride, padding, bint include_pad,
                              divisor):
    """Validated geometry of average pooling; a divisor replaces the sizes of all windows."""
    cdef MeanWindows made = MeanWindows()
    cdef mean_pool_args *a = &made.a
    cdef Axis rows, cols
    cdef intptr_t i
    rows, cols = window_axes(op, x_shape, output, kernel, stride, padding, (1, 1))
    made.allocate(rows.length, cols.length, rows.outputs, cols.outputs)
    window_boxes(rows, <span *>a.rows, <double *>a.row_size, include_pad)
    window_boxes(cols, <span *>a.cols, <double *>a.col_size, include_pad)
    if divisor is not None:
        (divisor,) = integers(op, "divisor", (divisor,), 1, -(1 << 62))
        if divisor == 0:
            raise ArgError(f"{op}: divisor must not be 0")
        for i in range(a.p):
            (<double *>a.row_size)[i] = divisor
        for i in range(a.q):
            (<double *>a.col_size)[i] = 1
    cover_both(a)
    return made


cdef MeanWindows mean_bins(str op, x_shape, output):
    """Validated geometry of adaptive pooling: P x Q bins that cover the image, and may overlap."""
    cdef MeanWindows made = MeanWindows()
    cdef mean_pool_args *a = &made.a
    output = integers(op, "output", output, 2, 1)
    if max(output) > MAX_OUTPUTS or max(output) * max(x_shape[2:]) >= 1 << 62:
        raise ShapeError(f"{op}: {output} bins of an image {x_shape[2:]} are too many")
    made.allocate(x_shape[2], x_shape[3], output[0], output[1])
    adaptive_boxes(a.h, a.p, <span *>a.rows, <double *>a.row_size)
    adaptive_boxes(a.w, a.q, <span *>a.cols, <double *>a.col_size)
    cover_both(a)
    return made
