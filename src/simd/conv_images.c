/* conv_images.c: the convolution of narrow layers, vectors running over images (see images.h).
 *
 * Design: one task is one band of VL images.  Its tile: 6 outputs of 2 pixels in registers over all
 * taps; a weight is broadcast, and meets the same tap of two pixels.  Taps that meet only padding
 * are left out (padding.h).
 */
#include "images.h"
#include "padding.h"

enum { COLUMNS = 2 };                /* of a tile: 12 sums, as in block.h */
enum { PANEL = 2 * VL };             /* outputs whose weights one task packs */

/* Weights as [group][output][chunk][tap, channel]: what a tile broadcasts lies in rows. */
static void pack_task(const void *plan, intptr_t task, void *scratch) {
    const conv_forward_plan *p = plan;
    const intptr_t k0 = task % p->panels * PANEL, chunk = task / p->panels % p->in.chunks;
    const intptr_t group = task / p->panels / p->in.chunks, c0 = chunk * p->in.chunk;
    const intptr_t taps = p->in.h.taps * p->in.w.taps, depth = depth_of(&p->in);
    const intptr_t channels = least(p->in.chunk, p->in.group_channels - c0);
    intptr_t finite = 1;
    (void)scratch;
    for (intptr_t k = k0; k < least(k0 + PANEL, p->group_outputs); k++) {
        const real *w = (const real *)p->weights + group * p->w_group + k * p->w_out + c0 * p->w_in;
        real *out = (real *)p->packed + (group * p->group_outputs + k) * depth + c0 * taps;
        for (intptr_t t = 0; t < taps; t++)
            for (intptr_t c = 0; c < channels; c++) *out++ = w[c * p->w_in + p->w_tap[t]];
        finite &= all_finite(out - taps * channels, taps * channels);
    }
    if (p->skips_padding) finite_panels(p, taps * p->in.chunk)[task] = finite;
}

static intptr_t scratch_bytes(const conv_forward_plan *p) {
    return lanes_bytes(p->in.group_channels * plane_of(&p->in)) + tables_bytes(&p->in, 0) +
           lanes_bytes(p->in.band_pixels * p->group_outputs) +
           rounded(p->in.chunks * p->in.h.taps * (intptr_t)sizeof(span));
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

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_forward_plan *p = plan;
    const conv_band *b = &p->in;
    const unsigned mode = fp_enter();
    const intptr_t group = index / band_count(b), first_out = group * p->group_outputs;
    const band_range r = band_at(b, index % band_count(b));
    real *band = scratch;
    real *out = (real *)((char *)scratch + lanes_bytes(b->group_channels * plane_of(b)));
    intptr_t *pixel_at = (intptr_t *)((char *)out +
                                      lanes_bytes(b->band_pixels * p->group_outputs));
    span *runs = (span *)((char *)pixel_at + offsets_bytes(b->band_pixels));
    intptr_t *row_at =
        (intptr_t *)((char *)runs + rounded(b->chunks * b->h.taps * (intptr_t)sizeof(span)));
    band_pixels(b, &r, pixel_at);
    band_to_lanes(b, &r, group * b->group_channels, row_at, band);
    all_outputs(p, &r, runs,
                (outputs_args){.band = band,
                               .weights = (const real *)p->packed + first_out * depth_of(b),
                               .bias = p->bias ? (const real *)p->bias + first_out : NULL,
                               .tap_at = b->tap_at,
                               .pixel_at = pixel_at,
                               .runs = runs,
                               .out = out,
                               .depth = depth_of(b),
                               .outputs = p->group_outputs,
                               .relu = p->relu});
    store_outputs(p, &r, first_out, out);
    fp_leave(mode);
}

extern const conv_forward_kernels NAME(conv_images_kernels);
const conv_forward_kernels NAME(conv_images_kernels) = {
    .scratch = scratch_bytes, .pack = pack_task, .task = task};
