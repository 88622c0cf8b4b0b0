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
#include "net/refusals.h"
#include "os/thread.h"
#include "port/port.h"
#include "sallyport/client.h"

enum { ROLE_CONN = 1, ROLE_LISTENER = 2 };
enum {
    TIMER_CONN = 1,
    TIMER_LISTENER,
    TIMER_TRIM,
    TIMER_BUDGET,
    TIMER_USER,
    TIMER_CLIENT,
    TIMER_LANE,
};
enum {
    LENT_SHARE_MIN = 4
}; /* of a received piece: at least such a part is kept, or it is copied */
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
    counter messages;
    counter messages_copied;
};

struct user_timers;

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
    bool events_left;    /* the last turn's bound was reached */
    bool found_more;     /* the last turn found more than events: see whether something is left */
    bool owned;          /* a thread has taken the port */
    bool has_thread;     /* of its own */
    uint8_t stop_seen;   /* enum stop_level it has acted on */
    struct timer relief; /* some budget is at its highest level: when to look again */
    unsigned index;
    struct spin spin;                      /* limit 0 in a shard without a thread of its own */
    struct port_event events[SHARD_BATCH]; /* those that it is working on */
    const struct port_event *event_next;   /* of those: taken, and not handled yet */
    const struct port_event *event_end;
    uint64_t alarm_ms; /* when the port's alarm is set for; past: it is not */
    struct listener *listeners;
    sally_client *clients;          /* that have not ended */
    struct cast_part *cast;         /* the message to many that it is working on; NULL: none */
    struct membership *cast_member; /* of a group's: the next that gets it */
    uint32_t cast_cost;             /* spent in this turn */
    struct wheel wheel;
    struct timer trim; /* the mailbox may keep memory that nobody needs */
    struct slots slots;
    struct os_thread thread;
    uint64_t owner;  /* os_thread_self of who steps it */
    uint64_t random; /* shard_random's state; 0: not seeded yet */

    /* touched by any thread */
    struct mailbox mailbox;
    atomic_uint conns; /* live or promised here */
    atomic_bool retry; /* listeners that wait should try again */
    atomic_bool ended;
    _Atomic uint64_t letters_refused;
    _Atomic(sally_buf *) returned; /* kept receive buffers that other threads released */
    struct inbound *inbound;       /* one a slot: bytes from other threads */
    struct refusals refusals;      /* of sends that found the mailbox full */
    _Atomic(struct user_timers *) user_timers; /* NULL: there never was one */
    unsigned char *filter_rooms; /* the shard's; NULL: it never had a connection with filters */
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

/* A number below `below` (0 for 0), to spread what would else come all at once; the owner. */
uint64_t shard_random(struct shard *shard, uint64_t below);

/* Any thread. 0 or SALLY_EFULL. */
int shard_post(struct shard *shard, struct letter *letter, bool must);

/* Any thread, of what was posted to the mailbox directly: the post asked for a wake-up, or was
 * refused. */
void shard_posted(struct shard *shard);
void shard_refused(struct shard *shard);

void shard_wake(struct shard *shard);

/* Something is on its way to it: it doesn't end before that has come and gone, or shard_withdraw.
 * False when it has ended already. Any thread. */
bool shard_promise(struct shard *shard);

/* What was promised doesn't come. Any thread. */
void shard_withdraw(struct shard *shard);

void shard_each_conn(struct shard *shard, void (*fn)(sally_conn *conn, void *arg), void *arg);

/* Of shard_mark_dirty, see conn.h. */
void shard_mark_dirty_slow(struct shard *shard, sally_conn *conn);

/* Whether what lies in the received bytes that a callback looks at may stay in its buffer: a buffer
 * has one reference at most, enough of them must be left to receive with, and not much more may be
 * kept than is needed. len > 0. */
static inline bool shard_may_lend(const struct shard *shard, const void *data, size_t len)
{
    const struct lent *lent = &shard->lent;
    const unsigned char *from = data;
    return lent->data && !lent->referred && from >= lent->data && len <= lent->len &&
           (size_t)(from - lent->data) <= lent->len - len && len >= lent->len / LENT_SHARE_MIN &&
           shard->port->bufs_lent <= shard->port->bufs_total / 2;
}

static inline sally_id shard_id(const struct shard *shard, const struct slot *slot)
{
    return (uint64_t)slot_generation(slot) << 32 | (uint64_t)shard->index << SLOTS_INDEX_BITS |
           slot->index;
}

/* The parts of an id. */
static inline uint32_t id_generation(sally_id id) { return (uint32_t)(id >> 32); }
static inline uint32_t id_slot(sally_id id)
{
    return (uint32_t)id & ((1u << SLOTS_INDEX_BITS) - 1);
}
static inline unsigned id_shard(sally_id id) { return (unsigned)(id >> SLOTS_INDEX_BITS) & 0xff; }

static inline void *shard_find(const struct shard *shard, sally_id id)
{
    return slots_find(&shard->slots, id_slot(id), id_generation(id));
}

/* The shard of the slot that an id names, or NULL. Any thread. */
static inline struct shard *engine_find_shard(const sally_engine *engine, sally_id id)
{
    unsigned index = id_shard(id);
    if (index >= engine->shard_count) return NULL;
    struct shard *shard = engine->shards[index];
    return shard_find(shard, id) ? shard : NULL;
}

#endif
