/* winograd.c: the forward pass, which is also the gradient of x (winograd.h: the picture).
 *
 * Design: tiles stay, filters pass by.  Three steps per task: V of all its tiles, `depth` input
 * channels at a time; for every point t the product M[t] += V[t] U[t], all output channels of the
 * task while V[t] is in L2; and the way back from M to pixels, with bias and ReLU.  U is made once,
 * by pack_task.  A layer is narrow when inputs and outputs are one vector each: every multiply-add
 * would wait for more than one load, so it has a product of its own.  Where filters stay and tiles
 * pass by, see winograd_deep.c.
 */
#include "winograd.h"

#ifndef REAL64
#include "winograd_steps.h"

static intptr_t scratch_bytes(const winograd_plan *p) {
    return piece(p->in.pitch) + piece(POINTS * p->in.slab) + piece(POINTS * p->slab) +
           piece(offsets_room(p));
}

static void pack_task(const void *plan, intptr_t index, void *scratch) {
    const winograd_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t C = p->in.group_channels, runs = (C + PACK - 1) / PACK;
    const intptr_t c0 = index % runs * PACK, panel = index / runs % p->panels;
    const intptr_t group = index / runs / p->panels, step = p->packed_slab;
    const real *w = (const real *)p->weights + group * p->w_group + panel * NR * p->w_out;
    real *out = (real *)p->packed + group * POINTS * step + panel * C * NR;
    const intptr_t lanes = least(NR, p->group_outputs - panel * NR);
    (void)scratch;
    transform_weights(p, w + c0 * p->w_in, least(PACK, C - c0), lanes, out + c0 * NR, step);
    fp_leave(mode);
}

enum { MANY_OUTPUTS = 64 };          /* of a task: with fewer, products are too short for this */

/* A core that stores to a line which it does not have reads it first.  So the lines that tiles
 * first .. last are stored to are asked for while the products are computed: a rectangle of one
 * row of tiles, or the rows of several. */
static upcoming outputs_of(const winograd_plan *p, intptr_t first, intptr_t last, intptr_t k0,
                           intptr_t n) {
    const winograd_tiles *in = &p->in;
    const intptr_t m = TILE + 1 - in->taps, pixel = p->out_pitch * (intptr_t)sizeof(real);
    const tile_place a = place_of(in, first), b = place_of(in, last - 1);
    const int one_row = a.n == b.n && a.i == b.i;
    const intptr_t row = a.n * in->rows + a.i;
    const intptr_t rows = one_row ? least(m, in->rows - a.i)
                                  : b.n * in->rows + least(b.i + m, in->rows) - row;
    const intptr_t run = one_row ? least((last - first) * m, in->cols - a.j) : in->cols;
    const real *start = (const real *)p->out + k0;
    if (n < MANY_OUTPUTS) return (upcoming){0};
    return (upcoming){.from = (const char *)start + (row * in->cols + one_row * a.j) * pixel,
                      .rows = rows * run,
                      .bytes = n * (intptr_t)sizeof(real),
                      .step = pixel,
                      .run = run,
                      .gap = (in->cols - run) * pixel,
                      .stored = 1};
}

/* The share of point t. */
INLINE upcoming share_of(intptr_t t, const upcoming *all) {
    upcoming share = *all;
    const intptr_t first = all->rows * t / POINTS;
    share.rows = all->rows * (t + 1) / POINTS - first;
    if (share.rows) {
        share.from += first * all->step + first / all->run * all->gap;
        share.left = all->run - first % all->run;
    }
    return share;
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const winograd_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t first = index % p->in.blocks * p->in.block;
    const intptr_t last = least(p->in.tiles, first + p->in.block);
    const intptr_t k0 = index / p->in.blocks % p->out_blocks * p->out_block;
    const intptr_t group = index / p->in.blocks / p->out_blocks;
    const intptr_t C = p->in.group_channels, n = least(p->out_block, p->group_outputs - k0);
    real *zeros = scratch, *v = (real *)((char *)zeros + piece(p->in.pitch));
    real *product = (real *)((char *)v + piece(POINTS * p->in.slab));
    const real *u = (const real *)p->packed + group * POINTS * p->packed_slab + k0 * C;
    memset(zeros, 0, (size_t)p->in.pitch * sizeof(real));
    block_args args = {.row_at = p->v_at,
                       .col_at = p->col_at,
                       .c_at = p->m_at,
                       .m = last - first,
                       .n = (n + VL - 1) / VL * VL,
                       .panel_step = C * NR};
    const upcoming stored = outputs_of(p, first, last, group * p->group_outputs + k0, n);
    for (intptr_t c = 0; c < C; c += p->depth) {
        args.depth = least(p->depth, C - c);
        transform_inputs(&p->in, first, last, group * C + c, args.depth, zeros, v);
        for (intptr_t t = 0; t < POINTS; t++) {
            if (c + p->depth >= C) args.next[0] = share_of(t, &stored);
            args.a = v + t * p->in.slab;
            args.b = u + t * p->packed_slab + c * NR;
            args.c = product + t * p->slab;
            block(&args);
        }
        args.flags = BLOCK_ACCUMULATE;
    }
    transform_outputs(p, first, last, group * p->group_outputs + k0, n, product);
    output_moments(p, first, last, group * p->group_outputs + k0, n, first / p->in.block,
                   (intptr_t *)((char *)product + piece(POINTS * p->slab)));
    fp_leave(mode);
}

