/* The port on epoll: making it, waiting, and handing out events, on the way to which the system
 * calls of the operations are made. Memory: the port itself and its receive buffers, both from the
 * config's mem; sockets are the owner's. One thread, but for epoll_wake. */
#include "port/epoll.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/error.h"
#include "port/linux_alarm.h"
#include "port/linux_call.h"
#include "port/linux_file.h"
#include "port/linux_sock.h"
#include "sallyport/error.h"

enum {
    BUF_BYTES = 64 * 1024,
    BUFS_MAX = 64,
    BUFS_IDLE = 2, /* kept when nothing has come for IDLE_MS */
    IDLE_MS = 1000,
    RETRY_MS = 10,     /* between tries to get memory for a buffer */
    ACCEPT_BURST = 64, /* connections of one listener in one turn */
};

/* Keeps what is rare out of the functions that run for every request. */
#define NEVER_INLINE __attribute__((noinline))

/* An even generation: no socket's. */
static const uint64_t WAKE_KEY = 0, ALARM_KEY = 1;

/* --- making --- */

static void port_free(struct epoll_port *port)
{
    if (port->wake_fd >= 0) close(port->wake_fd);
    if (port->alarm_fd >= 0) close(port->alarm_fd);
    if (port->epoll_fd >= 0) close(port->epoll_fd);
    linux_holds_close(&port->holds);
    mem_free(port->port.mem, port, sizeof *port);
}

/* Edge-triggered: each write or expiry is told once, and nobody has to read a counter down. */
static int watch(const struct epoll_port *port, int fd, uint64_t key)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = key};
    if (fd < 0) return errno;
    return epoll_ctl(port->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

static int port_open(struct epoll_port *port)
{
    port->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->epoll_fd < 0) return errno;
    port->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int sys = watch(port, port->wake_fd, WAKE_KEY);
    if (sys) return sys;
    port->alarm_fd = linux_alarm_open();
    return watch(port, port->alarm_fd, ALARM_KEY);
}

static int epoll_create_port(struct port **out, const struct port_config *config)
{
    struct epoll_port *port = mem_zalloc(config->mem, sizeof *port);
    if (!port) return SALLY_ENOMEM;
    uint32_t bufs_max = config->bufs_max ? config->bufs_max : BUFS_MAX;
    port->port.ops = &port_epoll_ops;
    port->port.mem = config->mem;
    port->port.socks = config->socks;
    port->port.abilities = PORT_CAN_SEND_NOW | PORT_CAN_POLL_FD | PORT_CAN_SEND_FILE;
    port->port.bufs_total = bufs_max;
    port->epoll_fd = -1;
    port->wake_fd = -1;
    port->alarm_fd = -1;
    port->holds.epoll_fd = -1;
    port->burst = ACCEPT_BURST;
    port->buf_bytes = config->buf_bytes ? config->buf_bytes : BUF_BYTES;
    int sys = port_open(port);
    if (sys) {
        port_free(port);
        if (sys == ENOSYS || sys == EPERM || sys == EACCES) return SALLY_ENOPORT;
        return os_error_map(sys);
    }
    /* a free buffer holds a pointer, however little is read into it */
    size_t bytes = port->buf_bytes < sizeof(void *) ? sizeof(void *) : port->buf_bytes;
    pool_init(&port->bufs, config->mem, bytes, bufs_max, bufs_max);
    *out = &port->port;
    return 0;
}

static void epoll_destroy(struct port *base)
{
    struct epoll_port *port = epoll_of(base);
    assert(!port->due_head && !port->starved_head);
    pool_free(&port->bufs);
    port_free(port);
}

static int epoll_own_port(struct port *base)
{
    struct epoll_port *port = epoll_of(base);
    assert(!port->owner);
    port->owner = &os_thread_mark;
    return 0;
}

/* --- waiting --- */

/* A signal handler may be here, so errno stays as it was. The write can fail only with the counter
 * at its end, 2^64 wake-ups from now. */
static void epoll_wake(struct port *base)
{
    uint64_t one = 1;
    int saved = errno;
    (void)!write(epoll_of(base)->wake_fd, &one, sizeof one);
    errno = saved;
}

