/* Broadcasts and group sends; see cast.h. */
#include "net/cast.h"

#include <assert.h>

#include "base/room.h"
#include "net/budget.h"
#include "net/buf.h"
#include "net/chain.h"
#include "net/conn.h"
#include "net/group.h"
#include "net/letter.h"
#include "net/server.h"
#include "net/websocket.h"

/* What a turn may spend on casts: so many slots looked at, or a sixteenth of that in receivers of
 * small messages, or 2 MiB handed to the system. */
enum {
    TURN_COST_MAX = 8192,
    RECEIVER_COST = 16,
    COST_BYTES = 256,
};

struct cast_part {
    struct letter_call call;
    struct cast *cast;
    uint32_t at; /* of a server's: the next slot to look at */
    sally_broadcast_report report;
};

struct cast {
    sally_engine *engine;
    sally_server *server; /* NULL: of a group */
    sally_group *group;   /* a reference */
    sally_buf *buf;       /* a reference */
    uint32_t len;
    uint64_t serial;
    sally_broadcast_options options;
    atomic_uint parts_left;
    struct cast_part parts[]; /* one a shard */
};

/* ---- Bounds ---- */

static bool cast__reserve(sally_engine *engine, size_t len)
{
    const sally_engine_options *options = &engine->options;
    if (!room_take(&engine->casts, 1, options->mailbox_letters_max)) return false;
    if (room_take(&engine->cast_bytes, len, options->mailbox_bytes_max)) return true;
    room_give(&engine->casts, 1);
    return false;
}

static void cast__give_back(sally_engine *engine, size_t len)
{
    room_give(&engine->cast_bytes, len);
    room_give(&engine->casts, 1);
}

static size_t cast__bytes(const sally_engine *engine)
{
    return sizeof(struct cast) + engine->shard_count * sizeof(struct cast_part);
}

/* ---- The end ---- */

static void cast__finish(struct cast *cast)
{
    sally_engine *engine = cast->engine;
    sally_broadcast_options options = cast->options;
    sally_broadcast_report report = {0};
    for (unsigned i = 0; i < engine->shard_count; i++) {
        const sally_broadcast_report *part = &cast->parts[i].report;
        report.sent += part->sent;
        report.skipped += part->skipped;
        report.closed += part->closed;
        report.failed += part->failed;
    }
    if (cast->group) group_unref(cast->group);
    sally_buf_release(cast->buf);
    cast__give_back(engine, cast->len);
    mem_free(&engine->mem, cast, cast__bytes(engine));
    if (options.done) options.done(&report, options.arg);
}

static void part__finish(struct cast_part *part)
{
    struct cast *cast = part->cast;
    if (atomic_fetch_sub_explicit(&cast->parts_left, 1, memory_order_acq_rel) == 1)
        cast__finish(cast);
}

/* ---- One receiver ---- */

static bool conn__can_receive(const sally_conn *conn)
{
    return conn->state == CONN_OPEN && conn->on_open_ran &&
           !conn_has(conn, CONN_SHUT_ASKED | CONN_SHUT) &&
           (!conn->policy->ws || ws_takes_casts(conn));
}

static void part__slow(struct cast_part *part, sally_conn *conn)
{
    if (part->cast->options.slow == SALLY_SLOW_SKIP) {
        part->report.skipped++;
        return;
    }
    part->report.closed++;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_TOO_SLOW, SALLY_EFULL, 0);
}

/* Looked at before: a refused send would owe an on_drain to a handler that has sent nothing. */
static bool conn__has_no_room(const sally_conn *conn, uint32_t len)
{
    uint32_t max = conn->policy->send_bytes_max;
    size_t most = conn_chain(conn) ? chain_max(conn, len) : len;
    if (most > max) return false; /* it never fits */
    return conn->out.bytes > max - most || budget_judge(conn, most) == SALLY_EFULL;
}

static void part__queue(struct cast_part *part, sally_conn *conn)
{
    if (conn__has_no_room(conn, part->cast->len)) {
        part__slow(part, conn);
        return;
    }
    int err = sally_conn_send_buf(conn, part->cast->buf);
    if (!err)
        part->report.sent++;
    else if (err == SALLY_EFULL) /* other shards have used up the budget since */
        part__slow(part, conn);
    else
        part->report.failed++;
}

static void part__to(struct cast_part *part, sally_conn *conn)
{
    const sally_broadcast_options *options = &part->cast->options;
    struct shard *shard = conn->shard;
    if (!conn__can_receive(conn)) return;
    if (options->except && options->except == shard_id(shard, &conn->sock.slot)) return;
    shard->cast_cost += RECEIVER_COST;
    if (options->filter && !options->filter(conn, options->arg)) return;
    if (!conn__can_receive(conn)) return; /* the filter has closed it */
    shard->cast_cost += part->cast->len / COST_BYTES;
    part__queue(part, conn);
}

