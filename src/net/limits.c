/* Time limits by choice; see limits.h. */
#include "net/limits.h"

#include "net/conn.h"
#include "net/throttle.h"

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* ---- Life ---- */

bool limits_attach(sally_conn *conn)
{
    if (!conn->policy->more.any) return true;
    struct conn_extra *extra = conn_extra(conn);
    struct limits *limits = extra ? mem_zalloc(&conn->shard->engine->mem, sizeof *limits) : NULL;
    if (!limits) return false;
    extra->limits = limits;
    conn->flags |= CONN_LIMITED;
    return true;
}

void limits_detach(sally_conn *conn)
{
    struct limits *limits = conn_limits(conn);
    if (!limits) return;
    conn->flags &= (uint16_t)~CONN_LIMITED;
    conn->extra->limits = NULL;
    mem_free(&conn->shard->engine->mem, limits, sizeof *limits);
}

/* The spread makes it younger, never older, so that the maximum is one. */
static void age_begin(sally_conn *conn, uint64_t now_ms)
{
    const struct policy_more *more = &conn->policy->more;
    if (more->max_age_ms == POLICY_NEVER) {
        conn_limits(conn)->age_due_ms = WHEEL_NEVER;
        return;
    }
    uint64_t spread = more->age_spread_ms;
    uint64_t younger = spread ? shard_random(conn->shard, spread + 1) : 0;
    conn_limits(conn)->age_due_ms = now_ms + more->max_age_ms - younger;
}

void limits_begin(sally_conn *conn)
{
    uint64_t now = conn->shard->now_ms;
    struct limits *limits = conn_limits(conn);
    limits->recv_ms = limits->sent_ms = limits->beat_ms = now;
    age_begin(conn, now);
}

/* ---- What moves ---- */

void limits_on_recv(sally_conn *conn, uint32_t bytes)
{
    conn_limits(conn)->recv_ms = conn->shard->now_ms;
    if (conn_limits(conn)->recv.runs) pace_add(&conn_limits(conn)->recv, bytes);
}

/* write_ms is when the queue began as long as nobody has begun to count. */
static void send_rate_begin(sally_conn *conn)
{
    struct limits *limits = conn_limits(conn);
    if (!conn->policy->more.min_send_bytes_s || limits->send.runs) return;
    pace_begin(&limits->send, conn->write_ms);
}

void limits_on_sent(sally_conn *conn, size_t bytes)
{
    struct limits *limits = conn_limits(conn);
    limits->sent_ms = conn->shard->now_ms;
    send_rate_begin(conn);
    pace_add(&limits->send, bytes);
    if (conn->out.bytes) return;
    pace_end(&limits->send);
    conn_update_timer(conn); /* a heartbeat is due again some time */
}

/* Calls of the program's may come long after the turn has read the clock, or between turns. */
static uint64_t now_of_call(const sally_conn *conn) { return engine_now_ms(conn->shard->engine); }

void limits_resumed(sally_conn *conn)
{
    struct limits *limits = conn_limits(conn);
    limits->recv_ms = now_of_call(conn);
    if (limits->recv.runs) pace_begin(&limits->recv, limits->recv_ms);
    conn_update_timer(conn);
}

void limits_expect(sally_conn *conn, bool expects)
{
    struct pace *rate = &conn_limits(conn)->recv;
    if (!expects) {
        pace_end(rate);
    } else if (!rate->runs) {
        pace_begin(rate, now_of_call(conn));
        conn_update_timer(conn);
    }
}

/* ---- When ---- */

/* The peer can send: we read, and it has not said that it has finished. */
static bool may_come(const sally_conn *conn)
{
    return !conn_has(conn, CONN_STOPS | CONN_EOF | CONN_EOF_HELD);
}

static uint64_t recv_due(const sally_conn *conn)
{
    const struct policy_more *more = &conn->policy->more;
    const struct limits *limits = conn_limits(conn);
    if (!may_come(conn)) return WHEEL_NEVER;
    uint64_t silence = earlier(more->idle_read_ms, more->heartbeat_dead_ms);
    return earlier(policy_due_ms(limits->recv_ms, silence),
                   pace_due_ms(&limits->recv, more->rate_window_ms));
}

