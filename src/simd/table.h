/* table.h: the table of kernels that dispatch hands to Cython.
 *
 * Design: one `kernel_table` per (instruction set, dtype).  Array pointers are `void *` in every
 * signature, so the tables of both dtypes have one type and the caller decides the dtype once.
 * A family of kernels is a struct of function pointers declared in its own header.
 */
#ifndef MINIGRAD_TABLE_H
#define MINIGRAD_TABLE_H

#include "calibrate.h"
#include "conv.h"
#include "copying.h"
#include "dropout.h"
#include "elementwise.h"
#include "gemm.h"
#include "loss.h"
#include "lrn.h"
#include "norm.h"
#include "optim.h"
#include "pooling.h"
#include "winograd.h"

typedef struct {
    const char *isa;
    int lanes;                               /* VL: reals in a vector */
    const calibrate_kernels *calibrate;
    const dropout_kernels *dropout;
    const elementwise_kernels *elementwise;
    const gemm_kernels *gemm;
    const conv_forward_kernels *conv_forward;
    const conv_grad_w_kernels *conv_grad_w;
    const conv_depthwise_kernels *conv_depthwise;
    const conv_forward_kernels *conv_images;          /* images.h */
    const conv_grad_w_kernels *conv_images_grad_w;
    const conv_forward_kernels *conv_lines, *conv_lines_grad_x;           /* lines.h */
    const conv_grad_w_kernels *conv_lines_grad_w;
    const conv_rows_kernels *conv_rows;
    const copying_kernels *copying;
    const loss_kernels *loss;
    const lrn_kernels *lrn;
    const norm_kernels *norm;
    const optim_kernels *optim;
    const pooling_kernels *pooling;
    const winograd_kernels *winograd;
} kernel_table;

/* choose.c */
const kernel_table *choose_table(int real64);    /* the table in use; NULL before choose_isa */
int choose_isa(const char *name);    /* NULL: the best; 0 done, -1 unknown, -2 not on this CPU */
const char *list_isas(void);         /* the instruction sets that were built, by commas */

#endif
