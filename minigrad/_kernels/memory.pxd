# Pooled arrays and scratch for kernels.
cdef object empty(int nd, const Py_ssize_t *dims, int typenum, bint channels_last)
cdef void *scratch(size_t nbytes) except NULL
cdef void scratch_free(void *p) noexcept nogil
