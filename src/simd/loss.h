/* loss.h: softmax, its logarithm and cross-entropy, row by row of a matrix (rows, classes).
 *
 * Design: with m = max x and s = sum e^(x - m), log softmax is (x - m) - log s: no overflow, and
 * what cancels is small.  Cross-entropy goes over a row while it is in cache: maximum, exponentials
 * (kept, divided by s: the probabilities), loss.  The gradient needs only the probabilities.
 *
 *     target    t_c = w_c ((1 - e) [c = label] + e / C)     e: label smoothing, w: class weights
 *     loss      sum_c t_c (log s - (x_c - m)), terms with t_c = 0 left out
 *     gradient  g (p_c sum_j t_j - t_c)
 *
 * A row whose label is `ignore` has loss 0 and gradient 0.  Labels are checked before, in loss.pyx.
 */
#ifndef MINIGRAD_LOSS_H
#define MINIGRAD_LOSS_H

#include <stdint.h>

#include "rows.h"

typedef struct {
    intptr_t classes;
    const void *x;                           /* (rows, classes): x, the output or probabilities */
    const void *g;                           /* (rows, classes), or (rows,) for cross-entropy */
    void *y;                                 /* (rows, classes) */
    void *loss;                              /* (rows,) */
    const int64_t *labels;                   /* (rows,) */
    int64_t ignore;
    const void *weight;                      /* (classes,) or NULL: 1 */
    double weight_sum, smoothing;
} loss_args;

typedef struct {
    rows_kernel softmax, log_softmax, log_softmax_gradient, cross_entropy, cross_entropy_gradient;
} loss_kernels;

#endif
