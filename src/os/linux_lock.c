/* The lock's rare half. Its memory is the owner's.
 *
 * Whoever has had to wait can't know whether others do, so it takes the lock as one that is
 * awaited: giving it up then costs a call, perhaps in vain, and nobody is left sleeping. */
#include "os/lock.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns at once when the lock is no longer awaited, and for no reason at times. */
void os_lock_await(struct os_lock *lock)
{
    while (atomic_exchange_explicit(&lock->state, OS_LOCK_AWAITED, memory_order_acquire) !=
           OS_LOCK_FREE)
        (void)syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, OS_LOCK_AWAITED, NULL, NULL, 0);
}

/* The lock's memory may be gone by now, if its next owner freed it: nothing is read from it. */
void os_lock_pass_on(struct os_lock *lock)
{
    (void)syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
