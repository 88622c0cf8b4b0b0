/* The public face of a connection: inside its callbacks by pointer, from anywhere by id. */
#include <string.h>

#include "filter/framing.h"
#include "net/buf.h"
#include "net/conn.h"
#include "net/file_send.h"
#include "net/inbound.h"
#include "net/letter.h"
#include "net/limits.h"
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
    if (conn->shard->stop_seen == STOP_DRAIN) return 0; /* it only waits for its jobs */
    conn->flags &= (uint16_t)~CONN_PAUSED;
    record_add(conn, RECORD_RESUMED);
    conn_restart_message(conn);
    if (conn_limits(conn)) limits_resumed(conn);
    shard_mark_dirty(conn->shard, conn); /* held bytes come from there, not from inside this call */
    return 0;
}

int sally_conn_expect(sally_conn *conn, bool expects)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    if (!conn->policy->more.min_recv_bytes_s) return SALLY_ESTATE;
    limits_expect(conn, expects);
    return 0;
}

int sally_conn_timer(sally_conn *conn, uint32_t after_ms)
{
    if (!conn_here(conn)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    conn->user_due_ms = (after_ms ? engine_due_ms(conn->shard->engine, after_ms) : 0) & CONN_MS_MAX;
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
    struct addr peer = {.family = ADDR_NONE};
    if (conn) peer = conn_peer(conn);
    return addr_format(&peer, buf, size);
}

const char *sally_conn_local(const sally_conn *conn, char *buf, size_t size)
{
    struct addr local = {.family = ADDR_NONE};
    if (conn && conn_alive(conn)) (void)port_local(conn->shard->port, conn->sock.handle, &local);
    return addr_format(&local, buf, size);
}

uint32_t sally_conn_queued(const sally_conn *conn) { return conn ? conn_queued_told(conn) : 0; }

/* ---- By id ---- */

/* Threads send by id as fast as they can: what each message needs is in sally_send itself. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* The connection, if this thread is its shard's and it has begun there. */
static ALWAYS_INLINE sally_conn *id__here(struct shard *shard, sally_id id)
{
    if (shard_current() != shard) return NULL;
    sally_conn *conn = shard_find(shard, id);
    return conn && conn->sock.role == ROLE_CONN ? conn : NULL;
}

/* Posts a record that mailbox_begin made room for. */
static ALWAYS_INLINE int id__commit(struct shard *shard, enum letter_kind kind, size_t bytes)
{
    if (mailbox_commit(&shard->mailbox, kind, (uint32_t)bytes)) shard_posted(shard);
    return 0;
}

static ALWAYS_INLINE void *id__begin(struct shard *shard, size_t bytes, int *err)
{
    void *record = mailbox_begin(&shard->mailbox, (uint32_t)bytes, err);
    if (!record && *err == SALLY_EFULL) shard_refused(shard);
    return record;
}

static ALWAYS_INLINE size_t spans_len(const struct span *spans, unsigned count)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) len += spans[i].len;
    return len;
}

static ALWAYS_INLINE void spans_copy(unsigned char *to, const struct span *spans, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (spans[i].len) memcpy(to, spans[i].data, spans[i].len);
        to += spans[i].len;
    }
}

/* There is no place for a send of len bytes that take so many in the mailbox: there never is one,
 * or on_drain will tell. */
static int id__no_room(struct shard *shard, sally_id id, size_t len, size_t bytes, int err)
{
    if (inbound_never_fits(&shard->inbound[id_slot(id)], len)) return SALLY_ELIMIT;
    if (bytes > shard->mailbox.bytes_max) return SALLY_ELIMIT;
    if (err == SALLY_EFULL) refusals_note(shard, id);
    return err;
}

