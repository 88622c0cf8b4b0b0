/* Sockets of Linux as uring and epoll both need them: listening, options, the making of a socket
 * that will connect, addresses. No state and no memory of its own, so any thread may call anything
 * here. What fails closes (and unlinks) what it has made, leaves errno in *sys_error and returns
 * our code. */
#include "port/linux_sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/address.h"
#include "os/error.h"
#include "os/linux_folder_lock.h"
#include "port/linux_call.h"
#include "sallyport/error.h"

enum {
    SOCK_KIND = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_PROBES = 4,
    KEEPALIVE_IDLE_MAX_S = 32767, /* the kernel refuses more, and would then keep its two hours */
    UNIX_MODE = 0600,
};

static int failed(int sys, int *sys_error)
{
    if (sys_error) *sys_error = sys;
    return os_error_map(sys);
}

/* Closes without losing the errno of what failed before. */
static int close_failed(int fd, int *sys_error)
{
    int sys = errno;
    close(fd);
    return failed(sys, sys_error);
}

static int option_set(int fd, int level, int name, uint32_t value)
{
    int number = value > INT_MAX ? INT_MAX : (int)value;
    return setsockopt(fd, level, name, &number, sizeof number);
}

/* --- addresses --- */

void linux_addr_from(struct addr *addr, const struct sockaddr *sockaddr, socklen_t len)
{
    memset(addr, 0, sizeof *addr); /* ADDR_NONE; also the bytes that a family leaves unused */
    if (len < sizeof sockaddr->sa_family) return;
    if (sockaddr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const void *)sockaddr;
        addr->family = ADDR_V4;
        addr->port = ntohs(in->sin_port);
        memcpy(addr->ip, &in->sin_addr, 4);
    } else if (sockaddr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in6 = (const void *)sockaddr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        addr->family = mapped ? ADDR_V4 : ADDR_V6;
        addr->port = ntohs(in6->sin6_port);
        addr->scope = mapped ? 0 : in6->sin6_scope_id;
        memcpy(addr->ip, in6->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    } else if (sockaddr->sa_family == AF_UNIX) {
        addr->family = ADDR_UNIX;
    }
}

socklen_t linux_addr_to(const struct addr *addr, union linux_sockaddr *sockaddr)
{
    memset(sockaddr, 0, sizeof *sockaddr);
    if (addr->family == ADDR_V4) {
        struct sockaddr_in *in = (void *)sockaddr;
        in->sin_family = AF_INET;
        in->sin_port = htons(addr->port);
        memcpy(&in->sin_addr, addr->ip, 4);
        return sizeof *in;
    }
    if (addr->family == ADDR_V6) {
        struct sockaddr_in6 *in6 = (void *)sockaddr;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(addr->port);
        in6->sin6_scope_id = addr->scope;
        memcpy(&in6->sin6_addr, addr->ip, 16);
        return sizeof *in6;
    }
    return 0;
}

/* A path, or with '@' first an abstract name, which ends where its length says and not with a 0.
 * Returns 0 for what is empty or too long. */
static socklen_t path_to(const char *path, union linux_sockaddr *sockaddr)
{
    size_t len = strnlen(path, ADDRESS_HOST_MAX);
    bool abstract = path[0] == '@';
    size_t len_max = sizeof sockaddr->un.sun_path - (abstract ? 0 : 1);
    if (len < (abstract ? 2 : 1) || len > len_max) return 0;
    memset(sockaddr, 0, sizeof *sockaddr);
    sockaddr->un.sun_family = AF_UNIX;
    memcpy(sockaddr->un.sun_path, path, len);
    if (abstract) sockaddr->un.sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (abstract ? 0 : 1));
}

int linux_local(struct port *port, port_handle handle, struct addr *addr)
{
    (void)port;
    union linux_sockaddr sockaddr;
    socklen_t len = sizeof sockaddr;
    memset(addr, 0, sizeof *addr);
    if (getsockname((int)handle, &sockaddr.any, &len) != 0) return os_error_map(errno);
    linux_addr_from(addr, &sockaddr.any, len);
    return 0;
}

