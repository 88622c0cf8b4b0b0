/* Connecting. No memory; only the owning thread. */
#include <string.h>

#include "os/address.h"
#include "os/error.h"
#include "port/iocp.h"
#include "port/win32_sock.h"
#include "sallyport/error.h"

/* Bound, which the system's call wants, and added to the port: 0 or the system's code. */
static int make(struct iocp_port *port, struct port_sock *sock, const struct addr *to,
                const struct addr *from, const struct port_sock_options *options)
{
    port_handle handle;
    struct addr any = {.family = to->family};
    int sys = IOCP_CALL(port, socket, (enum addr_family)to->family, &handle);
    if (sys) return sys;
    win32_set_options(port->calls, handle, options);
    if (!from || from->port == 0) (void)IOCP_CALL(port, option, handle, WIN32_REUSE_UNICAST, 1);
    sys = iocp_adopt(port, sock, handle);
    if (!sys) sys = IOCP_CALL(port, bind, handle, from ? from : &any);
    if (!sys) {
        struct iocp_op *op = &iocp_own(sock)->in;
        iocp_prepare(op, PORT_CONNECT, IOCP_IN);
        sys = IOCP_CALL(port, connect, handle, to, &op->overlapped);
        if (iocp_started(port, sock, op, sys)) return 0;
    }
    iocp_drop_handle(port, sock);
    return sys;
}

/* What can't be tried at all. */
static int refuse(const struct address *to, const struct addr *from)
{
    if (to->kind == ADDRESS_PATH) return SALLY_ENOTSUP;
    if (to->kind != ADDRESS_IP) return SALLY_EINVAL;
    if (to->ip.family != ADDR_V4 && to->ip.family != ADDR_V6) return SALLY_EINVAL;
    return from && from->family != to->ip.family ? SALLY_EINVAL : 0;
}

void iocp_connect(struct port *base, struct port_sock *sock, const struct address *to,
                  const struct addr *from, const struct port_sock_options *options)
{
    struct iocp_port *port = iocp_of(base);
    iocp_assert_owner(port);
    assert(sock->state == IOCP_BARE);
    if (from && from->family == ADDR_NONE) from = NULL;
    memset(sock->own, 0, sizeof sock->own);
    sock->marks = 0;
    sock->in_flight |= iocp_bit(PORT_CONNECT);
    int error = refuse(to, from);
    int sys = error ? 0 : make(port, sock, &to->ip, from, options);
    if (sys) error = iocp_error(sys);
    if (!error) return;
    sock->handle = PORT_NO_HANDLE;
    iocp_end(port, sock, PORT_CONNECT, error, sys);
}

/* Without it the system gives neither the peer's address nor a half-close. */
static int judge(struct iocp_port *port, struct port_sock *sock, int *sys)
{
    if (!*sys) *sys = IOCP_CALL(port, option, sock->handle, WIN32_CONNECTED, 1);
    if (*sys) return iocp_error(*sys);
    return win32_self_connected(&port->port, sock->handle);
}

unsigned iocp_connect_done(struct iocp_port *port, struct port_sock *sock, struct port_event *event)
{
    int sys = iocp_finished(sock, &iocp_own(sock)->in);
    if (sock->state == IOCP_CLOSING) {
        iocp_event_last(event, sock, PORT_CONNECT, SALLY_ECANCELED, 0);
        iocp_close_progress(port, sock);
        return 1;
    }
    int error = judge(port, sock, &sys);
    if (error) iocp_drop_handle(port, sock);
    iocp_event_last(event, sock, PORT_CONNECT, error, sys);
    return 1;
}
