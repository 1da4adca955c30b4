# Narrow layers in tasks whose vectors run over images (see src/kernels/conv_images.pyx).
from minigrad._kernels.conv cimport conv_forward_plan, conv_grad_w_plan
from minigrad._kernels.conv_plan cimport tables

# Taps, weights and outputs (or gy) are set: bands of as many images as a vector has lanes.
cdef void plan_images(conv_forward_plan *p, tables t, int lanes) noexcept nogil
cdef void plan_images_grad_w(conv_grad_w_plan *p, tables t, int lanes) noexcept nogil

# Outputs of a band in grad_w: a band reads and writes all sums.
cdef Py_ssize_t SUM_PIXELS

cdef enum:
    LINE_POINTS = 8                  # of a line's tile, for five taps

# The same for Winograd's algorithm along lines; adjoint: of grad_x.
cdef void plan_lines(conv_forward_plan *p, tables t, int lanes, bint adjoint) noexcept nogil
cdef void plan_lines_grad_w(conv_grad_w_plan *p, tables t, int lanes) noexcept nogil
