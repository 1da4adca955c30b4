/* block.h: the micro-kernel, and the loop over its tiles (see gemm.h for the picture).
 *
 * Design: `tile` is one source for every tile size: mr and nv are constants wherever it is inlined,
 * so its loops unroll and the accumulators live in registers.  On AVX2 a 6 x 2-vector tile is
 * 12 accumulators + 2 vectors of B + 1 broadcast of A: 15 of 16 registers, and per step of k
 * 12 multiply-adds against 9 loads.  AVX-512 has 32 registers and takes 12 rows: 24 multiply-adds
 * against 15 loads, and a panel of B is read half as often.  Panels of at most VL columns get tiles
 * of 8 rows, one vector wide.  Rows past the last full tile get kernels of fewer rows, columns past
 * the last whole vector are loaded and stored by lanes: no slow generic loop anywhere.  Unrolling k
 * was tried: slower.  Rows that are neighbors in memory, as channels are in a weight gradient,
 * share one address (`together`), which matters where there are twelve.
 * A sum may leave out depths that are known to add nothing: each tile then has its `depth_runs`
 * (padding.h makes them), and `skips` is a constant as well, so that nobody else pays for it.
 * The rows of the next tile are asked for, a cache line at a time, while this one is multiplied;
 * and what the caller reads next, a little with every tile (`upcoming`).
 */
#ifndef MINIGRAD_BLOCK_H
#define MINIGRAD_BLOCK_H

#include <string.h>

#include "gemm.h"
#include "vec.h"

#if VBYTES == 64
#define MR 12        /* rows of a tile that is two vectors wide */
#else
#define MR 6
#endif
#define NV 2
#define NR (NV * VL)
#define TALL 8       /* rows of a tile that is one vector wide: enough chains for two FMA units */

/* One panel of B, and the place that has been reached on the way down C: row_at, c_at, runs. */
typedef struct {
    const real *a, *b, *bias;
    real *c;
    const intptr_t *row_at, *col_at, *c_at;
    intptr_t depth;
    const depth_runs *runs;            /* of this tile, where some depths are left out */
    intptr_t next;                     /* elements of A to the rows of the next tile; 0: unknown */
    int flags, lanes;                  /* lanes: those of the last vector that are columns of C */
} tile_args;

/* max(0, x); NaN stays NaN */
INLINE vreal relu(vreal x) { return vselect(x < vset(0), vset(0), x); }

/* A vector of C, or its first lanes. */
INLINE vreal load_c(const real *c, int whole, int lanes) {
    return whole ? vload(c) : vload_first(c, lanes);
}

INLINE void store_c(real *c, vreal v, int whole, int lanes) {
    if (whole)
        vstore(c, v);
    else
        vstore_first(c, v, lanes);
}

/* part: the last vector of a row of C is not whole; skips: only t->runs of the depths are summed;
 * together: the rows of A are neighbors in memory, so that one address serves all of them */
INLINE void tile(const int mr, const int nv, const int part, const int skips, const int together,
                 const tile_args *t) {
    vreal acc[MR * NV]; /* mr * nv of them */
    const real *row0 = t->a + t->row_at[0], *a[MR > TALL ? MR : TALL];
    UNROLL(12) for (int i = 0; i < mr; i++) UNROLL(2) for (int j = 0; j < nv; j++) {
        const int whole = !part || j < nv - 1;
        acc[i * nv + j] = t->flags & BLOCK_ACCUMULATE
                              ? load_c(t->c + t->c_at[i] + j * VL, whole, t->lanes)
                          : t->bias ? vload(t->bias + j * VL)
                                    : vset(0);
    }
    if (!together) UNROLL(12) for (int i = 0; i < mr; i++) a[i] = t->a + t->row_at[i];
    for (intptr_t run = 0; run < (skips ? t->runs->count : 1); run++) {
        const intptr_t first = skips ? t->runs->first + run * t->runs->step : 0;
        const intptr_t *col = t->col_at + first;
        const intptr_t *end = col + (skips ? t->runs->length : t->depth);
        const real *b = t->b + first * NR;
        while (col < end) {
            const intptr_t *stop = end - col > LINE ? col + LINE : end;
            if (t->next && !together)
                UNROLL(12) for (int i = 0; i < mr; i++) PREFETCH(a[i] + *col + t->next);
            for (; col < stop; col++, b += NR) {
                vreal bs[NV];
                UNROLL(2) for (int j = 0; j < nv; j++) bs[j] = vload(b + j * VL);
                UNROLL(12) for (int i = 0; i < mr; i++) {
                    const vreal s = vset(together ? row0[*col + i] : a[i][*col]);
                    UNROLL(2) for (int j = 0; j < nv; j++) acc[i * nv + j] += s * bs[j];
                }
            }
        }
    }
    if (t->flags & BLOCK_RELU)
        UNROLL(24) for (int i = 0; i < mr * nv; i++) acc[i] = relu(acc[i]);
    UNROLL(12) for (int i = 0; i < mr; i++) UNROLL(2) for (int j = 0; j < nv; j++)
        store_c(t->c + t->c_at[i] + j * VL, acc[i * nv + j], !part || j < nv - 1, t->lanes);
}

