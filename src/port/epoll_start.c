/* The epoll port's starting side: interest, the list of what is ended and waits to be handed out,
 * the list of sockets that wait for a buffer, and the calls that start, stop and close. It
 * allocates nothing. Only the thread that owns the port comes here. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/error.h"
#include "port/epoll.h"
#include "port/linux_call.h"
#include "port/linux_sock.h"
#include "sallyport/error.h"

_Static_assert(sizeof(struct span) == sizeof(struct iovec) &&
                   offsetof(struct span, data) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct span, len) == offsetof(struct iovec, iov_len),
               "spans go to the kernel as they are");

enum { SEND_FLAGS = MSG_NOSIGNAL | MSG_DONTWAIT, SEND_SPANS_MAX = 1024 }; /* IOV_MAX */

/* --- interest --- */

static uint32_t interest_of(struct port_sock *sock)
{
    uint32_t ops = ops_parked(sock);
    uint32_t interest = 0;
    if ((ops & EPOLL_IN_OPS) && !(sock->marks & EPOLL_IN_STARVED)) interest |= EPOLLIN;
    if (ops & EPOLL_OUT_OPS) interest |= EPOLLOUT;
    return interest;
}

/* With nothing to wait for the descriptor leaves the set: a hang-up is told also to who asks for
 * nothing, in every turn. */
int epoll_arm(struct epoll_port *port, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    uint32_t interest = interest_of(sock);
    if (interest == own->armed) return 0;
    struct epoll_event event = {
        .events = interest,
        .data.u64 = (uint64_t)slot_generation(&sock->slot) << 32 | sock->slot.index,
    };
    int op = !own->armed ? EPOLL_CTL_ADD : interest ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (epoll_ctl(port->epoll_fd, op, (int)sock->handle, &event) != 0) return errno;
    own->armed = (uint8_t)interest;
    return 0;
}

void epoll_arm_for(struct epoll_port *port, struct port_sock *sock, enum port_op op)
{
    if (!(interest_of(sock) & ~(uint32_t)own_of(sock)->armed)) return;
    int sys = epoll_arm(port, sock);
    if (!sys) return;
    bool used_up = sys == ENOMEM || sys == ENOSPC; /* ENOSPC: max_user_watches */
    epoll_end(port, sock, op, used_up ? SALLY_EEXHAUSTED : os_error_map(sys), sys);
}

/* --- lists --- */

void epoll_tell(struct epoll_port *port)
{
    if (port->polled) port->port.ops->wake(&port->port);
}

void epoll_end(struct epoll_port *port, struct port_sock *sock, enum port_op op, int error,
               int sys_error)
{
    struct epoll_own *own = own_of(sock);
    assert((sock->in_flight & PORT_BIT(op)) && !(own->due & PORT_BIT(op)));
    own->due |= (uint8_t)PORT_BIT(op);
    if (PORT_BIT(op) & EPOLL_IN_OPS) {
        own->in_error = (int16_t)error;
        own->in_errno = (int16_t)sys_error;
    } else if (PORT_BIT(op) & EPOLL_OUT_OPS) {
        own->out_error = (int16_t)error;
        own->out_errno = (int16_t)sys_error;
    }
    if (sock->marks & EPOLL_IN_DUE) return;
    sock->marks |= EPOLL_IN_DUE;
    own->due_next = 0;
    if (port->due_head) {
        own_of(sock_at(port, port->due_tail))->due_next = sock->slot.index + 1;
    } else {
        port->due_head = sock->slot.index + 1;
        epoll_tell(port);
    }
    port->due_tail = sock->slot.index + 1;
}

void epoll_starve(struct epoll_port *port, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    assert(!(sock->marks & EPOLL_IN_STARVED));
    sock->marks |= EPOLL_IN_STARVED;
    own->starved_next = 0;
    own->starved_prev = port->starved_tail;
    if (port->starved_tail) {
        own_of(sock_at(port, port->starved_tail))->starved_next = sock->slot.index + 1;
    } else {
        port->starved_head = sock->slot.index + 1;
        port->buf_freed = false;
    }
    port->starved_tail = sock->slot.index + 1;
}

void epoll_unstarve(struct epoll_port *port, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    if (!(sock->marks & EPOLL_IN_STARVED)) return;
    sock->marks &= (uint8_t)~EPOLL_IN_STARVED;
    if (own->starved_prev) {
        own_of(sock_at(port, own->starved_prev))->starved_next = own->starved_next;
    } else {
        port->starved_head = own->starved_next;
    }
    if (own->starved_next) {
        own_of(sock_at(port, own->starved_next))->starved_prev = own->starved_prev;
    } else {
        port->starved_tail = own->starved_prev;
    }
}

