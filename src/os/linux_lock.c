/* The lock: a plain mutex. Its memory is the owner's. */
#include "os/lock.h"

#include <assert.h>

/* A mutex call fails only when it is misused. */
static void must_be_0(int error)
{
    assert(error == 0);
    (void)error;
}

void os_lock_init(struct os_lock *lock) { must_be_0(pthread_mutex_init(&lock->mutex, NULL)); }

void os_lock_free(struct os_lock *lock) { must_be_0(pthread_mutex_destroy(&lock->mutex)); }

void os_lock_take(struct os_lock *lock) { must_be_0(pthread_mutex_lock(&lock->mutex)); }

void os_lock_give(struct os_lock *lock) { must_be_0(pthread_mutex_unlock(&lock->mutex)); }
