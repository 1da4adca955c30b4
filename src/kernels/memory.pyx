# cython: language_level=3
"""Pooled memory for arrays and scratch (minimal version)."""
cimport numpy as cnp
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef object empty(int nd, const Py_ssize_t *dims, int typenum, bint channels_last):
    cdef cnp.npy_intp d[32]
    cdef int i
    for i in range(nd):
        d[i] = dims[i]
    if channels_last and nd == 4:
        d[0], d[1], d[2], d[3] = dims[0], dims[2], dims[3], dims[1]
        return cnp.PyArray_SimpleNew(4, d, typenum).transpose(0, 3, 1, 2)
    return cnp.PyArray_SimpleNew(nd, d, typenum)

cdef void *scratch(size_t nbytes) except NULL:
    cdef void *p = malloc(nbytes + 64)
    if p == NULL:
        raise MemoryError()
    return p

cdef void scratch_free(void *p) noexcept nogil:
    free(p)
