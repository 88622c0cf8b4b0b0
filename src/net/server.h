/* A server: listening addresses, a policy, counts. Lives as long as its engine. Fields are fixed
 * after it was made unless they are atomic; the list of addresses only grows, under the engine's
 * lock. */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/counter.h"
#include "net/budget.h"
#include "net/policy.h"
#include "net/shard.h"
#include "sallyport.h"
#include "sallyport/admission.h"

struct gate;
struct proxies;

enum { SERVER_LISTENERS_MAX = 64 };

/* One of its addresses, as the system has it. */
struct listening {
    struct addr local;
    bool inherits; /* accepted connections have the policy's socket options already */
    uint8_t kind;  /* enum address_kind as it was given; a name's addresses are ADDRESS_IP */
    bool is_file;  /* the path: it is removed when its listener ends */
    char *path;    /* of a Unix socket, '@' first for an abstract name */
};

/* The file of a Unix socket, which stays when its socket is closed. */
void listening_remove_file(const struct listening *listening);

struct sally_server {
    sally_engine *engine;
    sally_server *next; /* of the engine */
    struct policy *policy;
    struct gate *gate;            /* NULL: everybody is let in as far as there is room */
    struct proxies *proxies;      /* NULL: nobody's header is read */
    sally_server_options options; /* with every default filled in */
    unsigned address_count;       /* under the engine's lock, as the addresses */
    struct listening addresses[SERVER_LISTENERS_MAX];

    _Atomic uint64_t held;       /* bytes in its connections' queues, with memory_max */
    sally_server *next_budgeted; /* of the engine, of those with memory_max */
    atomic_uint conns;
    atomic_uint listeners; /* that have not ended */
    atomic_uint armed;     /* of those, with an accept outstanding */
    atomic_uint exhausted; /* of those, waiting for resources */
    atomic_bool paused;
    atomic_bool shut; /* beside paused: without listening sockets */
    atomic_bool closed;
    atomic_bool closed_told; /* SALLY_SERVER_CLOSED */
    atomic_bool at_limit;    /* SALLY_SERVER_AT_LIMIT was told */
    _Atomic uint64_t accepted;
    _Atomic uint64_t accept_failures;
    _Atomic uint64_t dead_on_arrival;
    _Atomic uint64_t refused;
    _Atomic uint64_t refused_for[SALLY_REFUSALS];
    _Atomic uint64_t farewells;
    _Atomic uint64_t exhausted_times;
    _Atomic uint64_t stalled_times;
    _Atomic uint64_t at_limit_times;
    _Atomic uint64_t silent;
    atomic_uint backlog_waiting; /* see backlog.h */
    atomic_uint backlog_max;
    _Atomic uint64_t backlog_dropped;
    struct port_backlog backlogs[SERVER_LISTENERS_MAX]; /* of each address, at the last tick; its
                                                           listener's shard */
};

void server_destroy(sally_server *server);

/* Makes room for one more; false at the server's or the engine's limit, also that of memory. Any
 * thread. */
bool server_reserve_conn(sally_server *server);

/* Its listeners look at what their server wants. Any thread. */
void server_wake_listeners(sally_server *server);

/* One has gone. Any thread. */
void server_release_conn(sally_server *server);

/* Whether there is, now. */
static inline bool server_has_room(const sally_server *server)
{
    const sally_engine *engine = server->engine;
    if (engine->has_budget && budget_refuses(server)) return false;
    return atomic_load(&server->conns) < server->options.conns_max &&
           atomic_load(&engine->conns) < engine->conns_max;
}

/* How its listening sockets are made. */
struct port_listen_options server_listen_options(const sally_server *server);

/* on_error, from a listener's shard. */
void server_tell(sally_server *server, sally_server_event_kind kind, int error, int sys_error,
                 uint64_t count);

static inline bool server_wants_newcomers(const sally_server *server)
{
    return !atomic_load_explicit(&server->paused, memory_order_relaxed) &&
           !atomic_load_explicit(&server->closed, memory_order_relaxed) &&
           !engine_stopping(server->engine);
}

#endif
