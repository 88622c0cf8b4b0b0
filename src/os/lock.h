/* A lock for the few things that several threads share. Held for a handful of instructions, never
 * while user code runs. */
#ifndef OS_LOCK_H
#define OS_LOCK_H

#if defined(_WIN32)
struct os_lock {
    void *srw; /* an SRWLOCK */
};
#else
#include <pthread.h>
struct os_lock {
    pthread_mutex_t mutex;
};
#endif

void os_lock_init(struct os_lock *lock);
void os_lock_free(struct os_lock *lock);
void os_lock_take(struct os_lock *lock);
void os_lock_give(struct os_lock *lock);

#endif
