/* libev: a read watcher for each connection, and a write watcher that runs only while the peer
 * doesn't take its bytes. libev watches and no more: reading and writing are the program's, and
 * done as in raw_epoll.c. One thread. */
#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inbox.h"
#include "members.h"
#include "outbox.h"
#include "server.h"

struct conn {
    ev_io reads, writes;
    struct outbox box;
    struct inbox *inbox;
    uint32_t place;
};

static struct members members;
static enum server_mode mode;
static char bytes[SERVER_READ_BYTES];

static void conn_close(struct ev_loop *loop, struct conn *conn)
{
    ev_io_stop(loop, &conn->reads);
    ev_io_stop(loop, &conn->writes);
    if (conn->inbox) members_remove(&members, conn->place);
    free(conn->inbox);
    outbox_drop(&conn->box);
    close(conn->reads.fd);
    free(conn);
}

static bool conn_send(struct ev_loop *loop, struct conn *conn, const char *data, uint64_t len)
{
    if (!outbox_send(&conn->box, conn->reads.fd, data, len)) return false;
    if (outbox_is_empty(&conn->box)) return true;
    if (mode == SERVER_ECHO) ev_io_stop(loop, &conn->reads);
    ev_io_start(loop, &conn->writes);
    return true;
}

/* A peer that has failed is told of by its read watcher. */
static void fan_out(void *from, const char *messages, uint64_t len)
{
    for (uint32_t n = 0; n < members.count; n++)
        if (members.all[n] != from) (void)conn_send(EV_DEFAULT, members.all[n], messages, len);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    ssize_t len = recv(watcher->fd, bytes, sizeof bytes, 0);
    (void)events;
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (len > 0 && conn->inbox)
        inbox_take(conn->inbox, bytes, (uint64_t)len, fan_out, conn);
    else if (len <= 0 || !conn_send(loop, conn, bytes, (uint64_t)len))
        conn_close(loop, conn);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    (void)events;
    if (!outbox_flush(&conn->box, watcher->fd)) {
        conn_close(loop, conn);
    } else if (outbox_is_empty(&conn->box)) {
        ev_io_stop(loop, &conn->writes);
        ev_io_start(loop, &conn->reads);
    }
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    for (int n = 0; n < 64; n++) {
        int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct conn *conn = server_memory(1, sizeof *conn);
        if (mode == SERVER_FANOUT) {
            conn->inbox = server_memory(1, sizeof *conn->inbox);
            members_add(&members, conn, &conn->place);
        }
        ev_io_init(&conn->reads, on_readable, fd, EV_READ);
        ev_io_init(&conn->writes, on_writable, fd, EV_WRITE);
        conn->reads.data = conn->writes.data = conn;
        ev_io_start(loop, &conn->reads);
    }
}

int main(int argc, char **argv)
{
    struct server_options options = server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT);
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    ev_io listener;
    if (!loop) server_die("ev_default_loop");
    mode = options.mode;
    int fd = server_listen(options.port);
    ev_io_init(&listener, on_connection, fd, EV_READ);
    ev_io_start(loop, &listener);
    server_ready(server_port(fd));
    ev_run(loop, 0);
    return 0;
}
