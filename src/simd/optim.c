/* optim.c: SGD, Adam(W) and RMSprop, one pass over memory each.
 *
 * Design: the arithmetic of a step is a function of vectors. The loop loads, calls it and stores; a
 * partial vector at the end goes through padded lanes, so an element's value does not depend on
 * where a stretch was cut. Momentum dies away through denormal numbers, which are slow: they are
 * flushed in float32.
 *
 * Absent on purpose: threads and lists of parameters (src/kernels/optim.pyx). */
#include "optim.h"

#include <math.h>

#include "vec.h"
#include "vmath.h"

/* min(n, VL) lanes from memory, the others 0; p NULL: all 0. */
INLINE vreal load_lanes(const real *p, ptrdiff_t n) {
    real lanes[VL];
    if (!p) return vset(0);
    if (n >= VL) return vload(p);
    for (int i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : (real)0;
    return vload(lanes);
}

INLINE void store_lanes(real *p, vreal v, ptrdiff_t n) {
    real lanes[VL];
    if (!p) return;
    if (n >= VL) {
        vstore(p, v);
        return;
    }
    vstore(lanes, v);
    for (ptrdiff_t i = 0; i < n; i++) p[i] = lanes[i];
}

/* g += decay p;  b = momentum b + (1 - dampening) g;  p -= lr (nesterov ? g + momentum b : b). */
static void sgd(const sgd_step *step, void *param, const void *grad, void *buffer, ptrdiff_t n) {
    const unsigned mode = fp_enter();
    const vreal lr = vset((real)step->lr), momentum = vset((real)step->momentum);
    const vreal decay = vset((real)step->weight_decay), keep = vset((real)(1 - step->dampening));
    const real *gs = grad;
    real *ps = param, *bs = buffer;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const ptrdiff_t left = n - i;
        vreal p = load_lanes(ps + i, left), g = load_lanes(gs + i, left);
        if (step->weight_decay != 0) g = g + decay * p;
        if (bs) {
            vreal b = momentum * load_lanes(bs + i, left) + keep * g;
            store_lanes(bs + i, b, left);
            g = step->nesterov ? g + momentum * b : b;
        }
        store_lanes(ps + i, p - lr * g, left);
    }
    fp_leave(mode);
}

/* m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2;  p -= lr/c1 m / (sqrt(v) / sqrt(c2) + eps). */
static void adam(const adam_step *step, void *param, const void *grad, void *mean, void *square,
                 ptrdiff_t n) {
    const unsigned mode = fp_enter();
    const vreal rate = vset((real)(step->lr / step->correction1));
    const vreal scale = vset((real)sqrt(step->correction2)), eps = vset((real)step->eps);
    const vreal new1 = vset((real)(1 - step->beta1)), old2 = vset((real)step->beta2);
    const vreal new2 = vset((real)(1 - step->beta2)), decay = vset((real)step->weight_decay);
    const vreal shrink = vset((real)(1 - step->lr * step->weight_decay));
    const real *gs = grad;
    real *ps = param, *ms = mean, *vs = square;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const ptrdiff_t left = n - i;
        vreal p = load_lanes(ps + i, left), g = load_lanes(gs + i, left);
        vreal m = load_lanes(ms + i, left), v = load_lanes(vs + i, left);
        if (step->weight_decay != 0) {
            if (step->decoupled)
                p = p * shrink;
            else
                g = g + decay * p;
        }
        m = m + new1 * (g - m);
        v = old2 * v + new2 * (g * g);
        store_lanes(ms + i, m, left);
        store_lanes(vs + i, v, left);
        store_lanes(ps + i, p - rate * (m / (vsqrt(v) / scale + eps)), left);
    }
    fp_leave(mode);
}

/* v = a v + (1 - a) g^2;  d = sqrt(v - m^2 when centered) + eps;  b = momentum b + g / d. */
static void rmsprop(const rmsprop_step *step, void *param, const void *grad, void *square,
                    void *buffer, void *mean, ptrdiff_t n) {
    const unsigned mode = fp_enter();
    const vreal lr = vset((real)step->lr), momentum = vset((real)step->momentum);
    const vreal old = vset((real)step->alpha), new = vset((real)(1 - step->alpha));
    const vreal eps = vset((real)step->eps), decay = vset((real)step->weight_decay);
    const real *gs = grad;
    real *ps = param, *vs = square, *bs = buffer, *ms = mean;
    for (ptrdiff_t i = 0; i < n; i += VL) {
        const ptrdiff_t left = n - i;
        vreal p = load_lanes(ps + i, left), g = load_lanes(gs + i, left);
        if (step->weight_decay != 0) g = g + decay * p;
        vreal v = old * load_lanes(vs + i, left) + new * (g * g);
        store_lanes(vs + i, v, left);
        if (ms) {
            vreal m = load_lanes(ms + i, left);
            m = m + new * (g - m);
            store_lanes(ms + i, m, left);
            v = v - m * m;
        }
        g = g / (vsqrt(v) + eps);
        if (bs) {
            g = momentum * load_lanes(bs + i, left) + g;
            store_lanes(bs + i, g, left);
        }
        store_lanes(ps + i, p - lr * g, left);
    }
    fp_leave(mode);
}

extern const optim_kernels NAME(optim_kernels);
const optim_kernels NAME(optim_kernels) = {.sgd = sgd, .adam = adam, .rmsprop = rmsprop};
