/* moments.h: the mean and the variance of channels, by chunks of pixels.
 *
 * Design: sums are taken over chunks of 128 rows in vectors, and from there on in double: a chunk's
 * mean first, then squares around it, while the chunk is in cache.  So nothing cancels, however far
 * the mean is from 0.  Batch normalization's first sweep is made of chunks (norm.c); a convolution
 * takes them of its own outputs while they are in the cache (`pixel_moments`), which saves it.
 */
#ifndef MINIGRAD_MOMENTS_H
#define MINIGRAD_MOMENTS_H

#include "lanes.h"

enum { MOMENT_ROWS = 128, CHAINS = 4 };      /* rows of a chunk; sums that run side by side */

/* Row r of some that are `step` apart, or lie at offsets. */
INLINE const real *row_of(const real *x, intptr_t step, const intptr_t *at, intptr_t r) {
    return x + (at ? at[r] : r * step);
}

/* Moments of `rows` rows, nv vectors of n lanes, into `count` channels of a part (3, channels):
 * pivot, sum of (x - pivot), sum of (x - pivot)^2.  The pivot is the first chunk's mean, rounded as
 * it is, and the others are moved to it, so that no rounding of a mean enters. */
INLINE void chunk_moments(const int nv, const real *x, intptr_t step, const intptr_t *at,
                          intptr_t rows, intptr_t n, intptr_t count, double *part,
                          intptr_t channels, int is_first) {
    const int chains = CHAINS / nv;
    const intptr_t whole = rows - rows % chains;
    vreal sum[CHAINS], square[CHAINS], mean[CHAINS];
    UNROLL(4) for (int i = 0; i < CHAINS; i++) sum[i] = square[i] = vset(0);
    for (intptr_t r = 0; r < whole; r += chains)
        UNROLL(4) for (int i = 0; i < CHAINS; i++)
            sum[i] += load_lanes(row_of(x, step, at, r + i / nv) + i % nv * VL, n);
    for (intptr_t r = whole; r < rows; r++)
        UNROLL(4) for (int i = 0; i < nv; i++)
            sum[i] += load_lanes(row_of(x, step, at, r) + i * VL, n);
    UNROLL(4) for (int i = nv; i < CHAINS; i++) sum[i % nv] += sum[i];
    UNROLL(4) for (int i = 0; i < nv; i++) mean[i] = sum[i] / vset((real)rows);
    UNROLL(4) for (int i = 0; i < CHAINS; i++) sum[i] = vset(0);
    for (intptr_t r = 0; r < whole; r += chains)
        UNROLL(4) for (int i = 0; i < CHAINS; i++) {
            const vreal d = load_lanes(row_of(x, step, at, r + i / nv) + i % nv * VL, n) -
                            mean[i % nv];
            sum[i] += d;
            square[i] += d * d;
        }
    for (intptr_t r = whole; r < rows; r++)
        UNROLL(4) for (int i = 0; i < nv; i++) {
            const vreal d = load_lanes(row_of(x, step, at, r) + i * VL, n) - mean[i];
            sum[i] += d;
            square[i] += d * d;
        }
    real means[CHAINS * VL], sums[CHAINS * VL], squares[CHAINS * VL];
    UNROLL(4) for (int i = nv; i < CHAINS; i++) {
        sum[i % nv] += sum[i];
        square[i % nv] += square[i];
    }
    UNROLL(4) for (int i = 0; i < nv; i++) {
        vstore(means + i * VL, mean[i]);
        vstore(sums + i * VL, sum[i]);
        vstore(squares + i * VL, square[i]);
    }
    double *pivot = part, *first = part + channels, *second = part + 2 * channels;
    for (intptr_t i = 0; i < count; i++) {
        if (is_first) {
            pivot[i] = means[i];
            first[i] = second[i] = 0;
        }
        const double d = means[i] - pivot[i];
        first[i] += sums[i] + (double)rows * d;
        second[i] += squares[i] + d * (2 * sums[i] + (double)rows * d);
    }
}

/* Moments of m pixels at offsets from y, n channels of each, into a part of `channels`. */
INLINE void pixel_moments(const real *y, const intptr_t *at, intptr_t m, intptr_t n, double *part,
                          intptr_t channels) {
    for (intptr_t i = 0; i < m; i += MOMENT_ROWS) {
        const intptr_t rows = m - i < MOMENT_ROWS ? m - i : MOMENT_ROWS;
        intptr_t c = 0;
        for (; c + CHAINS * VL <= n; c += CHAINS * VL)
            chunk_moments(CHAINS, y + c, 0, at + i, rows, VL, CHAINS * VL, part + c, channels, !i);
        for (; c + 2 * VL <= n; c += 2 * VL)
            chunk_moments(2, y + c, 0, at + i, rows, VL, 2 * VL, part + c, channels, !i);
        for (; c < n; c += VL) {
            const intptr_t count = n - c < VL ? n - c : VL;
            chunk_moments(1, y + c, 0, at + i, rows, count, count, part + c, channels, !i);
        }
    }
}

#endif
