/* An amount with a maximum that several threads take from. Compared before it is added, so that who
 * is refused takes room from nobody, not for a moment. */
#ifndef BASE_ROOM_H
#define BASE_ROOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* False when `amount` more would be above `max`; then nothing was taken. */
static inline bool room_take(atomic_size_t *used, size_t amount, size_t max)
{
    size_t now = atomic_load_explicit(used, memory_order_relaxed);
    do {
        if (now > max || amount > max - now) return false;
    } while (!atomic_compare_exchange_weak_explicit(used, &now, now + amount, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static inline void room_give(atomic_size_t *used, size_t amount)
{
    atomic_fetch_sub_explicit(used, amount, memory_order_relaxed);
}

#endif
