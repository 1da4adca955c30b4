# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The sizes of a convolution, read from shapes and parameters and checked.

Design. One struct of numbers (`geometry`) is what planning, choosing and running know of the
arguments; after `read_geometry` every size fits in 64 bits and every output exists.
"""
from minigrad.errors import ShapeError

from minigrad._kernels.operands cimport plus, sizes, times
from minigrad._kernels.tasks cimport parts


cdef Py_ssize_t output_size(str op, str axis, Py_ssize_t size, Py_ssize_t pads, Py_ssize_t kernel,
                            Py_ssize_t stride, Py_ssize_t dilation) except -1:
    """(size + pads - dilation (kernel - 1) - 1) / stride + 1, or ShapeError."""
    cdef Py_ssize_t extent = plus(op, size, pads)
    cdef Py_ssize_t reach = plus(op, times(op, dilation, kernel - 1), 1)
    if extent < reach:
        raise ShapeError(
            f"{op}: the kernel spans {reach} {axis}, the padded input has {extent}; pad more, or "
            f"use a smaller kernel or dilation")
    return (extent - reach) // stride + 1


cdef int read_geometry(str op, geometry *g, const Py_ssize_t *x, const Py_ssize_t *w, object stride,
                       object padding, object dilation, object groups) except -1:
    """Everything about a convolution of x (N, C, H, W) by w (K, C/groups, R, S)."""
    cdef Py_ssize_t two[2]
    cdef Py_ssize_t pads[4]
    g.N, g.C, g.H, g.W = x[0], x[1], x[2], x[3]
    g.K, g.group_c, g.R, g.S = w[0], w[1], w[2], w[3]
    sizes(op, "stride", stride, 2, 1, two)
    g.stride_h, g.stride_w = two[0], two[1]
    sizes(op, "dilation", dilation, 2, 1, two)
    g.dilation_h, g.dilation_w = two[0], two[1]
    sizes(op, "padding", padding, 4, 0, pads)
    g.top, g.left = pads[0], pads[2]
    sizes(op, "groups", (groups,), 1, 1, two)
    g.groups = two[0]
    if g.R < 1 or g.S < 1:
        raise ShapeError(f"{op}: the kernel has no taps: {g.R} x {g.S}")
    if g.K % g.groups or g.C % g.groups or g.C // g.groups != g.group_c:
        raise ShapeError(
            f"{op}: x has {g.C} channels, w expects {g.groups} x {g.group_c} and gives {g.K} "
            f"outputs (x {(x[0], x[1], x[2], x[3])}, w {(w[0], w[1], w[2], w[3])})")
    g.group_k = g.K // g.groups
    g.P = output_size(op, "rows", g.H, plus(op, pads[0], pads[1]), g.R, g.stride_h, g.dilation_h)
    g.Q = output_size(op, "columns", g.W, plus(op, pads[2], pads[3]), g.S, g.stride_w,
                      g.dilation_w)
    times(op, times(op, times(op, g.N, g.K), times(op, g.P, g.Q)), 64)
    return 0


cdef Py_ssize_t outputs_met(Py_ssize_t tap, Py_ssize_t step, Py_ssize_t count,
                            Py_ssize_t size) noexcept nogil:
    """Outputs o < count that meet a source row, not the padding: 0 <= o * step + tap < size."""
    cdef Py_ssize_t first = parts(max(-tap, 0), step)
    return max(min(count, parts(max(size - tap, 0), step)) - first, 0)


cdef double inside_height(const geometry *g) noexcept:
    cdef Py_ssize_t r, pairs = 0
    for r in range(g.R):
        pairs += outputs_met(r * g.dilation_h - g.top, g.stride_h, g.P, g.H)
    return pairs


cdef double inside_width(const geometry *g) noexcept:
    cdef Py_ssize_t s, pairs = 0
    for s in range(g.S):
        pairs += outputs_met(s * g.dilation_w - g.left, g.stride_w, g.Q, g.W)
    return pairs


cdef double flop_of(const geometry *g) noexcept:
    return 2.0 * g.N * g.K * g.P * g.Q * g.group_c * g.R * g.S


cdef bint is_plain(const geometry *g) noexcept:
    return (g.R == 1 and g.S == 1 and not g.top and not g.left
            and g.P == (g.H - 1) // g.stride_h + 1 and g.Q == (g.W - 1) // g.stride_w + 1)