static bool epoll_alarm(struct port *base, uint32_t delay_ms)
{
    struct epoll_port *port = epoll_of(base);
    assert_owner(port);
    return linux_alarm_set(port->alarm_fd, delay_ms) == 0;
}

static int64_t epoll_poll_fd(struct port *base)
{
    struct epoll_port *port = epoll_of(base);
    port->polled = true;
    if (port->due_head || port->starved_head) epoll_tell(port);
    return port->epoll_fd;
}

/* How long to sleep, in epoll's terms. */
static NEVER_INLINE int sleep_ms(const struct epoll_port *port, uint32_t timeout_ms)
{
    if (port->due_head || (port->starved_head && port->buf_freed)) return 0;
    /* no buffer although fewer than the cap are lent: no release need come, memory may */
    if (port->starved_head && port->bufs.out < port->bufs.out_max && timeout_ms > RETRY_MS)
        return RETRY_MS;
    if (port->bufs.kept > BUFS_IDLE && timeout_ms > IDLE_MS) return IDLE_MS;
    return timeout_ms == PORT_FOREVER ? -1 : timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
}

/* What the last wait found and nobody took yet comes first: asking again would put those who were
 * ready then behind the same ones for ever. */
static int epoll_wait_port(struct port *base, uint32_t timeout_ms)
{
    struct epoll_port *port = epoll_of(base);
    assert_owner(port);
    if (port->next < port->count) return 0;
    port->next = 0;
    port->count = 0;
    /* what is due needs no look at the kernel, which has its turn with the next wait */
    port->asked = !port->due_head || !port->asked;
    if (!port->asked) return 0;
    bool forever =
        timeout_ms == PORT_FOREVER && epoll_is_calm(port) && port->bufs.kept <= BUFS_IDLE;
    int count = linux_epoll_wait(port->epoll_fd, port->ready, EPOLL_READY_MAX,
                                 forever ? -1 : sleep_ms(port, timeout_ms));
    if (count > 0) {
        port->count = (uint32_t)count;
        return 0;
    }
    if (count == 0 && timeout_ms && port->bufs.kept > BUFS_IDLE) pool_trim(&port->bufs, BUFS_IDLE);
    return count == 0 || count == -EINTR ? 0 : SALLY_ESYSTEM;
}

/* Each call is made when it is started: nothing waits to be submitted. */
static void epoll_flush(struct port *base) { (void)base; }

/* --- handing out --- */

void epoll_event_final(struct port_event *event, struct port_sock *sock, enum port_op op, int error,
                       int sys_error)
{
    sock->in_flight &= (uint8_t)~PORT_BIT(op);
    *event = (struct port_event){
        .sock = sock,
        .op = (uint8_t)op,
        .error = error,
        .sys_error = sys_error,
        .accepted = PORT_NO_HANDLE,
    };
}

static void event_due(struct port_event *event, struct port_sock *sock, enum port_op op)
{
    struct epoll_own *own = own_of(sock);
    int error = 0, sys = 0;
    if (PORT_BIT(op) & EPOLL_IN_OPS) {
        error = own->in_error;
        sys = own->in_errno;
    } else if (PORT_BIT(op) & EPOLL_OUT_OPS) {
        error = own->out_error;
        sys = own->out_errno;
    }
    own->due &= (uint8_t)~PORT_BIT(op);
    epoll_event_final(event, sock, op, error, sys);
}

/* What was ended outside port_take. PORT_CLOSE is a socket's last: not even the list is touched
 * through it afterwards. */
static NEVER_INLINE unsigned due_take(struct epoll_port *port, struct port_event *events,
                                      unsigned max)
{
    static const enum port_op order[] = {PORT_ACCEPT, PORT_RECV, PORT_CONNECT, PORT_SEND,
                                         PORT_CLOSE};
    unsigned count = 0;
    while (port->due_head && count < max) {
        struct port_sock *sock = sock_at(port, port->due_head);
        struct epoll_own *own = own_of(sock);
        for (unsigned i = 0; i < PORT_OPS && count < max; i++) {
            if (own->due & PORT_BIT(order[i])) event_due(&events[count++], sock, order[i]);
        }
        if (own->due) break;
        sock->marks &= (uint8_t)~EPOLL_IN_DUE;
        port->due_head = own->due_next;
        if (!port->due_head) port->due_tail = 0;
    }
    return count;
}

