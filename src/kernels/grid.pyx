# cython: language_level=3
"""What every kernel on images and rows needs: operands at the door, rows in parallel.

Design: a kernel's door makes sure that C sees what it was written for (a float dtype, a rank, dense
aligned memory in native byte order) or raises; whatever else an array may be, it is copied here,
once. `run_rows` cuts rows of independent work into tasks by bytes alone, never by the number of
threads, and looks for Ctrl-C between slices of about a fifth of a second.

Deliberately not here: what the rows are, and anything that computes. Next: `pool.pyx`.
"""
import numpy as np

from minigrad.errors import ArgError, DTypeError, ShapeError

cimport numpy as cnp
from cython.parallel cimport prange

from minigrad._kernels.threads cimport check_signals, team

cnp.import_array()

cdef double TASK_BYTES = 262144      # about 30 us of memory traffic: long against a fork-join
cdef double SLICE_BYTES = 4e8        # between two looks for Ctrl-C, two orders of cost per byte
cdef double FLOP_PER_BYTE = 10       # what a byte of memory traffic costs, for `team`


cdef int run_rows(rows_kernel kernel, const void *args, intptr_t rows, double bytes_each) except -1:
    """kernel(args, first, last) over all rows; bytes_each is the memory traffic of a row."""
    cdef intptr_t per_task = max(1, <intptr_t>(TASK_BYTES / max(bytes_each, 1)))
    cdef intptr_t per_slice = max(1, <intptr_t>(SLICE_BYTES / max(bytes_each * per_task, 1)))
    cdef intptr_t tasks = (rows + per_task - 1) // per_task
    cdef intptr_t begin = 0, end, task
    cdef int threads
    while begin < tasks:
        end = min(tasks, begin + per_slice)
        threads = team((end - begin) * per_task * bytes_each * FLOP_PER_BYTE)
        if threads == 1:
            with nogil:
                kernel(args, begin * per_task, min(end * per_task, rows))
        else:
            for task in prange(begin, end, nogil=True, num_threads=threads,
                               schedule="dynamic", chunksize=1):
                kernel(args, task * per_task, min((task + 1) * per_task, rows))
        begin = end
        if begin < tasks:
            check_signals()
    return 0


cdef object floats(str op, str name, object a, int nd, int typenum):
    """a itself if it is a float array of rank nd (-1: any) and of dtype typenum (-1: either)."""
    cdef int kind
    if not isinstance(a, np.ndarray):
        raise DTypeError(f"{op}: {name} must be a NumPy array, got {type(a).__name__}")
    kind = cnp.PyArray_TYPE(<cnp.ndarray>a)
    if kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE:
        raise DTypeError(f"{op}: {name} is {a.dtype}, expected float32 or float64; "
                         f"cast with .astype")
    if typenum != -1 and kind != typenum:
        raise DTypeError(f"{op}: {name} is {a.dtype}, the other arrays are "
                         f"{np.dtype('f' if typenum == cnp.NPY_FLOAT else 'd')}; "
                         f"cast with .astype")
    if nd != -1 and cnp.PyArray_NDIM(<cnp.ndarray>a) != nd:
        raise ShapeError(f"{op}: {name} must have {nd} axes, got shape {a.shape}")
    return a


cdef object dense(object a):
    """a in C order, aligned, native byte order: a itself or a copy."""
    cdef int flags = cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_NOTSWAPPED
    return cnp.PyArray_FROMANY(a, cnp.PyArray_TYPE(<cnp.ndarray>a), 0, 0, flags)


cdef object pixels(object a):
    """(N,C,H,W) in any layout -> (N,H,W,C) dense; (N,C) -> dense. A copy unless it is that already."""
    if cnp.PyArray_NDIM(<cnp.ndarray>a) == 4:
        a = a.transpose(0, 2, 3, 1)
    return dense(a)


cdef object vector(str op, str name, object a, intptr_t length, int typenum):
    """a dense float vector of `length`; None stays None."""
    if a is None:
        return None
    floats(op, name, a, 1, typenum)
    if a.shape[0] != length:
        raise ShapeError(f"{op}: {name} has {a.shape[0]} elements, expected {length}")
    return dense(a)


cdef int images(str op, str name, object a) except -1:
    """a is a float (N,C,H,W) of which only N may be 0."""
    floats(op, name, a, 4, -1)
    if 0 in a.shape[1:]:
        raise ShapeError(f"{op}: {name} of shape {a.shape} has no pixels; only N may be 0")
    return 0


cdef object integers(str op, str name, object values, int count, object least):
    """values as a tuple of `count` Python ints of at least `least` and below 2^62."""
    cdef list out = []
    if not isinstance(values, (tuple, list)) or len(values) != count:
        raise ArgError(f"{op}: {name} must be {count} integers, got {values!r:.60}")
    for value in values:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise ArgError(f"{op}: {name} must be {count} integers, got {values!r:.60}")
        if not least <= value < 1 << 62:
            raise ArgError(f"{op}: {name} must be at least {least} and below 2^62, got {values!r:.60}")
        out.append(int(value))
    return tuple(out)


cdef double number(str op, str name, object value) except? -1:
    """value as a finite double."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise ArgError(f"{op}: {name} must be a number, got {value!r:.60}")
    try:
        value = float(value)
    except OverflowError:
        raise ArgError(f"{op}: {name} is too big for a float64") from None
    if not -1.7976931348623157e308 <= value <= 1.7976931348623157e308:
        raise ArgError(f"{op}: {name} must be finite, got {value}")
    return value


cdef object volume(str op, object shape, int typenum):
    """shape, when an array of it can be counted in 62 bits; ShapeError otherwise."""
    size = 4 if typenum == cnp.NPY_FLOAT else 8
    for extent in shape:
        size *= max(extent, 1)
    if size >= 1 << 62:
        raise ShapeError(f"{op}: an array of shape {shape} does not fit in memory")
    return shape
