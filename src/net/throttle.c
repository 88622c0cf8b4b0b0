/* Upper limits of a connection; see throttle.h. */
#include "net/throttle.h"

#include "net/conn.h"
#include "net/file_send.h"
#include "net/flow.h"
#include "net/limits.h"

int rates_fill(sally_rates *filled, const sally_engine *engine, const sally_rates *plain)
{
    *filled = plain ? *plain : (sally_rates){.shared = NULL};
    if (filled->shared && bandwidth_engine(filled->shared) != engine) return SALLY_EINVAL;
    int err = rate_fill(&filled->recv, &filled->recv);
    return err ? err : rate_fill(&filled->send, &filled->send);
}

struct throttle *conn_throttle(const sally_conn *conn)
{
    struct flow *flow = conn_has(conn, CONN_FLOW) ? conn_flow(conn) : NULL;
    return flow && flow->throttle && flow->throttle->limits ? flow->throttle : NULL;
}

/* ---- Life ---- */

static struct throttle *throttle__need(sally_conn *conn)
{
    if (flow_need(conn)) return NULL;
    struct throttle **throttle = &conn_flow(conn)->throttle;
    if (*throttle) return *throttle;
    *throttle = mem_zalloc(&conn->shard->engine->mem, sizeof **throttle);
    for (unsigned way = 0; *throttle && way < WAYS; way++) {
        (*throttle)->ways[way].seat = (struct seat){.conn = conn, .way = (uint8_t)way};
        (*throttle)->ways[way].due_ms = WHEEL_NEVER;
    }
    return *throttle;
}

static void throttle__forget_lender(struct throttle *throttle)
{
    if (throttle->lender) bandwidth_unref(throttle->lender);
    throttle->lender = NULL;
    throttle->portion = throttle->moved = false;
}

/* What a handler is given a part of was taken from the one before, and so is what a turn has
 * brought. */
static void throttle__unshare(struct throttle *throttle)
{
    sally_bandwidth *before = throttle->shared;
    if (!before) return;
    for (unsigned way = 0; way < WAYS; way++) {
        struct seat *seat = &throttle->ways[way].seat;
        bandwidth_give(before, (enum way)way, seat->granted);
        seat->granted = 0;
    }
    if (throttle->portion && !throttle->moved) throttle->lender = bandwidth_ref(before);
    bandwidth_leave(before);
}

static void throttle__share(struct throttle *throttle, sally_bandwidth *shared)
{
    if (throttle->shared == shared) return;
    if (shared) bandwidth_join(shared);
    throttle__unshare(throttle);
    throttle->moved = throttle->portion;
    throttle->shared = shared;
}

static void throttle__set(sally_conn *conn, const sally_rates *rates)
{
    struct throttle *throttle = conn_flow(conn)->throttle;
    uint64_t now = conn->shard->now_ms;
    const sally_rate *recv = &rates->recv, *send = &rates->send;
    bucket_change(&throttle->ways[WAY_RECV].own, recv->bytes_s, recv->burst_bytes, now);
    bucket_change(&throttle->ways[WAY_SEND].own, send->bytes_s, send->burst_bytes, now);
    throttle__share(throttle, rates->shared);
    throttle->handed = 0; /* it was taken from others */
    throttle->limits = recv->bytes_s || send->bytes_s || rates->shared;
    flow_flag(conn);
}

bool throttle_attach(sally_conn *conn)
{
    if (!conn->policy->has_rates) return true;
    if (!throttle__need(conn)) return false;
    throttle__set(conn, &conn->policy->rates);
    return true;
}

void throttle_free(sally_conn *conn)
{
    struct throttle *throttle = conn_flow(conn)->throttle;
    if (!throttle) return;
    throttle_end(conn);
    throttle__share(throttle, NULL);
    throttle__forget_lender(throttle);
    conn_flow(conn)->throttle = NULL;
    mem_free(&conn->shard->engine->mem, throttle, sizeof *throttle);
}

/* ---- Waiting ---- */

