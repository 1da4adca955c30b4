/* pooling.c: maxima over windows (pooling.h: what is computed; lanes.h: how channels are cut). */
#include "pooling.h"

#include <math.h>
#include <string.h>

#include "lanes.h"

#if HAVE_VECTORS
#define NOT_LE(a, b) (~((a) <= (b)))         /* a > b, or one of them is NaN */
#else
#define NOT_LE(a, b) (!((a) <= (b)))
#endif

/* Integers of the argmax array, and the tap of a window as a real: exact below 2^24. */
INLINE vmask load_taps(const max_pool_args *a, intptr_t at, intptr_t n) {
    if (a->wide) {
        const int32_t *p = (const int32_t *)a->argmax_in + at;
        ireal wide[VL];
        vmask lanes;
        for (int i = 0; i < VL; i++) wide[i] = i < n ? p[i] : -1;
        memcpy(&lanes, wide, sizeof lanes);
        return lanes;
    }
    const uint8_t *p = (const uint8_t *)a->argmax_in + at;
    if (n == VL) return byte_lanes(p);
    uint8_t bytes[VL];
    for (int i = 0; i < VL; i++) bytes[i] = i < n ? p[i] : 0;
    return byte_lanes(bytes);
}

INLINE void store_taps(const max_pool_args *a, intptr_t at, intptr_t n, vreal taps) {
    if (a->wide) {
        int32_t *p = (int32_t *)a->argmax + at;
        real lanes[VL];
        vstore(lanes, taps);
        for (int i = 0; i < VL; i++)
            if (i < n) p[i] = (int32_t)lanes[i];
        return;
    }
    uint8_t *p = (uint8_t *)a->argmax + at;
    if (n == VL) {
        store_bytes(p, taps);
        return;
    }
    uint8_t bytes[VL];
    store_bytes(bytes, taps);
    for (int i = 0; i < VL; i++)
        if (i < n) p[i] = bytes[i];
}

/* A window of an output pixel: where it starts (perhaps outside the image) and its taps inside. */
typedef struct {
    intptr_t start;
    span rows, cols;
} window;

INLINE window window_of(const max_pool_args *a, intptr_t image, intptr_t p, intptr_t q) {
    window v;
    const intptr_t row = image * a->h + p * a->row_stride - a->top;
    v.start = (row * a->w + q * a->col_stride - a->left) * a->c;
    v.rows = a->row_taps[p];
    v.cols = a->col_taps[q];
    if (v.rows.lo >= v.rows.hi || v.cols.lo >= v.cols.hi) v.rows.hi = v.rows.lo;
    return v;
}

/* One past the last element that the taps of a window can read at vector 0. */
INLINE intptr_t window_end(const max_pool_args *a, const window *v) {
    if (v->rows.hi == v->rows.lo) return 0;
    return v->start + VL + ((v->rows.hi - 1) * a->row_dilation * a->w +
                            (v->cols.hi - 1) * a->col_dilation) * a->c;
}

INLINE int taps_of(span s) { return (int)(s.hi - s.lo); }

/* The greatest so far and its tap, nv vectors of each; without `places` nobody asks for taps. */
typedef struct {
    vreal best[4], tap[4];
} winners;

/* Later taps challenge: NaN wins, then the greater, the first.  The rule is associative, so the
 * rows of a window may be settled first.  Which of several NaNs wins is up to `places`. */
INLINE void challenge(winners *w, const winners *by, const int nv, const int places) {
    UNROLL(4) for (int i = 0; i < nv; i++) {
        const vreal t = by->best[i], best = w->best[i];
        if (!places) {
            w->best[i] = vgreatest(best, t);
            continue;
        }
        const vmask wins = NOT_LE(t, best) & (best == best);
        w->best[i] = vselect(wins, t, best);
        w->tap[i] = vselect(wins, by->tap[i], w->tap[i]);
    }
}

/* n lanes of nv vectors at x: one tap */
INLINE winners one_tap(const real *x, const int nv, const int places, intptr_t n, intptr_t tap) {
    winners w;
    UNROLL(4) for (int i = 0; i < nv; i++) {
        w.best[i] = load_lanes(x + i * VL, n);
        if (places) w.tap[i] = vset((real)tap);
    }
    return w;
}

