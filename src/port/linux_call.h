/* recv, send, epoll_wait, accept and close as plain system calls. glibc's own functions are
 * cancellation points: in a program with more than one thread each of them sets and clears a mark
 * with atomic operations, about 30 instructions a call, and nobody here is ever cancelled.
 * Sanitizers watch glibc's functions, so they get those. No state. */
#ifndef PORT_LINUX_CALL_H
#define PORT_LINUX_CALL_H

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LINUX_CALL_LIBC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LINUX_CALL_LIBC 1
#endif
#endif
#if !defined(SYS_recvfrom) || !defined(SYS_sendto) || !defined(SYS_epoll_pwait) ||                 \
    !defined(SYS_accept4)
#define LINUX_CALL_LIBC 1
#endif

#if defined(LINUX_CALL_LIBC)
static inline ssize_t linux_recv(int fd, void *data, size_t len, int flags)
{
    return recv(fd, data, len, flags);
}
static inline ssize_t linux_send(int fd, const void *data, size_t len, int flags)
{
    return send(fd, data, len, flags);
}
static inline int linux_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    return epoll_wait(fd, events, max, timeout_ms);
}
static inline int linux_accept(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    return accept4(fd, peer, len, flags);
}
static inline void linux_close(int fd) { (void)close(fd); }
#else
static inline ssize_t linux_recv(int fd, void *data, size_t len, int flags)
{
    return syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
}
static inline ssize_t linux_send(int fd, const void *data, size_t len, int flags)
{
    return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}
static inline int linux_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    return (int)syscall(SYS_epoll_pwait, fd, events, max, timeout_ms, NULL, 0);
}
static inline int linux_accept(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    return (int)syscall(SYS_accept4, fd, peer, len, flags);
}
static inline void linux_close(int fd) { (void)syscall(SYS_close, fd); }
#endif

#endif
