/* Waiting for what another thread changes under a lock. */
#ifndef OS_CONDITION_H
#define OS_CONDITION_H

#include <stdint.h>

#include "os/lock.h"

#if defined(_WIN32)
struct os_condition {
    void *variable; /* a CONDITION_VARIABLE */
};
#else
#include <stdatomic.h>

struct os_condition {
    atomic_uint told; /* how often somebody was told something; wraps */
};
#endif

#define OS_FOREVER UINT32_MAX

void os_condition_init(struct os_condition *condition);

/* Nobody waits. */
void os_condition_free(struct os_condition *condition);

/* The lock is held by the caller; it is let go while the thread sleeps and held again at return. At
 * most `timeout_ms`, and possibly less: look again at what was waited for. */
void os_condition_wait(struct os_condition *condition, struct os_lock *lock, uint32_t timeout_ms);

/* Wakes one of those who wait, or all. */
void os_condition_tell(struct os_condition *condition);
void os_condition_tell_all(struct os_condition *condition);

#endif
