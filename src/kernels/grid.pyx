# cython: language_level=3
"""What kernels on images and rows share: arguments at the door, rows in parallel.

Design: `operands.pyx` says what an array must be; here are the checks on top of it (images, vectors
of one number per channel, integers of a geometry, numbers). `run_rows` cuts rows of independent
work into tasks by bytes alone, never by the number of threads.

Deliberately not here: what the rows are, and anything that computes. Next: `pool.pyx`.
"""
import numpy as np

from minigrad.errors import ArgError, ShapeError

cimport numpy as cnp

from minigrad._kernels.operands cimport c_order, channels_last, floats
from minigrad._kernels.tasks cimport run_tasks
from minigrad._kernels.threads cimport team

cnp.import_array()

cdef double TASK_BYTES = 262144      # about 30 us of memory traffic: long against a fork-join
cdef intptr_t EVEN = 4               # a multiple of it: equal shares for two threads or four
cdef double FLOP_PER_BYTE = 10       # what a byte of memory traffic costs, for `team`

cdef struct Rows:
    rows_kernel kernel
    const void *args
    intptr_t count, per_task


cdef void rows_task(const void *plan, Py_ssize_t task, void *room) noexcept nogil:
    cdef const Rows *p = <const Rows *>plan
    p.kernel(p.args, task * p.per_task, min((task + 1) * p.per_task, p.count))


cdef int run_rows(rows_kernel kernel, const void *args, intptr_t rows, double bytes_each) except -1:
    """kernel(args, first, last) over all rows; bytes_each is the memory traffic of a row."""
    cdef Rows p
    cdef intptr_t tasks
    p.kernel, p.args, p.count = kernel, args, rows
    p.per_task = max(1, <intptr_t>(TASK_BYTES / max(bytes_each, 1)))
    if rows > p.per_task:
        tasks = (rows + p.per_task - 1) // p.per_task
        tasks = (tasks + EVEN - 1) // EVEN * EVEN
        p.per_task = (rows + tasks - 1) // tasks
    return run_tasks(rows_task, &p, (rows + p.per_task - 1) // p.per_task,
                     p.per_task * bytes_each * FLOP_PER_BYTE, NULL, 0,
                     team(rows * bytes_each * FLOP_PER_BYTE))


cdef void *data(object a) noexcept:
    """Where the elements of an array are; NULL for None."""
    return NULL if a is None else cnp.PyArray_DATA(<cnp.ndarray>a)


cdef object images(str op, str name, object a):
    """a as a float (N,C,H,W) in channels-last memory; only N may be 0."""
    a = floats(op, name, a, 4, -1)
    if 0 in a.shape[1:]:
        raise ShapeError(f"{op}: {name} of shape {a.shape} has no pixels; only N may be 0")
    return channels_last(a)


cdef object vector(str op, str name, object a, intptr_t length, int typenum):
    """a as a dense float vector of `length`; None stays None."""
    if a is None:
        return None
    a = floats(op, name, a, 1, typenum)
    if a.shape[0] != length:
        raise ShapeError(f"{op}: {name} has {a.shape[0]} elements, expected {length}")
    return c_order(a)


cdef object integers(str op, str name, object values, int count, object least):
    """values as a tuple of `count` Python ints of at least `least` and below 2^62."""
    cdef list out = []
    if not isinstance(values, (tuple, list)) or len(values) != count:
        raise ArgError(f"{op}: {name} must be {count} integers, got {values!r:.60}")
    for value in values:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise ArgError(f"{op}: {name} must be {count} integers, got {values!r:.60}")
        if not least <= value < 1 << 62:
            raise ArgError(f"{op}: {name} must be at least {least} and below 2^62, "
                           f"got {values!r:.60}")
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


cdef object volume(str op, object shape):
    """shape, when an array of doubles of it can be counted in 62 bits; ShapeError otherwise."""
    size = 8
    for extent in shape:
        size *= max(extent, 1)
    if size >= 1 << 62:
        raise ShapeError(f"{op}: an array of shape {shape} does not fit in memory")
    return shape