/* While bytes wait something is on its way already; and without a way out nothing can be sent. */
static uint64_t beat_due(const sally_conn *conn)
{
    const struct limits *limits = conn_limits(conn);
    if (conn->out.bytes || conn_has(conn, CONN_SHUT | CONN_SHUT_ASKED)) return WHEEL_NEVER;
    return policy_due_ms(later(limits->sent_ms, limits->beat_ms), conn->policy->more.heartbeat_ms);
}

uint64_t limits_draining_due_ms(sally_conn *conn)
{
    if (!conn->out.bytes || throttle_holds(conn)) return WHEEL_NEVER;
    send_rate_begin(conn);
    return pace_due_ms(&conn_limits(conn)->send, conn->policy->more.rate_window_ms);
}

uint64_t limits_due_ms(sally_conn *conn)
{
    const struct limits *limits = conn_limits(conn);
    uint64_t due = earlier(limits->age_due_ms, limits_draining_due_ms(conn));
    due = earlier(due, policy_due_ms(limits->sent_ms, conn->policy->more.idle_write_ms));
    return earlier(due, earlier(recv_due(conn), beat_due(conn)));
}

/* ---- What is due ---- */

bool limits_send_is_low(sally_conn *conn)
{
    const struct policy_more *more = &conn->policy->more;
    if (limits_draining_due_ms(conn) > conn->shard->now_ms) return false;
    return pace_is_low(&conn_limits(conn)->send, conn->shard->now_ms, more->min_send_bytes_s,
                       more->rate_window_ms);
}

/* Each limit that is over is told, as long as the connection stays open, and begins anew if the
 * handler wants that. */
static void limits__silence(sally_conn *conn)
{
    const struct policy_more *more = &conn->policy->more;
    struct limits *limits = conn_limits(conn);
    uint64_t now = conn->shard->now_ms;
    if (may_come(conn) && policy_due_ms(limits->recv_ms, more->heartbeat_dead_ms) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_HEARTBEAT))
        limits->recv_ms = now;
    if (conn->state == CONN_OPEN && may_come(conn) &&
        policy_due_ms(limits->recv_ms, more->idle_read_ms) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_IDLE_READ))
        limits->recv_ms = now;
    if (conn->state == CONN_OPEN && policy_due_ms(limits->sent_ms, more->idle_write_ms) <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_IDLE_WRITE))
        limits->sent_ms = now;
}

static void limits__rates(sally_conn *conn)
{
    const struct policy_more *more = &conn->policy->more;
    struct limits *limits = conn_limits(conn);
    uint64_t now = conn->shard->now_ms;
    if (conn->state == CONN_OPEN && limits_send_is_low(conn) &&
        conn_limit_again(conn, SALLY_TIMEOUT_SEND_RATE))
        pace_begin(&limits->send, now);
    if (conn->state == CONN_OPEN && may_come(conn) &&
        pace_is_low(&limits->recv, now, more->min_recv_bytes_s, more->rate_window_ms) &&
        conn_limit_again(conn, SALLY_TIMEOUT_RECV_RATE))
        pace_begin(&limits->recv, now);
}

void limits_on_timer(sally_conn *conn)
{
    struct limits *limits = conn_limits(conn);
    const sally_handler *handler = &conn->policy->handler;
    uint64_t now = conn->shard->now_ms;
    limits__silence(conn);
    limits__rates(conn);
    if (conn->state == CONN_OPEN && limits->age_due_ms <= now &&
        conn_limit_again(conn, SALLY_TIMEOUT_AGE))
        age_begin(conn, now);
    if (conn->state == CONN_OPEN && beat_due(conn) <= now) {
        limits->beat_ms = now;
        if (handler->on_heartbeat) handler->on_heartbeat(conn);
    }
}
