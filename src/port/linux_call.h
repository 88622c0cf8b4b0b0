/* recv, send, epoll_wait, accept and close as plain system calls. glibc's own functions are
 * cancellation points: in a program with more than one thread each of them sets and clears a mark
 * with atomic operations, about 30 instructions a call, and nobody here is ever cancelled. Its
 * syscall() is a call that moves six arguments, and who calls it saves registers for that; so where
 * the instruction is known it stands here (syscall(2) has the registers). Sanitizers watch glibc's
 * functions, so they get those.
 * All return the result or a negative errno: errno itself is a call to find. No state. */
#ifndef PORT_LINUX_CALL_H
#define PORT_LINUX_CALL_H

#include <errno.h>
#include <stdint.h>
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
static inline ssize_t linux_result(ssize_t result) { return result < 0 ? -errno : result; }
static inline ssize_t linux_recv(int fd, void *data, size_t len, int flags)
{
    return linux_result(recv(fd, data, len, flags));
}
static inline ssize_t linux_send(int fd, const void *data, size_t len, int flags)
{
    return linux_result(send(fd, data, len, flags));
}
static inline int linux_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    return (int)linux_result(epoll_wait(fd, events, max, timeout_ms));
}
static inline int linux_accept(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    return (int)linux_result(accept4(fd, peer, len, flags));
}
/* Not glibc's: io_uring makes and closes descriptors unseen by ThreadSanitizer, which would take
 * the close of a number by one thread and a send to the next socket of that number by another, or a
 * receive from it, for a race. */
static inline void linux_close(int fd) { (void)syscall(SYS_close, fd); }
static inline ssize_t linux_ring_recv(int fd, void *data, size_t len, int flags)
{
    return linux_result(syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL));
}
static inline int linux_ring_enter(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                                   void *arg, size_t bytes)
{
    return (int)linux_result(syscall(SYS_io_uring_enter, fd, submit, wait, flags, arg, bytes));
}
#else

#if defined(__x86_64__) && defined(__LP64__)
static inline long linux_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return number;
}
#else
static inline long linux_call(long number, long a, long b, long c, long d, long e, long f)
{
    long result = syscall(number, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
}
#endif

static inline int linux_ring_enter(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                                   void *arg, size_t bytes)
{
    return (int)linux_call(SYS_io_uring_enter, fd, submit, wait, flags, (long)(uintptr_t)arg,
                           (long)bytes);
}

static inline ssize_t linux_recv(int fd, void *data, size_t len, int flags)
{
    return linux_call(SYS_recvfrom, fd, (long)(uintptr_t)data, (long)len, flags, 0, 0);
}
static inline ssize_t linux_ring_recv(int fd, void *data, size_t len, int flags)
{
    return linux_recv(fd, data, len, flags);
}
static inline ssize_t linux_send(int fd, const void *data, size_t len, int flags)
{
    return linux_call(SYS_sendto, fd, (long)(uintptr_t)data, (long)len, flags, 0, 0);
}
static inline int linux_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    return (int)linux_call(SYS_epoll_pwait, fd, (long)(uintptr_t)events, max, timeout_ms, 0, 0);
}
static inline int linux_accept(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    return (int)linux_call(SYS_accept4, fd, (long)(uintptr_t)peer, (long)(uintptr_t)len, flags, 0,
                           0);
}
static inline void linux_close(int fd) { (void)linux_call(SYS_close, fd, 0, 0, 0, 0, 0); }
#endif

#endif
