# Convolution by its definition (see src/kernels/conv_direct.pyx).
from numpy cimport ndarray

from minigrad._kernels.conv_geometry cimport epilogue, geometry

cdef epilogue NOTHING                # the sums as they are

# The arrays are channels-last, w and gw in C order. lines: by Winograd's algorithm along lines.
cdef int direct(const geometry *g, ndarray x, ndarray w, const epilogue *end, bint lines,
                ndarray y) except -1
cdef int direct_grad_x(const geometry *g, ndarray gy, ndarray w, bint lines,
                       ndarray gx) except -1
cdef int direct_grad_w(const geometry *g, ndarray gy, ndarray x, bint lines,
                       ndarray gw) except -1
