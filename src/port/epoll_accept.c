/* Newcomers on epoll: taken as they come, a burst of a listener at a time. */
#include <errno.h>
#include <sys/socket.h>

#include "os/error.h"
#include "port/epoll.h"
#include "port/linux_call.h"
#include "port/linux_sock.h"
#include "sallyport/error.h"

/* Whether a failed accept cost one connection only. Linux hands on what the network has against the
 * connection that it took off the queue. */
static bool accept_goes_on(int sys)
{
    switch (sys) {
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ETIMEDOUT:
    case EPERM: /* a firewall's rule */ return true;
    default: return false;
    }
}

static bool is_used_up(int sys)
{
    return sys == EMFILE || sys == ENFILE || sys == ENOBUFS || sys == ENOMEM;
}

static void event_accept_failed(struct port_event *event, struct port_sock *sock, int sys)
{
    int error = is_used_up(sys) ? SALLY_EEXHAUSTED : os_error_map(sys);
    epoll_event_final(event, sock, PORT_ACCEPT, error, sys);
    if (!accept_goes_on(sys)) return;
    event->more = true;
    sock->in_flight |= (uint8_t)PORT_BIT(PORT_ACCEPT);
}

/* With a listener that accepts with data: false when it is the listener's own matter. */
static bool accept_held(struct linux_hold *hold, struct port_sock *sock, int fd,
                        const union linux_sockaddr *from, socklen_t len, struct port_event *event)
{
    struct addr peer = {0};
    if (fd < 0) return is_used_up(-fd) && linux_hold_cut(hold, event);
    linux_addr_from(&peer, &from->any, len);
    event->op = PORT_OPS; /* none */
    (void)linux_hold_judge(hold, sock, fd, &peer, event);
    return true;
}

/* Connections until there are none, the events are full, or the burst is over. */
unsigned epoll_accept_take(struct epoll_port *port, struct port_sock *sock,
                           struct port_event *events, unsigned max)
{
    struct linux_hold *hold = sock->hears ? own_of(sock)->hold : NULL;
    unsigned count = 0;
    while (count < max && port->burst) {
        union linux_sockaddr peer;
        socklen_t len = sizeof peer;
        port->burst--;
        int fd = linux_accept((int)sock->handle, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -EINTR) continue;
        if (fd == -EAGAIN) {
            port->burst = 0;
            break;
        }
        struct port_event *event = &events[count++];
        if (hold && accept_held(hold, sock, fd, &peer, len, event)) {
            if (event->op == PORT_OPS) count--;
            continue;
        }
        if (fd < 0) {
            event_accept_failed(event, sock, -fd);
            if (event->more) continue;
            port->burst = 0;
            (void)epoll_arm(port, sock); /* out of the set until it is started again */
            break;
        }
        *event = (struct port_event){.sock = sock, .op = PORT_ACCEPT, .more = true, .accepted = fd};
        linux_addr_from(&event->peer, &peer.any, len);
    }
    return count;
}
