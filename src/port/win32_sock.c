/* Sockets of Windows; see win32_sock.h. Listening addresses are taken for this process alone:
 * without that, Windows lets any other take them over. What fails closes what it has made, leaves
 * the system's code in *sys_error and returns ours. No memory; any thread. */
#include "port/win32_sock.h"

#include <string.h>

#include "os/address.h"
#include "os/error.h"
#include "port/iocp.h"
#include "sallyport/error.h"

static int failed(int sys, int *sys_error)
{
    if (sys_error) *sys_error = sys;
    return os_error_map(sys);
}

/* --- addresses --- */

int win32_local(struct port *base, port_handle handle, struct addr *addr)
{
    memset(addr, 0, sizeof *addr);
    int sys = IOCP_CALL(iocp_of(base), local, handle, addr);
    return sys ? os_error_map(sys) : 0;
}

int win32_peer(struct port *base, port_handle handle, struct addr *addr)
{
    memset(addr, 0, sizeof *addr);
    int sys = IOCP_CALL(iocp_of(base), peer, handle, addr);
    if (!sys) return 0;
    return sys == WIN32_WSAENOTCONN || sys == WIN32_WSAEINVAL ? SALLY_ENOCONN : os_error_map(sys);
}

int win32_self_connected(struct port *base, port_handle handle)
{
    struct addr local, peer;
    if (win32_local(base, handle, &local) != 0 || win32_peer(base, handle, &peer) != 0) return 0;
    return addr_equal(&local, &peer) ? SALLY_EADDRNOTAVAIL : 0;
}

/* --- options --- */

void win32_set_options(const struct win32_calls *calls, port_handle handle,
                       const struct port_sock_options *options)
{
    void *ctx = calls->ctx;
    if (!options) return;
    if (options->send_buf_bytes)
        (void)calls->option(ctx, handle, WIN32_SEND_BUF, options->send_buf_bytes);
    if (options->recv_buf_bytes)
        (void)calls->option(ctx, handle, WIN32_RECV_BUF, options->recv_buf_bytes);
    if (!options->delay) (void)calls->option(ctx, handle, WIN32_NO_DELAY, 1);
    if (options->user_timeout_ms)
        (void)calls->option(ctx, handle, WIN32_USER_TIMEOUT, options->user_timeout_ms);
    if (options->keepalive_s)
        (void)calls->option(ctx, handle, WIN32_KEEPALIVE, options->keepalive_s);
}

void win32_refuse(struct port *base, port_handle handle, enum port_close_mode mode)
{
    struct iocp_port *port = iocp_of(base);
    if (mode == PORT_CLOSE_RST) (void)IOCP_CALL(port, option, handle, WIN32_RESET_ON_CLOSE, 1);
    (void)IOCP_CALL(port, close, handle);
}

int win32_probe(struct port *base, int *sys_error)
{
    struct iocp_port *port = iocp_of(base);
    port_handle handle;
    int sys = IOCP_CALL(port, socket, ADDR_V4, &handle);
    if (sys) {
        (void)failed(sys, sys_error);
        return SALLY_EEXHAUSTED;
    }
    (void)IOCP_CALL(port, close, handle);
    return 0;
}

bool win32_pending(struct port *base, port_handle handle)
{
    bool has = false;
    return IOCP_CALL(iocp_of(base), has_newcomer, handle, &has) == 0 && has;
}

/* --- listening --- */

/* The system's code. */
static int listen_ip(struct iocp_port *port, const struct addr *addr,
                     const struct port_listen_options *options, port_handle *handle)
{
    int sys = IOCP_CALL(port, socket, (enum addr_family)addr->family, handle);
    if (sys) return sys;
    sys = IOCP_CALL(port, option, *handle, WIN32_EXCLUSIVE, 1);
    if (!sys && addr->family == ADDR_V6)
        sys = IOCP_CALL(port, option, *handle, WIN32_V6_ONLY, options->v6_only);
    if (!sys) sys = IOCP_CALL(port, bind, *handle, addr);
    if (!sys) sys = IOCP_CALL(port, listen, *handle, options->backlog);
    if (!sys) return 0;
    (void)IOCP_CALL(port, close, *handle);
    return sys;
}

/* Both families on one socket; a machine without IPv6 gets IPv4's, unless only IPv6 is wanted. */
static int listen_any(struct iocp_port *port, uint16_t number,
                      const struct port_listen_options *options, port_handle *handle)
{
    struct addr any = {.family = ADDR_V6, .port = number};
    int sys = listen_ip(port, &any, options, handle);
    if (!sys || options->v6_only) return sys;
    if (sys != WIN32_WSAEAFNOSUPPORT && sys != WIN32_WSAEADDRNOTAVAIL) return sys;
    any.family = ADDR_V4;
    return listen_ip(port, &any, options, handle);
}

/* A socket that the program was given; it stays open when it is refused. */
static int listen_given(struct iocp_port *port, int64_t number, port_handle *handle, int *sys_error)
{
    bool listens = false;
    if (number < 0 || number == PORT_NO_HANDLE) return SALLY_EINVAL;
    int sys = IOCP_CALL(port, is_listener, (port_handle)number, &listens);
    if (sys) return failed(sys, sys_error);
    if (!listens) return SALLY_EINVAL;
    *handle = (port_handle)number;
    return 0;
}

int win32_listen(struct port *base, const struct address *address,
                 const struct port_listen_options *options, port_handle *handle, int *sys_error)
{
    static const struct port_listen_options defaults = {0};
    struct iocp_port *port = iocp_of(base);
    port_handle made = PORT_NO_HANDLE;
    int sys;
    if (!options) options = &defaults;
    if (sys_error) *sys_error = 0;
    if (options->share_port) return SALLY_ENOTSUP; /* the system has no fair way to share one */
    switch (address->kind) {
    case ADDRESS_FD: return listen_given(port, address->fd, handle, sys_error);
    case ADDRESS_PATH: return SALLY_ENOTSUP; /* its sockets know no AcceptEx */
    case ADDRESS_ANY: sys = listen_any(port, address->ip.port, options, &made); break;
    case ADDRESS_IP:
        if (address->ip.family != ADDR_V4 && address->ip.family != ADDR_V6) return SALLY_EINVAL;
        sys = listen_ip(port, &address->ip, options, &made);
        break;
    case ADDRESS_NAME: /* resolving blocks: the caller does it first */
    default: return SALLY_EINVAL;
    }
    if (sys) return failed(sys, sys_error);
    *handle = made;
    return 0;
}
