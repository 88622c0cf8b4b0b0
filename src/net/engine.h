/* The engine: its shards, what they share, and how it starts and ends. Fields are fixed after
 * create unless they are atomic or under the lock. */
#ifndef NET_ENGINE_H
#define NET_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "net/framings.h"
#include "net/host.h"
#include "net/resolver.h"
#include "os/lock.h"
#include "os/thread.h"
#include "sallyport.h"
#include "sallyport/client.h"
#include "sallyport/group.h"
#include "sallyport/rate.h"
#include "sallyport/websocket.h"

enum {
    ENGINE_GUESTS_MAX = 64,
    ENGINE_SHARDS_MAX = 64,
    ENGINE_SERVERS_MAX = 1024,
    ENGINE_REASON_MAX = 200
};

/* How far the end has come; only rises. */
enum stop_level { STOP_NO, STOP_DRAIN, STOP_NOW };

struct shard;
struct door;

struct sally_engine {
    struct mem mem;
    sally_engine_options options; /* with every default filled in */
    struct host host;
    char port_reason[ENGINE_REASON_MAX];
    unsigned shard_count;
    struct shard **shards;
    uint32_t conns_max;
    atomic_bool has_budget; /* memory_max here or in a server */
    _Atomic(sally_server *) budgeted;

    atomic_uint conns;  /* live, connecting ones and those handed from shard to shard among them */
    atomic_uint guests; /* see guest.h */
    atomic_uint greetings; /* of conns, those that wait for a proxy's header or their filters */
    atomic_uint waiting;   /* listeners that wait for room or resources */
    atomic_int state;      /* sally_engine_state */
    atomic_int stop_level;
    _Atomic uint64_t stop_deadline_ms; /* of the drain */
    _Atomic uint64_t stop_began_ms;
    atomic_uint shards_left; /* that have not ended */
    atomic_uint stop_conns;
    atomic_uint stop_cut;
    atomic_uint stop_jobs;
    atomic_uint stop_jobs_cut;
    _Atomic uint64_t stop_unsent;
    _Atomic uint64_t stop_took_ms;
    atomic_uint timer_turn; /* the shard for the next timer that no shard starts */
    atomic_bool driven;     /* by sally_engine_run_once or the simulator */

    struct os_lock lock; /* servers, clients, framings, and start against destroy */
    sally_server *servers;
    unsigned server_count;
    struct framings framings;
    sally_ws *websockets; /* under the lock, as their count */
    unsigned websocket_count;
    sally_client *clients; /* not yet freed */
    uint32_t client_count;

    struct os_gate stopped;
    struct resolver resolver;
    struct door *door;

    atomic_size_t casts;      /* messages to many that are under way */
    atomic_size_t cast_bytes; /* and their bytes */
    _Atomic uint64_t cast_serial;
    atomic_size_t memberships; /* of all groups */
    sally_group *groups;       /* under the lock, as their count */
    unsigned group_count;
    sally_bandwidth *bandwidths; /* under the lock, as their count */
    unsigned bandwidth_count;
};

void engine_log(const sally_engine *engine, sally_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline bool engine_stopping(const sally_engine *engine)
{
    return atomic_load_explicit(&engine->stop_level, memory_order_relaxed) != STOP_NO;
}

uint64_t engine_now_ns(const sally_engine *engine);
uint64_t engine_now_ms(const sally_engine *engine);

/* When so much time has passed from this call on, however long the turn has lasted already, and not
 * a part of a millisecond less. */
uint64_t engine_due_ms(const sally_engine *engine, uint32_t after_ms);

/* Makes room for one connection; false at the limit. Any thread. */
bool engine_reserve_conn(sally_engine *engine);

/* A connection has gone: its place is free, and listeners that wait for one are woken. Any thread.
 */
void engine_release_conn(sally_engine *engine);

/* Wakes every shard with listeners that wait. Any thread. */
void engine_wake_listeners(sally_engine *engine);

/* The shard with the fewest connections, which now waits for one more: it doesn't end before that
 * has come and gone, or shard_withdraw. NULL when it has ended already. Any thread. */
struct shard *engine_pick_shard(sally_engine *engine);

/* A shard has nothing left; the last one ends the engine. */
void engine_shard_ended(sally_engine *engine);

#endif
