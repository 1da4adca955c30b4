# cython: language_level=3, boundscheck=False, wraparound=False
"""Memory for results and scratch, from a pool of blocks that are used again.

Design. Arrays of 4 KiB and more own a block of the pool (`pool.h`): 64-byte aligned, from
256 KiB on cut from a heap of huge pages (`heap.h`), back in the pool when the last ndarray over it
dies. Such an array is an ordinary NumPy array that owns its data; its memory handler (NumPy's NEP
49) is ours, so it needs no base object and `del` is all there is to know. Smaller arrays are
NumPy's own: its cache is faster there.

`pooled_arrays` makes NumPy's *own* results (the temporaries of backward rules) come from the pool
too. It is entered by the reverse sweep and left with it; it is never left installed.

Environment, read at import: MINIGRAD_HUGEPAGES=0 asks for no huge pages; MINIGRAD_POISON=1 fills
every uninitialized array with signaling NaN, so that a test sees who reads what nobody wrote.
"""
import os

import numpy as np

from minigrad.errors import ArgError, ShapeError

cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    const int NPY_MAXDIMS

cdef extern from "pool.h" nogil:
    ctypedef struct pool_counts:
        size_t live_bytes, live_blocks, cached_bytes, cached_blocks, peak_bytes, requests, reused
    const size_t POOL_MIN
    void *pool_take(size_t nbytes)
    void pool_give(void *data)
    void pool_clear()
    pool_counts pool_read()
    void pool_setup(int use_huge, int poison)
    void pool_refuse_in(long count)

cdef extern from "ndarray.h":
    object array_new(
        int typenum, int nd, const cnp.npy_intp *dims, const cnp.npy_intp *strides, int flags)
    object array_own(
        void *data, object handler, int typenum, int nd, const cnp.npy_intp *dims,
        const cnp.npy_intp *strides, int flags)

cdef extern from *:
    """
    static PyDataMem_Handler pool_handler = {
        "minigrad_pool", 1, {NULL, pool_malloc, pool_calloc, pool_realloc, pool_free}};
    static PyObject *pool_capsule(void) {
        return PyCapsule_New(&pool_handler, "mem_handler", NULL);
    }
    """
    object pool_capsule()

cdef object handler = pool_capsule()
cdef bint poisoned = os.environ.get("MINIGRAD_POISON", "0") not in ("", "0")
cdef bint huge_pages = os.environ.get("MINIGRAD_HUGEPAGES", "1") != "0"
pool_setup(huge_pages, poisoned)


# --- arrays ------------------------------------------------------------------------------------

cdef object refuse(Py_ssize_t nbytes, int nd, const Py_ssize_t *dims, int typenum):
    """Raise the MemoryError of an array that the system refuses."""
    shape = tuple([dims[i] for i in range(nd)])
    dtype = cnp.PyArray_DescrFromType(typenum)
    raise MemoryError(
        f"unable to allocate {nbytes / 2**30:.3g} GiB for an array of shape {shape} and dtype "
        f"{dtype}; smaller batches need less")


