/* band.h: cutting a band out of a channels-last array, and the offsets of its pixels (conv.h).
 *
 * Design: one task holds one band at a time, small enough for the second-level cache.  Copying
 * costs a load and a store per vector and is paid back R * S times; it also puts all zeros of the
 * padding in place and makes the distance between pixels `pitch`, which keeps 512-channel arrays
 * from falling into the same few cache sets.
 */
#ifndef MINIGRAD_BAND_H
#define MINIGRAD_BAND_H

#include <string.h>

#include "conv.h"
#include "gemm.h"
#include "vec.h"

/* The part of the output that one band computes. */
typedef struct {
    intptr_t n0, i0, j0, images, rows, cols;
    enum { BY_IMAGE, BY_PLACE, THERE_AND_BACK } order;   /* see pixel_offsets */
} band_range;

/* Band `index` of image_blocks x h.blocks x w.blocks. */
static band_range band_at(const conv_band *b, intptr_t index) {
    band_range r;
    r.j0 = index % b->w.blocks * b->w.block;
    index /= b->w.blocks;
    r.i0 = index % b->h.blocks * b->h.block;
    r.n0 = index / b->h.blocks * b->image_block;
    r.images = least(b->image_block, b->images - r.n0);
    r.rows = least(b->h.block, b->h.count - r.i0);
    r.cols = least(b->w.block, b->w.count - r.j0);
    r.order = BY_IMAGE;
    return r;
}

INLINE intptr_t band_count(const conv_band *b) {
    return b->image_blocks * b->h.blocks * b->w.blocks;
}

/* The source row that a slot of a band from output o0 on holds; outside 0..size-1: zeros. */
INLINE intptr_t slot_source(const conv_axis *x, intptr_t o0, intptr_t slot) {
    if (x->dense) return o0 * x->step + x->first + slot;
    const intptr_t o = o0 + slot % x->block;
    return o < x->count ? o * x->step + x->tap[slot / x->block] : -1;
}

/* Slots that a band of `outputs` needs. */
INLINE intptr_t slots_used(const conv_axis *x, intptr_t outputs) {
    return x->dense ? x->slots - (x->block - outputs) * x->step : x->slots;
}

#define AHEAD 8 /* pixels between the one that is copied and the one that is asked for */

/* One pixel: channels c0.. of src, zeros past the group's last. */
static void copy_pixel(const conv_band *b, const real *src, intptr_t c0, intptr_t valid,
                       real *out) {
    intptr_t c = 0;
    if (b->c_mul == 1 && b->c_div == 1) {
        for (src += c0; c + LINE <= valid; c += LINE) {
            PREFETCH(src + c + AHEAD * b->channels);
            UNROLL(8) for (int j = 0; j < LINE; j += VL) vstore(out + c + j, vload(src + c + j));
        }
        for (; c + VL <= valid; c += VL) vstore(out + c, vload(src + c));
        if (c && c < valid)                  /* the last vector ends with the last channel */
            vstore(out + valid - VL, vload(src + valid - VL));
        else if (c < valid)                  /* zeros behind it, up to 64 bytes past a band */
            vstore(out, vload_first(src, (int)valid));
        c = valid;
    } else {
        for (; c < valid; c++) out[c] = src[(c0 + c) * b->c_mul / b->c_div];
    }
    for (; c < b->chunk; c++) out[c] = 0;
}

/* `count` pixels side by side, of at most two vectors of channels each. */
INLINE void copy_few(const int vectors, const conv_band *b, const real *src, intptr_t count,
                     intptr_t valid, real *out) {
    for (intptr_t q = 0; q < count; q++, src += b->channels, out += b->pitch) {
        PREFETCH(src + AHEAD * b->channels);
        vstore(out, vectors > 1 ? vload(src) : vload_first(src, (int)valid));
        if (vectors > 1) vstore(out + valid - VL, vload(src + valid - VL));
        for (intptr_t c = valid; c < b->chunk; c++) out[c] = 0;
    }
}

