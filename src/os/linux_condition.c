/* Conditions on futex(2): a number that changes with each telling. Who waits reads it while it
 * still holds the lock, so what is told after the lock was let go ends the wait, also before it
 * began. */
#include "os/condition.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void os_condition_init(struct os_condition *condition) { atomic_init(&condition->told, 0); }

void os_condition_free(struct os_condition *condition) { (void)condition; }

void os_condition_wait(struct os_condition *condition, struct os_lock *lock, uint32_t timeout_ms)
{
    unsigned told = atomic_load_explicit(&condition->told, memory_order_relaxed);
    struct timespec limit = {.tv_sec = timeout_ms / 1000,
                             .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    os_lock_give(lock);
    (void)syscall(SYS_futex, &condition->told, FUTEX_WAIT_PRIVATE, told,
                  timeout_ms == OS_FOREVER ? NULL : &limit, NULL, 0);
    os_lock_take(lock);
}

static void tell(struct os_condition *condition, int count)
{
    atomic_fetch_add_explicit(&condition->told, 1, memory_order_relaxed);
    (void)syscall(SYS_futex, &condition->told, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

void os_condition_tell(struct os_condition *condition) { tell(condition, 1); }

void os_condition_tell_all(struct os_condition *condition) { tell(condition, INT_MAX); }
