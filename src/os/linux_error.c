/* errno in the library's codes. Static memory; any thread. */
#include "os/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "sallyport/error.h"

/* By errno; 0: none of these. */
static const int codes[] = {
    /* nothing left: of the process, of the system, of the network stack */
    [EMFILE] = SALLY_EEXHAUSTED,
    [ENFILE] = SALLY_EEXHAUSTED,
    [ENOBUFS] = SALLY_EEXHAUSTED,
    [ENOMEM] = SALLY_EEXHAUSTED,
    [ENOSR] = SALLY_EEXHAUSTED,
    [ENOSPC] = SALLY_EEXHAUSTED,
    [EDQUOT] = SALLY_EEXHAUSTED,
    [EUSERS] = SALLY_EEXHAUSTED,
    [EAGAIN] = SALLY_EEXHAUSTED, /* of connect: no local port left, or a Unix backlog is full */
    /* addresses */
    [EADDRINUSE] = SALLY_EADDRINUSE,
    [EADDRNOTAVAIL] = SALLY_EADDRNOTAVAIL,
    [ENODEV] = SALLY_EADDRNOTAVAIL, /* a scope that names no interface */
    [ENOENT] = SALLY_EADDRNOTAVAIL, /* a Unix socket's path, to connect to or to make it in */
    [ENOTDIR] = SALLY_EADDRNOTAVAIL,
    [ELOOP] = SALLY_EADDRNOTAVAIL,
    [ENAMETOOLONG] = SALLY_EADDRESS,
    [EACCES] = SALLY_EACCES,
    [EPERM] = SALLY_EACCES,
    [EROFS] = SALLY_EACCES,
    [EDESTADDRREQ] = SALLY_EINVAL,
    /* the peer, and the way to it */
    [ECONNREFUSED] = SALLY_EREFUSED,
    [ECONNRESET] = SALLY_ERESET,
    [ECONNABORTED] = SALLY_ERESET,
    [EPIPE] = SALLY_ERESET,
    [ENETRESET] = SALLY_ERESET,
    [ESHUTDOWN] = SALLY_ECLOSED,
    [ENOTCONN] = SALLY_ECLOSED,
    [ENETUNREACH] = SALLY_EUNREACH,
    [EHOSTUNREACH] = SALLY_EUNREACH,
    [ENETDOWN] = SALLY_EUNREACH,
    [EHOSTDOWN] = SALLY_EUNREACH,
    [ENONET] = SALLY_EUNREACH,
    [ENOLINK] = SALLY_EUNREACH,
    [ENOPROTOOPT] = SALLY_ENOTSUP,
    [ETIMEDOUT] = SALLY_ETIMEDOUT,
    [ETIME] = SALLY_ETIMEDOUT, /* io_uring's */
    [ECANCELED] = SALLY_ECANCELED,
    /* the call */
    [EINVAL] = SALLY_EINVAL,
    [EBADF] = SALLY_EINVAL,
    [ENOTSOCK] = SALLY_EINVAL,
    [EMSGSIZE] = SALLY_EINVAL,
    [EISCONN] = SALLY_ESTATE,
    [EALREADY] = SALLY_ESTATE,
    [EAFNOSUPPORT] = SALLY_ENOTSUP,
    [EPFNOSUPPORT] = SALLY_ENOTSUP,
    [EPROTONOSUPPORT] = SALLY_ENOTSUP,
    [EPROTOTYPE] = SALLY_ENOTSUP,
    [ESOCKTNOSUPPORT] = SALLY_ENOTSUP,
    [EOPNOTSUPP] = SALLY_ENOTSUP,
    [ENOSYS] = SALLY_ENOTSUP,
};

int os_error_map(int sys_error)
{
    if (sys_error == 0) return 0;
    bool known = sys_error > 0 && (size_t)sys_error < sizeof codes / sizeof *codes;
    return known && codes[sys_error] ? codes[sys_error] : SALLY_ESYSTEM;
}

/* %m instead of strerror_r: that one has two shapes, and which one it is depends on the C library.
 */
const char *os_error_text(int sys_error, char *buf, unsigned long size)
{
    int kept = errno;
    errno = sys_error;
    snprintf(buf, size, "%m");
    errno = kept;
    return buf;
}