/* M[t] = V[t] U[t] in place, for narrow layers: U[t] stays in registers, and a row of V becomes the
 * row of M.  Rows are as many as a multiple of ROWS. */
enum { ROWS = 8 };

static void narrow_product(const real *u, intptr_t channels, intptr_t tiles, real *v) {
    vreal b[VL];
    UNROLL(16) for (int k = 0; k < VL; k++) b[k] = k < channels ? vload(u + k * NR) : vset(0);
    for (; tiles > 0; tiles -= ROWS, v += ROWS * VL) {
        vreal m[ROWS];
        UNROLL(8) for (int i = 0; i < ROWS; i++) m[i] = vset(v[i * VL]) * b[0];
        UNROLL(16) for (int k = 1; k < VL; k++)
            UNROLL(8) for (int i = 0; i < ROWS; i++) m[i] += vset(v[i * VL + k]) * b[k];
        UNROLL(8) for (int i = 0; i < ROWS; i++) vstore(v + i * VL, m[i]);
    }
}

static void narrow_task(const void *plan, intptr_t index, void *scratch) {
    const winograd_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t first = index % p->in.blocks * p->in.block;
    const intptr_t last = least(p->in.tiles, first + p->in.block);
    const intptr_t group = index / p->in.blocks;
    const intptr_t C = p->in.group_channels, K = p->group_outputs;
    real *zeros = scratch, *v = (real *)((char *)zeros + piece(p->in.pitch));
    const real *u = (const real *)p->packed + group * POINTS * p->packed_slab;
    vstore(zeros, vset(0));
    transform_inputs(&p->in, first, last, group * C, C, zeros, v);
    for (intptr_t t = 0; t < POINTS; t++)
        narrow_product(u + t * p->packed_slab, C, last - first, v + t * p->in.slab);
    transform_outputs(p, first, last, group * K, K, v);
    output_moments(p, first, last, group * K, K, first / p->in.block,
                   (intptr_t *)((char *)v + piece(POINTS * p->in.slab)));
    fp_leave(mode);
}

/* Layers of many channels: winograd_deep.c; the gradient of the weights: winograd_grad_w.c. */
extern intptr_t NAME(winograd_deep_scratch)(const winograd_plan *p);
extern task_kernel NAME(winograd_deep_inputs), NAME(winograd_deep_task);
extern intptr_t NAME(winograd_grad_w_scratch)(const winograd_grad_w_plan *p);
extern task_kernel NAME(winograd_grad_w_task), NAME(winograd_merge_task);

extern const winograd_kernels NAME(winograd_kernels);
const winograd_kernels NAME(winograd_kernels) = {.scratch = scratch_bytes,
                                                 .pack = pack_task,
                                                 .task = task,
                                                 .narrow_task = narrow_task,
                                                 .deep_scratch = NAME(winograd_deep_scratch),
                                                 .deep_inputs = NAME(winograd_deep_inputs),
                                                 .deep_task = NAME(winograd_deep_task),
                                                 .grad_w_scratch = NAME(winograd_grad_w_scratch),
                                                 .grad_w = NAME(winograd_grad_w_task),
                                                 .merge = NAME(winograd_merge_task)};
#else
#include "vec.h"

extern const winograd_kernels NAME(winograd_kernels);
const winograd_kernels NAME(winograd_kernels) = {0};   /* double precision takes the direct path */
#endif
