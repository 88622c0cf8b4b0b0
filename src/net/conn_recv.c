/* What comes: bytes to the handler, held back while reading is paused, dropped once the connection
 * is closing. */
#include <string.h>

#include "filter/framer.h"
#include "net/budget.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/flow.h"
#include "net/limits.h"
#include "net/record.h"
#include "net/throttle.h"

static bool conn__paused(const sally_conn *conn) { return conn_has(conn, CONN_STOPS); }

void conn_update_reading(sally_conn *conn)
{
    bool open = conn_takes_in(conn) && !conn__paused(conn);
    bool closing = conn->state == CONN_DRAINING || conn->state == CONN_LINGERING;
    bool want = (open || closing) && !conn_has(conn, CONN_EOF | CONN_EOF_HELD);
    bool reads = conn_in_flight(conn, PORT_RECV);
    if (want && !reads) {
        /* held bytes come first; who has been given the last of them calls this again */
        if (open && conn_has(conn, CONN_HELD)) return;
        port_recv(conn->shard->port, &conn->sock);
    } else if (!want && reads && !conn_has(conn, CONN_RECV_STOPPING) && conn_alive(conn)) {
        conn->flags |= CONN_RECV_STOPPING;
        port_recv_stop(conn->shard->port, &conn->sock);
    }
}

void conn_update_waits(sally_conn *conn)
{
    const struct throttle *throttle = conn_throttle(conn);
    /* in a handshake nobody can ask for a message yet */
    bool unasked = conn->state != CONN_SHAKING && conn_wants_nothing(conn);
    if ((throttle && throttle->ways[WAY_RECV].waits) || unasked || chain_is_behind(conn)) {
        conn->flags |= CONN_WAITS;
        /* one that closes reads on, but not before the events at hand have been handled */
        if (conn->state == CONN_OPEN) conn_update_reading(conn);
    } else {
        conn->flags &= (uint16_t)~CONN_WAITS;
    }
}

/* ---- Held bytes ---- */

void conn_drop_held(sally_conn *conn)
{
    struct held *held = conn_held(conn);
    if (!held) return;
    conn->extra->held = NULL;
    conn->flags &= (uint16_t)~CONN_HELD;
    sendq_clear(&held->queue, &conn->shard->pools);
    mem_free(&conn->shard->engine->mem, held, sizeof *held);
}

static int conn__need_held(sally_conn *conn)
{
    if (conn_has(conn, CONN_HELD)) return 0;
    struct held *held =
        conn_extra(conn) ? mem_zalloc(&conn->shard->engine->mem, sizeof *held) : NULL;
    if (!held) return SALLY_ENOMEM;
    conn->extra->held = held;
    conn->flags |= CONN_HELD;
    return 0;
}

/* What filters have made and the handler has not had counts as held, before all that is. */
static void conn__hold_made(sally_conn *conn)
{
    if (!conn_takes_in(conn) || !chain_is_pending(conn)) return;
    int err = conn__need_held(conn);
    if (err) conn_broken(conn, err, 0);
}

int conn_hold(sally_conn *conn, const void *data, size_t len)
{
    uint32_t max = budget_kept_max(conn);
    if (max && len > max) return SALLY_ENOMEM;
    int err = conn__need_held(conn);
    if (err) return err;
    err = sendq_copy(&conn->extra->held->queue, &conn->shard->pools, data, len);
    if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
    if (conn->policy->conn_bytes_max) budget_bound(conn);
    return err;
}

/* ---- End of stream ---- */

/* The wire's end passes the filters, and what they make of it comes first; true when it has
 * passed, and who got the last of it reads on, or nobody waits for it any more. */
static bool conn__end_filters(sally_conn *conn)
{
    chain_end_input(conn);
    if (!conn_alive(conn)) return false;
    if (conn->state == CONN_SHAKING) {
        chain_gone(conn, 0, 0);
        return false;
    }
    if (conn->state != CONN_OPEN || (chain_is_over(conn) && !conn__paused(conn))) return true;
    conn->flags |= CONN_EOF_HELD;
    conn__hold_made(conn);
    return false;
}

