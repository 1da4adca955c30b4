/* conv_lines.c: the convolution of narrow layers by Winograd's algorithm along lines (lines.h).
 *
 * Design: a task turns a band to lanes, then to points; at each point the kernels of
 * images_outputs.h multiply; sums are turned back to outputs, with bias and ReLU, and stored.  The
 * gradient of x is the adjoint, step by step: gy to points, products, and from each tile eight
 * columns of gx, which are added up along a line.
 */
#include "images_outputs.h"
#include "lines.h"

/* U as [group][point][output][r, channel]. */
static void pack_task(const void *plan, intptr_t task, void *scratch) {
    const conv_forward_plan *p = plan;
    const intptr_t group = task / p->panels, k0 = task % p->panels * PANEL;
    const intptr_t C = p->in.group_channels, R = p->in.h.taps, K = p->group_outputs;
    real *packed = (real *)p->packed + group * LINE_POINTS * K * R * C;
    (void)scratch;
    for (intptr_t k = k0; k < least(k0 + PANEL, K); k++)
        for (intptr_t t = 0; t < R * C; t++) {
            const real *from = (const real *)p->weights + group * p->w_group + k * p->w_out +
                               t % C * p->w_in;
            real *out = packed + k * R * C + t, g[LINE_TAPS];
            for (intptr_t s = 0; s < LINE_TAPS; s++)
                g[s] = from[p->w_tap[t / C * LINE_TAPS + s]];
            out[0] = g[0] * LINE_FACTOR[0];
            for (int i = 1; i < 4; i++) {                /* x = 1/2, 1, 2 */
                const real x = (real)(1 << i) / 4, square = x * x;
                const real even = (g[0] + square * (g[2] + square * g[4])) * LINE_FACTOR[2 * i];
                const real odd = x * (g[1] + square * g[3]) * LINE_FACTOR[2 * i];
                out[(2 * i - 1) * K * R * C] = even + odd;
                out[2 * i * K * R * C] = even - odd;
            }
            out[7 * K * R * C] = g[4];
        }
}

/* What a task keeps, one after the other. */
typedef struct {
    real *band, *points, *sums, *out;
    intptr_t *pixel_at, *row_at;
    void *met;                       /* met_taps */
    intptr_t bytes;
} rooms;

static rooms rooms_in(const conv_forward_plan *p, void *scratch) {
    const conv_band *b = &p->in, points = band_of_points(b);
    intptr_t at = (intptr_t)scratch;
    rooms m;
    m.band = (real *)at;
    m.points = (real *)(at += lanes_bytes(b->group_channels * plane_of(b)));
    m.sums = (real *)(at += lanes_bytes(LINE_POINTS * b->group_channels * plane_of(&points)));
    m.out = (real *)(at += lanes_bytes(LINE_POINTS * points.band_pixels * p->group_outputs));
    m.pixel_at = (intptr_t *)(at += lanes_bytes(b->h.block * p->out.width * p->group_outputs));
    m.row_at = (intptr_t *)(at += offsets_bytes(points.band_pixels));
    m.met = (void *)(at += offsets_bytes(b->w.slots * b->group_channels));
    m.bytes = at + met_taps_bytes(&points) - (intptr_t)scratch;
    return m;
}

static intptr_t scratch_bytes(const conv_forward_plan *p) {
    return rooms_in(p, NULL).bytes;
}

/* Sums at eight points to outputs [pixel][output][image]. */
static void points_to_outputs(const conv_forward_plan *p, const band_range *r, const real *bias,
                              const real *sums, intptr_t step, real *out) {
    const intptr_t K = p->group_outputs, tiles = tiles_of(r->cols);
    for (intptr_t tile = 0; tile < r->rows * tiles; tile++) {
        const intptr_t j0 = tile % tiles * LINE_TILE, columns = least(LINE_TILE, r->cols - j0);
        real *to = out + (tile / tiles * r->cols + j0) * K * VL;
        for (intptr_t k = 0; k < K; k++, sums += VL, to += VL) {
            vreal m[LINE_POINTS], y[LINE_TILE];
            UNROLL(8) for (int i = 0; i < LINE_POINTS; i++) m[i] = vload(sums + i * step);
            line_outputs(LINE_TILE, m, y);
            for (intptr_t j = 0; j < columns; j++) {
                const vreal value = y[j] + vset(bias ? bias[k] : 0);
                vstore(to + j * K * VL,
                       p->relu ? vselect(value < vset(0), vset(0), value) : value);
            }
        }
    }
}

