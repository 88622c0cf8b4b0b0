/* The account of bytes that other threads have sent to a connection and that are not gone yet:
 * beside the slot table, because other threads touch it at any time.
 *
 * Two sums of all time that only grow, and wrap: what was charged, written by senders under the
 * lock of the shard's mailbox, and what has gone, written by the shard alone; so neither side
 * needs a read-modify-write. The generation is the owner that was charged last: it makes a late
 * thread miss a slot's next owner, and that one begins with nothing charged, whatever its
 * predecessor left. */
#ifndef NET_INBOUND_H
#define NET_INBOUND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/policy.h"
#include "sallyport/error.h"

#define INBOUND_REFUSED (1u << 31)

struct inbound {
    uint32_t generation;    /* under the lock; only rises */
    uint32_t charged;       /* under the lock */
    _Atomic uint32_t gone;  /* the shard's */
    _Atomic uint32_t limit; /* of the slot's present owner: its bytes_max exclusive-or the default,
                                and INBOUND_REFUSED */
    _Atomic uint32_t framing; /* of the slot's present owner: its number, 0: none */
    uint32_t refused_next;    /* see refusals.h */
    uint32_t refused_generation;
    uint32_t jobs; /* the shard's: of the present owner, whose done has not been called */
};

/* Written only when it changes, so that memory nobody needs stays untouched. */
static inline void inbound__set(_Atomic uint32_t *word, uint32_t value)
{
    if (atomic_load_explicit(word, memory_order_relaxed) != value)
        atomic_store_explicit(word, value, memory_order_relaxed);
}

/* A new owner, before anybody knows its name. The accounts of connections that have the default
 * limit and that nobody sends to are memory that was never written to, so the system needs none. */
static inline void inbound_open(struct inbound *account, uint32_t bytes_max, uint32_t framing)
{
    inbound__set(&account->limit, bytes_max ^ POLICY_SEND_BYTES_MAX);
    inbound__set(&account->framing, framing);
}

/* The slot is no connection's. */
static inline void inbound_close(struct inbound *account) { inbound_open(account, 0, 0); }

static inline uint32_t inbound_max(struct inbound *account)
{
    uint32_t limit = atomic_load_explicit(&account->limit, memory_order_relaxed);
    return (limit & ~INBOUND_REFUSED) ^ POLICY_SEND_BYTES_MAX;
}

static inline bool inbound__has_room(struct inbound *account, uint32_t max, uint32_t len)
{
    return account->charged - atomic_load(&account->gone) + len <= max; /* both below 2^31 */
}

/* Says first that somebody was refused and looks again then: the shard gives back first and looks
 * at that then, so one of the two sees the other. */
static inline bool inbound__refuse(struct inbound *account, uint32_t max, uint32_t len)
{
    bool before = atomic_fetch_or(&account->limit, INBOUND_REFUSED) & INBOUND_REFUSED;
    if (!inbound__has_room(account, max, len)) return true;
    if (!before) atomic_fetch_and(&account->limit, ~INBOUND_REFUSED);
    return false;
}

/* Any thread, under the lock. 0, SALLY_EFULL (the owner will see that somebody was refused),
 * SALLY_ELIMIT (it never fits) or SALLY_ENOCONN. */
static inline int inbound_charge(struct inbound *account, uint32_t generation, size_t len)
{
    uint32_t max = inbound_max(account);
    if (len > max) return max ? SALLY_ELIMIT : SALLY_ENOCONN;
    if (generation != account->generation) {
        if (generation < account->generation) return SALLY_ENOCONN;
        account->generation = generation;
        account->charged = atomic_load(&account->gone);
    }
    uint32_t bytes = (uint32_t)len;
    if (!inbound__has_room(account, max, bytes) && inbound__refuse(account, max, bytes))
        return SALLY_EFULL;
    account->charged += bytes;
    return 0;
}

/* Any thread. The number of the connection's framing. When it has gone meanwhile, it may be that of
 * another, but then what is sent by its id reaches nobody. */
static inline uint32_t inbound_framing(struct inbound *account)
{
    return atomic_load_explicit(&account->framing, memory_order_relaxed);
}

/* Any thread: whether so many bytes never fit. */
static inline bool inbound_never_fits(struct inbound *account, size_t len)
{
    uint32_t max = inbound_max(account);
    return max && len > max;
}

/* Any thread, under the lock: it is not sent after all. */
static inline void inbound_undo(struct inbound *account, uint32_t generation, uint32_t len)
{
    if (account->generation == generation) account->charged -= len;
}

/* The owner's shard: so many bytes of the present owner are gone. */
static inline void inbound_return(struct inbound *account, uint32_t len)
{
    uint32_t gone = atomic_load_explicit(&account->gone, memory_order_relaxed);
    atomic_store(&account->gone, gone + len);
}

/* Any thread: whether somebody was refused and not told yet. */
static inline bool inbound_is_refused(struct inbound *account)
{
    return atomic_load(&account->limit) & INBOUND_REFUSED;
}

/* The owner's shard: whether somebody was refused since the last time. */
static inline bool inbound_was_refused(struct inbound *account)
{
    if (!inbound_is_refused(account)) return false;
    atomic_fetch_and(&account->limit, ~INBOUND_REFUSED);
    return true;
}

#endif
