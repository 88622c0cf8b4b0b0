/* The life of a connection; see conn.h. */
#include "net/conn.h"

#include <assert.h>
#include <string.h>

#include "net/dial.h"
#include "net/inbound.h"
#include "net/server.h"

/* ---- Begin ---- */

void conn_init(sally_conn *conn, struct shard *shard, struct policy *policy)
{
    conn->sock.handle = PORT_NO_HANDLE;
    conn->sock.role = ROLE_CONN;
    conn->shard = shard;
    conn->policy = policy;
    conn->user = policy->handler.user;
    conn->state = CONN_NEW;
    conn->timer.kind = TIMER_CONN;
    conn->opened_ms = shard->now_ms;
}

sally_conn *conn_name(struct shard *shard, const struct policy *policy)
{
    sally_conn *conn = slots_take(&shard->slots);
    if (!conn) return NULL;
    const struct slot *slot = &conn->sock.slot;
    inbound_open(&shard->inbound[slot->index], slot_generation(slot), policy->send_bytes_max);
    return conn;
}

static void adopt__undo(struct shard *shard, struct policy *policy, port_handle handle)
{
    port_refuse(shard->port, handle, PORT_CLOSE_RST);
    atomic_fetch_sub(&shard->conns, 1);
    server_release_conn(policy->server);
    policy_release(policy);
}

void conn_adopt(struct shard *shard, struct policy *policy, port_handle handle,
                const struct addr *peer, const struct span *first)
{
    sally_conn *conn = engine_stopping(shard->engine) ? NULL : conn_name(shard, policy);
    if (!conn) {
        counter_add(&shard->counters.refused, 1);
        adopt__undo(shard, policy, handle);
        return;
    }
    conn_init(conn, shard, policy);
    conn->counted_server = true;
    conn->peer = *peer;
    port_attach(shard->port, &conn->sock, handle, &policy->sock);
    conn_open(conn);
    if (first->len) conn_first_bytes(conn, first);
}

void conn_open(sally_conn *conn)
{
    uint64_t now = conn->shard->now_ms;
    conn->state = CONN_OPEN;
    conn->opened_ms = conn->active_ms = conn->write_ms = conn->phase_ms = now;
    conn->held = NULL;
    conn->flags |= CONN_ON_OPEN_RAN;
    if (!conn->policy->server) conn->flags |= CONN_FIRST_BYTE; /* a server may wait for us */
    if (conn->out.bytes) shard_mark_dirty(conn->shard, conn);  /* sent by id before it was open */
    if (conn->policy->handler.on_open) conn->policy->handler.on_open(conn);
    conn_update_reading(conn);
    conn_update_timer(conn);
}

/* ---- Middle ---- */

void conn_on_event(sally_conn *conn, const struct port_event *event)
{
    if (conn->state == CONN_DIALING) {
        dial_on_event(conn, event);
        return;
    }
    switch ((enum port_op)event->op) {
    case PORT_RECV: conn_on_recv(conn, event); return;
    case PORT_SEND: conn_on_sent(conn, event); return;
    case PORT_CLOSE: conn_finish(conn); return;
    case PORT_ACCEPT:
    case PORT_CONNECT: /* ended by port_close while it was dialing */
    case PORT_OPS: return;
    }
}

/* Our side has nothing left to say: FIN, and then the peer's is waited for. */
static void conn__said_all(sally_conn *conn)
{
    bool closing = conn->state == CONN_DRAINING;
    if (closing && conn_has(conn, CONN_EOF | CONN_EOF_HELD)) {
        conn_end(conn, PORT_CLOSE_FIN, (sally_close_reason)conn->reason, conn->error,
                 conn->sys_error);
        return;
    }
    if (!conn_has(conn, CONN_SHUT)) {
        conn->flags |= CONN_SHUT;
        /* what it fails with, the receive will say too */
        (void)port_shutdown(conn->shard->port, &conn->sock);
    }
    if (!closing) return;
    conn->state = CONN_LINGERING;
    conn->phase_ms = conn->shard->now_ms;
    conn_update_reading(conn);
    conn_update_timer(conn);
}

