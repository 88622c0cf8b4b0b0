/* Receiving, as one operation that goes on until the stream ends, fails or is stopped. An idle
 * connection has a receive of no bytes posted, which locks no memory and ends when something is
 * there; that is then read at once into a buffer of the pool. One that brings bytes again and again
 * has its next receive posted with a buffer, which saves the read; after a second without bytes the
 * buffer is asked back, at once if others wait for one. Memory: the buffers of the pool. Only the
 * owning thread. */
#include "port/iocp.h"
#include "sallyport/error.h"

enum {
    HOT = 4,        /* receives with bytes, none of them a second after the one before */
    COLD_MS = 1000, /* without bytes */
};

static void buf_give(struct iocp_port *port, void *buf)
{
    pool_give(&port->bufs, buf);
    port->buf_freed = true;
}

static unsigned event_bytes(struct iocp_port *port, struct port_sock *sock, void *buf,
                            uint32_t bytes, struct port_event *event)
{
    struct iocp_own *own = iocp_own(sock);
    if (port->now_ms - own->heard_ms > COLD_MS) own->heat = 0;
    if (own->heat < HOT) own->heat++;
    own->heard_ms = port->now_ms;
    port->port.bufs_lent++;
    *event = (struct port_event){.sock = sock,
                                 .op = PORT_RECV,
                                 .more = true,
                                 .bytes = bytes,
                                 .data = buf,
                                 .accepted = PORT_NO_HANDLE};
    return 1;
}

/* --- posting --- */

/* At most half of the buffers wait with the system for bytes that may not come. */
static void *buf_to_post(struct iocp_port *port, const struct port_sock *sock)
{
    const struct iocp_own *own = iocp_own((struct port_sock *)(uintptr_t)sock);
    if (own->heat < HOT || !iocp_has(port, PORT_NO_POSTED_RECV)) return NULL;
    if (port->starved.count || port->posted.count >= port->bufs.out_max / 2) return NULL;
    return pool_take(&port->bufs);
}

static void recv_post(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    void *buf = buf_to_post(port, sock);
    iocp_prepare(&own->in, PORT_RECV, IOCP_IN);
    int sys =
        IOCP_CALL(port, recv, sock->handle, buf, buf ? port->buf_bytes : 0, &own->in.overlapped);
    if (!iocp_started(port, sock, &own->in, sys)) {
        if (buf) buf_give(port, buf);
        iocp_end(port, sock, PORT_RECV, iocp_error(sys), sys);
        return;
    }
    own->buf = buf;
    if (buf) iocp_list_add(port, &port->posted, sock, IOCP_POSTED);
}

/* Takes the buffer that was posted back out of the account. */
static void *recv_unpost(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    void *buf = own->buf;
    own->buf = NULL;
    iocp_list_remove(port, &port->posted, sock, IOCP_POSTED);
    sock->marks &= (uint8_t)~IOCP_COLD;
    return buf;
}

void iocp_recv_cool(struct iocp_port *port)
{
    for (uint32_t link = port->posted.head; link;) {
        struct port_sock *sock = iocp_at(port, link);
        struct iocp_own *own = iocp_own(sock);
        link = own->wait_next;
        bool wanted = port->starved.count;
        if (!wanted && port->now_ms - own->heard_ms <= COLD_MS) return;
        if ((sock->marks & IOCP_COLD) || !own->in.owed) continue;
        if (sock->state == IOCP_CLOSING) continue; /* cancelled, and without a handle */
        sock->marks |= IOCP_COLD;
        (void)IOCP_CALL(port, cancel, sock->handle, &own->in.overlapped);
    }
}

/* --- reading --- */

static void starve(struct iocp_port *port, struct port_sock *sock)
{
    counter_add(&port->port.counters.buf_shortages, 1);
    if (!port->starved.count) port->buf_freed = false;
    iocp_list_add(port, &port->starved, sock, IOCP_STARVED);
}

/* Something is there: reads it into `buf`, which is lent on or given back. */
static unsigned recv_into(struct iocp_port *port, struct port_sock *sock, void *buf,
                          struct port_event *event)
{
    uint32_t got = 0;
    int sys = IOCP_CALL(port, read, sock->handle, buf, port->buf_bytes, &got);
    if (!sys && got) {
        unsigned count = event_bytes(port, sock, buf, got, event);
        recv_post(port, sock);
        return count;
    }
    buf_give(port, buf);
    if (sys == WIN32_WSAEWOULDBLOCK) {
        recv_post(port, sock);
        return 0;
    }
    iocp_event_last(event, sock, PORT_RECV, sys ? iocp_error(sys) : 0, sys);
    return 1;
}

