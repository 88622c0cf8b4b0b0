/* Content that is made while it is sent; see produce.h. */
#include "net/produce.h"

#include "net/budget.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/file_send.h"
#include "net/flow.h"
#include "net/throttle.h"

enum {
    PIECES_MAX = 64, /* of one connection in one turn, so that the others get theirs */
    ROOM_BYTES_MIN = 256,
    RETRY_MS = 50,        /* between two looks for memory */
    CLOSE_MS = 600 * 1000 /* the default of close_ms */
};

static struct mem *produce__mem(const sally_conn *conn) { return &conn->shard->engine->mem; }

static struct producer *conn_producer(const sally_conn *conn)
{
    return conn_has(conn, CONN_FLOW) && conn_flow(conn) ? conn_flow(conn)->producer : NULL;
}

bool produce_runs(const sally_conn *conn) { return conn_producer(conn) != NULL; }

/* ---- Asking ---- */

static bool produce__may_ask(const sally_conn *conn)
{
    const struct producer *producer = conn_producer(conn);
    bool open = conn->state == CONN_OPEN || conn->state == CONN_DRAINING;
    return producer && open && !producer->asleep && conn_is_low(conn);
}

/* Nobody has to tell when there is memory again. */
static void produce__wait(sally_conn *conn)
{
    conn_producer(conn)->retry_ms = conn->shard->now_ms + RETRY_MS;
    conn_update_timer(conn);
}

/* Frees it before it tells, for `done` may begin the next. */
static void produce__finish(sally_conn *conn, int error)
{
    struct producer *producer = conn_flow(conn)->producer;
    const sally_producer plain = producer->plain;
    mem_free(produce__mem(conn), producer, sizeof *producer);
    conn_flow(conn)->producer = NULL;
    flow_flag(conn);
    if (conn->state == CONN_DRAINING) throttle_closing(conn); /* the rest has linger_ms */
    if (plain.done) plain.done(conn, plain.arg, error);
}

static void produce__fail(sally_conn *conn, int64_t made)
{
    int error = made < 0 && made >= INT16_MIN ? (int)made : SALLY_EINVAL;
    if (*sally_err_name(error) == '?') error = SALLY_EINVAL;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_PRODUCER, error, 0);
}

static void produce__queue(sally_conn *conn, struct segment *segment, uint32_t bytes)
{
    if (!conn->out.bytes) conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    sendq_commit(&conn->out, &conn->shard->pools, segment, bytes);
    conn_producer(conn)->asleep = false;
    flow_queued(conn);
}

/* What limits leave of it. Splinters are not worth a call while there is something to send; what is
 * queued is at most the low mark, so never more than send_bytes_max. */
static uint32_t produce__room(const sally_conn *conn, uint32_t room)
{
    size_t left = conn->policy->send_bytes_max - conn->out.bytes;
    size_t budget = budget_room(conn);
    if (left > budget) left = budget;
    if (left < ROOM_BYTES_MIN && conn->out.bytes) return 0;
    return room < left ? room : (uint32_t)left;
}

/* The same through filters: into room of the shard's, as much as is sure to fit into the queue when
 * it has passed them. */
static int64_t produce__ask_filtered(sally_conn *conn, uint32_t *room)
{
    struct producer *producer = conn_producer(conn);
    struct sendq_room kept;
    int64_t made = 0;
    *room = (uint32_t)chain_fits(conn, STACK_ROOM_BYTES, produce__room(conn, UINT32_MAX));
    if (*room && chain_reserve(conn, *room, &kept)) *room = 0;
    if (!*room) return 0;
    producer->asleep = true;
    made = producer->plain.produce(conn, producer->plain.arg, chain_lent_room(conn), *room);
    bool fine = made > 0 && made <= *room && conn_alive(conn);
    if (fine) producer->asleep = false;
    chain_send_reserved(conn, fine ? (size_t)made : 0, &kept);
    return made;
}

/* Asks for one piece and queues it: what the producer said; `room` is 0 without memory, and then it
 * was not asked. */
