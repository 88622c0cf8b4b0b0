/* Receiving. The fast way is one multishot request for each connection, with buffers that the
 * kernel takes from the port's ring, several at once if need be (a bundle). A request may end at
 * any time for reasons of the kernel's (no buffer, a full completion queue); the operation goes on
 * until the stream ends, fails or is stopped. Without a buffer ring the port polls and reads
 * itself.
 *
 * A bundle's completion names its first buffer only; the others are those that follow in the ring,
 * whose order uring_bufs.c keeps. One event is made for each run of them that lies side by side,
 * and port_take may stop between them. The owning thread. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "os/error.h"
#include "port/linux_call.h"
#include "port/uring.h"
#include "sallyport/error.h"

/* Behind those that wait for a buffer already: one that is always readable would get to the buffers
 * before them each time, for its request is submitted first. */
static void recv_start(struct uring *uring, struct port_sock *sock)
{
    if (uring->starved.count) {
        uring_starve(uring, sock);
    } else {
        uring_start(uring, sock, PORT_RECV);
    }
}

void uring_recv(struct port *port, struct port_sock *sock)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    sock->in_flight |= uring_bit(PORT_RECV);
    uring_own(sock)->starved_next = 0; /* of an earlier receive that was fed and stopped */
    recv_start(uring, sock);
}

void uring_recv_stop(struct port *port, struct port_sock *sock)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    if (!(sock->in_flight & PORT_BIT(PORT_RECV)) || sock->marks & URING_STOP) return;
    sock->marks |= URING_STOP;
    uring_stop(uring, sock, PORT_RECV);
}

/* While others wait for a buffer each receive has a ration and goes behind them again: a multishot
 * receive of one that is always readable would take all that come back, each time (U2). Where the
 * kernel knows no rations it is one buffer. */
static void recv_ration(const struct uring *uring, struct io_uring_sqe *sqe)
{
    if (uring_has(uring, PORT_NO_RATION)) {
        sqe->ioprio = IORING_RECV_MULTISHOT | URING_RECV_BUNDLE;
        sqe->file_index = uring->bufs.ration; /* "optlen" in later headers */
    } else {
        sqe->len = uring->bufs.bytes;
    }
}

bool uring_recv_issue(struct uring *uring, struct port_sock *sock)
{
    int fd = (int)sock->handle;
    uint64_t user_data = uring_data(sock, PORT_RECV);
    bool ring = uring_has(uring, PORT_NO_BUF_RING);
    struct io_uring_sqe *sqe =
        uring_sqe(uring, ring ? IORING_OP_RECV : IORING_OP_POLL_ADD, fd, user_data);
    if (!sqe) return false;
    if (!ring) {
        io_uring_prep_poll_add(sqe, fd, POLLIN);
        sqe->user_data = user_data;
        return true;
    }
    sqe->flags = IOSQE_BUFFER_SELECT; /* of group 0 */
    if (!uring_has(uring, PORT_NO_MULTISHOT_RECV) || uring->starved.count) {
        recv_ration(uring, sqe);
    } else if (uring_has(uring, PORT_NO_BUNDLES)) {
        sqe->ioprio = IORING_RECV_MULTISHOT | URING_RECV_BUNDLE;
    } else {
        sqe->ioprio = IORING_RECV_MULTISHOT;
    }
    return true;
}

static bool recv_continues(const struct port_sock *sock)
{
    return sock->state == URING_OPEN && !(sock->marks & (URING_STOP | URING_BROKEN));
}

/* The request has ended without a word for the owner. */
static void recv_again(struct uring *uring, struct port_sock *sock)
{
    if (recv_continues(sock)) {
        recv_start(uring, sock);
    } else {
        uring_due(uring, sock, PORT_RECV);
    }
}

/* The request has ended with bytes. A multishot one does so when it has taken the last buffer, or
 * its ration, and others that are ready found none: they may not have told it yet, so it waits like
 * them. */
static void recv_after_bytes(struct uring *uring, struct port_sock *sock)
{
    if (recv_continues(sock) && uring_has(uring, PORT_NO_MULTISHOT_RECV)) {
        counter_add(&uring->port.counters.buf_shortages, 1);
        uring_starve(uring, sock);
    } else {
        recv_again(uring, sock);
    }
}

/* The last completion of the request, without bytes: EOF, an error, or one that the port bears
 * itself. True when it is the owner's. */
