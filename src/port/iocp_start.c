/* The port's starting side: handles, sending, half-close and close. It allocates nothing. Only the
 * thread that owns the port comes here. */
#include <string.h>

#include "os/error.h"
#include "port/iocp.h"
#include "port/win32_sock.h"
#include "sallyport/error.h"

/* The system ends a send when it has taken all of it. More at once would lock as much of the
 * owner's memory until then, and a slow reader would look like one that has stopped. */
enum { SEND_BYTES_MAX = 64 * 1024 };

/* --- handles --- */

/* The choice of packets is made here, once for the handle, from what the system says of it. */
int iocp_adopt(struct iocp_port *port, struct port_sock *sock, port_handle handle)
{
    assert(sock->state == IOCP_BARE);
    memset(sock->own, 0, sizeof sock->own);
    sock->marks = 0;
    sock->handle = handle;
    sock->state = IOCP_OPEN;
    int sys = IOCP_CALL(port, port_add, port->handle, handle, 1);
    if (!sys) sys = IOCP_CALL(port, option, handle, WIN32_NON_BLOCKING, 1);
    if (sys) return sys;
    if (iocp_has(port, PORT_NO_PACKET_SKIP) && IOCP_CALL(port, skip_packets, handle) == 0)
        sock->marks |= IOCP_SKIPS;
    return 0;
}

void iocp_drop_handle(struct iocp_port *port, struct port_sock *sock)
{
    (void)IOCP_CALL(port, close, sock->handle);
    sock->handle = PORT_NO_HANDLE;
    sock->state = IOCP_BARE;
}

void iocp_attach(struct port *base, struct port_sock *sock, port_handle handle,
                 const struct port_sock_options *options)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    int sys = iocp_adopt(port, sock, handle);
    iocp_own(sock)->attach_sys = sys; /* the first operation will say it */
    bool listens = false;
    if (sock->hears && (IOCP_CALL(port, is_listener, handle, &listens) != 0 || !listens))
        sock->hears = 0;
    if (sock->hears) {
        uint32_t max = options->accept_held_max ? options->accept_held_max : 1;
        iocp_own(sock)->heard_ms = max < PORT_HELD_MAX ? max : PORT_HELD_MAX;
    }
    win32_set_options(port->calls, handle, options);
}

/* --- sending --- */

int64_t iocp_send_now(struct port *base, struct port_sock *sock, const struct span *spans,
                      unsigned count, int *sys_error)
{
    iocp_assert_owner(iocp_of(base));
    (void)sock, (void)spans, (void)count, (void)sys_error;
    return 0; /* an operation that finishes at once costs the same */
}

/* As many spans, and as much of the last one, as one call takes. */
static unsigned cut(const struct span *spans, unsigned count, struct span *to)
{
    size_t left = SEND_BYTES_MAX;
    unsigned n = 0;
    for (; n < count && n < WIN32_SPANS_MAX && left; n++) {
        to[n] = spans[n];
        if (to[n].len > left) to[n].len = left;
        left -= to[n].len;
    }
    return n;
}

void iocp_send(struct port *base, struct port_sock *sock, const struct span *spans, unsigned count)
{
    struct iocp_port *port = iocp_of(base);
    struct iocp_own *own = iocp_own(sock);
    struct span some[WIN32_SPANS_MAX];
    iocp_assert_owner(port);
    assert(sock->state == IOCP_OPEN);
    sock->in_flight |= iocp_bit(PORT_SEND);
    int sys = own->attach_sys;
    if (!sys) {
        unsigned n = cut(spans, count, some);
        iocp_prepare(&own->out, PORT_SEND, IOCP_OUT);
        sys = IOCP_CALL(port, send, sock->handle, some, n, &own->out.overlapped);
        if (iocp_started(port, sock, &own->out, sys)) return;
    }
    iocp_end(port, sock, PORT_SEND, iocp_error(sys), sys);
}

unsigned iocp_send_done(struct iocp_port *port, struct port_sock *sock, struct port_event *event)
{
    struct iocp_own *own = iocp_own(sock);
    int sys = iocp_finished(sock, &own->out);
    uint32_t bytes = (uint32_t)own->out.overlapped.bytes;
    int error = 0;
    if (sys)
        error = sock->state == IOCP_CLOSING ? SALLY_ECANCELED : iocp_error(sys);
    else if (!bytes) /* nothing taken of something */
        error = own->out.of_file ? SALLY_EFILEEND : SALLY_ESYSTEM;
    iocp_event_last(event, sock, PORT_SEND, error, sys);
    if (!error) event->bytes = bytes; /* with an error it says nothing */
    iocp_close_progress(port, sock);
    return 1;
}

int iocp_shutdown(struct port *base, struct port_sock *sock)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    assert(sock->state == IOCP_OPEN);
    int sys = IOCP_CALL(port, shutdown, sock->handle);
    return sys ? os_error_map(sys) : 0;
}

/* --- closing --- */

/* What finished at once and nobody took yet. */
static void close_ready(struct iocp_port *port, struct port_sock *sock)
{
    struct iocp_own *own = iocp_own(sock);
    if (own->out.ready) {
        int sys = iocp_finished(sock, &own->out);
        (void)sys;
        iocp_end(port, sock, PORT_SEND, SALLY_ECANCELED, 0);
    }
    if (own->in.ready && own->in.kind == PORT_CONNECT) {
        (void)iocp_finished(sock, &own->in);
        iocp_end(port, sock, PORT_CONNECT, SALLY_ECANCELED, 0);
    }
    iocp_recv_close(port, sock);
    iocp_accept_close(port, sock);
}

/* First what is in flight is cancelled: a system may keep a closed socket alive for a send that
 * nobody reads. What was cancelled is told by the operation's own packet; the handle may go at
 * once, since packets are named by their operation. */
void iocp_close(struct port *base, struct port_sock *sock, enum port_close_mode mode)
{
    struct iocp_port *port = iocp_of(base);
    struct iocp_own *own = iocp_own(sock);
    iocp_assert_owner(port);
    if (sock->state == IOCP_BARE) {
        uint8_t due = sock->marks & IOCP_IS_DUE; /* a connect that has failed */
        if (!due) memset(sock->own, 0, sizeof sock->own);
        sock->marks = due;
    }
    sock->in_flight |= iocp_bit(PORT_CLOSE);
    bool open = sock->state == IOCP_OPEN;
    sock->state = IOCP_CLOSING;
    if (open) {
        close_ready(port, sock);
        if (own->owed) (void)IOCP_CALL(port, cancel, sock->handle, NULL);
        if (mode == PORT_CLOSE_RST)
            (void)IOCP_CALL(port, option, sock->handle, WIN32_RESET_ON_CLOSE, 1);
        (void)IOCP_CALL(port, close, sock->handle);
    }
    sock->handle = PORT_NO_HANDLE;
    iocp_close_progress(port, sock);
}
