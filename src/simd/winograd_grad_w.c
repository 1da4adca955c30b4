/* winograd_grad_w.c: gW by the adjoint of the forward algorithm (winograd.h: the picture).
 *
 * Design: the products run over tiles: dU[t] (C, K) += V[t]^T Z[t], with Z = A gy A^T.  Nothing
 * goes back to pixels: dU is summed over all tiles and turned into filters once, at the end.
 */
#include "winograd.h"

#ifndef REAL64
#include "block.h"
#include "winograd_maps.h"

/* Z of a block of tiles: [t][panel][tile][NR]. */
static intptr_t z_slab(const winograd_grad_w_plan *p) {
    return (p->out_block + NR - 1) / NR * p->in.block * NR + VL;
}

/* Zeros for the pixels outside of x and of gy. */
static intptr_t zeros_bytes(const winograd_grad_w_plan *p) {
    return piece(p->in.pitch > p->out_block ? p->in.pitch : p->out_block);
}

intptr_t NAME(winograd_grad_w_scratch)(const winograd_grad_w_plan *p);
intptr_t NAME(winograd_grad_w_scratch)(const winograd_grad_w_plan *p) {
    return zeros_bytes(p) + piece(POINTS * p->in.slab) + piece(POINTS * z_slab(p)) +
           (p->parts > 1 ? 0 : piece(POINTS * p->chunk * p->out_pitch));
}

/* Z of one tile: A gy A^T for n output channels; channel k of point t goes to panel k / NR. */
INLINE void transform_gradient(const int m, const int inside, const tile_pixels *p, intptr_t n,
                               real *z, intptr_t slab, intptr_t panel_step) {
    const intptr_t ahead = m * p->col;
    for (intptr_t k = 0; k < n; k += VL) {
        vreal half[TILE * 4], line[4], mapped[TILE];
        real *out = z + k / NR * panel_step + k % NR;
        for (int j = 0; j < m; j++) {
            UNROLL(4) for (int i = 0; i < m; i++)
                line[i] = vload_up_to(pixel(m, inside, p, i, j) + k, n - k);
            UNROLL(4) for (int i = 0; i < m; i++) PREFETCH(pixel(m, inside, p, i, j) + k + ahead);
            map_gradient(m, line, mapped);
            UNROLL(6) for (int i = 0; i < TILE; i++) half[i * m + j] = mapped[i];
        }
        for (int i = 0; i < TILE; i++) {
            map_gradient(m, half + i * m, mapped);
            UNROLL(6) for (int j = 0; j < TILE; j++)
                vstore(out + (i * TILE + j) * slab, mapped[j]);
        }
    }
}

INLINE void find_and_transform(const int m, const winograd_tiles *in, const real *image,
                               const tile_place *o, intptr_t channels, intptr_t n,
                               const real *zeros, real *z, intptr_t slab, intptr_t panel_step) {
    tile_pixels y;
    find_pixels(m, image, in->rows, in->cols, channels, o->i, o->j, zeros, &y);
    if (y.inside)
        transform_gradient(m, 1, &y, n, z, slab, panel_step);
    else
        transform_gradient(m, 0, &y, n, z, slab, panel_step);
}

static void transform_gradients(const winograd_grad_w_plan *p, intptr_t first, intptr_t last,
                                intptr_t k0, intptr_t n, const real *zeros, real *z) {
    const winograd_tiles *in = &p->in;
    const intptr_t K = p->groups * p->group_outputs, slab = z_slab(p), step = in->block * NR;
    tile_place o = place_of(in, first);
    for (intptr_t tile = first; tile < last; tile++, z += NR, next_place(in, &o)) {
        const real *image = (const real *)p->gy + o.n * in->rows * in->cols * K + k0;
        if (in->taps == 3)
            find_and_transform(4, in, image, &o, K, n, zeros, z, slab, step);
        else
            find_and_transform(2, in, image, &o, K, n, zeros, z, slab, step);
    }
}

/* VL filters of one input channel: the parts of dU added in order, then G^T u G. */
INLINE void merge_filters(const int r, const real *sum, intptr_t parts, intptr_t point,
                          real *filters) {
    vreal half[5 * TILE], line[TILE], w[5];
    for (int j = 0; j < TILE; j++) {
        UNROLL(6) for (int i = 0; i < TILE; i++) {
            const real *at = sum + (i * TILE + j) * point;
            line[i] = vload(at);
            for (intptr_t part = 1; part < parts; part++)
                line[i] += vload(at + part * POINTS * point);
        }
        map_filter(r, line, w);
        UNROLL(5) for (int i = 0; i < r; i++) half[i * TILE + j] = w[i];
    }
    for (int i = 0; i < r; i++) {
        map_filter(r, half + i * TILE, w);
        UNROLL(5) for (int j = 0; j < r; j++) vstore(filters + (i * r + j) * VL, w[j]);
    }
}

/* What one task, or all the parts of it, own of gW. */
typedef struct {
    intptr_t group, c0, k0, channels, outputs;
} grad_w_block;