/* Two vectors of columns, the last rows of a block. */
INLINE void wide_rows(const int skips, int mr, const tile_args *t) {
    const int part = t->lanes != VL;
    switch (mr) {
    case 1: tile(1, 2, part, skips, 0, t); break;
    case 2: tile(2, 2, part, skips, 0, t); break;
    case 3: tile(3, 2, part, skips, 0, t); break;
    case 4: tile(4, 2, part, skips, 0, t); break;
    case 5: tile(5, 2, part, skips, 0, t); break;
#if MR == 12
    case 6: tile(6, 2, part, skips, 0, t); break;
    case 7: tile(7, 2, part, skips, 0, t); break;
    case 8: tile(8, 2, part, skips, 0, t); break;
    case 9: tile(9, 2, part, skips, 0, t); break;
    case 10: tile(10, 2, part, skips, 0, t); break;
    case 11: tile(11, 2, part, skips, 0, t); break;
#endif
    default: tile(MR, 2, part, skips, 0, t);
    }
}

/* One vector of columns. */
INLINE void narrow_rows(const int skips, int mr, const tile_args *t) {
    const int part = t->lanes != VL;
    switch (mr) {
    case 1: tile(1, 1, part, skips, 0, t); break;
    case 2: tile(2, 1, part, skips, 0, t); break;
    case 3: tile(3, 1, part, skips, 0, t); break;
    case 4: tile(4, 1, part, skips, 0, t); break;
    case 5: tile(5, 1, part, skips, 0, t); break;
    case 6: tile(6, 1, part, skips, 0, t); break;
    case 7: tile(7, 1, part, skips, 0, t); break;
    default: tile(8, 1, part, skips, 0, t);
    }
}

typedef void tile_kernel(int mr, const tile_args *t);
static inline void wide_tile(int mr, const tile_args *t) { wide_rows(0, mr, t); }
static inline void narrow_tile(int mr, const tile_args *t) { narrow_rows(0, mr, t); }
static inline void wide_skipping(int mr, const tile_args *t) { wide_rows(1, mr, t); }
static inline void narrow_skipping(int mr, const tile_args *t) { narrow_rows(1, mr, t); }

/* Whether the MR rows of a tile are neighbors, in order. */
INLINE int side_by_side(const intptr_t *at) {
    int each = at[MR - 1] - at[0] == MR - 1;
    for (int i = 1; each && i < MR - 1; i++) each = at[i] - at[0] == i;
    return each;
}

enum { AT_ONCE = 4 };                /* rows with one tile; to ask for more takes too long */

/* Some of the rows that are read or stored to after this block. */
INLINE void ask_for(upcoming *u) {
    for (intptr_t i = least(u->rows, u->at_once); i > 0; i--, u->rows--) {
        for (intptr_t byte = 0; u->stored && byte < u->bytes; byte += 64)
            PREFETCH_STORE(u->from + byte);
        for (intptr_t byte = 0; !u->stored && byte < u->bytes; byte += 64)
            PREFETCH_L2(u->from + byte);
        u->from += u->step;
        if (--u->left == 0) {
            u->from += u->gap;
            u->left = u->run;
        }
    }
}