static void buf_give(struct epoll_port *port, void *data)
{
    pool_give(&port->bufs, data);
    port->port.bufs_lent = port->bufs.out;
}

static inline bool recv_got(struct epoll_port *port, struct port_sock *sock, void *data,
                            ssize_t got, struct port_event *event)
{
    port->port.bufs_lent = port->bufs.out;
    /* one by one: what is an accept's stays as it is */
    event->sock = sock;
    event->op = PORT_RECV;
    event->more = true;
    event->error = 0;
    event->sys_error = 0;
    event->bytes = (uint32_t)got;
    event->buf = 0;
    event->data = data;
    return true;
}

static inline ssize_t recv_once(const struct epoll_port *port, const struct port_sock *sock,
                                void *data)
{
    return linux_recv((int)sock->handle, data, port->buf_bytes, MSG_DONTWAIT);
}

/* After a read that brought no bytes: a signal, nothing, the end, or an error. */
static NEVER_INLINE bool recv_none(struct epoll_port *port, struct port_sock *sock, void *data,
                                   ssize_t got, struct port_event *event)
{
    while (got == -EINTR) got = recv_once(port, sock, data);
    if (got > 0) return recv_got(port, sock, data, got, event);
    int sys = (int)-got;
    buf_give(port, data);
    if (sys == EAGAIN) return false;
    epoll_event_final(event, sock, PORT_RECV, sys ? os_error_map(sys) : 0, sys);
    return true;
}

/* One read into `data`, which is lent on or given back: whether there is an event. A short read
 * says nothing; level-triggered epoll tells when there is more. */
static inline bool recv_into(struct epoll_port *port, struct port_sock *sock, void *data,
                             struct port_event *event)
{
    ssize_t got = recv_once(port, sock, data);
    return got > 0 ? recv_got(port, sock, data, got, event)
                   : recv_none(port, sock, data, got, event);
}

static NEVER_INLINE void recv_starve(struct epoll_port *port, struct port_sock *sock)
{
    counter_add(&port->port.counters.buf_shortages, 1);
    epoll_starve(port, sock);
    (void)epoll_arm(port, sock); /* it stays readable: the next wait would be woken for nothing */
}

/* A buffer for whoever comes first: while others wait for one, a newcomer waits behind them. */
static inline bool recv_take(struct epoll_port *port, struct port_sock *sock,
                             struct port_event *event)
{
    void *data = port->starved_head ? NULL : pool_take(&port->bufs);
    if (data) return recv_into(port, sock, data, event);
    recv_starve(port, sock);
    return false;
}

/* Those who wait for a buffer, in the order they came, as far as buffers are there. */
static NEVER_INLINE bool starved_take(struct epoll_port *port, struct port_event *event)
{
    while (port->starved_head) {
        void *data = pool_take(&port->bufs);
        if (!data) {
            port->buf_freed = false;
            return false;
        }
        struct port_sock *sock = sock_at(port, port->starved_head);
        epoll_unstarve(port, sock);
        bool any = recv_into(port, sock, data, event);
        if (ops_parked(sock) & PORT_BIT(PORT_RECV)) epoll_arm_for(port, sock, PORT_RECV);
        if (any) return true;
    }
    return false;
}

/* The slot's name stays the same from one attempt to connect to the next, so this may be the event
 * of an earlier attempt's descriptor; but then the present one is not connected yet. */
static bool connect_take(struct epoll_port *port, struct port_sock *sock, struct port_event *event)
{
    int fd = (int)sock->handle;
    int sys = 0;
    socklen_t len = sizeof sys;
    struct addr peer;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0) sys = errno;
    int err = sys ? os_error_map(sys) : linux_peer(&port->port, fd, &peer);
    if (!sys && err == SALLY_ENOCONN) return false;
    if (!err) err = linux_self_connected(fd);
    if (err) epoll_drop_fd(port, sock);
    epoll_event_final(event, sock, PORT_CONNECT, err, sys);
    return true;
}

