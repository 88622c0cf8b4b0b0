/* Bytes with a reference count. Made by a program, one allocation holds the header and the bytes;
 * kept from a receive, they stay in the port's buffer, which goes back on the shard's own thread.
 */
#include "net/buf.h"

#include <stdatomic.h>
#include <string.h>

#include "net/conn.h"
#include "net/engine.h"
#include "sallyport/flow.h"

struct sally_buf {
    struct mem *mem;
    atomic_uint refs;
    uint32_t lent;        /* the receive buffer's number */
    struct shard *lender; /* NULL: the bytes are in here */
    const void *lent_data;
    unsigned char *data;
    size_t len;
    sally_buf *next; /* of those on their way back */
    unsigned char bytes[];
};

static sally_buf *buf__create(struct mem *mem, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(sally_buf)) return NULL;
    sally_buf *buf = mem_alloc(mem, sizeof *buf + bytes);
    if (!buf) return NULL;
    *buf = (sally_buf){.mem = mem, .data = buf->bytes, .len = bytes};
    atomic_init(&buf->refs, 1);
    return buf;
}

sally_buf *sally_buf_create(sally_engine *engine, size_t len)
{
    return engine ? buf__create(&engine->mem, len) : NULL;
}

void *sally_buf_data(sally_buf *buf) { return buf ? buf->data : NULL; }

size_t sally_buf_len(const sally_buf *buf) { return buf ? buf->len : 0; }

sally_buf *sally_buf_ref(sally_buf *buf)
{
    if (buf) atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

/* ---- Kept from a receive ---- */

static sally_buf *keep__lent(struct shard *shard, const void *data, size_t len)
{
    struct lent *lent = &shard->lent;
    sally_buf *buf = buf__create(&shard->engine->mem, 0);
    if (!buf) return NULL;
    buf->lender = shard;
    buf->lent = lent->buf;
    buf->lent_data = lent->data;
    buf->data = (unsigned char *)lent->data + ((const unsigned char *)data - lent->data);
    buf->len = len;
    lent->referred = true;
    return buf;
}

sally_buf *sally_conn_keep(sally_conn *conn, const void *data, size_t len)
{
    if (!conn_here(conn) || (!data && len)) return NULL;
    if (len && shard_may_lend(conn->shard, data, len)) return keep__lent(conn->shard, data, len);
    sally_buf *buf = buf__create(&conn->shard->engine->mem, len);
    if (buf && len) memcpy(buf->bytes, data, len);
    return buf;
}

static void buf__give_back(sally_buf *buf)
{
    port_buf_release(buf->lender->port, buf->lent, buf->lent_data);
    mem_free(buf->mem, buf, sizeof *buf);
}

void buf_take_back(struct shard *shard)
{
    sally_buf *buf = atomic_exchange_explicit(&shard->returned, NULL, memory_order_acquire);
    for (sally_buf *next; buf; buf = next) {
        next = buf->next;
        buf__give_back(buf);
    }
}

/* From another thread: a stack that its shard empties whole, so it needs no room and can't fail. */
static void buf__return(sally_buf *buf)
{
    struct shard *shard = buf->lender;
    if (shard_current() == shard) {
        buf__give_back(buf);
        return;
    }
    sally_buf *first = atomic_load_explicit(&shard->returned, memory_order_relaxed);
    do {
        buf->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&shard->returned, &first, buf,
                                                    memory_order_release, memory_order_relaxed));
    /* not woken for it: half of the buffers are always there to receive with */
}

void sally_buf_release(sally_buf *buf)
{
    if (!buf || atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) != 1) return;
    if (buf->lender)
        buf__return(buf);
    else
        mem_free(buf->mem, buf, sizeof *buf + buf->len);
}

void buf_release_sent(void *buf, const void *data, uint64_t token)
{
    (void)data;
    (void)token;
    sally_buf_release(buf);
}

bool buf_is_of(const sally_buf *buf, const struct mem *mem) { return buf->mem == mem; }
