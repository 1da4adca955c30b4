/* conv_depthwise.c: convolution where every output channel sees one input channel.
 *
 * Design: no matrix product here, so vectors run over channels, the innermost axis of memory.  The
 * bands, tables and phases are those of the other passes (conv.h).  Forward keeps 6 pixels in
 * registers over all taps, grad_w keeps taps over all pixels of a band: the same loop, `sums`, with
 * the two tables exchanged.  With a channel multiplier m the copy of the band spreads or picks
 * channels.
 * Two loads per multiply-add: memory is the limit, not arithmetic.
 */
#include "vec.h"
#include "band.h"

#define ROWS 6

INLINE intptr_t taps_of(const conv_depthwise_plan *p) { return p->in.h.taps * p->in.w.taps; }

INLINE intptr_t weights_bytes(const conv_depthwise_plan *p) {
    return rounded(taps_of(p) * p->in.chunk * (intptr_t)sizeof(real));
}

INLINE intptr_t pixels_bytes(const conv_depthwise_plan *p) {
    return rounded(p->in.band_pixels * p->in.chunk * (intptr_t)sizeof(real));
}

/* Forward: band, weights, two tables.  grad_w: band, gy, three tables. */
static intptr_t scratch_bytes(const conv_depthwise_plan *p) {
    const intptr_t other = p->gy ? pixels_bytes(p) : weights_bytes(p);
    return band_bytes(&p->in) + other + 2 * offsets_bytes(p->in.band_pixels) +
           offsets_bytes(taps_of(p));
}

/* out[tap][lane] of one pass, zeros past the last channel. */
static void pack_weights(const conv_depthwise_plan *p, intptr_t c0, intptr_t valid, intptr_t pass,
                         real *out) {
    const real *w = (const real *)p->weights + c0 * p->w_channel + pass * p->w_pass;
    for (intptr_t t = 0; t < taps_of(p); t++)
        for (intptr_t c = 0; c < p->in.chunk; c++)
            out[t * p->in.chunk + c] = c < valid ? w[c * p->w_channel + p->w_tap[t]] : 0;
}

/* One vector of channels: what both passes share.  acc[i] = the sum over k of
 * a[row_at[i] + col_at[k]] * b[k * b_step]; c_at says where acc[i] is kept. */
typedef struct {
    const real *a, *b;
    real *c;
    const intptr_t *row_at, *col_at, *c_at;
    intptr_t b_step, depth, lanes;   /* lanes: channels that exist in c */
    vreal start;                     /* what sums start from, unless they accumulate */
    int accumulate, relu;
} lane_args;

INLINE vreal load_lanes(const real *p, intptr_t lanes) {
    if (lanes >= VL) return vload(p);
    real row[VL] = {0};
    for (intptr_t c = 0; c < lanes; c++) row[c] = p[c];
    return vload(row);
}

INLINE void store_lanes(real *p, vreal v, intptr_t lanes) {
    if (lanes >= VL) {
        vstore(p, v);
        return;
    }
    real row[VL];
    vstore(row, v);
    for (intptr_t c = 0; c < lanes; c++) p[c] = row[c];
}

INLINE void sums(const int rows, const lane_args *t) {
    vreal acc[ROWS];
    const real *a[ROWS], *b = t->b;
    UNROLL(6) for (int i = 0; i < rows; i++) {
        a[i] = t->a + t->row_at[i];
        acc[i] = t->accumulate ? load_lanes(t->c + t->c_at[i], t->lanes) : t->start;
    }
    for (intptr_t k = 0; k < t->depth; k++, b += t->b_step) {
        const vreal s = vload(b);
        UNROLL(6) for (int i = 0; i < rows; i++) acc[i] += vload(a[i] + t->col_at[k]) * s;
    }
    UNROLL(6) for (int i = 0; i < rows; i++) {
        if (t->relu) acc[i] = vselect(acc[i] < vset(0), vset(0), acc[i]);
        store_lanes(t->c + t->c_at[i], acc[i], t->lanes);
    }
}

