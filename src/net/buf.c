/* Bytes with a reference count: one allocation holds the header and the bytes. */
#include "net/buf.h"

#include <stdatomic.h>

#include "net/engine.h"

struct sally_buf {
    struct mem *mem;
    atomic_uint refs;
    size_t len;
    unsigned char data[];
};

sally_buf *sally_buf_create(sally_engine *engine, size_t len)
{
    if (!engine || len > SIZE_MAX - sizeof(sally_buf)) return NULL;
    sally_buf *buf = mem_alloc(&engine->mem, sizeof *buf + len);
    if (!buf) return NULL;
    buf->mem = &engine->mem;
    atomic_init(&buf->refs, 1);
    buf->len = len;
    return buf;
}

void *sally_buf_data(sally_buf *buf) { return buf ? buf->data : NULL; }

size_t sally_buf_len(const sally_buf *buf) { return buf ? buf->len : 0; }

sally_buf *sally_buf_ref(sally_buf *buf)
{
    if (buf) atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

void sally_buf_release(sally_buf *buf)
{
    if (!buf) return;
    if (atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) == 1)
        mem_free(buf->mem, buf, sizeof *buf + buf->len);
}

void buf_release_sent(void *buf, const void *data, uint64_t token)
{
    (void)data;
    (void)token;
    sally_buf_release(buf);
}

bool buf_is_of(const sally_buf *buf, const struct mem *mem) { return buf->mem == mem; }