static int64_t produce__ask(sally_conn *conn, uint32_t *room)
{
    struct producer *producer = conn_producer(conn);
    struct sendq_pools *pools = &conn->shard->pools;
    struct segment *segment = sendq_reserve(&conn->out, pools);
    int64_t made = 0;
    *room = 0;
    if (!segment) return 0;
    unsigned char *into = segment_room(segment, room);
    *room = produce__room(conn, *room);
    producer->asleep = true; /* unless it wakes itself, or makes something */
    if (*room) made = producer->plain.produce(conn, producer->plain.arg, into, *room);
    if (made > 0 && made <= *room && conn_alive(conn))
        produce__queue(conn, segment, (uint32_t)made);
    else
        sendq_commit(&conn->out, pools, segment, 0);
    if (!*room) producer->asleep = false;
    return made;
}

/* True: there may be more. */
static bool produce__piece(sally_conn *conn)
{
    uint32_t room;
    int64_t made =
        conn_chain(conn) ? produce__ask_filtered(conn, &room) : produce__ask(conn, &room);
    if (!conn_alive(conn)) return false;
    if (made > 0 && made <= room) return true;
    if (!room)
        produce__wait(conn);
    else if (made == SALLY_PRODUCED_END)
        produce__finish(conn, 0);
    else if (made)
        produce__fail(conn, made);
    return false;
}

void produce_turn(sally_conn *conn)
{
    for (unsigned pieces = 0; produce__may_ask(conn); pieces++) {
        if (pieces == PIECES_MAX) {
            shard_mark_dirty(conn->shard, conn);
            return;
        }
        if (!produce__piece(conn)) return;
    }
}

void produce_took(sally_conn *conn)
{
    if (produce__may_ask(conn)) shard_mark_dirty(conn->shard, conn);
}

/* ---- Time ---- */

uint64_t produce_due_ms(const sally_conn *conn)
{
    const struct producer *producer = conn_producer(conn);
    if (!producer) return WHEEL_NEVER;
    bool closing = conn->state == CONN_DRAINING && producer->close_due_ms < producer->retry_ms;
    return closing ? producer->close_due_ms : producer->retry_ms;
}

void produce_on_timer(sally_conn *conn)
{
    struct producer *producer = conn_producer(conn);
    if (!producer || producer->retry_ms > conn->shard->now_ms) return;
    producer->retry_ms = WHEEL_NEVER;
    shard_mark_dirty(conn->shard, conn);
}

void produce_closing(sally_conn *conn)
{
    struct producer *producer = conn_producer(conn);
    if (!producer) return;
    uint32_t close_ms = producer->plain.close_ms ? producer->plain.close_ms : CLOSE_MS;
    if (close_ms != SALLY_FOREVER) producer->close_due_ms = conn->shard->now_ms + close_ms;
    if (conn_throttle(conn)) conn_throttle(conn)->drain_due_ms = WHEEL_NEVER;
    conn_update_timer(conn);
}

bool produce_is_over(const sally_conn *conn)
{
    const struct producer *producer = conn_producer(conn);
    return producer && producer->close_due_ms <= conn->shard->now_ms;
}

void produce_end(sally_conn *conn)
{
    if (conn_flow(conn)->producer) produce__finish(conn, conn->error ? conn->error : SALLY_ECLOSED);
}

/* ---- The public face ---- */

int sally_conn_produce(sally_conn *conn, const sally_producer *plain)
{
    if (!conn_here(conn) || !plain || !plain->produce) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN || conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT))
        return SALLY_ECLOSED;
    if (conn->policy->at_full == SALLY_FULL_DROP_OLDEST) return SALLY_ENOTSUP;
    if (produce_runs(conn)) return SALLY_ESTATE;
    int err = flow_need(conn);
    if (err) return err;
    struct producer *producer = mem_alloc(produce__mem(conn), sizeof *producer);
    if (!producer) return SALLY_ENOMEM;
    *producer =
        (struct producer){.plain = *plain, .retry_ms = WHEEL_NEVER, .close_due_ms = WHEEL_NEVER};
    conn_flow(conn)->producer = producer;
    flow_flag(conn);
    if (conn_flow(conn)->corked) conn->write_ms = conn->shard->now_ms & CONN_MS_MAX;
    shard_mark_dirty(conn->shard, conn);
    return 0;
}

int sally_conn_produce_more(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (!produce_runs(conn)) return SALLY_ESTATE;
    conn_producer(conn)->asleep = false;
    shard_mark_dirty(conn->shard, conn);
    return 0;
}
