/* conv_images_grad_w.c: the weight gradient of narrow layers, vectors running over images.
 *
 * Design: a task sums its share of the bands (images_sums.h has the tile); merge_task adds up the
 * parts, then the lanes.
 */
#include "images_sums.h"

static intptr_t scratch_bytes(const conv_grad_w_plan *p) {
    const conv_band *b = &p->in;
    return lanes_bytes(b->group_channels * plane_of(b)) + tables_bytes(b, p->group_outputs) +
           lanes_bytes(b->band_pixels * p->group_outputs);
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const conv_band *b = &p->in;
    const unsigned mode = fp_enter();
    const intptr_t part = index % p->parts, group = index / p->parts, bands = band_count(b);
    real *band = scratch;
    real *gy = (real *)((char *)band + lanes_bytes(b->group_channels * plane_of(b)));
    intptr_t *pixel_at =
        (intptr_t *)((char *)gy + lanes_bytes(b->band_pixels * p->group_outputs));
    intptr_t *row_at = (intptr_t *)((char *)pixel_at + offsets_bytes(b->band_pixels));
    sums_args args = {.band = band,
                      .gy = gy,
                      .tap_at = b->tap_at,
                      .pixel_at = pixel_at,
                      .depth = depth_of(b),
                      .sums = (real *)p->partial + index * depth_of(b) * p->out_pitch,
                      .first = 1};
    for (intptr_t i = bands * part / p->parts; i < bands * (part + 1) / p->parts; i++) {
        const band_range r = band_at(b, i);
        args.pixels = band_pixels(b, &r, pixel_at);
        band_to_lanes(b, &r, group * b->group_channels, row_at, band);
        gy_to_lanes(p, &r, group * p->group_outputs, row_at, gy);
        all_sums(p->group_outputs, args);
        args.first = 0;
    }
    fp_leave(mode);
}

/* MERGED input channels of gW, of all outputs of a group. */
static void merge_task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const intptr_t runs = (p->in.group_channels + MERGED - 1) / MERGED, group = index / runs;
    const intptr_t taps = p->in.h.taps * p->in.w.taps, depth = depth_of(&p->in);
    const intptr_t size = depth * p->out_pitch, first = index % runs * MERGED * taps;
    const intptr_t last = least(first + MERGED * taps, depth);
    (void)scratch;
    const unsigned mode = fp_enter();
    for (intptr_t k = 0; k < p->group_outputs; k++)
        for (intptr_t t = first; t < last; t += VL)
            add_lanes((const real *)p->partial + group * p->parts * size + (k * depth + t) * VL,
                      p->parts, size, least(VL, last - t),
                      (real *)p->grad_w + (group * p->group_outputs + k) * depth + t);
    fp_leave(mode);
}

extern const conv_grad_w_kernels NAME(conv_images_grad_w_kernels);
const conv_grad_w_kernels NAME(conv_images_grad_w_kernels) = {
    .scratch = scratch_bytes, .task = task, .merge = merge_task};