void conn_progress(sally_conn *conn)
{
    if (conn_is_plain(conn)) {
        if (conn->out.bytes) conn_flush(conn);
        if (conn_is_plain(conn) && conn_in_flight(conn, PORT_RECV) && conn_write_is_timed(conn))
            return;
    }
    if (conn->state == CONN_OPEN && (conn->held || conn_has(conn, CONN_EOF_HELD)))
        conn_deliver_held(conn);
    if (!conn_alive(conn)) return;
    if (conn->out.bytes) conn_flush(conn);
    if (!conn_alive(conn)) return;
    conn_update_reading(conn);
    if (conn->out.bytes) {
        conn_update_timer(conn);
        return;
    }
    bool finish = conn->state == CONN_DRAINING || conn_has(conn, CONN_SHUT_ASKED);
    if (finish && !conn_in_flight(conn, PORT_SEND) && conn->state != CONN_LINGERING)
        conn__said_all(conn);
}

/* ---- End ---- */

static void conn__tell_reason(sally_conn *conn, sally_close_reason reason, int error, int sys_error)
{
    conn->has_reason = true;
    conn->reason = (uint8_t)reason;
    conn->error = (int16_t)error;
    conn->sys_error = sys_error;
}

void conn_close_by_us(sally_conn *conn)
{
    bool answers = conn_has(conn, CONN_EOF); /* the peer began */
    conn_close(conn, answers ? SALLY_CLOSE_PEER_CLOSED : SALLY_CLOSE_LOCAL);
}

void conn_close(sally_conn *conn, sally_close_reason reason)
{
    if (conn->state == CONN_NEW || conn->state == CONN_DIALING) {
        conn_end(conn, PORT_CLOSE_RST, reason, SALLY_ECANCELED, 0);
        return;
    }
    if (conn->state != CONN_OPEN) return;
    if (!conn->has_reason) conn__tell_reason(conn, reason, 0, 0);
    conn->state = CONN_DRAINING;
    conn->user_due_ms = 0;
    conn->write_ms = conn->shard->now_ms;
    conn_drop_held(conn);
    shard_mark_dirty(conn->shard, conn);
}

void conn_end(sally_conn *conn, enum port_close_mode mode, sally_close_reason reason, int error,
              int sys_error)
{
    if (conn->state >= CONN_ENDING) return;
    conn__tell_reason(conn, reason, error, sys_error);
    wheel_cancel(&conn->shard->wheel, &conn->timer);
    bool dialing = conn->state == CONN_DIALING || conn->state == CONN_NEW;
    bool closing = dialing && conn->dial && conn->dial->closing;
    conn->state = CONN_ENDING;
    if (dialing)
        dial_drop(conn);
    else
        conn_drop_held(conn);
    if (!closing) port_close(conn->shard->port, &conn->sock, mode);
}

static sally_close_reason reason_of(int error)
{
    switch (error) {
    case SALLY_ERESET: return SALLY_CLOSE_PEER_RESET;
    case SALLY_ENOMEM:
    case SALLY_EEXHAUSTED: return SALLY_CLOSE_NO_MEMORY;
    default: return SALLY_CLOSE_NETWORK;
    }
}

void conn_broken(sally_conn *conn, int error, int sys_error)
{
    conn_end(conn, PORT_CLOSE_RST, reason_of(error), error, sys_error);
}

static void conn__release(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    struct policy *policy = conn->policy;
    sally_server *server = conn->counted_server ? policy->server : NULL;
    inbound_close(&shard->inbound[conn->sock.slot.index]);
    slots_give(&shard->slots, conn);
    atomic_fetch_sub(&shard->conns, 1);
    if (server)
        server_release_conn(server);
    else
        engine_release_conn(shard->engine);
    policy_release(policy);
}

void conn_finish(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    sally_close_info info = {
        .reason = (sally_close_reason)conn->reason,
        .error = conn->error,
        .sys_error = conn->sys_error,
        .bytes_in = conn->bytes_in,
        .bytes_out = conn->bytes_out,
        .bytes_unsent = conn->out.bytes,
    };
    conn->state = CONN_GONE;
    conn_drop_queue(conn);
    counter_add(&shard->counters.closed, 1);
    if (conn_has(conn, CONN_CUT)) {
        atomic_fetch_add(&shard->engine->stop_cut, 1);
        atomic_fetch_add(&shard->engine->stop_unsent, info.bytes_unsent);
    }
    if (conn->policy->handler.on_close) conn->policy->handler.on_close(conn, &info);
    assert(!timer_is_set(&conn->timer));
    if (conn_has(conn, CONN_DIRTY)) return; /* released when the dirty list gets to it */
    conn__release(conn);
}

void conn_release(sally_conn *conn) { conn__release(conn); }
