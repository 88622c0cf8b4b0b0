/* Greetings: a connection of a trusted proxy before it is one. It has its place, its slot and its
 * socket, and no callback, until the PROXY header is whole and the client that it names has been
 * judged: bans, limits of its address, on_accept. Then conn_open makes a connection of it, or it is
 * reset, or sent off with the farewell. In that time its state is CONN_GREETING.
 *
 * Bounded by the time (sally_proxy_options.header_ms), by the number (waiting_max: each shard has
 * its part, and who waits longest goes first), and where on_accept delays it, by the limits for
 * that. All of it belongs to the connection's shard. */
#ifndef NET_GREETING_H
#define NET_GREETING_H

#include "filter/proxy_header.h"
#include "net/conn.h"
#include "net/lobby.h"

/* Until it is open. */
struct greeting {
    struct proxy_header header;
    const struct listening *address; /* that it came to */
    sally_conn *next;                /* in the list of those that wait */
    sally_conn *prev;
    uint64_t came_ms;
    uint64_t due_ms; /* of the header; delayed: when on_accept is asked again */
    uint32_t delays;
    bool waits;   /* for the header: in that list, and in the server's count */
    bool delayed; /* in the gate's count */
    bool counted; /* what became of it */
};

/* What connections of trusted proxies have behind their extra, as long as they live. */
struct proxied {
    struct greeting *greeting; /* NULL: that is over */
    struct addr proxy;         /* the socket's own peer */
    struct addr dest;          /* that the client connected to; ADDR_NONE: it wasn't said */
    bool named;                /* the header has named the client */
};

struct conn_extra_proxied {
    struct conn_extra extra; /* first */
    struct proxied proxied;
};

/* NULL for a connection that isn't a trusted proxy's. */
static inline struct proxied *conn_proxied(const sally_conn *conn)
{
    if (!conn->proxied || !conn->extra) return NULL;
    return &((struct conn_extra_proxied *)(void *)conn->extra)->proxied;
}

/* The peer that rules of addresses are for: ADDR_NONE where a proxy has named none. */
struct addr conn_judged_peer(const sally_conn *conn);

/* Before the socket is attached: what a greeting needs. False without memory. */
bool greeting_make(sally_conn *conn, const struct newcomer *newcomer);

/* And after. `first`: bytes that came with it. */
void greeting_begin(sally_conn *conn, const struct span *first);

/* In CONN_GREETING. */
void greeting_on_event(sally_conn *conn, const struct port_event *event);
void greeting_on_timer(sally_conn *conn);
uint64_t greeting_due_ms(const sally_conn *conn);

/* It is over, or never began. Nothing has been counted: it was ended because the engine stops. */
void greeting_end(sally_conn *conn);

#endif
