# Images copied between any orders in memory (see src/kernels/copying.pyx).
from numpy cimport ndarray

# dst[...] = src, where both are images (N, C, H, W) of one shape and of one dtype, float32 or
# float64, aligned and native, that share no memory; False, and nothing is copied, for others.
cdef bint copy_images(ndarray src, ndarray dst) except -1
