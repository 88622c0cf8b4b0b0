/* The public face of a connection: inside its callbacks by pointer, from anywhere by id. */
#include <assert.h>
#include <string.h>

#include "net/buf.h"
#include "net/conn.h"
#include "net/inbound.h"
#include "net/letter.h"
#include "net/limits.h"
#include "os/address.h"

/* A pointer is only good on its own shard: elsewhere an id is the way. */
static bool conn__here(const sally_conn *conn)
{
    assert(!conn || shard_current() == conn->shard || !shard_current());
    return conn != NULL;
}

/* ---- By pointer ---- */

int sally_conn_send(sally_conn *conn, const void *data, size_t len)
{
    if (!conn__here(conn) || (!data && len)) return SALLY_EINVAL;
    return conn_send(conn, data, len);
}

int sally_conn_send_buf(sally_conn *conn, sally_buf *buf)
{
    if (!conn__here(conn) || !buf) return SALLY_EINVAL;
    size_t len = sally_buf_len(buf);
    if (len == 0) return 0;
    int err = conn_send_ref(conn, sally_buf_data(buf), len, buf_release_sent, buf, 0);
    if (!err) sally_buf_ref(buf);
    return err;
}

int sally_conn_shutdown(sally_conn *conn)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->flags |= CONN_SHUT_ASKED;
    shard_mark_dirty(conn->shard, conn);
    return 0;
}

int sally_conn_close(sally_conn *conn)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    conn_close_by_us(conn);
    return 0;
}

int sally_conn_abort(sally_conn *conn)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    conn_end(conn, PORT_CLOSE_RST, SALLY_CLOSE_ABORTED, 0, 0);
    return 0;
}

int sally_conn_pause(sally_conn *conn)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->flags |= CONN_PAUSED;
    conn_update_reading(conn);
    return 0;
}

int sally_conn_resume(sally_conn *conn)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!conn_has(conn, CONN_PAUSED)) return 0;
    conn->flags &= (uint16_t)~CONN_PAUSED;
    if (conn->limits) limits_resumed(conn);
    shard_mark_dirty(conn->shard, conn); /* held bytes come from there, not from inside this call */
    return 0;
}

int sally_conn_expect(sally_conn *conn, bool expects)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!conn->policy->more.min_recv_bytes_s) return SALLY_ESTATE;
    limits_expect(conn, expects);
    return 0;
}

int sally_conn_timer(sally_conn *conn, uint32_t after_ms)
{
    if (!conn__here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->user_due_ms = after_ms ? engine_due_ms(conn->shard->engine, after_ms) : 0;
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
    if (conn__here(conn)) conn->user = user;
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

int sally_send(sally_engine *engine, sally_id id, const void *data, size_t len)
{
    if (!engine || (!data && len)) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    if (len == 0) return 0;
    sally_conn *conn = id__here(shard, id);
    if (conn) return conn_send(conn, data, len);
    struct inbound *account = &shard->inbound[id_slot(id)];
    int err = inbound_charge(account, id_generation(id), len);
    if (err) return err;
    uint32_t bytes = (uint32_t)(sizeof(struct letter_send) + len);
    struct letter_send *send = mem_alloc(&engine->mem, bytes);
    if (!send) {
        inbound_return(account, id_generation(id), (uint32_t)len);
        return SALLY_ENOMEM;
    }
    send->id = id;
    send->len = (uint32_t)len;
    memcpy(send->data, data, len);
    err = id__post(shard, &send->letter, LETTER_SEND, bytes);
    if (err) inbound_return(account, id_generation(id), (uint32_t)len);
    return err;
}

static int id__close(sally_engine *engine, sally_id id, enum letter_kind kind)
{
    if (!engine) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    sally_conn *conn = id__here(shard, id);
    if (conn) return kind == LETTER_CLOSE ? sally_conn_close(conn) : sally_conn_abort(conn);
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
