/* What connections of one kind share: handler, time and queue limits, socket options. Made from the
 * public options once, with every default filled in; read-only after that, so any shard reads it. A
 * server holds one, and so does each outgoing connection; every connection made under it holds a
 * reference. */
#ifndef NET_POLICY_H
#define NET_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/wheel.h"
#include "port/port.h"
#include "sallyport.h"
#include "sallyport/client.h"
#include "sallyport/rate.h"
#include "sallyport/websocket.h"

#define POLICY_NEVER UINT64_MAX

struct filters;
struct framing;
struct route;
enum { POLICY_SEND_BYTES_MAX = 4 << 20 }; /* the default of send_bytes_max */
/* The limits that are off unless asked for; times as in struct policy, rates 0: none. */
struct policy_more {
    bool any;
    uint64_t idle_read_ms;
    uint64_t idle_write_ms;
    uint64_t max_age_ms;
    uint64_t heartbeat_ms;
    uint64_t heartbeat_dead_ms;
    uint32_t age_spread_ms;
    uint32_t min_send_bytes_s;
    uint32_t min_recv_bytes_s;
    uint32_t rate_window_ms;
};

struct policy {
    atomic_uint refs;
    uint32_t send_bytes_max;
    uint32_t send_high_bytes;
    uint32_t send_low_bytes;
    uint32_t conn_bytes_max;   /* 0: no limit */
    uint32_t send_plain_bytes; /* a queue of at most so many bytes takes copies without a question:
                                  the low mark; 0 where units are dropped */
    const struct framing *framing; /* the engine's; NULL: none */
    const sally_ws *ws;            /* the engine's; NULL: no WebSockets */
    sally_handler handler;
    struct mem *mem;
    sally_server *server;   /* NULL: outgoing */
    sally_client *client;   /* whose connections these are; NULL: nobody's */
    uint64_t first_byte_ms; /* POLICY_NEVER: no limit; so with all times */
    uint64_t idle_ms;
    uint64_t write_stall_ms;
    uint64_t message_ms;
    uint64_t linger_ms;
    uint64_t connect_ms;
    uint64_t attempt_ms;
    bool auto_pause;
    bool has_budget; /* memory_max of the engine, of its server or of each connection */
    bool no_recorder;
    bool guest;     /* of connections that are only sent off: nobody is told of them */
    bool has_rates; /* `rates` says something */
    bool has_from;
    sally_at_full at_full;
    struct addr from; /* outgoing: the local address to bind */
    struct port_sock_options sock;
    char *server_name;   /* outgoing: the peer's host name; NULL: none */
    struct route *route; /* outgoing: by a proxy, see route.h; NULL: none */
    struct policy_more more;
    sally_rates rates;       /* with a reference of what is shared */
    struct filters *filters; /* its own copy; NULL: none */
};

/* One reference. SALLY_EINVAL for what contradicts itself, SALLY_ENOMEM, SALLY_ELIMIT. `server`
 * NULL: outgoing. */
int policy_create(struct policy **policy, sally_engine *engine, sally_server *server,
                  const sally_handler *handler, const sally_conn_options *options);
struct policy *policy_ref(struct policy *policy);
void policy_release(struct policy *policy);

/* When a limit is over that counts from then; WHEEL_NEVER: there is none. */
static inline uint64_t policy_due_ms(uint64_t since_ms, uint64_t limit_ms)
{
    return limit_ms == POLICY_NEVER ? WHEEL_NEVER : since_ms + limit_ms;
}

#endif
