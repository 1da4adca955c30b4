/* lines.h: Winograd's algorithm along the lines of a narrow layer, images in the lanes (images.h).
 *
 * Design: F(4, 5) in one dimension (Winograd 1980; Lavin and Gray 2015): four outputs of a filter
 * of five taps lie in eight inputs d, and cost eight products instead of twenty.  A pass is then,
 * at each of eight points, a product of the kernels of images.h, whose filter is one column:
 *
 *     y = A^T sum_r,c (G g) (B^T d)        points 0, 1/2, -1/2, 1, -1, 2, -2 and infinity
 *
 *     forward   M[point][p][k]  += U[point][k][r, c] V[point][p + r][c]         conv_lines.c
 *     grad_w    Z[point][k][c, r] += gy[point][k][p] V[point][p + r][c]         conv_lines_grad_w.c
 *     grad_x    M[point][h][c]  += U[point][k][r, c] (A gy)[point][h - r][k], then d += B M
 *
 * The gradient of x is the adjoint, that of the filter F(5, 4) with the same B.  A and G are powers
 * of the points, 1, x, x^2, ..; rows of G are divided by N(x) = the product of x - the others; rows
 * of B^T are the coefficients of those products.  All of B^T and A^T is exact in binary.
 *
 *     B^T  -1    0  21/4     0 -21/4     0  1  0          A^T  1  1    1   1  1  1  1  0
 *           0  4 x   4    -5 x   -5      x  1  0   x=+-1/2     0  1/2 -1/2 1 -1  2 -2  0
 *           0    x   1 -17/4 x -17/4     x  1  0   x=+-1       0  1/4  1/4 1  1  4  4  0
 *           0  x/4 1/4  -5/4 x  -5/4     x  1  0   x=+-2       0  1/8 -1/8 1 -1  8 -8  1
 *           0   -1   0  21/4     0 -21/4    0  1
 */
#ifndef MINIGRAD_LINES_H
#define MINIGRAD_LINES_H

#include "images.h"

enum { LINE_TILE = 4, LINE_TAPS = 5, LINE_POINTS = 8 };       /* outputs, taps, points */

/* 1 / N(x) of the point at i */
static const real LINE_FACTOR[LINE_POINTS] = {(real)-1,           (real)(32.0 / 45),
                                              (real)(32.0 / 45),  (real)(-2.0 / 9),
                                              (real)(-2.0 / 9),   (real)(1.0 / 90),
                                              (real)(1.0 / 90),   (real)1};

INLINE intptr_t tiles_of(intptr_t columns) { return (columns + LINE_TILE - 1) / LINE_TILE; }

static const intptr_t NO_SHIFT[1] = {0};

/* A band of the values at one point: a column is a tile, a filter is one column. */
INLINE conv_band band_of_points(const conv_band *b) {
    conv_band v = *b;
    const intptr_t tiles = b->w.block / LINE_TILE;
    v.w = (conv_axis){.size = tiles, .count = tiles, .step = 1, .taps = 1, .tap = NO_SHIFT,
                      .block = tiles, .blocks = 1, .slots = tiles, .slot_step = 1, .dense = 1};
    v.band_pixels = b->h.block * tiles;
    return v;
}

INLINE band_range range_of_points(const band_range *r) {
    band_range v = *r;
    v.j0 = 0;
    v.cols = tiles_of(r->cols);
    return v;
}

/* out[point * step] = B^T d */
INLINE void line_inputs(const real *from, real *out, intptr_t step) {
    vreal d[LINE_POINTS];
    UNROLL(8) for (int i = 0; i < LINE_POINTS; i++) d[i] = vload(from + i * VL);
    vstore(out, (d[6] - d[0]) + vset((real)5.25) * (d[2] - d[4]));
    vreal even = vset(4) * d[2] - vset(5) * d[4] + d[6];
    vreal odd = vset(2) * d[1] - vset((real)2.5) * d[3] + vset((real)0.5) * d[5];
    vstore(out + step, even + odd);
    vstore(out + 2 * step, even - odd);
    even = (d[2] + d[6]) - vset((real)4.25) * d[4];
    odd = (d[1] + d[5]) - vset((real)4.25) * d[3];
    vstore(out + 3 * step, even + odd);
    vstore(out + 4 * step, even - odd);
    even = vset((real)0.25) * d[2] - vset((real)1.25) * d[4] + d[6];
    odd = vset((real)0.5) * d[1] - vset((real)2.5) * d[3] + vset(2) * d[5];
    vstore(out + 5 * step, even + odd);
    vstore(out + 6 * step, even - odd);
    vstore(out + 7 * step, (d[7] - d[1]) + vset((real)5.25) * (d[3] - d[5]));
}

