/* The least that epoll allows: level-triggered, one read of up to 64 KiB for each event, the write
 * tried at once, EPOLLOUT only while the peer doesn't take it. No ids, no timers, no limits. A
 * connection is an entry of a table by descriptor; nothing is allocated for it. One thread. */
#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "outbox.h"
#include "server.h"

enum { EVENTS_MAX = 512, ACCEPTS_MAX = 64 };

struct loop {
    struct outbox *conns; /* by descriptor */
    int epoll;
    int listener;
    char bytes[SERVER_READ_BYTES];
};

static void watch(struct loop *loop, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop->epoll, op, fd, &event)) server_die("epoll_ctl");
}

static void conn_close(struct loop *loop, int fd)
{
    outbox_drop(&loop->conns[fd]);
    close(fd);
}

static void accept_some(struct loop *loop)
{
    for (int n = 0; n < ACCEPTS_MAX; n++) {
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void conn_read(struct loop *loop, int fd)
{
    struct outbox *box = &loop->conns[fd];
    ssize_t len = recv(fd, loop->bytes, sizeof loop->bytes, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (len <= 0 || !outbox_send(box, fd, loop->bytes, (uint64_t)len)) {
        conn_close(loop, fd);
        return;
    }
    /* It reads no further until the peer has taken its due. */
    if (!outbox_is_empty(box)) watch(loop, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void conn_write(struct loop *loop, int fd)
{
    struct outbox *box = &loop->conns[fd];
    if (!outbox_flush(box, fd))
        conn_close(loop, fd);
    else if (outbox_is_empty(box))
        watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    struct server_options options = server_options_read(argc, argv, SERVER_ECHO);
    loop.conns = server_memory(server_fds_max(), sizeof *loop.conns);
    loop.listener = server_listen(options.port);
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epoll < 0) server_die("epoll_create1");
    watch(&loop, EPOLL_CTL_ADD, loop.listener, EPOLLIN);
    server_ready(server_port(loop.listener));
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(loop.epoll, events, EVENTS_MAX, -1);
        for (int n = 0; n < count; n++) {
            int fd = events[n].data.fd;
            if (fd == loop.listener)
                accept_some(&loop);
            else if (events[n].events & EPOLLOUT)
                conn_write(&loop, fd);
            else
                conn_read(&loop, fd);
        }
    }
}
