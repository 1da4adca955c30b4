/* winograd_maps.h: the matrices A, B and G on the points 0, a, -a, b, -b, infinity; tiles.
 *
 * Design: every 2-D map is the same 1-D map, first down the columns, then along the rows.  With
 * a = 5/8, b = 3/2 (a^2, b^2 and their product and sum are exact in float32):
 *
 *           | a2b2   0  -(a2+b2)   0     1  0 |
 *           |   0  -ab2   -b2      a     1  0 |            | 1  1  1  1  1  0 |   powers 0 .. m-1
 *     B^T = |   0   ab2   -b2     -a     1  0 |      A^T = | 0  a -a  b -b  0 |   of the points;
 *           |   0 -a2b    -a2      b     1  0 |            | .  .  .  .  .  . |   last column:
 *           |   0  a2b    -a2     -b     1  0 |            | 0 ..        .. 1 |   infinity
 *           |   0  a2b2     0  -(a2+b2)  0  1 |
 *
 *     G: the row of point p is (1, p, p^2, ..) / product of (p - q) over the other points q
 *
 * The maps use what opposite points share: an even and an odd part, added and subtracted.
 */
#ifndef MINIGRAD_WINOGRAD_MAPS_H
#define MINIGRAD_WINOGRAD_MAPS_H

#include "vec.h"
#include "winograd.h"

#define PA ((real)0.625)
#define PB ((real)1.5)
#define PA2 ((real)0.390625)
#define PB2 ((real)2.25)
#define G0 ((real)(1 / 0.87890625))                                       /* 1 / (a^2 b^2) */
#define GA ((real)(1 / (2 * 0.390625 * (0.390625 - 2.25))))               /* 1 / prod(a - q) */
#define GB ((real)(1 / (2 * 2.25 * (2.25 - 0.390625))))

/* out = B^T d */
INLINE void map_input(const vreal *d, vreal *out) {
    const vreal ea = d[4] - PB2 * d[2], oa = PA * (d[3] - PB2 * d[1]);
    const vreal eb = d[4] - PA2 * d[2], ob = PB * (d[3] - PA2 * d[1]);
    out[0] = (PA2 * PB2) * d[0] + (d[4] - (PA2 + PB2) * d[2]);
    out[1] = ea + oa;
    out[2] = ea - oa;
    out[3] = eb + ob;
    out[4] = eb - ob;
    out[5] = (PA2 * PB2) * d[1] + (d[5] - (PA2 + PB2) * d[3]);
}

/* out = A^T v: 6 -> m */
INLINE void map_output(const int m, const vreal *v, vreal *out) {
    const vreal ea = v[1] + v[2], oa = PA * (v[1] - v[2]);
    const vreal eb = v[3] + v[4], ob = PB * (v[3] - v[4]);
    out[0] = v[0] + (ea + eb);
    if (m == 2) {
        out[1] = (oa + ob) + v[5];
    } else {
        out[1] = oa + ob;
        out[2] = PA2 * ea + PB2 * eb;
        out[3] = (PA2 * oa + PB2 * ob) + v[5];
    }
}

/* out = A y: m -> 6 */
INLINE void map_gradient(const int m, const vreal *y, vreal *out) {
    const vreal zero = vset(0), y2 = m == 4 ? y[2] : zero, y3 = m == 4 ? y[3] : zero;
    const vreal ea = y[0] + PA2 * y2, oa = PA * (y[1] + PA2 * y3);
    const vreal eb = y[0] + PB2 * y2, ob = PB * (y[1] + PB2 * y3);
    out[0] = y[0];
    out[1] = ea + oa;
    out[2] = ea - oa;
    out[3] = eb + ob;
    out[4] = eb - ob;
    out[5] = y[m - 1];
}

/* out = G w: r -> 6 */
INLINE void map_weight(const int r, const vreal *w, vreal *out) {
    const vreal zero = vset(0), w3 = r == 5 ? w[3] : zero, w4 = r == 5 ? w[4] : zero;
    const vreal ea = w[0] + PA2 * (w[2] + PA2 * w4), oa = PA * (w[1] + PA2 * w3);
    const vreal eb = w[0] + PB2 * (w[2] + PB2 * w4), ob = PB * (w[1] + PB2 * w3);
    out[0] = G0 * w[0];
    out[1] = GA * (ea + oa);
    out[2] = GA * (ea - oa);
    out[3] = GB * (eb + ob);
    out[4] = GB * (eb - ob);
    out[5] = w[r - 1];
}

/* out = G^T u: 6 -> r */
INLINE void map_filter(const int r, const vreal *u, vreal *out) {
    const vreal ea = GA * (u[1] + u[2]), oa = (GA * PA) * (u[1] - u[2]);
    const vreal eb = GB * (u[3] + u[4]), ob = (GB * PB) * (u[3] - u[4]);
    out[0] = G0 * u[0] + (ea + eb);
    out[1] = oa + ob;
    out[2] = PA2 * ea + PB2 * eb;
    if (r == 3) {
        out[2] += u[5];
    } else {
        out[3] = PA2 * oa + PB2 * ob;
        out[4] = ((PA2 * PA2) * ea + (PB2 * PB2) * eb) + u[5];
    }
}

