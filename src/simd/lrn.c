/* lrn.c: local response normalization across channels (lrn.h has the equations). */
#include "lrn.h"

#include <string.h>

#include "lanes.h"
#include "vmath.h"

enum power { GENERAL, THREE_QUARTERS, HALF, ONE };

/* A pixel's scratch: squares of x, gy x q^(-beta-1), gy q^-beta; zeros around the first two. */
typedef struct {
    real *squares, *terms, *direct;
} lines;

static lines lines_of(const lrn_args *a, intptr_t task) {
    real *first = (real *)a->lines + task * LRN_LINES * a->line;
    memset(first, 0, (size_t)(LRN_LINES * a->line) * sizeof(real));
    const lines l = {first, first + a->line, first + 2 * a->line};
    return l;
}

/* q^-beta */
INLINE vreal inverse_power(const enum power power, vreal q, double beta) {
    if (power == ONE) return vset(1) / q;
    if (power == HALF) return vset(1) / vsqrt(q);
    if (power == THREE_QUARTERS) {
        const vreal root = vsqrt(q);
        return vset(1) / (root * vsqrt(root));
    }
    real lane[VL];
    vstore(lane, q);
    for (int i = 0; i < VL; i++) lane[i] = REAL_POW(lane[i], (real)-beta);
    return vload(lane);
}

/* Sum of a line over the window whose first element is `from`. */
INLINE vreal window_sum(const real *from, intptr_t size) {
    vreal sum = vload(from);
    for (intptr_t j = 1; j < size; j++) sum += vload(from + j);
    return sum;
}

/* squares[before + c] = x_c^2 */
INLINE void square_line(const lrn_args *a, const real *x, intptr_t n, real *squares) {
    for (intptr_t c = 0; c < a->channels; c = n == VL ? next_lane(c, a->channels) : a->channels) {
        const vreal v = load_lanes(x + c, n);
        store_lanes(squares + a->before + c, n, v * v);
    }
}

INLINE void forward_pixel(const lrn_args *a, const enum power power, intptr_t n, const real *x,
                          real *y, real *squares) {
    const intptr_t size = a->before + 1 + a->after;
    square_line(a, x, n, squares);
    for (intptr_t c = 0; c < a->channels; c = n == VL ? next_lane(c, a->channels) : a->channels) {
        const vreal q = vset((real)a->k) + vset((real)a->scale) * window_sum(squares + c, size);
        store_lanes(y + c, n, load_lanes(x + c, n) * inverse_power(power, q, a->beta));
    }
}

INLINE void gradient_pixel(const lrn_args *a, const enum power power, intptr_t n, const real *x,
                           const real *gy, real *gx, const lines *l) {
    const intptr_t size = a->before + 1 + a->after;
    const vreal ratio = vset((real)(2 * a->scale * a->beta));
    square_line(a, x, n, l->squares);
    for (intptr_t c = 0; c < a->channels; c = n == VL ? next_lane(c, a->channels) : a->channels) {
        const vreal q = vset((real)a->k) + vset((real)a->scale) * window_sum(l->squares + c, size);
        const vreal direct = load_lanes(gy + c, n) * inverse_power(power, q, a->beta);
        store_lanes(l->direct + c, n, direct);
        store_lanes(l->terms + a->after + c, n, direct * load_lanes(x + c, n) / q);
    }
    for (intptr_t c = 0; c < a->channels; c = n == VL ? next_lane(c, a->channels) : a->channels) {
        const vreal spread = ratio * load_lanes(x + c, n) * window_sum(l->terms + c, size);
        store_lanes(gx + c, n, vload(l->direct + c) - spread);
    }
}

static intptr_t task_end(const lrn_args *a, intptr_t task) {
    const intptr_t end = (task + 1) * a->per_task;
    return end < a->pixels ? end : a->pixels;
}

INLINE void forward_pixels(const lrn_args *a, const enum power power, intptr_t task) {
    const lines l = lines_of(a, task);
    const intptr_t end = task_end(a, task);
    for (intptr_t i = task * a->per_task; i < end; i++) {
        const real *x = (const real *)a->x + i * a->channels;
        real *y = (real *)a->y + i * a->channels;
        if (a->channels >= VL)
            forward_pixel(a, power, VL, x, y, l.squares);
        else
            forward_pixel(a, power, a->channels, x, y, l.squares);
    }
}

INLINE void gradient_pixels(const lrn_args *a, const enum power power, intptr_t task) {
    const lines l = lines_of(a, task);
    const intptr_t end = task_end(a, task);
    for (intptr_t i = task * a->per_task; i < end; i++) {
        const real *x = (const real *)a->x + i * a->channels;
        const real *gy = (const real *)a->gy + i * a->channels;
        real *gx = (real *)a->y + i * a->channels;
        if (a->channels >= VL)
            gradient_pixel(a, power, VL, x, gy, gx, &l);
        else
            gradient_pixel(a, power, a->channels, x, gy, gx, &l);
    }
}

static enum power power_of(double beta) {
    return beta == 0.75 ? THREE_QUARTERS : beta == 0.5 ? HALF : beta == 1 ? ONE : GENERAL;
}

static void forward(const void *args, intptr_t first, intptr_t last) {
    const lrn_args *a = (const lrn_args *)args;
    const enum power power = power_of(a->beta);
    const unsigned mode = fp_enter();
    for (intptr_t task = first; task < last; task++)
        switch (power) {
        case THREE_QUARTERS: forward_pixels(a, THREE_QUARTERS, task); break;
        case HALF: forward_pixels(a, HALF, task); break;
        case ONE: forward_pixels(a, ONE, task); break;
        default: forward_pixels(a, GENERAL, task);
        }
    fp_leave(mode);
}

static void gradient(const void *args, intptr_t first, intptr_t last) {
    const lrn_args *a = (const lrn_args *)args;
    const enum power power = power_of(a->beta);
    const unsigned mode = fp_enter();
    for (intptr_t task = first; task < last; task++)
        switch (power) {
        case THREE_QUARTERS: gradient_pixels(a, THREE_QUARTERS, task); break;
        case HALF: gradient_pixels(a, HALF, task); break;
        case ONE: gradient_pixels(a, ONE, task); break;
        default: gradient_pixels(a, GENERAL, task);
        }
    fp_leave(mode);
}

extern const lrn_kernels NAME(lrn_kernels);
const lrn_kernels NAME(lrn_kernels) = {.forward = forward, .gradient = gradient};