static NEVER_INLINE bool file_take(struct port_sock *sock, struct port_event *event)
{
    int sys;
    int64_t sent = linux_send_file((int)sock->handle, own_of(sock)->file, &sys);
    if (!sent) return false;
    epoll_event_final(event, sock, PORT_SEND, sent < 0 ? (int)sent : 0, sys);
    event->bytes = sent < 0 ? 0 : (uint32_t)sent;
    return true;
}

static bool send_take(struct port_sock *sock, struct port_event *event)
{
    const struct epoll_own *own = own_of(sock);
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t sent;
    if (!sock->own32) return file_take(sock, event);
    do {
        sent = linux_send((int)sock->handle, own->send_data, sock->own32, flags);
    } while (sent == -EINTR);
    int sys = sent < 0 ? (int)-sent : 0;
    if (sys == EAGAIN) return false;
    int err = sent > 0 ? 0 : sys ? os_error_map(sys) : SALLY_ESYSTEM;
    epoll_event_final(event, sock, PORT_SEND, err, sys);
    if (sent > 0) event->bytes = (uint32_t)sent;
    return true;
}

static void ready_next(struct epoll_port *port)
{
    port->next++;
    port->burst = ACCEPT_BURST;
}

/* Reading goes first: it finds the reason of a reset, which the one who meets it first takes away,
 * and a send only says that the connection is broken. */
static unsigned ready_in(struct epoll_port *port, struct port_sock *sock, struct port_event *events,
                         unsigned max)
{
    if (ops_parked(sock) & PORT_BIT(PORT_RECV)) {
        port->burst = 0;
        return recv_take(port, sock, events);
    }
    return epoll_accept_take(port, sock, events, max);
}

/* Newcomers that had to speak first, as many as of one listener. */
static unsigned hold_take(struct epoll_port *port, struct port_event *events, unsigned max)
{
    unsigned count = 0;
    bool told, any = true;
    while (count < max && port->burst &&
           (any = linux_holds_take(&port->holds, &events[count], &told))) {
        port->burst--;
        count += told;
    }
    if (!any || !port->burst) ready_next(port);
    return count;
}

/* What one entry of the kernel's array brings. A hang-up or an error means only "try": the call
 * tells bytes, the end or the reason. */
static NEVER_INLINE unsigned ready_take(struct epoll_port *port, struct port_event *events,
                                        unsigned max)
{
    struct epoll_event *entry = &port->ready[port->next];
    uint64_t key = entry->data.u64;
    uint32_t ready = entry->events;
    struct port_sock *sock = slots_find(port->port.socks, (uint32_t)key, (uint32_t)(key >> 32));
    if (key == EPOLL_HOLD_KEY) return hold_take(port, events, max);
    if (!sock) {
        if (key != WAKE_KEY && key != ALARM_KEY) counter_add(&port->port.counters.stray_events, 1);
        ready_next(port);
        return 0;
    }
    if (ready & (EPOLLHUP | EPOLLERR)) ready |= EPOLLIN | EPOLLOUT;
    uint32_t ops = ops_parked(sock);
    bool in = (ready & EPOLLIN) && (ops & EPOLL_IN_OPS) && !(sock->marks & EPOLL_IN_STARVED);
    bool out = (ready & EPOLLOUT) && (ops & EPOLL_OUT_OPS);
    unsigned count = 0;
    if (in) {
        count = ready_in(port, sock, events, max);
        if (port->burst) return count; /* more to accept here */
        if (out) {                     /* its turn comes with the next event */
            entry->events = EPOLLOUT;
            return count;
        }
    } else if (out) {
        count = ops & PORT_BIT(PORT_CONNECT) ? connect_take(port, sock, events)
                                             : send_take(sock, events);
    } else {
        (void)epoll_arm(port, sock); /* nobody waits for it any more */
    }
    ready_next(port);
    return count;
}

