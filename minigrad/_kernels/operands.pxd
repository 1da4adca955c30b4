# What gemm and conv demand of the arrays that they are given (see src/kernels/operands.pyx).
from numpy cimport ndarray

# `a` as an aligned, native float32 or float64 array of rank nd. typenum: the type it must have, or
# -1 for either. Raises DTypeError or ShapeError with the names `op` and `name`.
cdef ndarray floats(str op, str name, object a, int nd, int typenum)

# The same values in C order; in channels-last order (rank 4). `a` itself if it is so already.
cdef ndarray c_order(ndarray a)
cdef ndarray channels_last(ndarray a)

# Copy images (N, C, H, W) whose pixels lie in order to pixels `out_pitch` elements apart; False,
# and nothing is copied, where they lie in another order.
cdef int copy_pixels(ndarray a, void *out, Py_ssize_t out_pitch) except -1

# Elements from one pixel to the next of images (N, C, H, W) that are channels-last, or neighboring
# channels of such; 0 for images in another order.
cdef Py_ssize_t pixel_pitch(ndarray a) noexcept

# A new array of channels-last zeros.
cdef ndarray zeros(int nd, const Py_ssize_t *dims, int typenum, bint last)

# The argument `value` as `count` sizes of at least `least`; ShapeError where 64 bits are too few.
cdef int sizes(str op, str name, object value, int count, Py_ssize_t least,
               Py_ssize_t *out) except -1

# x + y and x * y, or ShapeError.
cdef Py_ssize_t plus(str op, Py_ssize_t x, Py_ssize_t y) except? -1
cdef Py_ssize_t times(str op, Py_ssize_t x, Py_ssize_t y) except? -1
