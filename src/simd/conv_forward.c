/* conv_forward.c: Y = A W, the convolution that is conv2d and every phase of conv2d_grad_x.
 *
 * Design: weights are packed once per call, by panels of NR output channels, in the order in which
 * a tile meets them.  Then one task is one band of outputs times one block of output channels:
 *
 *     for chunk of input channels            band copied, small enough for L2
 *         for panel of NR outputs            its weights stay in L2: R * S * chunk rows
 *             for tile of MR pixels          MR x NR outputs in registers over all taps
 *
 * Y is read and written once per chunk.  See conv.h for the band, block.h for the two inner loops,
 * padding.h for the taps that a tile leaves out.
 */
#include "block.h"
#include "band.h"
#include "moments.h"
#include "padding.h"

INLINE intptr_t depth_of(const conv_forward_plan *p) {
    return p->in.h.taps * p->in.w.taps * p->in.chunk;
}

enum { FILTER = 128 };               /* taps of a filter that are packed by vectors in any order */

/* One input channel of a panel, the taps in the order of w_tap: out[t * step + lane]. */
INLINE void pack_filter(const conv_forward_plan *p, const real *w, intptr_t taps, intptr_t size,
                        intptr_t lanes, real *out, intptr_t step) {
    if (size > FILTER) {
        for (intptr_t t = 0; t < taps; t++)
            for (intptr_t k = 0; k < lanes; k++) out[t * step + k] = w[k * p->w_out + p->w_tap[t]];
        return;
    }
    real filter[FILTER * NR];            /* size rows, taps in the order of memory */
    pack_lanes(w, p->w_out, lanes, size, filter, NR);
    for (intptr_t t = 0; t < taps; t++)
        pack_row(filter + p->w_tap[t] * NR, 1, lanes, out + t * step);
}

/* One panel of weights: out[tap, channel][lane], zeros past the last output and channel. */
static void pack_panel(const conv_forward_plan *p, intptr_t task) {
    const intptr_t panel = task % p->panels, chunk = task / p->panels % p->in.chunks;
    const intptr_t group = task / p->panels / p->in.chunks;
    const intptr_t taps = p->in.h.taps * p->in.w.taps, c0 = chunk * p->in.chunk;
    const intptr_t lanes = least(NR, p->group_outputs - panel * NR);
    const intptr_t channels = least(p->in.chunk, p->in.group_channels - c0);
    const real *w = (const real *)p->weights + group * p->w_group + panel * NR * p->w_out +
                    c0 * p->w_in;
    real *out = (real *)p->packed + task * depth_of(p) * NR;
    if (lanes < NR || channels < p->in.chunk)
        memset(out, 0, (size_t)(depth_of(p) * NR) * sizeof(real));
    intptr_t whole = 1, size = 0;        /* all taps of a filter, in order?  up to the last one */
    for (intptr_t t = 0; t < taps; t++) {
        whole &= p->w_tap[t] == t;
        if (p->w_tap[t] >= size) size = p->w_tap[t] + 1;
    }
    if (taps == 1 && p->w_in == 1 && whole) {
        pack_lanes(w, p->w_out, lanes, channels, out, NR);
        return;
    }
    for (intptr_t c = 0; c < channels; c++, w += p->w_in, out += NR) {
        ask_for_filters(w, p->w_out, lanes, p->w_in);
        if (p->w_out == 1 && whole)
            pack_row(w, 1, lanes, out);
        else if (whole)
            pack_lanes(w, p->w_out, lanes, taps, out, p->in.chunk * NR);
        else
            pack_filter(p, w, taps, size, lanes, out, p->in.chunk * NR);
    }
}

static void pack_task(const void *plan, intptr_t task, void *scratch) {
    const conv_forward_plan *p = plan;
    const intptr_t size = depth_of(p) * NR;
    (void)scratch;
    pack_panel(p, task);
    if (p->skips_padding)
        finite_panels(p, depth_of(p))[task] = all_finite((real *)p->packed + task * size, size);
}

/* Tiles of MR outputs; when they are counted with those of TALL, these come first. */
INLINE intptr_t wide_tiles(const conv_forward_plan *p) { return p->in.band_pixels / MR + 1; }

static intptr_t scratch_bytes(const conv_forward_plan *p) {
    const intptr_t tiles = wide_tiles(p) + p->in.band_pixels / TALL + 1;
    return band_bytes(&p->in) + 2 * offsets_bytes(p->in.band_pixels) +
           rounded(p->skips_padding ? tiles * (intptr_t)sizeof(depth_runs) : 0);
}