/* By far the most common entry, decided with few looks: bytes for a receive and nothing else. */
static inline struct port_sock *ready_plain_recv(const struct epoll_port *port)
{
    const struct epoll_event *entry = &port->ready[port->next];
    uint64_t key = entry->data.u64;
    if (entry->events != EPOLLIN) return NULL;
    struct port_sock *sock = slots_find(port->port.socks, (uint32_t)key, (uint32_t)(key >> 32));
    return sock && !sock->marks && sock->in_flight == PORT_BIT(PORT_RECV) ? sock : NULL;
}

/* A receive is handed out alone, so that its buffer is the one that the next receive reads into. */
static NEVER_INLINE unsigned ready_take_all(struct epoll_port *port, struct port_event *events,
                                            unsigned max)
{
    unsigned count = 0;
    while (port->next < port->count && count < max) {
        struct port_sock *sock = ready_plain_recv(port);
        if (sock) {
            port->next++;
            if (recv_take(port, sock, &events[count])) return count + 1;
            continue;
        }
        unsigned more = ready_take(port, events + count, max - count);
        count += more;
        if (more && events[count - 1].op == PORT_RECV) break;
    }
    return count;
}

static NEVER_INLINE unsigned take_any(struct epoll_port *port, struct port_event *events,
                                      unsigned max)
{
    if (port->due_head) return due_take(port, events, max);
    if (port->starved_head && starved_take(port, events)) return 1;
    return ready_take_all(port, events, max);
}

static NEVER_INLINE unsigned take_more(struct epoll_port *port, struct port_event *events,
                                       unsigned max)
{
    unsigned count = take_any(port, events, max);
    port->port.emptied = port->next == port->count && epoll_is_calm(port);
    return count;
}

/* A plain receive's read has brought no bytes. */
static NEVER_INLINE unsigned take_none(struct epoll_port *port, struct port_sock *sock, void *data,
                                       struct port_event *events, unsigned max, ssize_t got)
{
    return recv_none(port, sock, data, got, events) ? 1 : take_more(port, events, max);
}

static unsigned epoll_take(struct port *base, struct port_event *events, unsigned max)
{
    struct epoll_port *port = epoll_of(base);
    bool any = epoll_is_calm(port) && port->next != port->count && pool_keeps(&port->bufs);
    struct port_sock *sock = any ? ready_plain_recv(port) : NULL;
    if (!sock) return take_more(port, events, max);
    void *data = pool_take_kept(&port->bufs);
    base->emptied = ++port->next == port->count; /* nearly always we get here */
    ssize_t got = recv_once(port, sock, data);
    if (got <= 0) return take_none(port, sock, data, events, max, got);
    return recv_got(port, sock, data, got, events);
}

static void epoll_buf_release(struct port *base, uint32_t buf, const void *data)
{
    struct epoll_port *port = epoll_of(base);
    assert(buf == 0);
    (void)buf;
    buf_give(port, (void *)(uintptr_t)data);
    if (!port->starved_head) return;
    port->buf_freed = true;
    epoll_tell(port);
}

const struct port_ops port_epoll_ops = {
    .name = "epoll",
    .inherits = true,
    .create = epoll_create_port,
    .destroy = epoll_destroy,
    .own = epoll_own_port,
    .wait = epoll_wait_port,
    .alarm = epoll_alarm,
    .take = epoll_take,
    .flush = epoll_flush,
    .wake = epoll_wake,
    .fd = epoll_poll_fd,
    .listen = linux_listen,
    .local = linux_local,
    .peer = linux_peer,
    .refuse = linux_refuse,
    .pending = linux_pending,
    .backlog = linux_backlog,
    .probe = linux_probe,
    .attach = epoll_attach,
    .accept = epoll_accept,
    .accept_stop = epoll_accept_stop,
    .connect = epoll_connect,
    .recv = epoll_recv,
    .recv_stop = epoll_recv_stop,
    .send_now = epoll_send_now,
    .send = epoll_send,
    .send_file = epoll_send_file,
    .shutdown = epoll_shutdown,
    .close = epoll_close,
    .buf_release = epoll_buf_release,
};