/* All rows of C in one panel's columns. */
INLINE void panel(const int skips, intptr_t m, int cols, tile_args t, upcoming *next) {
    const int rows = cols > VL ? MR : TALL;
    tile_kernel *last = skips ? (cols > VL ? wide_skipping : narrow_skipping)
                              : (cols > VL ? wide_tile : narrow_tile);
    t.lanes = cols % VL ? cols % VL : VL;
    if (cols == NR)
        for (; m >= MR; m -= MR, t.row_at += MR, t.c_at += MR, t.runs += skips) {
            for (int i = MR; t.flags & BLOCK_ACCUMULATE && i < 2 * MR && i < m; i++)
                PREFETCH(t.c + t.c_at[i]); /* the next tile starts from there */
            t.next = m >= 2 * MR ? t.row_at[MR] - t.row_at[0] : 0;
            ask_for(next);
            ask_for(next + 1);
            if (side_by_side(t.row_at))
                tile(MR, NV, 0, skips, 1, &t);
            else
                tile(MR, NV, 0, skips, 0, &t);
        }
    for (; m > 0; m -= rows, t.row_at += rows, t.c_at += rows, t.runs += skips) {
        t.next = m >= 2 * rows ? t.row_at[rows] - t.row_at[0] : 0;
        last((int)(m < rows ? m : rows), &t);
    }
}

/* C (m, n) += A (m, depth) B (depth, n), panel after panel of B, tile after tile of A.  skips:
 * wide has the runs of depths of every MR rows of A, tall those of every TALL rows. */
INLINE void all_panels(const int skips, const block_args *p, const depth_runs *wide,
                       const depth_runs *tall) {
    const intptr_t tiles = p->m / MR * (p->n / NR);
    upcoming next[2] = {p->next[0], p->next[1]};
    for (int i = 0; i < 2; i++) {
        next[i].at_once = tiles ? (next[i].rows + tiles - 1) / tiles : 0;
        if (next[i].at_once > AT_ONCE) next[i].rows = 0;
    }
    for (intptr_t j = 0; j < p->n; j += NR) {
        const int cols = (int)(p->n - j < NR ? p->n - j : NR);
        real bias[NR] = {0};
        if (p->bias)
            for (int q = 0; q < cols; q++) bias[q] = ((const real *)p->bias)[j + q];
        const tile_args t = {.a = p->a,
                             .b = (const real *)p->b + j / NR * p->panel_step,
                             .bias = p->bias ? bias : NULL,
                             .c = (real *)p->c + j,
                             .row_at = p->row_at,
                             .col_at = p->col_at,
                             .c_at = p->c_at,
                             .depth = p->depth,
                             .runs = cols > VL ? wide : tall,
                             .flags = p->flags};
        panel(skips, p->m, cols, t, next);
    }
}

static void block(const block_args *p) { all_panels(0, p, NULL, NULL); }

/* Filters of `lanes` outputs, packed channel after channel: ask for those SOON channels from here,
 * for the CPU does not follow as many streams as there are lanes. */
enum { SOON = 8 };
INLINE void ask_for_filters(const real *w, intptr_t lane, intptr_t lanes, intptr_t channel) {
    const intptr_t step = lane == 1 ? LINE : 1;
    for (intptr_t k = 0; k < lanes; k += step) PREFETCH(w + k * lane + SOON * channel);
}

/* One row of a panel: n values, zeros in the lanes after them that a tile will read. */
INLINE void pack_row(const real *src, intptr_t j_step, intptr_t n, real *out) {
    if (j_step == 1) {
        UNROLL(2) for (int j = 0; j < NV; j++, src += VL, n -= VL)
            if (n > 0) vstore(out + j * VL, load_c(src, n >= VL, (int)n));
        return;
    }
    vstore(out, vset(0));
    if (n > VL) vstore(out + VL, vset(0));
    for (int j = 0; j < (n < NR ? n : NR); j++) out[j] = src[j * j_step];
}

#endif
