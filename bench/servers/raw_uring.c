/* The least that io_uring allows, as far as is known: multishot accept, multishot receive into a
 * shared ring of buffers (bundles where the kernel has them), the echo sent out of those buffers by
 * one vectored send, at most one in flight for each connection because two could overtake each
 * other. No ids, no timers, no limits. One thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "server.h"
#include "uring_fanout.h"
#include "uring_loop.h"
#include "uring_pool.h"

enum { SEND_BUFFERS_MAX = 64 };

/* The buffers that wait for a connection's peer, linked by `next`; the first `sending` of them are
 * in the kernel's hands. */
struct conn {
    uint16_t first, last;
    uint16_t sending;
    bool ended;     /* nothing more is received */
    uint32_t bytes; /* of the buffers in the kernel's hands */
};

struct echo {
    struct uring_loop loop;
    struct uring_pool pool;
    struct conn *conns; /* by descriptor */
    int *starved;       /* a ring of connections that found no buffer, first come first served */
    uint32_t starved_max, starved_head, starved_tail;
    uint32_t submits; /* of the loop, when the vectors were last all free */
    uint32_t vectors_used;
    uint32_t messages_used;
    uint16_t next[POOL_BUFFERS];
    uint16_t len[POOL_BUFFERS];
    /* Read by the kernel at the submit; a buffer is in one send at a time, so these are enough. */
    struct iovec vectors[POOL_BUFFERS];
    struct msghdr messages[POOL_BUFFERS];
};

/* A connection's descriptor is free for another only when nothing is in flight on it. */
static void conn_finish(struct echo *echo, int fd)
{
    struct conn *conn = &echo->conns[fd];
    if (!conn->ended || conn->sending) return;
    for (uint16_t n = conn->first; n != POOL_NONE; n = echo->next[n])
        uring_pool_give(&echo->pool, n);
    conn->first = POOL_NONE;
    uring_loop_close(&echo->loop, fd);
}

/* All that waits, as one send; by itself without a vector, as most are. */
static void conn_send(struct echo *echo, int fd)
{
    struct conn *conn = &echo->conns[fd];
    struct io_uring_sqe *sqe = uring_loop_entry(&echo->loop, URING_SEND, fd);
    if (echo->submits != echo->loop.submits) {
        echo->submits = echo->loop.submits;
        echo->vectors_used = echo->messages_used = 0;
    }
    uint64_t user_data = sqe->user_data;
    uint16_t first = conn->first;
    if (echo->next[first] == POOL_NONE) {
        conn->sending = 1;
        conn->bytes = echo->len[first];
        io_uring_prep_send(sqe, fd, uring_pool_at(&echo->pool, first), conn->bytes,
                           MSG_NOSIGNAL | MSG_WAITALL);
        sqe->user_data = user_data;
        return;
    }
    struct iovec *vectors = &echo->vectors[echo->vectors_used];
    conn->sending = 0;
    conn->bytes = 0;
    for (uint16_t n = first; n != POOL_NONE && conn->sending < SEND_BUFFERS_MAX;
         n = echo->next[n]) {
        vectors[conn->sending++] = (struct iovec){uring_pool_at(&echo->pool, n), echo->len[n]};
        conn->bytes += echo->len[n];
    }
    echo->vectors_used += conn->sending;
    struct msghdr *message = &echo->messages[echo->messages_used++];
    *message = (struct msghdr){.msg_iov = vectors, .msg_iovlen = conn->sending};
    io_uring_prep_sendmsg(sqe, fd, message, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = user_data;
}

static void conn_sent(struct echo *echo, int fd, int res)
{
    struct conn *conn = &echo->conns[fd];
    for (; conn->sending > 0; conn->sending--) {
        uint16_t buffer = conn->first;
        conn->first = echo->next[buffer];
        uring_pool_give(&echo->pool, buffer);
    }
    /* The failed connection's receive ends by this, and with it the connection. */
    if (res < 0 || (uint32_t)res < conn->bytes) shutdown(fd, SHUT_RDWR);
    if (conn->first != POOL_NONE && res >= 0)
        conn_send(echo, fd);
    else
        conn_finish(echo, fd);
}

static void conn_took(struct echo *echo, struct conn *conn, uint32_t bytes)
{
    while (bytes > 0) {
        uint16_t buffer = uring_pool_take(&echo->pool);
        uint32_t len = bytes < POOL_BUFFER_BYTES ? bytes : POOL_BUFFER_BYTES;
        echo->len[buffer] = (uint16_t)len;
        echo->next[buffer] = POOL_NONE;
        if (conn->first == POOL_NONE)
            conn->first = buffer;
        else
            echo->next[conn->last] = buffer;
        conn->last = buffer;
        bytes -= len;
    }
}

static void conn_received(struct echo *echo, const struct io_uring_cqe *cqe)
{
    int fd = uring_fd_of(cqe);
    struct conn *conn = &echo->conns[fd];
    if (cqe->res > 0) {
        conn_took(echo, conn, (uint32_t)cqe->res);
        if (!conn->sending) conn_send(echo, fd);
    }
    if (cqe->flags & IORING_CQE_F_MORE) return;
    if (cqe->res > 0) {
        uring_loop_recv(&echo->loop, fd);
    } else if (cqe->res == -ENOBUFS) {
        echo->starved[echo->starved_tail++ % echo->starved_max] = fd;
    } else {
        conn->ended = true;
        conn_finish(echo, fd);
    }
}

static void accepted(struct echo *echo, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        echo->conns[cqe->res] = (struct conn){.first = POOL_NONE};
        uring_loop_recv(&echo->loop, cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) uring_loop_accept(&echo->loop, uring_fd_of(cqe));
}

static void dispatch(struct echo *echo, const struct io_uring_cqe *cqe)
{
    enum uring_kind kind = uring_kind_of(cqe);
    if (kind == URING_RECV)
        conn_received(echo, cqe);
    else if (kind == URING_SEND)
        conn_sent(echo, uring_fd_of(cqe), cqe->res);
    else if (kind == URING_ACCEPT)
        accepted(echo, cqe);
}

static void turn(struct echo *echo)
{
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;
    uring_loop_wait(&echo->loop);
    io_uring_for_each_cqe(&echo->loop.ring, head, cqe)
    {
        dispatch(echo, cqe);
        count++;
    }
    io_uring_cq_advance(&echo->loop.ring, count);
    uring_pool_publish(&echo->pool);
    uint32_t free = uring_pool_free(&echo->pool);
    for (; free > 0 && echo->starved_head != echo->starved_tail; free--)
        uring_loop_recv(&echo->loop, echo->starved[echo->starved_head++ % echo->starved_max]);
}

int main(int argc, char **argv)
{
    static struct echo echo;
    struct server_options options = server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT);
    int listener = server_listen(options.port);
    /* Of a non-blocking socket io_uring reports EAGAIN instead of waiting. */
    if (fcntl(listener, F_SETFL, 0)) server_die("fcntl");
    if (options.mode == SERVER_FANOUT) uring_fanout(listener);
    echo.starved_max = server_fds_max();
    echo.conns = server_memory(echo.starved_max, sizeof *echo.conns);
    echo.starved = server_memory(echo.starved_max, sizeof *echo.starved);
    uring_loop_create(&echo.loop);
    uring_pool_create(&echo.pool, &echo.loop.ring);
    uring_loop_accept(&echo.loop, listener);
    server_ready(server_port(listener));
    for (;;) turn(&echo);
}
