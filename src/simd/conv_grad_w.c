/* conv_grad_w.c: gW = A^T gY, the weight gradient, on the same bands as the forward pass.
 *
 * Design: the sum runs over pixels, so the roles change: a tile holds MR taps x NR output channels
 * in registers over all pixels of a band, and the two tables of offsets change places.
 *
 *     for band of this part's share          x: chunk channels copied, L2; gy: panels of NR, L2
 *         for panel of NR output channels    one panel of gy stays in L1: pixels x NR
 *             for tile of MR (r, s, c)       MR x NR sums in registers over all pixels
 *
 * A task owns (chunk of input channels) x (block of output channels) x (part of the bands).  Parts
 * exist only where there are too few blocks to share out; each sums into memory of its own, and
 * merge_task adds them in order and writes gW in its own layout (K, C, R, S).  Outputs whose
 * windows have the taps of a tile in the padding are left out where gy is finite (padding.h).
 */
#include "block.h"
#include "band.h"
#include "padding.h"

INLINE intptr_t taps_of(const conv_grad_w_plan *p) {
    return p->in.h.taps * p->in.w.taps * p->in.chunk;
}

static intptr_t gy_bytes(const conv_grad_w_plan *p) {
    return rounded(p->in.band_pixels * p->out_pitch * (intptr_t)sizeof(real));
}

/* Tiles of MR taps; when they are counted with those of TALL, these come first. */
INLINE intptr_t wide_tiles(const conv_grad_w_plan *p) { return taps_of(p) / MR + 1; }

static intptr_t scratch_bytes(const conv_grad_w_plan *p) {
    const intptr_t tiles = wide_tiles(p) + taps_of(p) / TALL + 1;
    return band_bytes(&p->in) + gy_bytes(p) + 2 * offsets_bytes(p->in.band_pixels) +
           offsets_bytes(taps_of(p)) +
           rounded(p->skips_padding ? tiles * (intptr_t)sizeof(depth_runs) : 0);
}

/* gy of range r, n output channels from k0 on, as panels of B: [panel][pixel][NR]. */
static const real *gy_panels(const conv_grad_w_plan *p, const band_range *r, intptr_t k0,
                             intptr_t n, intptr_t pixels, intptr_t *at, real *room) {
    const intptr_t K = p->groups * p->group_outputs, Q = p->in.w.count, P = p->in.h.count;
    const real *gy = (const real *)p->gy + ((r->n0 * P + r->i0) * Q + r->j0) * K + k0;
    if (K == NR && r->order == BY_IMAGE && p->in.w.blocks == 1 &&
        (r->images == 1 || p->in.h.blocks == 1))
        return gy;
    pixel_offsets(r, P * Q * K, Q * K, K, at);
    for (intptr_t q = 0; q < pixels; q++) {
        const real *src = gy + at[q];
        real *out = room + q * NR;
        intptr_t left = n;
        for (; left >= NR; left -= NR, src += NR, out += pixels * NR) {
            UNROLL(2) for (int j = 0; j < NR; j += LINE) PREFETCH(src + j + AHEAD * K);
            UNROLL(2) for (int j = 0; j < NR; j += VL) vstore(out + j, vload(src + j));
        }
        if (left) pack_row(src, 1, left, out);
    }
    return room;
}

/* Whether the panels of n output channels of gy are finite; of the last one, the lanes written. */
static int finite_panels_of(const real *gy, intptr_t n, intptr_t pixels) {
    int finite = 1;
    for (; n > VL; n -= NR, gy += pixels * NR) finite &= all_finite(gy, pixels * NR);
    for (intptr_t q = 0; n > 0 && q < pixels; q++) finite &= all_finite(gy + q * NR, n);
    return finite;
}

