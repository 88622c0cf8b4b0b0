/* The fake's sockets and operations, on Linux'; see fake.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port/linux_sock.h"
#include "win32/support/fake.h"

enum { STATUS_PENDING = 0x103 };

/* --- codes --- */

int fake_code_of(int number)
{
    switch (number) {
    case 0: return 0;
    case EMFILE:
    case ENFILE: return WIN32_WSAEMFILE;
    case ENOBUFS:
    case ENOMEM: return WIN32_WSAENOBUFS;
    case EAGAIN: return WIN32_WSAEWOULDBLOCK;
    case EADDRINUSE: return WIN32_WSAEADDRINUSE;
    case EADDRNOTAVAIL: return WIN32_WSAEADDRNOTAVAIL;
    case EACCES: return WIN32_WSAEACCES;
    case EAFNOSUPPORT: return WIN32_WSAEAFNOSUPPORT;
    case ECONNREFUSED: return WIN32_WSAECONNREFUSED;
    case ECONNRESET: return WIN32_WSAECONNRESET;
    case ECONNABORTED: return WIN32_WSAECONNABORTED;
    case EPIPE: return WIN32_WSAESHUTDOWN;
    case ENOTCONN: return WIN32_WSAENOTCONN;
    case ENOTSOCK:
    case EBADF: return WIN32_WSAENOTSOCK;
    case ENETUNREACH: return WIN32_WSAENETUNREACH;
    case ETIMEDOUT: return WIN32_WSAETIMEDOUT;
    default: return WIN32_WSAEINVAL;
    }
}

/* A status that leads to the same code. */
static uint32_t status_of(int number)
{
    switch (fake_code_of(number)) {
    case 0: return 0;
    case WIN32_WSAEMFILE: return (uint32_t)WIN32_STATUS_TOO_MANY_OPENED_FILES;
    case WIN32_WSAENOBUFS: return (uint32_t)WIN32_STATUS_INSUFFICIENT_RESOURCES;
    case WIN32_WSAECONNREFUSED: return (uint32_t)WIN32_STATUS_CONNECTION_REFUSED;
    case WIN32_WSAECONNABORTED: return (uint32_t)WIN32_STATUS_CONNECTION_ABORTED;
    case WIN32_WSAENETUNREACH: return (uint32_t)WIN32_STATUS_NETWORK_UNREACHABLE;
    case WIN32_WSAEADDRNOTAVAIL: return (uint32_t)WIN32_STATUS_INVALID_ADDRESS;
    case WIN32_WSAETIMEDOUT: return (uint32_t)WIN32_STATUS_IO_TIMEOUT;
    case WIN32_WSAESHUTDOWN:
    case WIN32_WSAECONNRESET: return (uint32_t)WIN32_STATUS_CONNECTION_RESET;
    default: return (uint32_t)WIN32_STATUS_INVALID_PARAMETER;
    }
}

static int code_if(bool failed) { return failed ? fake_code_of(errno) : 0; }

static int fault_of(void *ctx, enum fake_call call)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, call);
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

/* --- sockets --- */

static int call_socket(void *ctx, enum addr_family family, port_handle *handle)
{
    int sys = fault_of(ctx, FAKE_SOCKET);
    if (sys) return sys;
    int kind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(family == ADDR_V6 ? AF_INET6 : AF_INET, kind, 0);
    if (fd < 0) return fake_code_of(errno);
    if (fd >= FAKE_FDS_MAX) abort();
    *handle = fd;
    return 0;
}

static int call_close(void *ctx, port_handle handle)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    (void)fake_end(fake, (int)handle, NULL, fake->closed_status);
    fake_end_accept(fake, (int)handle);
    fake->socks[handle] = (struct fake_sock){0};
    if (close((int)handle) != 0) abort(); /* to Windows it may be somebody else's by now */
    pthread_mutex_unlock(&fake->lock);
    return 0;
}

