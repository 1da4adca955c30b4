/* conv.h: what one convolution is, to the kernels: its two axes, its bands and its task grid.
 *
 * Design: all arrays are channels-last: x (N, H, W, C), y (N, P, Q, K).  Outputs are cut into bands
 * (some images x some rows x some columns).  A task copies the inputs that its band needs, `chunk`
 * channels of them, with zeros where the padding is, and multiplies (gemm.h):
 *
 *      band (slots of H, slots of W, chunk)     forward  Y[p][k]  += A[p][t] W[t][k]
 *      +-----------------+                      grad_w   gW[t][k] += A[p][t] gY[p][k]
 *      | 0 0 0 0 0 0 0 0 |                      grad_x   forward on gY, once for every phase of
 *      | 0 +-------+ . . | pixel p = (n, i, j)           the stride, with the taps of that phase
 *      | 0 | R x S | . . | tap   t = (r, s, c)
 *      | 0 +-------+ . . | A[p][t] = band[pixel_at[p] + tap_at[t]]
 *      +-----------------+
 *
 * The im2row matrix A is never made: it is two tables of offsets.  Transposing it, for grad_w, is
 * exchanging the tables.  Where there is no padding the band is not copied either: x itself serves.
 *
 * Absent on purpose: threads (Cython deals out the tasks), allocation, and any knowledge of how
 * many threads there are.  The grid is made from shapes alone (src/kernels/conv_plan.pyx).
 */
#ifndef MINIGRAD_CONV_H
#define MINIGRAD_CONV_H

#include "task.h"

/* One spatial axis.  Output o meets source o * step + tap[r] at tap r; outside 0..size-1 are zeros.
 * A band of `block` outputs keeps `slots` source rows: either all from the first to the last one
 * (dense: slot = o * step + tap[r] - first), or, where strides and dilations leave wide gaps, one
 * for every pair of tap and output (slot = r * block + o). */
typedef struct {
    intptr_t size, count;            /* source rows; outputs */
    intptr_t step, taps, first;      /* first: the smallest tap */
    const intptr_t *tap;             /* (taps,) */
    intptr_t block, blocks;          /* outputs in a band; bands along this axis */
    intptr_t slots, slot_step;       /* slot_step: slots from one output to the next */
    int dense;
} conv_axis;

/* Source, bands and offsets: what the passes share.  A band's channel j is channel
 * (c0 + j) * c_mul / c_div + c_add of src, where c0 is the first channel of its chunk. */
typedef struct {
    const void *src;                 /* (N, h.size, w.size, channels) */
    intptr_t images, channels;
    conv_axis h, w;
    intptr_t group_channels;         /* band channels of one group */
    intptr_t chunk, chunks;          /* channels in a band; chunks in a group */
    intptr_t pitch;                  /* elements from one pixel of a band to the next, >= chunk */
    intptr_t c_mul, c_div;           /* 1 and 1 but for depthwise convolution */
    intptr_t image_block, image_blocks;
    const intptr_t *tap_at;          /* (h.taps * w.taps * chunk,): offsets from a pixel */
    intptr_t band_size;              /* elements; 0: no padding, the tables address src itself */
    intptr_t band_pixels;            /* outputs in a full band */
} conv_band;

/* Where outputs go: (i, j) of image n is stored at (n, h0 + i h_step, w0 + j w_step). */
typedef struct {
    void *data;                      /* (N, height, width), pixels `channels` elements apart */
    intptr_t height, width, channels; /* more than there are outputs: some channels of a whole */
    intptr_t h0, h_step, w0, w_step;
} conv_output;