static void copy_pixels(const conv_band *b, const real *src, intptr_t count, intptr_t c0,
                        intptr_t valid, real *out) {
    const int plain = b->c_mul == 1 && b->c_div == 1;
    if (plain && valid < VL)
        copy_few(1, b, src + c0, count, valid, out);
    else if (plain && valid <= 2 * VL)
        copy_few(2, b, src + c0, count, valid, out);
    else
        for (intptr_t q = 0; q < count; q++)
            copy_pixel(b, src + q * b->channels, c0, valid, out + q * b->pitch);
}

/* One row of a band: `used` pixels of the source row src (w.size, channels). */
static void copy_row(const conv_band *b, const real *src, intptr_t j0, intptr_t used, intptr_t c0,
                     intptr_t valid, real *out) {
    const conv_axis *w = &b->w;
    const size_t pixel = (size_t)b->pitch * sizeof(real);
    if (w->dense) {
        const intptr_t start = slot_source(w, j0, 0), pitch = b->pitch;
        const intptr_t left = start >= 0 ? 0 : least(-start, used);
        const intptr_t end = least(used, w->size - start); /* may be < left: all zeros */
        const intptr_t inside = end > left ? end - left : 0, right = left + inside;
        const real *first = src + (start + left) * b->channels;
        memset(out, 0, (size_t)left * pixel);
        if (valid == b->channels && valid == pitch && b->c_div == 1)
            memcpy(out + left * pitch, first, (size_t)inside * pixel);
        else
            copy_pixels(b, first, inside, c0, valid, out + left * pitch);
        memset(out + right * pitch, 0, (size_t)(used - right) * pixel);
        return;
    }
    for (intptr_t q = 0; q < used; q++) {
        const intptr_t at = slot_source(w, j0, q);
        if (at >= 0 && at < w->size)
            copy_pixel(b, src + at * b->channels, c0, valid, out + q * b->pitch);
        else
            memset(out + q * b->pitch, 0, pixel);
    }
}

/* The band of range r: channels c0 .. c0 + chunk of the array (valid of them exist; c_add shifts
 * the source channel), into out (images, h.slots, w.slots, pitch). */
static void copy_band(const conv_band *b, const band_range *r, intptr_t c0, intptr_t valid,
                      intptr_t c_add, real *out) {
    const intptr_t row = b->w.slots * b->pitch;
    const intptr_t rows = slots_used(&b->h, r->rows), used = slots_used(&b->w, r->cols);
    for (intptr_t n = 0; n < r->images; n++, out += b->h.slots * row) {
        const real *image =
            (const real *)b->src + (r->n0 + n) * b->h.size * b->w.size * b->channels + c_add;
        for (intptr_t slot = 0; slot < rows; slot++) {
            const intptr_t at = slot_source(&b->h, r->i0, slot);
            if (at >= 0 && at < b->h.size)
                copy_row(b, image + at * b->w.size * b->channels, r->j0, used, c0, valid,
                         out + slot * row);
            else
                memset(out + slot * row, 0, (size_t)(used * b->pitch) * sizeof(real));
        }
    }
}

/* The operand A of range r, `chunk` channels from c0 on: copied to `room`, or src itself. */
INLINE const real *band_operand(const conv_band *b, const band_range *r, intptr_t c0,
                                intptr_t valid, intptr_t c_add, real *room) {
    if (b->band_size) {
        copy_band(b, r, c0, valid, c_add, room);
        return room;
    }
    const intptr_t row = r->n0 * b->h.size + r->i0 * b->h.step;
    return (const real *)b->src + (row * b->w.size + r->j0 * b->w.step) * b->channels + c0;
}

/* The column of place `place` of a range; its row is place / r->cols. */
INLINE intptr_t place_column(const band_range *r, intptr_t place) {
    const intptr_t j = place % r->cols;
    return r->order == THERE_AND_BACK && place / r->cols % 2 ? r->cols - 1 - j : j;
}

/* at[p] = offset of output p = (n, i, j) of a range, given the offsets from one to the next: in
 * this order; or all images of a place (i, j), then those of the next; there and back: each row
 * from where the last one ended. */
