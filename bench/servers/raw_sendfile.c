/* The least that sending a file costs: epoll, level-triggered, sendfile(2) from the page cache
 * until the socket is full. It answers whatever ends with an empty line by one file of 1 MiB, which
 * is no HTTP server, but the same bytes as one. One thread. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

enum { EVENTS_MAX = 512, ACCEPTS_MAX = 64, REQUEST_MAX = 4096 };

struct loop {
    int epoll, listener, file;
    off_t *sent; /* of the file, by descriptor */
    char head[64];
    int head_bytes;
};

static void watch(const struct loop *loop, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop->epoll, op, fd, &event)) server_die("epoll_ctl");
}

static void accept_some(struct loop *loop)
{
    for (int n = 0; n < ACCEPTS_MAX; n++) {
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        loop->sent[fd] = SERVER_FILE_BYTES;
        watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* False when the connection is over. */
static bool send_rest(struct loop *loop, int fd, bool waits)
{
    off_t *sent = &loop->sent[fd];
    while (*sent < SERVER_FILE_BYTES) {
        ssize_t len = sendfile(fd, loop->file, sent, (size_t)(SERVER_FILE_BYTES - *sent));
        if (len < 0 && errno == EAGAIN) {
            if (!waits) watch(loop, EPOLL_CTL_MOD, fd, EPOLLOUT);
            return true;
        }
        if (len <= 0) return false;
    }
    if (waits) watch(loop, EPOLL_CTL_MOD, fd, EPOLLIN);
    return true;
}

/* A request comes whole, and the next after the answer: the generator does it so. */
static bool answer(struct loop *loop, int fd)
{
    char request[REQUEST_MAX];
    ssize_t len = recv(fd, request, sizeof request, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (len < 4 || memcmp(request + len - 4, "\r\n\r\n", 4)) return false;
    ssize_t head_bytes = loop->head_bytes;
    if (send(fd, loop->head, (size_t)head_bytes, MSG_NOSIGNAL | MSG_MORE) != head_bytes)
        return false;
    loop->sent[fd] = 0;
    return send_rest(loop, fd, false);
}

static void turn(struct loop *loop)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(loop->epoll, events, EVENTS_MAX, -1);
    for (int n = 0; n < count; n++) {
        int fd = events[n].data.fd;
        bool goes_on = true;
        if (fd == loop->listener)
            accept_some(loop);
        else if (loop->sent[fd] < SERVER_FILE_BYTES)
            goes_on = send_rest(loop, fd, true);
        else
            goes_on = answer(loop, fd);
        if (!goes_on) close(fd);
    }
}

/* A file without a name, of zeros that are really in the page cache. */
static int file_make(void)
{
    static char zeros[SERVER_FILE_BYTES];
    FILE *file = tmpfile();
    if (!file || fwrite(zeros, 1, sizeof zeros, file) != sizeof zeros || fflush(file))
        server_die("the file");
    return fileno(file);
}

int main(int argc, char **argv)
{
    struct server_options options = server_options_read(argc, argv, SERVER_FILES);
    struct loop loop = {.epoll = epoll_create1(EPOLL_CLOEXEC), .file = file_make()};
    if (loop.epoll < 0) server_die("epoll_create1");
    loop.listener = server_listen(options.port);
    loop.sent = server_memory(server_fds_max(), sizeof *loop.sent);
    loop.head_bytes = snprintf(loop.head, sizeof loop.head,
                               "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SERVER_FILE_BYTES);
    watch(&loop, EPOLL_CTL_ADD, loop.listener, EPOLLIN);
    server_ready(server_port(loop.listener));
    for (;;) turn(&loop);
}
