/* pooling_mean.c: means over windows (pooling.h: what is computed; lanes.h: how channels are cut).
 *
 * Design: rows of a box are summed, then their sums.  Where there are fewer channels than lanes, a
 * vector reaches into the next pixel, and what equal windows get is computed once and copied.
 * With a tanh before the means, rows of the map become tanh just before the first window that needs
 * them, and a row of the gradient is multiplied by its slope 1 - z^2 while it is in L1.
 */
#include "pooling.h"

#include <string.h>

#include "lanes.h"
#include "vmath.h"

void NAME(mean_pool_forward)(const void *args, intptr_t first, intptr_t last);
void NAME(mean_pool_gradient)(const void *args, intptr_t first, intptr_t last);
void NAME(tanh_pool_forward)(const void *args, intptr_t first, intptr_t last);
void NAME(tanh_pool_gradient)(const void *args, intptr_t first, intptr_t last);

/* nv vectors from channel c of the mean of a box of pixels: rows are summed, then their sums. */
INLINE void mean_box(const mean_pool_args *a, const int nv, const real *x, span rows, span cols,
                     intptr_t n, real divisor, real *y) {
    vreal total[4];
    UNROLL(4) for (int i = 0; i < nv; i++) total[i] = vset(0);
    for (intptr_t r = rows.lo; r < rows.hi; r++) {
        vreal sum[4];
        UNROLL(4) for (int i = 0; i < nv; i++) sum[i] = vset(0);
        const real *from = x + (r * a->w + cols.lo) * a->c;
        for (intptr_t s = cols.lo; s < cols.hi; s++, from += a->c)
            UNROLL(4) for (int i = 0; i < nv; i++) sum[i] += load_lanes(from + i * VL, n);
        UNROLL(4) for (int i = 0; i < nv; i++) total[i] += sum[i];
    }
    UNROLL(4) for (int i = 0; i < nv; i++) store_lanes(y + i * VL, n, total[i] / vset(divisor));
}

/* A row of fewer channels than lanes, up to `end`; `inside`: x goes on for a vector behind any
 * pixel.  Windows of 2x2 side by side have the loops of `mean_box` written out. */
INLINE void narrow_means(const mean_pool_args *a, const real *x, intptr_t p, int inside, real *y,
                         const real *end) {
    const span rows = a->rows[p], *all_cols = a->cols;
    const double *col_size = a->col_size, row_size = a->row_size[p];
    const intptr_t c = a->c, count = a->q;
    intptr_t q = 0;
    if (inside && rows.hi - rows.lo == 2 && a->pairs) {
        const real *up = x + rows.lo * a->w * c, *down = up + a->w * c;
        const vreal divisor = vset((real)(row_size * col_size[0]));
        const intptr_t pairs = a->pairs;
        for (; q < pairs && y + VL <= end; q++, y += c, up += 2 * c, down += 2 * c)
            vstore(y, ((vload(up) + vload(up + c)) + (vload(down) + vload(down + c))) / divisor);
    }
    for (; q < count; q++, y += c) {
        const span cols = all_cols[q];
        const int empty = rows.lo >= rows.hi || cols.lo >= cols.hi;
        const real over = empty ? 1 : (real)(row_size * col_size[q]);
        if (inside && y + VL <= end)
            mean_box(a, 1, x, rows, cols, VL, over, y);
        else
            mean_box(a, 1, x, rows, cols, c, over, y);
    }
}

INLINE void wide_means(const mean_pool_args *a, const real *x, intptr_t p, real *y) {
    const span rows = a->rows[p];
    for (intptr_t q = 0; q < a->q; q++, y += a->c) {
        const span cols = a->cols[q];
        const int empty = rows.lo >= rows.hi || cols.lo >= cols.hi;
        const real divisor = empty ? 1 : (real)(a->row_size[p] * a->col_size[q]);
        intptr_t c = 0;
        for (; c + 4 * VL <= a->c; c += 4 * VL)
            mean_box(a, 4, x + c, rows, cols, VL, divisor, y + c);
        for (; c < a->c; c += VL) {
            if (c + VL > a->c) c = a->c - VL;
            mean_box(a, 1, x + c, rows, cols, VL, divisor, y + c);
        }
    }
}

INLINE void row_of_means(const mean_pool_args *a, const real *x, intptr_t p, int inside, real *y,
                         const real *end) {
    if (a->c < VL)
        narrow_means(a, x, p, inside, y, end);
    else
        wide_means(a, x, p, y);
}