/* --- operations --- */

/* Taken out of the set before it is closed: a copy of the descriptor in a child process would keep
 * it there. */
void epoll_drop_fd(struct epoll_port *port, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    if (own->armed) (void)epoll_ctl(port->epoll_fd, EPOLL_CTL_DEL, (int)sock->handle, NULL);
    own->armed = 0;
    linux_close((int)sock->handle);
    sock->handle = PORT_NO_HANDLE;
    sock->state = EPOLL_BARE;
}

static void sock_open(struct port_sock *sock, port_handle handle)
{
    assert(sock->state == EPOLL_BARE);
    memset(sock->own, 0, sizeof sock->own);
    sock->marks = 0;
    sock->handle = handle;
    sock->state = EPOLL_OPEN;
}

void epoll_attach(struct port *base, struct port_sock *sock, port_handle handle,
                  const struct port_sock_options *options)
{
    assert_owner(epoll_of(base));
    sock_open(sock, handle);
    linux_set_options((int)handle, options);
    if (sock->hears && !linux_listens((int)handle)) sock->hears = 0;
    if (!sock->hears) return;
    uint32_t max = options->accept_held_max;
    own_of(sock)->held_max = (uint16_t)(max < PORT_HELD_MAX ? max : PORT_HELD_MAX);
}

static void start(struct port *base, struct port_sock *sock, enum port_op op)
{
    assert_owner(epoll_of(base));
    assert(sock->state == EPOLL_OPEN);
    sock->in_flight |= (uint8_t)PORT_BIT(op);
    epoll_arm_for(epoll_of(base), sock, op);
}

static void stop(struct port *base, struct port_sock *sock, enum port_op op)
{
    assert_owner(epoll_of(base));
    if (!(ops_parked(sock) & PORT_BIT(op))) return; /* its end is on its way, or was taken */
    epoll_unstarve(epoll_of(base), sock);
    epoll_end(epoll_of(base), sock, op, SALLY_ECANCELED, 0);
}

/* A listener that accepts with data: where its silent newcomers wait. 0 or errno. */
static int hold_begin(struct epoll_port *port, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    if (port->holds.epoll_fd < 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = EPOLL_HOLD_KEY};
        int sys = linux_holds_open(&port->holds, port->port.mem);
        if (sys) return sys;
        if (epoll_ctl(port->epoll_fd, EPOLL_CTL_ADD, port->holds.epoll_fd, &event) != 0) {
            sys = errno;
            linux_holds_close(&port->holds);
            return sys;
        }
    }
    if (!own->hold) own->hold = linux_hold_open(&port->holds, sock, own->held_max);
    return own->hold ? linux_hold_watch(own->hold, true) : errno;
}

void epoll_accept(struct port *base, struct port_sock *sock)
{
    int sys = sock->hears ? hold_begin(epoll_of(base), sock) : 0;
    if (!sys) {
        start(base, sock, PORT_ACCEPT);
        return;
    }
    sock->in_flight |= (uint8_t)PORT_BIT(PORT_ACCEPT);
    epoll_end(epoll_of(base), sock, PORT_ACCEPT, SALLY_EEXHAUSTED, sys);
}

void epoll_accept_stop(struct port *base, struct port_sock *sock)
{
    struct epoll_own *own = own_of(sock);
    if (sock->hears && own->hold && (ops_parked(sock) & PORT_BIT(PORT_ACCEPT)))
        (void)linux_hold_watch(own->hold, false);
    stop(base, sock, PORT_ACCEPT);
}

void epoll_recv(struct port *base, struct port_sock *sock) { start(base, sock, PORT_RECV); }

void epoll_recv_stop(struct port *base, struct port_sock *sock) { stop(base, sock, PORT_RECV); }

/* Ends a connect that the system judged at once. */
static void connect_judged(struct epoll_port *port, struct port_sock *sock, int error,
                           int sys_error)
{
    if (error && sock->state == EPOLL_OPEN) epoll_drop_fd(port, sock);
    epoll_end(port, sock, PORT_CONNECT, error, sys_error);
}

