/* Connections while their proxy is asked; see tunnel.h. */
#include "net/tunnel.h"

#include "net/dial.h"
#include "net/route.h"

static struct tunnel **conn__tunnel_place(const sally_conn *conn)
{
    return &((struct conn_extra_tunnel *)(void *)conn->extra)->tunnel;
}

static struct tunnel *conn__tunnel(const sally_conn *conn) { return *conn__tunnel_place(conn); }

void tunnel_free(sally_conn *conn)
{
    struct tunnel **place = conn__tunnel_place(conn);
    if (*place) mem_free(&conn->shard->engine->mem, *place, sizeof **place);
    *place = NULL;
}

/* ---- Ways out ---- */

/* Its own bytes are all gone and the proxy agreed: now it is as if it had just connected. */
static void tunnel__open(sally_conn *conn)
{
    tunnel_free(conn);
    conn_set_state(conn, CONN_NEW);
    dial_open(conn);
    conn_deliver_first(conn);
}

/* An answer may be here before we know that the system took all of the question. */
static void tunnel__open_if_ready(sally_conn *conn)
{
    const struct tunnel *tunnel = conn__tunnel(conn);
    if (tunnel->agreed && tunnel->said == tunnel->talk.says_len) tunnel__open(conn);
}

/* ---- Saying ---- */

static void tunnel__say(sally_conn *conn)
{
    struct tunnel *tunnel = conn__tunnel(conn);
    if (tunnel->saying || tunnel->said == tunnel->talk.says_len) return;
    const struct span span = {tunnel->talk.says + tunnel->said,
                              (size_t)(tunnel->talk.says_len - tunnel->said)};
    tunnel->saying = true;
    port_send(conn->shard->port, &conn->sock, &span, 1);
}

static void tunnel__on_said(sally_conn *conn, const struct port_event *event)
{
    struct tunnel *tunnel = conn__tunnel(conn);
    tunnel->saying = false;
    if (event->error) {
        dial_failed(conn, event->error, event->sys_error);
        return;
    }
    tunnel->said = (uint16_t)(tunnel->said + event->bytes);
    tunnel__say(conn);
    tunnel__open_if_ready(conn);
}

/* ---- Hearing ---- */

/* The target's first bytes. */
static void tunnel__hold(sally_conn *conn, const unsigned char *data, size_t len)
{
    int err = len ? conn_hold(conn, data, len) : 0;
    if (err) dial_failed(conn, err, 0);
}

/* Until it opens it reads no more: what is held is bounded by the port's buffers. A proxy that
 * agreed before it was asked is asked all the same. */
static void tunnel__agreed(sally_conn *conn, const unsigned char *rest, size_t len)
{
    conn__tunnel(conn)->agreed = true;
    tunnel__hold(conn, rest, len);
    if (conn->state != CONN_TUNNELING) return;
    tunnel__say(conn);
    tunnel__open_if_ready(conn);
    if (conn->state != CONN_TUNNELING || !conn_in_flight(conn, PORT_RECV)) return;
    conn->flags |= CONN_RECV_STOPPING;
    port_recv_stop(conn->shard->port, &conn->sock);
}

static void tunnel__bytes(sally_conn *conn, const unsigned char *data, size_t len)
{
    struct tunnel *tunnel = conn__tunnel(conn);
    size_t used;
    if (tunnel->agreed) {
        tunnel__hold(conn, data, len);
        return;
    }
    switch (upstream_feed(&tunnel->talk, data, len, &used)) {
    case UPSTREAM_MORE: tunnel__say(conn); return;
    case UPSTREAM_DONE: tunnel__agreed(conn, data + used, len - used); return;
    case UPSTREAM_REFUSED: dial_failed(conn, SALLY_EPROXY, tunnel->talk.code); return;
    case UPSTREAM_WANTS_AUTH: dial_failed(conn, SALLY_EPROXYAUTH, tunnel->talk.code); return;
    case UPSTREAM_MALFORMED: dial_failed(conn, SALLY_EMALFORMED, 0); return;
    }
}

/* The receive has ended, and it is a tunnel still. */
static void tunnel__recv_ended(sally_conn *conn, const struct port_event *event)
{
    conn->flags &= (uint16_t)~CONN_RECV_STOPPING;
    bool agreed = conn__tunnel(conn)->agreed;
    if (event->error == SALLY_ECANCELED && agreed) return; /* it reads on when it opens */
    if (event->error)
        dial_failed(conn, event->error, event->sys_error);
    else if (agreed)
        conn->flags |= CONN_EOF_HELD; /* its bytes come first */
    else
        dial_failed(conn, SALLY_EPROXY, 0);
}

void tunnel_on_event(sally_conn *conn, const struct port_event *event)
{
    if (event->op == PORT_SEND) tunnel__on_said(conn, event);
    if (event->op != PORT_RECV) return;
    if (event->bytes) {
        tunnel__bytes(conn, event->data, event->bytes);
        port_buf_release(conn->shard->port, event->buf, event->data);
    }
    if (event->more) return;
    if (conn->state == CONN_TUNNELING)
        tunnel__recv_ended(conn, event);
    else
        conn_recv_ended(conn, event);
}

/* ---- Time ---- */

uint64_t tunnel_due_ms(const sally_conn *conn) { return conn__tunnel(conn)->due_ms; }

void tunnel_on_timer(sally_conn *conn)
{
    if (conn__tunnel(conn)->due_ms <= conn->shard->now_ms) dial_late(conn);
}

/* ---- Begin ---- */

void tunnel_begin(sally_conn *conn, const struct addr *found, uint64_t due_ms)
{
    struct tunnel *tunnel =
        conn_extra(conn) ? mem_alloc(&conn->shard->engine->mem, sizeof *tunnel) : NULL;
    if (!tunnel) {
        dial_failed(conn, SALLY_ENOMEM, 0);
        return;
    }
    struct upstream_goal goal;
    route_goal(conn->policy, found, &goal);
    upstream_begin(&tunnel->talk, &goal);
    tunnel->due_ms = due_ms;
    tunnel->said = 0;
    tunnel->saying = tunnel->agreed = false;
    *conn__tunnel_place(conn) = tunnel;
    conn_set_state(conn, CONN_TUNNELING);
    conn_update_timer(conn);
    port_recv(conn->shard->port, &conn->sock);
    tunnel__say(conn);
}