void NAME(mean_pool_forward)(const void *args, intptr_t first, intptr_t last) {
    const mean_pool_args *a = (const mean_pool_args *)args;
    const unsigned mode = fp_enter();
    const intptr_t image_size = a->h * a->w * a->c, row_size = a->q * a->c;
    const real *end = (const real *)a->y + last * row_size;
    for (intptr_t row = first; row < last; row++) {
        const intptr_t image = row / a->p, p = row % a->p;
        const real *x = (const real *)a->x + image * image_size;
        row_of_means(a, x, p, image + 1 < a->n && image_size >= VL,
                     (real *)a->y + row * row_size, end);
    }
    fp_leave(mode);
}

static void tanh_of(const real *x, real *z, intptr_t n) {
    intptr_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        const vreal first = vtanh(vload(x + i)), second = vtanh(vload(x + i + VL));
        vstore(z + i, first);
        vstore(z + i + VL, second);
    }
    for (; i < n; i += VL) {
        const intptr_t lanes = n - i < VL ? n - i : VL;
        store_lanes(z + i, lanes, vtanh(load_lanes(x + i, lanes)));
    }
}

/* Images first .. last - 1: z = tanh x and its means.  A vector may reach past a pixel, but not
 * past the images of this task: those behind them are another one's to write. */
void NAME(tanh_pool_forward)(const void *args, intptr_t first, intptr_t last) {
    const mean_pool_args *a = (const mean_pool_args *)args;
    const unsigned mode = fp_enter();
    const intptr_t row = a->w * a->c, image_size = a->h * row, outputs = a->q * a->c;
    const real *end = (const real *)a->y + last * a->p * outputs;
    for (intptr_t image = first; image < last; image++) {
        const real *x = (const real *)a->x + image * image_size;
        real *z = (real *)a->z + image * image_size, *y = (real *)a->y + image * a->p * outputs;
        const intptr_t readable = image_size * (last - image);
        intptr_t done = 0;
        for (intptr_t p = 0; p < a->p; p++, y += outputs) {
            const intptr_t needed = a->rows[p].hi;
            if (needed > done) tanh_of(x + done * row, z + done * row, (needed - done) * row);
            done = needed > done ? needed : done;
            row_of_means(a, z, p, needed * row + VL <= readable, y, end);
        }
        tanh_of(x + done * row, z + done * row, (a->h - done) * row);
    }
    fp_leave(mode);
}

/* nv vectors of n lanes of one pixel's gradient: gy over its divisor, from every window that covers
 * it.  `divisor` is that of all these windows, or 0 when they differ. */
INLINE void mean_pixel(const mean_pool_args *a, const int nv, const real *gy, span rows, span cols,
                       real divisor, intptr_t n, vreal *sum) {
    UNROLL(4) for (int i = 0; i < nv; i++) sum[i] = vset(0);
    for (intptr_t p = rows.lo; p < rows.hi; p++)
        for (intptr_t q = cols.lo; q < cols.hi; q++) {
            const real *from = gy + (p * a->q + q) * a->c;
            const vreal own = vset((real)(a->row_size[p] * a->col_size[q]));
            UNROLL(4) for (int i = 0; i < nv; i++) {
                const vreal g = load_lanes(from + i * VL, n);
                sum[i] += divisor != 0 ? g : g / own;
            }
        }
    UNROLL(4) for (int i = 0; i < nv; i++)
        sum[i] = divisor != 0 ? sum[i] / vset(divisor) : sum[i];
}

INLINE int same_span(span a, span b) { return a.lo == b.lo && a.hi == b.hi; }

/* A row of fewer channels than lanes, up to `end`: what one pixel gets, the next one gets too, if
 * the same windows cover it. */
INLINE void narrow_gradient(const mean_pool_args *a, const real *gy, intptr_t h, int inside,
                            real *gx, const real *end) {
    const span rows = a->row_outs[h], *all_cols = a->col_outs;
    const double *col_common = a->col_common, row_common = a->row_common[h];
    const intptr_t c = a->c, count = a->w;
    intptr_t w = 0;
    if (inside && rows.hi - rows.lo == 1 && a->pairs) {
        const real *from = gy + rows.lo * a->q * c;
        const vreal divisor = vset((real)(row_common * col_common[0]));
        const intptr_t paired = 2 * a->pairs;
        for (; w < paired && gx + c + VL <= end; w += 2, gx += 2 * c, from += c) {
            const vreal share = (vset(0) + vload(from)) / divisor;
            vstore(gx, share);
            vstore(gx + c, share);
        }
    }
    span before = {-1, -1};
    vreal sum[1] = {vset(0)};
    for (; w < count; w++, gx += c) {
        const span cols = all_cols[w];
        if (!same_span(cols, before)) {
            const real over = (real)(row_common * col_common[w]);
            if (inside)
                mean_pixel(a, 1, gy, rows, cols, over, VL, sum);
            else
                mean_pixel(a, 1, gy, rows, cols, over, c, sum);
        }
        before = cols;
        if (gx + VL <= end)
            vstore(gx, sum[0]);
        else
            vstore_first(gx, sum[0], (int)c);
    }
}