static void valve__wait(sally_conn *conn, struct valve *valve)
{
    if (!valve->waits) valve->since_ms = conn->shard->now_ms;
    valve->waits = true;
    if (valve->seat.way == WAY_RECV) conn_update_waits(conn);
    if (valve->due_ms != WHEEL_NEVER) conn_update_timer(conn);
}

/* That we made it wait is not the peer's fault. What has a beginning moves by the time that was
 * waited, so that nobody gains time by being made to wait. */
static void valve__forgive(sally_conn *conn, const struct valve *valve)
{
    uint64_t now = conn->shard->now_ms;
    struct limits *limits = conn_limits(conn);
    conn->active_ms = now & CONN_MS_MAX;
    if (valve->seat.way == WAY_SEND) {
        conn->write_ms = now & CONN_MS_MAX;
        if (limits && limits->send.runs) pace_begin(&limits->send, now);
    } else {
        conn_message_waited(conn, now - valve->since_ms);
        if (limits) limits_resumed(conn);
    }
    conn_update_timer(conn); /* while it stood in line nothing was due, and no timer may be set */
}

/* It has what it waited for, or is to look again. */
static void valve__go(sally_conn *conn, struct valve *valve)
{
    valve->due_ms = WHEEL_NEVER;
    if (!valve->waits) return;
    valve->waits = false;
    if (valve->seat.way == WAY_RECV) conn_update_waits(conn);
    if (conn_alive(conn)) valve__forgive(conn, valve);
}

static void valve__leave(sally_conn *conn, struct valve *valve)
{
    seat_leave(&valve->seat);
    valve__go(conn, valve);
}

uint32_t throttle_take(sally_conn *conn, enum way way, uint32_t want)
{
    struct throttle *throttle = conn_throttle(conn);
    if (!throttle) return want;
    struct valve *valve = &throttle->ways[way];
    uint64_t now = conn->shard->now_ms;
    uint32_t level = bucket_level(&valve->own, now), share = bucket_share(&valve->own);
    uint32_t bytes = want < level ? want : level;
    if (bytes < want && bytes < share) {
        valve->due_ms = now + bucket_wait_ms(&valve->own, want < share ? want : share, now);
        bytes = 0;
    } else if (throttle->shared) {
        bytes = bandwidth_take(throttle->shared, &valve->seat, bytes);
    }
    if (!bytes) {
        valve__wait(conn, valve);
        return 0;
    }
    valve__go(conn, valve);
    bucket_take(&valve->own, bytes);
    if (way == WAY_RECV) throttle->portion = true;
    return bytes;
}

static void throttle__give(struct throttle *throttle, enum way way, uint32_t bytes)
{
    bucket_give(&throttle->ways[way].own, bytes);
    if (throttle->shared) bandwidth_give(throttle->shared, way, bytes);
}

void throttle_handed_out(sally_conn *conn, uint32_t left)
{
    struct throttle *throttle = conn_flow(conn) ? conn_flow(conn)->throttle : NULL;
    if (!throttle || !throttle->portion) return;
    if (!throttle->moved)
        throttle__give(throttle, WAY_RECV, left);
    else if (throttle->lender)
        bandwidth_give(throttle->lender, WAY_RECV, left);
    throttle__forget_lender(throttle);
}

void throttle_handed(sally_conn *conn, uint32_t bytes)
{
    if (conn_throttle(conn)) conn_throttle(conn)->handed = bytes;
}

void throttle_sent(sally_conn *conn, size_t bytes)
{
    struct throttle *throttle = conn_throttle(conn);
    if (!throttle || !throttle->handed) return;
    uint32_t left = bytes < throttle->handed ? throttle->handed - (uint32_t)bytes : 0;
    throttle->handed = 0;
    throttle__give(throttle, WAY_SEND, left);
}

bool throttle_is_handed(const sally_conn *conn)
{
    return conn_throttle(conn) && conn_throttle(conn)->handed;
}

/* Before the next bytes come: those of its own limit are sure to come in time, while in a line it
 * would take a turn from those that have something. */
