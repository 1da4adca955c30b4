/* winograd_steps.h: what both arrangements of the forward pass do: filters to U, M to pixels.
 *
 * Design: winograd.c keeps tiles and lets filters pass by, winograd_deep.c keeps filters and lets
 * tiles pass by; here is what they share.  V is made in winograd_maps.h, as grad_w needs it too.
 */
#ifndef MINIGRAD_WINOGRAD_STEPS_H
#define MINIGRAD_WINOGRAD_STEPS_H

#include "block.h"
#include "moments.h"
#include "winograd_maps.h"

/* U for one panel of NR outputs and one input channel: G w G^T, point t at out + t * step. */
INLINE void transform_weight(const int r, const winograd_plan *p, const real *w, intptr_t lanes,
                             real *out, intptr_t step) {
    real taps[25 * NR];
    memset(taps, 0, sizeof taps);
    pack_lanes(w, p->w_out, lanes, r * r, taps, NR);
    for (int v = 0; v < NV; v++) {
        vreal half[TILE * 5], line[5], mapped[TILE];
        for (int j = 0; j < r; j++) {
            UNROLL(5) for (int i = 0; i < r; i++) {
                const int tap = p->turned ? r * r - 1 - (i * r + j) : i * r + j;
                line[i] = vload(taps + tap * NR + v * VL);
            }
            map_weight(r, line, mapped);
            UNROLL(6) for (int i = 0; i < TILE; i++) half[i * r + j] = mapped[i];
        }
        for (int i = 0; i < TILE; i++) {
            map_weight(r, half + i * r, mapped);
            UNROLL(6) for (int j = 0; j < TILE; j++)
                vstore(out + (i * TILE + j) * step + v * VL, mapped[j]);
        }
    }
}

/* U of one panel for neighboring input channels: (t, c, lane) at t * step + c * NR + lane. */
static void transform_weights(const winograd_plan *p, const real *w, intptr_t channels,
                              intptr_t lanes, real *out, intptr_t step) {
    for (intptr_t c = 0; c < channels; c++, w += p->w_in, out += NR) {
        ask_for_filters(w, p->w_out, lanes, p->w_in);
        if (p->in.taps == 3)
            transform_weight(3, p, w, lanes, out, step);
        else
            transform_weight(5, p, w, lanes, out, step);
    }
}

/* Where one tile's outputs go, how many of them there are, and what is done to them. */
typedef struct {
    real *out;
    intptr_t row, col;               /* elements from output to output */
    int rows, cols;                  /* inside the image */
    const real *bias, *scale;        /* one value for each channel, or NULL */
    const real *residual;            /* laid out as out, or NULL */
    int relu;
} tile_output;

/* y of one tile: A^T m A for n output channels.  scaled: o has a scale. */
INLINE void transform_output(const int m, const int scaled, const real *product, intptr_t slab,
                             intptr_t n, const tile_output *o) {
    for (intptr_t k = 0; k < n; k += VL) {
        vreal half[4 * TILE], line[TILE], y[4];
        const vreal bias = o->bias ? vload_up_to(o->bias + k, n - k) : vset(0);
        const vreal scale = scaled ? vload_up_to(o->scale + k, n - k) : vset(1);
        for (int j = 0; j < TILE; j++) {
            UNROLL(6) for (int i = 0; i < TILE; i++)
                line[i] = vload(product + (i * TILE + j) * slab + k);
            map_output(m, line, y);
            UNROLL(4) for (int i = 0; i < m; i++) half[i * TILE + j] = y[i];
        }
        for (int i = 0; i < o->rows; i++) {
            map_output(m, half + i * TILE, y);
            UNROLL(4) for (int j = 0; j < m; j++) {
                const intptr_t at = i * o->row + j * o->col + k;
                vreal value = scaled ? y[j] * scale + bias : y[j] + bias;
                if (scaled && o->residual && j < o->cols)
                    value += vload_up_to(o->residual + at, n - k);
                if (o->relu) value = relu(value);
                if (j < o->cols && n - k >= VL)
                    vstore(o->out + at, value);
                else if (j < o->cols)
                    vstore_first(o->out + at, value, (int)(n - k));
            }
        }
    }
}

static void transform_outputs(const winograd_plan *p, intptr_t first, intptr_t last, intptr_t k0,
                              intptr_t n, const real *product) {
    const winograd_tiles *in = &p->in;
    const intptr_t pitch = p->out_pitch, m = TILE + 1 - in->taps;
    tile_output o = {.row = in->cols * pitch,
                     .col = pitch,
                     .bias = p->bias ? (const real *)p->bias + k0 : NULL,
                     .scale = p->scale ? (const real *)p->scale + k0 : NULL,
                     .relu = p->relu};
    tile_place at = place_of(in, first);
    for (intptr_t tile = first; tile < last; tile++, product += p->pitch, next_place(in, &at)) {
        const intptr_t start = ((at.n * in->rows + at.i) * in->cols + at.j) * pitch + k0;
        o.out = (real *)p->out + start;
        o.residual = p->residual ? (const real *)p->residual + start : NULL;
        o.rows = (int)least(m, in->rows - at.i);
        o.cols = (int)least(m, in->cols - at.j);
        if (o.scale && m == 4)
            transform_output(4, 1, product, p->slab, n, &o);
        else if (o.scale)
            transform_output(2, 1, product, p->slab, n, &o);
        else if (m == 4)
            transform_output(4, 0, product, p->slab, n, &o);
        else
            transform_output(2, 0, product, p->slab, n, &o);
    }
}

/* Moments of n outputs of tiles first .. last, just stored, into part `block`.  at: offsets_room */
static void output_moments(const winograd_plan *p, intptr_t first, intptr_t last, intptr_t k0,
                           intptr_t n, intptr_t block, intptr_t *at) {
    const winograd_tiles *in = &p->in;
    const intptr_t K = p->groups * p->group_outputs, m = TILE + 1 - in->taps;
    intptr_t count = 0;
    if (!p->moments) return;
    tile_place o = place_of(in, first);
    for (intptr_t tile = first; tile < last; tile++, next_place(in, &o)) {
        const intptr_t rows = least(m, in->rows - o.i), cols = least(m, in->cols - o.j);
        const intptr_t start = (o.n * in->rows + o.i) * in->cols + o.j;
        for (intptr_t i = 0; i < rows; i++)
            for (intptr_t j = 0; j < cols; j++)
                at[count++] = (start + i * in->cols + j) * p->out_pitch;
    }
    pixel_moments((const real *)p->out + k0, at, count, n, p->moments + block * 3 * K + k0, K);
    if (k0 == 0) p->moment_pixels[block] = count;
}

/* Elements of scratch for the offsets of a block's outputs. */
INLINE intptr_t offsets_room(const winograd_plan *p) {
    return p->in.block * 16 * (intptr_t)(sizeof(intptr_t) / sizeof(real));
}

#endif