/* A buffer for whoever comes first: while others wait for one, a newcomer waits behind them. */
static unsigned recv_readable(struct iocp_port *port, struct port_sock *sock,
                              struct port_event *event)
{
    void *buf = port->starved.count ? NULL : pool_take(&port->bufs);
    if (buf) return recv_into(port, sock, buf, event);
    starve(port, sock);
    return 0;
}

unsigned iocp_feed(struct iocp_port *port, struct port_event *event)
{
    while (port->starved.count) {
        void *buf = pool_take(&port->bufs);
        if (!buf) {
            port->buf_freed = false;
            return 0;
        }
        struct port_sock *sock = iocp_at(port, port->starved.head);
        iocp_list_remove(port, &port->starved, sock, IOCP_STARVED);
        if (recv_into(port, sock, buf, event)) return 1;
    }
    return 0;
}

/* --- events --- */

/* A receive that had its buffer. */
static unsigned posted_done(struct iocp_port *port, struct port_sock *sock, void *buf, int sys,
                            struct port_event *event)
{
    uint32_t bytes = (uint32_t)iocp_own(sock)->in.overlapped.bytes;
    if (!sys && bytes) {
        unsigned count = event_bytes(port, sock, buf, bytes, event);
        if (sock->marks & IOCP_STOP)
            iocp_end(port, sock, PORT_RECV, SALLY_ECANCELED, 0);
        else
            recv_post(port, sock);
        return count;
    }
    buf_give(port, buf);
    iocp_event_last(event, sock, PORT_RECV, sys ? iocp_error(sys) : 0, sys);
    return 1;
}

/* Our own flags say whether it was we who cancelled; the system's number doesn't. */
unsigned iocp_recv_done(struct iocp_port *port, struct port_sock *sock, struct port_event *event)
{
    struct iocp_own *own = iocp_own(sock);
    bool cold = sock->marks & IOCP_COLD;
    int sys = iocp_finished(sock, &own->in);
    void *buf = recv_unpost(port, sock);
    bool bytes = !sys && buf && own->in.overlapped.bytes;
    if (sock->state == IOCP_CLOSING || ((sock->marks & IOCP_STOP) && !bytes)) {
        if (buf) buf_give(port, buf);
        bool ended = !sys && buf && sock->state != IOCP_CLOSING; /* the stream, before the stop */
        iocp_event_last(event, sock, PORT_RECV, ended ? 0 : SALLY_ECANCELED, 0);
        iocp_close_progress(port, sock);
        return 1;
    }
    if (cold && sys == WIN32_ERROR_OPERATION_ABORTED) {
        buf_give(port, buf);
        own->heat = 0;
        recv_post(port, sock);
        return 0;
    }
    if (buf) return posted_done(port, sock, buf, sys, event);
    if (!sys) return recv_readable(port, sock, event);
    iocp_event_last(event, sock, PORT_RECV, iocp_error(sys), sys);
    return 1;
}

/* --- starting and stopping --- */

void iocp_recv(struct port *base, struct port_sock *sock)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    assert(sock->state == IOCP_OPEN);
    sock->in_flight |= iocp_bit(PORT_RECV);
    int sys = iocp_own(sock)->attach_sys;
    if (sys)
        iocp_end(port, sock, PORT_RECV, iocp_error(sys), sys);
    else
        recv_post(port, sock);
}

/* Not in the system's hands: it waits for a buffer, or it finished at once and was not taken. With
 * bytes those come first, and the ending behind them. */
static bool stop_here(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    if (own->in.owed) return false;
    if (own->in.ready && own->buf) return true;
    if (own->in.ready) (void)iocp_finished(sock, &own->in);
    iocp_list_remove(port, &port->starved, sock, IOCP_STARVED);
    iocp_end(port, sock, PORT_RECV, SALLY_ECANCELED, 0);
    return true;
}

void iocp_recv_stop(struct port *base, struct port_sock *sock)
{
    struct iocp_port *port = iocp_of(base);
    struct iocp_own *own = iocp_own(sock);
    iocp_assert_owner(port);
    if (!(sock->in_flight & PORT_BIT(PORT_RECV)) || (own->due & PORT_BIT(PORT_RECV))) return;
    if (sock->marks & IOCP_STOP) return;
    sock->marks |= IOCP_STOP;
    if (!stop_here(port, sock)) (void)IOCP_CALL(port, cancel, sock->handle, &own->in.overlapped);
}

void iocp_recv_close(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    if (!(sock->in_flight & PORT_BIT(PORT_RECV)) || own->in.owed) return;
    if (own->in.ready) {
        (void)iocp_finished(sock, &own->in);
        void *buf = recv_unpost(port, sock);
        if (buf) buf_give(port, buf);
    }
    iocp_list_remove(port, &port->starved, sock, IOCP_STARVED);
    if (!(own->due & PORT_BIT(PORT_RECV))) iocp_end(port, sock, PORT_RECV, SALLY_ECANCELED, 0);
}
