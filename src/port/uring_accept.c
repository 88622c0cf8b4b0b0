/* Accepting: one multishot request for each listener, armed again exactly when the kernel says that
 * it has ended. Where multishot can't be had a plain accept is armed after each connection; the
 * owner sees no difference. No memory; the owning thread. */
#include <errno.h>
#include <sys/socket.h>

#include "port/linux_sock.h"
#include "port/uring.h"
#include "sallyport/error.h"

/* Where the silent newcomers of a listener wait that accepts with data; the port's poll is armed
 * with the next wait. */
static bool hold_begin(struct uring *uring, struct port_sock *sock)
{
    struct uring_sock *own = uring_own(sock);
    if (linux_holds_open(&uring->holds, uring->port.mem) != 0) return false;
    if (!own->hold) own->hold = linux_hold_open(&uring->holds, sock, own->held_max);
    uring->hold_ready = true; /* who spoke while nobody was accepted */
    return own->hold && linux_hold_watch(own->hold, true) == 0;
}

void uring_accept(struct port *port, struct port_sock *sock)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    sock->in_flight |= uring_bit(PORT_ACCEPT);
    if (sock->hears && !hold_begin(uring, sock)) {
        sock->marks |= URING_BROKEN;
        uring_due(uring, sock, PORT_ACCEPT);
        return;
    }
    uring_start(uring, sock, PORT_ACCEPT);
}

void uring_accept_stop(struct port *port, struct port_sock *sock)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    if (!(sock->in_flight & PORT_BIT(PORT_ACCEPT)) || sock->marks & URING_STOP) return;
    sock->marks |= URING_STOP;
    if (sock->hears && uring_own(sock)->hold) (void)linux_hold_watch(uring_own(sock)->hold, false);
    uring_stop(uring, sock, PORT_ACCEPT);
}

static bool is_multishot(const struct uring *uring, const struct port_sock *sock)
{
    return uring_has(uring, PORT_NO_MULTISHOT_ACCEPT) && !(sock->marks & URING_PLAIN_ACCEPT);
}

bool uring_accept_issue(struct uring *uring, struct port_sock *sock)
{
    struct io_uring_sqe *sqe =
        uring_sqe(uring, IORING_OP_ACCEPT, (int)sock->handle, uring_data(sock, PORT_ACCEPT));
    if (!sqe) return false;
    sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (is_multishot(uring, sock)) sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    return true;
}

/* accept(2) hands over errors that the new connection already had; they say nothing of the
 * listener. */
static bool is_of_one_connection(int res)
{
    switch (-res) {
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case ENOPROTOOPT:
    case EPERM: /* a firewall's */
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
    }
}

static bool accept_continues(struct port_sock *sock)
{
    return sock->state == URING_OPEN && !(sock->marks & URING_STOP);
}

/* The request has ended while the operation goes on, unless the owner wants it to end. */
static void accept_again(struct uring *uring, struct port_sock *sock)
{
    if (accept_continues(sock)) {
        uring_start(uring, sock, PORT_ACCEPT);
    } else {
        uring_due(uring, sock, PORT_ACCEPT);
    }
}

/* False: it has to speak first. */
static bool accepted(struct uring *uring, struct port_sock *sock, int fd, struct port_event *event)
{
    *event = (struct port_event){
        .sock = sock, .op = PORT_ACCEPT, .more = true, .accepted = (port_handle)fd};
    /* it fails for a peer that has gone: ADDR_NONE tells so */
    (void)linux_peer(&uring->port, event->accepted, &event->peer);
    if (!sock->hears) return true;
    struct addr peer = event->peer;
    return linux_hold_judge(uring_own(sock)->hold, sock, fd, &peer, event) == LINUX_HOLD_TOLD;
}

/* One newcomer, and accepting goes on. */
static bool tell_lost(struct port_sock *sock, int res, struct port_event *event)
{
    *event = (struct port_event){.sock = sock,
                                 .op = PORT_ACCEPT,
                                 .more = true,
                                 .error = uring_error(res),
                                 .sys_error = -res,
                                 .accepted = PORT_NO_HANDLE};
    return true;
}

/* The request ended with an error. */
static bool accept_failed(struct uring *uring, struct port_sock *sock, int res,
                          struct port_event *event)
{
    if (res == -EINTR || res == -EAGAIN) {
        accept_again(uring, sock);
        return false;
    }
    if (res == -EINVAL && is_multishot(uring, sock) && accept_continues(sock)) {
        sock->marks |=
            URING_PLAIN_ACCEPT; /* if it isn't that, the plain accept will say it again */
        accept_again(uring, sock);
        return false;
    }
    if (is_of_one_connection(res)) {
        accept_again(uring, sock);
        return tell_lost(sock, res, event);
    }
    bool held = sock->hears && uring_own(sock)->hold && accept_continues(sock);
    if (held && uring_error(res) == SALLY_EEXHAUSTED &&
        linux_hold_cut(uring_own(sock)->hold, event)) {
        accept_again(uring, sock); /* one that is silent made room */
        return true;
    }
    int32_t error = uring_error(res); /* without descriptors or memory: SALLY_EEXHAUSTED */
    uring_end(uring, sock, PORT_ACCEPT, error, error == SALLY_ECANCELED ? 0 : -res, event);
    return true;
}

bool uring_accept_done(struct uring *uring, struct port_sock *sock, int res, uint32_t flags,
                       struct port_event *event)
{
    bool more = flags & IORING_CQE_F_MORE;
    if (!more) uring_over(sock, PORT_ACCEPT);
    if (res >= 0) {
        bool told = accepted(uring, sock, res, event);
        if (!more) accept_again(uring, sock);
        return told;
    }
    if (!more) return accept_failed(uring, sock, res, event);
    return tell_lost(sock, res, event);
}
