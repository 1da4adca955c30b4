/* images_sums.h: the product of a weight gradient with images in the lanes (images.h).
 *
 * Design: gy is turned to planes as x is, and a tile holds 6 taps x 2 (4) outputs in registers over
 * all pixels of a band: sums of vectors, added to those of the bands before it.
 */
#ifndef MINIGRAD_IMAGES_SUMS_H
#define MINIGRAD_IMAGES_SUMS_H

#include "images.h"

/* Of a tile: 12 sums for 8 loads; AVX-512 has registers for 24, and loads that fill whole lines of
 * a cache, two in a cycle at best: 24 sums for 10 loads. */
enum { COLUMNS = VBYTES == 64 ? 4 : 2 };

/* gy of a range as planes[output][pixel][image]. */
static void gy_to_lanes(const conv_grad_w_plan *p, const band_range *r, intptr_t first_out,
                        intptr_t *at, real *out) {
    const intptr_t K = p->groups * p->group_outputs, Q = p->in.w.count, P = p->in.h.count;
    const intptr_t pixels = r->rows * r->cols, n = p->group_outputs;
    const intptr_t run = n == K ? r->cols : 1;
    if (r->images < VL) memset(out, 0, (size_t)(n * pixels * VL) * sizeof(real));
    plane_offsets(run, n, pixels, at);
    for (intptr_t i = 0; i < r->rows; i++)
        for (intptr_t j = 0; j < r->cols; j += run)
            to_lanes((const real *)p->gy + ((r->n0 * P + r->i0 + i) * Q + r->j0 + j) * K +
                         first_out,
                     P * Q * K, r->images, run * n, at, out + (i * r->cols + j) * VL);
}

typedef struct {
    const real *band, *gy;
    const intptr_t *tap_at, *pixel_at;
    intptr_t pixels, depth;
    real *sums;                      /* [output][tap][image] */
    int first;                       /* nothing has been summed yet */
} sums_args;

/* `rows` taps of `columns` outputs: their sums in registers over all pixels. */
INLINE void sums_tile(const int rows, const int columns, const sums_args *s) {
    vreal sum[ROWS * COLUMNS];
    const real *x[ROWS], *gy = s->gy;
    UNROLL(6) for (int i = 0; i < rows; i++) {
        x[i] = s->band + s->tap_at[i];
        UNROLL(4) for (int j = 0; j < columns; j++)
            sum[i * columns + j] = s->first ? vset(0) : vload(s->sums + (j * s->depth + i) * VL);
    }
    for (intptr_t p = 0; p < s->pixels; p++, gy += VL) {
        vreal grad[COLUMNS];
        UNROLL(4) for (int j = 0; j < columns; j++) grad[j] = vload(gy + j * s->pixels * VL);
        UNROLL(6) for (int i = 0; i < rows; i++) {
            const vreal value = vload(x[i] + s->pixel_at[p]);
            UNROLL(4) for (int j = 0; j < columns; j++) sum[i * columns + j] += value * grad[j];
        }
    }
    UNROLL(6) for (int i = 0; i < rows; i++) UNROLL(4) for (int j = 0; j < columns; j++)
        vstore(s->sums + (j * s->depth + i) * VL, sum[i * columns + j]);
}

INLINE void rows_tile(int rows, const int columns, const sums_args *s) {
    switch (rows) {
    case 1: sums_tile(1, columns, s); break;
    case 2: sums_tile(2, columns, s); break;
    case 3: sums_tile(3, columns, s); break;
    case 4: sums_tile(4, columns, s); break;
    case 5: sums_tile(5, columns, s); break;
    default: sums_tile(6, columns, s);
    }
}

static void one_output(int rows, const sums_args *s) { rows_tile(rows, 1, s); }
static void two_outputs(int rows, const sums_args *s) { rows_tile(rows, 2, s); }
static void most_outputs(int rows, const sums_args *s) { rows_tile(rows, COLUMNS, s); }

/* All taps of all outputs over the pixels of a band; taps are shared out evenly among tiles. */
static void all_sums(intptr_t outputs, sums_args s) {
    const intptr_t tiles = (s.depth + ROWS - 1) / ROWS;
    const intptr_t *tap_at = s.tap_at;
    const real *gy = s.gy;
    real *sums = s.sums;
    intptr_t columns;
    for (intptr_t k = 0; k < outputs; k += columns) {
        columns = outputs - k >= COLUMNS ? COLUMNS : outputs - k >= 2 ? 2 : 1;
        for (intptr_t tile = 0; tile < tiles; tile++) {
            const intptr_t t = s.depth * tile / tiles;
            s.tap_at = tap_at + t;
            s.gy = gy + k * s.pixels * VL;
            s.sums = sums + (k * s.depth + t) * VL;
            (columns == COLUMNS ? most_outputs : columns == 2 ? two_outputs : one_output)(
                (int)(s.depth * (tile + 1) / tiles - t), &s);
        }
    }
}

/* out[e] = the lanes of sums e, e < n <= VL, of all parts (`size` apart), added up. */
static void add_lanes(const real *sums, intptr_t parts, intptr_t size, intptr_t n, real *out) {
    real vectors[VL * VL], columns[VL * VL];
    for (intptr_t e = 0; e < n; e++) {
        vreal total = vload(sums + e * VL);
        for (intptr_t part = 1; part < parts; part++) total += vload(sums + part * size + e * VL);
        vstore(vectors + e * VL, total);
    }
    from_lanes(vectors, VL, n, columns, VL);
    for (intptr_t e = n; e < VL; e++)
        for (intptr_t l = 0; l < VL; l++) columns[l * VL + e] = 0;
    vreal total = vload(columns);
    for (intptr_t l = 1; l < VL; l++) total += vload(columns + l * VL);
    vstore_first(out, total, (int)n);
}

#endif
