/* What goes: a bounded queue of copies and references, handed to the port once a turn. */
#include "net/budget.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/file_send.h"
#include "net/flow.h"
#include "net/inbound.h"
#include "net/limits.h"
#include "net/record.h"
#include "net/throttle.h"
#include "net/websocket.h"

enum {
    SEND_TRIES_MAX = 16, /* of one connection in one turn, so that the others get theirs */
    THROTTLED_BYTES_MAX =
        64 * 1024,         /* of one piece: who is stuck with it keeps no more from others */
    REFER_BYTES_MIN = 1024 /* below that a copy is cheaper than keeping the buffer */
};

/* ---- In ---- */

/* A send has to look closer. */
enum { SEND_SPECIAL = CONN_NOT_OPEN | CONN_SHUT_ASKED | CONN_SHUT | CONN_FLOW };

static void conn__above_high(sally_conn *conn)
{
    conn->flags |= CONN_DRAIN_DUE;
    if (!conn->policy->auto_pause || conn_has(conn, CONN_AUTO_PAUSED)) return;
    conn->flags |= CONN_AUTO_PAUSED;
    record_add(conn, RECORD_HIGH);
    conn_update_reading(conn);
}

static inline void conn__queued(sally_conn *conn, bool was_empty)
{
    if (was_empty) conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    if (conn->out.bytes > conn->policy->send_low_bytes &&
        (conn->out.bytes > conn->policy->send_high_bytes ||
         sendq_pools_scarce(&conn->shard->pools) || budget_is_tight(conn)))
        conn__above_high(conn);
    if (conn_has(conn, CONN_FLOW)) flow_queued(conn);
    shard_mark_dirty(conn->shard, conn);
}

void conn_has_queued(sally_conn *conn, bool was_empty) { conn__queued(conn, was_empty); }

/* 0 when len more bytes may be queued; what is not at once clear is flow.c's. */
static inline int conn__may_send(sally_conn *conn, size_t len)
{
    uint32_t low = conn->policy->send_low_bytes;
    if (!conn_has(conn, SEND_SPECIAL) && len <= low && conn->out.bytes <= low - len) return 0;
    return flow_make_room(conn, len);
}

static void release_lent(void *port, const void *data, uint64_t buf)
{
    port_buf_release(port, (uint32_t)buf, data);
}

static inline bool conn__sends_units(const sally_conn *conn)
{
    return conn->policy->at_full == SALLY_FULL_DROP_OLDEST;
}

static inline int conn__copy(sally_conn *conn, const void *data, size_t len)
{
    struct sendq_pools *pools = &conn->shard->pools;
    if (!conn__sends_units(conn)) return sendq_copy(&conn->out, pools, data, len);
    return sendq_copy_spans(&conn->out, pools, &(struct span){data, len}, 1, true);
}

/* Handed on as it was received; the rest of a buffer could not be given back by its end. A second
 * send of it copies. */
static inline bool conn__may_refer(const struct shard *shard, const void *data, size_t len)
{
    return len >= REFER_BYTES_MIN && data == shard->lent.data && shard_may_lend(shard, data, len);
}

/* Nearly every send: little, by one that is open, behind little that is queued. */
static inline bool conn__copies(const sally_conn *conn, size_t len)
{
    return !conn_has(conn, SEND_SPECIAL) && len - 1 < REFER_BYTES_MIN - 1 &&
           (uint64_t)conn->out.bytes + len <= conn->policy->send_plain_bytes;
}

/* What conn_send does not know to be that. */
static __attribute__((noinline)) int conn__send_any(sally_conn *conn, const void *data, size_t len)
{
    if (len == 0) return 0;
    if (conn_chain(conn)) return conn_told(chain_send(conn, &(struct span){data, len}, 1));
    int err = conn__may_send(conn, len);
    if (err) return conn_told(err);
    struct shard *shard = conn->shard;
    bool was_empty = conn->out.bytes == 0;
    if (conn__may_refer(shard, data, len)) {
        err = sendq_refer(&conn->out, &shard->pools, data, len, release_lent, shard->port,
                          shard->lent.buf);
        shard->lent.referred = err == 0;
    } else {
        err = conn__copy(conn, data, len);
    }
    if (!err) conn__queued(conn, was_empty);
    return err;
}

int conn_send(sally_conn *conn, const void *data, size_t len)
{
    struct shard *shard = conn->shard;
    bool was_empty = !conn->out.bytes;
    if (!conn__copies(conn, len) || !sendq_copy_simple(&conn->out, &shard->pools, data, len))
        return conn__send_any(conn, data, len);
    if (was_empty) conn->write_ms = shard->now_ms & CONN_MS_MAX;
    shard_mark_dirty(shard, conn);
    return 0;
}

