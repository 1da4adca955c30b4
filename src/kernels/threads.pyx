# cython: language_level=3
"""How many threads a kernel may use (minimal version)."""
from cpython.exc cimport PyErr_CheckSignals

cdef extern from *:
    """
    #ifdef MINIGRAD_OPENMP
    #include <omp.h>
    static int max_threads(void) { return omp_get_max_threads(); }
    #else
    static int max_threads(void) { return 1; }
    #endif
    """
    int max_threads() noexcept nogil

cdef int limit = 0

cdef int team(double work) noexcept nogil:
    if work < 3e6:
        return 1
    return limit if limit else max_threads()

cdef int check_signals() except -1:
    return PyErr_CheckSignals()

def get_num_threads():
    return limit if limit else max_threads()

def set_num_threads(int n):
    global limit
    limit = n
