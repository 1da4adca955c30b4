/* gemm.c: the dense product by blocks (gemm.h: what a block is; block.h: how a tile is computed).
 *
 * Design: the loops of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication"
 * (2008).  B is packed once, by panels of NR columns and k_block rows, so that a panel lies in L1;
 * where no other task would use it, each task packs its own part of B, which then never leaves L2.
 * A is read where it lies; only where that would cost (columns far apart, or rows a large power of
 * two apart) a block of it is copied to scratch first.  Where C^T is computed, whose rows lie
 * apart in memory, a task sums its block in scratch and turns it once, at the end.  Absent on
 * purpose: threads and the choice of blocks (src/kernels/gemm.pyx).
 */
#include "block.h"

/* `panels` panels of B from column j on, rows k0 ..: out[panel][k][lane], zeros past column n. */
static void pack_panels(const gemm_plan *p, const real *b, intptr_t j, intptr_t panels,
                        intptr_t depth, real *out) {
    const intptr_t size = p->k_block * NR;
    b += j * p->b_col;
    if (p->b_col == 1 || p->b_row != 1) {
        for (intptr_t k = 0; k < depth; k++, b += p->b_row)
            for (intptr_t i = 0; i < panels; i++)
                pack_row(b + i * NR * p->b_col, p->b_col, p->n - j - i * NR,
                         out + i * size + k * NR);
        return;
    }
    for (intptr_t i = 0; i < panels; i++, j += NR, b += NR * p->b_col, out += size) {
        const intptr_t lanes = least(NR, p->n - j);
        if (lanes < NR) memset(out, 0, (size_t)(depth * NR) * sizeof(real));
        pack_lanes(b, p->b_col, lanes, depth, out, NR);
    }
}

/* Panel `task` of all of B: [batch][k block][panel]. */
static void pack_task(const void *plan, intptr_t task, void *scratch) {
    const gemm_plan *p = plan;
    (void)scratch;
    const intptr_t j = task % p->panels * NR, k0 = task / p->panels % p->k_blocks * p->k_block;
    const intptr_t batch = task / p->panels / p->k_blocks;
    pack_panels(p, (const real *)p->b + batch * p->b_batch + k0 * p->b_row, j, 1,
                least(p->k_block, p->k - k0), (real *)p->packed + task * p->k_block * NR);
}

enum { ROW_LANES = (MR + VL - 1) / VL * VL }; /* of the vectors that hold MR numbers */

/* A block of A, row by row at a_pitch: row_at = i a_pitch, col_at = k. */
static void copy_rows(const gemm_plan *p, const real *a, intptr_t m, intptr_t depth, real *out) {
    for (intptr_t i = 0; i < m; i++)
        memcpy(out + i * p->a_pitch, a + i * p->a_row, (size_t)depth * sizeof(real));
}

/* A block of A, MR rows side by side: row_at = i / MR * a_pitch + i % MR, col_at = k MR.  Where
 * rows are neighbors, vectors run on over the end of a tile's row; what comes next is written over
 * that. */
static void copy_columns(const gemm_plan *p, const real *a, intptr_t m, intptr_t depth,
                         real *out) {
    for (intptr_t k = 0; k < depth; k++, a += p->a_col, out += MR)
        for (intptr_t i = 0; i < m; i += MR) {
            const intptr_t rows = least(MR, m - i);
            real *tile = out + i / MR * p->a_pitch;
            if (p->a_row != 1)
                for (intptr_t r = 0; r < rows; r++) tile[r] = a[(i + r) * p->a_row];
            else if (i + ROW_LANES <= m)
                UNROLL(3) for (int r = 0; r < MR; r += VL) vstore(tile + r, vload(a + i + r));
            else
                memcpy(tile, a + i, (size_t)rows * sizeof(real));
        }
}

static const real *operand_a(const gemm_plan *p, const real *a, intptr_t m, intptr_t depth,
                             real *room) {
    if (p->pack_a == A_AS_IT_IS) return a;
    (p->pack_a == A_BY_ROWS ? copy_rows : copy_columns)(p, a, m, depth, room);
    return room;
}

/* A tile can start from a bias along its columns only; with one along its rows, C is set first. */
static void start_from_bias(const real *bias, const block_args *args) {
    for (intptr_t i = 0; i < args->m; i++)
        for (intptr_t j = 0; j < args->n; j++) ((real *)args->c)[args->c_at[i] + j] = bias[i];
}

