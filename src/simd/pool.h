/* pool.h: memory blocks that are used again.
 *
 * Design: fresh pages are expensive (up to 9 us each on a virtual machine), so what is given back
 * waits for the next request. From 256 KiB on, blocks are chunks of a heap that splits and joins
 * them (heap.h). Smaller ones come from malloc and wait in a list of their size class, four to a
 * power of two, never split or joined. A block's 64-byte header lies just before its data, which
 * are 64-byte aligned, so giving back needs no size.
 *
 * Data in chunks start at varying distances from a page: arrays of the same size would otherwise
 * compete for the same cache sets.
 *
 * Absent on purpose: arrays and Python (memory.pyx). One lock guards lists and heap; it is taken
 * around fork(). Included by memory.pyx alone, so everything is static. */
#ifndef MINIGRAD_POOL_H
#define MINIGRAD_POOL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
static SRWLOCK pool_lock = SRWLOCK_INIT;
static void pool_acquire(void) { AcquireSRWLockExclusive(&pool_lock); }
static void pool_release(void) { ReleaseSRWLockExclusive(&pool_lock); }
#define POOL_HEAP SIZE_MAX                 /* no heap: all blocks are malloc's */
#else
#include <pthread.h>
#include "heap.h"
#define POOL_HEAP ((size_t)1 << 18)        /* blocks from here on are chunks of the heap */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static void pool_acquire(void) { pthread_mutex_lock(&pool_lock); }
static void pool_release(void) { pthread_mutex_unlock(&pool_lock); }
#endif

#define POOL_MIN ((size_t)4096)            /* the smallest class; smaller requests are malloc's */
#define POOL_CLASSES 200
#define POOL_LINE 64                       /* the header, and the alignment of data */
#define POOL_COLORS 15                     /* distances of data in a chunk, 256 bytes apart */
#define POOL_SLACK ((size_t)64 << 20)      /* cached bytes that are kept whatever the peak was */

typedef struct pool_block {
    struct pool_block *next;               /* while it waits */
    size_t capacity;                       /* bytes from the data on */
    size_t held;                           /* bytes that the counts say */
    void *base;                            /* what malloc gave, or the chunk */
    int size_class;                        /* or one of the next two */
    int fresh;                             /* 1: never handed out before: all zero */
} pool_block;

enum { POOL_PLAIN = -1, POOL_CHUNK = -2 };  /* malloc's, not counted; the heap's */

typedef struct {
    size_t live_bytes, live_blocks;        /* handed out */
    size_t cached_bytes, cached_blocks;    /* waiting */
    size_t peak_bytes;                     /* the most that was live at once */
    size_t requests, reused;               /* how often asked, how often answered from the lists */
} pool_counts;

static struct {
    pool_block *waiting[POOL_CLASSES];
    pool_counts counts;
    size_t color;                          /* varies the distance of data from a page */
    int poison;                            /* fill what is handed out with NaN */
    long refuse_in;                        /* for tests: requests until one is refused; < 0: none */
} pool = {{0}, {0, 0, 0, 0, 0, 0, 0}, 0, 0, -1};

static pool_block *pool_header(void *data) { return (pool_block *)((char *)data - POOL_LINE); }

/* Size class of a request, and the bytes that a block of the class holds. */
static int pool_class(size_t bytes, size_t *capacity) {
    if (bytes <= POOL_MIN) {
        *capacity = POOL_MIN;
        return 0;
    }
    int log = 12;                          /* 2^log < bytes <= 2^(log + 1) */
    while (((bytes - 1) >> log) > 1) log++;
    size_t quarter = (bytes - 1) >> (log - 2);                  /* 4..7 */
    *capacity = (quarter + 1) << (log - 2);
    return (log - 12) * 4 + (int)quarter - 3;
}

/* `bytes` from malloc behind a header; data 64-byte aligned. */
static void *pool_from_malloc(size_t bytes, int size_class) {
    char *base = (char *)malloc(bytes + 2 * POOL_LINE);
    if (!base) return NULL;
    char *data = base + POOL_LINE;
    data += (POOL_LINE - (uintptr_t)data % POOL_LINE) % POOL_LINE;
    pool_block made = {NULL, bytes, bytes, base, size_class, 0};
    *pool_header(data) = made;
    return data;
}

#ifdef _WIN32
static void *pool_from_heap(size_t bytes) {
    (void)bytes;
    return NULL;
}
static void pool_to_heap(pool_block *block, size_t most) {
    (void)block;
    (void)most;
}
static void heap_release_all(void) {}
static size_t pool_heap_bytes(void) { return 0; }
static size_t pool_heap_chunks(void) { return 0; }
#else
/* A chunk: its header, a distance, the block's header, `bytes` of data. */
static void *pool_from_heap(size_t bytes) {
    const size_t before = 2 * POOL_LINE + 256 * (POOL_COLORS - 1);
    heap_chunk *chunk = heap_take(heap_round(before + bytes, heap.page));
    if (!chunk) return NULL;
    const size_t distance = 2 * POOL_LINE + 256 * (pool.color++ % POOL_COLORS);
    char *data = (char *)chunk + distance;
    const size_t held = chunk->bytes;
    pool_block made = {NULL, held - distance, held, chunk, POOL_CHUNK, chunk->fresh};
    *pool_header(data) = made;
    chunk->fresh = 0;
    return data;
}