/* All m rows of one vector of channels. */
static void run_lanes(intptr_t m, lane_args t) {
    for (; m >= ROWS; m -= ROWS, t.row_at += ROWS, t.c_at += ROWS) sums(ROWS, &t);
    for (; m >= 3; m -= 3, t.row_at += 3, t.c_at += 3) sums(3, &t);
    for (; m > 0; m--, t.row_at++, t.c_at++) sums(1, &t);
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_depthwise_plan *p = plan;
    const unsigned mode = fp_enter();
    const conv_band *b = &p->in;
    const band_range r = band_at(b, index / b->chunks);
    const intptr_t c0 = index % b->chunks * b->chunk;
    const intptr_t valid = least(b->chunk, b->group_channels - c0);
    const intptr_t row = p->out.width * p->out.channels;
    real *w = (real *)((char *)scratch + band_bytes(b));
    intptr_t *pixel_at = (intptr_t *)((char *)w + weights_bytes(p));
    intptr_t *y_at = (intptr_t *)((char *)pixel_at + offsets_bytes(b->band_pixels));
    const intptr_t pixels = operand_offsets(b, &r, pixel_at);
    real *y = (real *)p->out.data + c0 +
              (r.n0 * p->out.height + p->out.h0 + r.i0 * p->out.h_step) * row +
              (p->out.w0 + r.j0 * p->out.w_step) * p->out.channels;
    pixel_offsets(&r, p->out.height * row, p->out.h_step * row, p->out.w_step * p->out.channels,
                  y_at);
    lane_args t = {.row_at = pixel_at,
                   .col_at = b->tap_at,
                   .c_at = y_at,
                   .b_step = b->chunk,
                   .depth = taps_of(p)};
    for (intptr_t pass = 0; pass < p->passes; pass++) {
        const real *a = band_operand(b, &r, c0, valid, pass, scratch);
        pack_weights(p, c0, valid, pass, w);
        t.accumulate = pass > 0;
        t.relu = p->relu && pass == p->passes - 1;
        for (intptr_t c = 0; c < valid; c += VL) {
            t.a = a + c, t.b = w + c, t.c = y + c, t.lanes = valid - c;
            t.start = p->bias ? load_lanes((const real *)p->bias + c0 + c, t.lanes) : vset(0);
            run_lanes(pixels, t);
        }
    }
    fp_leave(mode);
}

/* gy of range r, `chunk` channels from c0 on: [pixel][chunk], zeros past the last channel. */
static void copy_gy(const conv_depthwise_plan *p, const band_range *r, intptr_t c0, intptr_t valid,
                    intptr_t pixels, intptr_t *at, real *out) {
    const intptr_t K = p->in.group_channels, P = p->in.h.count, Q = p->in.w.count;
    const real *gy = (const real *)p->gy + ((r->n0 * P + r->i0) * Q + r->j0) * K + c0;
    pixel_offsets(r, P * Q * K, Q * K, K, at);
    for (intptr_t q = 0; q < pixels; q++, out += p->in.chunk)
        for (intptr_t c = 0; c < valid; c += VL)
            vstore(out + c, load_lanes(gy + at[q] + c, valid - c));
}

static void grad_w_task(const void *plan, intptr_t index, void *scratch) {
    const conv_depthwise_plan *p = plan;
    const unsigned mode = fp_enter();
    const conv_band *b = &p->in;
    const intptr_t part = index % p->parts, c0 = index / p->parts * b->chunk;
    const intptr_t valid = least(b->chunk, b->group_channels - c0), bands = band_count(b);
    real *gy = (real *)((char *)scratch + band_bytes(b));
    intptr_t *pixel_at = (intptr_t *)((char *)gy + pixels_bytes(p));
    intptr_t *gy_at = (intptr_t *)((char *)pixel_at + offsets_bytes(b->band_pixels));
    intptr_t *sum_at = (intptr_t *)((char *)gy_at + offsets_bytes(b->band_pixels));
    lane_args t = {.row_at = b->tap_at,
                   .col_at = pixel_at,
                   .c_at = sum_at,
                   .b_step = b->chunk,
                   .lanes = VL,
                   .start = vset(0)};
    for (intptr_t i = 0; i < taps_of(p); i++) sum_at[i] = i * b->chunk;
    for (intptr_t band = bands * part / p->parts; band < bands * (part + 1) / p->parts; band++) {
        const band_range r = band_at(b, band);
        const real *a = band_operand(b, &r, c0, valid, 0, scratch);
        t.depth = operand_offsets(b, &r, pixel_at);
        copy_gy(p, &r, c0, valid, t.depth, gy_at, gy);
        for (intptr_t c = 0; c < valid; c += VL) {
            t.a = a + c, t.b = gy + c;
            t.c = (real *)p->partial + index * taps_of(p) * b->chunk + c;
            run_lanes(taps_of(p), t);
        }
        t.accumulate = 1;
    }
    fp_leave(mode);
}

/* The parts of one chunk of channels, added in order: grad_w[channel][tap]. */
static void merge_task(const void *plan, intptr_t index, void *scratch) {
    const conv_depthwise_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t taps = taps_of(p), c0 = index * p->in.chunk, size = taps * p->in.chunk;
    const real *parts = (const real *)p->partial + index * p->parts * size;
    (void)scratch;
    for (intptr_t c = 0; c < least(p->in.chunk, p->in.group_channels - c0); c++)
        for (intptr_t t = 0; t < taps; t++) {
            real sum = parts[t * p->in.chunk + c];
            for (intptr_t s = 1; s < p->parts; s++) sum += parts[s * size + t * p->in.chunk + c];
            ((real *)p->grad_w)[(c0 + c) * taps + t] = sum;
        }
    fp_leave(mode);
}

extern const conv_depthwise_kernels NAME(conv_depthwise_kernels);
const conv_depthwise_kernels NAME(conv_depthwise_kernels) = {.lanes = VL,
                                                             .scratch = scratch_bytes,
                                                             .task = task,
                                                             .grad_w = grad_w_task,
                                                             .merge = merge_task};
