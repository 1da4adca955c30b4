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

enum { CHANNELS = 64 };              /* of an image in a task of `images` */

/* Where pixel (h, w) of image n lies in (N, height, width, channels); -1: it is padding. */
INLINE intptr_t pixel_at(const conv_rows_plan *p, intptr_t n, intptr_t h, intptr_t w) {
    if (h < 0 || h >= p->height || w < 0 || w >= p->width) return -1;
    return ((n * p->height + h) * p->width + w) * p->channels;
}

/* Row `index` of the matrix, from x. */
static void rows_task(const void *plan, intptr_t index, void *scratch) {
    const conv_rows_plan *p = plan;
    const intptr_t q = index % p->q, i = index / p->q % p->p, n = index / p->q / p->p;
    const intptr_t taps = p->r * p->s, C = p->channels;
    real *row = (real *)p->rows + index * C * taps;
    (void)scratch;
    for (intptr_t t = 0; t < taps; t++, row++) {
        const intptr_t at = pixel_at(p, n, i * p->stride_h + t / p->s * p->dilation_h - p->top,
                                     q * p->stride_w + t % p->s * p->dilation_w - p->left);
        const real *x = (const real *)p->image + at;
        if (at < 0)
            for (intptr_t c = 0; c < C; c++) row[c * taps] = 0;
        else
            for (intptr_t c = 0; c < C; c++) row[c * taps] = x[c];
    }
}

/* Some channels of one image of gx: the sum of the matrix's elements that come from each pixel. */
static void images_task(const void *plan, intptr_t index, void *scratch) {
    const conv_rows_plan *p = plan;
    const unsigned mode = fp_enter();
    const intptr_t taps = p->r * p->s, C = p->channels, chunks = (C + CHANNELS - 1) / CHANNELS;
    const intptr_t n = index / chunks, c0 = index % chunks * CHANNELS;
    const intptr_t count = C - c0 < CHANNELS ? C - c0 : CHANNELS;
    real *image = (real *)p->image + c0;
    const real *row = (const real *)p->rows + (n * p->p * p->q * C + c0) * taps;
    (void)scratch;
    for (intptr_t at = 0; at < p->height * p->width; at++)
        memset(image + (n * p->height * p->width + at) * C, 0, (size_t)count * sizeof(real));
    for (intptr_t i = 0; i < p->p; i++)
        for (intptr_t q = 0; q < p->q; q++, row += C * taps)
            for (intptr_t t = 0; t < taps; t++) {
                const intptr_t at =
                    pixel_at(p, n, i * p->stride_h + t / p->s * p->dilation_h - p->top,
                             q * p->stride_w + t % p->s * p->dilation_w - p->left);
                for (intptr_t c = 0; at >= 0 && c < count; c++)
                    image[at + c] += row[c * taps + t];
            }
    fp_leave(mode);
}

extern const conv_rows_kernels NAME(conv_rows_kernels);
const conv_rows_kernels NAME(conv_rows_kernels) = {
    .channels = CHANNELS, .rows = rows_task, .images = images_task};