static void conn__eof(sally_conn *conn)
{
    if (conn_has(conn, CONN_EOF)) return; /* a filter has said so before the wire */
    if (conn_takes_in(conn) && (conn__paused(conn) || conn_has(conn, CONN_HELD))) {
        conn->flags |= CONN_EOF_HELD;
        return;
    }
    if (conn_takes_in(conn) && conn_chain(conn) && !conn__end_filters(conn)) return;
    conn->flags = (uint16_t)((conn->flags | CONN_EOF) & ~CONN_EOF_HELD);
    record_add_more(conn, RECORD_PEER_FINISHED);
    carry_close(conn_carry(conn), &conn->shard->engine->mem);
    if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
    if (conn->state == CONN_LINGERING) {
        conn_end(conn, PORT_CLOSE_FIN, (sally_close_reason)conn->reason, conn->error,
                 conn->sys_error);
    } else if (conn->state == CONN_DRAINING) {
        shard_mark_dirty(conn->shard, conn);
    } else if (conn->policy->handler.on_eof) {
        conn->policy->handler.on_eof(conn);
    } else {
        conn_close(conn, SALLY_CLOSE_PEER_CLOSED);
    }
}

/* How many of the bytes the handler is done with. */
static size_t conn__hand_out(sally_conn *conn, const void *data, size_t len)
{
    const struct policy *policy = conn->policy;
    if (conn_chain(conn)) return chain_feed(conn, data, len);
    if (policy->framing) return conn_deliver_messages(conn, data, len);
    if (policy->handler.on_data) policy->handler.on_data(conn, data, len);
    return len;
}

/* Limits for bytes a second begin with the handler: a handshake has none. */
static uint32_t conn__may_take(sally_conn *conn, uint32_t bytes)
{
    return conn->state == CONN_OPEN ? throttle_take(conn, WAY_RECV, bytes) : bytes;
}

void conn_deliver_held(sally_conn *conn)
{
    while (conn_takes_in(conn) && !conn__paused(conn) && conn_has(conn, CONN_HELD)) {
        struct span span;
        if (chain_is_pending(conn)) {
            (void)chain_feed(conn, NULL, 0); /* until it isn't, or reading stops */
            continue;
        }
        if (!sendq_gather(&conn->extra->held->queue, &span, 1)) {
            conn_drop_held(conn);
            break;
        }
        uint32_t may = conn__may_take(conn, (uint32_t)span.len);
        if (!may) break;
        /* taken away meanwhile: the handler may close the connection, which drops what is held, and
         * still read these bytes until it returns. The flag stays, so that nothing is read */
        struct held *held = conn->extra->held;
        conn->extra->held = NULL;
        size_t used = conn__hand_out(conn, span.data, may);
        throttle_handed_out(conn, may - (uint32_t)used);
        sendq_consume(&held->queue, &conn->shard->pools, used);
        conn->extra->held = held;
        if (!conn_takes_in(conn)) conn_drop_held(conn);
        if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
    }
    if (conn_has(conn, CONN_FLOW)) throttle_received(conn);
    if (conn_takes_in(conn) && !conn_has(conn, CONN_HELD) && !conn__paused(conn) &&
        (conn_has(conn, CONN_EOF_HELD) || chain_is_over(conn)))
        conn__eof(conn);
}

/* ---- Events ---- */

static void conn__deliver(sally_conn *conn, const struct port_event *event)
{
    struct shard *shard = conn->shard;
    const struct policy *policy = conn->policy;
    shard->lent = (struct lent){.data = event->data, .len = event->bytes, .buf = event->buf};
    if (policy->framing)
        conn_deliver_received(conn, event->data, event->bytes);
    else if (policy->handler.on_data)
        policy->handler.on_data(conn, event->data, event->bytes);
    shard->lent.data = NULL;
    if (!shard->lent.referred) port_buf_release(shard->port, event->buf, event->data);
}

/* Whether its handler gets the bytes now. */
static bool conn__takes(sally_conn *conn, uint32_t bytes)
{
    if (conn_limits(conn)) limits_on_recv(conn, bytes);
    return conn->state == CONN_OPEN && !conn__paused(conn) && !conn_has(conn, CONN_HELD) &&
           !conn_throttle(conn);
}

