/* A shard: one port, one timing wheel, one slot table, their buffers; stepped by one thread.
 * Nothing in it is touched by another thread but what is atomic, the mailbox and the slot table's
 * names. */
#ifndef NET_SHARD_H
#define NET_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/mailbox.h"
#include "base/sendq.h"
#include "base/slots.h"
#include "base/spin.h"
#include "base/wheel.h"
#include "net/engine.h"
#include "net/inbound.h"
#include "os/thread.h"
#include "port/port.h"

enum { ROLE_CONN = 1, ROLE_LISTENER = 2 };
enum { TIMER_CONN = 1, TIMER_LISTENER = 2 };
enum {
    SHARD_BATCH = 32
}; /* events between two flushes: bounds how long a reply waits for its batch */

/* The received bytes that a callback is looking at: a send of them refers instead of copying. */
struct lent {
    const unsigned char *data;
    size_t len;
    uint32_t buf;
    bool referred; /* the buffer is now a send queue's to release */
};

/* Readable by any thread. */
struct shard_counters {
    counter bytes_in;
    counter bytes_out;
    counter turns;
    counter spins;
    counter letters;
    counter accepted;
    counter accept_failures;
    counter refused;
    counter connected;
    counter connect_failures;
    counter closed;
};

struct shard {
    /* for every request */
    struct port *port;
    uint64_t now_ms;
    uint64_t now_ns;        /* the same moment */
    sally_conn *dirty_head; /* connections with something to do before the turn ends */
    sally_conn *dirty_tail;
    struct lent lent;
    struct shard_counters counters;
    struct sendq_pools pools;
    /* for every turn */
    sally_engine *engine;
    bool events_left;  /* the last turn's bound was reached */
    bool owned;        /* a thread has taken the port */
    bool has_thread;   /* of its own */
    uint8_t stop_seen; /* enum stop_level it has acted on */
    unsigned index;
    struct spin spin;  /* limit 0 in a shard without a thread of its own */
    uint64_t alarm_ms; /* when the port's alarm is set for; past: it is not */
    struct listener *listeners;
    struct wheel wheel;
    struct slots slots;
    struct os_thread thread;
    uint64_t owner; /* os_thread_self of who steps it */

    /* touched by any thread */
    struct mailbox mailbox;
    atomic_uint conns; /* live or promised here */
    atomic_bool retry; /* listeners that wait should try again */
    atomic_bool ended;
    _Atomic uint64_t letters_refused;
    struct inbound *inbound; /* one a slot: bytes from other threads */
};

/* The shard whose callback or turn runs on this thread, or NULL. */
extern _Thread_local struct shard *shard_of_thread OS_THREAD_LOCAL_NEAR;
static inline struct shard *shard_current(void) { return shard_of_thread; }

int shard_create(struct shard **shard, sally_engine *engine, unsigned index);

/* Disposes of letters nobody took. Every slot has been given back. */
void shard_destroy(struct shard *shard);

/* One turn, sleeping at most timeout_ms. True when the shard has ended: stop was asked for and
 * nothing is left. */
bool shard_turn(struct shard *shard, uint32_t timeout_ms);

/* The body of a shard's thread. */
void shard_thread(void *shard);

/* When the next timer is due, or WHEEL_NEVER. */
uint64_t shard_next_ms(const struct shard *shard);

/* How long it may sleep when nothing comes; 0 when something is to be done already. */
uint32_t shard_patience_ms(const struct shard *shard);

/* Any thread. 0 or SALLY_EFULL. */
int shard_post(struct shard *shard, struct letter *letter, bool must);

void shard_wake(struct shard *shard);

/* What engine_pick_shard promised doesn't come. Any thread. */
void shard_withdraw(struct shard *shard);

/* In every turn, before it ends, the connection gets its conn_progress. */
void shard_mark_dirty(struct shard *shard, sally_conn *conn);

static inline sally_id shard_id(const struct shard *shard, const struct slot *slot)
{
    return (uint64_t)slot_generation(slot) << 32 | (uint64_t)shard->index << SLOTS_INDEX_BITS |
           slot->index;
}

static inline void *shard_find(const struct shard *shard, sally_id id)
{
    return slots_find(&shard->slots, (uint32_t)id & ((1u << SLOTS_INDEX_BITS) - 1),
                      (uint32_t)(id >> 32));
}

#endif
