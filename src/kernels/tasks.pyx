# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Grids of tasks, dealt out to the team of threads.

Design. A plan (a C struct) says what the whole work is; task number t of its grid is one block of
it, and owns what it writes. Which thread runs which task is left to chance (dynamic), so fast and
slow cores finish together, and because the grid comes from shapes alone the result is the same bits
for any team. Long grids run in slices with a look for Ctrl-C between them.

Not here: what a task does (`src/simd/`), how a grid is chosen (`gemm.pyx`, `conv_plan.pyx`).
"""
from cython.parallel cimport prange, threadid

from minigrad._kernels.threads cimport check_signals

cdef double SLICE = 4e9                # flop of a thread between two looks for Ctrl-C: about 0.1 s


cdef int run_tasks(task_kernel *kernel, const void *plan, Py_ssize_t count, double flop,
                   char *rooms, Py_ssize_t room, int threads) except -1:
    cdef Py_ssize_t step = max(1, <Py_ssize_t>min(SLICE * threads / max(flop, 1.0), 1e15))
    cdef Py_ssize_t start = 0, stop, t
    while start < count:
        stop = min(count, start + step)
        if threads == 1:
            with nogil:
                for t in range(start, stop):
                    kernel(plan, t, rooms)
        else:
            for t in prange(start, stop, nogil=True, num_threads=threads, schedule="dynamic",
                            chunksize=1):
                kernel(plan, t, rooms + threadid() * room)
        start = stop
        if start < count:
            check_signals()
    return 0
