/* The least that epoll allows: level-triggered, one read of up to 64 KiB for each event, the write
 * tried at once, EPOLLOUT only while the peer doesn't take it. No ids, no timers, no limits. A
 * connection is an entry of a table by descriptor; nothing is allocated for it. Messages from other
 * threads come by a locked queue and an eventfd, and those of one turn to one connection go out in
 * one write. One thread. */
#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inbox.h"
#include "lockq.h"
#include "outbox.h"
#include "senders.h"
#include "server.h"

enum { EVENTS_MAX = 512, ACCEPTS_MAX = 64 };

struct loop {
    struct outbox *conns; /* by descriptor */
    int epoll;
    int listener;
    enum server_mode mode;
    char bytes[SERVER_READ_BYTES];

    /* Only where messages are handed on. */
    struct inbox *inboxes; /* by descriptor */
    bool *is_open, *is_dirty;
    int *dirty;  /* connections that have got messages in this turn */
    int fds_end; /* past the highest that was open */
    int wake;
};

struct source {
    struct loop *loop;
    int fd;
};

static void watch(struct loop *loop, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop->epoll, op, fd, &event)) server_die("epoll_ctl");
}

static void conn_close(struct loop *loop, int fd)
{
    outbox_drop(&loop->conns[fd]);
    if (loop->is_open) loop->is_open[fd] = false;
    close(fd);
}

static void conn_join(struct loop *loop, int fd)
{
    loop->inboxes[fd].len = 0;
    loop->is_open[fd] = true;
    if (fd >= loop->fds_end) loop->fds_end = fd + 1;
    if (loop->mode == SERVER_THREADS) senders_add((uint64_t)fd);
}

static void accept_some(struct loop *loop)
{
    for (int n = 0; n < ACCEPTS_MAX; n++) {
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN);
        if (loop->mode != SERVER_ECHO) conn_join(loop, fd);
    }
}

/* A connection that has failed is told of by its next event. */
static void hand_on(struct loop *loop, int fd, const char *messages, uint64_t len)
{
    struct outbox *box = &loop->conns[fd];
    bool waits = !outbox_is_empty(box);
    if (outbox_send(box, fd, messages, len) && !waits && !outbox_is_empty(box))
        watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
}

static void fan_out(void *context, const char *messages, uint64_t len)
{
    struct source *source = context;
    for (int fd = 0; fd < source->loop->fds_end; fd++)
        if (source->loop->is_open[fd] && fd != source->fd) hand_on(source->loop, fd, messages, len);
}

static bool echo(struct loop *loop, int fd, uint64_t len)
{
    struct outbox *box = &loop->conns[fd];
    if (!outbox_send(box, fd, loop->bytes, len)) return false;
    /* It reads no further until the peer has taken its due. */
    if (!outbox_is_empty(box)) watch(loop, EPOLL_CTL_MOD, fd, EPOLLOUT);
    return true;
}

static void conn_read(struct loop *loop, int fd)
{
    ssize_t len = recv(fd, loop->bytes, sizeof loop->bytes, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (len > 0 && loop->mode != SERVER_ECHO)
        inbox_take(&loop->inboxes[fd], loop->bytes, (uint64_t)len, fan_out,
                   &(struct source){loop, fd});
    else if (len <= 0 || !echo(loop, fd, (uint64_t)len))
        conn_close(loop, fd);
}

static void conn_write(struct loop *loop, int fd)
{
    struct outbox *box = &loop->conns[fd];
    if (!outbox_flush(box, fd))
        conn_close(loop, fd);
    else if (outbox_is_empty(box))
        watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN);
}

static enum senders_answer push(void *context, uint64_t id, const void *message)
{
    struct loop *loop = context;
    bool wake;
    if (!lockq_push(id, message, &wake)) return SENDERS_FULL;
    if (wake && eventfd_write(loop->wake, 1)) return SENDERS_GONE;
    return SENDERS_TAKEN;
}

/* First all of them into the connections' boxes, then each box in one write. */
static void take_messages(struct loop *loop)
{
    eventfd_t times;
    uint32_t count, dirty = 0;
    if (eventfd_read(loop->wake, &times)) return;
    struct lockq_entry *entries = lockq_take(&count);
    for (uint32_t n = 0; n < count; n++) {
        int fd = (int)entries[n].id;
        if (!loop->is_open[fd]) continue;
        if (!loop->is_dirty[fd] && outbox_is_empty(&loop->conns[fd])) {
            loop->is_dirty[fd] = true;
            loop->dirty[dirty++] = fd;
        }
        outbox_add(&loop->conns[fd], entries[n].bytes, SERVER_MESSAGE_BYTES);
    }
    while (dirty > 0) {
        int fd = loop->dirty[--dirty];
        loop->is_dirty[fd] = false;
        if (outbox_flush(&loop->conns[fd], fd) && !outbox_is_empty(&loop->conns[fd]))
            watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    }
}

static void loop_create(struct loop *loop, const struct server_options *options)
{
    unsigned fds_max = server_fds_max();
    loop->mode = options->mode;
    loop->conns = server_memory(fds_max, sizeof *loop->conns);
    loop->listener = server_listen(options->port);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) server_die("epoll_create1");
    watch(loop, EPOLL_CTL_ADD, loop->listener, EPOLLIN);
    if (loop->mode == SERVER_ECHO) return;
    loop->inboxes = server_memory(fds_max, sizeof *loop->inboxes);
    loop->is_open = server_memory(fds_max, sizeof *loop->is_open);
    loop->is_dirty = server_memory(fds_max, sizeof *loop->is_dirty);
    loop->dirty = server_memory(fds_max, sizeof *loop->dirty);
    if (loop->mode != SERVER_THREADS) return;
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake < 0) server_die("eventfd");
    watch(loop, EPOLL_CTL_ADD, loop->wake, EPOLLIN);
    lockq_create();
    senders_start(push, loop);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    struct server_options options =
        server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT | SERVER_THREADS);
    loop_create(&loop, &options);
    server_ready(server_port(loop.listener));
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(loop.epoll, events, EVENTS_MAX, -1);
        for (int n = 0; n < count; n++) {
            int fd = events[n].data.fd;
            if (fd == loop.listener)
                accept_some(&loop);
            else if (loop.wake && fd == loop.wake)
                take_messages(&loop);
            else if (events[n].events & EPOLLOUT)
                conn_write(&loop, fd);
            else
                conn_read(&loop, fd);
        }
    }
}