int linux_peer(struct port *port, port_handle handle, struct addr *addr)
{
    (void)port;
    union linux_sockaddr sockaddr;
    socklen_t len = sizeof sockaddr;
    memset(addr, 0, sizeof *addr);
    if (getpeername((int)handle, &sockaddr.any, &len) != 0)
        return errno == ENOTCONN || errno == EINVAL ? SALLY_ENOCONN : os_error_map(errno);
    linux_addr_from(addr, &sockaddr.any, len);
    return 0;
}

int linux_self_connected(int fd)
{
    struct addr local, peer;
    if (linux_local(NULL, fd, &local) != 0 || linux_peer(NULL, fd, &peer) != 0) return 0;
    if (local.family != ADDR_V4 && local.family != ADDR_V6) return 0;
    return addr_equal(&local, &peer) ? SALLY_EADDRNOTAVAIL : 0;
}

/* --- options --- */

void linux_set_options(int fd, const struct port_sock_options *options)
{
    if (!options) return;
    if (options->send_buf_bytes)
        (void)option_set(fd, SOL_SOCKET, SO_SNDBUF, options->send_buf_bytes);
    if (options->recv_buf_bytes)
        (void)option_set(fd, SOL_SOCKET, SO_RCVBUF, options->recv_buf_bytes);
    /* the first option of TCP tells whether it is a TCP socket, without a call to ask */
    if (!options->delay && option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0) return;
    if (options->user_timeout_ms)
        (void)option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
    if (!options->keepalive_s) return;
    uint32_t idle_s = options->keepalive_s;
    if (idle_s > KEEPALIVE_IDLE_MAX_S) idle_s = KEEPALIVE_IDLE_MAX_S;
    if (option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s) != 0) return;
    (void)option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    (void)option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    (void)option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

void linux_reset_on_close(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

void linux_refuse(struct port *port, port_handle handle, enum port_close_mode mode)
{
    (void)port;
    if (mode == PORT_CLOSE_RST) linux_reset_on_close((int)handle);
    linux_close((int)handle);
}

int linux_probe(struct port *port, int *sys_error)
{
    (void)port;
    int fd = socket(AF_INET, SOCK_KIND, 0);
    if (fd < 0 && errno == EAFNOSUPPORT) fd = socket(AF_UNIX, SOCK_KIND, 0);
    if (fd < 0) {
        (void)failed(errno, sys_error);
        return SALLY_EEXHAUSTED;
    }
    close(fd);
    return 0;
}

/* --- listening --- */

/* listen() cuts what is too much down to the system's maximum. */
static int backlog_of(const struct port_listen_options *options)
{
    return options->backlog > 0 ? options->backlog : INT_MAX;
}

/* A listening socket of IPv4 or IPv6: the descriptor, or -1 with errno set. */
static int listen_ip(const struct addr *addr, const struct port_listen_options *options)
{
    union linux_sockaddr sockaddr;
    socklen_t len = linux_addr_to(addr, &sockaddr);
    int fd = socket(sockaddr.any.sa_family, SOCK_KIND, 0);
    if (fd < 0) return -1;
    /* what it accepts begins with them (tcp(7)); set before anybody can connect */
    linux_set_options(fd, options->accepted);
    if (option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) goto fail;
    if (options->share_port && option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) goto fail;
    if (addr->family == ADDR_V6 && option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6_only) != 0)
        goto fail;
    if (bind(fd, &sockaddr.any, len) != 0) goto fail;
    if (listen(fd, backlog_of(options)) != 0) goto fail;
    return fd;
fail:;
    int sys = errno;
    close(fd);
    errno = sys;
    return -1;
}

/* Both families on one socket; a machine without IPv6 gets IPv4's, unless only IPv6 is wanted. */
static int listen_any(uint16_t port_number, const struct port_listen_options *options)
{
    struct addr any = {.family = ADDR_V6, .port = port_number};
    int fd = listen_ip(&any, options);
    if (fd >= 0 || options->v6_only) return fd;
    if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) return -1;
    any.family = ADDR_V4;
    return listen_ip(&any, options);
}