/* --- tiles ----------------------------------------------------------------------------------- */

/* Scratch of one thread, carved into aligned pieces. */
INLINE intptr_t piece(intptr_t reals) {
    return (reals * (intptr_t)sizeof(real) + 127) & ~(intptr_t)63;
}

/* Image, and first output row and column, of a tile. */
typedef struct {
    intptr_t n, i, j;
} tile_place;

INLINE tile_place place_of(const winograd_tiles *p, intptr_t tile) {
    const intptr_t m = TILE + 1 - p->taps;
    const tile_place at = {.n = tile / p->tile_cols / p->tile_rows,
                           .i = tile / p->tile_cols % p->tile_rows * m,
                           .j = tile % p->tile_cols * m};
    return at;
}

/* The place of the tile after this one: no division. */
INLINE void next_place(const winograd_tiles *p, tile_place *at) {
    const intptr_t m = TILE + 1 - p->taps;
    at->j += m;
    if (at->j < p->tile_cols * m) return;
    at->j = 0;
    at->i += m;
    if (at->i < p->tile_rows * m) return;
    at->i = 0;
    at->n++;
}

/* The pixels (i0 .. i0 + side - 1, j0 .. j0 + side - 1) of an image (rows, cols, channels).  Wholly
 * inside, they lie at first + i * row + j * col; at an edge, at[i * side + j] says where each of
 * them starts: at `zeros` for one outside. */
typedef struct {
    const real *first;
    intptr_t row, col;
    int inside;
    const real *at[POINTS];
} tile_pixels;

INLINE void find_pixels(const int side, const real *image, intptr_t rows, intptr_t cols,
                        intptr_t channels, intptr_t i0, intptr_t j0, const real *zeros,
                        tile_pixels *p) {
    p->row = cols * channels;
    p->col = channels;
    p->first = image + i0 * p->row + j0 * p->col;
    p->inside = i0 >= 0 && j0 >= 0 && i0 + side <= rows && j0 + side <= cols;
    if (p->inside) return;
    const real **at = p->at;
    for (int i = 0; i < side; i++, at += side) {
        const intptr_t in_row = i0 + i >= 0 && i0 + i < rows;
        UNROLL(6) for (int j = 0; j < side; j++)
            at[j] = in_row & (j0 + j >= 0) & (j0 + j < cols) ? p->first + i * p->row + j * p->col
                                                             : zeros;
    }
}

/* A vector, or what is left of a row. */
INLINE vreal vload_up_to(const real *p, intptr_t left) {
    return left >= VL ? vload(p) : vload_first(p, (int)left);
}

/* Where pixel (i, j) starts. */
INLINE const real *pixel(const int side, const int inside, const tile_pixels *p, int i, int j) {
    return inside ? p->first + i * p->row + j * p->col : p->at[i * side + j];
}

/* V of one tile: B^T d B for `channels` channels, point t at out + t * slab.  `ahead`: elements to
 * the next tile, whose pixels are asked for; with 36 streams of stores the CPU does not guess them,
 * and maps that come from memory take a third longer.
 *
 * In every 2-D map here the outer loops stay loops: unrolled, they need more addresses than there
 * are registers, and finding those again takes longer than the arithmetic. */
INLINE void transform_input(const int inside, const tile_pixels *p, intptr_t channels,
                            intptr_t ahead, real *out, intptr_t slab) {
    for (intptr_t c = 0; c < channels; c += VL) {
        vreal half[POINTS], line[TILE], mapped[TILE];
        for (int i = 0; i < TILE; i++) {
            UNROLL(6) for (int j = 0; j < TILE; j++)
                line[j] = vload_up_to(pixel(TILE, inside, p, i, j) + c, channels - c);
            UNROLL(4) for (int j = 2; j < TILE; j++)
                PREFETCH(pixel(TILE, inside, p, i, j) + c + ahead);
            map_input(line, mapped);
            UNROLL(6) for (int j = 0; j < TILE; j++) half[i * TILE + j] = mapped[j];
        }
        for (int j = 0; j < TILE; j++) {
            UNROLL(6) for (int i = 0; i < TILE; i++) line[i] = half[i * TILE + j];
            map_input(line, mapped);
            UNROLL(6) for (int i = 0; i < TILE; i++)
                vstore(out + (i * TILE + j) * slab + c, mapped[i]);
        }
    }
}

/* V of the tiles first .. last of a block, channels c0 .. c0 + channels of the source. */
static void transform_inputs(const winograd_tiles *p, intptr_t first, intptr_t last, intptr_t c0,
                             intptr_t channels, const real *zeros, real *v) {
    const intptr_t ahead = (TILE + 1 - p->taps) * p->channels;
    tile_place o = place_of(p, first);
    tile_pixels d;
    for (intptr_t tile = first; tile < last; tile++, v += p->pitch, next_place(p, &o)) {
        const real *image = (const real *)p->src + o.n * p->height * p->width * p->channels + c0;
        find_pixels(TILE, image, p->height, p->width, p->channels, o.i - p->top, o.j - p->left,
                    zeros, &d);
        if (d.inside)
            transform_input(1, &d, channels, ahead, v, p->slab);
        else
            transform_input(0, &d, channels, ahead, v, p->slab);
    }
}

#endif
