/* table.c: this instruction set's and dtype's kernels, gathered (see table.h). */
#include "table.h"
#include "vec.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

extern const calibrate_kernels NAME(calibrate_kernels);
extern const conv_depthwise_kernels NAME(conv_depthwise_kernels);
extern const conv_forward_kernels NAME(conv_forward_kernels);
extern const conv_grad_w_kernels NAME(conv_grad_w_kernels);
extern const conv_forward_kernels NAME(conv_images_kernels);
extern const conv_grad_w_kernels NAME(conv_images_grad_w_kernels);
extern const conv_forward_kernels NAME(conv_lines_kernels);
extern const conv_forward_kernels NAME(conv_lines_grad_x_kernels);
extern const conv_grad_w_kernels NAME(conv_lines_grad_w_kernels);
extern const conv_rows_kernels NAME(conv_rows_kernels);
extern const copying_kernels NAME(copying_kernels);
extern const dropout_kernels NAME(dropout_kernels);
extern const elementwise_kernels NAME(elementwise_kernels);
extern const gemm_kernels NAME(gemm_kernels);
extern const loss_kernels NAME(loss_kernels);
extern const lrn_kernels NAME(lrn_kernels);
extern const norm_kernels NAME(norm_kernels);
extern const optim_kernels NAME(optim_kernels);
extern const pooling_kernels NAME(pooling_kernels);
extern const winograd_kernels NAME(winograd_kernels);

extern const kernel_table NAME(kernel_table);
const kernel_table NAME(kernel_table) = {
    .isa = TEXT(ISA),
    .lanes = VL,
    .calibrate = &NAME(calibrate_kernels),
    .conv_depthwise = &NAME(conv_depthwise_kernels),
    .conv_forward = &NAME(conv_forward_kernels),
    .conv_grad_w = &NAME(conv_grad_w_kernels),
    .conv_images = &NAME(conv_images_kernels),
    .conv_images_grad_w = &NAME(conv_images_grad_w_kernels),
    .conv_lines = &NAME(conv_lines_kernels),
    .conv_lines_grad_x = &NAME(conv_lines_grad_x_kernels),
    .conv_lines_grad_w = &NAME(conv_lines_grad_w_kernels),
    .conv_rows = &NAME(conv_rows_kernels),
    .copying = &NAME(copying_kernels),
    .dropout = &NAME(dropout_kernels),
    .elementwise = &NAME(elementwise_kernels),
    .gemm = &NAME(gemm_kernels),
    .loss = &NAME(loss_kernels),
    .lrn = &NAME(lrn_kernels),
    .norm = &NAME(norm_kernels),
    .optim = &NAME(optim_kernels),
    .pooling = &NAME(pooling_kernels),
    .winograd = &NAME(winograd_kernels),
};