/* The taps of one row of a window, at least one: first_tap + column. */
INLINE winners one_row(const real *x, span cols, intptr_t step, const int nv, const int places,
                       intptr_t first_tap) {
    winners w = one_tap(x + cols.lo * step, nv, places, VL, first_tap + cols.lo);
    for (intptr_t s = cols.lo + 1; s < cols.hi; s++) {
        const winners t = one_tap(x + s * step, nv, places, VL, first_tap + s);
        challenge(&w, &t, nv, places);
    }
    return w;
}

/* With relu a maximum not above 0 has no tap, and nor has NaN, which no gradient passes. */
INLINE void store_winners(const max_pool_args *a, const winners *w, const int nv, const int places,
                          intptr_t n, intptr_t out) {
    const int relu = a->relu;
    const vreal low = vset(relu ? 0 : -(real)INFINITY), none = vset((real)a->no_tap);
    real *y = (real *)a->y + out;
    UNROLL(4) for (int i = 0; i < nv; i++)
        store_lanes(y + i * VL, n, vselect(w->best[i] <= low, low, w->best[i]));
    if (places) UNROLL(4) for (int i = 0; i < nv; i++) {
        const vreal tap = relu ? vselect(w->best[i] > low, w->tap[i], none) : w->tap[i];
        store_taps(a, out + i * VL, n, tap);
    }
}

/* Tap (r, s) of the window at x challenges. */
INLINE void one_more(winners *w, const max_pool_args *a, const real *x, intptr_t r, intptr_t s,
                     const int nv, const int places, intptr_t n) {
    const intptr_t at = (r * a->row_dilation * a->w + s * a->col_dilation) * a->c;
    const winners t = one_tap(x + at, nv, places, n, r * a->s + s);
    challenge(w, &t, nv, places);
}

/* 3 x 3 taps of narrow pixels without a branch, a wrong guess at which would stop the loads. */
INLINE void nine_taps(winners *w, const max_pool_args *a, const window *v, const real *x,
                      const int nv, const int places, intptr_t n) {
    UNROLL(3) for (int r = 0; r < 3; r++)
        UNROLL(3) for (int s = 0; s < 3; s++)
            one_more(w, a, x, v->rows.lo + r, v->cols.lo + s, nv, places, n);
}

/* nv vectors of n lanes from channel c of one window; -inf where it misses the image */
INLINE void max_window(const max_pool_args *a, const window *v, const int nv, const int places,
                       intptr_t c, intptr_t n, intptr_t out) {
    const real *x = (const real *)a->x + v->start + c;
    const int empty = v->rows.hi == v->rows.lo;
    const vreal first = vset(empty ? 0 : (real)(v->rows.lo * a->s + v->cols.lo));
    winners w;
    UNROLL(4) for (int i = 0; i < nv; i++) {
        w.best[i] = vset(-(real)INFINITY);
        w.tap[i] = first;
    }
    if (a->c <= 64 && taps_of(v->rows) == 3 && taps_of(v->cols) == 3)
        nine_taps(&w, a, v, x, nv, places, n);
    else
        for (intptr_t r = v->rows.lo; r < v->rows.hi; r++)
            for (intptr_t s = v->cols.lo; s < v->cols.hi; s++)
                one_more(&w, a, x, r, s, nv, places, n);
    store_winners(a, &w, nv, places, n, out + c);
}

/* A window of 3 rows and the one a row below, n = VL: the two rows they share are settled once. */
INLINE void max_two(const max_pool_args *a, const window *v, const int nv, const int places,
                    intptr_t c, intptr_t out) {
    const real *x = (const real *)a->x + v->start + c;
    const intptr_t row = a->w * a->c, s = a->s;
    winners shared = one_row(x + row, v->cols, a->c, nv, places, s);
    winners other = one_row(x + 2 * row, v->cols, a->c, nv, places, 2 * s);
    challenge(&shared, &other, nv, places);
    other = one_row(x, v->cols, a->c, nv, places, 0);
    challenge(&other, &shared, nv, places);
    store_winners(a, &other, nv, places, VL, out + c);
    if (places) UNROLL(4) for (int i = 0; i < nv; i++) shared.tap[i] -= vset((real)s);
    other = one_row(x + 3 * row, v->cols, a->c, nv, places, 2 * s);
    challenge(&shared, &other, nv, places);
    store_winners(a, &shared, nv, places, VL, out + a->q * a->c + c);
}

