/* conv_depthwise.c: convolution where every output channel sees one input channel.
 *
 * Design: no matrix product here, so vectors run over channels, the innermost axis of memory.  The
 * bands, tables and phases are those of the other passes (conv.h).  Forward keeps 6 pixels in
 * registers over all taps, grad_w keeps 6 taps over all pixels of a band: the same loop with the two
 * tables exchanged.  With a channel multiplier m the copy of the band spreads or picks channels.
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

/* Forward: band, weights, two tables.  grad_w: band, gy, two tables. */
static intptr_t scratch_bytes(const conv_depthwise_plan *p) {
    const intptr_t other = p->gy ? pixels_bytes(p) : weights_bytes(p);
    return band_bytes(&p->in) + other + 2 * offsets_bytes(p->in.band_pixels);
}

/* out[tap][lane] of one pass, zeros past the last channel. */
static void pack_weights(const conv_depthwise_plan *p, intptr_t c0, intptr_t valid, intptr_t pass,
                         real *out) {
    const real *w = (const real *)p->weights + c0 * p->w_channel + pass * p->w_pass;
    for (intptr_t t = 0; t < taps_of(p); t++)
        for (intptr_t c = 0; c < p->in.chunk; c++)
            out[t * p->in.chunk + c] = c < valid ? w[c * p->w_channel + p->w_tap[t]] : 0;
}

/* acc[i] += sum over k of a[row_at[i] + col_at[k]] * b[k * b_step], vectors of channels. */
INLINE void sums(const int rows, const real *a, const intptr_t *row_at, const intptr_t *col_at,
                 const real *b, intptr_t b_step, intptr_t depth, vreal *acc) {
    const real *from[ROWS];
    UNROLL(6) for (int i = 0; i < rows; i++) from[i] = a + row_at[i];
    for (intptr_t k = 0; k < depth; k++, b += b_step) {
        const vreal s = vload(b);
        UNROLL(6) for (int i = 0; i < rows; i++) acc[i] += vload(from[i] + col_at[k]) * s;
    }
}

/* ROWS chains, or fewer at the end: a short row repeats its last one and drops the copies. */
static void some_sums(intptr_t rows, const real *a, const intptr_t *row_at, const intptr_t *col_at,
                      const real *b, intptr_t b_step, intptr_t depth, vreal *acc) {
    if (rows >= ROWS) {
        vreal local[ROWS];
        UNROLL(6) for (int i = 0; i < ROWS; i++) local[i] = acc[i];
        sums(ROWS, a, row_at, col_at, b, b_step, depth, local);
        UNROLL(6) for (int i = 0; i < ROWS; i++) acc[i] = local[i];
        return;
    }
    for (intptr_t i = 0; i < rows; i++)
        sums(1, a, row_at + i, col_at, b, b_step, depth, acc + i);
}

/* One vector of channels of up to ROWS outputs; `lanes` of them exist. */
static void store_outputs(real *y, const intptr_t *at, intptr_t rows, intptr_t lanes,
                          const vreal *acc) {
    for (intptr_t i = 0; i < rows; i++) {
        if (lanes >= VL) {
            vstore(y + at[i], acc[i]);
        } else {
            real row[VL];
            vstore(row, acc[i]);
            for (intptr_t c = 0; c < lanes; c++) y[at[i] + c] = row[c];
        }
    }
}

static void start_outputs(const conv_depthwise_plan *p, const real *y, const intptr_t *at,
                          intptr_t rows, intptr_t c, intptr_t lanes, intptr_t pass, vreal *acc) {
    for (intptr_t i = 0; i < rows; i++) {
        real row[VL] = {0};
        for (intptr_t l = 0; l < lanes && l < VL; l++)
            row[l] = pass ? y[at[i] + l] : p->bias ? ((const real *)p->bias)[c + l] : 0;
        acc[i] = vload(row);
    }
}

/* All outputs of a band, one pass. */
static void run_band(const conv_depthwise_plan *p, const real *a, const intptr_t *pixel_at,
                     const real *w, real *y, const intptr_t *y_at, intptr_t pixels, intptr_t c0,
                     intptr_t valid, intptr_t pass) {
    const int last = p->relu && pass == p->passes - 1;
    for (intptr_t c = 0; c < valid; c += VL)
        for (intptr_t q = 0; q < pixels; q += ROWS) {
            const intptr_t rows = least(ROWS, pixels - q);
            vreal acc[ROWS];
            start_outputs(p, y + c, y_at + q, rows, c0 + c, valid - c, pass, acc);
            some_sums(rows, a + c, pixel_at + q, p->in.tap_at, w + c, p->in.chunk, taps_of(p), acc);
            for (intptr_t i = 0; last && i < rows; i++)
                acc[i] = vselect(acc[i] < vset(0), vset(0), acc[i]);
            store_outputs(y + c, y_at + q, rows, valid - c, acc);
        }
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_depthwise_plan *p = plan;
    const unsigned mode = fp_enter();
    const conv_band *b = &p->in;
    const band_range r = band_at(b, index / b->chunks);
    const intptr_t c0 = index % b->chunks * b->chunk, valid = least(b->chunk, b->group_channels - c0);
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
    for (intptr_t pass = 0; pass < p->passes; pass++) {
        const real *a = band_operand(b, &r, c0, valid, pass, scratch);
        pack_weights(p, c0, valid, pass, w);
        run_band(p, a, pixel_at, w, y, y_at, pixels, c0, valid, pass);
    }
    fp_leave(mode);
}

/* gy of range r, `chunk` channels from c0 on: [pixel][chunk], zeros past the last channel. */
static void copy_gy(const conv_depthwise_plan *p, const band_range *r, intptr_t c0, intptr_t valid,
                    intptr_t pixels, intptr_t *at, real *out) {
    const intptr_t K = p->in.group_channels, P = p->in.h.count, Q = p->in.w.count;
    const real *gy = (const real *)p->gy + ((r->n0 * P + r->i0) * Q + r->j0) * K + c0;
    pixel_offsets(r, P * Q * K, Q * K, K, at);
    for (intptr_t q = 0; q < pixels; q++)
        for (intptr_t c = 0; c < p->in.chunk; c++)
            out[q * p->in.chunk + c] = c < valid ? gy[at[q] + c] : 0;
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
    real *total = (real *)p->partial + index * taps_of(p) * b->chunk;
    memset(total, 0, (size_t)(taps_of(p) * b->chunk) * sizeof(real));
    for (intptr_t band = bands * part / p->parts; band < bands * (part + 1) / p->parts; band++) {
        const band_range r = band_at(b, band);
        const intptr_t pixels = operand_offsets(b, &r, pixel_at);
        const real *a = band_operand(b, &r, c0, valid, 0, scratch);
        copy_gy(p, &r, c0, valid, pixels, gy_at, gy);
        for (intptr_t c = 0; c < valid; c += VL)
            for (intptr_t t = 0; t < taps_of(p); t += ROWS) {
                const intptr_t rows = least(ROWS, taps_of(p) - t);
                real *sum = total + t * b->chunk + c;
                vreal acc[ROWS];
                for (intptr_t i = 0; i < rows; i++) acc[i] = vload(sum + i * b->chunk);
                some_sums(rows, a + c, b->tap_at + t, pixel_at, gy + c, b->chunk, pixels, acc);
                for (intptr_t i = 0; i < rows; i++) vstore(sum + i * b->chunk, acc[i]);
            }
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
