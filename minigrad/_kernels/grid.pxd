# Operands at a kernel's door, and rows of independent work in parallel: see src/kernels/grid.pyx.
from libc.stdint cimport intptr_t

from minigrad._kernels.dispatch cimport rows_kernel

cdef int run_rows(rows_kernel kernel, const void *args, intptr_t rows, double bytes_each) except -1
cdef void *data(object a) noexcept
cdef object images(str op, str name, object a)
cdef object vector(str op, str name, object a, intptr_t length, int typenum)
cdef object integers(str op, str name, object values, int count, object least)
cdef double number(str op, str name, object value) except? -1
cdef object volume(str op, object shape)
