# Compiled twins of elementwise ops (see src/kernels/elementwise.pyx).
from minigrad._kernels.dispatch cimport binary_kernel, scalar_kernel, unary_kernel
from minigrad._kernels.kernel cimport Kernel

cdef class Elementwise(Kernel):
    cdef double cost                     # flop-equivalents per element
    # Index 0: float32, 1: float64. NULL where there is no such form.
    cdef unary_kernel unary[2]
    cdef binary_kernel binary[2]
    cdef scalar_kernel scalar[2]         # array, number
    cdef scalar_kernel swapped[2]        # number, array

# total += term, in place. Returns 0 when the two are not of one dtype, shape and memory order.
cdef bint accumulate(object total, object term) except -1
