/* images_outputs.h: the product of a forward pass with images in the lanes (images.h).
 *
 * Design: one task is one band of VL images.  Its tile: 6 outputs of 2 pixels in registers over all
 * taps; a weight is broadcast, and meets the same tap of two pixels.  The gradient of x leaves out
 * taps that meet only padding: of a 5x5 filter's on a map of 10x10, half.
 */
#ifndef MINIGRAD_IMAGES_OUTPUTS_H
#define MINIGRAD_IMAGES_OUTPUTS_H

#include "images.h"

enum { COLUMNS = 2 };                /* of a tile: 12 sums, as in block.h */
enum { PANEL = 2 * VL };             /* outputs whose weights one task packs */

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

/* Taps (chunk, r, s, channel) of rows x columns of the window as runs; returns their number. */
static intptr_t tap_runs(const conv_band *b, span rows, span cols, span *runs) {
    const intptr_t R = b->h.taps, S = b->w.taps;
    const intptr_t step = cols.hi - cols.lo == S ? rows.hi - rows.lo : 1;   /* rows in a run */
    span *run = runs;
    for (intptr_t c = 0; c < b->group_channels; c += b->chunk) {
        const intptr_t channels = least(b->chunk, b->group_channels - c);
        for (intptr_t r = rows.lo; r < rows.hi; r += step, run++) {
            run->lo = c * R * S + (r * S + cols.lo) * channels;
            run->hi = c * R * S + ((r + step - 1) * S + cols.hi) * channels;
        }
    }
    return run - runs;
}

/* The runs of taps that outputs q and q + 1 of a range need; returns their number. */
static intptr_t runs_of_two(const conv_band *b, const band_range *r, intptr_t q, span *runs) {
    const intptr_t last = least(q + 1, r->rows * r->cols - 1);
    return tap_runs(b,
                    hull(taps_inside(&b->h, r->i0 + q / r->cols),
                         taps_inside(&b->h, r->i0 + last / r->cols)),
                    hull(taps_inside(&b->w, r->j0 + q % r->cols),
                         taps_inside(&b->w, r->j0 + last % r->cols)),
                    runs);
}

typedef struct {
    const real *band, *weights, *bias;
    const intptr_t *tap_at, *pixel_at;
    const span *runs;                /* of taps */
    intptr_t run_count;
    real *out;                       /* [pixel][output][image] */
    intptr_t depth, outputs;
    int relu;
} outputs_args;

/* `rows` outputs of `columns` pixels: rows * columns sums in registers over all taps, or, `skips`,
 * over the runs of taps that are not left out. */
INLINE void outputs_tile(const int rows, const int columns, const int skips,
                         const outputs_args *s) {
    vreal sum[ROWS * COLUMNS];
    const real *w[ROWS], *x[COLUMNS];
    UNROLL(2) for (int j = 0; j < columns; j++) x[j] = s->band + s->pixel_at[j];
    UNROLL(6) for (int i = 0; i < rows; i++) {
        w[i] = s->weights + i * s->depth;
        UNROLL(2) for (int j = 0; j < columns; j++)
            sum[i * columns + j] = vset(s->bias ? s->bias[i] : 0);
    }
    for (intptr_t run = 0; run < (skips ? s->run_count : 1); run++) {
        const intptr_t stop = skips ? s->runs[run].hi : s->depth;
        for (intptr_t t = skips ? s->runs[run].lo : 0; t < stop; t++) {
            vreal values[COLUMNS];
            UNROLL(2) for (int j = 0; j < columns; j++) values[j] = vload(x[j] + s->tap_at[t]);
            UNROLL(6) for (int i = 0; i < rows; i++) {
                const vreal weight = vset(w[i][t]);
                UNROLL(2) for (int j = 0; j < columns; j++)
                    sum[i * columns + j] += weight * values[j];
            }
        }
    }
    UNROLL(6) for (int i = 0; i < rows; i++) UNROLL(2) for (int j = 0; j < columns; j++) {
        const vreal value = sum[i * columns + j];
        vstore(s->out + (j * s->outputs + i) * VL,
               s->relu ? vselect(value < vset(0), vset(0), value) : value);
    }
}

INLINE void rows_tile(int rows, const int columns, const int skips, const outputs_args *s) {
    switch (rows) {
    case 1: outputs_tile(1, columns, skips, s); break;
    case 2: outputs_tile(2, columns, skips, s); break;
    case 3: outputs_tile(3, columns, skips, s); break;
    case 4: outputs_tile(4, columns, skips, s); break;
    case 5: outputs_tile(5, columns, skips, s); break;
    default: outputs_tile(6, columns, skips, s);
    }
}

typedef void (*tile_kernel)(int rows, const outputs_args *s);
static void two_pixels(int rows, const outputs_args *s) { rows_tile(rows, 2, 0, s); }
static void one_pixel(int rows, const outputs_args *s) { rows_tile(rows, 1, 0, s); }
static void two_skipping(int rows, const outputs_args *s) { rows_tile(rows, 2, 1, s); }
static void one_skipping(int rows, const outputs_args *s) { rows_tile(rows, 1, 1, s); }

/* All outputs of all pixels of a band; rows are shared out evenly: 16 are 6 + 5 + 5. */
static void all_outputs(const conv_forward_plan *p, const band_range *r, span *runs,
                        outputs_args s) {
    const intptr_t K = p->group_outputs, tiles = (K + ROWS - 1) / ROWS;
    const intptr_t pixels = r->rows * r->cols;
    const tile_kernel two = p->skips_padding ? two_skipping : two_pixels;
    const tile_kernel one = p->skips_padding ? one_skipping : one_pixel;
    const real *weights = s.weights, *bias = s.bias;
    real *out = s.out;
    for (intptr_t q = 0; q < pixels; q += 2, s.pixel_at += 2) {
        if (p->skips_padding) s.run_count = runs_of_two(&p->in, r, q, runs);
        for (intptr_t tile = 0; tile < tiles; tile++) {
            const intptr_t k = K * tile / tiles;
            s.weights = weights + k * s.depth;
            s.bias = bias ? bias + k : NULL;
            s.out = out + (q * K + k) * VL;
            (q + 1 < pixels ? two : one)((int)(K * (tile + 1) / tiles - k), &s);
        }
    }
}

/* [pixel][output][image] back to channels-last images. */
static void store_outputs(const conv_forward_plan *p, const band_range *r, intptr_t first_out,
                          const real *src) {
    const conv_output *o = &p->out;
    const intptr_t image = o->height * o->width * o->channels, K = p->group_outputs;
    const intptr_t run = o->w_step == 1 && K == o->channels ? r->cols : 1;
    for (intptr_t i = 0; i < r->rows; i++)
        for (intptr_t j = 0; j < r->cols; j += run, src += run * K * VL)
            from_lanes(src, r->images, run * K,
                       (real *)o->data + r->n0 * image + first_out +
                           ((o->h0 + (r->i0 + i) * o->h_step) * o->width + o->w0 +
                            (r->j0 + j) * o->w_step) * o->channels,
                       image);
}

#endif
