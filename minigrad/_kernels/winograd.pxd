# Winograd convolution: plans and kernels (src/simd/winograd.h explains every field), passes.
from minigrad._kernels.conv_geometry cimport epilogue, geometry
from minigrad._kernels.tasks cimport task_kernel

cdef extern from "winograd.h" nogil:
    enum:
        TILE, POINTS, PACK

    ctypedef struct winograd_tiles:
        const void *src
        Py_ssize_t height, width, channels, top, left, taps, rows, cols
        Py_ssize_t tile_rows, tile_cols, tiles, block, blocks, group_channels, pitch, slab

    ctypedef struct winograd_plan:
        # `in` is a keyword here
        winograd_tiles tiles "in"
        void *out
        Py_ssize_t out_pitch, groups, group_outputs, out_block, out_blocks, depth, pitch, slab
        const void *weights
        Py_ssize_t w_group, w_out, w_in
        int turned, narrow
        void *packed
        Py_ssize_t panels, packed_slab
        const Py_ssize_t *v_at
        const Py_ssize_t *m_at
        const Py_ssize_t *col_at
        const void *bias
        const void *scale
        const void *residual
        int relu
        double *moments
        Py_ssize_t *moment_pixels
        void *v
        Py_ssize_t first_tile, last_tile

    ctypedef struct winograd_grad_w_plan:
        winograd_tiles tiles "in"
        const void *gy
        Py_ssize_t groups, group_outputs, chunk, chunks, out_block, out_blocks, out_pitch, parts
        int narrow
        void *partial
        void *grad_w
        const Py_ssize_t *row_at
        const Py_ssize_t *sum_at
        const Py_ssize_t *tile_at

    ctypedef struct winograd_kernels:
        Py_ssize_t (*scratch)(const winograd_plan *p) noexcept nogil
        task_kernel *pack
        task_kernel *task
        task_kernel *narrow_task
        Py_ssize_t (*deep_scratch)(const winograd_plan *p) noexcept nogil
        task_kernel *deep_inputs
        task_kernel *deep_task
        Py_ssize_t (*grad_w_scratch)(const winograd_grad_w_plan *p) noexcept nogil
        task_kernel *grad_w
        task_kernel *merge

# y = conv(x, w) and what an epilogue does to it, or, adjoint, gx from src = gy (and no epilogue).
# float32, channels-last, stride 1. pitch: elements of out from pixel to pixel. memo: where U may be kept (kept.pxd), or None.
cdef int winograd_forward(const geometry *g, bint adjoint, const void *src, const void *weights,
                          const epilogue *end, void *out, Py_ssize_t pitch, dict memo) except -1
cdef int winograd_grad_w(const geometry *g, const void *gy, const void *x, void *gw) except -1

# Whether inputs and outputs (of a group) are one vector, with registers for U of a point.
cdef bint is_narrow(int lanes, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil

# Whether filters stay and tiles pass by: where U would be large, or hardly be used.
cdef bint is_deep(Py_ssize_t tiles, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil
