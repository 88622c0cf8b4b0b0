/* The lock: a slim reader/writer lock, taken for writing only. Its memory is the owner's. */
#include "os/lock.h"

#include <windows.h>

_Static_assert(sizeof(SRWLOCK) == sizeof(struct os_lock), "the lock is kept as a pointer");

static SRWLOCK *srw_of(struct os_lock *lock) { return (SRWLOCK *)&lock->srw; }

void os_lock_init(struct os_lock *lock) { InitializeSRWLock(srw_of(lock)); }

void os_lock_free(struct os_lock *lock) { (void)lock; }

void os_lock_take(struct os_lock *lock) { AcquireSRWLockExclusive(srw_of(lock)); }

void os_lock_give(struct os_lock *lock) { ReleaseSRWLockExclusive(srw_of(lock)); }
