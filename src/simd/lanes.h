/* lanes.h: channels in vectors, whatever their number.
 *
 * Design: channels lie side by side, C of them, and vectors hold VL.
 *   C >= VL   the last vector is moved back so that it ends at C.  A few channels are then computed
 *             twice, with the same result: no masks, no scalar tail.
 *   C <  VL   a vector reaches into the next pixel.  That is harmless while the memory is there (an
 *             output that is written beyond its pixel is written again by the next one, in order);
 *             at the end of the array the C lanes go through a small buffer.
 * Not for sums over channels: these count every channel once (loss.c).
 */
#ifndef MINIGRAD_LANES_H
#define MINIGRAD_LANES_H

#include "vec.h"

/* Where the vector after the one at c starts; C when there is none. */
INLINE intptr_t next_lane(intptr_t c, intptr_t channels) {
    if (c + VL >= channels) return channels;
    return c + 2 * VL <= channels ? c + VL : channels - VL;
}

/* The first n of VL reals; the other lanes are `fill`. */
INLINE vreal load_part(const real *p, intptr_t n, real fill) {
    real lanes[VL];
    for (int i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : fill;
    return vload(lanes);
}

/* v with zeros past the first n lanes */
INLINE vreal first_lanes(vreal v, intptr_t n) {
    real lanes[VL];
    vstore(lanes, v);
    return load_part(lanes, n, 0);
}

/* load and store of n lanes, n <= VL; a constant n == VL is one instruction */
INLINE vreal load_lanes(const real *p, intptr_t n) {
    return n == VL ? vload(p) : vload_first(p, (int)n);
}

INLINE void store_lanes(real *p, intptr_t n, vreal v) {
    if (n == VL)
        vstore(p, v);
    else
        vstore_first(p, v, (int)n);
}

/* max(0, v); NaN stays NaN */
INLINE vreal relu_lanes(vreal v) { return vselect(v < vset(0), vset(0), v); }

#endif
