/* vmath.h: square roots, exponentials and hyperbolic tangents of vectors.
 *
 * Design: roots are plain loops over lanes, in which the compiler finds the vector instruction by
 * itself; they are exact (IEEE).  e^x in float32 is within 1.5 units in the last place (range
 * reduction and polynomial from Cephes by S. L. Moshier), tanh within 1.9; in float64 they are the
 * C library's.
 */
#ifndef MINIGRAD_VMATH_H
#define MINIGRAD_VMATH_H

#include <math.h>

#include "vec.h"

#ifdef REAL64
#define REAL_SQRT sqrt
#define REAL_POW pow
#define REAL_EXP exp
#define REAL_TANH tanh
#define REAL_ABS fabs
#else
#define REAL_SQRT sqrtf
#define REAL_POW powf
#define REAL_EXP expf
#define REAL_TANH tanhf
#define REAL_ABS fabsf
#endif

INLINE vreal vsqrt(vreal v) {
    real lanes[VL];
    vstore(lanes, v);
    UNROLL(16) for (int i = 0; i < VL; i++) lanes[i] = REAL_SQRT(lanes[i]);
    return vload(lanes);
}

#if HAVE_VECTORS
INLINE vreal vabs(vreal x) {
    const vmask sign = (vmask)vset((real)-0.0);
    return (vreal)((vmask)x & ~sign);
}
#else
INLINE vreal vabs(vreal x) { return REAL_ABS(x); }
#endif

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

/* tanh |x| = d / (d + 2), d = e^2|x| - 1 = 2^k (e^r - 1) + (2^k - 1) with k = round(2|x| / ln 2),
 * so that d has all its digits near 0 too, where k is 0.  e^r - 1 = r + r^2 q(r), q a minimax
 * polynomial for |r| <= ln 2 / 2.  From 10 on, tanh is 1. */
INLINE vreal vtanh(vreal x) {
    const vreal shift = vset(12583039.0f);                       /* 1.5 * 2^23 + 127 */
    const vmask sign = (vmask)vset(-0.0f);
    vreal a = vabs(x + x);
    a = vselect((vmask)(a > vset(20.0f)), vset(20.0f), a);
    vreal shifted = a * vset(1.44269504088896341f) + shift;      /* its last bits: k + 127 */
    vreal r = a - (shifted - shift) * vset(0.693147180559945f);
    vreal q = vset(1.38825166504830e-3f);
    q = q * r + vset(8.36654752492903e-3f);
    q = q * r + vset(4.16672006249428e-2f);
    q = q * r + vset(1.66665434837341e-1f);
    q = q * r + vset(0.49999997019767761f);
    vreal power = (vreal)((vmask)shifted << 23);                 /* 2^k */
    vreal d = (r * r * q + r) * power + (power - vset(1.0f));
    vreal half = vset(0.5f) * d, z = d / (d + vset(2.0f));
    z = vselect((vmask)(d < vset(1.0f)), half - half * z, z);    /* the same, rounded less */
    return (vreal)((vmask)z | ((vmask)x & sign));
}

#else

INLINE vreal vexp(vreal x) {
    real lanes[VL];
    vstore(lanes, x);
    for (int i = 0; i < VL; i++) lanes[i] = REAL_EXP(lanes[i]);
    return vload(lanes);
}

INLINE vreal vtanh(vreal x) {
    real lanes[VL];
    vstore(lanes, x);
    for (int i = 0; i < VL; i++) lanes[i] = REAL_TANH(lanes[i]);
    return vload(lanes);
}

#endif

#endif
