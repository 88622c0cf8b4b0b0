/* recv, send and epoll_wait as plain system calls. glibc's own functions are cancellation points:
 * in a program with more than one thread each of them sets and clears a mark with atomic
 * operations, about 30 instructions a call, and nobody here is ever cancelled. Sanitizers watch
 * glibc's functions, so they get those. No state. */
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
#if !defined(SYS_recvfrom) || !defined(SYS_sendto) || !defined(SYS_epoll_pwait)
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
#endif

#endif
