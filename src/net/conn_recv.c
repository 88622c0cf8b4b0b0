/* What comes: bytes to the handler, held back while reading is paused, dropped once the connection
 * is closing. */
#include <string.h>

#include "net/conn.h"

static bool conn__paused(const sally_conn *conn)
{
    return conn_has(conn, CONN_PAUSED | CONN_AUTO_PAUSED);
}

void conn_update_reading(sally_conn *conn)
{
    bool open = conn->state == CONN_OPEN && !conn__paused(conn);
    bool closing = conn->state == CONN_DRAINING || conn->state == CONN_LINGERING;
    bool want = (open || closing) && !conn_has(conn, CONN_EOF | CONN_EOF_HELD);
    bool reads = conn_in_flight(conn, PORT_RECV);
    if (want && !reads) {
        port_recv(conn->shard->port, &conn->sock);
    } else if (!want && reads && !conn_has(conn, CONN_RECV_STOPPING) && conn_alive(conn)) {
        conn->flags |= CONN_RECV_STOPPING;
        port_recv_stop(conn->shard->port, &conn->sock);
    }
}

/* ---- Held bytes ---- */

void conn_drop_held(sally_conn *conn)
{
    struct held *held = conn->held;
    if (!held) return;
    conn->held = NULL;
    conn->flags &= (uint16_t)~CONN_HELD;
    sendq_clear(&held->queue, &conn->shard->pools);
    mem_free(&conn->shard->engine->mem, held, sizeof *held);
}

/* At most what was on its way when reading was paused: the port's buffers bound it. Copied, so that
 * those go back. */
static int conn__hold(sally_conn *conn, const void *data, size_t len)
{
    if (!conn->held) conn->held = mem_zalloc(&conn->shard->engine->mem, sizeof *conn->held);
    if (!conn->held) return SALLY_ENOMEM;
    conn->flags |= CONN_HELD;
    return sendq_copy(&conn->held->queue, &conn->shard->pools, data, len);
}

/* ---- End of stream ---- */

static void conn__eof(sally_conn *conn)
{
    if (conn->state == CONN_OPEN && (conn__paused(conn) || conn->held)) {
        conn->flags |= CONN_EOF_HELD;
        return;
    }
    conn->flags = (uint16_t)((conn->flags | CONN_EOF) & ~CONN_EOF_HELD);
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

void conn_deliver_held(sally_conn *conn)
{
    const sally_handler *handler = &conn->policy->handler;
    while (conn->state == CONN_OPEN && !conn__paused(conn) && conn->held) {
        struct span span;
        if (!sendq_gather(&conn->held->queue, &span, 1)) {
            conn_drop_held(conn);
            break;
        }
        /* taken away meanwhile: the handler may close the connection, which drops what is held, and
         * still read these bytes until it returns */
        struct held *held = conn->held;
        conn->held = NULL;
        conn->flags &= (uint16_t)~CONN_HELD;
        if (handler->on_data) handler->on_data(conn, span.data, span.len);
        sendq_consume(&held->queue, &conn->shard->pools, span.len);
        conn->held = held;
        conn->flags |= CONN_HELD;
        if (conn->state != CONN_OPEN) conn_drop_held(conn);
    }
    if (conn->state == CONN_OPEN && !conn->held && !conn__paused(conn) &&
        conn_has(conn, CONN_EOF_HELD))
        conn__eof(conn);
}

/* ---- Events ---- */

static void conn__deliver(sally_conn *conn, const struct port_event *event)
{
    struct shard *shard = conn->shard;
    void (*on_data)(sally_conn *, const void *, size_t) = conn->policy->handler.on_data;
    shard->lent = (struct lent){.data = event->data, .len = event->bytes, .buf = event->buf};
    if (on_data) on_data(conn, event->data, event->bytes);
    shard->lent.data = NULL;
    if (!shard->lent.referred) port_buf_release(shard->port, event->buf, event->data);
}

static void conn__bytes(sally_conn *conn, const struct port_event *event)
{
    struct shard *shard = conn->shard;
    conn->bytes_in += event->bytes;
    conn->active_ms = shard->now_ms;
    conn->flags |= CONN_FIRST_BYTE;
    counter_add(&shard->counters.bytes_in, event->bytes);
    if (conn_is_plain(conn) || (conn->state == CONN_OPEN && !conn__paused(conn) && !conn->held)) {
        conn__deliver(conn, event);
        return;
    }
    int err = conn->state == CONN_OPEN ? conn__hold(conn, event->data, event->bytes) : 0;
    port_buf_release(shard->port, event->buf, event->data);
    if (err) conn_broken(conn, err, 0);
}

/* They came with the accept, before the connection was open: so they are given to it, or held where
 * on_open has paused reading, before any others. */
void conn_first_bytes(sally_conn *conn, const struct span *first)
{
    if (conn->state != CONN_OPEN) return;
    conn->bytes_in += first->len;
    conn->flags |= CONN_FIRST_BYTE;
    counter_add(&conn->shard->counters.bytes_in, first->len);
    int err = conn__hold(conn, first->data, first->len);
    if (err)
        conn_broken(conn, err, 0);
    else
        conn_deliver_held(conn);
}

void conn_on_recv(sally_conn *conn, const struct port_event *event)
{
    if (event->bytes) conn__bytes(conn, event);
    if (event->more) return;
    conn->flags &= (uint16_t)~CONN_RECV_STOPPING;
    if (!conn_alive(conn)) return;
    if (event->error == SALLY_ECANCELED || event->bytes)
        conn_update_reading(conn); /* a pause may be over again by now */
    else if (event->error)
        conn_broken(conn, event->error, event->sys_error);
    else
        conn__eof(conn);
}
