# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolutions of few pixels as dense products.

Design. The im2row matrix (`src/simd/conv_rows.c`), a row for every output pixel, is made where it
is small (`conv_choice.pyx`): where the weights are more than everything else they are multiplied as
they lie, and grad_x meets none of the zeros that a large filter without padding brings to a small
map. Then

    y (pixels, K) = rows W^T      gW (K, C R S) = gy^T rows      gx = the sums of gy W at each pixel

1x1 filters need no matrix: x is it.

Not here: checking arguments (`conv.pyx`), and the products (`gemm.pyx`).
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.conv cimport conv_rows_plan
from minigrad._kernels.conv_geometry cimport is_plain
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.gemm cimport gemm_plan, multiply
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.operands cimport channels_last, pixel_pitch
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef Py_ssize_t MOST = 4 << 20          # numbers of the matrix of grad_x

cdef void set_rows(conv_rows_plan *p, const geometry *g, void *image, void *rows) noexcept:
    p.image, p.rows = image, rows
    p.height, p.width, p.channels, p.p, p.q, p.r, p.s = g.H, g.W, g.C, g.P, g.Q, g.R, g.S
    p.stride_h, p.stride_w, p.dilation_h, p.dilation_w = (
        g.stride_h, g.stride_w, g.dilation_h, g.dilation_w)
    p.top, p.left = g.top, g.left


cdef int fill_rows(const geometry *g, ndarray x, void *rows) except -1:
    cdef conv_rows_plan p
    cdef double each = 4.0 * g.C * g.R * g.S
    set_rows(&p, g, cnp.PyArray_DATA(x), rows)
    return run_tasks(table_for(cnp.PyArray_TYPE(x)).conv_rows.rows, &p, g.N * g.P * g.Q, each, NULL,
                     0, team(each * g.N * g.P * g.Q))


cdef int rows_forward(const geometry *g, ndarray x, ndarray w, ndarray bias, bint relu,
                      ndarray y) except -1:
    cdef gemm_plan p
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(x), depth = g.group_c * g.R * g.S, group
    cdef Py_ssize_t pixels = g.N * g.P * g.Q
    cdef char *rows = <char *>scratch(pixels * g.groups * depth * item)
    try:
        fill_rows(g, x, rows)
        p.batch, p.m, p.n, p.k = 1, pixels, g.group_k, depth
        p.a_batch = p.b_batch = p.c_batch = 0
        p.a_row, p.a_col, p.b_row, p.b_col = g.groups * depth, 1, 1, depth
        p.c_row, p.c_col = pixel_pitch(y), 1
        p.relu, p.bias_by_rows = relu, False
        for group in range(g.groups):
            p.a = rows + group * depth * item
            p.b = <char *>cnp.PyArray_DATA(w) + group * g.group_k * depth * item
            p.c = <char *>cnp.PyArray_DATA(y) + group * g.group_k * item
            p.bias = NULL
            if bias is not None:
                p.bias = <char *>cnp.PyArray_DATA(bias) + group * g.group_k * item
            multiply(&p, cnp.PyArray_TYPE(x))
    finally:
        scratch_free(rows)
    return 0


cdef int rows_grad_x(const geometry *g, ndarray gy, ndarray w, ndarray gx) except -1:
    """As many images at a time as MOST numbers of the matrix allow."""
    cdef gemm_plan p
    cdef conv_rows_plan sums
    cdef Py_ssize_t depth = g.group_c * g.R * g.S, typenum = cnp.PyArray_TYPE(gy), n
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(gy), pixels = g.P * g.Q, chunks, images
    cdef Py_ssize_t block = max(1, min(g.N, MOST // (pixels * g.groups * depth)))
    cdef void *rows = scratch(block * pixels * g.groups * depth * item)
    cdef double each
    try:
        p.batch, p.n, p.k = g.groups, depth, g.group_k
        p.a_batch, p.a_row, p.a_col = g.group_k, g.K, 1
        p.b_batch, p.b_row, p.b_col = g.group_k * depth, depth, 1
        p.c_batch, p.c_row, p.c_col = depth, g.groups * depth, 1
        p.b, p.c = cnp.PyArray_DATA(w), rows
        p.bias, p.relu, p.bias_by_rows = NULL, False, False
        chunks = parts(g.C, table_for(typenum).conv_rows.channels)
        each = 4.0 * pixels * g.R * g.S * g.C / chunks
        for n in range(0, g.N, block):
            images = min(block, g.N - n)
            p.m, p.a = images * pixels, <char *>cnp.PyArray_DATA(gy) + n * pixels * g.K * item
            multiply(&p, typenum)
            set_rows(&sums, g, <char *>cnp.PyArray_DATA(gx) + n * g.H * g.W * g.C * item, rows)
            run_tasks(table_for(typenum).conv_rows.images, &sums, images * chunks, each, NULL, 0,
                      team(each * images * chunks))
    finally:
        scratch_free(rows)
    return 0


cdef int rows_grad_w(const geometry *g, ndarray gy, ndarray x, ndarray gw) except -1:
    cdef gemm_plan p
    cdef Py_ssize_t depth = g.group_c * g.R * g.S
    cdef void *rows = NULL
    cdef ndarray seen
    try:
        p.batch, p.m, p.n, p.k = g.groups, g.group_k, depth, g.N * g.P * g.Q
        p.a_batch, p.a_row, p.a_col = g.group_k, 1, g.K
        p.b_batch, p.b_row, p.b_col = depth, g.groups * depth, 1
        p.c_batch, p.c_row, p.c_col = g.group_k * depth, depth, 1
        if is_plain(g):
            seen = channels_last(x[:, :, ::g.stride_h, ::g.stride_w])
            p.b = cnp.PyArray_DATA(seen)
        else:
            rows = scratch(p.k * g.groups * depth * cnp.PyArray_ITEMSIZE(x))
            fill_rows(g, x, rows)
            p.b = rows
        p.a, p.c = cnp.PyArray_DATA(gy), cnp.PyArray_DATA(gw)
        p.bias, p.relu, p.bias_by_rows = NULL, False, False
        multiply(&p, cnp.PyArray_TYPE(x))
    finally:
        if rows != NULL:
            scratch_free(rows)
    return 0
