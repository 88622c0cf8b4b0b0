/* The public face of a connection: inside its callbacks by pointer, from anywhere by id. */
#include <string.h>

#include "filter/framing.h"
#include "net/buf.h"
#include "net/conn.h"
#include "net/inbound.h"
#include "net/letter.h"
#include "net/record.h"
#include "os/address.h"
#include "sallyport/flow.h"

enum { PIECES_MAX = 1024 };

/* ---- By pointer ---- */

int sally_conn_send(sally_conn *conn, const void *data, size_t len)
{
    if (!conn_here(conn) || (!data && len)) return SALLY_EINVAL;
    return conn_send(conn, data, len);
}

int sally_conn_send_buf(sally_conn *conn, sally_buf *buf)
{
    if (!conn_here(conn) || !buf) return SALLY_EINVAL;
    size_t len = sally_buf_len(buf);
    if (len == 0) return 0;
    int err = conn_send_ref(conn, sally_buf_data(buf), len, buf_release_sent, buf, 0);
    if (!err) sally_buf_ref(buf);
    return conn_told(err);
}

int sally_conn_sendv(sally_conn *conn, const sally_bytes *pieces, size_t count)
{
    if (!conn_here(conn) || (!pieces && count) || count > PIECES_MAX) return SALLY_EINVAL;
    struct span spans[PIECES_MAX];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if ((!pieces[i].data && pieces[i].len) || pieces[i].len > SIZE_MAX - len)
            return SALLY_EINVAL;
        spans[i] = (struct span){pieces[i].data, pieces[i].len};
        len += pieces[i].len;
    }
    return conn_send_spans(conn, spans, (unsigned)count);
}

int sally_conn_shutdown(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->flags |= CONN_SHUT_ASKED;
    shard_mark_dirty(conn->shard, conn);
    return 0;
}

int sally_conn_close(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    conn_close_by_us(conn);
    return 0;
}

int sally_conn_abort(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_ABORTED, 0, 0);
    return 0;
}

int sally_conn_pause(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->flags |= CONN_PAUSED;
    record_add(conn, RECORD_PAUSED);
    conn_update_reading(conn);
    return 0;
}

int sally_conn_resume(sally_conn *conn)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!conn_has(conn, CONN_PAUSED)) return 0;
    conn->flags &= (uint16_t)~CONN_PAUSED;
    record_add(conn, RECORD_RESUMED);
    conn_restart_message(conn);
    shard_mark_dirty(conn->shard, conn); /* held bytes come from there, not from inside this call */
    return 0;
}

/* From this call on, however long the turn has lasted already, and not a part of a millisecond
 * less.
 */
static uint64_t conn__due_after(const sally_conn *conn, uint32_t after_ms)
{
    const struct host *host = &conn->shard->engine->host;
    return (host->now_ns(host->ctx) + 999999) / 1000000 + after_ms;
}

int sally_conn_timer(sally_conn *conn, uint32_t after_ms)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->user_due_ms = after_ms ? conn__due_after(conn, after_ms) : 0;
    conn_update_timer(conn);
    return 0;
}

sally_id sally_conn_id(const sally_conn *conn)
{
    return conn ? shard_id(conn->shard, &conn->sock.slot) : 0;
}

void *sally_conn_user(const sally_conn *conn) { return conn ? conn->user : NULL; }

void sally_conn_set_user(sally_conn *conn, void *user)
{
    if (conn_here(conn)) conn->user = user;
}

sally_engine *sally_conn_engine(const sally_conn *conn)
{
    return conn ? conn->shard->engine : NULL;
}

sally_server *sally_conn_server(const sally_conn *conn)
{
    return conn ? conn->policy->server : NULL;
}

const char *sally_conn_peer(const sally_conn *conn, char *buf, size_t size)
{
    static const struct addr unknown;
    return addr_format(conn ? &conn->peer : &unknown, buf, size);
}

const char *sally_conn_local(const sally_conn *conn, char *buf, size_t size)
{
    struct addr local = {.family = ADDR_NONE};
    if (conn && conn_alive(conn)) (void)port_local(conn->shard->port, conn->sock.handle, &local);
    return addr_format(&local, buf, size);
}

uint32_t sally_conn_queued(const sally_conn *conn) { return conn ? conn->out.bytes : 0; }

/* ---- By id ---- */

