/* padding.h: leaving out the taps of a filter that meet only padding.
 *
 * Design: on a map as small as the filter, most products are by zeros of the padding: a 7x7 filter
 * on 4x4 pixels meets 16 of 49 taps at any place.  The taps that an output needs are one span along
 * each axis; a tile of outputs needs the hull of theirs.  So a band is walked place by place, all
 * images of one after the other, and there and back along its rows: the places of a tile are one or
 * neighbors.  In grad_w a tile of taps needs the places whose windows have them inside.
 *
 * A zero times a weight that is infinite or NaN is NaN, so it is left out only where all weights
 * are finite (in grad_w: all of gy that a band has).  Whoever packs them looks (all_finite), and
 * leaves the answer for weights behind the packed ones.
 */
#ifndef MINIGRAD_PADDING_H
#define MINIGRAD_PADDING_H

#include "band.h"
#include "gemm.h"

typedef struct {
    intptr_t lo, hi;                 /* lo <= i < hi */
} span;

/* The taps of an axis that meet a source row at output o: one span, because taps lie in order. */
INLINE span taps_inside(const conv_axis *x, intptr_t o) {
    const intptr_t at = o * x->step;
    span s = {0, x->taps};
    while (s.lo < s.hi && (at + x->tap[s.lo] < 0 || at + x->tap[s.lo] >= x->size)) s.lo++;
    while (s.lo < s.hi && (at + x->tap[s.hi - 1] < 0 || at + x->tap[s.hi - 1] >= x->size)) s.hi--;
    return s;
}

INLINE span hull(span a, span b) {
    return (span){least(a.lo, b.lo), a.hi > b.hi ? a.hi : b.hi};
}

enum { BETWEEN = 4 };                /* depths: what the start of a run costs */

/* The runs of rows x cols of a matrix that is `width` wide, in elements of `size` depths; one run,
 * if there is little between the rows. */
INLINE depth_runs runs_of(span rows, span cols, intptr_t width, intptr_t size) {
    const intptr_t row = width * size;
    const intptr_t length = (cols.hi - cols.lo) * size;
    if (row - length < BETWEEN)
        return (depth_runs){rows.lo * row, (rows.hi - rows.lo) * row, 0, 1};
    return (depth_runs){rows.lo * row + cols.lo * size, length, row, rows.hi - rows.lo};
}

/* The runs of every `tile` outputs of a range that is walked place by place. */
static inline void runs_of_tiles(const conv_band *b, const band_range *r, intptr_t tile,
                                 depth_runs *runs) {
    const intptr_t outputs = r->images * r->rows * r->cols;
    for (intptr_t p = 0; p < outputs; p += tile) {
        const intptr_t last = (least(p + tile, outputs) - 1) / r->images;
        intptr_t q = p / r->images;
        span rows = taps_inside(&b->h, r->i0 + q / r->cols);
        span cols = taps_inside(&b->w, r->j0 + place_column(r, q));
        for (q++; q <= last; q++) {
            rows = hull(rows, taps_inside(&b->h, r->i0 + q / r->cols));
            cols = hull(cols, taps_inside(&b->w, r->j0 + place_column(r, q)));
        }
        *runs++ = runs_of(rows, cols, b->w.taps, b->chunk);
    }
}

/* The outputs o0 .. o0 + count - 1 of an axis that meet a source row at a tap, counted from o0. */
INLINE span outputs_inside(const conv_axis *x, intptr_t tap, intptr_t o0, intptr_t count) {
    const intptr_t at = o0 * x->step + x->tap[tap];
    span s = {0, count};
    while (s.lo < s.hi && at + s.lo * x->step < 0) s.lo++;
    while (s.lo < s.hi && at + (s.hi - 1) * x->step >= x->size) s.hi--;
    return s;
}

/* The runs of outputs of a range that every `tile` of the taps (r, s, channel) meets. */
static inline void runs_of_tap_tiles(const conv_band *b, const band_range *r, intptr_t tile,
                                     depth_runs *runs) {
    const intptr_t taps = b->h.taps * b->w.taps * b->chunk, S = b->w.taps;
    for (intptr_t t = 0; t < taps; t += tile) {
        const intptr_t last = (least(t + tile, taps) - 1) / b->chunk;
        intptr_t q = t / b->chunk;
        span rows = outputs_inside(&b->h, q / S, r->i0, r->rows);
        span cols = outputs_inside(&b->w, q % S, r->j0, r->cols);
        for (q++; q <= last; q++) {
            rows = hull(rows, outputs_inside(&b->h, q / S, r->i0, r->rows));
            cols = hull(cols, outputs_inside(&b->w, q % S, r->j0, r->cols));
        }
        *runs++ = runs_of(rows, cols, r->cols, r->images);
    }
}

/* Whether n numbers are neither infinite nor NaN: 0 times them is 0. */
static inline int all_finite(const real *x, intptr_t n) {
    vreal sum[4] = {{0}};
    real lanes[VL];
    int finite = 1;
    intptr_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        UNROLL(4) for (int j = 0; j < 4; j++) sum[j] += vload(x + i + j * VL) * vset(0);
    for (; i < n; i++) finite &= x[i] * 0 == 0;
    vstore(lanes, sum[0] + sum[1] + (sum[2] + sum[3]));
    for (int l = 0; l < VL; l++) finite &= lanes[l] == 0;
    return finite;
}

/* For each panel of weights, `depth` deep, whether all of it is finite; behind the last of them. */
INLINE intptr_t *finite_panels(const conv_forward_plan *p, intptr_t depth) {
    return (intptr_t *)((real *)p->packed +
                        p->groups * p->in.chunks * p->panels * depth * 2 * VL);
}

#endif
