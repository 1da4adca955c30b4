/* winograd.c: the forward pass, which is also the gradient of x (winograd.h: the picture).
 *
 * Design: three steps per task: V of all its tiles, `depth` input channels at a time; for every
 * point t the product M[t] += V[t] U[t], all output channels of the task while V[t] is in L2; and
 * the way back from M to pixels, with bias and ReLU.  U is made once per slice, by pack_task.
 */
#include "winograd.h"

#ifndef REAL64
#include "block.h"
#include "winograd_maps.h"

enum { PACK = 16 };                  /* input channels in a task of pack */

static intptr_t scratch_bytes(const winograd_plan *p) {
    return piece(p->in.pitch) + piece(POINTS * p->in.slab) + piece(POINTS * p->slab);
}

/* U for one panel of NR outputs and one input channel: G w G^T, point t at out + t * step. */
INLINE void transform_weight(const int r, const winograd_plan *p, const real *w, intptr_t lanes,
                             real *out, intptr_t step) {
    real taps[25 * NR];
    memset(taps, 0, sizeof taps);
    pack_lanes(w, p->w_out, lanes, r * r, taps, NR);
    for (int v = 0; v < NV; v++) {
        vreal half[TILE * 5], line[5], mapped[TILE];
        for (int j = 0; j < r; j++) {
            UNROLL(5) for (int i = 0; i < r; i++) {
                const int tap = p->turned ? r * r - 1 - (i * r + j) : i * r + j;
                line[i] = vload(taps + tap * NR + v * VL);
            }
            map_weight(r, line, mapped);
            UNROLL(6) for (int i = 0; i < TILE; i++) half[i * r + j] = mapped[i];
        }
        for (int i = 0; i < TILE; i++) {
            map_weight(r, half + i * r, mapped);
            UNROLL(6) for (int j = 0; j < TILE; j++)
                vstore(out + (i * TILE + j) * step + v * VL, mapped[j]);
        }
    }
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
    for (intptr_t c = c0; c < least(C, c0 + PACK); c++) {
        if (p->in.taps == 3)
            transform_weight(3, p, w + c * p->w_in, lanes, out + c * NR, step);
        else
            transform_weight(5, p, w + c * p->w_in, lanes, out + c * NR, step);
    }
    fp_leave(mode);
}

/* Where one tile's outputs go, and how many of them there are. */
typedef struct {
    real *out;
    intptr_t row, col;               /* elements from output to output */
    int rows, cols;                  /* inside the image */
} tile_output;

/* y of one tile: A^T m A for n output channels. */
INLINE void transform_output(const int m, const real *product, intptr_t slab, intptr_t n,
                             const real *bias, int relu_too, const tile_output *o) {
    for (intptr_t k = 0; k < n; k += VL) {
        vreal half[4 * TILE], line[TILE], y[4];
        const vreal start = bias ? vload_up_to(bias + k, n - k) : vset(0);
        for (int j = 0; j < TILE; j++) {
            UNROLL(6) for (int i = 0; i < TILE; i++)
                line[i] = vload(product + (i * TILE + j) * slab + k);
            map_output(m, line, y);
            UNROLL(4) for (int i = 0; i < m; i++) half[i * TILE + j] = y[i];
        }
        for (int i = 0; i < o->rows; i++) {
            map_output(m, half + i * TILE, y);
            UNROLL(4) for (int j = 0; j < m; j++) {
                vreal value = y[j] + start;
                if (relu_too) value = relu(value);
                real *to = o->out + i * o->row + j * o->col + k;
                if (j < o->cols && n - k >= VL)
                    vstore(to, value);
                else if (j < o->cols)
                    vstore_first(to, value, (int)(n - k));
            }
        }
    }
}

static void transform_outputs(const winograd_plan *p, intptr_t first, intptr_t last, intptr_t k0,
                              intptr_t n, const real *product) {
    const winograd_tiles *in = &p->in;
    const intptr_t K = p->outputs, m = TILE + 1 - in->taps;
    const real *bias = p->bias ? (const real *)p->bias + k0 : NULL;
    for (intptr_t tile = first; tile < last; tile++, product += p->pitch) {
        const tile_place at = place_of(in, tile);
        const tile_output o = {
            .out = (real *)p->out + ((at.n * in->rows + at.i) * in->cols + at.j) * K + k0,
            .row = in->cols * K,
            .col = K,
            .rows = (int)least(m, in->rows - at.i),
            .cols = (int)least(m, in->cols - at.j)};
        if (m == 4)
            transform_output(4, product, p->slab, n, bias, p->relu, &o);
        else
            transform_output(2, product, p->slab, n, bias, p->relu, &o);
    }
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
                       .panel_step = C * NR,
                       .c_step = 1};
    for (intptr_t c = 0; c < C; c += p->depth) {
        args.depth = least(p->depth, C - c);
        transform_inputs(&p->in, first, last, group * C + c, args.depth, zeros, v);
        for (intptr_t t = 0; t < POINTS; t++) {
            args.a = v + t * p->in.slab;
            args.b = u + t * p->packed_slab + c * NR;
            args.c = product + t * p->slab;
            block(&args);
        }
        args.flags = BLOCK_ACCUMULATE;
    }
    transform_outputs(p, first, last, group * p->group_outputs + k0, n, product);
    fp_leave(mode);
}

/* The gradient of the weights: winograd_grad_w.c. */
extern intptr_t NAME(winograd_grad_w_scratch)(const winograd_grad_w_plan *p);
extern task_kernel NAME(winograd_grad_w_task), NAME(winograd_merge_task);

extern const winograd_kernels NAME(winograd_kernels);
const winograd_kernels NAME(winograd_kernels) = {.scratch = scratch_bytes,
                                                 .pack = pack_task,
                                                 .task = task,
                                                 .grad_w_scratch = NAME(winograd_grad_w_scratch),
                                                 .grad_w = NAME(winograd_grad_w_task),
                                                 .merge = NAME(winograd_merge_task)};
#else
#include "vec.h"

extern const winograd_kernels NAME(winograd_kernels);
const winograd_kernels NAME(winograd_kernels) = {0};   /* double precision takes the direct path */
#endif
