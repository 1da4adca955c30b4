/* conv_rows.c: the im2row matrix in memory, for convolutions of few pixels (conv.h: the plan).
 *
 * Design: a row is one output pixel: every input that it reads, in the order (C, R, S) of the
 * weights, zeros for the padding.  Forward and grad_w are then dense products that read the weights
 * as they lie, and grad_x is a dense product and the sum of its rows' elements at the pixels that
 * they came from.  With few pixels this is less work than bringing the weights into panels; with
 * many, the matrix is R * S times the image, and conv_forward.c never makes it.
 */
#include <string.h>

#include "conv.h"
#include "vec.h"

enum { CHANNELS = 64 };              /* that are turned at a time, and of a task of `images` */
enum { TAPS = 16 };                  /* with so many taps of a pixel: 4 KiB */

/* Where the pixel that output (i, q) of image n meets at tap t lies in (N, height, width,
 * channels); -1: it is padding. */
INLINE intptr_t pixel_at(const conv_rows_plan *p, intptr_t n, intptr_t i, intptr_t q, intptr_t t) {
    const intptr_t h = i * p->stride_h + t / p->s * p->dilation_h - p->top;
    const intptr_t w = q * p->stride_w + t % p->s * p->dilation_w - p->left;
    if (h < 0 || h >= p->height || w < 0 || w >= p->width) return -1;
    return ((n * p->height + h) * p->width + w) * p->channels;
}

/* Row `index` of the matrix, from x: a block of taps is gathered as it lies, and turned. */
static void rows_task(const void *plan, intptr_t index, void *scratch) {
    const conv_rows_plan *p = plan;
    const intptr_t q = index % p->q, i = index / p->q % p->p, n = index / p->q / p->p;
    const intptr_t taps = p->r * p->s, C = p->channels;
    real *row = (real *)p->rows + index * C * taps, block[TAPS * CHANNELS];
    (void)scratch;
    for (intptr_t t0 = 0; t0 < taps; t0 += TAPS)
        for (intptr_t c0 = 0; c0 < C; c0 += CHANNELS) {
            const intptr_t count = least(CHANNELS, C - c0), most = least(TAPS, taps - t0);
            for (intptr_t t = 0; t < most; t++) {
                const intptr_t at = pixel_at(p, n, i, q, t0 + t);
                if (at < 0)
                    memset(block + t * CHANNELS, 0, (size_t)count * sizeof(real));
                else
                    memcpy(block + t * CHANNELS, (const real *)p->image + at + c0,
                           (size_t)count * sizeof(real));
            }
            pack_lanes(block, CHANNELS, most, count, row + c0 * taps + t0, taps);
        }
}

/* image[c] += values[c] */
INLINE void add_channels(real *image, const real *values, intptr_t count) {
    intptr_t c = 0;
    for (; c + VL <= count; c += VL) vstore(image + c, vload(image + c) + vload(values + c));
    for (; c < count; c++) image[c] += values[c];
}

/* Some channels of one image of gx: the sum of the matrix's elements that come from each pixel. */
static void images_task(const void *plan, intptr_t index, void *scratch) {
    const conv_rows_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t taps = p->r * p->s, C = p->channels, chunks = (C + CHANNELS - 1) / CHANNELS;
    const intptr_t n = index / chunks, c0 = index % chunks * CHANNELS;
    const intptr_t count = least(CHANNELS, C - c0);
    real *image = (real *)p->image + c0, block[TAPS * CHANNELS];
    const real *row = (const real *)p->rows + (n * p->p * p->q * C + c0) * taps;
    (void)scratch;
    for (intptr_t at = 0; at < p->height * p->width; at++)
        memset(image + (n * p->height * p->width + at) * C, 0, (size_t)count * sizeof(real));
    for (intptr_t i = 0; i < p->p; i++)
        for (intptr_t q = 0; q < p->q; q++, row += C * taps)
            for (intptr_t t0 = 0; t0 < taps; t0 += TAPS) {
                const intptr_t most = least(TAPS, taps - t0);
                pack_lanes(row + t0, taps, count, most, block, CHANNELS);
                for (intptr_t t = 0; t < most; t++) {
                    const intptr_t at = pixel_at(p, n, i, q, t0 + t);
                    if (at >= 0) add_channels(image + at, block + t * CHANNELS, count);
                }
            }
    fp_leave(mode);
}

extern const conv_rows_kernels NAME(conv_rows_kernels);
const conv_rows_kernels NAME(conv_rows_kernels) = {
    .channels = CHANNELS, .rows = rows_task, .images = images_task};
