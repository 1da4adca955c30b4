/* copying.h: pixels from one order in memory to another.
 *
 * Design: a matrix (pixels, channels) of reals is copied between any two pairs of strides, which
 * are counted in elements; it may be repeated (strides of 0) where it is read. The two never
 * overlap. See copying.c. */
#ifndef MINIGRAD_COPYING_H
#define MINIGRAD_COPYING_H

#include <stdint.h>

typedef struct {
    intptr_t pixel, channel;         /* elements to the next one */
} pixel_strides;

typedef struct {
    void (*pixels)(const void *from, const pixel_strides *f, void *to, const pixel_strides *t,
                   intptr_t pixels, intptr_t channels);
} copying_kernels;

#endif
