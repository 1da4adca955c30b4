# Convolutions of few pixels as dense products (see src/kernels/conv_rows.pyx).
from numpy cimport ndarray

from minigrad._kernels.conv_geometry cimport geometry

# The arrays are channels-last, w and gw in C order.
cdef int rows_forward(const geometry *g, ndarray x, ndarray w, ndarray bias, bint relu,
                      ndarray y) except -1
cdef int rows_grad_x(const geometry *g, ndarray gy, ndarray w, ndarray gx) except -1
cdef int rows_grad_w(const geometry *g, ndarray gy, ndarray x, ndarray gw) except -1