static void task(const void *plan, intptr_t index, void *scratch) {
    const gemm_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t j0 = index % p->n_blocks * p->n_block;
    const intptr_t i0 = index / p->n_blocks % p->m_blocks * p->m_block;
    const intptr_t batch = index / p->n_blocks / p->m_blocks;
    const real *a = (const real *)p->a + batch * p->a_batch + i0 * p->a_row;
    const real *b = (const real *)p->b + batch * p->b_batch;
    const real *packed = (const real *)p->packed + batch * p->packed_batch + j0 * p->k_block;
    real *c = (real *)p->c + batch * p->c_batch + i0 * p->c_row + j0 * p->c_col;
    real *sums = (real *)((char *)scratch + p->a_room);
    real *own = (real *)((char *)sums + p->c_room);
    block_args args = {.row_at = p->row_at,
                       .col_at = p->col_at,
                       .c_at = p->c_at,
                       .c = p->turn_c ? sums : c,
                       .bias = p->bias && !p->bias_by_rows ? (const real *)p->bias + j0 : NULL,
                       .m = least(p->m_block, p->m - i0),
                       .n = least(p->n_block, p->n - j0),
                       .panel_step = p->k_block * NR};
    if (p->bias && p->bias_by_rows) {
        start_from_bias((const real *)p->bias + i0, &args);
        args.flags = BLOCK_ACCUMULATE;
    }
    for (intptr_t block_k = 0; block_k < p->k_blocks; block_k++) {
        const intptr_t k0 = block_k * p->k_block;
        args.depth = least(p->k_block, p->k - k0);
        args.a = operand_a(p, a + k0 * p->a_col, args.m, args.depth, scratch);
        args.b = p->pack_b ? own : packed + block_k * p->panels * p->k_block * NR;
        if (p->pack_b)
            pack_panels(p, b + k0 * p->b_row, j0, (args.n + NR - 1) / NR, args.depth, own);
        if (block_k == p->k_blocks - 1 && p->relu) args.flags |= BLOCK_RELU;
        block(&args);
        args.flags |= BLOCK_ACCUMULATE;
    }
    if (p->turn_c) pack_lanes(sums, p->c_pitch, args.m, args.n, c, p->c_col);
    fp_leave(mode);
}

enum { RUN = 64, PERIOD = 16 };      /* values in a short sum; vectors that are summed at once */

/* Narrow rows: vectors run on over the ends of rows, and every `count`, a multiple of the period,
 * they meet the same columns.  Sums stay in registers where count is a constant. */
INLINE void sums_of(const intptr_t count, const real *x, intptr_t m, intptr_t n, double *out) {
    const intptr_t whole = m * n / (VL * count) * count;
    vreal sum[PERIOD];
    for (intptr_t v = 0; v < whole;) {
        const intptr_t end = least(whole, v + RUN * count);
        UNROLL(12) for (intptr_t j = 0; j < count; j++) sum[j] = vset(0);
        for (; v < end; v += count)
            UNROLL(12) for (intptr_t j = 0; j < count; j++) sum[j] += vload(x + (v + j) * VL);
        for (intptr_t j = 0, k = 0; j < count; j++) {
            real lanes[VL];
            vstore(lanes, sum[j]);
            for (int lane = 0; lane < VL; lane++, k = k + 1 < n ? k + 1 : 0) out[k] += lanes[lane];
        }
    }
    for (intptr_t e = whole * VL; e < m * n; e++) out[e % n] += x[e];
}

static void narrow_sums(const real *x, intptr_t m, intptr_t n, intptr_t period, double *out) {
    if (8 % period == 0)
        sums_of(8, x, m, n, out);
    else if (12 % period == 0)
        sums_of(12, x, m, n, out);
    else
        sums_of(period, x, m, n, out);
}

/* Wide rows: vectors run down the columns. */
static void wide_sums(const real *x, intptr_t m, intptr_t n, double *out) {
    for (intptr_t i = 0; i < m; i += RUN)
        for (intptr_t k = 0; k < n; k += VL) {
            const int lanes = (int)least(VL, n - k);
            vreal sum = vset(0);
            real values[VL];
            for (intptr_t r = i; r < least(m, i + RUN); r++)
                sum += lanes == VL ? vload(x + r * n + k) : vload_first(x + r * n + k, lanes);
            vstore(values, sum);
            for (int lane = 0; lane < lanes; lane++) out[k + lane] += values[lane];
        }
}

static void column_sums(const void *src, intptr_t m, intptr_t n, double *out) {
    intptr_t period = n;
    for (int lanes = VL; lanes > 1 && period % 2 == 0; lanes /= 2) period /= 2;
    for (intptr_t k = 0; k < n; k++) out[k] = 0;
    if (period <= PERIOD)
        narrow_sums(src, m, n, period, out);
    else
        wide_sums(src, m, n, out);
}

extern const gemm_kernels NAME(gemm_kernels);
const gemm_kernels NAME(gemm_kernels) = {
    .mr = MR, .nr = NR, .pack = pack_task, .task = task, .column_sums = column_sums};
