/* dropout.h: which numbers are kept, one bit each.
 *
 * Design: bit k of byte i is 1 where number 8 i + k is kept, so a stretch that begins at a multiple
 * of eight needs no shifts. Numbers are counted in the order of memory. See dropout.c. */
#ifndef MINIGRAD_DROPOUT_H
#define MINIGRAD_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    /* z = scale x where the bit is 1, else 0, for n reals */
    void (*drop)(const void *x, const uint8_t *bits, double scale, void *z, ptrdiff_t n);
    /* The bits of n words, 1 where a word is at least `limit`; zeros fill the last byte. Words have
     * 32 bits, so these two are in the table of float32 alone (NULL in the other). */
    void (*pack)(const uint32_t *words, uint32_t limit, uint8_t *bits, ptrdiff_t n);
    /* Words (channels, pixels) of one image to the bits (pixels, channels) of its pixels first ..
     * last - 1; channels is a multiple of 8. */
    void (*pack_pixels)(const uint32_t *words, uint32_t limit, uint8_t *bits, ptrdiff_t channels,
                        ptrdiff_t pixels, ptrdiff_t first, ptrdiff_t last);
} dropout_kernels;

#endif