/* Y = A W: conv2d (src = x), and every phase of conv2d_grad_x (src = gy). */
typedef struct {
    conv_band in;
    conv_output out;
    intptr_t groups, group_outputs;
    intptr_t out_block, out_blocks;  /* output channels in a task; tasks along them */
    const void *weights;             /* element (group, out, in, tap) by strides and offsets */
    intptr_t w_group, w_out, w_in;
    const intptr_t *w_tap;           /* (h.taps * w.taps,) */
    void *packed;                    /* [group][chunk][panel][tap, channel][NR]; [group][chunk]
                                      * [panel]: finite?  (if skips_padding) */
    intptr_t panels;                 /* panels of NR outputs in a group */
    const void *bias;                /* groups * group_outputs values, or NULL */
    const void *scale, *residual;    /* Y = (A W) scale + bias + residual; as bias, as out.data */
    int relu;
    int skips_padding;               /* taps that meet only padding are left out (padding.h) */
    double *moments;                 /* of Y: (bands, 3, all outputs), see moments.h; or NULL */
    intptr_t *moment_pixels;         /* (bands,): outputs that each of them has seen */
} conv_forward_plan;

/* gW = A^T gY.  Part s of `parts` sums its own share of the bands; merged in the order of s. */
typedef struct {
    conv_band in;
    const void *gy;                  /* (N, h.count, w.count, groups * group_outputs) */
    intptr_t groups, group_outputs;
    intptr_t out_block, out_blocks, out_pitch;
    intptr_t parts;
    int skips_padding;
    void *partial;                   /* [group][chunk][out block][part][tap, channel][out_pitch] */
    void *grad_w;                    /* (K, C/groups, R, S) */
} conv_grad_w_plan;

/* One channel in, `passes` channels out: a band's channels are those of the result, and vectors run
 * over them.  Forward: y[p][k] = sum_t band[p + t][k] w[k][t], band channel k from x channel k / m.
 * grad_x adds up m passes; pass i reads gy channel c m + i.  grad_w: gw[k][t] = sum_p band gy. */
typedef struct {
    conv_band in;
    conv_output out;
    const void *weights;             /* element (channel, pass, tap) by strides and offsets */
    intptr_t passes, w_channel, w_pass;
    const intptr_t *w_tap;
    const void *bias;                /* one value per channel, or NULL */
    int relu;
    const void *gy;                  /* grad_w only: (N, h.count, w.count, channels of the band) */
    intptr_t parts;
    void *partial;                   /* [chunk][part][tap][chunk] */
    void *grad_w;                    /* (channels, taps) */
} conv_depthwise_plan;

/* The im2row matrix in memory: row (n, i, q) = the inputs of an output, in the order (C, R, S). */
typedef struct {
    void *image;                     /* (N, height, width, channels): x, or gx */
    void *rows;                      /* (N p q, channels r s) */
    intptr_t height, width, channels, p, q, r, s;
    intptr_t stride_h, stride_w, dilation_h, dilation_w, top, left;
} conv_rows_plan;

/* What a pass needs: bytes of scratch for one thread, and its grids, run one after the other.
 * Forward packs the weights, then computes; grad_w computes, then merges. */
typedef struct {
    intptr_t (*scratch)(const conv_forward_plan *p);
    task_kernel *pack, *task;        /* groups x chunks x panels; bands x groups x out_blocks */
} conv_forward_kernels;

typedef struct {
    intptr_t (*scratch)(const conv_grad_w_plan *p);
    task_kernel *task, *merge;       /* owners x parts; owners x runs of MERGED channels,
                                      * by lines x output channels;
                                      * owners: groups x chunks x out_blocks */
} conv_grad_w_kernels;

typedef struct {
    int lanes;                       /* chunk is a multiple of this */
    intptr_t (*scratch)(const conv_depthwise_plan *p);
    task_kernel *task;               /* chunks x bands */
    task_kernel *grad_w, *merge;     /* chunks x parts; chunks */
} conv_depthwise_kernels;

typedef struct {
    intptr_t channels;               /* of an image in a task of `images` */
    task_kernel *rows, *images;      /* x to rows: pixels; rows to gx: images x runs of channels */
} conv_rows_kernels;

#endif
