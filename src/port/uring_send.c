/* Sending: one request at a time on a socket, for a second one could overtake it. A send may end
 * short, so whatever gets in the way (no room for an entry, a signal) sends the first span alone.
 *
 * Several spans need a message header that lives until the entry is submitted: headers come from
 * the port's arena, which is empty again whenever the submission queue is. The owning thread. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "os/error.h"
#include "port/linux_call.h"
#include "port/uring.h"
#include "sallyport/error.h"

_Static_assert(sizeof(struct span) == sizeof(struct iovec) &&
                   offsetof(struct span, data) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct span, len) == offsetof(struct iovec, iov_len),
               "spans are handed to the kernel as they are");
_Static_assert(sizeof(struct msghdr) + URING_SPANS_MAX * sizeof(struct iovec) <= URING_ARENA_BYTES,
               "one send fits");

enum { SEND_BYTES_MAX = 1 << 30 }; /* a result is an int */

enum { SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };

static __attribute__((noinline)) ssize_t send_many_now(int fd, const struct span *spans,
                                                       unsigned count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)spans,
                         .msg_iovlen = count < URING_SPANS_MAX ? count : URING_SPANS_MAX};
    ssize_t sent;
    do {
        sent = sendmsg(fd, &msg, SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static inline ssize_t send_one_now(int fd, const struct span *span)
{
    ssize_t sent;
    do {
        sent = linux_send(fd, span->data, span->len, SEND_FLAGS);
    } while (sent == -EINTR);
    return sent;
}

static __attribute__((noinline)) int64_t send_refused(int sys, int *sys_error)
{
    if (sys == EAGAIN) return 0;
    if (sys_error) *sys_error = sys;
    return os_error_map(sys);
}

int64_t uring_send_now(struct port *port, struct port_sock *sock, const struct span *spans,
                       unsigned count, int *sys_error)
{
    uring_assert_owner(uring_of(port));
    if (!(port->abilities & PORT_CAN_SEND_NOW)) return 0;
    /* a single event may be answered to thousands: those are a batch again */
    port->abilities &= ~(uint32_t)PORT_CAN_SEND_NOW;
    int fd = (int)sock->handle;
    ssize_t sent = count == 1 ? send_one_now(fd, spans) : send_many_now(fd, spans, count);
    return sent >= 0 ? sent : send_refused((int)-sent, sys_error);
}

bool uring_send_issue(struct uring *uring, struct port_sock *sock)
{
    struct io_uring_sqe *sqe = uring_sqe_free(uring);
    if (!sqe && uring_submit(uring) == 0) sqe = uring_sqe_free(uring);
    if (!sqe) return false;
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .fd = (int)sock->handle,
        .addr = (uint64_t)(uintptr_t)uring_own(sock)->send_data,
        .len = sock->own32,
        .msg_flags = MSG_NOSIGNAL,
        .user_data = uring_data(sock, PORT_SEND),
    };
    return true;
}

/* A header for so many spans, or NULL. */
static struct msghdr *arena_take(struct uring *uring, unsigned count)
{
    uint32_t bytes = (uint32_t)(sizeof(struct msghdr) + count * sizeof(struct iovec));
    if (uring->arena_used + bytes > URING_ARENA_BYTES) (void)uring_submit(uring);
    if (uring->arena_used + bytes > URING_ARENA_BYTES) return NULL;
    struct msghdr *msg = (struct msghdr *)(void *)(uring->arena + uring->arena_used);
    uring->arena_used += bytes;
    return msg;
}

/* The entry is taken after the header: taking it may submit, and so empty the arena, but only when
 * the queue is full. Then the header would be anybody's; so room is made first. */
static bool send_many(struct uring *uring, struct port_sock *sock, const struct span *spans,
                      unsigned count)
{
    if (io_uring_sq_space_left(&uring->ring) == 0 && uring_submit(uring) != 0) return false;
    struct msghdr *msg = arena_take(uring, count);
    if (!msg) return false;
    struct iovec *iov = (struct iovec *)(void *)(msg + 1);
    *msg = (struct msghdr){.msg_iov = iov, .msg_iovlen = count};
    memcpy(iov, spans, count * sizeof *iov);
    struct io_uring_sqe *sqe =
        uring_sqe(uring, IORING_OP_SENDMSG, (int)sock->handle, uring_data(sock, PORT_SEND));
    if (!sqe) return false;
    sqe->addr = (uint64_t)(uintptr_t)msg;
    sqe->len = 1;
    sqe->msg_flags = MSG_NOSIGNAL;
    uring_own(sock)->armed |= uring_bit(PORT_SEND);
    return true;
}

void uring_send(struct port *port, struct port_sock *sock, const struct span *spans, unsigned count)
{
    struct uring *uring = uring_of(port);
    struct uring_sock *own = uring_own(sock);
    uring_assert_owner(uring);
    sock->in_flight |= uring_bit(PORT_SEND);
    own->send_data = spans[0].data;
    sock->own32 = spans[0].len > SEND_BYTES_MAX ? SEND_BYTES_MAX : (uint32_t)spans[0].len;
    if (count > URING_SPANS_MAX) count = URING_SPANS_MAX;
    if (count > 1 && send_many(uring, sock, spans, count)) return;
    if (uring_send_issue(uring, sock)) {
        own->armed |= uring_bit(PORT_SEND);
    } else {
        uring_start(uring, sock, PORT_SEND);
    }
}

bool uring_send_done(struct uring *uring, struct port_sock *sock, int res, struct port_event *event)
{
    uring_over(sock, PORT_SEND);
    bool again = res == -EINTR || res == -EAGAIN;
    if (again && sock->state == URING_OPEN) {
        uring_start(uring, sock, PORT_SEND);
        return false;
    }
    if (res <= 0) {
        int32_t error = again ? SALLY_ECANCELED : res < 0 ? uring_error(res) : SALLY_ESYSTEM;
        uring_end(uring, sock, PORT_SEND, error, error == SALLY_ECANCELED ? 0 : -res, event);
        return true;
    }
    uring_end(uring, sock, PORT_SEND, 0, 0, event);
    event->bytes = (uint32_t)res;
    return true;
}

int uring_shutdown(struct port *port, struct port_sock *sock)
{
    uring_assert_owner(uring_of(port));
    return shutdown((int)sock->handle, SHUT_WR) == 0 ? 0 : os_error_map(errno);
}
