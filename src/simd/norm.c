/* norm.c: normalization of columns (norm.h says what each sweep reads and writes). */
#include "norm.h"

#include <math.h>
#include <string.h>

#include "moments.h"

#define BLOCK 256                            /* channels of a task of the sums */

typedef struct {
    intptr_t row, last;                      /* rows of the slot */
    intptr_t c, end;                         /* channels of the block */
    double *partial;                         /* the slot's (3, channels) */
} task;

static task task_of(const norm_args *a, intptr_t index) {
    const intptr_t slot = index / a->blocks, block = index % a->blocks;
    task t;
    t.row = slot * (a->rows / a->slots) + (slot < a->rows % a->slots ? slot : a->rows % a->slots);
    t.last = t.row + a->rows / a->slots + (slot < a->rows % a->slots);
    t.c = block * BLOCK;
    t.end = block + 1 == a->blocks ? a->channels : t.c + BLOCK;
    t.partial = a->partial + slot * 3 * a->channels;
    return t;
}

/* Lanes to load at channel c from rows that end before `last`: VL (those past the last channel
 * belong to the next row and are not used), or only the channels, where VL would overrun x. */
INLINE intptr_t lanes_at(const norm_args *a, intptr_t c, intptr_t last) {
    const intptr_t rest = (a->rows - last + 1) * a->channels - c;
    return rest >= VL ? VL : rest;
}

static void slot_moments(const norm_args *a, const task *t) {
    const intptr_t step = a->channels;
    for (intptr_t row = t->row; row < t->last; row += MOMENT_ROWS) {
        const intptr_t rows = row + MOMENT_ROWS < t->last ? MOMENT_ROWS : t->last - row;
        const real *x = (const real *)a->x + row * step;
        const int is_first = row == t->row;
        intptr_t c = t->c;
        double *part = t->partial;
        for (; c + CHAINS * VL <= t->end; c += CHAINS * VL)
            chunk_moments(CHAINS, x + c, step, 0, rows, VL, CHAINS * VL, part + c, step, is_first);
        for (; c + 2 * VL <= t->end; c += 2 * VL)
            chunk_moments(2, x + c, step, 0, rows, VL, 2 * VL, part + c, step, is_first);
        for (; c < t->end; c += VL) {
            const intptr_t count = c + VL <= t->end ? VL : t->end - c;
            if (lanes_at(a, c, row + rows) == VL)
                chunk_moments(1, x + c, step, 0, rows, VL, count, part + c, step, is_first);
            else
                chunk_moments(1, x + c, step, 0, rows, count, count, part + c, step, is_first);
        }
    }
}

static void moments(const void *args, intptr_t first, intptr_t last) {
    const norm_args *a = (const norm_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t i = first; i < last; i++) {
        const task t = task_of(a, i);
        slot_moments(a, &t);
    }
    fp_leave(mode);
}

/* Parts in their order, all seen from the pivot of the first: differences of pivots are exact.
 * rows[part] is how many rows a part has seen. */
static void merge_parts(const double *partial, const intptr_t *rows, intptr_t parts,
                        intptr_t channels, void *mean, void *var) {
    for (intptr_t c = 0; c < channels; c++) {
        const double pivot = partial[c];
        double first = 0, second = 0, all = 0;
        for (intptr_t part = 0; part < parts; part++) {
            const double *p = partial + part * 3 * channels + c, m = (double)rows[part];
            const double d = p[0] - pivot, s = p[channels];
            first += s + m * d;
            second += p[2 * channels] + d * (2 * s + m * d);
            all += m;
        }
        const double v = (second - first * first / all) / all;
        ((real *)mean)[c] = (real)(pivot + first / all);
        ((real *)var)[c] = (real)(v < 0 ? 0 : v);
    }
}

static void merge_moments(const norm_args *a, void *mean, void *var) {
    intptr_t rows[NORM_SLOTS];
    if (a->rows == 0) {
        memset(mean, 0, (size_t)a->channels * sizeof(real));
        memset(var, 0, (size_t)a->channels * sizeof(real));
        return;
    }
    for (intptr_t slot = 0; slot < a->slots; slot++) {
        const task t = task_of(a, slot * a->blocks);
        rows[slot] = t.last - t.row;
    }
    merge_parts(a->partial, rows, a->slots, a->channels, mean, var);
}

