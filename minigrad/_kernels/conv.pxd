# The plans and kernels of convolution: src/simd/conv.h explains every field.
from minigrad._kernels.tasks cimport task_kernel

cdef extern from "conv.h" nogil:
    ctypedef struct conv_axis:
        Py_ssize_t size, count, step, taps, first
        const Py_ssize_t *tap
        Py_ssize_t block, blocks, slots, slot_step
        int dense

    ctypedef struct conv_band:
        const void *src
        Py_ssize_t images, channels
        conv_axis h
        conv_axis w
        Py_ssize_t group_channels, chunk, chunks, pitch, c_mul, c_div, image_block, image_blocks
        const Py_ssize_t *tap_at
        Py_ssize_t band_size, band_pixels

    ctypedef struct conv_output:
        void *data
        Py_ssize_t height, width, channels, h0, h_step, w0, w_step

    ctypedef struct conv_forward_plan:
        # `in` is a keyword here
        conv_band band "in"
        conv_output out
        Py_ssize_t groups, group_outputs, out_block, out_blocks
        const void *weights
        Py_ssize_t w_group, w_out, w_in
        const Py_ssize_t *w_tap
        void *packed
        Py_ssize_t panels
        const void *bias
        const void *scale
        const void *residual
        int relu, skips_padding
        double *moments
        Py_ssize_t *moment_pixels

    ctypedef struct conv_grad_w_plan:
        conv_band band "in"
        const void *gy
        Py_ssize_t groups, group_outputs, out_block, out_blocks, out_pitch, parts
        int skips_padding
        void *partial
        void *grad_w

    ctypedef struct conv_depthwise_plan:
        conv_band band "in"
        conv_output out
        const void *weights
        Py_ssize_t passes, w_channel, w_pass
        const Py_ssize_t *w_tap
        const void *bias
        int relu
        const void *gy
        Py_ssize_t parts
        void *partial
        void *grad_w

    ctypedef struct conv_rows_plan:
        void *image
        void *rows
        Py_ssize_t height, width, channels, p, q, r, s
        Py_ssize_t stride_h, stride_w, dilation_h, dilation_w, top, left

    ctypedef struct conv_forward_kernels:
        Py_ssize_t (*scratch)(const conv_forward_plan *p) noexcept nogil
        task_kernel *pack
        task_kernel *task

    ctypedef struct conv_grad_w_kernels:
        Py_ssize_t (*scratch)(const conv_grad_w_plan *p) noexcept nogil
        task_kernel *task
        task_kernel *merge

    ctypedef struct conv_depthwise_kernels:
        int lanes
        Py_ssize_t (*scratch)(const conv_depthwise_plan *p) noexcept nogil
        task_kernel *task
        task_kernel *grad_w
        task_kernel *merge

    ctypedef struct conv_rows_kernels:
        Py_ssize_t channels
        task_kernel *rows
        task_kernel *images
