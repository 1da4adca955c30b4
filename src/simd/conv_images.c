/* conv_images.c: the convolution of narrow layers, vectors running over images (see images.h).
 *
 * Design: one task is one band of VL images, all outputs of it; images_outputs.h has the tile.
 */
#include "images_outputs.h"

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
           met_taps_bytes(&p->in);
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
    char *room = (char *)pixel_at + offsets_bytes(b->band_pixels);
    const met_taps met = met_taps_in(b, &r, room);
    intptr_t *row_at = (intptr_t *)(room + met_taps_bytes(b));
    band_pixels(b, &r, pixel_at);
    band_to_lanes(b, &r, group * b->group_channels, row_at, band);
    all_outputs(p, &r, &met,
                (outputs_args){.band = band,
                               .weights = (const real *)p->packed + first_out * depth_of(b),
                               .bias = p->bias ? (const real *)p->bias + first_out : NULL,
                               .tap_at = b->tap_at,
                               .pixel_at = pixel_at,
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
