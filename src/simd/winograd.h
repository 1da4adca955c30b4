/* winograd.h: 3x3 and 5x5 convolution of stride 1 by Winograd's minimal filtering, on 6x6 tiles.
 *
 * Design: an image is cut into tiles of m x m outputs, m = 4 for 3x3 filters and 2 for 5x5, that
 * read 6 x 6 inputs d.  With three small matrices (Lavin and Gray, "Fast algorithms for
 * convolutional neural networks", 2015) a tile costs 36 multiplications for every pair of channels
 * instead of 144 (or 100):
 *
 *     y  = A^T [ (G w G^T) . (B^T d B) ] A        forward; grad_x is forward on gy, w turned by 180
 *     gw = G^T [ sum over tiles of (B^T d B) . (A gy A^T) ] G        its exact adjoint
 *
 * The products ". , summed over channels" (forward) or over tiles (grad_w) are 36 matrix products,
 * one for every point t of the tile, and block.h does them:
 *
 *     x ---B^T d B--> V[t] (tiles, C)   U[t] (C, K) <--G w G^T--- w
 *                          \________________/
 *                         M[t] = V[t] U[t]  (tiles, K) ---A^T m A--> y
 *
 * A task owns a block of tiles x a block of output channels; V and M are its scratch, so what one
 * point needs lies in L2 while it is multiplied, whatever the number of channels.
 *
 * B^T depends on the six points only, not on the filter: 0, +-5/8, +-3/2 and infinity, of small
 * error in float32 (the points of oneDNN's former training kernels; winograd_maps.h has the
 * matrices).  Absent on purpose: double precision, larger tiles (their error is too large to train
 * with), stride and dilation, and the choice when all this pays (src/kernels/conv_choice.pyx).
 */
#ifndef MINIGRAD_WINOGRAD_H
#define MINIGRAD_WINOGRAD_H

#include "task.h"

enum { TILE = 6, POINTS = TILE * TILE };
enum { PACK = 16 };                  /* input channels, or tiles, in a task that only transforms */

/* An image as tiles: output (i, j) reads source rows i - top .. i - top + taps - 1, columns alike;
 * outside the image are zeros.  Tile number = (image * tile_rows + row) * tile_cols + column. */
typedef struct {
    const void *src;                 /* (N, height, width, channels) */
    intptr_t height, width, channels;
    intptr_t top, left, taps;
    intptr_t rows, cols;             /* outputs of an image */
    intptr_t tile_rows, tile_cols, tiles;
    intptr_t block, blocks;          /* tiles in a block */
    intptr_t group_channels;
    intptr_t pitch, slab;            /* V: elements from tile to tile, from point to point */
} winograd_tiles;

/* Y = conv(X, W): conv2d (src = x), and conv2d_grad_x (src = gy). */
typedef struct {
    winograd_tiles in;
    void *out;                       /* (N, in.rows, in.cols), pixels out_pitch elements apart */
    intptr_t out_pitch, groups;      /* a deep layer: one group at a time */
    intptr_t group_outputs, out_block, out_blocks;   /* outputs in a task; tasks along them */
    intptr_t depth;                  /* input channels in V at a time */
    intptr_t pitch, slab;            /* M */
    const void *weights;             /* element (group, out, in) by strides, taps side by side */
    intptr_t w_group, w_out, w_in;
    int narrow;                      /* inputs and outputs are one vector each: narrow_task */
    int turned;                      /* filters are turned by 180 degrees: grad_x */
    void *packed;                    /* U: [group][t][panel][in][NR]; not in deep layers */
    intptr_t panels, packed_slab;    /* panels of NR outputs in a group; from point to point */
    const intptr_t *v_at, *m_at, *col_at;   /* offsets for block.h: tiles in V, in M; channels */
    const void *bias;                /* one value for each output, or NULL */
    const void *scale, *residual;    /* Y = conv(X, W) scale + bias + residual; as bias, as out */
    int relu;
    double *moments;                 /* of Y: (blocks, 3, groups * group_outputs), see moments.h; */
    intptr_t *moment_pixels;         /* (blocks,): outputs that each of them has seen; or NULL */
    void *v;                         /* deep layers, V of all threads: [chunk][t][tile][depth] */
    intptr_t first_tile, last_tile;  /* that are in it */
} winograd_plan;

/* gW.  Part s of `parts` sums its own share of the tile blocks; merged in the order of s.  A task
 * that has no siblings (parts = 1) keeps its sums in its scratch and finishes them itself. */
typedef struct {
    winograd_tiles in;               /* src = x; rows, cols: those of gy */
    const void *gy;                  /* (N, in.rows, in.cols, groups * group_outputs) */
    intptr_t groups, group_outputs;
    intptr_t chunk, chunks;          /* input channels in a task */
    intptr_t out_block, out_blocks, out_pitch;
    intptr_t parts;
    int narrow;                      /* inputs and outputs are one vector each */
    void *partial;                   /* [group][chunk][out block][part][t][channel][out_pitch] */
    void *grad_w;                    /* (K, C/groups, taps, taps) */
    const intptr_t *row_at, *sum_at, *tile_at;   /* channels in V, in the sums; tiles in V */
} winograd_grad_w_plan;

/* Grids.  pack: groups x panels x runs of PACK channels; task: groups x out_blocks x blocks;
 * deep_inputs: runs of PACK tiles x chunks; deep_task: blocks x panels;
 * grad_w: owners x parts, merge: owners x runs of MERGED channels of the chunk, where owners =
 * groups x chunks x out_blocks. */
typedef struct {
    intptr_t (*scratch)(const winograd_plan *p);
    task_kernel *pack, *task, *narrow_task;
    intptr_t (*deep_scratch)(const winograd_plan *p);
    task_kernel *deep_inputs, *deep_task;
    intptr_t (*grad_w_scratch)(const winograd_grad_w_plan *p);
    task_kernel *grad_w, *merge;
} winograd_kernels;

#endif
