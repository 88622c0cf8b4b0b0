/* Closing in three steps: begin (the peer is told, requests are cancelled), join (the kernel owes
 * nothing more), finish (the descriptor goes, PORT_CLOSE is due). A descriptor that is closed while
 * the kernel still holds a request of it stays open for the peer, and its number may be another
 * socket's when the request goes on. No memory; the owning thread. */
#include <sys/socket.h>
#include <unistd.h>

#include "port/linux_call.h"
#include "port/linux_sock.h"
#include "port/uring.h"

void uring_close(struct port *port, struct port_sock *sock, enum port_close_mode mode)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    unsigned ops = sock->in_flight;
    sock->in_flight |= uring_bit(PORT_CLOSE);
    sock->state = URING_CLOSING;
    if (sock->hears) {
        linux_hold_close(uring_own(sock)->hold);
        uring_own(sock)->hold = NULL;
    }
    if (sock->marks & URING_HAS_FD) {
        if (mode == PORT_CLOSE_RST) {
            linux_reset_on_close((int)sock->handle);
        } else if (ops & (PORT_BIT(PORT_RECV) | PORT_BIT(PORT_SEND))) {
            /* never a listener: that would drop what waits in its backlog before its last
             * connections are handed out */
            (void)shutdown((int)sock->handle, SHUT_RDWR);
        }
    }
    for (unsigned op = 0; op < PORT_CLOSE; op++)
        if (ops & PORT_BIT(op)) uring_stop(uring, sock, (enum port_op)op);
    uring_close_progress(uring, sock);
}

/* The port's PORT_CLOSE becomes takeable in the wait that submits the entry, so by then it is
 * closed. */
void uring_close_fd(struct uring *uring, struct port_sock *sock)
{
    int fd = (int)sock->handle;
    sock->handle = PORT_NO_HANDLE;
    sock->marks &= (uint8_t)~URING_HAS_FD;
    struct io_uring_sqe *sqe = uring_sqe(uring, IORING_OP_CLOSE, fd, uring_data(sock, PORT_CLOSE));
    if (!sqe) {
        linux_close(fd);
        return;
    }
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void uring_close_progress(struct uring *uring, struct port_sock *sock)
{
    const struct uring_sock *own = uring_own(sock);
    if (sock->state != URING_CLOSING || own->armed || own->start) return;
    if (sock->marks & (URING_IN_WORK | URING_STARVED)) return;
    if (uring->chunk.sock == sock)
        return; /* its receive has ended; its bytes are still to be told */
    if (sock->marks & URING_HAS_FD) uring_close_fd(uring, sock);
    sock->state = URING_CLOSED;
    uring_due(uring, sock, PORT_CLOSE);
}
