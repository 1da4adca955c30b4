# The table of kernels for a dtype, for every other kernel module (see src/simd/table.h).
cdef extern from "table.h" nogil:
    ctypedef struct calibrate_kernels:
        double (*fma_chains)(long rounds, double *sink) noexcept nogil
    ctypedef struct kernel_table:
        const char *isa
        int lanes
        const calibrate_kernels *calibrate

cdef const kernel_table *table_for(int typenum) noexcept nogil
