/* vmath.h: square roots and exponentials of vectors.
 *
 * Design: roots are plain loops over lanes, in which the compiler finds the vector instruction by
 * itself; they are exact (IEEE).  e^x in float32 is within 1.5 units in the last place (range
 * reduction and polynomial from Cephes by S. L. Moshier); in float64 it is the C library's.
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
    real lanes[VL];
    vstore(lanes, v);
    UNROLL(16) for (int i = 0; i < VL; i++) lanes[i] = REAL_SQRT(lanes[i]);
    return vload(lanes);
}

#if HAVE_VECTORS && !defined(REAL64)

/* 2^k for whole k in [-126, 127]. */
INLINE vreal power_of_two(vmask k) { return (vreal)((k + 127) << 23); }

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2; 2^n in two factors, for denormals. */
INLINE vreal vexp(vreal x) {
    const vreal shift = vset(12582912.0f);                       /* 1.5 * 2^23: adding it rounds */
    x = vselect((vmask)(x > vset(89.0f)), vset(89.0f), x);       /* e^89 is already inf */
    x = vselect((vmask)(x < vset(-104.0f)), vset(-104.0f), x);   /* and e^-104 is 0 */
    vreal shifted = x * vset(1.44269504088896341f) + shift;
    vreal n = shifted - shift;
    vreal r = x - n * vset(0.693145752f);                        /* ln 2 in two parts */
    r = r - n * vset(1.42860676533018705e-6f);
    vreal p = vset(1.98527617612853646e-4f);
    p = p * r + vset(1.39304355252534151e-3f);
    p = p * r + vset(8.33336077630519867e-3f);
    p = p * r + vset(4.16664853692054749e-2f);
    p = p * r + vset(1.66666671633720398e-1f);
    p = p * r + vset(0.5f);
    vreal y = (p * (r * r) + r) + vset(1.0f);
    vmask k = (vmask)shifted - (vmask)shift;
    vmask half = k >> 1;
    return y * power_of_two(half) * power_of_two(k - half);
}

#else

INLINE vreal vexp(vreal x) {
    real lanes[VL];
    vstore(lanes, x);
    for (int i = 0; i < VL; i++) lanes[i] = REAL_EXP(lanes[i]);
    return vload(lanes);
}

#endif

#endif
