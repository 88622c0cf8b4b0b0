/* The few calls of POSIX sockets that the raw peers of tests/net make, on Winsock: so that the same
 * peers stand against the engine on Windows. Descriptors are SOCKETs, which are small numbers.
 * Errors come in errno. Elsewhere there is nothing in it. Any thread. */
#ifndef WIN32_POSIX_SOCKETS_H
#define WIN32_POSIX_SOCKETS_H

#if defined(_WIN32)

#include <errno.h>
#include <stdint.h>
#include <winsock2.h>
#include <ws2tcpip.h>

#include <unistd.h>

enum {
    SOCK_CLOEXEC = 0,
    SOCK_NONBLOCK = 0x800,
    MSG_NOSIGNAL = 0,
    MSG_DONTWAIT = 0x40,
    SHUT_WR = SD_SEND,
};

int posix_socket(int family, int kind, int protocol);
int posix_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int posix_connect(int fd, const struct sockaddr *addr, socklen_t len);
int posix_bind(int fd, const struct sockaddr *addr, socklen_t len);
int posix_listen(int fd, int backlog);
int posix_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int posix_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
ssize_t posix_send(int fd, const void *data, size_t len, int flags);
ssize_t posix_recv(int fd, void *data, size_t len, int flags);
int posix_poll(struct pollfd *fds, unsigned count, int timeout_ms);
int posix_close(int fd);

#define socket                     posix_socket
#define accept4                    posix_accept4
#define connect                    posix_connect
#define bind                       posix_bind
#define listen                     posix_listen
#define setsockopt                 posix_setsockopt
#define getsockopt                 posix_getsockopt
#define send                       posix_send
#define recv                       posix_recv
#define poll                       posix_poll
#define close                      posix_close
#define shutdown(fd, how)          shutdown((SOCKET)(fd), how)
#define getsockname(fd, addr, len) getsockname((SOCKET)(fd), addr, len)
#define getpeername(fd, addr, len) getpeername((SOCKET)(fd), addr, len)

#endif

#endif
