/* Filters of a connection: what goes; see chain.h. */
#include "net/budget.h"
#include "net/chain.h"
#include "net/inbound.h"
#include "net/produce.h"

static unsigned chain__top(const struct chain *chain) { return chain->stack.count - 1; }

/* A filter has let us down in the middle of the stream: no byte of it may follow. */
static int chain__torn(sally_conn *conn, int error)
{
    chain_blame(conn, SALLY_LOG_WARN, error);
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_FILTER, error, 0);
    return SALLY_ECLOSED;
}

/* One byte more than the filters may need: one that has filled its room may have to be asked once
 * more before it knows that this was all. */
static int chain__take_room(sally_conn *conn, size_t most, struct sendq_room *room)
{
    if (most == SIZE_MAX) return SALLY_ENOMEM;
    return sendq_room_take(&conn->out, &conn->shard->pools, most + 1, room);
}

static size_t add(size_t a, size_t b) { return a < SIZE_MAX - b ? a + b : SIZE_MAX; }

size_t chain_max(const sally_conn *conn, size_t len)
{
    const struct chain *chain = conn_chain(conn);
    return stack_out_max(&chain->stack, chain__top(chain), len);
}

static size_t spans_max(const sally_conn *conn, const struct span *spans, unsigned count)
{
    size_t most = 0;
    for (unsigned i = 0; i < count; i++)
        if (spans[i].len) most = add(most, chain_max(conn, spans[i].len));
    return most;
}

/* The last of the spans that has anything is the one behind which nothing follows soon. */
static int chain__put(sally_conn *conn, const struct span *spans, unsigned count,
                      struct sendq_room *room)
{
    struct chain *chain = conn_chain(conn);
    bool was_empty = conn->out.bytes == 0;
    int err = 0;
    while (count && !spans[count - 1].len) count--;
    for (unsigned i = 0; i < count && !err; i++)
        if (spans[i].len)
            err = stack_out(&chain->stack, chain__top(chain), spans[i], i + 1 == count, &conn->out,
                            room);
    sendq_room_drop(&conn->shard->pools, room);
    if (err) return chain__torn(conn, err);
    if (conn->out.bytes) conn_has_queued(conn, was_empty);
    return 0;
}

int chain_send(sally_conn *conn, const struct span *spans, unsigned count)
{
    struct sendq_room room;
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) len += spans[i].len;
    if (len == 0) return 0;
    size_t most = spans_max(conn, spans, count);
    int err = flow_make_room_for(conn, len, most);
    if (!err) err = chain__take_room(conn, most, &room);
    return err ? err : chain__put(conn, spans, count, &room);
}

/* ---- By id ---- */

/* What became of the bytes is charged in their place, if that is less; the rest is free again, and
 * who was refused for it may have nothing queued whose going would tell. */
static void chain__recharge(sally_conn *conn, uint32_t len, uint32_t became)
{
    if (became >= len) return;
    conn_return_foreign(conn, len - became);
    if (inbound_was_refused(&conn->shard->inbound[conn->sock.slot.index])) conn_owe_drain(conn);
}

int chain_send_foreign(sally_conn *conn, const void *data, uint32_t len)
{
    const struct span span = {data, len};
    struct chain *chain = conn_chain(conn);
    struct sendq_room room;
    uint32_t before = conn->out.bytes;
    bool early = conn->state == CONN_SHAKING;
    int err = early ? sendq_copy(&chain->early, &conn->shard->pools, data, len)
                    : chain__take_room(conn, chain_max(conn, len), &room);
    if (err) return err;
    conn->foreign_bytes += len;
    conn->flags |= CONN_FOREIGN;
    if (early) return 0; /* nobody knows the id of one that was accepted: no server is charged */
    err = chain__put(conn, &span, 1, &room);
    if (err)
        conn->foreign_bytes -= len;
    else
        chain__recharge(conn, len, conn->out.bytes - before);
    return err;
}

