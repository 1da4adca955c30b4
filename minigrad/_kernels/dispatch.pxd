# The table of kernels for a dtype, for every other kernel module (see src/simd/table.h).
from libc.stdint cimport intptr_t, uint8_t, uint32_t

from minigrad._kernels.conv cimport (
    conv_depthwise_kernels, conv_forward_kernels, conv_grad_w_kernels, conv_rows_kernels)
from minigrad._kernels.gemm cimport gemm_kernels
from minigrad._kernels.winograd cimport winograd_kernels

cdef extern from "table.h" nogil:
    ctypedef struct calibrate_kernels:
        double (*fma_chains)(long rounds, double *sink) noexcept nogil
    ctypedef void (*unary_kernel)(const void *x, void *z, Py_ssize_t n) noexcept nogil
    ctypedef void (*binary_kernel)(
        const void *x, const void *y, void *z, Py_ssize_t n) noexcept nogil
    ctypedef void (*scalar_kernel)(const void *x, double s, void *z, Py_ssize_t n) noexcept nogil
    ctypedef struct elementwise_kernels:
        unary_kernel neg, abs, square, sqrt, relu, exp, log, tanh, sigmoid
        binary_kernel add, sub, mul, div, maximum, minimum, relu_grad, tanh_grad
        scalar_kernel add_scalar, mul_scalar, sub_scalar, sub_from, div_scalar, div_into
        scalar_kernel leaky_relu
        void (*bias_relu)(
            const void *x, const void *b, void *z, Py_ssize_t rows,
            Py_ssize_t columns) noexcept nogil
    ctypedef struct pixel_strides:
        intptr_t pixel, channel
    ctypedef struct copying_kernels:
        void (*pixels)(
            const void *src, const pixel_strides *f, void *dst, const pixel_strides *t,
            Py_ssize_t pixels, Py_ssize_t channels) noexcept nogil
    ctypedef struct dropout_kernels:
        void (*drop)(
            const void *x, const uint8_t *bits, double scale, void *z,
            Py_ssize_t n) noexcept nogil
        void (*pack)(
            const uint32_t *words, uint32_t limit, uint8_t *bits, Py_ssize_t n) noexcept nogil
        void (*pack_pixels)(
            const uint32_t *words, uint32_t limit, uint8_t *bits, Py_ssize_t channels,
            Py_ssize_t pixels, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    ctypedef struct sgd_step:
        double lr, momentum, dampening, weight_decay
        int nesterov
    ctypedef struct adam_step:
        double lr, beta1, beta2, eps, weight_decay, correction1, correction2
        int decoupled
    ctypedef struct rmsprop_step:
        double lr, alpha, eps, weight_decay, momentum
    ctypedef struct optim_kernels:
        void (*sgd)(
            const sgd_step *step, void *param, const void *grad, void *buffer,
            Py_ssize_t n) noexcept nogil
        void (*adam)(
            const adam_step *step, void *param, const void *grad, void *mean, void *square,
            Py_ssize_t n) noexcept nogil
        void (*rmsprop)(
            const rmsprop_step *step, void *param, const void *grad, void *square, void *buffer,
            void *mean, Py_ssize_t n) noexcept nogil
    ctypedef void (*rows_kernel)(const void *args, intptr_t first, intptr_t last) noexcept nogil
    ctypedef struct loss_kernels:
        rows_kernel softmax, log_softmax, log_softmax_gradient, cross_entropy
        rows_kernel cross_entropy_gradient
    ctypedef struct lrn_kernels:
        rows_kernel forward, gradient
    ctypedef struct norm_args:
        intptr_t rows, channels, sample_rows, slots, blocks
        const void *x
        const void *gy
        const void *residual
        void *y
        void *g
        double *partial
        void *columns
        int relu
    ctypedef struct norm_kernels:
        rows_kernel moments, gradient_sums, apply, gradient_apply
        void (*merge_moments)(const norm_args *args, void *mean, void *var) noexcept nogil
        void (*merge_parts)(const double *partial, const Py_ssize_t *rows, intptr_t parts,
                            intptr_t channels, void *mean, void *var) noexcept nogil
        void (*set_columns)(
            const norm_args *args, intptr_t index, const void *mean, const void *var,
            const void *gamma, const void *beta, double eps) noexcept nogil
        void (*merge_sums)(
            const norm_args *args, const void *var, double eps, int moving, void *ggamma,
            void *gbeta) noexcept nogil
    ctypedef struct pooling_kernels:
        rows_kernel max_forward, max_gradient, max_gather, mean_forward, mean_gradient
        rows_kernel tanh_forward, tanh_gradient
    ctypedef struct kernel_table:
        const char *isa
        int lanes
        const calibrate_kernels *calibrate
        const dropout_kernels *dropout
        const elementwise_kernels *elementwise
        const gemm_kernels *gemm
        const conv_forward_kernels *conv_forward
        const conv_grad_w_kernels *conv_grad_w
        const conv_depthwise_kernels *conv_depthwise
        const conv_forward_kernels *conv_images
        const conv_grad_w_kernels *conv_images_grad_w
        const conv_forward_kernels *conv_lines
        const conv_forward_kernels *conv_lines_grad_x
        const conv_grad_w_kernels *conv_lines_grad_w
        const conv_rows_kernels *conv_rows
        const copying_kernels *copying
        const loss_kernels *loss
        const lrn_kernels *lrn
        const norm_kernels *norm
        const optim_kernels *optim
        const pooling_kernels *pooling
        const winograd_kernels *winograd

cdef const kernel_table *table_for(int typenum) noexcept nogil