cdef Py_ssize_t size_of(int nd, const Py_ssize_t *dims, Py_ssize_t item) except -1:
    """Bytes of an array; ShapeError when that is no size. Zero dimensions count as one."""
    cdef Py_ssize_t total = item
    cdef int i
    if nd > NPY_MAXDIMS:
        raise ShapeError(f"an array has at most {NPY_MAXDIMS} dimensions, not {nd}")
    for i in range(nd):
        if dims[i] < 0 or (dims[i] > 0 and total > (<Py_ssize_t>(<size_t>-1 >> 1)) // dims[i]):
            shape = tuple([dims[k] for k in range(nd)])
            raise ShapeError(f"{shape} is not a possible shape: a size is negative or too large")
        if dims[i] > 0:
            total *= dims[i]
    return total


cdef void poison(char *data, Py_ssize_t nbytes, int typenum) noexcept nogil:
    """Signaling NaN in every float, the largest unsigned number in every integer."""
    cdef Py_ssize_t i
    if typenum == cnp.NPY_FLOAT:
        for i in range(nbytes // 4):
            (<uint32_t *>data)[i] = 0x7FA00000U
    elif typenum == cnp.NPY_DOUBLE:
        for i in range(nbytes // 8):
            (<uint64_t *>data)[i] = 0x7FF4000000000000ULL
    else:
        memset(data, 0xFF if typenum != cnp.NPY_BOOL else 1, nbytes)


cdef object empty_strided(
        int nd, const cnp.npy_intp *dims, const cnp.npy_intp *strides, int typenum,
        Py_ssize_t nbytes):
    cdef object array
    cdef void *data
    if <size_t>nbytes < POOL_MIN:
        array = array_new(typenum, nd, dims, strides, 0)
    else:
        data = pool_take(nbytes)
        if data == NULL:
            refuse(nbytes, nd, <const Py_ssize_t *>dims, typenum)
        try:
            array = array_own(data, handler, typenum, nd, dims, strides, 0)
        except:  # noqa: E722  whatever it was, the block goes back
            pool_give(data)
            raise
    if poisoned:
        poison(<char *>cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array), typenum)
    return array


cdef object empty(int nd, const Py_ssize_t *dims, int typenum, bint channels_last):
    cdef cnp.npy_intp strides[4]
    cdef Py_ssize_t item = cnp.PyArray_DescrFromType(typenum).itemsize
    cdef Py_ssize_t nbytes = size_of(nd, dims, item)
    if not channels_last or nd != 4:
        return empty_strided(nd, <const cnp.npy_intp *>dims, NULL, typenum, nbytes)
    strides[1] = item
    strides[3] = strides[1] * max(dims[1], 1)
    strides[2] = strides[3] * max(dims[3], 1)
    strides[0] = strides[2] * max(dims[2], 1)
    return empty_strided(nd, <const cnp.npy_intp *>dims, strides, typenum, nbytes)


def empty_array(shape, dtype=np.float32, *, channels_last=False):
    """An uninitialized array from the pool.

    Shapes  shape: a tuple of sizes (or one size)
    Raises  ShapeError when a size is negative or their product too large; ArgError when
            channels_last is asked of anything but four dimensions; TypeError for object dtypes;
            MemoryError, with the size in GiB, when the system refuses
    """
    cdef Py_ssize_t dims[64]
    cdef int i, nd
    cdef cnp.dtype descr = np.dtype(dtype)
    if descr.kind not in "biuf" or descr.type_num >= cnp.NPY_NTYPES_LEGACY:
        raise TypeError(f"empty_array: dtype {descr} is not a number; use float32 or float64")
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    nd = len(sizes)
    if nd > 64:
        raise ShapeError(f"an array has at most 64 dimensions, not {nd}")
    if channels_last and nd != 4:
        raise ArgError(f"empty_array: channels_last means 4 dimensions (N, C, H, W), not {sizes}")
    for i in range(nd):
        try:
            dims[i] = sizes[i]
        except OverflowError:
            raise ShapeError(f"{sizes} is not a possible shape: a size is too large") from None
    return empty(nd, dims, descr.type_num, channels_last)


# --- scratch -----------------------------------------------------------------------------------

cdef void *scratch(size_t nbytes) except NULL:
    cdef void *data = pool_take(nbytes)
    if data == NULL:
        raise MemoryError(f"unable to allocate {nbytes / 2**30:.3g} GiB of scratch for a kernel")
    if poisoned:
        memset(data, 0xFF, nbytes)
    return data


cdef void scratch_free(void *p) noexcept nogil:
    pool_give(p)


# --- NumPy's own results -----------------------------------------------------------------------

cdef object pooled_enter():
    return cnp.PyDataMem_SetHandler(handler)


cdef int pooled_leave(object former) except -1:
    cnp.PyDataMem_SetHandler(former)
    return 0


cdef class pooled_arrays:
    """Context manager: inside, the arrays that NumPy makes in this thread come from the pool.

    They outlive the context like any other array. Nests; costs about 0.2 us.
    """

    cdef object former

    def __enter__(self):
        self.former = pooled_enter()
        return self

    def __exit__(self, kind, value, traceback):
        pooled_leave(self.former)


# --- for the user ------------------------------------------------------------------------------

def memory_stats():
    """What the pool holds: a dict of byte and block counts.

    Keys  live_bytes, live_blocks: owned by arrays (and running kernels) now; cached_bytes,
          cached_blocks: kept for the next request; peak_bytes: the most that was ever live at once;
          requests, reused: how often a block was asked for, and how often it was a used one;
          huge_pages: whether huge pages are asked for
    """
    cdef pool_counts counts = pool_read()
    return {
        "live_bytes": counts.live_bytes,
        "live_blocks": counts.live_blocks,
        "cached_bytes": counts.cached_bytes,
        "cached_blocks": counts.cached_blocks,
        "peak_bytes": counts.peak_bytes,
        "requests": counts.requests,
        "reused": counts.reused,
        "huge_pages": bool(huge_pages),
    }


def empty_cache():
    """Give the blocks that no array uses back to the system."""
    with nogil:
        pool_clear()


def refuse_in(long count):
    """For tests: the pool refuses one request, after `count` others; count below 0: none."""
    pool_refuse_in(count)
