# The geometry of pooling as tables for C: see src/kernels/windows.pyx and src/simd/pooling.h.
from libc.stdint cimport intptr_t

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
        intptr_t no_tap
        int wide
        int relu
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
        intptr_t pairs
        const void *x
        const void *z_in
        void *y
        void *z

cdef class Axis:
    cdef intptr_t length, outputs, taps, stride, before, after, dilation

cdef class MaxWindows:
    cdef max_pool_args a
    cdef Axis rows, cols
    cdef void *taps
    cdef void *hits
    cdef int find_taps(self) except -1
    cdef int find_hits(self) except -1

cdef class MeanWindows:
    cdef mean_pool_args a
    cdef void *memory
    cdef int allocate(self, intptr_t h, intptr_t w, intptr_t p, intptr_t q) except -1

cdef MaxWindows max_windows(str op, object x_shape, object output, object kernel, object stride,
                            object padding, object dilation)
cdef MeanWindows mean_windows(str op, object x_shape, object output, object kernel, object stride,
                              object padding, bint include_pad, object divisor)
cdef MeanWindows mean_bins(str op, object x_shape, object output)