void epoll_connect(struct port *base, struct port_sock *sock, const struct address *to,
                   const struct addr *from, const struct port_sock_options *options)
{
    struct epoll_port *port = epoll_of(base);
    union linux_sockaddr sockaddr;
    socklen_t len = 0;
    int sys = 0;
    assert_owner(port);
    int fd = linux_connect_socket(to, from, options, &sockaddr, &len, &sys);
    if (fd >= 0) sock_open(sock, fd);
    sock->in_flight |= (uint8_t)PORT_BIT(PORT_CONNECT);
    if (fd < 0) {
        sock->handle = PORT_NO_HANDLE;
        connect_judged(port, sock, fd, sys);
    } else if (connect(fd, &sockaddr.any, len) == 0) {
        connect_judged(port, sock, linux_self_connected(fd), 0);
    } else if (errno != EINPROGRESS && errno != EINTR) {
        sys = errno;
        /* EAGAIN: the queue of a Unix socket is full; nothing would tell when it no longer is */
        connect_judged(port, sock, sys == EAGAIN ? SALLY_EEXHAUSTED : os_error_map(sys), sys);
    } else {
        epoll_arm_for(port, sock, PORT_CONNECT);
        if (!ops_parked(sock)) epoll_drop_fd(port, sock);
    }
}

static ssize_t send_spans(int fd, const struct span *spans, unsigned count)
{
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)spans,
        .msg_iovlen = count < SEND_SPANS_MAX ? count : SEND_SPANS_MAX,
    };
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Nothing was taken of something; `sys` is why, 0: the system didn't say. */
static __attribute__((noinline)) int64_t send_refused(int sys, int *sys_error)
{
    if (sys == EAGAIN) return 0;
    if (sys_error) *sys_error = sys;
    return sys ? os_error_map(sys) : SALLY_ESYSTEM;
}

static __attribute__((noinline)) int64_t send_now_many(const struct port_sock *sock,
                                                       const struct span *spans, unsigned count,
                                                       int *sys_error)
{
    ssize_t sent = send_spans((int)sock->handle, spans, count);
    return sent > 0 ? sent : send_refused(sent < 0 ? errno : 0, sys_error);
}

int64_t epoll_send_now(struct port *base, struct port_sock *sock, const struct span *spans,
                       unsigned count, int *sys_error)
{
    (void)base;
    assert(sock->state == EPOLL_OPEN);
    if (count > 1) return send_now_many(sock, spans, count, sys_error);
    ssize_t sent;
    do {
        sent = linux_send((int)sock->handle, spans->data, spans->len, SEND_FLAGS);
    } while (sent == -EINTR);
    return sent > 0 ? sent : send_refused((int)-sent, sys_error);
}

/* The first span only: the starter sends the rest, and by then it is likely to fit port_send_now.
 */
void epoll_send(struct port *base, struct port_sock *sock, const struct span *spans, unsigned count)
{
    struct epoll_own *own = own_of(sock);
    (void)count;
    own->send_data = spans[0].data;
    sock->own32 = spans[0].len > INT32_MAX ? INT32_MAX : (uint32_t)spans[0].len;
    start(base, sock, PORT_SEND);
}

/* Its turn comes with the next wait: level-triggered, so one that may always send has the others'
 * between. */
void epoll_send_file(struct port *base, struct port_sock *sock, const struct port_file *file)
{
    own_of(sock)->file = file;
    sock->own32 = 0;
    start(base, sock, PORT_SEND);
}

int epoll_shutdown(struct port *base, struct port_sock *sock)
{
    assert_owner(epoll_of(base));
    assert(sock->state == EPOLL_OPEN);
    return shutdown((int)sock->handle, SHUT_WR) == 0 ? 0 : os_error_map(errno);
}

void epoll_close(struct port *base, struct port_sock *sock, enum port_close_mode mode)
{
    struct epoll_port *port = epoll_of(base);
    assert_owner(port);
    epoll_unstarve(port, sock);
    uint32_t ops = ops_parked(sock);
    if (sock->state == EPOLL_OPEN && sock->hears) {
        linux_hold_close(own_of(sock)->hold);
        own_of(sock)->hold = NULL;
    }
    for (enum port_op op = PORT_ACCEPT; op < PORT_CLOSE; op++) {
        if (ops & PORT_BIT(op)) epoll_end(port, sock, op, SALLY_ECANCELED, 0);
    }
    if (sock->state == EPOLL_OPEN) {
        if (mode == PORT_CLOSE_RST) linux_reset_on_close((int)sock->handle);
        epoll_drop_fd(port, sock);
    }
    sock->handle = PORT_NO_HANDLE;
    sock->in_flight |= (uint8_t)PORT_BIT(PORT_CLOSE);
    epoll_end(port, sock, PORT_CLOSE, 0, 0);
}
