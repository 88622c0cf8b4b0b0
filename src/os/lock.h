/* A lock for the few things that several threads share. Held for a handful of instructions, never
 * while user code runs. */
#ifndef OS_LOCK_H
#define OS_LOCK_H

#if defined(_WIN32)
struct os_lock {
    void *srw; /* an SRWLOCK */
};

void os_lock_init(struct os_lock *lock);
void os_lock_free(struct os_lock *lock);
void os_lock_take(struct os_lock *lock);
void os_lock_give(struct os_lock *lock);
#else
#include <assert.h>
#include <stdatomic.h>

/* One number on which the waiting wait (futex(2)); here because a thread that sends by id takes one
 * for each message, and a mutex of the C library costs four times as many instructions. */
struct os_lock {
    atomic_uint state; /* enum os_lock_state */
};

enum os_lock_state { OS_LOCK_FREE, OS_LOCK_TAKEN, OS_LOCK_AWAITED };

/* What is rare: somebody else has it; somebody may wait for it. */
void os_lock_await(struct os_lock *lock);
void os_lock_pass_on(struct os_lock *lock);

static inline void os_lock_init(struct os_lock *lock) { atomic_init(&lock->state, OS_LOCK_FREE); }

static inline void os_lock_free(struct os_lock *lock)
{
    assert(atomic_load_explicit(&lock->state, memory_order_relaxed) == OS_LOCK_FREE);
    (void)lock;
}

static inline void os_lock_take(struct os_lock *lock)
{
    unsigned state = OS_LOCK_FREE;
    if (!atomic_compare_exchange_strong_explicit(&lock->state, &state, OS_LOCK_TAKEN,
                                                 memory_order_acquire, memory_order_relaxed))
        os_lock_await(lock);
}

static inline void os_lock_give(struct os_lock *lock)
{
    unsigned state = atomic_exchange_explicit(&lock->state, OS_LOCK_FREE, memory_order_release);
    assert(state != OS_LOCK_FREE);
    if (state == OS_LOCK_AWAITED) os_lock_pass_on(lock);
}
#endif

#endif
