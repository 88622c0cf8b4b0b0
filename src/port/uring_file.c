/* Sending a file: one request that polls for room, then sendfile(2) when its completion is taken.
 * The ring has no request that sends a file, and its splice goes through a pipe and always to a
 * worker thread; docs/design/uring.md has what was weighed. No memory; the owning thread. */
#include <poll.h>

#include "port/linux_file.h"
#include "port/uring.h"
#include "sallyport/error.h"

void uring_send_file(struct port *port, struct port_sock *sock, const struct port_file *file)
{
    struct uring *uring = uring_of(port);
    uring_assert_owner(uring);
    sock->in_flight |= uring_bit(PORT_SEND);
    uring_own(sock)->file = file;
    sock->own32 = 0;
    uring_start(uring, sock, PORT_SEND);
}

bool uring_file_issue(struct uring *uring, struct port_sock *sock)
{
    uint64_t user_data = uring_data(sock, URING_FILE);
    struct io_uring_sqe *sqe = uring_sqe(uring, IORING_OP_POLL_ADD, (int)sock->handle, user_data);
    if (!sqe) return false;
    io_uring_prep_poll_add(sqe, (int)sock->handle, POLLOUT); /* knows the mask's byte order */
    sqe->user_data = user_data;
    return true;
}

/* A poll that ends with an error or a hang-up means "try" as well: the call tells the reason. */
bool uring_file_done(struct uring *uring, struct port_sock *sock, int res, struct port_event *event)
{
    uring_over(sock, PORT_SEND);
    if (sock->state != URING_OPEN) {
        uring_end(uring, sock, PORT_SEND, SALLY_ECANCELED, 0, event);
        return true;
    }
    int sys_error = 0;
    int64_t sent = linux_send_file((int)sock->handle, uring_own(sock)->file, &sys_error);
    if (!sent && res >= 0) {
        uring_start(uring, sock, PORT_SEND);
        return false;
    }
    if (!sent) { /* the poll itself has failed, and so would the next */
        sent = uring_error(res);
        sys_error = -res;
    }
    uring_end(uring, sock, PORT_SEND, sent < 0 ? (int32_t)sent : 0, sys_error, event);
    if (sent > 0) event->bytes = (uint32_t)sent;
    return true;
}
