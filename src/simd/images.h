/* images.h: a band with images in the lanes of its vectors (for narrow layers).
 *
 * Design: with 6 output channels, vectors over channels (conv_forward.c, conv_grad_w.c) are more
 * than half empty.  Here a lane is an image: VL images are turned to planes of vectors, and every
 * element of a result is a sum of whole vectors, whatever the number of channels.
 *
 *     x (n, h, w, c)      ->      band[c][slot of h][slot of w][image]     zeros: the padding
 *
 *     forward   Y[p][k]  += w[k][t] band[p + t]       conv_images.c
 *     grad_w    gW[k][t] += gy[k][p] band[p + t]      conv_images_grad_w.c
 *
 * Transposing there and back is what it costs; conv_choice.pyx weighs it.  The plans are those of
 * the other kernels, with image_block = VL.  Forward, a band has all channels, but they are summed
 * by the same chunks in the same order: an image's result does not depend on the others, not even
 * on which of the two ways their number makes the faster one.  grad_w: taps in the order (C, R, S).
 */
#ifndef MINIGRAD_IMAGES_H
#define MINIGRAD_IMAGES_H

#include "band.h"

enum { ROWS = 6 };                   /* of a tile */

INLINE intptr_t depth_of(const conv_band *b) {
    return b->h.taps * b->w.taps * b->group_channels;
}
INLINE intptr_t plane_of(const conv_band *b) { return b->h.slots * b->w.slots; }

/* out[at[e] VL + l] = src[l * image + e] for e < n, l < images. */
static void to_lanes(const real *src, intptr_t image, intptr_t images, intptr_t n,
                     const intptr_t *at, real *out) {
    for (intptr_t e = 0; e < n; e += 4) {
        intptr_t l = 0;
        if (e + 4 <= n)
            for (; l + 4 <= images; l += 4)
                transpose4_to(src + l * image + e, image, out + at[e] * VL + l,
                              out + at[e + 1] * VL + l, out + at[e + 2] * VL + l,
                              out + at[e + 3] * VL + l);
        for (; l < images; l++)
            for (intptr_t i = e; i < e + 4 && i < n; i++) out[at[i] * VL + l] = src[l * image + i];
    }
}

/* out[l * image + e] = src[e VL + l] for e < n, l < images. */
static void from_lanes(const real *src, intptr_t images, intptr_t n, real *out, intptr_t image) {
    for (intptr_t e = 0; e < n; e += 4) {
        intptr_t l = 0;
        if (e + 4 <= n)
            for (; l + 4 <= images; l += 4)
                transpose4(src + e * VL + l, VL, out + l * image + e, image);
        for (; l < images; l++)
            for (intptr_t i = e; i < e + 4 && i < n; i++) out[l * image + i] = src[i * VL + l];
    }
}

/* at[j * inner + i] = i * outer + j: elements of pixels side by side, by planes of `outer`. */
static void plane_offsets(intptr_t pixels, intptr_t inner, intptr_t outer, intptr_t *at) {
    for (intptr_t j = 0; j < pixels; j++)
        for (intptr_t i = 0; i < inner; i++) at[j * inner + i] = i * outer + j;
}

/* One row of the band: `used` pixels of the source row src, to vectors at[..] of out. */
static void row_to_lanes(const conv_band *b, const band_range *r, const real *src, intptr_t used,
                         const intptr_t *at, real *out) {
    const intptr_t image = b->h.size * b->w.size * b->channels;
    if (b->w.dense && b->group_channels == b->channels) {
        const intptr_t start = slot_source(&b->w, r->j0, 0), left = start >= 0 ? 0 : -start;
        const intptr_t end = least(used, b->w.size - start);
        if (end > left)
            to_lanes(src + (start + left) * b->channels, image, r->images,
                     (end - left) * b->group_channels, at + left * b->group_channels, out);
        return;
    }
    for (intptr_t q = 0; q < used; q++) {
        const intptr_t from = slot_source(&b->w, r->j0, q);
        if (from >= 0 && from < b->w.size)
            to_lanes(src + from * b->channels, image, r->images, b->group_channels,
                     at + q * b->group_channels, out);
    }
}

/* Channels c0.. of VL images, for the outputs of range r; lanes past the last image are zeros. */
static void band_to_lanes(const conv_band *b, const band_range *r, intptr_t c0, intptr_t *at,
                          real *out) {
    const intptr_t rows = slots_used(&b->h, r->rows), used = slots_used(&b->w, r->cols);
    memset(out, 0, (size_t)(b->group_channels * plane_of(b) * VL) * sizeof(real));
    plane_offsets(used, b->group_channels, plane_of(b), at);
    for (intptr_t slot = 0; slot < rows; slot++) {
        const intptr_t h = slot_source(&b->h, r->i0, slot);
        if (h < 0 || h >= b->h.size) continue;
        const real *src = (const real *)b->src +
                          (r->n0 * b->h.size + h) * b->w.size * b->channels + c0;
        row_to_lanes(b, r, src, used, at, out + slot * b->w.slots * VL);
    }
}

/* Where the outputs of a range start in a plane of the band; returns their number. */
static intptr_t band_pixels(const conv_band *b, const band_range *r, intptr_t *at) {
    intptr_t p = 0;
    for (intptr_t i = 0; i < r->rows; i++)
        for (intptr_t j = 0; j < r->cols; j++)
            at[p++] = (i * b->h.slot_step * b->w.slots + j * b->w.slot_step) * VL;
    return p;
}

/* Room for the tables of a band of either pass, and for the band. */
INLINE intptr_t tables_bytes(const conv_band *b, intptr_t outputs) {
    const intptr_t x = b->w.slots * b->group_channels, gy = b->w.block * outputs;
    return offsets_bytes(b->band_pixels) + offsets_bytes(x > gy ? x : gy);
}
INLINE intptr_t lanes_bytes(intptr_t vectors) {
    return rounded(vectors * VL * (intptr_t)sizeof(real));
}

#endif
