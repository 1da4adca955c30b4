/* block.h: the micro-kernel, and the loop over its tiles (see gemm.h for the picture).
 *
 * Design: `tile` is one source for every tile size: mr and nv are constants wherever it is inlined,
 * so its loops unroll and the accumulators live in registers.  On AVX2 a 6 x 2-vector tile is
 * 12 accumulators + 2 vectors of B + 1 broadcast of A: 15 of 16 registers, and per step of k
 * 12 multiply-adds against 9 loads.  Rows past the last full tile get kernels of 1..5 rows, columns
 * past the last full panel go through a small buffer: no slow generic loop anywhere.
 */
#ifndef MINIGRAD_BLOCK_H
#define MINIGRAD_BLOCK_H

#include <string.h>

#include "gemm.h"
#include "vec.h"

#define MR 6
#define NV 2
#define NR (NV * VL)

/* One tile: where its rows of A and C start, and its panel of B. */
typedef struct {
    const real *a[MR];
    real *c[MR];
    const real *b, *bias;
    const intptr_t *col_at;
    intptr_t depth;
    int flags;
} tile_args;

/* max(0, x); NaN stays NaN */
INLINE vreal relu(vreal x) { return vselect(x < vset(0), vset(0), x); }

INLINE void tile(const int mr, const int nv, const tile_args *t) {
    vreal acc[MR][NV];
    UNROLL(6) for (int i = 0; i < mr; i++) UNROLL(2) for (int j = 0; j < nv; j++)
        acc[i][j] = t->flags & BLOCK_ACCUMULATE ? vload(t->c[i] + j * VL)
                    : t->bias                   ? vload(t->bias + j * VL)
                                                : vset(0);
    const real *a[MR];
    UNROLL(6) for (int i = 0; i < mr; i++) a[i] = t->a[i];
    const intptr_t *col = t->col_at, *end = col + t->depth;
    for (const real *b = t->b; col < end; col++, b += NR) {
        vreal bs[NV];
        UNROLL(2) for (int j = 0; j < nv; j++) bs[j] = vload(b + j * VL);
        UNROLL(6) for (int i = 0; i < mr; i++) {
            const vreal s = vset(a[i][*col]);
            UNROLL(2) for (int j = 0; j < nv; j++) acc[i][j] += s * bs[j];
        }
    }
    if (t->flags & BLOCK_RELU)
        UNROLL(6) for (int i = 0; i < mr; i++) UNROLL(2) for (int j = 0; j < nv; j++)
            acc[i][j] = relu(acc[i][j]);
    UNROLL(6) for (int i = 0; i < mr; i++) UNROLL(2) for (int j = 0; j < nv; j++)
        vstore(t->c[i] + j * VL, acc[i][j]);
}

/* The last rows of a block, and narrow panels: one case per tile size. */
static void small_tile(int mr, int nv, const tile_args *t) {
    switch (mr * NV + nv - NV) {
    case 1: tile(1, 1, t); break;
    case 2: tile(1, 2, t); break;
    case 3: tile(2, 1, t); break;
    case 4: tile(2, 2, t); break;
    case 5: tile(3, 1, t); break;
    case 6: tile(3, 2, t); break;
    case 7: tile(4, 1, t); break;
    case 8: tile(4, 2, t); break;
    case 9: tile(5, 1, t); break;
    case 10: tile(5, 2, t); break;
    default: tile(6, 1, t);
    }
}

static void full_tile(const tile_args *t) { tile(MR, NV, t); }

static void run_tile(int mr, int nv, const tile_args *t) {
    if (mr == MR && nv == NV)
        full_tile(t);
    else
        small_tile(mr, nv, t);
}

/* A tile whose columns of C are fewer than its vectors hold, or not side by side. */
static void loose_tile(int mr, int cols, intptr_t c_step, tile_args *t) {
    real buffer[MR][NR], *c[MR];
    memset(buffer, 0, sizeof buffer);
    for (int i = 0; i < mr; i++) {
        c[i] = t->c[i];
        t->c[i] = buffer[i];
        if (t->flags & BLOCK_ACCUMULATE)
            for (int j = 0; j < cols; j++) buffer[i][j] = c[i][j * c_step];
    }
    run_tile(mr, cols > VL ? NV : 1, t);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < cols; j++) c[i][j * c_step] = buffer[i][j];
}

/* C (m, n) += A (m, depth) B (depth, n), panel after panel of B, tile after tile of A. */
static void block(const block_args *p) {
    for (intptr_t j = 0; j < p->n; j += NR) {
        const int cols = (int)(p->n - j < NR ? p->n - j : NR);
        real bias[NR] = {0};
        if (p->bias)
            for (int q = 0; q < cols; q++) bias[q] = ((const real *)p->bias)[j + q];
        tile_args t = {.b = (const real *)p->b + j / NR * p->panel_step,
                       .bias = p->bias ? bias : NULL,
                       .col_at = p->col_at,
                       .depth = p->depth,
                       .flags = p->flags};
        for (intptr_t i = 0; i < p->m; i += MR) {
            const int mr = (int)(p->m - i < MR ? p->m - i : MR);
            for (int r = 0; r < mr; r++) {
                t.a[r] = (const real *)p->a + p->row_at[i + r];
                t.c[r] = (real *)p->c + p->c_at[i + r] + j * p->c_step;
            }
            if (p->c_step == 1 && cols % VL == 0)
                run_tile(mr, cols / VL, &t);
            else
                loose_tile(mr, cols, p->c_step, &t);
        }
    }
}

/* One row of a panel: NR values, zeros past n. */
INLINE void pack_row(const real *src, intptr_t j_step, intptr_t n, real *out) {
    if (j_step == 1 && n >= NR) {
        UNROLL(2) for (int j = 0; j < NV; j++) vstore(out + j * VL, vload(src + j * VL));
        return;
    }
    for (int j = 0; j < NR; j++) out[j] = j < n ? src[j * j_step] : 0;
}

#endif
