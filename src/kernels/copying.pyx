# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Images copied from one order in memory to another, by all threads.

Design. Runs of neighboring pixels of one image are the tasks; a C kernel copies one run between any
strides (`src/simd/copying.c`). Rows of an image that follow on each other are one run. Whatever is
no image of native, aligned floats, or would be written over itself, is NumPy's to copy.

Where to go next: `operands.pyx`, which turns what a user gives to channels-last order with this.
"""
import numpy as np

cimport numpy as cnp
from numpy cimport ndarray

from minigrad._kernels.dispatch cimport copying_kernels, pixel_strides, table_for
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef enum:
    CHUNK = 16384                    # numbers of one task
    SMALL = 4096                     # numbers that NumPy copies before we have looked at them

cdef double MEMORY = 12              # flop-equivalents a number: it waits for memory


cdef struct Side:
    pixel_strides at
    Py_ssize_t image, row            # elements to the next one


cdef struct Moved:
    const copying_kernels *kernels
    const char *src
    char *dst
    Side f, t
    Py_ssize_t item, rows, width, channels
    Py_ssize_t span, blocks          # pixels of a run; runs in a row
    Py_ssize_t runs, step            # in all; of a task


cdef void move_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Moved *p = <const Moved *>plan
    cdef Py_ssize_t run, n, row, first
    for run in range(task * p.step, min(p.runs, (task + 1) * p.step)):
        first, row = run % p.blocks * p.span, run // p.blocks
        n, row = row // p.rows, row % p.rows
        p.kernels.pixels(
            p.src + (n * p.f.image + row * p.f.row + first * p.f.at.pixel) * p.item, &p.f.at,
            p.dst + (n * p.t.image + row * p.t.row + first * p.t.at.pixel) * p.item, &p.t.at,
            min(p.span, p.width - first), p.channels)


cdef bint read_side(ndarray a, Side *side) noexcept:
    """The strides of images (N, C, H, W) in elements; False where they are no whole numbers."""
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(a)
    cdef int axis
    for axis in range(4):
        if cnp.PyArray_STRIDE(a, axis) % item:
            return False
    side.image, side.at.channel = cnp.PyArray_STRIDE(a, 0) // item, cnp.PyArray_STRIDE(a, 1) // item
    side.row, side.at.pixel = cnp.PyArray_STRIDE(a, 2) // item, cnp.PyArray_STRIDE(a, 3) // item
    if cnp.PyArray_DIM(a, 3) == 1:
        side.at.pixel = side.row     # a column: its rows are the pixels
    return True


cdef inline bint in_order(const Side *side, Py_ssize_t width) noexcept:
    return side.row == width * side.at.pixel


cdef bint copy_images(ndarray src, ndarray dst) except -1:
    cdef int axis, typenum = cnp.PyArray_TYPE(dst)
    cdef Moved p
    if cnp.PyArray_NDIM(src) != 4 or cnp.PyArray_NDIM(dst) != 4 or cnp.PyArray_TYPE(src) != typenum:
        return False
    if typenum != cnp.NPY_FLOAT and typenum != cnp.NPY_DOUBLE:
        return False
    if not cnp.PyArray_ISBEHAVED_RO(src) or not cnp.PyArray_ISBEHAVED(dst):
        return False
    for axis in range(4):
        if cnp.PyArray_DIM(src, axis) != cnp.PyArray_DIM(dst, axis):
            return False
    if not cnp.PyArray_SIZE(dst) or not read_side(src, &p.f) or not read_side(dst, &p.t):
        return cnp.PyArray_SIZE(dst) == 0
    p.kernels = table_for(typenum).copying
    p.src, p.dst = <const char *>cnp.PyArray_DATA(src), <char *>cnp.PyArray_DATA(dst)
    p.item, p.channels = cnp.PyArray_ITEMSIZE(dst), cnp.PyArray_DIM(dst, 1)
    p.rows, p.width = cnp.PyArray_DIM(dst, 2), cnp.PyArray_DIM(dst, 3)
    if p.rows == 1 or p.width == 1 or in_order(&p.f, p.width) and in_order(&p.t, p.width):
        p.rows, p.width = 1, p.rows * p.width
    p.span = min(p.width, max(16, CHUNK // p.channels // 16 * 16))
    p.blocks = parts(p.width, p.span)
    p.runs = cnp.PyArray_DIM(dst, 0) * p.rows * p.blocks
    p.step = max(1, CHUNK // (p.channels * p.span))
    run_tasks(move_task, &p, parts(p.runs, p.step), MEMORY * p.step * p.span * p.channels, NULL, 0,
              team(MEMORY * cnp.PyArray_SIZE(dst)))
    return True


def assign(out, x):
    """out[...] = x, as NumPy copies it; large images of floats are copied by all threads.

    Shapes  out: any; x: broadcasts to out
    Raises  what np.copyto raises: ValueError where x does not fit or out is read-only
    """
    if (type(out) is ndarray and type(x) is ndarray and cnp.PyArray_SIZE(<ndarray>out) > SMALL
            and not np.may_share_memory(out, x) and copy_images(x, out)):
        return
    np.copyto(out, x)
