/* The account of bytes that other threads have sent to a connection and that are not gone yet: one
 * word a slot, beside the slot table, because other threads touch it at any time.
 *
 * The word is generation (32 bits), "somebody was refused" (1 bit), bytes (31 bits). The generation
 * makes a late thread miss a slot's next owner. Charged by the sender, given back by the shard when
 * the bytes are gone or the connection is. */
#ifndef NET_INBOUND_H
#define NET_INBOUND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/error.h"

#define INBOUND_REFUSED (1u << 31)

struct inbound {
    _Atomic uint64_t word;
    _Atomic uint32_t bytes_max; /* of the slot's present owner */
    _Atomic uint32_t framing;   /* its number, too */
};

static inline void inbound_open(struct inbound *account, uint32_t generation, uint32_t bytes_max,
                                uint32_t framing)
{
    atomic_store_explicit(&account->bytes_max, bytes_max, memory_order_relaxed);
    atomic_store_explicit(&account->framing, framing, memory_order_relaxed);
    atomic_store_explicit(&account->word, (uint64_t)generation << 32, memory_order_release);
}

static inline void inbound_close(struct inbound *account)
{
    atomic_store_explicit(&account->word, 0, memory_order_relaxed);
}

/* Any thread. 0, SALLY_EFULL (the owner will see that somebody was refused), SALLY_ELIMIT (it never
 * fits) or SALLY_ENOCONN. */
static inline int inbound_charge(struct inbound *account, uint32_t generation, size_t len)
{
    uint64_t now = atomic_load_explicit(&account->word, memory_order_acquire);
    for (;;) {
        if ((uint32_t)(now >> 32) != generation) return SALLY_ENOCONN;
        uint32_t bytes_max = atomic_load_explicit(&account->bytes_max, memory_order_relaxed);
        if (len > bytes_max) return SALLY_ELIMIT;
        uint32_t bytes = (uint32_t)now & ~INBOUND_REFUSED;
        bool room = bytes <= bytes_max - len;
        uint64_t next = room ? now + len : now | INBOUND_REFUSED;
        if (atomic_compare_exchange_weak_explicit(&account->word, &now, next, memory_order_acq_rel,
                                                  memory_order_acquire))
            return room ? 0 : SALLY_EFULL;
    }
}

/* Any thread. The number of the connection's framing; false when it has gone. It was this
 * connection's if inbound_charge with the same generation succeeds after. */
static inline bool inbound_framing(const struct inbound *account, uint32_t generation,
                                   uint32_t *framing)
{
    uint64_t now = atomic_load_explicit(&account->word, memory_order_acquire);
    *framing = atomic_load_explicit(&account->framing, memory_order_relaxed);
    return (uint32_t)(now >> 32) == generation;
}

/* Any thread. Nothing happens to the account of a later generation. */
static inline void inbound_return(struct inbound *account, uint32_t generation, uint32_t len)
{
    uint64_t now = atomic_load_explicit(&account->word, memory_order_relaxed);
    while ((uint32_t)(now >> 32) == generation &&
           !atomic_compare_exchange_weak_explicit(&account->word, &now, now - len,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
}

/* The owner: whether somebody was refused since the last time. */
static inline bool inbound_was_refused(struct inbound *account)
{
    uint64_t now = atomic_load_explicit(&account->word, memory_order_relaxed);
    if (!(now & INBOUND_REFUSED)) return false;
    atomic_fetch_and_explicit(&account->word, ~(uint64_t)INBOUND_REFUSED, memory_order_acq_rel);
    return true;
}

#endif
