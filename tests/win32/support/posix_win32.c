/* See win32/posix/sockets.h. */
#include <stdbool.h>
#include <sys/time.h>

#include "os/network.h"
#include "win32/posix/sockets.h"

#undef socket
#undef connect
#undef bind
#undef listen
#undef setsockopt
#undef getsockopt
#undef send
#undef recv
#undef close

static int failed(void)
{
    switch (WSAGetLastError()) {
    case WSAEWOULDBLOCK:
    case WSAETIMEDOUT: errno = EAGAIN; break;
    case WSAECONNRESET:
    case WSAECONNABORTED: errno = ECONNRESET; break;
    case WSAECONNREFUSED: errno = ECONNREFUSED; break;
    default: errno = EIO;
    }
    return -1;
}

static int result(int value) { return value < 0 ? failed() : value; }

int posix_socket(int family, int kind, int protocol)
{
    if (os_network_start() != 0) return -1;
    SOCKET sock = socket(family, kind, protocol);
    return sock == INVALID_SOCKET ? failed() : (int)sock;
}

int posix_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    (void)flags;
    SOCKET sock = accept((SOCKET)fd, addr, len);
    return sock == INVALID_SOCKET ? failed() : (int)sock;
}

int posix_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return result(connect((SOCKET)fd, addr, len));
}

int posix_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return result(bind((SOCKET)fd, addr, len));
}

int posix_listen(int fd, int backlog) { return result(listen((SOCKET)fd, backlog)); }

/* Winsock has its time limits in milliseconds. */
int posix_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    DWORD limit_ms;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        const struct timeval *limit = value;
        limit_ms = (DWORD)(limit->tv_sec * 1000 + limit->tv_usec / 1000);
        value = &limit_ms;
        len = sizeof limit_ms;
    }
    return result(setsockopt((SOCKET)fd, level, name, value, len));
}

int posix_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return result(getsockopt((SOCKET)fd, level, name, value, len));
}

/* For the one call. */
static void set_blocking(int fd, bool blocking)
{
    u_long on = !blocking;
    (void)ioctlsocket((SOCKET)fd, FIONBIO, &on);
}

ssize_t posix_send(int fd, const void *data, size_t len, int flags)
{
    if (flags & MSG_DONTWAIT) set_blocking(fd, false);
    int sent = send((SOCKET)fd, data, (int)len, 0);
    if (sent < 0) (void)failed();
    if (flags & MSG_DONTWAIT) set_blocking(fd, true);
    return sent;
}

/* Wine 8 tells a reset that came before the call as the end of the stream; WSAPoll knows. */
static int read_end(int fd)
{
    WSAPOLLFD look = {.fd = (SOCKET)fd, .events = POLLRDNORM};
    if (WSAPoll(&look, 1, 0) <= 0 || !(look.revents & POLLERR)) return 0;
    errno = ECONNRESET;
    return -1;
}

ssize_t posix_recv(int fd, void *data, size_t len, int flags)
{
    if (flags & MSG_DONTWAIT) set_blocking(fd, false);
    int got = recv((SOCKET)fd, data, (int)len, 0);
    if (got < 0) (void)failed();
    int kept = errno;
    if (flags & MSG_DONTWAIT) set_blocking(fd, true);
    errno = kept;
    return got == 0 && len ? read_end(fd) : got;
}

int posix_poll(struct pollfd *fds, unsigned count, int timeout_ms)
{
    return result(WSAPoll(fds, count, timeout_ms));
}

int posix_close(int fd) { return result(closesocket((SOCKET)fd)); }
