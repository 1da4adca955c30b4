# cython: language_level=3, boundscheck=False, wraparound=False
"""Dropout: random words to bits, and numbers kept or dropped by them in one pass over memory.

Design. The bits are counted in the order of the numbers in memory: (N, C, H, W), or (N, H, W, C)
for channels-last images, which whoever asks says (`channels_last`, `images`). Operands that lie
otherwise are copied first, so a result does not depend on a layout. The words come in the order of
the shape whatever the layout, so that a seed drops the same numbers.

Stretches of CHUNK numbers, which begin at a whole byte, and blocks of PIXELS pixels are the tasks.
In NumPy: `minigrad/reference/dropout.py`. Next: `src/simd/dropout.c`, the loops.
"""
from minigrad.errors import ArgError, DTypeError, ShapeError

import numpy as np

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint32_t
from numpy cimport ndarray

from minigrad._kernels.dispatch cimport dropout_kernels, table_for
from minigrad._kernels.memory cimport empty
from minigrad._kernels.operands cimport c_order, channels_last as images_last, floats, sizes, times
from minigrad._kernels.tasks cimport parts, run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef enum:
    CHUNK = 16384                    # numbers of one task: a multiple of 8
    PIXELS = 256                     # pixels of one task that packs

cdef double MEMORY = 12              # flop-equivalents a number: it waits for memory
cdef const dropout_kernels *f32 = table_for(cnp.NPY_FLOAT).dropout
cdef const dropout_kernels *f64 = table_for(cnp.NPY_DOUBLE).dropout


cdef struct Dropped:
    const dropout_kernels *kernels
    const char *x
    const uint8_t *bits
    char *z
    double scale
    Py_ssize_t n, item


cdef void drop_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Dropped *p = <const Dropped *>plan
    cdef Py_ssize_t at = task * CHUNK
    p.kernels.drop(p.x + at * p.item, p.bits + at // 8, p.scale, p.z + at * p.item,
                   min(<Py_ssize_t>CHUNK, p.n - at))


def drop(x, bits, *, double scale, bint channels_last):
    """z = scale x where a number's bit is 1, else 0, also for NaN.

    Shapes  x: any, in any layout; bits: (ceil(n / 8),) uint8, n the size of x, in C order or in the
            order (N, H, W, C); z: as x, laid out in the order of the bits
    Raises  ShapeError (also where channels_last is not about four axes), DTypeError
    """
    cdef int nd = cnp.PyArray_NDIM(x) if isinstance(x, ndarray) else 0
    cdef ndarray a = floats("drop", "x", x, nd, -1)
    cdef ndarray mask, z
    cdef int typenum = cnp.PyArray_TYPE(a)
    cdef Dropped p
    if channels_last and nd != 4:
        raise ShapeError(f"drop: channels_last means 4 axes (N, C, H, W), not {x.shape}")
    if not isinstance(bits, ndarray) or bits.dtype != np.uint8:
        raise DTypeError(f"drop: bits must be a uint8 array, got "
                         f"{getattr(bits, 'dtype', type(bits).__name__)}; see unpack_mask")
    p.n = cnp.PyArray_SIZE(a)
    if bits.shape != (parts(p.n, 8),):
        raise ShapeError(f"drop: x {x.shape} needs bits of shape ({parts(p.n, 8)},), one bit a "
                         f"number, got {bits.shape}")
    a = images_last(a) if channels_last else c_order(a)
    mask = np.ascontiguousarray(bits)
    z = empty(nd, <const Py_ssize_t *>cnp.PyArray_DIMS(a), typenum, channels_last)
    p.kernels = f64 if typenum == cnp.NPY_DOUBLE else f32
    p.x, p.z = cnp.PyArray_BYTES(a), cnp.PyArray_BYTES(z)
    p.bits = <const uint8_t *>cnp.PyArray_DATA(mask)
    p.scale, p.item = scale, cnp.PyArray_ITEMSIZE(a)
    run_tasks(drop_task, &p, parts(p.n, CHUNK), CHUNK * MEMORY, NULL, 0, team(p.n * MEMORY))
    return z


# --- from words to bits ------------------------------------------------------------------------

cdef struct Packed:
    const uint32_t *words
    uint8_t *bits
    uint32_t limit
    Py_ssize_t n, channels, pixels, blocks


cdef void pack_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Packed *p = <const Packed *>plan
    cdef Py_ssize_t at = task * CHUNK
    f32.pack(p.words + at, p.limit, p.bits + at // 8, min(<Py_ssize_t>CHUNK, p.n - at))


cdef void pack_pixels_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    """One block of pixels of one image."""
    cdef const Packed *p = <const Packed *>plan
    cdef Py_ssize_t at = task // p.blocks * p.channels * p.pixels
    cdef Py_ssize_t first = task % p.blocks * PIXELS
    f32.pack_pixels(p.words + at, p.limit, p.bits + at // 8, p.channels, p.pixels, first,
                    min(p.pixels, first + PIXELS))


def pack_mask(words, *, limit, images=None):
    """Bit k of byte i is 1 where number 8 i + k is kept: where its word is at least limit.

    Shapes  words: (n,) uint32, in C order of the numbers; images: None, or (N, C, H, W) with n
            numbers, to count the bits in the order (N, H, W, C); result: (ceil(n / 8),) uint8
    Raises  DTypeError, ShapeError, ArgError (a limit that is no 32-bit word)
    """
    cdef ndarray given, bits
    cdef Packed p
    cdef Py_ssize_t dims[1]
    cdef Py_ssize_t shape[4]
    cdef Py_ssize_t total = 1
    if not isinstance(words, ndarray) or words.dtype != np.uint32 or words.ndim != 1:
        raise DTypeError("pack_mask: words must be a flat uint32 array")
    if not 0 <= limit < 1 << 32:
        raise ArgError(f"pack_mask: limit must be from 0 to 2^32 - 1, got {limit}")
    p.n = words.size
    if images is not None:
        sizes("pack_mask", "images", images, 4, 0, shape)
        for i in range(4):
            total = times("pack_mask", total, shape[i])
        if total != p.n:
            raise ShapeError(f"pack_mask: images {images} need {total} words, got {p.n}")
        p.channels, p.pixels = shape[1], shape[2] * shape[3]
        if p.channels % 8:                           # an image's bits may begin inside a byte
            return np.packbits((words >= np.uint32(limit)).reshape(images).transpose(0, 2, 3, 1),
                               bitorder="little")
    given = words if cnp.PyArray_ISCARRAY_RO(words) else np.array(words)
    dims[0] = parts(p.n, 8)
    bits = empty(1, dims, cnp.NPY_UBYTE, False)
    p.words = <const uint32_t *>cnp.PyArray_DATA(given)
    p.bits = <uint8_t *>cnp.PyArray_DATA(bits)
    p.limit = limit
    if images is None:
        run_tasks(pack_task, &p, parts(p.n, CHUNK), CHUNK * MEMORY, NULL, 0, team(p.n * MEMORY))
    else:
        p.blocks = parts(p.pixels, PIXELS)
        run_tasks(pack_pixels_task, &p, shape[0] * p.blocks, PIXELS * p.channels * MEMORY, NULL, 0,
                  team(p.n * MEMORY))
    return bits
