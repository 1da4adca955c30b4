/* optim.h: one step of an optimizer on a stretch of one parameter.
 *
 * Design: parameter, gradient and state are read once and written once; the formulas and the order
 * of their terms are PyTorch's. State arrays are changed in place. See optim.c. */
#ifndef MINIGRAD_OPTIM_H
#define MINIGRAD_OPTIM_H

#include <stddef.h>

typedef struct {
    double lr, momentum, dampening, weight_decay;
    int nesterov;
} sgd_step;

typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    double correction1, correction2;     /* 1 - beta1^step, 1 - beta2^step */
    int decoupled;             /* AdamW: the decay acts on the parameter, not on the gradient */
} adam_step;

typedef struct {
    double lr, alpha, eps, weight_decay, momentum;
} rmsprop_step;

typedef struct {
    /* buffer: NULL without momentum */
    void (*sgd)(const sgd_step *step, void *param, const void *grad, void *buffer, ptrdiff_t n);
    /* mean and square: the running means of the gradient and of its square */
    void (*adam)(const adam_step *step, void *param, const void *grad, void *mean, void *square,
                 ptrdiff_t n);
    /* buffer: NULL without momentum; mean: NULL unless centered */
    void (*rmsprop)(const rmsprop_step *step, void *param, const void *grad, void *square,
                    void *buffer, void *mean, ptrdiff_t n);
} optim_kernels;

#endif
