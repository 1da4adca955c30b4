/* pooling.h: maxima and means over windows of channels-last images, and their gradients.
 *
 * Design: what a window covers is decided before, once per row and column of the output, and handed
 * over as tables; the kernels know nothing of padding, dilation or ceil_mode:
 *
 *     forward    span of an output position: for a maximum the taps that lie inside the image,
 *                for a mean the pixels; empty where the window misses the image
 *     gradient   for a maximum the list of (output, tap) that reach a row or column, for a mean the
 *                span of outputs that cover it
 *
 * Rows are the N*P output rows (forward, gather), the N images (means of tanh) or the N*H image
 * rows (gradients).  A gradient is
 * gathered pixel by pixel, in the order of the outputs: no two rows share an element, nothing is
 * cleared before, and results never depend on how rows are cut.  Images are (N, H, W, C) in memory.
 */
#ifndef MINIGRAD_POOLING_H
#define MINIGRAD_POOLING_H

#include <stdint.h>

#include "rows.h"

typedef struct {
    intptr_t lo, hi;                         /* lo <= i < hi */
} span;

/* An output row (column) and its tap that is this image row (column), ready to be added:
 * element p Q C and tap r S for rows, q C and s for columns. */
typedef struct {
    intptr_t at, tap;
} hit;

typedef struct {
    intptr_t n, c, h, w, p, q;               /* images, channels, rows and columns, output's */
    intptr_t s;                              /* columns of the window: a tap is r * s + column */
    intptr_t row_stride, col_stride;         /* an output's window starts at p * row_stride - top */
    intptr_t top, left;
    intptr_t row_dilation, col_dilation;
    const span *row_taps, *col_taps;         /* P and Q spans of taps */
    const span *row_hits, *col_hits;         /* gradient: H and W spans of hits */
    const hit *row_hit, *col_hit;
    intptr_t no_tap;                         /* R * S: argmax where relu lets no gradient pass */
    int wide;                                /* argmax holds int32, not bytes */
    int relu;                                /* forward: max(0, .) of the maximum */
    const void *x;                           /* x, gy, or the v that is gathered */
    const void *argmax_in;                   /* gradient and gather */
    void *y, *argmax;                        /* y, gx or the gathered; forward: places, or NULL */
} max_pool_args;

typedef struct {
    intptr_t n, c, h, w, p, q;
    const span *rows, *cols;                 /* P and Q spans of pixels */
    const span *row_outs, *col_outs;         /* H and W spans of outputs */
    const double *row_size, *col_size;       /* P and Q factors of the divisor */
    const double *row_common, *col_common;   /* H and W: the factor of all that cover it, or 0 */
    intptr_t pairs;                          /* windows from the first on that have two columns
                                              * each for themselves, and one size */
    const void *x;
    const void *z_in;                        /* gradient of the means of tanh: tanh x */
    void *y, *z;                             /* z: where tanh x goes */
} mean_pool_args;

/* args: a max_pool_args for the first three, a mean_pool_args for the others */
typedef struct {
    rows_kernel max_forward, max_gradient, max_gather, mean_forward, mean_gradient;
    rows_kernel tanh_forward, tanh_gradient;
} pooling_kernels;

#endif
