/* norm.h: normalization of the columns of a matrix: batch norm, and group norm sample by sample.
 *
 * Design: x is (rows, channels), the channels of a pixel side by side.  Memory traffic is the cost,
 * so whatever belongs together is one sweep:
 *
 *     moments          reads x                   mean and sum of squares of each slot of rows
 *     apply            reads x, writes y         y = relu((x - mean) scale + shift + residual)
 *     gradient_sums    reads gy, x               sum g, sum g (x - mean); g = gy where y > 0
 *     gradient_apply   reads gy, x, writes gx    gx = scale g - (x - mean) slope - offset
 *
 * The mask y > 0 is computed again from x, by the very expression of `apply`, and never kept.  With
 * a residual, gradient_sums writes g, which is the residual's gradient, and gradient_apply reads it
 * instead of gy.
 *
 * Rows are cut into `slots` (a number that depends on the shape only) and summed by chunks
 * (moments.h); partial results of slots are merged in their order.
 */
#ifndef MINIGRAD_NORM_H
#define MINIGRAD_NORM_H

#include <stdint.h>

#include "rows.h"

enum { NORM_SLOTS = 64 };                    /* at most */
enum { NORM_MEAN, NORM_SCALE, NORM_SHIFT, NORM_SLOPE, NORM_OFFSET, NORM_COLUMNS };

typedef struct {
    intptr_t rows, channels;
    intptr_t sample_rows;                    /* rows that share a set of columns: all, or H*W */
    intptr_t slots, blocks;                  /* tasks of sums: slots of rows x blocks of channels */
    const void *x, *gy, *residual;           /* residual may be NULL */
    void *y;                                 /* y or gx */
    void *g;                                 /* masked gy: sums writes, apply reads; or NULL */
    double *partial;                         /* (slots, 3, channels) */
    void *columns;                           /* (sets, NORM_COLUMNS, channels) reals */
    int relu;
} norm_args;

typedef struct {
    rows_kernel moments, gradient_sums;      /* "rows" are tasks: slots x blocks */
    rows_kernel apply, gradient_apply;
    /* partial of all slots -> mean and biased variance per channel, as reals */
    void (*merge_moments)(const norm_args *args, void *mean, void *var);
    /* the same of parts (parts, 3, channels) that have seen rows[part] > 0 pixels each */
    void (*merge_parts)(const double *partial, const intptr_t *rows, intptr_t parts,
                        intptr_t channels, void *mean, void *var);
    /* set `index` of columns: mean, gamma / sqrt(var + eps), beta; gamma and beta may be NULL */
    void (*set_columns)(const norm_args *args, intptr_t index, const void *mean, const void *var,
                        const void *gamma, const void *beta, double eps);
    /* partial -> ggamma, gbeta, and the columns slope and offset (0 unless `moving`: mean and var
     * depend on x) */
    void (*merge_sums)(const norm_args *args, const void *var, double eps, int moving, void *ggamma,
                       void *gbeta);
} norm_kernels;

#endif
