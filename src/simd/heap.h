/* heap.h: memory in large pieces that are split and joined.
 *
 * Design: a heap of chunks, whole pages each, in one list by address. What is asked for is cut from
 * the smallest free chunk that holds it, the lowest of equals. A hole is cut at its upper end: a
 * backward pass frees downward, so the rest joins what is freed next. A chunk that is given back is
 * joined with free neighbors that it touches.
 *
 * When no chunk is large enough, fresh pages are mapped behind the last, so they join it as well: a
 * free end only grows by what it lacks. For that the heap lives in a gap: a long stretch of address
 * space that was empty when we looked, and that others fill from its far end. A gap that is full or
 * limited is left and the next begun.
 *
 * Free chunks are a treap, ordered by (bytes, address) and heap-ordered by a hash of the address
 * (Seidel and Aragon 1996), so a search takes O(log n). Every chunk starts with its header.
 * Pages are mapped in multiples of 2 MiB, aligned, with huge pages asked for.
 *
 * Absent on purpose: locks and counts of what is used (pool.h), and Windows, which has no munmap()
 * of parts. Included by pool.h alone, so everything is static. */
#ifndef MINIGRAD_HEAP_H
#define MINIGRAD_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAP_HUGE ((size_t)1 << 21)        /* size and alignment of a huge page */
#define HEAP_GAP ((size_t)1 << (sizeof(size_t) > 4 ? 35 : 27))

typedef struct heap_chunk {
    struct heap_chunk *below, *above;      /* by address; they need not touch */
    struct heap_chunk *smaller, *larger;   /* in the treap, while free */
    size_t bytes;                          /* header included */
    int free;
    int fresh;                             /* 1: never handed out: all zero behind the header */
} heap_chunk;

static struct {
    heap_chunk *first, *last;              /* the chunks with the lowest and highest address */
    heap_chunk *root;                      /* of the treap */
    size_t free_bytes, free_chunks;
    char *gap, *gap_end;
    size_t page;                           /* chunks are multiples of it */
    int use_huge;
} heap = {NULL, NULL, NULL, 0, 0, NULL, NULL, 4096, 1};

static size_t heap_round(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

static char *heap_end_of(heap_chunk *chunk) { return (char *)chunk + chunk->bytes; }

/* ---- the treap of free chunks ---------------------------------------------------------------- */

static uint32_t heap_rank(const heap_chunk *chunk) {
    uint32_t x = (uint32_t)((uintptr_t)chunk >> 12) * 0x9E3779B1u;
    return (x ^ x >> 15) * 0x85EBCA77u;
}

static int heap_before(const heap_chunk *a, const heap_chunk *b) {
    return a->bytes < b->bytes || (a->bytes == b->bytes && a < b);
}

/* The smallest free chunk of at least `bytes`; the lowest of equals. */
static heap_chunk *heap_best(size_t bytes) {
    heap_chunk *best = NULL;
    for (heap_chunk *at = heap.root; at;) {
        if (at->bytes >= bytes) {
            best = at;
            at = at->smaller;
        } else {
            at = at->larger;
        }
    }
    return best;
}

/* Into the treap: down to where its rank belongs; what hangs there is divided to its sides. */
static void heap_insert(heap_chunk *chunk) {
    heap_chunk **at = &heap.root, **smaller = &chunk->smaller, **larger = &chunk->larger;
    while (*at && heap_rank(*at) >= heap_rank(chunk))
        at = heap_before(chunk, *at) ? &(*at)->smaller : &(*at)->larger;
    heap_chunk *rest = *at;
    *at = chunk;
    while (rest) {
        if (heap_before(rest, chunk)) {
            *smaller = rest;
            smaller = &rest->larger;
            rest = rest->larger;
        } else {
            *larger = rest;
            larger = &rest->smaller;
            rest = rest->smaller;
        }
    }
    *smaller = *larger = NULL;
    chunk->free = 1;
    heap.free_bytes += chunk->bytes;
    heap.free_chunks++;
}

/* Out of the treap: its two sides are merged by rank. */
static void heap_remove(heap_chunk *chunk) {
    heap_chunk **at = &heap.root;
    while (*at != chunk) at = heap_before(chunk, *at) ? &(*at)->smaller : &(*at)->larger;
    heap_chunk *smaller = chunk->smaller, *larger = chunk->larger;
    while (smaller && larger) {
        if (heap_rank(smaller) >= heap_rank(larger)) {
            *at = smaller;
            at = &smaller->larger;
            smaller = *at;
        } else {
            *at = larger;
            at = &larger->smaller;
            larger = *at;
        }
    }
    *at = smaller ? smaller : larger;
    chunk->free = 0;
    heap.free_bytes -= chunk->bytes;
    heap.free_chunks--;
}

/* ---- the list by address --------------------------------------------------------------------- */

static void heap_link(heap_chunk *chunk, heap_chunk *below) {
    chunk->below = below;
    chunk->above = below ? below->above : heap.first;
    if (below) below->above = chunk;
    else heap.first = chunk;
    if (chunk->above) chunk->above->below = chunk;
    else heap.last = chunk;
}

static void heap_unlink(heap_chunk *chunk) {
    if (chunk->below) chunk->below->above = chunk->above;
    else heap.first = chunk->above;
    if (chunk->above) chunk->above->below = chunk->below;
    else heap.last = chunk->below;
}

/* The chunk that touches and follows `chunk` becomes part of it. Neither is in the treap. */
static void heap_join(heap_chunk *chunk, heap_chunk *next) {
    heap_unlink(next);
    chunk->bytes += next->bytes;
    chunk->fresh = chunk->fresh && next->fresh;
    if (chunk->fresh) memset(next, 0, sizeof(heap_chunk));
}

/* Give a chunk back. Returns the free chunk that it is part of then. */
static heap_chunk *heap_give(heap_chunk *chunk) {
    heap_chunk *above = chunk->above, *below = chunk->below;
    if (above && above->free && heap_end_of(chunk) == (char *)above) {
        heap_remove(above);
        heap_join(chunk, above);
    }
    if (below && below->free && heap_end_of(below) == (char *)chunk) {
        heap_remove(below);
        heap_join(below, chunk);
        chunk = below;
    }
    heap_insert(chunk);
    return chunk;
}

/* ---- pages from the system, and back --------------------------------------------------------- */

/* Pages exactly there, or NULL. */
static char *heap_map_at(char *at, size_t bytes) {
    char *got = (char *)mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == (char *)MAP_FAILED) return NULL;
    if (got == at) return got;
    munmap(got, bytes);
    return NULL;
}

