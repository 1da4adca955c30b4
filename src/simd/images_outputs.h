/* images_outputs.h: the product of a forward pass with images in the lanes (images.h).
 *
 * Design: one task is one band of VL images.  Its tile: 6 outputs of 2 pixels in registers over all
 * taps; a weight is broadcast, and meets the same tap of two pixels.  Taps that meet only padding
 * are left out (padding.h): of the gradient of x by a 5x5 filter on a map of 10x10, half.
 */
#ifndef MINIGRAD_IMAGES_OUTPUTS_H
#define MINIGRAD_IMAGES_OUTPUTS_H

#include "images.h"
#include "padding.h"

enum { COLUMNS = 2 };                /* of a tile: 12 sums, as in block.h */
enum { PANEL = 2 * VL };             /* outputs whose weights one task packs */

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

/* The taps that meet a source, for rows and columns of a range; room for the runs of a pair. */
typedef struct {
    span *rows, *cols, *runs;
} met_taps;

INLINE intptr_t met_taps_bytes(const conv_band *b) {
    return rounded((b->h.block + b->w.block + b->chunks * b->h.taps) * (intptr_t)sizeof(span));
}

static met_taps met_taps_in(const conv_band *b, const band_range *r, void *room) {
    const met_taps m = {room, (span *)room + b->h.block, (span *)room + b->h.block + b->w.block};
    for (intptr_t i = 0; i < r->rows; i++) m.rows[i] = taps_inside(&b->h, r->i0 + i);
    for (intptr_t j = 0; j < r->cols; j++) m.cols[j] = taps_inside(&b->w, r->j0 + j);
    return m;
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

INLINE void next_pixel(const band_range *r, intptr_t *i, intptr_t *j) {
    if (++*j == r->cols) {
        *j = 0;
        ++*i;
    }
}

/* All outputs of all pixels of a band; rows are shared out evenly: 16 are 6 + 5 + 5.  `met`: of the
 * range, where the plan skips padding. */
static void all_outputs(const conv_forward_plan *p, const band_range *r, const met_taps *met,
                        outputs_args s) {
    const intptr_t K = p->group_outputs, tiles = (K + ROWS - 1) / ROWS;
    const intptr_t least_rows = K / tiles, larger = K % tiles, pixels = r->rows * r->cols;
    const tile_kernel two = p->skips_padding ? two_skipping : two_pixels;
    const tile_kernel one = p->skips_padding ? one_skipping : one_pixel;
    const real *weights = s.weights, *bias = s.bias;
    s.runs = met->runs;
    for (intptr_t q = 0, i = 0, j = 0; q < pixels; q += 2, s.pixel_at += 2) {
        if (p->skips_padding) {
            const span rows = met->rows[i], cols = met->cols[j];
            if (q + 1 < pixels) next_pixel(r, &i, &j);
            s.run_count = tap_runs(&p->in, hull(rows, met->rows[i]), hull(cols, met->cols[j]),
                                   met->runs);
            next_pixel(r, &i, &j);
        }
        intptr_t k = 0;
        for (intptr_t tile = 0; tile < tiles; tile++) {
            const intptr_t rows = least_rows + (tile < larger);
            s.weights = weights + k * s.depth;
            s.bias = bias ? bias + k : NULL;
            (q + 1 < pixels ? two : one)((int)rows, &s);
            s.out += rows * VL;
            k += rows;
        }
        s.out += K * VL;
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