static void set_columns(const norm_args *a, intptr_t index, const void *mean, const void *var,
                        const void *gamma, const void *beta, double eps) {
    real *columns = (real *)a->columns + index * NORM_COLUMNS * a->channels;
    for (intptr_t c = 0; c < a->channels; c++) {
        const double g = gamma ? ((const real *)gamma)[c] : 1;
        columns[NORM_MEAN * a->channels + c] = ((const real *)mean)[c];
        columns[NORM_SCALE * a->channels + c] = (real)(g / sqrt(((const real *)var)[c] + eps));
        columns[NORM_SHIFT * a->channels + c] = beta ? ((const real *)beta)[c] : 0;
        columns[NORM_SLOPE * a->channels + c] = columns[NORM_OFFSET * a->channels + c] = 0;
    }
}

/* n lanes of a row's inputs and of its columns, at channel c */
typedef struct {
    vreal d, scale, z;                       /* x - mean, the column, and what relu reads */
} lanes;

INLINE lanes normalize(const norm_args *a, const real *columns, intptr_t at, intptr_t c,
                       intptr_t n) {
    lanes v;
    v.scale = load_lanes(columns + NORM_SCALE * a->channels + c, n);
    v.d = load_lanes((const real *)a->x + at, n) - load_lanes(columns + c, n);
    v.z = v.d * v.scale + load_lanes(columns + NORM_SHIFT * a->channels + c, n);
    if (a->residual) v.z += load_lanes((const real *)a->residual + at, n);
    return v;
}

INLINE void apply_lanes(const norm_args *a, const real *columns, intptr_t at, intptr_t c,
                        intptr_t n) {
    const lanes v = normalize(a, columns, at, c, n);
    store_lanes((real *)a->y + at, n, a->relu ? relu_lanes(v.z) : v.z);
}

/* Rows first..last-1, which share one set of columns. */
INLINE void apply_rows(const norm_args *a, const real *columns, intptr_t first, intptr_t last) {
    for (intptr_t row = first; row < last; row++) {
        const intptr_t at = row * a->channels;
        if (a->channels < VL)
            apply_lanes(a, columns, at, 0, a->channels);
        else
            for (intptr_t c = 0; c < a->channels; c = next_lane(c, a->channels))
                apply_lanes(a, columns, at + c, c, VL);
    }
}

static void apply(const void *args, intptr_t first, intptr_t last) {
    const norm_args *a = (const norm_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t row = first; row < last;) {
        const intptr_t set = row / a->sample_rows, next = (set + 1) * a->sample_rows;
        const real *columns = (const real *)a->columns + set * NORM_COLUMNS * a->channels;
        const intptr_t end = next < last ? next : last;
        apply_rows(a, columns, row, end);
        row = end;
    }
    fp_leave(mode);
}

/* gy where y > 0: the gradient of what the ReLU read */
INLINE vreal masked(const norm_args *a, const lanes *v, intptr_t at, intptr_t n) {
    const vreal gy = load_lanes((const real *)a->gy + at, n);
    return a->relu ? vselect(v->z > vset(0), gy, vset(0)) : gy;
}

/* Sums over `rows` rows of nv vectors, n lanes loaded, `count` channels meant; g is stored. */
INLINE void chunk_sums(const int nv, const norm_args *a, const real *columns, intptr_t at,
                       intptr_t rows, intptr_t c, intptr_t n, intptr_t count, double *partial) {
    vreal sum[2], slope[2];
    UNROLL(2) for (int i = 0; i < nv; i++) sum[i] = slope[i] = vset(0);
    for (intptr_t r = 0; r < rows; r++, at += a->channels)
        UNROLL(2) for (int i = 0; i < nv; i++) {
            const lanes v = normalize(a, columns, at + i * VL, c + i * VL, n);
            const vreal g = masked(a, &v, at + i * VL, n);
            if (a->g) store_lanes((real *)a->g + at + i * VL, nv == 1 ? count : VL, g);
            sum[i] += g;
            slope[i] += g * v.d;
        }
    real sums[2 * VL], slopes[2 * VL];
    UNROLL(2) for (int i = 0; i < nv; i++) {
        vstore(sums + i * VL, sum[i]);
        vstore(slopes + i * VL, slope[i]);
    }
    for (intptr_t i = 0; i < count; i++) {
        partial[i] += sums[i];
        partial[a->channels + i] += slopes[i];
    }
}

