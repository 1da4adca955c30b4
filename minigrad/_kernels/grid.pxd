# Operands at a kernel's door, and rows of independent work in parallel: see src/kernels/grid.pyx.
from libc.stdint cimport intptr_t

from minigrad._kernels.dispatch cimport rows_kernel

cdef int run_rows(rows_kernel kernel, const void *args, intptr_t rows, double bytes_each) except -1
cdef object floats(str op, str name, object a, int nd, int typenum)
cdef object dense(object a)
cdef object pixels(object a)
cdef object vector(str op, str name, object a, intptr_t length, int typenum)
cdef int images(str op, str name, object a) except -1
cdef object integers(str op, str name, object values, int count, object least)
cdef double number(str op, str name, object value) except? -1
cdef object volume(str op, object shape, int typenum)