/* Where the outputs of range r start in dst; their offsets from there in `at`. */
static real *output_offsets(const conv_output *o, const band_range *r, intptr_t *at) {
    const intptr_t row = o->width * o->channels;
    pixel_offsets(r, o->height * row, o->h_step * row, o->w_step * o->channels, at);
    return (real *)o->data + (r->n0 * o->height + o->h0 + r->i0 * o->h_step) * row +
           (o->w0 + r->j0 * o->w_step) * o->channels;
}

/* The sums of a task, still in the cache, times scale, plus bias and residual; then ReLU. */
static void scale_outputs(const conv_forward_plan *p, const block_args *sums, intptr_t first_out) {
    const real *scale = (const real *)p->scale + first_out;
    const real *bias = p->bias ? (const real *)p->bias + first_out : NULL;
    for (intptr_t i = 0; i < sums->m; i++) {
        real *y = (real *)sums->c + sums->c_at[i];
        const real *residual = (const real *)p->residual;
        if (residual) residual += y - (const real *)p->out.data;
        for (intptr_t k = 0; k < sums->n; k += VL) {
            const int lanes = (int)least(VL, sums->n - k), whole = lanes == VL;
            vreal value = load_c(y + k, whole, lanes) * load_c(scale + k, whole, lanes);
            if (bias) value += load_c(bias + k, whole, lanes);
            if (residual) value += load_c(residual + k, whole, lanes);
            store_c(y + k, p->relu ? relu(value) : value, whole, lanes);
        }
    }
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_forward_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t out_block = index % p->out_blocks, depth = depth_of(p);
    const intptr_t group = index / p->out_blocks % p->groups;
    const intptr_t band = index / p->out_blocks / p->groups; /* of all groups, one by one */
    band_range r = band_at(&p->in, band);
    char *room = scratch;
    intptr_t *pixel_at = (intptr_t *)(room + band_bytes(&p->in));
    intptr_t *out_at = (intptr_t *)((char *)pixel_at + offsets_bytes(p->in.band_pixels));
    depth_runs *wide = (depth_runs *)((char *)out_at + offsets_bytes(p->in.band_pixels));
    depth_runs *tall = wide + wide_tiles(p);
    const intptr_t k0 = out_block * p->out_block;            /* within the group */
    const intptr_t first_out = group * p->group_outputs + k0;
    r.order = p->skips_padding ? THERE_AND_BACK : BY_IMAGE;
    if (p->skips_padding) {
        runs_of_tiles(&p->in, &r, MR, wide);
        runs_of_tiles(&p->in, &r, TALL, tall);
    }
    block_args args = {.row_at = pixel_at,
                       .col_at = p->in.tap_at,
                       .c_at = out_at,
                       .c = output_offsets(&p->out, &r, out_at) + first_out,
                       .bias = p->bias && !p->scale ? (const real *)p->bias + first_out : NULL,
                       .m = operand_offsets(&p->in, &r, pixel_at),
                       .n = least(p->out_block, p->group_outputs - k0),
                       .depth = depth,
                       .panel_step = depth * NR};
    for (intptr_t chunk = 0; chunk < p->in.chunks; chunk++) {
        const intptr_t c0 = chunk * p->in.chunk;
        args.a = band_operand(&p->in, &r, group * p->in.group_channels + c0,
                              least(p->in.chunk, p->in.group_channels - c0), 0, scratch);
        args.b = (const real *)p->packed +
                 ((group * p->in.chunks + chunk) * p->panels + k0 / NR) * depth * NR;
        args.flags = (chunk ? BLOCK_ACCUMULATE : 0) |
                     (p->relu && !p->scale && chunk == p->in.chunks - 1 ? BLOCK_RELU : 0);
        if (p->skips_padding)
            all_panels(1, &args, wide, tall);
        else
            block(&args);
    }
    if (p->scale) scale_outputs(p, &args, first_out);
    if (p->moments) {
        const intptr_t K = p->groups * p->group_outputs;
        pixel_moments(args.c, out_at, args.m, args.n, p->moments + band * 3 * K + first_out, K);
        if (first_out == 0) p->moment_pixels[band] = args.m;
    }
    fp_leave(mode);
}

extern const conv_forward_kernels NAME(conv_forward_kernels);
const conv_forward_kernels NAME(conv_forward_kernels) = {
    .scratch = scratch_bytes, .pack = pack_task, .task = task};
