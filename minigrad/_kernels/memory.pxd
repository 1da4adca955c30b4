# Pooled arrays and scratch for kernels (see src/kernels/memory.pyx).
from numpy cimport npy_intp

# An uninitialized array; ShapeError when the size is impossible, MemoryError when refused.
# channels_last: a 4-D array of shape (N, C, H, W) whose memory is contiguous (N, H, W, C).
cdef object empty(int nd, const Py_ssize_t *dims, int typenum, bint channels_last)

# The same for strides that are known to be dense, `nbytes` in all. strides NULL: C order.
cdef object empty_strided(
    int nd, const npy_intp *dims, const npy_intp *strides, int typenum, Py_ssize_t nbytes)

# Memory for the length of one kernel, 64-byte aligned; never counted in Python's memory.
cdef void *scratch(size_t nbytes) except NULL
cdef void scratch_free(void *p) noexcept nogil

# NumPy's own results come from the pool between the two; `former` is what pooled_enter returned.
cdef object pooled_enter()
cdef int pooled_leave(object former) except -1