/* out[point * step] = A g for the first n of four numbers; the others are 0 */
INLINE void line_gradients(const real *from, intptr_t n, real *out, intptr_t step) {
    vreal g[LINE_TILE];
    UNROLL(4) for (int i = 0; i < LINE_TILE; i++) g[i] = i < n ? vload(from + i * VL) : vset(0);
    vstore(out, g[0]);
    UNROLL(3) for (int i = 1; i < 4; i++) {              /* x = 1/2, 1, 2 */
        const real x = (real)(1 << i) / 4;
        const vreal even = g[0] + vset(x * x) * g[2], odd = vset(x) * (g[1] + vset(x * x) * g[3]);
        vstore(out + (2 * i - 1) * step, even + odd);
        vstore(out + 2 * i * step, even - odd);
    }
    vstore(out + 7 * step, g[3]);
}

/* d = B m */
INLINE void line_inputs_gradient(const vreal *m, vreal *d) {
    const vreal sum[3] = {m[1] + m[2], m[3] + m[4], m[5] + m[6]};
    const vreal diff[3] = {m[1] - m[2], m[3] - m[4], m[5] - m[6]};
    const vreal large = vset((real)5.25), other = vset((real)4.25), half = vset((real)0.5);
    d[0] = -m[0];
    d[1] = vset(2) * diff[0] + diff[1] + half * diff[2] - m[7];
    d[2] = large * m[0] + vset(4) * sum[0] + sum[1] + vset((real)0.25) * sum[2];
    d[3] = large * m[7] - vset((real)2.5) * (diff[0] + diff[2]) - other * diff[1];
    d[4] = -large * m[0] - vset(5) * sum[0] - other * sum[1] - vset((real)1.25) * sum[2];
    d[5] = half * diff[0] + diff[1] + vset(2) * diff[2] - large * m[7];
    d[6] = m[0] + sum[0] + sum[1] + sum[2];
    d[7] = m[7];
}

/* y[0..count-1] = A^T m for count outputs, 4 or 5 */
INLINE void line_outputs(const int count, const vreal *m, vreal *y) {
    const vreal sum[3] = {m[1] + m[2], m[3] + m[4], m[5] + m[6]};
    const vreal diff[3] = {m[1] - m[2], m[3] - m[4], m[5] - m[6]};
    y[0] = m[0] + sum[0] + sum[1] + sum[2];
    y[1] = vset((real)0.5) * diff[0] + diff[1] + vset(2) * diff[2];
    y[2] = vset((real)0.25) * sum[0] + sum[1] + vset(4) * sum[2];
    y[3] = vset((real)0.125) * diff[0] + diff[1] + vset(8) * diff[2];
    if (count == 4) {
        y[3] += m[7];
    } else {
        y[4] = vset((real)0.0625) * sum[0] + sum[1] + vset(16) * sum[2] + m[7];
    }
}

/* Elements from the values of one point of a band to those of the next. */
INLINE intptr_t point_step(const conv_band *points) {
    return points->group_channels * plane_of(points) * VL;
}

/* V of a band that lies in lanes: [point][c][slot of h][tile][image]. */
static void band_to_points(const conv_band *b, const conv_band *points, const band_range *r,
                           const real *band, real *out) {
    const intptr_t rows = slots_used(&b->h, r->rows), tiles = tiles_of(r->cols);
    const intptr_t step = point_step(points);
    for (intptr_t c = 0; c < b->group_channels; c++)
        for (intptr_t slot = 0; slot < rows; slot++)
            for (intptr_t t = 0; t < tiles; t++)
                line_inputs(band + (c * plane_of(b) + slot * b->w.slots + t * LINE_TILE) * VL,
                            out + (c * plane_of(points) + slot * points->w.slots + t) * VL, step);
}

#endif