static int call_bind(void *ctx, port_handle handle, const struct addr *addr)
{
    union linux_sockaddr sockaddr;
    int sys = fault_of(ctx, FAKE_BIND);
    if (sys) return sys;
    socklen_t len = linux_addr_to(addr, &sockaddr);
    return code_if(bind((int)handle, &sockaddr.any, len) != 0);
}

static int call_listen(void *ctx, port_handle handle, int backlog)
{
    (void)ctx;
    return code_if(listen((int)handle, backlog > 0 ? backlog : INT32_MAX) != 0);
}

static int set(port_handle handle, int level, int name, int value)
{
    return code_if(setsockopt((int)handle, level, name, &value, sizeof value) != 0);
}

static int set_taken(struct fake *fake, port_handle handle)
{
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_TAKEN);
    if (!sys) fake->socks[handle].watcher = NULL;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_option(void *ctx, port_handle handle, enum win32_option option, int64_t value)
{
    switch (option) {
    case WIN32_NO_DELAY: return set(handle, IPPROTO_TCP, TCP_NODELAY, (int)value);
    case WIN32_SEND_BUF: return set(handle, SOL_SOCKET, SO_SNDBUF, (int)value);
    case WIN32_RECV_BUF: return set(handle, SOL_SOCKET, SO_RCVBUF, (int)value);
    case WIN32_V6_ONLY: return set(handle, IPPROTO_IPV6, IPV6_V6ONLY, (int)value);
    case WIN32_EXCLUSIVE: /* Linux: what this means there, connections of before may linger */
        return set(handle, SOL_SOCKET, SO_REUSEADDR, 1);
    case WIN32_RESET_ON_CLOSE: linux_reset_on_close((int)handle); return 0;
    case WIN32_ACCEPTED: return fault_of(ctx, FAKE_ACCEPTED);
    case WIN32_CONNECTED: return fault_of(ctx, FAKE_CONNECTED);
    case WIN32_TAKEN: return set_taken(ctx, handle);
    case WIN32_KEEPALIVE:
    case WIN32_USER_TIMEOUT:
    case WIN32_REUSE_UNICAST: return WIN32_WSAENOPROTOOPT;
    case WIN32_NON_BLOCKING: return 0;
    }
    return WIN32_WSAEINVAL;
}

static int call_is_listener(void *ctx, port_handle handle, bool *is)
{
    (void)ctx;
    int listens = 0;
    socklen_t len = sizeof listens;
    int sys = code_if(getsockopt((int)handle, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0);
    *is = listens;
    return sys;
}

static int call_has_newcomer(void *ctx, port_handle handle, bool *has)
{
    (void)ctx;
    *has = linux_pending(NULL, handle);
    return 0;
}

static int call_local(void *ctx, port_handle handle, struct addr *addr)
{
    (void)ctx;
    union linux_sockaddr sockaddr;
    socklen_t len = sizeof sockaddr;
    if (getsockname((int)handle, &sockaddr.any, &len) != 0) return fake_code_of(errno);
    linux_addr_from(addr, &sockaddr.any, len);
    return 0;
}

static int call_peer(void *ctx, port_handle handle, struct addr *addr)
{
    (void)ctx;
    union linux_sockaddr sockaddr;
    socklen_t len = sizeof sockaddr;
    if (getpeername((int)handle, &sockaddr.any, &len) != 0) return fake_code_of(errno);
    linux_addr_from(addr, &sockaddr.any, len);
    return 0;
}

static int call_shutdown(void *ctx, port_handle handle)
{
    (void)ctx;
    return code_if(shutdown((int)handle, SHUT_WR) != 0);
}

static int call_read(void *ctx, port_handle handle, void *buf, uint32_t len, uint32_t *got)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_READ);
    ssize_t count = sys ? 0 : recv((int)handle, buf, len, MSG_DONTWAIT);
    if (count < 0) sys = fake_code_of(errno);
    fake->socks[handle].heard = false;
    pthread_mutex_unlock(&fake->lock);
    if (sys) return sys;
    *got = (uint32_t)count;
    return 0;
}

