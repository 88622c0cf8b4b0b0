/* Connections with a framing: whole messages in and out. */
#include "filter/framer.h"
#include "net/budget.h"
#include "net/conn.h"
#include "net/flow.h"
#include "net/gate.h"
#include "net/limits.h"
#include "net/websocket.h"

/* ---- In ---- */

static bool conn__is_asked(const sally_conn *conn)
{
    return conn->policy->framing && conn->policy->framing->on_demand;
}

static uint32_t *conn__wanted(const sally_conn *conn)
{
    return conn__is_asked(conn) && conn_flow(conn) ? &conn_flow(conn)->wanted : NULL;
}

bool conn_wants_nothing(const sally_conn *conn)
{
    return conn__is_asked(conn) && (!conn__wanted(conn) || !*conn__wanted(conn));
}

static bool message_take(void *ctx, const void *payload, size_t len, bool copied)
{
    sally_conn *conn = ctx;
    struct shard *shard = conn->shard;
    counter_add(&shard->counters.messages, 1);
    if (copied) counter_add(&shard->counters.messages_copied, 1);
    if (conn__wanted(conn)) *conn__wanted(conn) = 0; /* it is answered; who wants more says so */
    if (conn->policy->handler.on_message) conn->policy->handler.on_message(conn, payload, len);
    if (conn__wanted(conn)) conn_update_waits(conn);
    return conn->state == CONN_OPEN && !conn_has(conn, CONN_STOPS);
}

/* What can't be framed: what was answered before still goes out, but nothing more is read. */
void conn_refuse_message(sally_conn *conn, int error)
{
    if (error == SALLY_ENOMEM) {
        conn_broken(conn, error, 0);
        return;
    }
    (void)conn_strike(conn, SALLY_STRIKE_MALFORMED, 1);
    conn_close(conn, error == SALLY_ELIMIT ? SALLY_CLOSE_MESSAGE_TOO_LONG : SALLY_CLOSE_MALFORMED);
    conn->error = (int16_t)error;
}

size_t conn_deliver_messages(sally_conn *conn, const void *data, size_t len)
{
    struct shard *shard = conn->shard;
    size_t used = 0;
    if (!conn_extra(conn)) {
        conn_broken(conn, SALLY_ENOMEM, 0);
        return 0;
    }
    const struct framer framer = {
        .framing = conn->policy->framing,
        .mem = &shard->engine->mem,
        .carry = &conn->extra->carry,
        .now_ms = shard->now_ms,
        .take = message_take,
        .ctx = conn,
        .wanted = conn__wanted(conn),
        .carry_max = budget_kept_max(conn),
    };
    int err = framer_feed(&framer, data, len, &used);
    if (err)
        conn_refuse_message(conn, err);
    else if (conn_carry(conn) && conn->state == CONN_OPEN &&
             conn_carry(conn)->began_ms == shard->now_ms)
        conn_update_timer(conn); /* it has just begun, and has a limit */
    if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
    if (conn->policy->conn_bytes_max) budget_bound(conn);
    return used;
}

void conn_deliver_received(sally_conn *conn, const void *data, size_t len)
{
    size_t used = conn_deliver_messages(conn, data, len);
    if (used == len || conn->state != CONN_OPEN) return;
    int err = conn_hold(conn, (const unsigned char *)data + used, len - used);
    if (err) conn_broken(conn, err, 0);
}

uint32_t conn_message_bytes(const sally_conn *conn)
{
    return conn_carry(conn) ? conn_carry(conn)->len : 0;
}

void conn_restart_message(sally_conn *conn)
{
    if (conn->policy->ws) ws_restart(conn);
    if (conn_carry(conn)) conn_carry(conn)->began_ms = conn->shard->now_ms;
    conn_update_timer(conn);
}

void conn_message_waited(sally_conn *conn, uint64_t waited_ms)
{
    if (conn->policy->ws) ws_waited(conn, waited_ms);
    if (conn_carry(conn)) conn_carry(conn)->began_ms += waited_ms;
}

uint32_t sally_conn_message_bytes(const sally_conn *conn)
{
    return conn ? conn_message_bytes(conn) : 0;
}

int sally_conn_want(sally_conn *conn, uint32_t bytes)
{
    if (!conn_here(conn) || !bytes) return SALLY_EINVAL;
    if (!conn__is_asked(conn)) return SALLY_ENOTSUP;
    if (bytes > conn->policy->framing->bytes_max) return SALLY_ELIMIT;
    if (conn->state != CONN_OPEN || conn_has(conn, CONN_EOF)) return SALLY_ECLOSED;
    if (!conn_wants_nothing(conn)) return SALLY_ESTATE;
    int err = flow_need(conn);
    if (err) return err;
    bool stood = conn_has(conn, CONN_WAITS);
    conn_flow(conn)->wanted = bytes;
    conn_update_waits(conn);
    /* that nothing came meanwhile was not the peer's fault */
    if (stood && !conn_has(conn, CONN_WAITS) && conn_limits(conn)) limits_resumed(conn);
    shard_mark_dirty(conn->shard, conn); /* what is here already comes from there */
    return 0;
}

/* ---- Out ---- */

int sally_conn_send_message(sally_conn *conn, const void *data, size_t len)
{
    if (!conn_here(conn) || (!data && len)) return SALLY_EINVAL;
    const struct framing *framing = conn->policy->framing;
    if (!framing) return SALLY_ENOTSUP;
    sally_frame_edges edges;
    int err = framing_wrap(framing, data, len, &edges);
    if (err) return err;
    const struct span spans[] = {
        {edges.head, edges.head_bytes}, {data, len}, {edges.tail, edges.tail_bytes}};
    return conn_send_spans(conn, spans, 3);
}
