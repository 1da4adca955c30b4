# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Grids of tasks, dealt out to the team of threads.

Design. A plan (a C struct) says what the whole work is; task number t of its grid is one block of
it, and owns what it writes. Every thread starts with a share of neighboring tasks and helps others
when it has done (`src/simd/deal.h`): fast and slow cores finish together, and because the grid
comes from shapes alone the result is the same bits for any team. Long grids run in slices with a
look for Ctrl-C between them.

Not here: what a task does (`src/simd/`), how a grid is chosen (`gemm.pyx`, `conv_plan.pyx`).
"""
from cython.parallel cimport parallel, threadid

from minigrad._kernels.threads cimport check_signals

cdef extern from "deal.h" nogil:
    ctypedef struct deal:
        pass
    void deal_out(deal *d, Py_ssize_t count, int threads)
    Py_ssize_t next_task(deal *d, int me)

cdef double SLICE = 4e9                # flop of a thread between two looks for Ctrl-C: about 0.1 s
cdef double MOST = 1e9                 # tasks that are dealt out at once


cdef void run_slice(task_kernel *kernel, const void *plan, Py_ssize_t first, Py_ssize_t count,
                    char *rooms, Py_ssize_t room, int threads) noexcept nogil:
    """Tasks first .. first + count - 1."""
    cdef deal d
    cdef Py_ssize_t t
    cdef int me
    if threads == 1 or count == 1:
        for t in range(first, first + count):
            kernel(plan, t, rooms)
        return
    deal_out(&d, count, threads)
    with parallel(num_threads=threads):
        me = threadid()
        t = next_task(&d, me)
        while t >= 0:
            kernel(plan, first + t, rooms + me * room)
            t = next_task(&d, me)


cdef int run_tasks(task_kernel *kernel, const void *plan, Py_ssize_t count, double flop,
                   char *rooms, Py_ssize_t room, int threads) except -1:
    cdef Py_ssize_t step = max(1, <Py_ssize_t>min(SLICE * threads / max(flop, 1.0), MOST))
    cdef Py_ssize_t start = 0, some
    while start < count:
        some = min(step, count - start)
        with nogil:
            run_slice(kernel, plan, start, some, rooms, room, threads)
        start += some
        if start < count:
            check_signals()
    return 0