INLINE void max_some(const max_pool_args *a, const window *v, const int nv, const int places,
                     const int two, intptr_t c, intptr_t out) {
    if (two)
        max_two(a, v, nv, places, c, out);
    else
        max_window(a, v, nv, places, c, VL, out);
}

/* VL channels or more of one window or of two, four vectors at a time */
INLINE void max_windows(const max_pool_args *a, const window *v, const int places, const int two,
                        intptr_t out) {
    intptr_t c = 0;
    for (; c + 4 * VL <= a->c; c += 4 * VL) max_some(a, v, 4, places, two, c, out);
    if (c + 2 * VL <= a->c) {
        max_some(a, v, 2, places, two, c, out);
        c += 2 * VL;
    }
    for (; c < a->c; c += VL) {
        if (c + VL > a->c) c = a->c - VL;
        max_some(a, v, 1, places, two, c, out);
    }
}

/* Whether max_two may take this output row and the next: no window of theirs misses the image. */
INLINE int has_two(const max_pool_args *a, intptr_t row) {
    const span *rows = a->row_taps + row % a->p, *cols = a->col_taps;
    if (a->row_stride != 1 || a->row_dilation != 1 || a->col_dilation != 1) return 0;
    if (a->no_tap != 3 * a->s || a->c < VL || row % a->p + 1 == a->p) return 0;
    return taps_of(rows[0]) == 3 && taps_of(rows[1]) == 3 && taps_of(cols[0]) > 0 &&
           taps_of(cols[a->q - 1]) > 0;
}

/* One row of outputs, or two. */
INLINE void max_row(const max_pool_args *a, const int places, const int two, intptr_t row,
                    intptr_t last) {
    const intptr_t end = last * a->q * a->c, x_end = a->n * a->h * a->w * a->c;
    intptr_t out = row * a->q * a->c;
    for (intptr_t q = 0; q < a->q; q++, out += a->c) {
        const window v = window_of(a, row / a->p, row % a->p, q);
        if (two || a->c >= VL)
            max_windows(a, &v, places, two, out);
        else if (out + VL <= end && window_end(a, &v) <= x_end)
            max_window(a, &v, 1, places, 0, VL, out);
        else
            max_window(a, &v, 1, places, 0, a->c, out);
    }
}

INLINE void max_rows(const max_pool_args *a, const int places, intptr_t first, intptr_t last) {
    for (intptr_t row = first; row < last; row++)
        if (row + 1 < last && has_two(a, row))
            max_row(a, places, 1, row++, last);
        else
            max_row(a, places, 0, row, last);
}

/* A maximum is one of its taps, bit for bit: denormals are not flushed. */
static void max_forward(const void *args, intptr_t first, intptr_t last) {
    const max_pool_args *a = (const max_pool_args *)args;
    if (a->argmax)
        max_rows(a, 1, first, last);
    else
        max_rows(a, 0, first, last);
}

/* n channels from c of v at the winning taps; 0 where the index is no tap inside the image. */
INLINE void gather_window(const max_pool_args *a, const window *v, intptr_t c, intptr_t n,
                          intptr_t out) {
    const real *x = (const real *)a->x;
    const intptr_t row_step = a->row_dilation * a->w * a->c, col_step = a->col_dilation * a->c;
    const vmask taps = load_taps(a, out + c, n);
    vreal found = vset(0);
    for (intptr_t r = v->rows.lo; r < v->rows.hi; r++)
        for (intptr_t s = v->cols.lo; s < v->cols.hi; s++) {
            const vreal t = load_lanes(x + v->start + r * row_step + s * col_step + c, n);
            found = vselect(taps == (ireal)(r * a->s + s), t, found);
        }
    store_lanes((real *)a->y + out + c, n, found);
}

