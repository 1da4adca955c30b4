/* deal.h: dealing out the tasks of a grid to the threads of a team.
 *
 * Design: every thread has a share, neighboring tasks, and works through it from the front; one
 * that has finished takes tasks from the back of another's share.  So a core meets the same part of
 * an array in one kernel after the other, and finds it in its own cache, and yet nobody waits for a
 * slow or busy core.  A share is one 64-bit word, in a cache line of its own: the next task below,
 * the end above; whoever takes a task exchanges the word (as in Blumofe and Leiserson, "Scheduling
 * multithreaded computations by work stealing", J. ACM 1999, for a grid instead of a tree).
 *
 * Absent on purpose: starting threads (src/kernels/tasks.pyx).
 */
#ifndef MINIGRAD_DEAL_H
#define MINIGRAD_DEAL_H

#include <stdint.h>

enum { SHARES = 64 };                /* more threads than that have shares together */

typedef struct {
    volatile uint64_t range;         /* end << 32 | next */
    char apart[120];
} deal_share;

typedef struct {
    deal_share share[SHARES];
    int shares;
} deal;

/* Exchange *word for `with` if it is still *seen; if not, *seen is what it is now. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
static __inline int exchange_word(volatile uint64_t *word, uint64_t *seen, uint64_t with) {
    const uint64_t old = *seen;
    *seen = (uint64_t)_InterlockedCompareExchange64((volatile __int64 *)word, (__int64)with,
                                                    (__int64)old);
    return *seen == old;
}
static __inline uint64_t load_word(volatile uint64_t *word) { return *word; }
#else
static inline int exchange_word(volatile uint64_t *word, uint64_t *seen, uint64_t with) {
    return __atomic_compare_exchange_n(word, seen, with, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
static inline uint64_t load_word(volatile uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}
#endif

/* Tasks 0 .. count-1, count < 2^31, in shares for `threads`. */
static inline void deal_out(deal *d, intptr_t count, int threads) {
    d->shares = threads < SHARES ? threads : SHARES;
    for (int i = 0; i < d->shares; i++) {
        const uint64_t first = (uint64_t)(count * i / d->shares);
        const uint64_t end = (uint64_t)(count * (i + 1) / d->shares);
        d->share[i].range = end << 32 | first;
    }
}

/* A task of a share, from its front or its back; -1 when none is left. */
static inline intptr_t take_task(deal_share *s, int back) {
    uint64_t seen = load_word(&s->range);
    for (;;) {
        const uint64_t next = seen & 0xffffffffu, end = seen >> 32;
        if (next >= end) return -1;
        if (exchange_word(&s->range, &seen, back ? (end - 1) << 32 | next : end << 32 | (next + 1)))
            return (intptr_t)(back ? end - 1 : next);
    }
}

/* The next task of thread `me`: its own, or what another has left; -1 when all are dealt. */
static inline intptr_t next_task(deal *d, int me) {
    const int own = me % d->shares;
    intptr_t task = take_task(&d->share[own], 0);
    for (int i = 1; task < 0 && i < d->shares; i++)
        task = take_task(&d->share[(own + i) % d->shares], 1);
    return task;
}

#endif
