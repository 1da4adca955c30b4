/* copying.c: a matrix of pixels and channels, copied or turned.
 *
 * Design: five ways, chosen by the strides.
 *
 *     either side by side, here and there        rows, vector by vector
 *     pixels here, channels there                NCHW to channels-last: 4 x 4 transposed at a time
 *     channels here, pixels there                the way back
 *     one number everywhere, either there        rows again
 *     anything else                              number by number
 *
 * Three channels, those of photographs, have a way of their own: four pixels of them are three
 * vectors of four, there as here.
 *
 *     a0 a1 a2 a3       a0 b0 c0 a1
 *     b0 b1 b2 b3  -->  b1 c1 a2 b2
 *     c0 c1 c2 c3       c2 a3 b3 c3
 *
 * Numbers are moved, never computed with: a NaN keeps its bits, a denormal its value.
 * Absent on purpose: threads, images (src/kernels/copying.pyx). */
#include "copying.h"

#include <string.h>

#include "vec.h"

enum { PIXELS = 16 };                /* turned at a time: whole cache lines of every channel */

static void rows(const real *from, intptr_t from_row, real *to, intptr_t to_row, intptr_t n_rows,
                 intptr_t n) {
    for (intptr_t row = 0; row < n_rows; row++, from += from_row, to += to_row) {
        intptr_t i = 0;
        for (; i + VL <= n; i += VL) vstore(to + i, vload(from + i));
        if (i < n) vstore_first(to + i, vload_first(from + i, (int)(n - i)), (int)(n - i));
    }
}

static void fill(real value, real *to, intptr_t to_row, intptr_t n_rows, intptr_t n) {
    const vreal all = vset(value);
    for (intptr_t row = 0; row < n_rows; row++, to += to_row) {
        intptr_t i = 0;
        for (; i + VL <= n; i += VL) vstore(to + i, all);
        for (; i < n; i++) to[i] = value;
    }
}

/* The first pixels of three channels, four at a time; returns how many. */
static intptr_t three_channels(const real *from, intptr_t channel, real *to, intptr_t pixels) {
    intptr_t p = 0;
#if HAVE_VECTORS
    for (; p + 4 <= pixels; p += 4, from += 4, to += 12) {
        const quad a = *(const quad_u *)from, b = *(const quad_u *)(from + channel);
        const quad c = *(const quad_u *)(from + 2 * channel);
        const quad ab0 = SHUFFLE4(a, b, 0, 4, 1, 5), ab1 = SHUFFLE4(a, b, 2, 6, 3, 7);
        const quad bc = SHUFFLE4(b, c, 1, 5, 2, 6);
        *(quad_u *)to = SHUFFLE4(ab0, c, 0, 1, 4, 2);
        *(quad_u *)(to + 4) = SHUFFLE4(bc, ab1, 0, 1, 4, 5);
        *(quad_u *)(to + 8) = SHUFFLE4(c, ab1, 2, 6, 7, 3);
    }
#else
    (void)from, (void)channel, (void)to, (void)pixels;
#endif
    return p;
}

/* Neighboring pixels here, neighboring channels there. */
static void turn(const real *from, intptr_t channel, real *to, intptr_t pixel, intptr_t pixels,
                 intptr_t channels) {
    intptr_t p = channels == 3 && pixel == 3 ? three_channels(from, channel, to, pixels) : 0;
    for (; p + PIXELS <= pixels; p += PIXELS)
        pack_lanes(from + p, channel, channels, PIXELS, to + p * pixel, pixel);
    pack_lanes(from + p, channel, channels, pixels - p, to + p * pixel, pixel);
}

/* Neighboring channels here, neighboring pixels there. */
static void turn_back(const real *from, intptr_t pixel, real *to, intptr_t channel,
                      intptr_t pixels, intptr_t channels) {
    for (intptr_t p = 0; p < pixels; p += PIXELS) {
        const intptr_t some = least(PIXELS, pixels - p);
        for (intptr_t c = 0; c < channels; c += 4)
            pack_lanes(from + p * pixel + c, pixel, some, least(4, channels - c),
                       to + c * channel + p, channel);
    }
}

static void copy_pixels(const void *src, const pixel_strides *f, void *dst, const pixel_strides *t,
                        intptr_t pixels, intptr_t channels) {
    const real *from = src;
    real *to = dst;
    const int dense = t->pixel == channels;
    if (f->channel == 1 && t->channel == 1 && channels > 1)
        rows(from, f->pixel, to, t->pixel, pixels, channels);
    else if (f->pixel == 1 && t->pixel == 1)
        rows(from, f->channel, to, t->channel, channels, pixels);
    else if (f->pixel == 1 && t->channel == 1)
        turn(from, f->channel, to, t->pixel, pixels, channels);
    else if (f->channel == 1 && t->pixel == 1)
        turn_back(from, f->pixel, to, t->channel, pixels, channels);
    else if (f->channel == 0 && f->pixel == 0 && t->channel == 1)
        fill(*from, to, t->pixel, dense ? 1 : pixels, dense ? pixels * channels : channels);
    else if (f->channel == 0 && f->pixel == 0 && t->pixel == 1)
        fill(*from, to, t->channel, channels, pixels);
    else
        for (intptr_t p = 0; p < pixels; p++)
            for (intptr_t c = 0; c < channels; c++)
                to[p * t->pixel + c * t->channel] = from[p * f->pixel + c * f->channel];
}

extern const copying_kernels NAME(copying_kernels);
const copying_kernels NAME(copying_kernels) = {.pixels = copy_pixels};