/* Back to the heap, which keeps `most` bytes waiting, or gives the chunk to the system. */
static void pool_to_heap(pool_block *block, size_t most) {
    heap_chunk *chunk = heap_give((heap_chunk *)block->base);
    if (heap.free_bytes > most) heap_release(chunk);
}
static size_t pool_heap_bytes(void) { return heap.free_bytes; }
static size_t pool_heap_chunks(void) { return heap.free_chunks; }
#endif

/* Give every waiting block back to the system; the lock is held. */
static void pool_drop(void) {
    for (int i = 0; i < POOL_CLASSES; i++) {
        while (pool.waiting[i]) {
            pool_block *block = pool.waiting[i];
            pool.waiting[i] = block->next;
            free(block->base);
        }
    }
    heap_release_all();
    pool.counts.cached_bytes = pool.counts.cached_blocks = 0;
}

/* A block of at least `bytes` that waited in the list of its class, or a new one; NULL: refused. */
static void *pool_small(size_t bytes) {
    size_t capacity;
    const int size_class = pool_class(bytes, &capacity);
    pool_block *block = pool.waiting[size_class];
    if (!block) return pool_from_malloc(capacity, size_class);
    pool.waiting[size_class] = block->next;
    pool.counts.cached_bytes -= capacity;
    pool.counts.cached_blocks--;
    pool.counts.reused++;
    return (char *)block + POOL_LINE;
}

static void *pool_large(size_t bytes) {
    void *data = pool_from_heap(bytes);
    if (data) pool.counts.reused += !pool_header(data)->fresh;
    return data;
}

/* A block of at least `bytes`, 64-byte aligned, or NULL when the system refuses. */
static void *pool_take(size_t bytes) {
    if (bytes > (size_t)PTRDIFF_MAX / 4) return NULL;
    pool_acquire();
    if (pool.refuse_in >= 0 && pool.refuse_in-- == 0) {
        pool_release();
        return NULL;
    }
    void *data = NULL;
    for (int attempt = 0; attempt < 2 && !data; attempt++) {
        if (attempt) pool_drop();          /* refused: once more with what we had kept */
        data = bytes >= POOL_HEAP ? pool_large(bytes) : pool_small(bytes);
    }
    pool.counts.requests++;
    if (data) {
        pool.counts.live_bytes += pool_header(data)->held;
        pool.counts.live_blocks++;
        if (pool.counts.live_bytes > pool.counts.peak_bytes)
            pool.counts.peak_bytes = pool.counts.live_bytes;
    }
    pool_release();
    return data;
}

/* Give a block back. More than twice the peak (and some slack) is never kept waiting. */
static void pool_give(void *data) {
    if (!data) return;
    pool_block *block = pool_header(data);
    if (block->size_class == POOL_PLAIN) {
        free(block->base);
        return;
    }
    pool_acquire();
    pool.counts.live_bytes -= block->held;
    pool.counts.live_blocks--;
    const size_t most = 2 * pool.counts.peak_bytes + POOL_SLACK, kept = pool.counts.cached_bytes;
    if (block->size_class == POOL_CHUNK) {
        pool_to_heap(block, most - kept);
    } else if (kept + pool_heap_bytes() + block->held > most) {
        free(block->base);
    } else {
        block->next = pool.waiting[block->size_class];
        pool.waiting[block->size_class] = block;
        pool.counts.cached_bytes += block->held;
        pool.counts.cached_blocks++;
    }
    pool_release();
}

/* NumPy's four (its handler protocol, NEP 49). Small requests are malloc's, behind a header. */
static void *pool_malloc(void *context, size_t bytes) {
    (void)context;
    void *data = bytes < POOL_MIN ? pool_from_malloc(bytes, POOL_PLAIN) : pool_take(bytes);
    if (data && pool.poison) memset(data, 0xff, bytes);        /* a NaN in every float type */
    return data;
}

static void *pool_calloc(void *context, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    void *data = pool_malloc(context, count * size);
    if (data && (pool.poison || !pool_header(data)->fresh)) memset(data, 0, count * size);
    return data;
}

static void pool_free(void *context, void *data, size_t bytes) {
    (void)context;
    (void)bytes;
    pool_give(data);
}

static void *pool_realloc(void *context, void *data, size_t bytes) {
    if (data && bytes <= pool_header(data)->capacity) return data;
    void *moved = pool_malloc(context, bytes);
    if (moved && data) {
        memcpy(moved, data, pool_header(data)->capacity);
        pool_give(data);
    }
    return moved;
}

static void pool_clear(void) {
    pool_acquire();
    pool_drop();
    pool_release();
}

static pool_counts pool_read(void) {
    pool_acquire();
    pool_counts counts = pool.counts;
    counts.cached_bytes += pool_heap_bytes();
    counts.cached_blocks += pool_heap_chunks();
    pool_release();
    return counts;
}

/* For tests: the request after `count` others is refused as if memory had run out; < 0: none. */
static void pool_refuse_in(long count) {
    pool_acquire();
    pool.refuse_in = count;
    pool_release();
}

/* Once, at import: the two switches, and a lock that survives fork(). */
static void pool_setup(int use_huge, int poison) {
    pool.poison = poison;
#ifdef _WIN32
    (void)use_huge;
#else
    heap.use_huge = use_huge;
    const long page = sysconf(_SC_PAGESIZE);
    if (page > (long)heap.page) heap.page = (size_t)page;
    pthread_atfork(pool_acquire, pool_release, pool_release);
#endif
}

#endif