static bool recv_ended(struct uring *uring, struct port_sock *sock, int res,
                       struct port_event *event)
{
    if (sock->marks & URING_BROKEN) {
        uring_end(uring, sock, PORT_RECV, SALLY_ESYSTEM, EIO, event);
        return true;
    }
    if (res == -EINTR || res == -EAGAIN) {
        recv_again(uring, sock);
        return false;
    }
    if (res == -ENOBUFS) {
        if (recv_continues(sock)) {
            counter_add(&uring->port.counters.buf_shortages, 1);
            uring_starve(uring, sock);
        } else {
            uring_due(uring, sock, PORT_RECV);
        }
        return false;
    }
    int32_t error = uring_error(res);
    /* our own shutdown looks like the peer's end of the stream */
    if (res == 0 && sock->state != URING_OPEN) error = SALLY_ECANCELED;
    uring_end(uring, sock, PORT_RECV, error, error && error != SALLY_ECANCELED ? -res : 0, event);
    return true;
}

/* The kernel received bytes and the port doesn't know where: the stream has a hole, so it ends. */
static bool recv_broken(struct uring *uring, struct port_sock *sock, bool last,
                        struct port_event *event)
{
    counter_add(&uring->port.counters.stray_events, 1);
    sock->marks |= URING_BROKEN;
    if (last) return recv_ended(uring, sock, 0, event);
    uring_stop(uring, sock, PORT_RECV);
    return false;
}

bool uring_recv_next(struct uring *uring, struct port_event *event)
{
    struct uring_chunk *chunk = &uring->chunk;
    struct port_sock *sock = chunk->sock;
    uint32_t buf, bytes = chunk->left;
    uint32_t places = uring_bufs_lend(uring, chunk->place, &buf, &bytes);
    if (!places) {
        chunk->sock = NULL;
        return recv_broken(uring, sock, chunk->last, event);
    }
    chunk->left -= bytes;
    chunk->place = (uint16_t)(chunk->place + places);
    uring_data_event(sock, buf, uring_bufs_at(&uring->bufs, buf), bytes, event);
    if (chunk->left == 0) {
        chunk->sock = NULL;
        if (chunk->last) recv_after_bytes(uring, sock);
    }
    return true;
}

/* Without a buffer ring: the socket is readable. */
static bool recv_direct(struct uring *uring, struct port_sock *sock, struct port_event *event)
{
    if (!recv_continues(sock)) return recv_ended(uring, sock, -ECANCELED, event);
    uint32_t buf;
    unsigned char *data = uring_bufs_pop(uring, &buf);
    if (!data) return recv_ended(uring, sock, -ENOBUFS, event);
    ssize_t got = linux_ring_recv((int)sock->handle, data, uring->bufs.bytes, MSG_DONTWAIT);
    if (got <= 0) {
        uring_bufs_release(&uring->port, buf, data);
        return recv_ended(uring, sock, (int)got, event);
    }
    uring_fed(uring, sock, (uint32_t)got); /* it had its turn: behind the others now */
    uring_data_event(sock, buf, data, (uint32_t)got, event);
    recv_again(uring, sock);
    return true;
}

/* Bytes behind a hole. */
static void recv_drop(struct uring *uring, uint32_t buf, uint32_t left)
{
    uint16_t place = uring->bufs.place[buf];
    while (left > 0) {
        uint32_t bytes = left;
        uint32_t places = uring_bufs_lend(uring, place, &buf, &bytes);
        if (!places) return;
        uring_bufs_release(&uring->port, buf, uring_bufs_at(&uring->bufs, buf));
        place = (uint16_t)(place + places);
        left -= bytes;
    }
}

bool uring_recv_done(struct uring *uring, struct port_sock *sock, int res, uint32_t flags,
                     struct port_event *event)
{
    bool last = !(flags & IORING_CQE_F_MORE);
    uint32_t buf = flags >> IORING_CQE_BUFFER_SHIFT;
    if (last) uring_over(sock, PORT_RECV);
    if (!uring_has(uring, PORT_NO_BUF_RING)) {
        return res < 0 ? recv_ended(uring, sock, res, event) : recv_direct(uring, sock, event);
    }
    if (res > 0) {
        uring_fed(uring, sock, (uint32_t)res);
        if (!(flags & IORING_CQE_F_BUFFER) || !uring_bufs_known(uring, buf))
            return recv_broken(uring, sock, last, event);
        if (sock->marks & URING_BROKEN) {
            recv_drop(uring, buf, (uint32_t)res);
            return last && recv_ended(uring, sock, 0, event);
        }
        uring->chunk = (struct uring_chunk){
            .sock = sock, .left = (uint32_t)res, .place = uring->bufs.place[buf], .last = last};
        return uring_recv_next(uring, event);
    }
    if (flags & IORING_CQE_F_BUFFER) uring_bufs_unused(uring, buf);
    if (!last) return false;
    return recv_ended(uring, sock, res, event);
}
