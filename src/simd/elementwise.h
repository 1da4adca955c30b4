/* elementwise.h: one number in, one number out, over dense memory.
 *
 * Design: every function works on `n` reals that lie side by side; the caller has made sure that
 * its operands agree in shape and in memory order. The output may be one of the inputs itself (in
 * place), never a shifted part of it. See elementwise.c. */
#ifndef MINIGRAD_ELEMENTWISE_H
#define MINIGRAD_ELEMENTWISE_H

#include <stddef.h>

typedef void (*unary_kernel)(const void *x, void *z, ptrdiff_t n);
typedef void (*binary_kernel)(const void *x, const void *y, void *z, ptrdiff_t n);
typedef void (*scalar_kernel)(const void *x, double s, void *z, ptrdiff_t n);

typedef struct {
    unary_kernel neg, abs, square, sqrt, relu, exp, log, tanh, sigmoid;
    binary_kernel add, sub, mul, div, maximum, minimum;
    binary_kernel relu_grad;                 /* x where y > 0, else 0 */
    binary_kernel tanh_grad;                 /* x (1 - y^2) */
    scalar_kernel add_scalar, mul_scalar;
    scalar_kernel sub_scalar, sub_from;      /* x - s, s - x */
    scalar_kernel div_scalar, div_into;      /* x / s, s / x */
    scalar_kernel leaky_relu;                /* x where x > 0, else s x */
    /* z[row][c] = max(x[row][c] + b[c], 0) for rows of `columns` reals */
    void (*bias_relu)(const void *x, const void *b, void *z, ptrdiff_t rows, ptrdiff_t columns);
} elementwise_kernels;

#endif