/* The connection, if this thread is its shard's and it has begun there. */
static sally_conn *id__here(struct shard *shard, sally_id id)
{
    if (shard_current() != shard) return NULL;
    sally_conn *conn = shard_find(shard, id);
    return conn && conn->sock.role == ROLE_CONN ? conn : NULL;
}

static int id__post(struct shard *shard, struct letter *letter, enum letter_kind kind,
                    uint32_t bytes)
{
    letter->kind = kind;
    letter->bytes = bytes;
    int err = shard_post(shard, letter, false);
    if (err) mem_free(&shard->engine->mem, letter, bytes);
    return err;
}

static uint32_t id_generation(sally_id id) { return (uint32_t)(id >> 32); }
static uint32_t id_index(sally_id id) { return (uint32_t)id & ((1u << SLOTS_INDEX_BITS) - 1); }

/* Copies into one letter: head, data and tail stay together, and order is that of the calls. */
static int id__send(struct shard *shard, sally_id id, const struct span *spans, unsigned count)
{
    struct mem *mem = &shard->engine->mem;
    struct inbound *account = &shard->inbound[id_index(id)];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) len += spans[i].len;
    if (len == 0) return 0;
    int err = inbound_charge(account, id_generation(id), len);
    if (err) return err;
    uint32_t bytes = (uint32_t)(sizeof(struct letter_send) + len);
    struct letter_send *send = mem_alloc(mem, bytes);
    if (!send) {
        inbound_return(account, id_generation(id), (uint32_t)len);
        return SALLY_ENOMEM;
    }
    send->id = id;
    send->len = 0;
    for (unsigned i = 0; i < count; i++) {
        if (spans[i].len) memcpy(send->data + send->len, spans[i].data, spans[i].len);
        send->len += (uint32_t)spans[i].len;
    }
    err = id__post(shard, &send->letter, LETTER_SEND, bytes);
    if (err) inbound_return(account, id_generation(id), (uint32_t)len);
    return err;
}

int sally_send(sally_engine *engine, sally_id id, const void *data, size_t len)
{
    if (!engine || (!data && len)) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    if (len == 0) return 0;
    sally_conn *conn = id__here(shard, id);
    if (conn) return conn_send(conn, data, len);
    return id__send(shard, id, &(struct span){data, len}, 1);
}

int sally_send_message(sally_engine *engine, sally_id id, const void *data, size_t len)
{
    if (!engine || (!data && len)) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    sally_conn *conn = id__here(shard, id);
    if (conn) return sally_conn_send_message(conn, data, len);
    uint32_t number;
    if (!inbound_framing(&shard->inbound[id_index(id)], id_generation(id), &number))
        return SALLY_ENOCONN;
    const struct framing *framing = framings_at(engine, number);
    if (!framing) return SALLY_ENOTSUP;
    sally_frame_edges edges;
    int err = framing_wrap(framing, data, len, &edges);
    if (err) return err;
    const struct span spans[] = {
        {edges.head, edges.head_bytes}, {data, len}, {edges.tail, edges.tail_bytes}};
    return id__send(shard, id, spans, 3);
}

static int id__close(sally_engine *engine, sally_id id, enum letter_kind kind)
{
    if (!engine) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    sally_conn *conn = id__here(shard, id);
    if (conn) {
        if (!conn->has_reason) conn->flags |= CONN_BY_ID;
        return kind == LETTER_CLOSE ? sally_conn_close(conn) : sally_conn_abort(conn);
    }
    struct letter_conn *letter = mem_zalloc(&engine->mem, sizeof *letter);
    if (!letter) return SALLY_ENOMEM;
    letter->id = id;
    return id__post(shard, &letter->letter, kind, sizeof *letter);
}

int sally_close(sally_engine *engine, sally_id id) { return id__close(engine, id, LETTER_CLOSE); }

int sally_abort(sally_engine *engine, sally_id id) { return id__close(engine, id, LETTER_ABORT); }

int sally_post(sally_engine *engine, sally_id id, void (*fn)(sally_conn *conn, void *arg),
               void *arg)
{
    if (!engine || !fn) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    struct letter_post *post = mem_zalloc(&engine->mem, sizeof *post);
    if (!post) return SALLY_ENOMEM;
    post->id = id;
    post->fn = fn;
    post->arg = arg;
    return id__post(shard, &post->letter, LETTER_POST, sizeof *post);
}
