/* vmath.h: square roots and powers of vectors.
 *
 * Design: plain loops over lanes where the compiler finds the vector instruction by itself, so no
 * instruction set is named.  Roots are exact (IEEE); a product of roots is within two units in the
 * last place.
 */
#ifndef MINIGRAD_VMATH_H
#define MINIGRAD_VMATH_H

#include <math.h>

#include "vec.h"

#ifdef REAL64
#define REAL_SQRT sqrt
#define REAL_POW pow
#define REAL_EXP exp
#else
#define REAL_SQRT sqrtf
#define REAL_POW powf
#define REAL_EXP expf
#endif

INLINE vreal vsqrt(vreal v) {
#if HAVE_VECTORS
    vreal root;
    UNROLL(16) for (int i = 0; i < VL; i++) root[i] = REAL_SQRT(v[i]);
    return root;
#else
    return REAL_SQRT(v);
#endif
}

#endif
