/* gemm.h: one block of a matrix product, for the dense product and for every convolution pass.
 *
 * Design: C += A B, where an element of A is found by adding two offsets,
 *
 *     A[i][k] = a[row_at[i] + col_at[k]]        i < m, k < depth
 *
 * so A is any strided matrix (row_at = i * row stride, col_at = k * column stride), its transpose
 * (the two tables change places), and also the im2row matrix of a convolution, which therefore
 * never exists in memory: row_at says where a pixel starts, col_at where a tap lies from there.
 * B is always packed: panels of NR columns, depth after depth, zeros in the columns past the last.
 *
 *           k ->                  one panel of B
 *       +-----------+            +--------+
 *    i  |           | row_at[i]  |        |  depth rows of NR = 2 VL reals,
 *    |  |     A     |     +      |        |  contiguous: 64 bytes a row on AVX2
 *    v  |           | col_at[k]  |        |
 *       +-----------+            +--------+
 *         MR rows at a time      tile of C: MR x NR, kept in registers over all k; MR is 6 or 12
 *
 * Every element of C is one chain of multiply-adds in the order of k, whatever the tile it falls
 * in, so results do not depend on how the work was cut.  Nothing is skipped (0 * inf is NaN), but
 * where a convolution says which depths of a tile are zeros times finite numbers: depth_runs.
 */
#ifndef MINIGRAD_GEMM_H
#define MINIGRAD_GEMM_H

#include "task.h"

enum { BLOCK_ACCUMULATE = 1, BLOCK_RELU = 2 };

/* The depths that a tile sums: runs of `length`, `step` from one's start to the next one's. */
typedef struct {
    intptr_t first, length, step, count;
} depth_runs;

/* Memory that is read or stored to after a block: it is asked for, a cache line at a time, while
 * the block is computed, `at_once` rows with every tile.  Rows of `bytes` lie `step` apart, in runs
 * of `run`, the last row of one and the first of the next `gap` further apart. */
typedef struct {
    const char *from;
    intptr_t rows, bytes, step;
    intptr_t run, left, gap;         /* left: rows of the run that `from` is in */
    intptr_t at_once;
    int stored;
} upcoming;

typedef struct {
    const void *a;
    const intptr_t *row_at, *col_at; /* m and depth offsets, in elements */
    const void *b;                   /* packed panels, panel_step elements apart */
    void *c;
    const intptr_t *c_at;            /* m offsets: where a row of C starts */
    const void *bias;                /* n values that C starts from, or NULL */
    intptr_t m, n, depth;
    intptr_t panel_step;
    upcoming next[2];                /* at_once is not set; rows: 0 where nothing is known */
    int flags;                       /* ACCUMULATE: C starts from itself; RELU: ends as max(0, .) */
} block_args;

/* C (batch, m, n) = A (batch, m, k) B (batch, k, n) + bias, any strides, in elements; a stride of 0
 * repeats.  A task is one block m_block x n_block of C; its A may be copied first (pack_a). */
typedef struct {
    const void *a, *b, *bias;        /* bias: n values, or NULL; m values when by rows */
    void *c;
    intptr_t batch, m, n, k;
    intptr_t a_batch, a_row, a_col, b_batch, b_row, b_col, c_batch, c_row, c_col;
    intptr_t m_block, m_blocks, n_block, n_blocks, k_block, k_blocks;
    void *packed;                    /* B: [batch][k block][panel][k][NR] */
    intptr_t panels, packed_batch;   /* panels of NR columns; elements of one batch, 0 if shared */
    const intptr_t *row_at, *col_at, *c_at;
    enum { A_AS_IT_IS, A_BY_ROWS, A_BY_COLUMNS } pack_a;
    intptr_t a_pitch;                /* elements between rows (or, by columns, tiles) of the copy */
    intptr_t a_room;                 /* bytes of scratch for the copy; a task's own B follows */
    int turn_c;                      /* c_row is 1, c_col not: a task turns its block at the end */
    intptr_t c_pitch, c_room;        /* then: elements between its rows; bytes of scratch for it */
    int pack_b;                      /* m_blocks is 1: each task packs its panels by itself */
    int relu, bias_by_rows;
} gemm_plan;

typedef struct {
    int mr, nr;                      /* rows and columns of a tile */
    task_kernel *pack, *task;        /* plan: gemm_plan; pack: batch (if not shared) x k x panel */
    /* out[k] = the sum over i < m of src[i * n + k]; short runs in `real`, the runs in double */
    void (*column_sums)(const void *src, intptr_t m, intptr_t n, double *out);
} gemm_kernels;

#endif
