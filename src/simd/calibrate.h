/* calibrate.h: what the machine can do, measured; the benchmarks' yardstick. */
#ifndef MINIGRAD_CALIBRATE_H
#define MINIGRAD_CALIBRATE_H

typedef struct {
    /* `rounds` rounds of 12 independent chains of 8 multiply-adds; returns the flop count. */
    double (*fma_chains)(long rounds, double *sink);
} calibrate_kernels;

#endif
