# Convolution with one input channel per group (see src/kernels/conv_depthwise.pyx).
from numpy cimport ndarray

from minigrad._kernels.conv_geometry cimport geometry

cdef int depthwise(const geometry *g, ndarray x, ndarray w, ndarray bias, bint relu,
                   ndarray y) except -1
cdef int depthwise_grad_x(const geometry *g, ndarray gy, ndarray w, ndarray gx) except -1
cdef int depthwise_grad_w(const geometry *g, ndarray gy, ndarray x, ndarray gw) except -1
