/* conv_lines_grad_w.c: the weight gradient of narrow layers by Winograd's algorithm along lines.
 *
 * Design: F(5, 4) of lines.h.  Inputs and gy of a band are turned to points, and summed there over
 * all bands of a task (images_sums.h); merge_task adds up parts and lanes, and turns the sums of
 * all points to the five taps of a line: once, whatever the number of images.
 */
#include "images_sums.h"
#include "lines.h"

/* What a task keeps, one after the other. */
typedef struct {
    real *band, *points, *gy, *gy_points;
    intptr_t *pixel_at, *row_at;
    intptr_t bytes;
} rooms;

static rooms rooms_in(const conv_grad_w_plan *p, void *scratch) {
    const conv_band *b = &p->in, points = band_of_points(b);
    intptr_t at = (intptr_t)scratch;
    rooms m;
    m.band = (real *)at;
    m.points = (real *)(at += lanes_bytes(b->group_channels * plane_of(b)));
    m.gy = (real *)(at += lanes_bytes(LINE_POINTS * b->group_channels * plane_of(&points)));
    m.gy_points = (real *)(at += lanes_bytes(b->band_pixels * p->group_outputs));
    m.pixel_at = (intptr_t *)(at += lanes_bytes(LINE_POINTS * points.band_pixels *
                                                p->group_outputs));
    m.row_at = (intptr_t *)(at += offsets_bytes(points.band_pixels));
    m.bytes = at + tables_bytes(b, p->group_outputs) - (intptr_t)scratch;
    return m;
}

static intptr_t scratch_bytes(const conv_grad_w_plan *p) {
    return rooms_in(p, NULL).bytes;
}

/* gy as planes[output][pixel][image] to [point][output][tile][image] */
static void gy_to_points(intptr_t outputs, const band_range *r, const real *gy, real *out) {
    const intptr_t tiles = tiles_of(r->cols), step = outputs * r->rows * tiles * VL;
    for (intptr_t line = 0; line < outputs * r->rows; line++, gy += r->cols * VL)
        for (intptr_t j = 0; j < r->cols; j += LINE_TILE, out += VL)
            line_gradients(gy + j * VL, least(LINE_TILE, r->cols - j), out, step);
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const conv_band *b = &p->in, points = band_of_points(b);
    const unsigned mode = fp_enter();
    const intptr_t part = index % p->parts, group = index / p->parts, bands = band_count(b);
    const intptr_t K = p->group_outputs, depth = depth_of(&points);
    real *sums = (real *)p->partial + index * LINE_POINTS * depth * p->out_pitch;
    const rooms m = rooms_in(p, scratch);
    sums_args args = {.tap_at = b->tap_at, .pixel_at = m.pixel_at, .depth = depth, .first = 1};
    for (intptr_t i = bands * part / p->parts; i < bands * (part + 1) / p->parts; i++) {
        const band_range r = band_at(b, i), tiles = range_of_points(&r);
        args.pixels = band_pixels(&points, &tiles, m.pixel_at);
        band_to_lanes(b, &r, group * b->group_channels, m.row_at, m.band);
        band_to_points(b, &points, &r, m.band, m.points);
        gy_to_lanes(p, &r, group * K, m.row_at, m.gy);
        gy_to_points(K, &r, m.gy, m.gy_points);
        for (intptr_t point = 0; point < LINE_POINTS; point++) {
            args.band = m.points + point * point_step(&points);
            args.gy = m.gy_points + point * K * args.pixels * VL;
            args.sums = sums + point * depth * p->out_pitch;
            all_sums(K, args);
        }
        args.first = 0;
    }
    fp_leave(mode);
}

/* The five taps of n <= VL lines of output k, from line t = (c, r) of a group on. */
static void merge_lines(const conv_grad_w_plan *p, intptr_t group, intptr_t k, intptr_t t,
                        intptr_t n) {
    const intptr_t depth = p->in.h.taps * p->in.group_channels, K = p->group_outputs;
    const intptr_t size = depth * p->out_pitch;          /* of the sums at one point */
    const real *sums = (const real *)p->partial + group * p->parts * LINE_POINTS * size;
    real *out = (real *)p->grad_w + ((group * K + k) * depth + t) * LINE_TAPS, taps[VL];
    vreal z[LINE_POINTS], y[LINE_TAPS];
    for (int i = 0; i < LINE_POINTS; i++) {
        for (intptr_t e = n; e < VL; e++) taps[e] = 0;
        add_lanes(sums + i * size + (k * depth + t) * VL, p->parts, LINE_POINTS * size, n, taps);
        z[i] = vload(taps) * vset(LINE_FACTOR[i]);
    }
    line_outputs(LINE_TAPS, z, y);
    for (int s = 0; s < LINE_TAPS; s++) {
        vstore(taps, y[s]);
        for (intptr_t e = 0; e < n; e++) out[e * LINE_TAPS + s] = taps[e];
    }
}

/* gW of the output channel at `index` of all groups. */
static void merge_task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const intptr_t depth = p->in.h.taps * p->in.group_channels, K = p->group_outputs;
    (void)scratch;
    const unsigned mode = fp_enter();
    for (intptr_t t = 0; t < depth; t += VL)
        merge_lines(p, index / K, index % K, t, least(VL, depth - t));
    fp_leave(mode);
}

extern const conv_grad_w_kernels NAME(conv_lines_grad_w_kernels);
const conv_grad_w_kernels NAME(conv_lines_grad_w_kernels) = {
    .scratch = scratch_bytes, .task = task, .merge = merge_task};
