/* Connecting: a socket made and connected at once by plain calls that never wait, then one request
 * that polls for the end of it. IORING_OP_CONNECT would save a call of the five, and need the
 * address kept until it is submitted, also when the submission queue has no room; so not.
 * No memory; the owning thread. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "os/error.h"
#include "port/linux_sock.h"
#include "port/uring.h"
#include "sallyport/error.h"

static void connect_due(struct uring *uring, struct port_sock *sock, int32_t error, int sys_error)
{
    uring_own(sock)->due_error = (int16_t)error;
    uring_own(sock)->due_sys = (int16_t)sys_error;
    uring_due(uring, sock, PORT_CONNECT);
}

void uring_connect(struct port *port, struct port_sock *sock, const struct address *to,
                   const struct addr *from, const struct port_sock_options *options)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    union linux_sockaddr sockaddr;
    socklen_t len = 0;
    int sys_error = 0;
    sock->in_flight |= uring_bit(PORT_CONNECT);
    int fd = linux_connect_socket(to, from, options, &sockaddr, &len, &sys_error);
    if (fd < 0) {
        sock->handle = PORT_NO_HANDLE;
        connect_due(uring, sock, fd, sys_error);
        return;
    }
    sock->handle = fd;
    sock->marks |= URING_HAS_FD;
    if (connect(fd, &sockaddr.any, len) == 0) {
        connect_due(uring, sock, 0, 0);
    } else if (errno == EINPROGRESS || errno == EINTR) {
        uring_start(uring, sock, PORT_CONNECT);
    } else {
        /* EAGAIN: a Unix socket's backlog is full, or there is no local port left */
        sys_error = errno;
        connect_due(uring, sock, sys_error == EAGAIN ? SALLY_EEXHAUSTED : os_error_map(sys_error),
                    sys_error);
        uring_close_fd(uring, sock);
    }
}

bool uring_connect_issue(struct uring *uring, struct port_sock *sock)
{
    struct io_uring_sqe *sqe =
        uring_sqe(uring, IORING_OP_POLL_ADD, (int)sock->handle, uring_data(sock, PORT_CONNECT));
    if (!sqe) return false;
    uint64_t user_data = sqe->user_data;
    io_uring_prep_poll_add(sqe, (int)sock->handle, POLLOUT); /* knows the mask's byte order */
    sqe->user_data = user_data;
    return true;
}

static int pending_error(int fd)
{
    int sys_error = 0;
    socklen_t len = sizeof sys_error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys_error, &len) == 0 ? sys_error : errno;
}

bool uring_connect_done(struct uring *uring, struct port_sock *sock, int res,
                        struct port_event *event)
{
    bool closing = sock->state != URING_OPEN;
    uring_over(sock, PORT_CONNECT);
    if ((res == -EINTR || res == -EAGAIN) && !closing) {
        uring_start(uring, sock, PORT_CONNECT);
        return false;
    }
    int sys_error = res < 0 ? -res : pending_error((int)sock->handle);
    int32_t error = uring_error(-sys_error);
    if (closing && res < 0) error = SALLY_ECANCELED;
    if (!error) error = linux_self_connected((int)sock->handle);
    if (error && !closing) uring_close_fd(uring, sock);
    uring_end(uring, sock, PORT_CONNECT, error, error == SALLY_ECANCELED ? 0 : sys_error, event);
    return true;
}
