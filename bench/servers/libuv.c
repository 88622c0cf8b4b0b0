/* libuv as its documentation has it for speed: one read buffer lent to every read, uv_try_write
 * first, and uv_write with a copy only for what was not taken; reading stops meanwhile. Messages
 * from other threads come by a locked queue and uv_async_send, and those of one turn to one
 * connection go out in one write. One loop, one thread. */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "inbox.h"
#include "lockq.h"
#include "members.h"
#include "outbox.h"
#include "senders.h"
#include "server.h"

struct conn {
    uv_tcp_t tcp;
    struct inbox *inbox; /* only where messages are handed on */
    struct outbox box;   /* what other threads have sent in this turn */
    uint32_t place, writing;
};

struct late {
    uv_write_t write;
    char bytes[];
};

static struct {
    uv_loop_t *loop;
    enum server_mode mode;
    struct members members;
    uv_async_t async;
    char bytes[SERVER_READ_BYTES];
} server;

static void check(int err, const char *what)
{
    if (!err) return;
    fprintf(stderr, "libuv: %s: %s\n", what, uv_strerror(err));
    exit(1);
}

static void conn_closed(uv_handle_t *handle)
{
    struct conn *conn = (struct conn *)handle;
    free(conn->inbox);
    free(conn);
}

static void conn_close(struct conn *conn)
{
    if (uv_is_closing((uv_handle_t *)conn)) return;
    if (server.mode != SERVER_ECHO) members_remove(&server.members, conn->place);
    uv_close((uv_handle_t *)conn, conn_closed);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle, (void)size;
    *buf = uv_buf_init(server.bytes, sizeof server.bytes);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status)
{
    struct conn *conn = (struct conn *)write->handle;
    free(write);
    conn->writing--;
    if (status)
        conn_close(conn);
    else if (!conn->writing && server.mode == SERVER_ECHO)
        uv_read_start((uv_stream_t *)conn, on_alloc, on_read);
}

static void conn_send(struct conn *conn, const char *data, size_t len)
{
    uv_stream_t *stream = (uv_stream_t *)conn;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
    int sent = uv_try_write(stream, &buf, 1);
    if (sent == (int)len) return;
    if (sent < 0 && sent != UV_EAGAIN) {
        conn_close(conn);
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    struct late *late = malloc(sizeof *late + len - done);
    if (!late) server_die("memory");
    memcpy(late->bytes, data + done, len - done);
    buf = uv_buf_init(late->bytes, (unsigned)(len - done));
    if (server.mode == SERVER_ECHO) uv_read_stop(stream);
    conn->writing++;
    check(uv_write(&late->write, stream, &buf, 1, on_written), "uv_write");
}

static void fan_out(void *from, const char *messages, uint64_t len)
{
    for (uint32_t n = server.members.count; n-- > 0;)
        if (server.members.all[n] != from) conn_send(server.members.all[n], messages, len);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct conn *conn = (struct conn *)stream;
    if (len < 0)
        conn_close(conn);
    else if (len > 0 && conn->inbox)
        inbox_take(conn->inbox, buf->base, (uint64_t)len, fan_out, conn);
    else if (len > 0)
        conn_send(conn, buf->base, (size_t)len);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn || status < 0) {
        free(conn);
        return;
    }
    check(uv_tcp_init(server.loop, &conn->tcp), "uv_tcp_init");
    check(uv_accept(listener, (uv_stream_t *)conn), "uv_accept");
    if (server.mode == SERVER_FANOUT) conn->inbox = server_memory(1, sizeof *conn->inbox);
    if (server.mode != SERVER_ECHO) members_add(&server.members, conn, &conn->place);
    if (server.mode == SERVER_THREADS) senders_add(conn->place);
    check(uv_read_start((uv_stream_t *)conn, on_alloc, on_read), "uv_read_start");
}

static enum senders_answer push(void *context, uint64_t id, const void *message)
{
    bool wake;
    (void)context;
    if (!lockq_push(id, message, &wake)) return SENDERS_FULL;
    if (wake) uv_async_send(&server.async);
    return SENDERS_TAKEN;
}

static void on_async(uv_async_t *async)
{
    uint32_t count;
    struct lockq_entry *entries = lockq_take(&count);
    (void)async;
    for (uint32_t n = 0; n < count; n++) {
        if (entries[n].id >= server.members.count) continue;
        struct conn *conn = server.members.all[entries[n].id];
        outbox_add(&conn->box, entries[n].bytes, SERVER_MESSAGE_BYTES);
    }
    /* Backwards: one that fails is taken out, and the last takes its place. */
    for (uint32_t n = server.members.count; n-- > 0;) {
        struct conn *conn = server.members.all[n];
        struct outbox box = conn->box;
        if (outbox_is_empty(&box)) continue;
        conn->box = (struct outbox){0};
        conn_send(conn, box.data, box.end);
        outbox_drop(&box);
    }
}

int main(int argc, char **argv)
{
    struct server_options options =
        server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT | SERVER_THREADS);
    static uv_tcp_t listener;
    int fd = server_listen(options.port);
    server.loop = uv_default_loop();
    server.mode = options.mode;
    check(uv_tcp_init(server.loop, &listener), "uv_tcp_init");
    check(uv_tcp_open(&listener, fd), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&listener, SERVER_BACKLOG, on_connection), "uv_listen");
    if (options.mode == SERVER_THREADS) {
        lockq_create();
        check(uv_async_init(server.loop, &server.async, on_async), "uv_async_init");
        senders_start(push, NULL);
    }
    server_ready(server_port(fd));
    return uv_run(server.loop, UV_RUN_DEFAULT);
}