void conn_queued_file(sally_conn *conn, bool was_empty, bool high)
{
    conn->flags |= CONN_DRAIN_DUE;
    if (high) conn__above_high(conn);
    conn__queued(conn, was_empty);
}

static int conn__send_spans(sally_conn *conn, const struct span *spans, unsigned count, bool unit)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) len += spans[i].len;
    if (len == 0) return 0;
    if (conn_chain(conn)) return conn_told(chain_send(conn, spans, count));
    int err = conn__may_send(conn, len);
    if (err) return conn_told(err);
    bool was_empty = conn->out.bytes == 0;
    err = sendq_copy_spans(&conn->out, &conn->shard->pools, spans, count, unit);
    if (!err) conn__queued(conn, was_empty);
    return err;
}

int conn_send_spans(sally_conn *conn, const struct span *spans, unsigned count)
{
    return conn__send_spans(conn, spans, count, conn__sends_units(conn));
}

int conn_send_first(sally_conn *conn, const void *data, size_t len)
{
    return conn__send_spans(conn, &(struct span){data, len}, 1, false);
}

int conn_send_ref(sally_conn *conn, const void *data, size_t len, sendq_release *release,
                  void *owner, uint64_t token)
{
    if (conn_chain(conn)) {
        int err = chain_send(conn, &(struct span){data, len}, 1);
        return err ? err : CONN_COPIED;
    }
    int err = conn__may_send(conn, len);
    if (err) return err;
    bool was_empty = conn->out.bytes == 0;
    err = sendq_refer(&conn->out, &conn->shard->pools, data, len, release, owner, token);
    if (!err) conn__queued(conn, was_empty);
    return err;
}

static struct inbound *conn__inbound(const sally_conn *conn)
{
    return &conn->shard->inbound[conn->sock.slot.index];
}

static __attribute__((noinline)) void conn__send_foreign_any(sally_conn *conn, const void *data,
                                                             uint32_t len)
{
    bool was_empty = conn->out.bytes == 0;
    /* while it is being made too: what was taken may not be missing from the stream later */
    bool open = (conn_takes_in(conn) || conn_is_coming(conn)) &&
                !conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT) &&
                (!conn->policy->ws || ws_takes_frames(conn));
    if (open && conn_chain(conn) && !chain_send_foreign(conn, data, len)) return;
    if (!open || conn_chain(conn) ||
        sendq_copy_spans(&conn->out, &conn->shard->pools, &(struct span){data, len}, 1,
                         conn__sends_units(conn)) != 0) {
        inbound_return(conn__inbound(conn), len);
        if (inbound_was_refused(conn__inbound(conn))) conn_owe_drain(conn);
        /* a stream with a hole must not go on */
        if (open) conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_NO_MEMORY, SALLY_ENOMEM, 0);
        return;
    }
    conn->foreign_bytes += len;
    conn->flags |= CONN_FOREIGN;
    conn__queued(conn, was_empty);
}

void conn_send_foreign(sally_conn *conn, const void *data, uint32_t len)
{
    struct shard *shard = conn->shard;
    bool was_empty = !conn->out.bytes;
    if (conn_has(conn, SEND_SPECIAL) ||
        (uint64_t)conn->out.bytes + len > conn->policy->send_plain_bytes ||
        !sendq_copy_simple(&conn->out, &shard->pools, data, len)) {
        conn__send_foreign_any(conn, data, len);
        return;
    }
    if (was_empty) conn->write_ms = shard->now_ms & CONN_MS_MAX;
    conn->foreign_bytes += len;
    conn->flags |= CONN_FOREIGN;
    shard_mark_dirty(shard, conn);
}

/* ---- Out ---- */

void conn_return_foreign(sally_conn *conn, size_t bytes)
{
    uint32_t back = bytes < conn->foreign_bytes ? (uint32_t)bytes : conn->foreign_bytes;
    if (!back) return;
    conn->foreign_bytes -= back;
    inbound_return(conn__inbound(conn), back);
}

enum {
    TOOK_SPECIAL = CONN_FOREIGN | CONN_LIMITED | CONN_FLOW | CONN_AUTO_PAUSED | CONN_DRAIN_DUE
}; /* somebody wants to know that bytes have gone */

/* Before the times say so. */
static __attribute__((noinline)) void conn__took_special(sally_conn *conn, size_t bytes)
{
    if (conn_has(conn, CONN_LIMITED)) limits_on_sent(conn, bytes);
    if (conn_has(conn, CONN_FOREIGN)) conn_return_foreign(conn, bytes);
}

