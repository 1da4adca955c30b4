/* loss.c: softmax and cross-entropy by rows (loss.h has the equations). */
#include "loss.h"

#include "lanes.h"
#include "vmath.h"

/* Lanes of the vector at class c of a row: VL, or what is left. */
INLINE intptr_t lanes_left(intptr_t c, intptr_t classes) {
    return c + VL <= classes ? VL : classes - c;
}

INLINE vreal load_row(const real *p, intptr_t n, real fill) {
    return n == VL ? vload(p) : load_part(p, n, fill);
}

INLINE real lane_sum(vreal v) {
    real lanes[VL];
    vstore(lanes, v);
    real sum = lanes[0];
    for (int i = 1; i < VL; i++) sum += lanes[i];
    return sum;
}

/* The greatest of a row that is not NaN; -inf of none. */
INLINE real row_max(const real *x, intptr_t classes) {
    vreal best = vset(-(real)INFINITY);
    for (intptr_t c = 0; c < classes; c += VL) {
        const vreal v = load_row(x + c, lanes_left(c, classes), -(real)INFINITY);
        best = vselect(v > best, v, best);
    }
    real lanes[VL];
    vstore(lanes, best);
    real m = lanes[0];
    for (int i = 1; i < VL; i++) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

/* sum e^(x - m); the terms are kept in e unless it is NULL */
INLINE real exp_sum(const real *x, real m, intptr_t classes, real *e) {
    vreal sum = vset(0);
    for (intptr_t c = 0; c < classes; c += VL) {
        const intptr_t n = lanes_left(c, classes);
        const vreal v = vexp(load_row(x + c, n, -(real)INFINITY) - vset(m));
        if (e) store_lanes(e + c, n, v);
        sum += n == VL ? v : first_lanes(v, n);
    }
    return lane_sum(sum);
}

INLINE void divide_row(real *p, real s, intptr_t classes) {
    for (intptr_t c = 0; c < classes; c += VL) {
        const intptr_t n = lanes_left(c, classes);
        store_lanes(p + c, n, load_row(p + c, n, 0) / vset(s));
    }
}

static void softmax(const void *args, intptr_t first, intptr_t last) {
    const loss_args *a = (const loss_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t row = first; row < last; row++) {
        const real *x = (const real *)a->x + row * a->classes;
        real *y = (real *)a->y + row * a->classes;
        divide_row(y, exp_sum(x, row_max(x, a->classes), a->classes, y), a->classes);
    }
    fp_leave(mode);
}

static void log_softmax(const void *args, intptr_t first, intptr_t last) {
    const loss_args *a = (const loss_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t row = first; row < last; row++) {
        const real *x = (const real *)a->x + row * a->classes;
        real *y = (real *)a->y + row * a->classes;
        const real m = row_max(x, a->classes);
        const vreal log_s = vset((real)log((double)exp_sum(x, m, a->classes, 0)));
        for (intptr_t c = 0; c < a->classes; c += VL) {
            const intptr_t n = lanes_left(c, a->classes);
            store_lanes(y + c, n, load_row(x + c, n, 0) - vset(m) - log_s);
        }
    }
    fp_leave(mode);
}

/* gx = g - e^out sum g */
static void log_softmax_gradient(const void *args, intptr_t first, intptr_t last) {
    const loss_args *a = (const loss_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t row = first; row < last; row++) {
        const real *out = (const real *)a->x + row * a->classes;
        const real *g = (const real *)a->g + row * a->classes;
        real *gx = (real *)a->y + row * a->classes;
        vreal sum = vset(0);
        for (intptr_t c = 0; c < a->classes; c += VL)
            sum += load_row(g + c, lanes_left(c, a->classes), 0);
        const vreal total = vset(lane_sum(sum));
        for (intptr_t c = 0; c < a->classes; c += VL) {
            const intptr_t n = lanes_left(c, a->classes);
            const vreal p = vexp(load_row(out + c, n, 0));
            store_lanes(gx + c, n, load_row(g + c, n, 0) - p * total);
        }
    }
    fp_leave(mode);
}

/* sum over classes of w_c (log s - (x_c - m)), for label smoothing; no term where w_c is 0 */
static real smooth_loss(const loss_args *a, const real *x, real m, real log_s) {
    const real *w = (const real *)a->weight;
    vreal sum = vset(0);
    for (intptr_t c = 0; c < a->classes; c += VL) {
        const intptr_t n = lanes_left(c, a->classes);
        const vreal d = vset(log_s) - (load_row(x + c, n, 0) - vset(m));
        const vreal weight = w ? load_row(w + c, n, 0) : vset(1);
        const vreal term = vselect(weight == vset(0), vset(0), weight * d);
        sum += n == VL ? term : first_lanes(term, n);
    }
    return lane_sum(sum);
}

static void cross_entropy(const void *args, intptr_t first, intptr_t last) {
    const loss_args *a = (const loss_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t row = first; row < last; row++) {
        const real *x = (const real *)a->x + row * a->classes;
        real *p = (real *)a->y + row * a->classes;
        const real m = row_max(x, a->classes), s = exp_sum(x, m, a->classes, p);
        divide_row(p, s, a->classes);
        const int64_t label = a->labels[row];
        real loss = 0;
        if (label != a->ignore) {
            const real log_s = (real)log((double)s);
            const real w = a->weight ? ((const real *)a->weight)[label] : 1;
            const real share = w * (real)(1 - a->smoothing);
            if (share != 0) loss = share * (log_s - (x[label] - m));
            if (a->smoothing != 0)
                loss += (real)(a->smoothing / (double)a->classes) * smooth_loss(a, x, m, log_s);
        }
        ((real *)a->loss)[row] = loss;
    }
    fp_leave(mode);
}

/* gx_c = g (p_c sum t - t_c) */
static void cross_entropy_gradient(const void *args, intptr_t first, intptr_t last) {
    const loss_args *a = (const loss_args *)args;
    const unsigned mode = fp_enter();
    const double uniform = a->smoothing / (double)a->classes;
    for (intptr_t row = first; row < last; row++) {
        const real *p = (const real *)a->x + row * a->classes;
        real *gx = (real *)a->y + row * a->classes;
        const int64_t label = a->labels[row];
        const int ignored = label == a->ignore;
        const real *weight = (const real *)a->weight;
        const double at_label = ignored ? 0 : (1 - a->smoothing) * (weight ? weight[label] : 1);
        const vreal g = vset(ignored ? 0 : ((const real *)a->g)[row]);
        const vreal total = vset((real)(at_label + uniform * a->weight_sum));
        for (intptr_t c = 0; c < a->classes; c += VL) {
            const intptr_t n = lanes_left(c, a->classes);
            const vreal w = weight ? load_row(weight + c, n, 0) : vset(1);
            const vreal t = w * vset((real)uniform);
            const vreal v = g * (load_row(p + c, n, 0) * total - t);
            store_lanes(gx + c, n, ignored ? vset(0) : v);
        }
        if (!ignored) {
            const double w = weight ? weight[label] : 1;
            const real t = (real)(at_label + uniform * w);
            gx[label] = ((const real *)a->g)[row] *
                        (p[label] * (real)(at_label + uniform * a->weight_sum) - t);
        }
    }
    fp_leave(mode);
}

extern const loss_kernels NAME(loss_kernels);
const loss_kernels NAME(loss_kernels) = {.softmax = softmax,
                                         .log_softmax = log_softmax,
                                         .log_softmax_gradient = log_softmax_gradient,
                                         .cross_entropy = cross_entropy,
                                         .cross_entropy_gradient = cross_entropy_gradient};