INLINE void wide_gradient(const mean_pool_args *a, const real *gy, intptr_t h, real *gx) {
    const span rows = a->row_outs[h];
    for (intptr_t w = 0; w < a->w; w++, gx += a->c) {
        const span cols = a->col_outs[w];
        const real divisor = (real)(a->row_common[h] * a->col_common[w]);
        vreal sum[4];
        intptr_t c = 0;
        for (; c + 4 * VL <= a->c; c += 4 * VL) {
            mean_pixel(a, 4, gy + c, rows, cols, divisor, VL, sum);
            UNROLL(4) for (int i = 0; i < 4; i++) vstore(gx + c + i * VL, sum[i]);
        }
        if (c + 2 * VL <= a->c) {
            mean_pixel(a, 2, gy + c, rows, cols, divisor, VL, sum);
            UNROLL(2) for (int i = 0; i < 2; i++) vstore(gx + c + i * VL, sum[i]);
            c += 2 * VL;
        }
        for (; c < a->c; c += VL) {
            if (c + VL > a->c) c = a->c - VL;
            mean_pixel(a, 1, gy + c, rows, cols, divisor, VL, sum);
            vstore(gx + c, sum[0]);
        }
    }
}

INLINE void row_of_gradient(const mean_pool_args *a, const real *gy, intptr_t h, int inside,
                            real *gx, const real *end) {
    if (a->c < VL)
        narrow_gradient(a, gy, h, inside, gx, end);
    else
        wide_gradient(a, gy, h, gx);
}

/* Rows that the same windows cover are equal: computed once, then copied. */
void NAME(mean_pool_gradient)(const void *args, intptr_t first, intptr_t last) {
    const mean_pool_args *a = (const mean_pool_args *)args;
    const unsigned mode = fp_enter();
    const intptr_t outputs = a->p * a->q * a->c, row_size = a->w * a->c;
    const real *end = (const real *)a->y + last * row_size;
    for (intptr_t row = first; row < last; row++) {
        const intptr_t image = row / a->h, h = row % a->h;
        const real *gy = (const real *)a->x + image * outputs;
        real *gx = (real *)a->y + row * row_size;
        if (row > first && h && same_span(a->row_outs[h], a->row_outs[h - 1]))
            memcpy(gx, gx - row_size, (size_t)row_size * sizeof(real));
        else
            row_of_gradient(a, gy, h, image + 1 < a->n && outputs >= VL, gx, end);
    }
    fp_leave(mode);
}

/* gx = g (1 - z^2); gx may be g */
static void times_slope(const real *g, const real *z, real *gx, intptr_t n) {
    for (intptr_t i = 0; i < n; i += VL) {
        const intptr_t lanes = n - i < VL ? n - i : VL;
        const vreal t = load_lanes(z + i, lanes);
        store_lanes(gx + i, lanes, load_lanes(g + i, lanes) * (vset(1) - t * t));
    }
}

/* Rows that the same windows cover: what they get is computed in the last one's place. */
void NAME(tanh_pool_gradient)(const void *args, intptr_t first, intptr_t last) {
    const mean_pool_args *a = (const mean_pool_args *)args;
    const unsigned mode = fp_enter();
    const intptr_t outputs = a->p * a->q * a->c, row_size = a->w * a->c;
    const real *z = (const real *)a->z_in, *end = (const real *)a->y + last * row_size;
    for (intptr_t row = first, next = first; row < last;) {
        const intptr_t image = row / a->h, h = row % a->h;
        const real *gy = (const real *)a->x + image * outputs;
        do
            next++;
        while (next < last && next % a->h && same_span(a->row_outs[next % a->h], a->row_outs[h]));
        real *shared = (real *)a->y + (next - 1) * row_size;
        row_of_gradient(a, gy, h, image + 1 < a->n && outputs >= VL, shared, end);
        for (; row < next; row++)
            times_slope(shared, z + row * row_size, (real *)a->y + row * row_size, row_size);
    }
    fp_leave(mode);
}