/* The queue is low: what paused for it goes on. */
static void conn__low(sally_conn *conn)
{
    if (conn_has(conn, CONN_AUTO_PAUSED)) {
        conn->flags &= (uint16_t)~CONN_AUTO_PAUSED;
        record_add_more(conn, RECORD_LOW);
        conn_restart_message(conn);
        if (conn_limits(conn)) limits_resumed(conn);
        shard_mark_dirty(conn->shard, conn);
    }
    bool due = conn_has(conn, CONN_DRAIN_DUE);
    if (conn_has(conn, CONN_FOREIGN) && inbound_was_refused(conn__inbound(conn))) due = true;
    if (!due) return;
    if (conn->state == CONN_SHAKING) {
        conn->flags |= CONN_DRAIN_DUE; /* its handler is told as soon as it is open */
        return;
    }
    conn->flags &= (uint16_t)~CONN_DRAIN_DUE;
    if (conn->state == CONN_OPEN && conn->policy->handler.on_drain)
        conn->policy->handler.on_drain(conn);
}

void conn_owe_drain(sally_conn *conn)
{
    conn->flags |= CONN_DRAIN_DUE;
    if (conn->state == CONN_OPEN && conn_is_low(conn)) conn__low(conn);
}

static __attribute__((noinline)) void conn__tell_took(sally_conn *conn, size_t bytes)
{
    /* before on_open a handshake may have gone */
    if (conn->policy->handler.on_sent && conn->on_open_ran)
        conn->policy->handler.on_sent(conn, bytes);
    if (conn_has(conn, CONN_FLOW)) flow_took(conn, bytes);
    if (conn_has(conn, CONN_AUTO_PAUSED | CONN_DRAIN_DUE | CONN_FOREIGN) && conn_is_low(conn))
        conn__low(conn);
}

/* They have left the queue. True when nobody was told. */
static inline bool conn__gone(sally_conn *conn, size_t bytes)
{
    struct shard *shard = conn->shard;
    bool special = conn_has(conn, TOOK_SPECIAL);
    conn->bytes_out += bytes;
    if (special) conn__took_special(conn, bytes);
    conn->active_ms = conn->write_ms = shard->now_ms & CONN_MS_MAX;
    counter_add(&shard->counters.bytes_out, bytes);
    if (!special && !conn->policy->handler.on_sent) return true;
    conn__tell_took(conn, bytes);
    return false;
}

static inline void conn__took(sally_conn *conn, size_t bytes)
{
    sendq_consume(&conn->out, &conn->shard->pools, bytes);
    (void)conn__gone(conn, bytes);
}

/* Those of a file have gone. What other threads have sent is still where it was. */
static void conn__took_file(sally_conn *conn, uint32_t bytes)
{
    files_took(conn, bytes);
    conn->bytes_out += bytes;
    if (conn_has(conn, CONN_LIMITED)) limits_on_sent(conn, bytes);
    conn->active_ms = conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    counter_add(&conn->shard->counters.bytes_out, bytes);
    conn__tell_took(conn, bytes);
}

static inline size_t spans_bytes(const struct span *spans, unsigned count)
{
    size_t bytes = spans[0].len;
    for (unsigned i = 1; i < count; i++) bytes += spans[i].len;
    return bytes;
}

/* True when all of it went at once and there may be more to send. */
static inline bool conn__send_now(sally_conn *conn, const struct span *spans, unsigned count)
{
    int sys_error = 0;
    size_t wanted = spans_bytes(spans, count);
    int64_t took = port_send_now(conn->shard->port, &conn->sock, spans, count, &sys_error);
    if (took < 0) {
        conn_broken(conn, (int)took, sys_error);
        return false;
    }
    if (took > 0) conn__took(conn, (size_t)took);
    return (size_t)took == wanted;
}

/* As many of the spans as hold so many bytes; how many bytes those are. */
static uint32_t spans_cut(struct span *spans, unsigned *count, uint32_t bytes_max)
{
    uint32_t bytes = 0;
    unsigned i = 0;
    for (; i < *count && bytes < bytes_max; i++) {
        if (spans[i].len > bytes_max - bytes) spans[i].len = bytes_max - bytes;
        bytes += (uint32_t)spans[i].len;
    }
    *count = i;
    return bytes;
}

/* The most of the next piece. */
static uint32_t conn__piece_max(const sally_conn *conn, uint32_t otherwise)
{
    return conn_throttle(conn) ? THROTTLED_BYTES_MAX : otherwise;
}

/* conn_flush with files, or within limits for bytes a second: each piece takes its bytes from them,
 * and what the system doesn't take of it they have back. */