/* True when nobody serves the socket's file any more and it has been removed. Anything that isn't a
 * socket stays. Under the folder's lock: a server that has bound and not yet listens looks dead
 * too, and what was found dead may be another's by the time it is removed. */
static bool unix_removed_dead(const union linux_sockaddr *sockaddr, socklen_t len)
{
    struct stat before, now;
    const char *path = sockaddr->un.sun_path;
    if (lstat(path, &before) != 0 || !S_ISSOCK(before.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_KIND, 0);
    if (fd < 0) return false;
    bool dead = connect(fd, &sockaddr->any, len) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!dead || lstat(path, &now) != 0) return false;
    if (now.st_dev != before.st_dev || now.st_ino != before.st_ino) return false;
    return unlink(path) == 0;
}

static int unix_bind(int fd, const union linux_sockaddr *sockaddr, socklen_t len, bool is_file)
{
    if (bind(fd, &sockaddr->any, len) == 0) return 0;
    if (errno != EADDRINUSE || !is_file) return -1;
    if (!unix_removed_dead(sockaddr, len)) {
        errno = EADDRINUSE;
        return -1;
    }
    return bind(fd, &sockaddr->any, len);
}

/* The permissions are set between bind and listen: nobody can connect before listen, so there is no
 * moment with wider ones, and the umask, which belongs to the whole process, stays as it is. */
static int unix_open(const char *path, const struct port_listen_options *options,
                     port_handle *handle, int *sys_error)
{
    union linux_sockaddr sockaddr;
    socklen_t len = path_to(path, &sockaddr);
    if (!len) return SALLY_EADDRESS;
    bool is_file = path[0] != '@';
    mode_t mode = options->unix_mode ? options->unix_mode : UNIX_MODE;
    int fd = socket(AF_UNIX, SOCK_KIND, 0);
    if (fd < 0) return failed(errno, sys_error);
    if (unix_bind(fd, &sockaddr, len, is_file) != 0) return close_failed(fd, sys_error);
    if (is_file && chmod(sockaddr.un.sun_path, mode) != 0) goto fail;
    if (listen(fd, backlog_of(options)) != 0) goto fail;
    *handle = fd;
    return 0;
fail:;
    int err = close_failed(fd, sys_error);
    if (is_file) unlink(sockaddr.un.sun_path);
    return err;
}

/* A file's one is made under the lock of its folder, from the look at a dead one's file to the
 * moment from which it can be seen to be alive. So of several that start at once on a path one has
 * it. Where a folder has no such lock they may still take it from each other. */
static int listen_unix(const char *path, const struct port_listen_options *options,
                       port_handle *handle, int *sys_error)
{
    char whole[ADDRESS_HOST_MAX + 1];
    size_t len = strnlen(path, ADDRESS_HOST_MAX);
    memcpy(whole, path, len);
    whole[len] = 0;
    int lock = whole[0] == '@' ? FOLDER_LOCK_NONE : linux_folder_lock(whole);
    if (lock == FOLDER_LOCK_BUSY) return failed(EADDRINUSE, sys_error);
    int err = unix_open(path, options, handle, sys_error);
    linux_folder_unlock(lock);
    return err;
}

static bool option_is(int fd, int name, int value)
{
    int number = 0;
    socklen_t len = sizeof number;
    return getsockopt(fd, SOL_SOCKET, name, &number, &len) == 0 && number == value;
}

bool linux_listens(int fd) { return option_is(fd, SO_ACCEPTCONN, 1); }

/* A descriptor that the program was given (socket activation); it stays open when it is refused. */
static int listen_given(int64_t number, port_handle *handle, int *sys_error)
{
    if (number < 0 || number > INT_MAX) return SALLY_EINVAL;
    int fd = (int)number;
    struct stat about;
    if (fstat(fd, &about) != 0) return failed(errno, sys_error);
    if (!S_ISSOCK(about.st_mode) || !option_is(fd, SO_TYPE, SOCK_STREAM) ||
        !option_is(fd, SO_ACCEPTCONN, 1))
        return SALLY_EINVAL;
    int status = fcntl(fd, F_GETFL);
    int flags = fcntl(fd, F_GETFD);
    if (status < 0 || flags < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0)
        return failed(errno, sys_error);
    *handle = fd;
    return 0;
}