void chain_send_early(sally_conn *conn)
{
    struct chain *chain = conn_chain(conn);
    struct sendq_pools *pools = &conn->shard->pools;
    while (chain->early.bytes && conn->state == CONN_SHAKING) {
        struct span span;
        struct sendq_room room;
        uint32_t before = conn->out.bytes;
        (void)sendq_gather(&chain->early, &span, 1);
        int err = chain__take_room(conn, chain_max(conn, span.len), &room);
        if (err) {
            conn_broken(conn, err, 0);
            return;
        }
        if (chain__put(conn, &span, 1, &room)) return;
        chain__recharge(conn, (uint32_t)span.len, conn->out.bytes - before);
        sendq_consume(&chain->early, pools, span.len);
    }
}

/* ---- Some ---- */

size_t chain_fits(const sally_conn *conn, size_t len, size_t room)
{
    size_t fits = 0, over = len + 1; /* fits is sure to, over is not */
    if (chain_max(conn, len) <= room) return len;
    while (over - fits > 1) {
        size_t middle = fits + (over - fits) / 2;
        if (chain_max(conn, middle) <= room)
            fits = middle;
        else
            over = middle;
    }
    return fits;
}

unsigned char *chain_lent_room(const sally_conn *conn)
{
    return conn->shard->filter_rooms + STACK_ROOMS_BYTES - STACK_ROOM_BYTES;
}

int chain_reserve(sally_conn *conn, size_t len, struct sendq_room *room)
{
    return chain__take_room(conn, chain_max(conn, len), room);
}

void chain_send_reserved(sally_conn *conn, size_t len, struct sendq_room *room)
{
    const struct span span = {chain_lent_room(conn), len};
    if (len)
        (void)chain__put(conn, &span, 1, room);
    else
        sendq_room_drop(&conn->shard->pools, room);
}

/* ---- By themselves ---- */

/* Who doesn't read what it makes us say is cut where a queue of what the program sends would be
 * full. */
static bool chain__reply_of(sally_conn *conn, unsigned layer)
{
    struct chain *chain = conn_chain(conn);
    struct sendq_room room;
    size_t most = stack_out_max(&chain->stack, layer, 0);
    bool was_empty = conn->out.bytes == 0;
    if (most > conn->policy->send_bytes_max ||
        conn->out.bytes > conn->policy->send_bytes_max - most) {
        conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_SEND_LIMIT, SALLY_EFULL, 0);
        return false;
    }
    int err = chain__take_room(conn, most, &room);
    if (err) {
        conn_broken(conn, err, 0);
        return false;
    }
    err = stack_out(&chain->stack, layer, (struct span){NULL, 0}, true, &conn->out, &room);
    sendq_room_drop(&conn->shard->pools, &room);
    if (err) {
        (void)chain__torn(conn, err);
        return false;
    }
    if (conn->out.bytes) conn_has_queued(conn, was_empty);
    return true;
}

void chain_reply(sally_conn *conn)
{
    struct chain *chain = conn_chain(conn);
    bool may = conn->state == CONN_SHAKING || conn->state == CONN_OPEN;
    if (!chain->stack.replies || !may) return;
    if (chain->finished) {
        chain->stack.replies = 0;
        return;
    }
    for (int layer; (layer = stack_take_reply(&chain->stack)) >= 0;)
        if (!chain__reply_of(conn, (unsigned)layer)) return;
}

bool chain_finish(sally_conn *conn)
{
    struct chain *chain = conn_chain(conn);
    struct sendq_room room;
    if (chain->finished || chain->failed) return false;
    chain->finished = true;
    bool was_empty = conn->out.bytes == 0;
    int err = chain__take_room(conn, stack_finish_max(&chain->stack), &room);
    if (err) {
        conn_broken(conn, err, 0);
        return true;
    }
    err = stack_finish(&chain->stack, &conn->out, &room);
    sendq_room_drop(&conn->shard->pools, &room);
    if (err) {
        (void)chain__torn(conn, err);
        return true;
    }
    if (!conn->out.bytes) return false;
    conn_has_queued(conn, was_empty);
    return true;
}