/* --- operations that go on --- */

static bool finished(struct fake_op *op, int number, uint64_t bytes)
{
    op->overlapped->status = status_of(number);
    op->overlapped->bytes = bytes;
    return true;
}

/* With no bytes asked for: whether a receive would have something to say. */
static bool try_recv(int fd, struct fake_op *op)
{
    unsigned char one;
    void *to = op->len ? op->buf : &one;
    size_t len = op->len ? op->len : 1;
    ssize_t got = recv(fd, to, len, MSG_DONTWAIT | (op->len ? 0 : MSG_PEEK));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got < 0) return finished(op, errno, 0);
    return finished(op, 0, op->len ? (uint64_t)got : 0);
}

/* All of it, as the real ones do. */
static bool try_send(int fd, struct fake_op *op)
{
    for (unsigned i = 0; i < op->count; i++) {
        struct span *span = &op->spans[i];
        while (span->len) {
            ssize_t sent = send(fd, span->data, span->len, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0 && errno == EAGAIN) return false;
            if (sent < 0) return finished(op, errno, op->overlapped->bytes);
            span->data = (const unsigned char *)span->data + sent;
            span->len -= (size_t)sent;
            op->overlapped->bytes += (uint64_t)sent;
        }
    }
    op->overlapped->status = 0;
    return true;
}

/* A file that ends before: what there was of it. */
static bool try_transmit(int fd, struct fake_op *op)
{
    unsigned char piece[16384];
    while (op->len) {
        size_t len = op->len < sizeof piece ? op->len : sizeof piece;
        ssize_t got = pread(op->file, piece, len, (off_t)op->offset);
        if (got < 0) {
            op->overlapped->status = (uint32_t)WIN32_STATUS_DEVICE_DATA_ERROR;
            return true;
        }
        if (got == 0) break;
        ssize_t sent = send(fd, piece, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) return finished(op, errno, op->overlapped->bytes);
        op->offset += (uint64_t)sent;
        op->len -= (uint32_t)sent;
        op->overlapped->bytes += (uint64_t)sent;
    }
    op->overlapped->status = 0;
    return true;
}

