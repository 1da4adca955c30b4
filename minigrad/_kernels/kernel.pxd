# A compiled function of one or two operands, as the tape calls it: see src/kernels/kernel.pyx.

cdef class Kernel:
    cdef public str name
    # NULL where the kernel has no such form. Both return None for "not mine": the caller then runs
    # the op's own forward, which is the definition.
    cdef object (*call1)(Kernel self, object x)
    cdef object (*call2)(Kernel self, object x, object y)
