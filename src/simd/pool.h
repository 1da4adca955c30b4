/* pool.h: memory blocks that are used again.
 *
 * Design: fresh pages are expensive (up to 9 us each on a virtual machine), so a block that is
 * given back waits in a list for the next request of its size class. Classes are four to a power
 * of two; a block is never split or joined. Blocks of 1 MiB and more are mapped by us, from 2 MiB
 * on aligned to 2 MiB with huge pages asked for; smaller ones come from malloc. Every block
 * starts with a 64-byte header, so its data are 64-byte aligned and giving back needs no size.
 *
 * Data of mapped blocks start at varying distances from a page: arrays of the same size would
 * otherwise compete for the same cache sets.
 *
 * Absent on purpose: arrays and Python (memory.pyx). One lock guards the lists; it is taken around
 * fork(). Included by memory.pyx alone, so everything is static. */
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
#else
#include <pthread.h>
#include <sys/mman.h>
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static void pool_acquire(void) { pthread_mutex_lock(&pool_lock); }
static void pool_release(void) { pthread_mutex_unlock(&pool_lock); }
#endif

#define POOL_MIN ((size_t)4096)            /* the smallest class; smaller requests are malloc's */
#define POOL_MAP ((size_t)1 << 20)         /* blocks from here on are mapped by us */
#define POOL_HUGE ((size_t)1 << 21)        /* size and alignment of a huge page */
#define POOL_CLASSES 200
#define POOL_LINE 64                       /* the header, and the alignment of data */
#define POOL_SLACK ((size_t)64 << 20)      /* cached bytes that are kept whatever the peak was */

typedef struct pool_block {
    struct pool_block *next;               /* while it waits */
    size_t capacity;                       /* bytes from the data on */
    void *base;                            /* what the system gave */
    size_t mapped;                         /* bytes mapped; 0: from malloc */
    int size_class;                        /* -1: not pooled */
    int fresh;                             /* 1: mapped and never handed out: all zero */
} pool_block;

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
    int use_huge;
    int poison;                            /* fill what is handed out with NaN */
    long refuse_in;                        /* for tests: requests until one is refused; < 0: none */
} pool = {{0}, {0, 0, 0, 0, 0, 0, 0}, 0, 1, 0, -1};

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
    pool_block made = {NULL, bytes, base, 0, size_class, 0};
    *pool_header(data) = made;
    return data;
}

#ifdef _WIN32
static void *pool_from_map(size_t bytes, int size_class) {
    return pool_from_malloc(bytes, size_class);
}
#else
static void *pool_from_map(size_t bytes, int size_class) {
    size_t total = bytes + POOL_MIN;       /* header and distance fit in one page */
    size_t align = bytes >= POOL_HUGE ? POOL_HUGE : 0;
    char *base = (char *)mmap(NULL, total + align, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == (char *)MAP_FAILED) return NULL;
    if (align) {                           /* cut what lies before and after the aligned part */
        size_t before = (POOL_HUGE - (uintptr_t)base % POOL_HUGE) % POOL_HUGE;
        if (before) munmap(base, before);
        base += before;
        if (align > before) munmap(base + total, align - before);
#ifdef MADV_HUGEPAGE
        if (pool.use_huge) madvise(base, total, MADV_HUGEPAGE);
#endif
    }
    size_t distance = POOL_LINE + 256 * (pool.color++ % 15);
    pool_block made = {NULL, bytes, base, total, size_class, 1};
    *pool_header(base + distance) = made;
    return base + distance;
}
#endif

static void pool_to_system(pool_block *block) {
#ifndef _WIN32
    if (block->mapped) {
        munmap(block->base, block->mapped);
        return;
    }
#endif
    free(block->base);
}

/* Give every waiting block back to the system; the lock is held. */
static void pool_drop(void) {
    for (int i = 0; i < POOL_CLASSES; i++) {
        while (pool.waiting[i]) {
            pool_block *block = pool.waiting[i];
            pool.waiting[i] = block->next;
            pool_to_system(block);
        }
    }
    pool.counts.cached_bytes = pool.counts.cached_blocks = 0;
}

/* A waiting block for a request, and its class: of the request's own, or, where fresh pages would
 * be mapped, up to twice as large. */
static pool_block *pool_waiting(int *size_class, size_t capacity) {
    const int most = capacity >= POOL_MAP ? *size_class + 4 : *size_class;
    for (int i = *size_class; i <= most && i < POOL_CLASSES; i++)
        if (pool.waiting[i]) {
            *size_class = i;
            return pool.waiting[i];
        }
    return NULL;
}

/* A block of at least `bytes`, 64-byte aligned, or NULL when the system refuses. */
static void *pool_take(size_t bytes) {
    if (bytes > (size_t)PTRDIFF_MAX / 4) return NULL;
    size_t capacity;
    int size_class = pool_class(bytes, &capacity);
    pool_acquire();
    if (pool.refuse_in >= 0 && pool.refuse_in-- == 0) {
        pool_release();
        return NULL;
    }
    pool_block *block = pool_waiting(&size_class, capacity);
    void *data = NULL;
    if (block) {
        capacity = block->capacity;
        pool.waiting[size_class] = block->next;
        pool.counts.cached_bytes -= capacity;
        pool.counts.cached_blocks--;
        pool.counts.reused++;
        data = (char *)block + POOL_LINE;
        block->fresh = 0;
    } else {
        for (int attempt = 0; attempt < 2 && !data; attempt++) {
            if (attempt) pool_drop();      /* refused: once more with what we had kept */
            data = capacity >= POOL_MAP ? pool_from_map(capacity, size_class)
                                        : pool_from_malloc(capacity, size_class);
        }
    }
    pool.counts.requests++;
    if (data) {
        pool.counts.live_bytes += capacity;
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
    if (block->size_class < 0) {
        free(block->base);
        return;
    }
    pool_acquire();
    pool.counts.live_bytes -= block->capacity;
    pool.counts.live_blocks--;
    size_t kept = pool.counts.cached_bytes + block->capacity;
    if (kept > 2 * pool.counts.peak_bytes + POOL_SLACK) {
        pool_to_system(block);
    } else {
        block->next = pool.waiting[block->size_class];
        pool.waiting[block->size_class] = block;
        pool.counts.cached_bytes = kept;
        pool.counts.cached_blocks++;
    }
    pool_release();
}

/* NumPy's four (its handler protocol, NEP 49). Small requests are malloc's, behind a header. */
static void *pool_malloc(void *context, size_t bytes) {
    (void)context;
    void *data = bytes < POOL_MIN ? pool_from_malloc(bytes, -1) : pool_take(bytes);
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
    pool.use_huge = use_huge;
    pool.poison = poison;
#ifndef _WIN32
    pthread_atfork(pool_acquire, pool_release, pool_release);
#endif
}

#endif