/* As much as limits for bytes a second allow now, and as filters take; the rest is held. */
static void conn__portion(sally_conn *conn, const struct port_event *event)
{
    struct shard *shard = conn->shard;
    bool first = conn_takes_in(conn) && !conn__paused(conn) && !conn_has(conn, CONN_HELD);
    uint32_t may = first ? conn__may_take(conn, event->bytes) : 0;
    uint32_t used = 0;
    int err = 0;
    shard->lent = (struct lent){.data = event->data, .len = may, .buf = event->buf};
    if (may) used = (uint32_t)conn__hand_out(conn, event->data, may);
    shard->lent.data = NULL;
    throttle_handed_out(conn, may - used);
    if (conn_takes_in(conn) && used < event->bytes)
        err = conn_hold(conn, (const unsigned char *)event->data + used, event->bytes - used);
    if (!shard->lent.referred) port_buf_release(shard->port, event->buf, event->data);
    if (err)
        conn_broken(conn, err, 0);
    else
        throttle_received(conn);
    /* what a shared limit has left of it stands in no line yet */
    if (conn_has(conn, CONN_HELD) && !conn__paused(conn)) shard_mark_dirty(conn->shard, conn);
}

static inline void conn__count_in(sally_conn *conn, size_t bytes)
{
    if (!conn_has(conn, CONN_FIRST_BYTE)) {
        conn->flags |= CONN_FIRST_BYTE;
        conn->bytes_in = 0;
    }
    conn->bytes_in += bytes;
    conn->active_ms = conn->shard->now_ms & CONN_MS_MAX;
    counter_add(&conn->shard->counters.bytes_in, bytes);
}

/* Through its filters. */
static void conn__filter(sally_conn *conn, const struct port_event *event)
{
    if (conn_limits(conn)) limits_on_recv(conn, event->bytes);
    conn__portion(conn, event);
    conn__hold_made(conn);
    if (conn->state == CONN_OPEN && chain_is_over(conn)) conn__eof(conn);
}

/* Of one that is not plain. */
static __attribute__((noinline)) void conn__bytes_special(sally_conn *conn,
                                                          const struct port_event *event)
{
    if (conn->state < CONN_SHAKING) {
        conn_on_event(conn, event);
        return;
    }
    conn__count_in(conn, event->bytes);
    if (conn_chain(conn)) {
        conn__filter(conn, event);
        return;
    }
    if (conn__takes(conn, event->bytes)) {
        conn__deliver(conn, event);
        return;
    }
    if (conn_throttle(conn)) {
        conn__portion(conn, event);
        return;
    }
    int err = conn->state == CONN_OPEN ? conn_hold(conn, event->data, event->bytes) : 0;
    port_buf_release(conn->shard->port, event->buf, event->data);
    if (err) conn_broken(conn, err, 0);
}

void conn_on_bytes(sally_conn *conn, const struct port_event *event)
{
    if (!conn_is_plain(conn)) {
        conn__bytes_special(conn, event);
        return;
    }
    conn__count_in(conn, event->bytes);
    conn__deliver(conn, event);
}

/* They came before the connection was open: so they are given to it, or stay held where on_open has
 * paused reading, before any others. */
void conn_deliver_first(sally_conn *conn)
{
    if (!conn_takes_in(conn)) return;
    if (conn_has(conn, CONN_HELD)) {
        uint32_t bytes = conn->extra->held->queue.bytes;
        conn__count_in(conn, bytes);
        if (conn_limits(conn)) limits_on_recv(conn, bytes);
        if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
        shard_mark_dirty(conn->shard, conn); /* reading may begin only when these are gone */
    }
    conn_deliver_held(conn);
}

void conn_first_bytes(sally_conn *conn, const struct span *first)
{
    if (!conn_takes_in(conn)) return;
    int err = conn_hold(conn, first->data, first->len);
    if (err)
        conn_broken(conn, err, 0);
    else
        conn_deliver_first(conn);
}

void conn_on_recv(sally_conn *conn, const struct port_event *event)
{
    if (event->bytes) conn_on_bytes(conn, event);
    if (event->more) return;
    conn_recv_ended(conn, event);
}

void conn_recv_ended(sally_conn *conn, const struct port_event *event)
{
    conn->flags &= (uint16_t)~CONN_RECV_STOPPING;
    if (!conn_alive(conn)) return;
    if (event->error == SALLY_ECANCELED || event->bytes)
        conn_update_reading(conn); /* a pause may be over again by now */
    else if (event->error)
        conn_broken(conn, event->error, event->sys_error);
    else
        conn__eof(conn);
}