static grad_w_block block_of(const winograd_grad_w_plan *p, intptr_t owner) {
    grad_w_block o;
    o.k0 = owner % p->out_blocks * p->out_block;
    o.c0 = owner / p->out_blocks % p->chunks * p->chunk;
    o.group = owner / p->out_blocks / p->chunks;
    o.channels = least(p->chunk, p->in.group_channels - o.c0);
    o.outputs = least(p->out_block, p->group_outputs - o.k0);
    return o;
}

/* The filters of channels first .. last of a block, from the sums of its parts.  Channels are the
 * inner loop: their filters are neighbors, and VL cache lines are written until they are full. */
static void merge_channels(const winograd_grad_w_plan *p, const grad_w_block *o, intptr_t first,
                           intptr_t last, const real *sums, intptr_t parts) {
    const intptr_t taps = p->in.taps * p->in.taps, filter = p->in.group_channels * taps;
    const intptr_t point = p->chunk * p->out_pitch;
    real *out = (real *)p->grad_w + (o->group * p->group_outputs + o->k0) * filter + o->c0 * taps;
    real filters[25 * VL];
    for (intptr_t k = 0; k < o->outputs; k += VL)
        for (intptr_t c = first; c < last; c++) {
            if (p->in.taps == 3)
                merge_filters(3, sums + c * p->out_pitch + k, parts, point, filters);
            else
                merge_filters(5, sums + c * p->out_pitch + k, parts, point, filters);
            pack_lanes(filters, VL, taps, least(VL, o->outputs - k), out + k * filter + c * taps,
                       filter);
        }
}

/* dU[t] (+)= V[t]^T Z[t] of a narrow layer: all its sums stay in registers, and a row of V is read
 * where it lies. */
static void narrow_sums(const block_args *p) {
    const real *v = p->a, *z = p->b, *end = v + p->depth * VL;
    real *sums = p->c;
    vreal sum[VL];
    UNROLL(16) for (int i = 0; i < VL; i++)
        sum[i] = p->flags & BLOCK_ACCUMULATE && i < p->m ? vload(sums + i * VL) : vset(0);
    for (; v < end; v += VL, z += NR) {
        const vreal line = vload(z);
        UNROLL(16) for (int i = 0; i < VL; i++) sum[i] += vset(v[i]) * line;
    }
    UNROLL(16) for (int i = 0; i < VL; i++)
        if (i < p->m) vstore(sums + i * VL, sum[i]);
}

task_kernel NAME(winograd_grad_w_task), NAME(winograd_merge_task);

void NAME(winograd_grad_w_task)(const void *plan, intptr_t index, void *scratch) {
    const winograd_grad_w_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t part = index % p->parts;
    const grad_w_block o = block_of(p, index / p->parts);
    const intptr_t point = p->chunk * p->out_pitch;
    real *zeros = scratch, *v = (real *)((char *)zeros + zeros_bytes(p));
    real *z = (real *)((char *)v + piece(POINTS * p->in.slab));
    real *sums = p->parts > 1 ? (real *)p->partial + index * POINTS * point
                              : (real *)((char *)z + piece(POINTS * z_slab(p)));
    block_args args = {.row_at = p->row_at,
                       .col_at = p->tile_at,
                       .c_at = p->sum_at,
                       .m = o.channels,
                       .n = (o.outputs + VL - 1) / VL * VL,
                       .panel_step = p->in.block * NR};
    memset(zeros, 0, (size_t)zeros_bytes(p));
    for (intptr_t b = p->in.blocks * part / p->parts; b < p->in.blocks * (part + 1) / p->parts;
         b++) {
        const intptr_t first = b * p->in.block, last = least(p->in.tiles, first + p->in.block);
        transform_inputs(&p->in, first, last, o.group * p->in.group_channels + o.c0, o.channels,
                         zeros, v);
        transform_gradients(p, first, last, o.group * p->group_outputs + o.k0, o.outputs, zeros,
                            z);
        args.depth = last - first;
        for (intptr_t t = 0; t < POINTS; t++) {
            args.a = v + t * p->in.slab;
            args.b = z + t * z_slab(p);
            args.c = sums + t * point;
            if (p->narrow)
                narrow_sums(&args);
            else
                block(&args);
        }
        args.flags = BLOCK_ACCUMULATE;
    }
    if (p->parts == 1) merge_channels(p, &o, 0, o.channels, sums, 1);
    fp_leave(mode);
}

/* MERGED channels: whole cache lines of gW, so that no two tasks write to one. */
void NAME(winograd_merge_task)(const void *plan, intptr_t index, void *scratch) {
    const winograd_grad_w_plan *p = plan;
    const intptr_t runs = (p->chunk + MERGED - 1) / MERGED, owner = index / runs;
    const grad_w_block o = block_of(p, owner);
    const intptr_t size = POINTS * p->chunk * p->out_pitch;
    const real *sums = (const real *)p->partial + owner * p->parts * size;
    const intptr_t c0 = index % runs * MERGED;
    const unsigned mode = fp_enter();
    (void)scratch;
    merge_channels(p, &o, c0, least(o.channels, c0 + MERGED), sums, p->parts);
    fp_leave(mode);
}
#endif