int linux_listen(struct port *port, const struct address *address,
                 const struct port_listen_options *options, port_handle *handle, int *sys_error)
{
    static const struct port_listen_options defaults = {0};
    (void)port;
    if (!options) options = &defaults;
    if (sys_error) *sys_error = 0;
    *handle = PORT_NO_HANDLE;
    int fd;
    switch (address->kind) {
    case ADDRESS_PATH: return listen_unix(address->host, options, handle, sys_error);
    case ADDRESS_FD: return listen_given(address->fd, handle, sys_error);
    case ADDRESS_ANY: fd = listen_any(address->ip.port, options); break;
    case ADDRESS_IP:
        if (address->ip.family != ADDR_V4 && address->ip.family != ADDR_V6) return SALLY_EINVAL;
        fd = listen_ip(&address->ip, options);
        break;
    case ADDRESS_NAME: /* resolving blocks: the caller does it first */
    default: return SALLY_EINVAL;
    }
    if (fd < 0) return failed(errno, sys_error);
    *handle = fd;
    return 0;
}

/* --- connecting --- */

/* With port 0 the kernel chooses the local port only when it knows the target, so that the range of
 * ports is there once per target and not once in all. */
static int bind_from(int fd, const struct addr *from)
{
    union linux_sockaddr sockaddr;
    socklen_t len = linux_addr_to(from, &sockaddr);
    if (from->port == 0) {
        (void)option_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    } else if (option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) {
        return -1;
    }
    return bind(fd, &sockaddr.any, len);
}

int linux_connect_socket(const struct address *to, const struct addr *from,
                         const struct port_sock_options *options, union linux_sockaddr *sockaddr,
                         socklen_t *len, int *sys_error)
{
    if (sys_error) *sys_error = 0;
    if (from && from->family == ADDR_NONE) from = NULL;
    if (to->kind == ADDRESS_PATH) {
        *len = path_to(to->host, sockaddr);
        if (!*len) return SALLY_EADDRESS;
        if (from) return SALLY_EINVAL;
    } else {
        if (to->kind != ADDRESS_IP) return SALLY_EINVAL;
        *len = linux_addr_to(&to->ip, sockaddr);
        if (!*len || (from && from->family != to->ip.family)) return SALLY_EINVAL;
    }
    int fd = socket(sockaddr->any.sa_family, SOCK_KIND, 0);
    if (fd < 0) return failed(errno, sys_error);
    linux_set_options(fd, options);
    if (from && bind_from(fd, from) != 0) return close_failed(fd, sys_error);
    return fd;
}

bool linux_pending(struct port *port, port_handle handle)
{
    (void)port;
    struct pollfd poll_fd = {.fd = (int)handle, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}

/* A listening socket's TCP_INFO has its queue in fields that mean something else elsewhere: what
 * waits in tcpi_unacked, the maximum in tcpi_sacked (tcp_get_info in the kernel's net/ipv4/tcp.c,
 * the same as sock_diag(7) has in idiag_rqueue and idiag_wqueue). SO_MEMINFO (Linux 4.12) has the
 * socket's count of drops, as ss(8) shows it with --memory. */
bool linux_backlog(struct port *port, port_handle handle, struct port_backlog *backlog)
{
    struct tcp_info info;
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof info;
    (void)port;
    if (getsockopt((int)handle, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        info.tcpi_state != TCP_LISTEN)
        return false;
    backlog->waiting = info.tcpi_unacked;
    backlog->max = info.tcpi_sacked;
    len = sizeof memory;
    if (getsockopt((int)handle, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0 &&
        len > SK_MEMINFO_DROPS * sizeof memory[0])
        backlog->dropped = memory[SK_MEMINFO_DROPS];
    return true;
}
