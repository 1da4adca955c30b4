# cython: language_level=3, boundscheck=False, wraparound=False
"""The door of the matrix and convolution kernels: what an operand must be, and how it is made so.

Design. Kernels read aligned, native float32 or float64 at strides that are whole elements. Whatever
else NumPy can describe (bytes swapped, misaligned, overlapping fields, any order of axes) is copied
here, once, before a kernel sees it; a wrong rank or dtype is an error that names the op and the
array. Sizes that come from the user are added and multiplied here, with overflow checked.

Where to go next: `gemm.pyx`, `conv.pyx`.
"""
import numpy as np

from minigrad.errors import ArgError, DTypeError, ShapeError

cimport numpy as cnp
from numpy cimport ndarray
from libc.string cimport memcpy, memset

from minigrad._kernels.copying cimport copy_images
from minigrad._kernels.memory cimport empty
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef extern from "ndarray.h":
    bint array_pixels(ndarray x, Py_ssize_t *pitch) noexcept

cdef Py_ssize_t COPIED = 65536         # bytes of a task that copies
cdef Py_ssize_t LARGEST = <Py_ssize_t>(<size_t>-1 >> 1)


cdef ndarray floats(str op, str name, object a, int nd, int typenum):
    cdef int kind
    cdef ndarray array
    if not isinstance(a, ndarray):
        raise DTypeError(f"{op}: {name} must be a NumPy array, got {type(a).__name__}")
    array = a
    kind = cnp.PyArray_TYPE(array)
    if kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE:
        raise DTypeError(
            f"{op}: {name} is {array.dtype}, expected float32 or float64; cast with .astype")
    if typenum >= 0 and kind != typenum:
        raise DTypeError(
            f"{op}: {name} is {array.dtype}, the other array is "
            f"{'float32' if typenum == cnp.NPY_FLOAT else 'float64'}; cast with .astype")
    if cnp.PyArray_NDIM(array) != nd:
        raise ShapeError(f"{op}: {name} must have {nd} axes, got {(<object>array).shape}")
    if not cnp.PyArray_ISBEHAVED_RO(array) or not whole_strides(array):
        array = fresh(array, False)
    return array


cdef bint whole_strides(ndarray a) noexcept:
    """Whether all strides are whole numbers of elements (aligned doubles may lie 4 bytes apart)."""
    cdef int i
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, i) % cnp.PyArray_ITEMSIZE(a):
            return False
    return True


cdef ndarray fresh(ndarray a, bint last):
    """A copy of `a` in C order, or in channels-last order."""
    cdef ndarray out = empty(
        cnp.PyArray_NDIM(a), <const Py_ssize_t *>cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), last)
    if not copy_images(a, out):
        np.copyto(out, a)
    return out


cdef struct Copied:
    const char *src
    char *dst
    Py_ssize_t src_pitch, dst_pitch, bytes_each, rows, step


cdef void copy_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Copied *p = <const Copied *>plan
    cdef Py_ssize_t row
    for row in range(task * p.step, min(p.rows, (task + 1) * p.step)):
        memcpy(p.dst + row * p.dst_pitch, p.src + row * p.src_pitch, p.bytes_each)


cdef int copy_pixels(ndarray a, void *out, Py_ssize_t out_pitch) except -1:
    """Copy images whose pixels lie in order to pixels `out_pitch` apart; 0 for others, or 1."""
    cdef Copied p
    cdef Py_ssize_t pitch = 0, item = cnp.PyArray_ITEMSIZE(a)
    if not array_pixels(a, &pitch):
        return 0
    p.src, p.dst = <const char *>cnp.PyArray_DATA(a), <char *>out
    p.src_pitch, p.dst_pitch = pitch * item, out_pitch * item
    p.bytes_each = cnp.PyArray_DIM(a, 1) * item
    p.rows = cnp.PyArray_SIZE(a) // cnp.PyArray_DIM(a, 1)
    p.step = max(1, COPIED // p.bytes_each)
    run_tasks(copy_task, &p, parts(p.rows, p.step), 20.0 * p.step * p.bytes_each, NULL, 0,
              team(20.0 * p.rows * p.bytes_each))
    return 1


cdef Py_ssize_t pixel_pitch(ndarray a) noexcept:
    cdef Py_ssize_t pitch = 0, channels = cnp.PyArray_DIM(a, 1), size = cnp.PyArray_SIZE(a)
    if array_pixels(a, &pitch):
        return pitch
    if size and (size != channels or (
            channels != 1 and cnp.PyArray_STRIDE(a, 1) != cnp.PyArray_ITEMSIZE(a))):
        return 0
    return max(channels, 1)            # one pixel, or none


cdef ndarray c_order(ndarray a):
    return a if cnp.PyArray_IS_C_CONTIGUOUS(a) else fresh(a, False)


cdef ndarray channels_last(ndarray a):
    cdef cnp.npy_intp step = cnp.PyArray_ITEMSIZE(a)
    cdef int i
    cdef int order[4]
    order[0], order[1], order[2], order[3] = 1, 3, 2, 0
    for i in range(4):
        if cnp.PyArray_DIM(a, order[i]) != 1 and cnp.PyArray_STRIDE(a, order[i]) != step:
            return fresh(a, True)
        step *= cnp.PyArray_DIM(a, order[i])
    return a


cdef ndarray zeros(int nd, const Py_ssize_t *dims, int typenum, bint last):
    cdef ndarray out = empty(nd, dims, typenum, last)
    memset(cnp.PyArray_DATA(out), 0, cnp.PyArray_NBYTES(out))
    return out


cdef int sizes(str op, str name, object value, int count, Py_ssize_t least,
               Py_ssize_t *out) except -1:
    cdef int i
    if not isinstance(value, (tuple, list)) or len(value) != count:
        raise ArgError(f"{op}: {name} must be {count} ints, got {value!r}")
    for i in range(count):
        try:
            out[i] = value[i].__index__()
        except OverflowError:
            raise ShapeError(f"{op}: {name}={value!r} overflows a 64-bit size") from None
        except AttributeError:
            raise TypeError(f"{op}: {name} must be {count} ints, got {value!r}") from None
        if out[i] < least:
            raise ArgError(f"{op}: {name} must be at least {least}, got {value!r}")
    return 0


cdef Py_ssize_t plus(str op, Py_ssize_t x, Py_ssize_t y) except? -1:
    if (y > 0 and x > LARGEST - y) or (y < 0 and x < -LARGEST - y):
        raise ShapeError(f"{op}: {x} + {y} overflows a 64-bit size")
    return x + y


cdef Py_ssize_t times(str op, Py_ssize_t x, Py_ssize_t y) except? -1:
    """x * y for x, y >= 0."""
    if y and x > LARGEST // y:
        raise ShapeError(f"{op}: {x} * {y} overflows a 64-bit size")
    return x * y