/* Bytes, the end of the stream, or an error end it. */
static bool try_first(struct fake_op *op)
{
    ssize_t got = recv(op->newcomer, op->buf, op->len, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    return finished(op, got < 0 ? errno : 0, got > 0 ? (uint64_t)got : 0);
}

/* The newcomer comes in under the number of the socket that was made for it. */
static bool try_accept(int fd, struct fake_op *op)
{
    union linux_sockaddr peer;
    socklen_t len = sizeof peer;
    if (op->connected) return try_first(op);
    memset(&peer, 0, sizeof peer);
    int newcomer = accept4(fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (newcomer < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (newcomer < 0) return finished(op, errno, 0);
    if (dup3(newcomer, op->newcomer, O_CLOEXEC) < 0) abort();
    close(newcomer);
    memcpy(op->buf + op->len, &peer,
           sizeof peer < WIN32_ADDRS_BYTES ? sizeof peer : WIN32_ADDRS_BYTES);
    if (!op->len) return finished(op, 0, 0);
    op->connected = true;
    op->since_ms = fake_now_ms();
    return try_first(op);
}

bool fake_accepts(const struct fake_sock *sock)
{
    for (const struct fake_op *op = sock->ops; op; op = op->next)
        if (op->kind == FAKE_ACCEPT && !op->connected) return true;
    return false;
}

static bool try_connect(int fd, struct fake_op *op)
{
    struct pollfd look = {.fd = fd, .events = POLLOUT};
    int number = 0;
    socklen_t len = sizeof number;
    if (poll(&look, 1, 0) != 1) return false;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0) abort();
    return finished(op, number, 0);
}

bool fake_op_try(struct fake *fake, int fd, struct fake_op *op)
{
    bool done = false;
    int status = 0;
    switch (op->kind) {
    case FAKE_RECV:
        done = try_recv(fd, op);
        if (done) status = fake_fault(fake, FAKE_RECV_ENDS);
        break;
    case FAKE_SEND: done = try_send(fd, op); break;
    case FAKE_ACCEPT:
        done = try_accept(fd, op);
        if (done) status = fake_fault(fake, FAKE_ACCEPT_ENDS);
        break;
    case FAKE_CONNECT: done = try_connect(fd, op); break;
    case FAKE_TRANSMIT:
        done = try_transmit(fd, op);
        if (done) status = fake_fault(fake, FAKE_TRANSMIT_ENDS);
        break;
    default: abort();
    }
    if (status) op->overlapped->status = (uint32_t)status;
    return done;
}

short fake_op_events(const struct fake_op *op)
{
    return op->kind == FAKE_RECV || op->kind == FAKE_ACCEPT ? POLLIN : POLLOUT;
}

/* --- starting --- */

static bool dice(struct fake *fake, uint32_t percent)
{
    fake->random ^= fake->random << 13;
    fake->random ^= fake->random >> 7;
    fake->random ^= fake->random << 17;
    return fake->random % 100 < percent;
}

static bool same_kind_before(const struct fake_sock *sock, enum fake_call kind)
{
    for (const struct fake_op *op = sock->ops; op; op = op->next)
        if (op->kind == kind) return true;
    return false;
}

/* Errors that the socket has already are told by the call itself, without a packet. */
static int finish_at_once(struct fake *fake, int fd, struct fake_op *op)
{
    struct fake_sock *sock = &fake->socks[fd];
    int sys = win32_code_of_status((uint32_t)op->overlapped->status);
    if (sys) {
        free(op);
        return sys;
    }
    if (dice(fake, fake->pended_percent)) {
        fake_op_packet(fake, fd, op);
        return WIN32_ERROR_IO_PENDING;
    }
    if (sock->skips)
        free(op);
    else
        fake_op_packet(fake, fd, op);
    return 0;
}

static int start(struct fake *fake, int fd, const struct fake_op *wanted)
{
    struct fake_sock *sock = &fake->socks[fd];
    int sys = fake_fault(fake, wanted->kind);
    if (!sys && !sock->port) abort(); /* it would never be told of */
    if (sys) return sys;
    struct fake_op *op = malloc(sizeof *op);
    if (!op) abort();
    *op = *wanted;
    op->next = NULL;
    op->overlapped->status = STATUS_PENDING;
    op->overlapped->bytes = 0;
    bool later = (op->kind == FAKE_ACCEPT && !fake->accepts_at_once) || op->kind == FAKE_CONNECT ||
                 (op->kind == FAKE_TRANSMIT && !fake->transmits_at_once) ||
                 same_kind_before(sock, op->kind);
    if (!later && fake_op_try(fake, fd, op)) return finish_at_once(fake, fd, op);
    struct fake_op **link = &sock->ops;
    while (*link) link = &(*link)->next;
    *link = op;
    return WIN32_ERROR_IO_PENDING;
}

static int start_locked(void *ctx, port_handle handle, const struct fake_op *wanted)
{
    struct fake *fake = ctx;
    pthread_mutex_lock(&fake->lock);
    int sys = start(fake, (int)handle, wanted);
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

static int call_recv(void *ctx, port_handle handle, void *buf, uint32_t len,
                     struct win32_overlapped *overlapped)
{
    struct fake_op op = {.kind = FAKE_RECV, .overlapped = overlapped, .buf = buf, .len = len};
    return start_locked(ctx, handle, &op);
}

static int call_send(void *ctx, port_handle handle, const struct span *spans, unsigned count,
                     struct win32_overlapped *overlapped)
{
    struct fake_op op = {.kind = FAKE_SEND, .overlapped = overlapped, .count = count};
    if (count > WIN32_SPANS_MAX) abort();
    memcpy(op.spans, spans, count * sizeof *spans);
    return start_locked(ctx, handle, &op);
}

static bool call_can_transmit(void *ctx) { return !((struct fake *)ctx)->no_transmit; }

static int call_transmit(void *ctx, port_handle handle, os_file file, uint32_t bytes,
                         struct win32_overlapped *overlapped)
{
    struct fake_op op = {.kind = FAKE_TRANSMIT,
                         .overlapped = overlapped,
                         .file = (int)file,
                         .offset = overlapped->offset,
                         .len = bytes};
    if (!bytes) abort(); /* to Windows that is the whole file */
    return start_locked(ctx, handle, &op);
}

static int call_file_bytes(void *ctx, os_file file, uint64_t *bytes)
{
    struct stat status;
    int sys = fault_of(ctx, FAKE_FILE_BYTES);
    if (sys) return sys;
    if (fstat((int)file, &status) != 0) return WIN32_ERROR_INVALID_HANDLE;
    *bytes = (uint64_t)status.st_size + ((struct fake *)ctx)->file_bytes_more;
    return 0;
}

static int call_accept(void *ctx, enum addr_family family, port_handle listener, port_handle handle,
                       void *buf, uint32_t first, struct win32_overlapped *overlapped)
{
    struct fake *fake = ctx;
    (void)family;
    struct fake_op op = {.kind = FAKE_ACCEPT,
                         .overlapped = overlapped,
                         .buf = buf,
                         .len = first,
                         .newcomer = (int)handle};
    fake->socks[listener].signalled = false;
    return start_locked(ctx, listener, &op);
}

static void call_accept_peer(void *ctx, enum addr_family family, void *buf, uint32_t first,
                             struct addr *peer)
{
    (void)ctx, (void)family;
    union linux_sockaddr sockaddr;
    memcpy(&sockaddr, (unsigned char *)buf + first,
           sizeof sockaddr < WIN32_ADDRS_BYTES ? sizeof sockaddr : WIN32_ADDRS_BYTES);
    linux_addr_from(peer, &sockaddr.any, sizeof sockaddr);
}

static int call_connect(void *ctx, port_handle handle, const struct addr *to,
                        struct win32_overlapped *overlapped)
{
    union linux_sockaddr sockaddr;
    socklen_t len = linux_addr_to(to, &sockaddr);
    struct fake_op op = {.kind = FAKE_CONNECT, .overlapped = overlapped};
    if (connect((int)handle, &sockaddr.any, len) != 0 && errno != EINPROGRESS)
        return fake_code_of(errno);
    return start_locked(ctx, handle, &op);
}

static int call_cancel(void *ctx, port_handle handle, struct win32_overlapped *overlapped)
{
    struct fake *fake = ctx;
    if (handle < 0) abort(); /* to Windows -1 is this process itself */
    pthread_mutex_lock(&fake->lock);
    int sys = fake_fault(fake, FAKE_CANCEL);
    if (!sys && !fake_end(fake, (int)handle, overlapped, (uint32_t)WIN32_STATUS_CANCELLED))
        sys = WIN32_ERROR_NOT_FOUND;
    pthread_mutex_unlock(&fake->lock);
    return sys;
}

void fake_sock_calls(struct win32_calls *calls)
{
    calls->socket = call_socket;
    calls->close = call_close;
    calls->bind = call_bind;
    calls->listen = call_listen;
    calls->option = call_option;
    calls->is_listener = call_is_listener;
    calls->has_newcomer = call_has_newcomer;
    calls->local = call_local;
    calls->peer = call_peer;
    calls->shutdown = call_shutdown;
    calls->read = call_read;
    calls->recv = call_recv;
    calls->send = call_send;
    calls->can_transmit = call_can_transmit;
    calls->transmit = call_transmit;
    calls->file_bytes = call_file_bytes;
    calls->accept = call_accept;
    calls->accept_peer = call_accept_peer;
    calls->connect = call_connect;
    calls->cancel = call_cancel;
    fake_hold_calls(calls);
}