static void conn__flush_pieces(sally_conn *conn)
{
    struct port *port = conn->shard->port;
    bool at_once = port->abilities & PORT_CAN_SEND_NOW;
    for (int tries = 0; conn->out.bytes && !conn_in_flight(conn, PORT_SEND); tries++) {
        struct span spans[SEND_SPANS_MAX];
        if (sendq_at_mark(&conn->out)) {
            files_flush(conn, conn__piece_max(conn, PORT_FILE_BYTES_MAX));
            return;
        }
        unsigned count = sendq_gather(&conn->out, spans, SEND_SPANS_MAX);
        uint32_t want = spans_cut(spans, &count, conn__piece_max(conn, UINT32_MAX));
        uint32_t bytes = throttle_take(conn, WAY_SEND, want);
        if (!bytes) return;
        (void)spans_cut(spans, &count, bytes);
        throttle_handed(conn, bytes);
        if (!at_once || tries >= SEND_TRIES_MAX) {
            port_send(port, &conn->sock, spans, count);
            return;
        }
        at_once = conn__send_now(conn, spans, count);
        if (!conn_alive(conn)) return;
        if (throttle_is_handed(conn)) {
            /* the system took nothing, so it is waited for with what was taken for that: who stands
             * in line again and again never learns that its peer doesn't read */
            port_send(port, &conn->sock, spans, count);
            return;
        }
        if (flow_holds(conn)) return;
    }
}

/* Who was told that bytes have gone may have corked it, asked for limits, or sent a file. */
static inline bool conn__is_held_back(const sally_conn *conn)
{
    return conn_has(conn, CONN_FLOW) &&
           (flow_holds(conn) || conn_throttle(conn) || conn_files(conn));
}

/* By operation where the system takes nothing at once. */
static __attribute__((noinline)) void conn__flush_all(sally_conn *conn, bool at_once)
{
    struct port *port = conn->shard->port;
    for (int tries = 0; conn->out.bytes && !conn_in_flight(conn, PORT_SEND); tries++) {
        struct span spans[SEND_SPANS_MAX];
        unsigned count = sendq_gather(&conn->out, spans, SEND_SPANS_MAX);
        if (at_once && tries < SEND_TRIES_MAX) {
            /* when the system is full, by operation from here on */
            at_once = conn__send_now(conn, spans, count);
            if (!conn_alive(conn)) return;
            if (!conn__is_held_back(conn)) continue;
            conn_flush(conn);
            return;
        }
        port_send(port, &conn->sock, spans, count);
    }
}

/* The system took less than all of the one segment, or refused it: `took` is port_send_now's. */
static __attribute__((noinline)) void conn__took_part(sally_conn *conn, int64_t took, int sys_error)
{
    if (took < 0) {
        conn_broken(conn, (int)took, sys_error);
        return;
    }
    if (took > 0) conn__took(conn, (size_t)took);
    if (conn_is_plain(conn))
        conn__flush_all(conn, false);
    else if (conn_alive(conn))
        conn_flush(conn); /* who was told of the bytes may have asked for limits */
}

void conn_flush(sally_conn *conn)
{
    if (conn_has(conn, CONN_FLOW)) {
        if (flow_holds(conn)) return;
        if (conn_throttle(conn) || conn_files(conn)) {
            conn__flush_pieces(conn);
            return;
        }
    }
    conn__flush_all(conn, conn->shard->port->abilities & PORT_CAN_SEND_NOW);
}

bool conn_flush_plain(sally_conn *conn)
{
    struct shard *shard = conn->shard;
    if (conn->sock.in_flight != PORT_BIT(PORT_RECV) || !sendq_is_single(&conn->out)) {
        conn_flush(conn);
        return false;
    }
    int sys_error;
    const struct span span = sendq_front(&conn->out);
    if (!(shard->port->abilities & PORT_CAN_SEND_NOW)) {
        port_send(shard->port, &conn->sock, &span, 1);
        return conn_write_is_timed(conn);
    }
    int64_t took = port_send_now(shard->port, &conn->sock, &span, 1, &sys_error);
    if (took != (int64_t)span.len) {
        conn__took_part(conn, took, sys_error);
        return false;
    }
    sendq_drop_only(&conn->out, &shard->pools);
    return conn__gone(conn, span.len);
}

void conn_on_sent(sally_conn *conn, const struct port_event *event)
{
    if (!conn_alive(conn)) return; /* the queue is dropped at the end */
    bool of_file = files_in_flight(conn);
    if (event->error) {
        if (of_file)
            files_failed(conn, event);
        else
            conn_broken(conn, event->error, event->sys_error);
        return;
    }
    if (of_file)
        conn__took_file(conn, event->bytes);
    else
        conn__took(conn, event->bytes);
    if (conn->out.bytes || conn->state == CONN_DRAINING || conn_has(conn, CONN_SHUT_ASKED))
        shard_mark_dirty(conn->shard, conn);
}

void conn_drop_queue(sally_conn *conn)
{
    sendq_clear(&conn->out, &conn->shard->pools);
    conn->foreign_bytes = 0;
}