static intptr_t pixel_offsets(const band_range *r, intptr_t n_step, intptr_t i_step,
                              intptr_t j_step, intptr_t *at) {
    intptr_t p = 0;
    for (intptr_t q = 0; r->order != BY_IMAGE && q < r->rows * r->cols; q++)
        for (intptr_t n = 0; n < r->images; n++)
            at[p++] = n * n_step + q / r->cols * i_step + place_column(r, q) * j_step;
    for (intptr_t n = 0; r->order == BY_IMAGE && n < r->images; n++)
        for (intptr_t i = 0; i < r->rows; i++) {
            const intptr_t row = n * n_step + i * i_step;
            for (intptr_t j = 0; j < r->cols; j++) at[p++] = row + j * j_step;
        }
    return p;
}

/* Offsets of the outputs of a range in the operand A; returns their number. */
INLINE intptr_t operand_offsets(const conv_band *b, const band_range *r, intptr_t *at) {
    if (b->band_size) {
        const intptr_t row = b->w.slots * b->pitch;
        return pixel_offsets(r, b->h.slots * row, b->h.slot_step * row,
                             b->w.slot_step * b->pitch, at);
    }
    const intptr_t row = b->w.size * b->channels;
    return pixel_offsets(r, b->h.size * row, b->h.step * row, b->w.step * b->channels, at);
}

/* Pixels first .. end of src, `channels` from c0 on, as rows to ask for (gemm.h). */
INLINE upcoming pixels_ahead(const void *src, intptr_t first, intptr_t end, intptr_t pitch,
                             intptr_t c0, intptr_t channels) {
    const intptr_t item = sizeof(real);
    return (upcoming){.from = (const char *)src + (first * pitch + c0) * item,
                      .rows = end > first ? end - first : 0,
                      .bytes = channels * item,
                      .step = pitch * item,
                      .run = end - first,
                      .left = end - first};
}

/* The pixels that band `index` reads, where they lie side by side; else, or past the last: none. */
INLINE upcoming band_ahead(const conv_band *b, intptr_t index, intptr_t c0, intptr_t valid) {
    const conv_axis *h = &b->h, *w = &b->w;
    if (index >= band_count(b) || !h->dense || !w->dense || (w->blocks > 1 && h->size > 1))
        return (upcoming){0};
    const band_range r = band_at(b, index);
    const intptr_t top = slot_source(h, r.i0, 0), left = slot_source(w, r.j0, 0);
    const intptr_t rows = top + slots_used(h, r.rows), cols = left + slots_used(w, r.cols);
    const intptr_t first = (r.n0 * h->size + (top > 0 ? top : 0)) * w->size;
    const intptr_t last = ((r.n0 + r.images - 1) * h->size + least(rows, h->size) - 1) * w->size;
    return pixels_ahead(b->src, first + (left > 0 ? left : 0), last + least(cols, w->size),
                        b->channels, c0, valid);
}

/* The outputs of band `index`, of an array with `pitch` elements from one to the next. */
INLINE upcoming outputs_ahead(const conv_band *b, intptr_t index, const void *src, intptr_t pitch,
                              intptr_t c0, intptr_t channels) {
    if (index >= band_count(b) || (b->w.blocks > 1 && b->h.count > 1)) return (upcoming){0};
    const band_range r = band_at(b, index);
    const intptr_t first = (r.n0 * b->h.count + r.i0) * b->w.count + r.j0;
    return pixels_ahead(src, first, first + r.images * r.rows * r.cols, pitch, c0, channels);
}

/* Scratch of one thread, carved into aligned pieces. */
INLINE intptr_t rounded(intptr_t bytes) { return (bytes + 127) & ~(intptr_t)63; }
INLINE intptr_t band_bytes(const conv_band *b) {
    return rounded(b->band_size * (intptr_t)sizeof(real));
}
INLINE intptr_t offsets_bytes(intptr_t n) { return rounded(n * (intptr_t)sizeof(intptr_t)); }

#endif