void throttle_received(sally_conn *conn)
{
    struct throttle *throttle = conn_throttle(conn);
    if (!throttle || conn->state != CONN_OPEN) return;
    struct valve *valve = &throttle->ways[WAY_RECV];
    uint64_t now = conn->shard->now_ms;
    uint32_t share = bucket_share(&valve->own);
    if (valve->waits || bucket_level(&valve->own, now) >= share) return;
    valve->due_ms = now + bucket_wait_ms(&valve->own, share, now);
    valve__wait(conn, valve);
}

void throttle_granted(sally_conn *conn, enum way way)
{
    valve__go(conn, &conn_flow(conn)->throttle->ways[way]);
    conn_progress(conn);
}

bool throttle_holds(const sally_conn *conn)
{
    return conn_throttle(conn) && conn_throttle(conn)->ways[WAY_SEND].waits;
}

bool throttle_waits(const sally_conn *conn)
{
    return throttle_holds(conn) ||
           (conn_throttle(conn) && conn_throttle(conn)->ways[WAY_RECV].waits);
}

/* ---- Time ---- */

uint64_t throttle_due_ms(const sally_conn *conn)
{
    const struct throttle *throttle = conn_throttle(conn);
    if (!throttle) return WHEEL_NEVER;
    uint64_t recv_ms = throttle->ways[WAY_RECV].due_ms, send_ms = throttle->ways[WAY_SEND].due_ms;
    uint64_t due_ms = recv_ms < send_ms ? recv_ms : send_ms;
    if (conn->state == CONN_DRAINING && throttle->drain_due_ms < due_ms)
        due_ms = throttle->drain_due_ms;
    return due_ms;
}

void throttle_on_timer(sally_conn *conn)
{
    struct throttle *throttle = conn_throttle(conn);
    for (unsigned way = 0; throttle && way < WAYS; way++) {
        struct valve *valve = &throttle->ways[way];
        if (valve->due_ms > conn->shard->now_ms) continue;
        valve__go(conn, valve);
        shard_mark_dirty(conn->shard, conn);
    }
}

/* ---- Closing ---- */

void throttle_closing(sally_conn *conn)
{
    struct throttle *throttle = conn_throttle(conn);
    if (!throttle) return;
    uint64_t linger_ms = conn->policy->linger_ms;
    bool slow = throttle->shared || throttle->ways[WAY_SEND].own.bytes_s;
    throttle->drain_due_ms = WHEEL_NEVER;
    if (conn_files(conn) && linger_ms < FILES_CLOSE_MS) linger_ms = FILES_CLOSE_MS;
    if (slow && linger_ms != POLICY_NEVER) throttle->drain_due_ms = conn->shard->now_ms + linger_ms;
    valve__leave(conn, &throttle->ways[WAY_RECV]);
}

bool throttle_drain_is_over(const sally_conn *conn)
{
    const struct throttle *throttle = conn_throttle(conn);
    return throttle && throttle->drain_due_ms <= conn->shard->now_ms;
}

void throttle_end(sally_conn *conn)
{
    struct flow *flow = conn_flow(conn);
    if (!flow || !flow->throttle) return;
    flow->throttle->handed = 0; /* nobody knows how much of it went */
    for (unsigned way = 0; way < WAYS; way++) valve__leave(conn, &flow->throttle->ways[way]);
}

/* ---- The public face ---- */

int sally_conn_set_rates(sally_conn *conn, const sally_rates *plain)
{
    sally_rates rates;
    if (!conn_here(conn)) return SALLY_EINVAL;
    int err = rates_fill(&rates, conn->shard->engine, plain);
    if (err) return err;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!plain && !conn_throttle(conn)) return 0;
    struct throttle *throttle = throttle__need(conn);
    if (!throttle) return SALLY_ENOMEM;
    for (unsigned way = 0; way < WAYS; way++) valve__leave(conn, &throttle->ways[way]);
    throttle__set(conn, &rates);
    shard_mark_dirty(conn->shard, conn); /* it may go on at once */
    return 0;
}