/* ---- A slice ---- */

void cast_new_turn(struct shard *shard) { shard->cast_cost = 0; }

static bool slice__over(const struct shard *shard) { return shard->cast_cost >= TURN_COST_MAX; }

/* True at the end of the table. A slot that is taken meanwhile, before the place that was reached,
 * is a connection that came later than the message. */
static bool slice__server(struct shard *shard, struct cast_part *part)
{
    const sally_server *server = part->cast->server;
    for (; !slice__over(shard); part->at++) {
        struct port_sock *sock = slots_at(&shard->slots, part->at);
        if (!sock) return true;
        shard->cast_cost++;
        bool taken = atomic_load_explicit(&sock->slot.generation, memory_order_acquire) & 1;
        if (!taken || sock->role != ROLE_CONN) continue;
        sally_conn *conn = (sally_conn *)sock;
        if (conn->state > CONN_DIALING && conn->policy->server == server) part__to(part, conn);
    }
    return false;
}

/* The cursor is the shard's, so that a member that leaves meanwhile can be stepped over. */
static bool slice__group(struct shard *shard, struct cast_part *part)
{
    while (!slice__over(shard)) {
        struct membership *member = shard->cast_member;
        if (!member) return true;
        shard->cast_member = member->next;
        shard->cast_cost++;
        if (member->serial < part->cast->serial) part__to(part, member->conn);
    }
    return false;
}

bool cast_go_on(struct shard *shard)
{
    struct cast_part *part = shard->cast;
    if (!part) return true;
    bool over = part->cast->group ? slice__group(shard, part) : slice__server(shard, part);
    if (!over) return false;
    shard->cast = NULL;
    part__finish(part);
    return true;
}

void cast_abandon(struct shard *shard)
{
    struct cast_part *part = shard->cast;
    if (!part) return;
    shard->cast = NULL;
    shard->cast_member = NULL;
    part__finish(part);
}

static void part__arrived(struct letter_call *call, struct shard *shard)
{
    struct cast_part *part = (struct cast_part *)(void *)call;
    if (!shard) {
        part__finish(part);
        return;
    }
    assert(!shard->cast);
    shard->cast = part;
    if (part->cast->group) shard->cast_member = group_first(part->cast->group, shard->index);
    (void)cast_go_on(shard);
}

/* ---- The beginning ---- */

static struct cast *cast__make(sally_engine *engine, sally_buf *buf,
                               const sally_broadcast_options *options)
{
    struct cast *cast = mem_zalloc(&engine->mem, cast__bytes(engine));
    if (!cast) return NULL;
    cast->engine = engine;
    cast->buf = sally_buf_ref(buf);
    cast->len = (uint32_t)sally_buf_len(buf);
    if (options) cast->options = *options;
    atomic_init(&cast->parts_left, engine->shard_count);
    for (unsigned i = 0; i < engine->shard_count; i++) {
        struct cast_part *part = &cast->parts[i];
        part->cast = cast;
        part->call =
            (struct letter_call){.letter.mail = {sizeof *part, LETTER_CALL}, .fn = part__arrived};
    }
    return cast;
}

/* All shards or none: what bounds the letters has been asked already. */
static void cast__post(struct cast *cast)
{
    sally_engine *engine = cast->engine;
    cast->serial = atomic_fetch_add(&engine->cast_serial, 1) + 1;
    /* after the last post the cast may be gone */
    struct cast_part *parts = cast->parts;
    for (unsigned i = 0, count = engine->shard_count; i < count; i++)
        (void)shard_post(engine->shards[i], &parts[i].call.letter, true);
}

int cast_send(sally_engine *engine, sally_server *server, sally_group *group, sally_buf *buf,
              const sally_broadcast_options *options)
{
    if (!buf || !buf_is_of(buf, &engine->mem)) return SALLY_EINVAL;
    if (options && (unsigned)options->slow > SALLY_SLOW_CLOSE) return SALLY_EINVAL;
    size_t len = sally_buf_len(buf);
    if (len == 0) return SALLY_EINVAL;
    if (len > engine->options.mailbox_bytes_max) return SALLY_ELIMIT;
    if (!cast__reserve(engine, len)) return SALLY_EFULL;
    struct cast *cast = cast__make(engine, buf, options);
    if (!cast) {
        cast__give_back(engine, len);
        return SALLY_ENOMEM;
    }
    cast->server = server;
    if (group) cast->group = group_ref(group);
    cast__post(cast);
    return 0;
}

int sally_broadcast(sally_server *server, sally_buf *buf, const sally_broadcast_options *options)
{
    if (!server) return SALLY_EINVAL;
    return cast_send(server->engine, server, NULL, buf, options);
}

int sally_group_send(sally_group *group, sally_buf *buf, const sally_broadcast_options *options)
{
    if (!group) return SALLY_EINVAL;
    return cast_send(group_engine(group), NULL, group, buf, options);
}