/* Pages at the start of a new gap, as long as the system allows; NULL when it refuses. */
static char *heap_map_gap(size_t bytes) {
    size_t room = HEAP_GAP;
    char *got = (char *)MAP_FAILED;
    while (got == (char *)MAP_FAILED) {
        const int least = room <= bytes + HEAP_HUGE;
        if (least) room = bytes + HEAP_HUGE;
        got = (char *)mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (got == (char *)MAP_FAILED && least) return NULL;
        if (got == (char *)MAP_FAILED) room /= 4;
    }
    char *start = (char *)heap_round((uintptr_t)got, HEAP_HUGE), *end = got + room;
    const int refused = mprotect(start, bytes, PROT_READ | PROT_WRITE);
    if (start > got) munmap(got, (size_t)(start - got));
    char *rest = refused ? start : start + bytes;
    if (end > rest) munmap(rest, (size_t)(end - rest));
    if (refused) return NULL;
    heap.gap = start;
    heap.gap_end = end;
    return start;
}

/* Map what a chunk of `bytes` needs beyond the free end of the heap. NULL: refused. */
static heap_chunk *heap_grow(size_t bytes) {
    heap_chunk *end = heap.last;
    while (end && (char *)end >= heap.gap_end) end = end->below;
    if (end && (char *)end < heap.gap) end = NULL;
    char *at = end ? heap_end_of(end) : heap.gap, *got = NULL;
    const size_t lacking = end && end->free ? bytes - end->bytes : bytes;
    size_t mapped = heap_round((uintptr_t)at % HEAP_HUGE + lacking, HEAP_HUGE)
                    - (uintptr_t)at % HEAP_HUGE;
    if (at && mapped <= (size_t)(heap.gap_end - at)) got = heap_map_at(at, mapped);
    if (!got) {
        mapped = heap_round(bytes, HEAP_HUGE);
        got = heap_map_gap(mapped);
    }
    if (!got) return NULL;
#ifdef MADV_HUGEPAGE
    if (heap.use_huge) madvise(got, mapped, MADV_HUGEPAGE);
#endif
    heap_chunk *made = (heap_chunk *)got, *below = heap.last;
    while (below && below > made) below = below->below;
    made->bytes = mapped;
    made->fresh = 1;
    heap_link(made, below);
    return heap_give(made);
}

/* A chunk of `bytes`, a multiple of heap.page; NULL when the system refuses. */
static heap_chunk *heap_take(size_t bytes) {
    heap_chunk *chunk = heap_best(bytes);
    if (!chunk) chunk = heap_grow(bytes);
    if (!chunk) return NULL;
    heap_remove(chunk);
    if (chunk->bytes == bytes) return chunk;
    const int hole = heap_end_of(chunk) == (char *)chunk->above;
    const size_t rest = chunk->bytes - bytes;
    heap_chunk *upper = (heap_chunk *)((char *)chunk + (hole ? rest : bytes));
    upper->bytes = hole ? bytes : rest;
    upper->fresh = chunk->fresh;
    upper->free = 0;
    chunk->bytes -= upper->bytes;
    heap_link(upper, chunk);
    heap_insert(hole ? chunk : upper);
    return hole ? upper : chunk;
}

/* A free chunk to the system. A refusal (too many mappings) leaves it free. */
static void heap_release(heap_chunk *chunk) {
    const heap_chunk was = *chunk;
    heap_remove(chunk);
    heap_unlink(chunk);
    if (munmap(chunk, was.bytes)) {
        heap_link(chunk, was.below);
        heap_insert(chunk);
    }
}

static void heap_release_all(void) {
    for (heap_chunk *chunk = heap.last, *below; chunk; chunk = below) {
        below = chunk->below;
        if (chunk->free) heap_release(chunk);
    }
}

#endif
