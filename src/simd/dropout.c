/* dropout.c: random words to bits, and bits to lanes.
 *
 * Design: a dropped number is masked, not multiplied by 0, so that NaN and infinity go as well. The
 * bits of 32 numbers are read at once; `bit_lanes` (vec.h) turns those of one vector to lanes. A
 * partial vector at the end goes through the same arithmetic.
 *
 * Packing has a direction of its own for images in channels-last memory, because the stream of
 * random words is in the order (N, C, H, W): eight channels of as many pixels as a vector has lanes
 * are compared, and each lane gathers the byte of its pixel.
 *
 *     words   c0   p0 p1 p2 ..        bits   p0  byte of c0..c7, byte of c8..c15, ..
 *             c1   p0 p1 p2 ..  --->         p1  ..
 *             ..                             p2  ..
 *
 * Absent on purpose: threads, shapes, drawing the words (src/kernels/dropout.pyx). */
#include "dropout.h"

#include "vec.h"

enum {
    SOME = 32,                               /* numbers of one step: a multiple of VL and of 8 */
    AHEAD = 8 * SOME,
};

INLINE vreal drop_v(vreal x, vreal scale, uint32_t bits) {
    return vselect(bit_lanes(bits), x * scale, vset(0));
}

static void drop(const void *from, const uint8_t *bits, double scale, void *to, ptrdiff_t n) {
    const real *x = from;
    real *z = to;
    const vreal s = vset((real)scale);
    ptrdiff_t i = 0;
    for (; i + SOME <= n; i += SOME) {
        const uint8_t *at = bits + i / 8;
        const uint32_t some = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16
                              | (uint32_t)at[3] << 24;
        if (VBYTES == 64) {                  /* AVX-512's masked loads wait for the bits */
            UNROLL(SOME)
            for (int k = 0; k < SOME; k += VL) PREFETCH(x + i + AHEAD + k);
        }
        UNROLL(SOME)
        for (int k = 0; k < SOME; k += VL)
            vstore(z + i + k, drop_v(vload(x + i + k), s, some >> k));
    }
    for (; i < n; i += VL) {
        const int left = n - i < VL ? (int)(n - i) : VL;
        uint32_t some = bits[i / 8];
        if (left > 8) some |= (uint32_t)bits[i / 8 + 1] << 8;
        vstore_first(z + i, drop_v(vload_first(x + i, left), s, some >> i % 8), left);
    }
}

#ifndef REAL64

/* Which words are at least `limit`: compared as signed integers, both moved down by 2^31. */
INLINE vmask at_least(const uint32_t *words, vmask limit) {
    return (vmask)(((vmask)vload((const real *)words) ^ INT32_MIN) >= limit);
}

INLINE vmask spread(uint32_t limit) { return (vmask){0} + (ireal)(limit ^ 0x80000000u); }

INLINE uint32_t pack_scalar(const uint32_t *words, ptrdiff_t step, uint32_t limit, int n) {
    uint32_t byte = 0;
    for (int k = 0; k < n; k++) byte |= (uint32_t)(words[k * step] >= limit) << k;
    return byte;
}

static void pack(const uint32_t *words, uint32_t limit, uint8_t *bits, ptrdiff_t n) {
    const vmask least = spread(limit);
    ptrdiff_t i = 0;
    for (; i + SOME <= n; i += SOME) {
        uint32_t some = 0;
        UNROLL(SOME)
        for (int k = 0; k < SOME; k += VL) some |= lane_bits(at_least(words + i + k, least)) << k;
        for (int k = 0; k < 4; k++) bits[i / 8 + k] = (uint8_t)(some >> 8 * k);
    }
    for (; i < n; i += 8)
        bits[i / 8] = (uint8_t)pack_scalar(words + i, 1, limit, n - i < 8 ? (int)(n - i) : 8);
}

static void pack_pixels(const uint32_t *words, uint32_t limit, uint8_t *bits, ptrdiff_t channels,
                        ptrdiff_t pixels, ptrdiff_t first, ptrdiff_t last) {
    const vmask least = spread(limit);
    const ptrdiff_t row = channels / 8;      /* bytes of a pixel */
    for (ptrdiff_t c = 0; c < row; c++) {
        const uint32_t *from = words + 8 * c * pixels;
        ptrdiff_t p = first;
        for (; p + VL <= last; p += VL) {
            uint8_t bytes[VL];
            vreal sum = vset(0);
            UNROLL(8)
            for (int k = 0; k < 8; k++)
                sum += vselect(at_least(from + k * pixels + p, least), vset((real)(1 << k)),
                               vset(0));
            store_bytes(bytes, sum);
            for (int k = 0; k < VL; k++) bits[(p + k) * row + c] = bytes[k];
        }
        for (; p < last; p++) bits[p * row + c] = (uint8_t)pack_scalar(from + p, pixels, limit, 8);
    }
}

#endif

extern const dropout_kernels NAME(dropout_kernels);
const dropout_kernels NAME(dropout_kernels) = {
    .drop = drop,
#ifndef REAL64
    .pack = pack, .pack_pixels = pack_pixels,
#endif
};
