/* winograd_deep.c: the forward pass where U would not fit in a cache, or serve few tiles.
 *
 * Design: filters stay, tiles pass by.  V of many tiles is made once, into memory that all threads
 * share, `depth` channels at a time.  A task then owns NR output channels of a block of tiles:
 *
 *     for chunk of `depth` input channels        U of NR filters: made here, used here, in L2
 *         for point t                            V[t] comes by, in order, from L3
 *             M[t] += V[t] U[t]                  M of all its tiles stays in L2
 *     and back from M to pixels, with bias and ReLU
 *
 * So U, 36 / 9 of the size of the weights and more than all else in such a layer, is never written
 * to memory.  Transforming the filters again for each block of tiles costs 1 / block of the sums.
 */
#include "winograd.h"

#ifndef REAL64
#include "winograd_steps.h"

INLINE intptr_t u_slab(const winograd_plan *p) { return p->depth * NR + VL; }

intptr_t NAME(winograd_deep_scratch)(const winograd_plan *p);
intptr_t NAME(winograd_deep_scratch)(const winograd_plan *p) {
    return piece(POINTS * u_slab(p)) + piece(POINTS * p->slab) + piece(offsets_room(p));
}

task_kernel NAME(winograd_deep_inputs), NAME(winograd_deep_task);

/* V of chunk `index % chunks`, for a run of PACK tiles: [chunk][t][tile of this pass][pitch]. */
void NAME(winograd_deep_inputs)(const void *plan, intptr_t index, void *scratch) {
    const winograd_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t chunks = (p->in.group_channels + p->depth - 1) / p->depth;
    const intptr_t chunk = index % chunks, c0 = chunk * p->depth;
    const intptr_t first = p->first_tile + index / chunks * PACK;
    const intptr_t last = least(first + PACK, p->last_tile);
    real *v = (real *)p->v + chunk * POINTS * p->in.slab + (first - p->first_tile) * p->in.pitch;
    memset(scratch, 0, (size_t)p->in.pitch * sizeof(real));
    transform_inputs(&p->in, first, last, c0, least(p->depth, p->in.group_channels - c0), scratch,
                     v);
    fp_leave(mode);
}

void NAME(winograd_deep_task)(const void *plan, intptr_t index, void *scratch) {
    const winograd_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t panel = index % p->panels, k0 = panel * NR, C = p->in.group_channels;
    const intptr_t first = p->first_tile + index / p->panels * p->in.block;
    const intptr_t last = least(first + p->in.block, p->last_tile);
    const intptr_t lanes = least(NR, p->group_outputs - k0);
    const real *w = (const real *)p->weights + k0 * p->w_out;
    const real *v = (const real *)p->v + (first - p->first_tile) * p->in.pitch;
    real *u = scratch, *product = (real *)((char *)scratch + piece(POINTS * u_slab(p)));
    block_args args = {.row_at = p->v_at,
                       .col_at = p->col_at,
                       .c_at = p->m_at,
                       .m = last - first,
                       .n = (lanes + VL - 1) / VL * VL};
    for (intptr_t c0 = 0; c0 < C; c0 += p->depth, v += POINTS * p->in.slab) {
        args.depth = least(p->depth, C - c0);
        transform_weights(p, w + c0 * p->w_in, args.depth, lanes, u, u_slab(p));
        for (intptr_t t = 0; t < POINTS; t++) {
            args.a = v + t * p->in.slab;
            args.b = u + t * u_slab(p);
            args.c = product + t * p->slab;
            block(&args);
        }
        args.flags = BLOCK_ACCUMULATE;
    }
    transform_outputs(p, first, last, k0, lanes, product);
    output_moments(p, first, last, k0, lanes, first / p->in.block,
                   (intptr_t *)((char *)product + piece(POINTS * p->slab)));
    fp_leave(mode);
}
#endif