static void slot_sums(const norm_args *a, const task *t) {
    for (intptr_t c = t->c; c < t->end; c++) t->partial[c] = t->partial[a->channels + c] = 0;
    for (intptr_t row = t->row; row < t->last; row += MOMENT_ROWS) {
        const intptr_t rows = row + MOMENT_ROWS < t->last ? MOMENT_ROWS : t->last - row;
        const intptr_t at = row * a->channels;
        const real *columns = (const real *)a->columns +
                              row / a->sample_rows * NORM_COLUMNS * a->channels;
        intptr_t c = t->c;
        for (; c + 2 * VL <= t->end; c += 2 * VL)
            chunk_sums(2, a, columns, at + c, rows, c, VL, 2 * VL, t->partial + c);
        for (; c < t->end; c += VL) {
            const intptr_t count = c + VL <= t->end ? VL : t->end - c;
            if (count == VL)
                chunk_sums(1, a, columns, at + c, rows, c, VL, VL, t->partial + c);
            else if (lanes_at(a, c, row + rows) == VL)
                chunk_sums(1, a, columns, at + c, rows, c, VL, count, t->partial + c);
            else
                chunk_sums(1, a, columns, at + c, rows, c, count, count, t->partial + c);
        }
    }
}

static void gradient_sums(const void *args, intptr_t first, intptr_t last) {
    const norm_args *a = (const norm_args *)args;
    const unsigned mode = fp_enter();
    for (intptr_t i = first; i < last; i++) {
        const task t = task_of(a, i);
        slot_sums(a, &t);
    }
    fp_leave(mode);
}

static void merge_sums(const norm_args *a, const void *var, double eps, int moving, void *ggamma,
                       void *gbeta) {
    real *columns = (real *)a->columns;
    const intptr_t channels = a->channels;
    for (intptr_t c = 0; c < channels; c++) {
        double sum = 0, slope = 0;
        for (intptr_t slot = 0; slot < a->slots; slot++) {
            sum += a->partial[slot * 3 * channels + c];
            slope += a->partial[(slot * 3 + 1) * channels + c];
        }
        const double v = ((const real *)var)[c] + eps;
        ((real *)ggamma)[c] = (real)(slope / sqrt(v));
        ((real *)gbeta)[c] = (real)sum;
        const double share = moving ? columns[NORM_SCALE * channels + c] / (double)a->rows : 0;
        columns[NORM_SLOPE * channels + c] = (real)(share * slope / v);
        columns[NORM_OFFSET * channels + c] = (real)(share * sum);
    }
}

/* gx = scale g - (x - mean) slope - offset; g is read where gradient_sums has stored it */
INLINE void gradient_lanes(const norm_args *a, const real *columns, intptr_t at, intptr_t c,
                           intptr_t n) {
    const real *slope = columns + NORM_SLOPE * a->channels + c;
    const lanes v = normalize(a, columns, at, c, n);
    const vreal g = a->g ? load_lanes((const real *)a->g + at, n) : masked(a, &v, at, n);
    const vreal gx = g * v.scale - v.d * load_lanes(slope, n) - load_lanes(slope + a->channels, n);
    store_lanes((real *)a->y + at, n, gx);
}

INLINE void gradient_rows(const norm_args *a, const real *columns, intptr_t first, intptr_t last) {
    for (intptr_t row = first; row < last; row++) {
        const intptr_t at = row * a->channels;
        if (a->channels < VL)
            gradient_lanes(a, columns, at, 0, a->channels);
        else
            for (intptr_t c = 0; c < a->channels; c = next_lane(c, a->channels))
                gradient_lanes(a, columns, at + c, c, VL);
    }
}

static void gradient_apply(const void *args, intptr_t first, intptr_t last) {
    norm_args a = *(const norm_args *)args;
    const unsigned mode = fp_enter();
    if (a.g) a.residual = 0;                 /* the mask is in g already */
    for (intptr_t row = first; row < last;) {
        const intptr_t set = row / a.sample_rows, next = (set + 1) * a.sample_rows;
        const real *columns = (const real *)a.columns + set * NORM_COLUMNS * a.channels;
        const intptr_t end = next < last ? next : last;
        gradient_rows(&a, columns, row, end);
        row = end;
    }
    fp_leave(mode);
}

extern const norm_kernels NAME(norm_kernels);
const norm_kernels NAME(norm_kernels) = {.moments = moments,
                                         .gradient_sums = gradient_sums,
                                         .apply = apply,
                                         .gradient_apply = gradient_apply,
                                         .merge_moments = merge_moments,
                                         .merge_parts = merge_parts,
                                         .set_columns = set_columns,
                                         .merge_sums = merge_sums};