/* The lock of the mailbox is held for the accounts; the copy is made without it. */
static int id__send_big(struct shard *shard, sally_id id, const struct span *spans, unsigned count,
                        size_t all)
{
    struct inbound *account = &shard->inbound[id_slot(id)];
    struct mem *mem = &shard->engine->mem;
    bool never = all > SIZE_MAX - sizeof(struct letter_big) ||
                 sizeof(struct letter_big) + all > shard->mailbox.bytes_max;
    os_lock_take(&shard->mailbox.lock);
    int err = never ? SALLY_ELIMIT : inbound_charge(account, id_generation(id), all);
    os_lock_give(&shard->mailbox.lock);
    if (err) return err;
    uint32_t len = (uint32_t)all; /* no more than send_bytes_max */
    struct letter_big *big = mem_alloc(mem, sizeof *big + len);
    err = SALLY_ENOMEM;
    if (!big) goto fail;
    big->letter.mail = (struct mail){(uint32_t)sizeof *big + len, LETTER_SEND_BIG};
    big->id = id;
    big->mem = mem;
    big->len = len;
    spans_copy(big->data, spans, count);
    err = shard_post(shard, &big->letter, false);
    if (!err) return 0;
    letter_free_big(big);
fail:
    os_lock_take(&shard->mailbox.lock);
    inbound_undo(account, id_generation(id), len);
    /* others may have been refused for these bytes, which will never be gone */
    bool owed = err == SALLY_EFULL || inbound_is_refused(account);
    os_lock_give(&shard->mailbox.lock);
    if (owed) refusals_note(shard, id);
    return err;
}

/* The spans as one: they stay together, and order is that of the calls. */
static ALWAYS_INLINE int id__send(struct shard *shard, sally_id id, const struct span *spans,
                                  unsigned count)
{
    size_t len = spans_len(spans, count);
    if (len > LETTER_SEND_MAX) return id__send_big(shard, id, spans, count, len);
    struct inbound *account = &shard->inbound[id_slot(id)];
    int err;
    struct letter_send *send = id__begin(shard, sizeof *send + len, &err);
    if (!send) return id__no_room(shard, id, len, sizeof *send + len, err);
    err = inbound_charge(account, id_generation(id), len);
    if (err) {
        mailbox_cancel(&shard->mailbox);
        return err;
    }
    send->id = id;
    spans_copy(send->data, spans, count);
    return id__commit(shard, LETTER_SEND, sizeof *send + len);
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
    uint32_t number = inbound_framing(&shard->inbound[id_slot(id)]);
    const struct framing *framing = framings_at(engine, number);
    if (!framing) return SALLY_ENOTSUP;
    sally_frame_edges edges;
    int err = framing_wrap(framing, data, len, &edges);
    if (err) return err;
    const struct span spans[] = {
        {edges.head, edges.head_bytes}, {data, len}, {edges.tail, edges.tail_bytes}};
    return edges.head_bytes + len + edges.tail_bytes ? id__send(shard, id, spans, 3) : 0;
}

int conn_id_look(sally_engine *engine, sally_id id, sally_conn **here,
                 const struct framing **framing)
{
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    *here = id__here(shard, id);
    *framing = framings_at(engine, inbound_framing(&shard->inbound[id_slot(id)]));
    return 0;
}

int conn_id_send(sally_engine *engine, sally_id id, const struct span *spans, unsigned count)
{
    struct shard *shard = engine_find_shard(engine, id);
    return shard ? id__send(shard, id, spans, count) : SALLY_ENOCONN;
}

static int id__close(sally_engine *engine, sally_id id, enum letter_kind kind)
{
    if (!engine) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    sally_conn *conn = id__here(shard, id);
    if (conn) {
        if (!conn->has_reason) conn->by_id = true;
        return kind == LETTER_CLOSE ? sally_conn_close(conn) : sally_conn_abort(conn);
    }
    int err = 0;
    struct letter_conn *letter = id__begin(shard, sizeof *letter, &err);
    if (!letter) return err;
    letter->id = id;
    return id__commit(shard, kind, sizeof *letter);
}

int sally_close(sally_engine *engine, sally_id id) { return id__close(engine, id, LETTER_CLOSE); }

int sally_abort(sally_engine *engine, sally_id id) { return id__close(engine, id, LETTER_ABORT); }

int sally_post(sally_engine *engine, sally_id id, void (*fn)(sally_conn *conn, void *arg),
               void *arg)
{
    if (!engine || !fn) return SALLY_EINVAL;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    int err = 0;
    struct letter_post *post = id__begin(shard, sizeof *post, &err);
    if (!post) return err;
    post->id = id;
    post->fn = fn;
    post->arg = arg;
    return id__commit(shard, LETTER_POST, sizeof *post);
}