/* M of a range of points: the products at all points of V, with the padding's rows left out. */
static void multiply(const conv_forward_plan *p, const conv_band *points, const band_range *tiles,
                     intptr_t group, const rooms *m) {
    const intptr_t K = p->group_outputs, depth = depth_of(points);
    const met_taps met = met_taps_in(points, tiles, m->met);
    conv_forward_plan at_point = *p;
    at_point.in = *points;
    band_pixels(points, tiles, m->pixel_at);
    for (intptr_t point = 0; point < LINE_POINTS; point++)
        all_outputs(&at_point, tiles, &met,
                    (outputs_args){.band = m->points + point * point_step(points),
                                   .weights = (const real *)p->packed +
                                              (group * LINE_POINTS + point) * K * depth,
                                   .tap_at = p->in.tap_at,
                                   .pixel_at = m->pixel_at,
                                   .out = m->sums + point * points->band_pixels * K * VL,
                                   .depth = depth,
                                   .outputs = K});
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_forward_plan *p = plan;
    const conv_band *b = &p->in, points = band_of_points(b);
    const unsigned mode = fp_enter();
    const intptr_t group = index / band_count(b), K = p->group_outputs, first_out = group * K;
    const band_range r = band_at(b, index % band_count(b)), tiles = range_of_points(&r);
    const rooms m = rooms_in(p, scratch);
    band_to_lanes(b, &r, group * b->group_channels, m.row_at, m.band);
    band_to_points(b, &points, &r, m.band, m.points);
    multiply(p, &points, &tiles, group, &m);
    points_to_outputs(p, &r, p->bias ? (const real *)p->bias + first_out : NULL, m.sums,
                      points.band_pixels * K * VL, m.out);
    store_outputs(p, &r, first_out, m.out);
    fp_leave(mode);
}

/* A gy of a band in lanes. */
static void band_to_gradients(const conv_band *b, const conv_band *points, const band_range *r,
                              const real *band, real *out) {
    const intptr_t rows = slots_used(&b->h, r->rows), step = point_step(points);
    for (intptr_t c = 0; c < b->group_channels; c++)
        for (intptr_t slot = 0; slot < rows; slot++)
            for (intptr_t t = 0; t < points->w.slots; t++)
                line_gradients(
                    band + (c * plane_of(b) + slot * b->w.slots + t * LINE_TILE) * VL, LINE_TILE,
                    out + (c * plane_of(points) + slot * points->w.slots + t) * VL, step);
}

/* One line of gx, of one channel: the eight columns of a tile overlap with those of the next. */
INLINE void line_of_gx(const real *sums, intptr_t step, intptr_t tiles, intptr_t channels,
                       intptr_t left, intptr_t width, real *out) {
    vreal m[LINE_POINTS], d[LINE_POINTS], carry[LINE_TILE];
    UNROLL(4) for (int j = 0; j < LINE_TILE; j++) carry[j] = vset(0);
    for (intptr_t t = 0; t <= tiles; t++, sums += channels * VL) {
        const intptr_t column = t * LINE_TILE - left;
        if (t < tiles) {
            UNROLL(8) for (int i = 0; i < LINE_POINTS; i++) m[i] = vload(sums + i * step);
            line_inputs_gradient(m, d);
        }
        UNROLL(4) for (int j = 0; j < LINE_TILE; j++) {
            if (column + j >= 0 && column + j < width)
                vstore(out + (column + j) * channels * VL, t < tiles ? carry[j] + d[j] : carry[j]);
            carry[j] = d[LINE_TILE + j];
        }
    }
}

/* gx of a band.  The tap of column s is left - s: the first one says where a tile starts. */
static void grad_x_task(const void *plan, intptr_t index, void *scratch) {
    const conv_forward_plan *p = plan;
    const conv_band *b = &p->in, points = band_of_points(b);
    const unsigned mode = fp_enter();
    const intptr_t group = index / band_count(b), C = p->group_outputs, width = p->out.width;
    const band_range r = band_at(b, index % band_count(b)), tiles = range_of_points(&r);
    band_range lines = r;
    const rooms m = rooms_in(p, scratch);
    lines.cols = width;
    band_to_lanes(b, &r, group * b->group_channels, m.row_at, m.band);
    band_to_gradients(b, &points, &r, m.band, m.points);
    multiply(p, &points, &tiles, group, &m);
    for (intptr_t i = 0; i < r.rows; i++)
        for (intptr_t c = 0; c < C; c++)
            line_of_gx(m.sums + (i * tiles.cols * C + c) * VL, points.band_pixels * C * VL,
                       tiles.cols, C, b->w.tap[0], width, m.out + (i * width * C + c) * VL);
    store_outputs(p, &lines, group * C, m.out);
    fp_leave(mode);
}

extern const conv_forward_kernels NAME(conv_lines_kernels);
const conv_forward_kernels NAME(conv_lines_kernels) = {
    .scratch = scratch_bytes, .pack = pack_task, .task = task};

extern const conv_forward_kernels NAME(conv_lines_grad_x_kernels);
const conv_forward_kernels NAME(conv_lines_grad_x_kernels) = {
    .scratch = scratch_bytes, .pack = pack_task, .task = grad_x_task};
