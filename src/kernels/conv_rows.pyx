# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolutions of few pixels as dense products.

Design. The im2row matrix (`src/simd/conv_rows.c`), a row for every output pixel, is made where it
is small: forward and grad_w with at most FEW pixels, whose weights are more than everything else
and are multiplied as they lie; grad_x also where the other way would multiply many zeros (a large
filter without padding on a small map). Then

    y (pixels, K) = rows W^T      gW (K, C R S) = gy^T rows      gx = the sums of gy W at each pixel

1x1 filters need no matrix: x is it.

Not here: checking arguments (`conv.pyx`), and the products (`gemm.pyx`).
"""
cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.conv cimport conv_rows_plan
from minigrad._kernels.dispatch cimport table_for
from minigrad._kernels.gemm cimport gemm_plan, multiply
from minigrad._kernels.memory cimport scratch, scratch_free
from minigrad._kernels.operands cimport channels_last
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef Py_ssize_t FEW = 64               # pixels
cdef double WORTH = 32768              # weights: with fewer, any way is short
cdef double MOST = 16e6                # bytes of the matrix
cdef double SUMMING = 128              # multiply-adds that adding up one element costs


cdef bint takes_rows(const geometry *g, conv_pass which, int typenum) noexcept:
    cdef double pixels = <double>g.N * g.P * g.Q, zeros
    cdef double bytes_all = pixels * g.C * g.R * g.S * (4 if typenum == cnp.NPY_FLOAT else 8)
    if g.R == 1 and g.S == 1:
        return which == GRAD_W and is_plain(g) and 256 * pixels <= <double>g.group_c * g.group_k
    if bytes_all > MOST or <double>g.K * g.group_c * g.R * g.S < WORTH:
        return False
    if which != GRAD_X:
        return pixels <= FEW
    zeros = <double>g.H * g.W / (<double>g.P * g.Q * g.stride_h * g.stride_w) - 1
    return pixels <= FEW and g.group_k >= 64 or zeros * g.group_k >= SUMMING


cdef bint is_plain(const geometry *g) noexcept:
    """1x1 filters that meet no padding."""
    return (g.R == 1 and g.S == 1 and not g.top and not g.left
            and g.P == (g.H - 1) // g.stride_h + 1 and g.Q == (g.W - 1) // g.stride_w + 1)


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
        p.a_row, p.a_col, p.b_row, p.b_col, p.c_row, p.c_col = g.groups * depth, 1, 1, depth, g.K, 1
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
    cdef gemm_plan p
    cdef conv_rows_plan sums
    cdef Py_ssize_t depth = g.group_c * g.R * g.S, chunks, typenum = cnp.PyArray_TYPE(gy)
    cdef void *rows = scratch(g.N * g.P * g.Q * g.groups * depth * cnp.PyArray_ITEMSIZE(gy))
    cdef double each
    try:
        p.batch, p.m, p.n, p.k = g.groups, g.N * g.P * g.Q, depth, g.group_k
        p.a_batch, p.a_row, p.a_col = g.group_k, g.K, 1
        p.b_batch, p.b_row, p.b_col = g.group_k * depth, depth, 1
        p.c_batch, p.c_row, p.c_col = depth, g.groups * depth, 1
        p.a, p.b, p.c = cnp.PyArray_DATA(gy), cnp.PyArray_DATA(w), rows
        p.bias, p.relu, p.bias_by_rows = NULL, False, False
        multiply(&p, typenum)
        set_rows(&sums, g, cnp.PyArray_DATA(gx), rows)
        chunks = parts(g.C, table_for(typenum).conv_rows.channels)
        each = 4.0 * g.P * g.Q * g.R * g.S * g.C / chunks
        run_tasks(table_for(typenum).conv_rows.images, &sums, g.N * chunks, each, NULL, 0,
                  team(each * g.N * chunks))
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
