# The sizes of a convolution (see src/kernels/conv_geometry.pyx).

# A validated convolution: all sizes fit in 64 bits, all outputs exist.
cdef struct geometry:
    Py_ssize_t N, C, H, W, K, R, S, P, Q
    Py_ssize_t stride_h, stride_w, top, left, dilation_h, dilation_w
    Py_ssize_t groups, group_c, group_k

# What is done to the sums of a convolution before they are stored: y scale + bias + residual, then
# max(0, .). bias and scale have a value for each output channel, residual is laid out as y.
cdef struct epilogue:
    const void *bias                 # NULL: 0
    const void *scale                # NULL: 1
    const void *residual             # NULL: none; only where scale is
    bint relu
    void *mean                       # NULL, or where the mean and the biased variance of each
    void *var                        # output channel go; without scale

# x: N, C, H, W; w: K, C/groups, R, S. Raises ShapeError, ArgError, TypeError.
cdef int read_geometry(str op, geometry *g, const Py_ssize_t *x, const Py_ssize_t *w, object stride,
                       object padding, object dilation, object groups) except -1
cdef Py_ssize_t outputs_met(Py_ssize_t tap, Py_ssize_t step, Py_ssize_t count,
                            Py_ssize_t size) noexcept nogil

# Pairs of output and tap, along an axis, that meet a row or column of x, not the padding.
cdef double inside_height(const geometry *g) noexcept
cdef double inside_width(const geometry *g) noexcept
cdef double flop_of(const geometry *g) noexcept

# Whether filters are 1x1 and meet no padding.
cdef bint is_plain(const geometry *g) noexcept
