# cython: language_level=3
"""Which kernels run: the instruction sets that were built, and the one that was chosen.

Design: the C objects of every instruction set are linked into this module alone.  ``table_for`` is
the one door to them; it is set once, at import, from ``MINIGRAD_ISA`` or from what the CPU has.
"""
import os
import time

from minigrad.errors import ArgError

cimport numpy as cnp
from cython.parallel cimport prange

cdef extern from "build_info.h":
    const char *BUILD_COMPILER
    const char *BUILD_FLAGS
    const char *BUILD_OPENMP
    const char *BUILD_DIGEST

cdef extern from "table.h" nogil:
    const kernel_table *choose_table(int real64)
    int choose_isa(const char *name)
    const char *list_isas()


cdef const kernel_table *table_for(int typenum) noexcept nogil:
    return choose_table(typenum == cnp.NPY_DOUBLE)


def isas():
    """The instruction sets that were built, the best first."""
    return list_isas().decode().rstrip(",").split(",")


def isa():
    """The instruction set in use."""
    return choose_table(0).isa.decode()


def build_info():
    """Compiler, flags and digest of the sources of this build."""
    return {
        "compiler": BUILD_COMPILER.decode(),
        "flags": BUILD_FLAGS.decode(),
        "openmp": BUILD_OPENMP.decode(),
        "digest": BUILD_DIGEST.decode(),
    }


def fma_peak(int threads, *, dtype="float32", double seconds=0.05):
    """Multiply-add throughput in flop/s of `threads` threads, measured for about `seconds`."""
    cdef const kernel_table *table = choose_table(dtype == "float64")
    cdef long rounds = 20000
    cdef double flop = 0, start, took
    cdef double sinks[256]
    cdef int i, n = max(1, min(threads, 256))
    while True:
        flop = 0
        start = time.perf_counter()
        for i in prange(n, nogil=True, num_threads=n, schedule="static"):
            sinks[i] = 0
            flop += table.calibrate.fma_chains(rounds, &sinks[i])
        took = time.perf_counter() - start
        if took >= seconds:
            return flop / took
        rounds *= 2


cdef int choose() except -1:
    name = os.environ.get("MINIGRAD_ISA")
    encoded = name.encode() if name else None
    cdef int status = choose_isa(<const char *>encoded) if name else choose_isa(NULL)
    if status == -1:
        raise ArgError(f"MINIGRAD_ISA={name!r} is not built; built are {', '.join(isas())}")
    if status == -2:
        raise ArgError(f"MINIGRAD_ISA={name!r}: this CPU does not have that instruction set")
    return 0


choose()
