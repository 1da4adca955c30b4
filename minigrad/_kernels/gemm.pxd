# The dense product: src/simd/gemm.h explains every field.
from minigrad._kernels.tasks cimport task_kernel

cdef extern from "gemm.h" nogil:
    cdef enum:
        A_AS_IT_IS
        A_BY_ROWS
        A_BY_COLUMNS

    ctypedef struct gemm_plan:
        const void *a
        const void *b
        const void *bias
        void *c
        Py_ssize_t batch, m, n, k
        Py_ssize_t a_batch, a_row, a_col, b_batch, b_row, b_col, c_batch, c_row, c_col
        Py_ssize_t m_block, m_blocks, n_block, n_blocks, k_block, k_blocks
        void *packed
        Py_ssize_t panels, packed_batch
        const Py_ssize_t *row_at
        const Py_ssize_t *col_at
        const Py_ssize_t *c_at
        int pack_a
        Py_ssize_t a_pitch, a_room
        int turn_c
        Py_ssize_t c_pitch, c_room
        int pack_b
        int relu, bias_by_rows

    ctypedef struct gemm_kernels:
        int mr
        int nr
        task_kernel *pack
        task_kernel *task
        void (*column_sums)(const void *src, Py_ssize_t m, Py_ssize_t n,
                            double *out) noexcept nogil

# C = A B + bias: the fields up to c_col, bias, relu and bias_by_rows are set; no size is 0.
cdef int multiply(const gemm_plan *whole, int typenum) except -1
