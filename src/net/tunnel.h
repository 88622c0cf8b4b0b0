/* Tunnels: a connection whose proxy is connected and has not agreed yet. It is asked for the
 * target, and until it has said yes the state is CONN_TUNNELING: no callback, the time limit of the
 * whole, bytes that others send by id wait in the queue. Then dial_open makes a connection of it.
 *
 * What is said to the proxy lies behind the connection's extra until the system is through with it,
 * which is at the latest when the socket is closed. All of it belongs to the connection's shard. */
#ifndef NET_TUNNEL_H
#define NET_TUNNEL_H

#include "filter/upstream.h"
#include "net/conn.h"

struct tunnel {
    struct upstream_talk talk;
    uint64_t due_ms;
    uint16_t said; /* of talk.says, taken by the system */
    bool saying;   /* a send is under way, as far as its event was handled */
    bool agreed;   /* the proxy has; what comes is the target's */
};

/* What connections through a proxy have as their extra. */
struct conn_extra_tunnel {
    struct conn_extra extra; /* first */
    struct tunnel *tunnel;   /* NULL: that is over */
};

/* The proxy is connected. `found`: the target's address if it was looked up here. */
void tunnel_begin(sally_conn *conn, const struct addr *found, uint64_t due_ms);

/* In CONN_TUNNELING. */
void tunnel_on_event(sally_conn *conn, const struct port_event *event);
void tunnel_on_timer(sally_conn *conn);
uint64_t tunnel_due_ms(const sally_conn *conn);

/* Nothing of the connection is under way any more. */
void tunnel_free(sally_conn *conn);

#endif