static void max_gather(const void *args, intptr_t first, intptr_t last) {
    const max_pool_args *a = (const max_pool_args *)args;
    const unsigned mode = fp_enter();
    const intptr_t end = last * a->q * a->c, x_end = a->n * a->h * a->w * a->c;
    intptr_t out = first * a->q * a->c;
    for (intptr_t row = first; row < last; row++)
        for (intptr_t q = 0; q < a->q; q++, out += a->c) {
            const window v = window_of(a, row / a->p, row % a->p, q);
            if (a->c >= VL)
                for (intptr_t c = 0; c < a->c; c = next_lane(c, a->c))
                    gather_window(a, &v, c, VL, out);
            else if (out + VL <= end && window_end(a, &v) <= x_end)
                gather_window(a, &v, 0, VL, out);
            else
                gather_window(a, &v, 0, a->c, out);
        }
    fp_leave(mode);
}

/* nv vectors of n lanes of one pixel's gradient: the sum of gy over the outputs that chose it.
 * `from`: the image's first output, at the first of these channels. */
INLINE void max_pixel(const max_pool_args *a, const int nv, span rows, span cols, intptr_t from,
                      intptr_t n, real *gx) {
    const real *gy = (const real *)a->x;
    vreal sum[4];
    UNROLL(4) for (int v = 0; v < nv; v++) sum[v] = vset(0);
    for (intptr_t i = rows.lo; i < rows.hi; i++)
        for (intptr_t j = cols.lo; j < cols.hi; j++) {
            const intptr_t at = from + a->row_hit[i].at + a->col_hit[j].at;
            const ireal tap = (ireal)(a->row_hit[i].tap + a->col_hit[j].tap);
            UNROLL(4) for (int v = 0; v < nv; v++) {
                const vmask mine = load_taps(a, at + v * VL, n) == tap;
                sum[v] += vselect(mine, load_lanes(gy + at + v * VL, n), vset(0));
            }
        }
    UNROLL(4) for (int v = 0; v < nv; v++) store_lanes(gx + v * VL, n, sum[v]);
}

/* VL channels or more of one pixel, four vectors at a time */
INLINE void max_channels(const max_pool_args *a, span rows, span cols, intptr_t from, real *gx) {
    intptr_t c = 0;
    for (; c + 4 * VL <= a->c; c += 4 * VL) max_pixel(a, 4, rows, cols, from + c, VL, gx + c);
    if (c + 2 * VL <= a->c) {
        max_pixel(a, 2, rows, cols, from + c, VL, gx + c);
        c += 2 * VL;
    }
    for (; c < a->c; c += VL) {
        if (c + VL > a->c) c = a->c - VL;
        max_pixel(a, 1, rows, cols, from + c, VL, gx + c);
    }
}

static void max_gradient(const void *args, intptr_t first, intptr_t last) {
    const max_pool_args *a = (const max_pool_args *)args;
    const unsigned mode = fp_enter();
    real *gx = (real *)a->y + first * a->w * a->c, *end = (real *)a->y + last * a->w * a->c;
    const intptr_t outputs = a->p * a->q * a->c;
    for (intptr_t row = first; row < last; row++) {
        const intptr_t image = row / a->h, from = image * outputs;
        const span rows = a->row_hits[row % a->h];
        /* a vector that starts in this image's last output may reach past the array's end */
        const int inside = from + outputs + VL <= a->n * outputs;
        for (intptr_t w = 0; w < a->w; w++, gx += a->c) {
            const span cols = a->col_hits[w];
            if (a->c >= VL)
                max_channels(a, rows, cols, from, gx);
            else if (inside && gx + VL <= end)
                max_pixel(a, 1, rows, cols, from, VL, gx);
            else
                max_pixel(a, 1, rows, cols, from, a->c, gx);
        }
    }
    fp_leave(mode);
}

/* Means: pooling_mean.c. */
void NAME(mean_pool_forward)(const void *args, intptr_t first, intptr_t last);
void NAME(mean_pool_gradient)(const void *args, intptr_t first, intptr_t last);
void NAME(tanh_pool_forward)(const void *args, intptr_t first, intptr_t last);
void NAME(tanh_pool_gradient)(const void *args, intptr_t first, intptr_t last);

extern const pooling_kernels NAME(pooling_kernels);
const pooling_kernels NAME(pooling_kernels) = {.max_forward = max_forward,
                                               .max_gradient = max_gradient,
                                               .max_gather = max_gather,
                                               .mean_forward = NAME(mean_pool_forward),
                                               .mean_gradient = NAME(mean_pool_gradient),
                                               .tanh_forward = NAME(tanh_pool_forward),
                                               .tanh_gradient = NAME(tanh_pool_gradient)};
