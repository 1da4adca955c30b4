# The dense product and the one way to run a grid of tasks (see src/kernels/gemm.pyx).
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
        Py_ssize_t a_pitch
        int relu, bias_by_rows

    ctypedef struct gemm_kernels:
        int mr
        int nr
        void (*pack_task)(const gemm_plan *p, Py_ssize_t task) noexcept nogil
        void (*task)(const gemm_plan *p, Py_ssize_t task, void *scratch) noexcept nogil
        void (*column_sums)(const void *src, Py_ssize_t row_step, Py_ssize_t m, Py_ssize_t n,
                            double *out) noexcept nogil
