/* calibrate.c: independent multiply-add chains: the FMA peak that kernels are held against. */
#include "calibrate.h"
#include "vec.h"

#define CHAINS 12

static double fma_chains(long rounds, double *sink) {
    vreal acc[CHAINS];
    vreal a = vset((real)0.999), b = vset((real)1e-3);
    UNROLL(12) for (int c = 0; c < CHAINS; c++) acc[c] = vset((real)c);
    for (long r = 0; r < rounds; r++) {
        UNROLL(8) for (int u = 0; u < 8; u++)
            UNROLL(12) for (int c = 0; c < CHAINS; c++) acc[c] = acc[c] * a + b;
    }
    real out[VL];
    for (int c = 1; c < CHAINS; c++) acc[0] += acc[c];
    vstore(out, acc[0]);
    *sink += (double)out[0];
    return (double)rounds * 8 * CHAINS * VL * 2;
}

extern const calibrate_kernels NAME(calibrate_kernels);
const calibrate_kernels NAME(calibrate_kernels) = {.fma_chains = fma_chains};
