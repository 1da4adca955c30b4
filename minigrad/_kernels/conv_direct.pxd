# Convolution by its definition (see src/kernels/conv_direct.pyx).
from numpy cimport ndarray

from minigrad._kernels.conv_geometry cimport epilogue, geometry

cdef epilogue NOTHING                # the sums as they are

# The arrays are channels-last, w and gw in C order.
cdef int direct(const geometry *g, ndarray x, ndarray w, const epilogue *end,
                ndarray y) except -1
cdef int direct_grad_x(const geometry *g, ndarray gy, ndarray w, ndarray gx) except -1
cdef int direct_grad_w(const geometry *g, ndarray gy, ndarray x, ndarray gw) except -1
