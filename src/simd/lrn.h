/* lrn.h: local response normalization across channels (Krizhevsky et al. 2012, section 3.3).
 *
 * Design: one sweep each way, pixel by pixel.  With q_c = k + alpha/size sum of x_j^2, j from
 * c - before to c + after:
 *
 *     forward    y_c = x_c q_c^-beta
 *     gradient   gx_c = gy_c q_c^-beta - ratio x_c sum of gy_j x_j q_j^(-beta-1), j from c - after
 *                to c + before;  ratio = 2 alpha beta / size
 *
 * q is computed again in the gradient: cheaper than keeping it.  The powers that papers use, 3/4,
 * 1/2 and 1, are square roots; any other goes through pow(), channel by channel.
 *
 * A row is one task of `per_task` pixels.  It owns LRN_LINES lines of scratch, each with room for
 * the channels between zeros, so that windows need no tests at the edges.
 */
#ifndef MINIGRAD_LRN_H
#define MINIGRAD_LRN_H

#include <stdint.h>

#include "rows.h"

enum { LRN_LINES = 3, LRN_SLACK = 32 };      /* slack: reals for the last vector of a line */

typedef struct {
    intptr_t pixels, per_task, channels;
    intptr_t before, after;                  /* channels around c, at most C - 1 each */
    double scale, beta, k;                   /* scale = alpha / size */
    void *lines;                             /* (tasks, LRN_LINES, line) reals */
    intptr_t line;                           /* channels + before + after + LRN_SLACK */
    const void *x, *gy;
    void *y;                                 /* y or gx */
} lrn_args;

typedef struct {
    rows_kernel forward, gradient;
} lrn_kernels;

#endif