/* The runs of both kinds of tiles in `runs`, if range r is not placed as the last one was. */
static void set_runs(const conv_grad_w_plan *p, const band_range *r, band_range *last,
                     depth_runs *runs) {
    if (r->images != last->images || r->i0 != last->i0 || r->j0 != last->j0) {
        runs_of_tap_tiles(&p->in, r, MR, runs);
        runs_of_tap_tiles(&p->in, r, TALL, runs + wide_tiles(p));
    }
    *last = *r;
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t part = index / p->groups % p->parts;  /* of all groups, one by one */
    const intptr_t owner = index % p->groups * p->in.chunks * p->out_blocks +
                           index / p->groups / p->parts;
    const intptr_t k0 = owner % p->out_blocks * p->out_block;
    const intptr_t chunk = owner / p->out_blocks % p->in.chunks, c0 = chunk * p->in.chunk;
    const intptr_t group = owner / p->out_blocks / p->in.chunks;
    const intptr_t n = least(p->out_block, p->group_outputs - k0), taps = taps_of(p);
    real *x_room = scratch, *gy_room = (real *)((char *)scratch + band_bytes(&p->in));
    intptr_t *pixel_at = (intptr_t *)((char *)gy_room + gy_bytes(p));
    intptr_t *gy_at = (intptr_t *)((char *)pixel_at + offsets_bytes(p->in.band_pixels));
    intptr_t *sum_at = (intptr_t *)((char *)gy_at + offsets_bytes(p->in.band_pixels));
    depth_runs *runs = (depth_runs *)((char *)sum_at + offsets_bytes(taps));
    band_range last = {.images = 0};
    for (intptr_t t = 0; t < taps; t++) sum_at[t] = t * p->out_pitch;
    block_args args = {.row_at = p->in.tap_at,
                       .col_at = pixel_at,
                       .c_at = sum_at,
                       .c = (real *)p->partial + (owner * p->parts + part) * taps * p->out_pitch,
                       .m = taps,
                       .n = (n + VL - 1) / VL * VL};
    const intptr_t bands = band_count(&p->in), end = bands * (part + 1) / p->parts;
    const intptr_t first_c = group * p->in.group_channels + c0, K = p->groups * p->group_outputs;
    const intptr_t valid = least(p->in.chunk, p->in.group_channels - c0);
    const intptr_t first_k = group * p->group_outputs + k0;
    for (intptr_t band = bands * part / p->parts; band < end; band++) {
        const intptr_t next = band + 1 < end ? band + 1 : bands;
        band_range r = band_at(&p->in, band);
        if (p->skips_padding) {
            r.order = BY_PLACE;
            set_runs(p, &r, &last, runs);
        }
        args.depth = operand_offsets(&p->in, &r, pixel_at);
        args.panel_step = args.depth * NR;
        args.a = band_operand(&p->in, &r, first_c, valid, 0, x_room);
        args.b = gy_panels(p, &r, first_k, n, args.depth, gy_at, gy_room);
        args.next[0] = band_ahead(&p->in, next, first_c, valid);
        args.next[1] = outputs_ahead(&p->in, next, p->gy, K, first_k, n);
        if (p->skips_padding && finite_panels_of(args.b, n, args.depth))
            all_panels(1, &args, runs, runs + wide_tiles(p));
        else
            block(&args);
        args.flags = BLOCK_ACCUMULATE;
    }
    fp_leave(mode);
}

/* One row of sums, NR output channels of one (r, s, c): the parts added in order, into row. */
INLINE void merged_row(const real *sum, intptr_t parts, intptr_t size, real *row) {
    vreal total[NV];
    UNROLL(2) for (int j = 0; j < NV; j++) total[j] = vload(sum + j * VL);
    for (intptr_t part = 1; part < parts; part++)
        UNROLL(2) for (int j = 0; j < NV; j++) total[j] += vload(sum + part * size + j * VL);
    UNROLL(2) for (int j = 0; j < NV; j++) vstore(row + j * VL, total[j]);
}

/* MERGED input channels of one block of gW: parts added in order, (R, S, C, K) turned to (K, C, R,
 * S).  That many channels are whole cache lines of gW: no two tasks write to one. */
static void merge_task(const void *plan, intptr_t index, void *scratch) {
    const conv_grad_w_plan *p = plan;
    const intptr_t runs = (p->in.chunk + MERGED - 1) / MERGED, c1 = index % runs * MERGED;
    const intptr_t owner = index / runs, k0 = owner % p->out_blocks * p->out_block;
    const intptr_t c0 = owner / p->out_blocks % p->in.chunks * p->in.chunk;
    const intptr_t group = owner / p->out_blocks / p->in.chunks;
    const intptr_t rs = p->in.h.taps * p->in.w.taps, size = taps_of(p) * p->out_pitch;
    const intptr_t n = least(p->out_block, p->group_outputs - k0);
    const intptr_t filter = p->in.group_channels * rs;
    const intptr_t channels = least(least(MERGED, p->in.chunk - c1),
                                    p->in.group_channels - c0 - c1);
    const real *sum = (const real *)p->partial + owner * p->parts * size + c1 * p->out_pitch;
    real *out = (real *)p->grad_w + (group * p->group_outputs + k0) * filter + (c0 + c1) * rs;
    (void)scratch;
    const unsigned mode = fp_enter();
    for (intptr_t k = 0; k < n; k += NR)
        for (intptr_t j = 0; j < channels * rs; j += 4) {
            const intptr_t columns = least(4, channels * rs - j);
            real rows[4 * NR];
            for (intptr_t q = 0; q < columns; q++) {
                const intptr_t c = (j + q) / rs, t = (j + q) % rs;
                merged_row(sum + (t * p->in.chunk + c) * p->out_pitch + k, p->parts, size,
                           rows + q * NR);
            }
            pack_lanes(rows, NR, columns, least(NR, n - k), out + k * filter + j, filter);
        }
    fp_leave(mode);
}

extern const conv_grad_w_kernels NAME(conv_grad_w_kernels);
const conv_grad_w_kernels NAME(conv_grad_w_kernels) = {
    .scratch = scratch_bytes, .task = task, .merge = merge_task};
