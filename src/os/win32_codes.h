/* The codes of Windows that the library knows, as plain numbers: so that what depends on them alone
 * can be built and tested on any system. src/os/win32_text.c checks them against the system's. */
#ifndef OS_WIN32_CODES_H
#define OS_WIN32_CODES_H

#include <stdint.h>

/* X(name without prefix, number): Win32's, from ERROR_... */
#define WIN32_ERROR_CODES(X)                                                                       \
    X(FILE_NOT_FOUND, 2)                                                                           \
    X(PATH_NOT_FOUND, 3)                                                                           \
    X(TOO_MANY_OPEN_FILES, 4)                                                                      \
    X(ACCESS_DENIED, 5)                                                                            \
    X(INVALID_HANDLE, 6)                                                                           \
    X(NOT_ENOUGH_MEMORY, 8)                                                                        \
    X(OUTOFMEMORY, 14)                                                                             \
    X(CRC, 23)                                                                                     \
    X(GEN_FAILURE, 31)                                                                             \
    X(LOCK_VIOLATION, 33)                                                                          \
    X(HANDLE_EOF, 38)                                                                              \
    X(NOT_SUPPORTED, 50)                                                                           \
    X(UNEXP_NET_ERR, 59)                                                                           \
    X(NETNAME_DELETED, 64)                                                                         \
    X(INVALID_PARAMETER, 87)                                                                       \
    X(SEM_TIMEOUT, 121)                                                                            \
    X(INSUFFICIENT_BUFFER, 122)                                                                    \
    X(WAIT_TIMEOUT, 258)                                                                           \
    X(HANDLES_CLOSED, 676)                                                                         \
    X(ABANDONED_WAIT_0, 735)                                                                       \
    X(OPERATION_ABORTED, 995)                                                                      \
    X(IO_INCOMPLETE, 996)                                                                          \
    X(IO_PENDING, 997)                                                                             \
    X(IO_DEVICE, 1117)                                                                             \
    X(NOT_FOUND, 1168)                                                                             \
    X(CANCELLED, 1223)                                                                             \
    X(CONNECTION_REFUSED, 1225)                                                                    \
    X(ADDRESS_ALREADY_ASSOCIATED, 1227)                                                            \
    X(NETWORK_UNREACHABLE, 1231)                                                                   \
    X(HOST_UNREACHABLE, 1232)                                                                      \
    X(PROTOCOL_UNREACHABLE, 1233)                                                                  \
    X(PORT_UNREACHABLE, 1234)                                                                      \
    X(REQUEST_ABORTED, 1235)                                                                       \
    X(CONNECTION_ABORTED, 1236)                                                                    \
    X(NO_SYSTEM_RESOURCES, 1450)                                                                   \
    X(NONPAGED_SYSTEM_RESOURCES, 1451)                                                             \
    X(WORKING_SET_QUOTA, 1453)                                                                     \
    X(COMMITMENT_LIMIT, 1455)                                                                      \
    X(TIMEOUT, 1460)                                                                               \
    X(NOT_ENOUGH_QUOTA, 1816)

/* Winsock's, from WSA... */
#define WIN32_SOCKET_CODES(X)                                                                      \
    X(EINTR, 10004)                                                                                \
    X(EBADF, 10009)                                                                                \
    X(EACCES, 10013)                                                                               \
    X(EFAULT, 10014)                                                                               \
    X(EINVAL, 10022)                                                                               \
    X(EMFILE, 10024)                                                                               \
    X(EWOULDBLOCK, 10035)                                                                          \
    X(EALREADY, 10037)                                                                             \
    X(ENOTSOCK, 10038)                                                                             \
    X(EDESTADDRREQ, 10039)                                                                         \
    X(EMSGSIZE, 10040)                                                                             \
    X(EPROTOTYPE, 10041)                                                                           \
    X(ENOPROTOOPT, 10042)                                                                          \
    X(EPROTONOSUPPORT, 10043)                                                                      \
    X(ESOCKTNOSUPPORT, 10044)                                                                      \
    X(EOPNOTSUPP, 10045)                                                                           \
    X(EPFNOSUPPORT, 10046)                                                                         \
    X(EAFNOSUPPORT, 10047)                                                                         \
    X(EADDRINUSE, 10048)                                                                           \
    X(EADDRNOTAVAIL, 10049)                                                                        \
    X(ENETDOWN, 10050)                                                                             \
    X(ENETUNREACH, 10051)                                                                          \
    X(ENETRESET, 10052)                                                                            \
    X(ECONNABORTED, 10053)                                                                         \
    X(ECONNRESET, 10054)                                                                           \
    X(ENOBUFS, 10055)                                                                              \
    X(EISCONN, 10056)                                                                              \
    X(ENOTCONN, 10057)                                                                             \
    X(ESHUTDOWN, 10058)                                                                            \
    X(ETIMEDOUT, 10060)                                                                            \
    X(ECONNREFUSED, 10061)                                                                         \
    X(EHOSTDOWN, 10064)                                                                            \
    X(EHOSTUNREACH, 10065)                                                                         \
    X(EPROCLIM, 10067)                                                                             \
    X(SYSNOTREADY, 10091)                                                                          \
    X(ECANCELLED, 10103)

/* X(name, number, the code for it): the kernel's, from STATUS_... */
#define WIN32_STATUSES(X)                                                                          \
    X(HANDLES_CLOSED, 0x8000000A, ERROR_HANDLES_CLOSED)                                            \
    X(BUFFER_OVERFLOW, 0x80000005, WSAEMSGSIZE)                                                    \
    X(INVALID_HANDLE, 0xC0000008, WSAENOTSOCK)                                                     \
    X(INVALID_PARAMETER, 0xC000000D, WSAEINVAL)                                                    \
    X(END_OF_FILE, 0xC0000011, ERROR_HANDLE_EOF)                                                   \
    X(NO_MEMORY, 0xC0000017, WSAENOBUFS)                                                           \
    X(ACCESS_DENIED, 0xC0000022, WSAEACCES)                                                        \
    X(CRC_ERROR, 0xC000003F, ERROR_CRC)                                                            \
    X(QUOTA_EXCEEDED, 0xC0000044, WSAENOBUFS)                                                      \
    X(FILE_LOCK_CONFLICT, 0xC0000054, ERROR_LOCK_VIOLATION)                                        \
    X(INSUFFICIENT_RESOURCES, 0xC000009A, WSAENOBUFS)                                              \
    X(WORKING_SET_QUOTA, 0xC00000A1, WSAENOBUFS)                                                   \
    X(DEVICE_DATA_ERROR, 0xC000009C, ERROR_CRC)                                                    \
    X(IO_TIMEOUT, 0xC00000B5, WSAETIMEDOUT)                                                        \
    X(UNEXPECTED_NETWORK_ERROR, 0xC00000C4, ERROR_UNEXP_NET_ERR)                                   \
    X(NETWORK_NAME_DELETED, 0xC00000C9, ERROR_NETNAME_DELETED)                                     \
    X(TOO_MANY_OPENED_FILES, 0xC000011F, WSAEMFILE)                                                \
    X(CANCELLED, 0xC0000120, ERROR_OPERATION_ABORTED)                                              \
    X(PAGEFILE_QUOTA_EXCEEDED, 0xC000012C, WSAENOBUFS)                                             \
    X(LOCAL_DISCONNECT, 0xC000013B, WSAECONNABORTED)                                               \
    X(REMOTE_DISCONNECT, 0xC000013C, WSAECONNRESET)                                                \
    X(REMOTE_RESOURCES, 0xC000013D, WSAENOBUFS)                                                    \
    X(INVALID_CONNECTION, 0xC0000140, ERROR_UNEXP_NET_ERR)                                         \
    X(INVALID_ADDRESS, 0xC0000141, WSAEADDRNOTAVAIL)                                               \
    X(IO_DEVICE_ERROR, 0xC0000185, ERROR_IO_DEVICE)                                                \
    X(INSUFF_SERVER_RESOURCES, 0xC0000205, WSAENOBUFS)                                             \
    X(ADDRESS_ALREADY_EXISTS, 0xC000020A, WSAEADDRINUSE)                                           \
    X(CONNECTION_DISCONNECTED, 0xC000020C, WSAECONNRESET)                                          \
    X(CONNECTION_RESET, 0xC000020D, WSAECONNRESET)                                                 \
    X(CONNECTION_REFUSED, 0xC0000236, WSAECONNREFUSED)                                             \
    X(GRACEFUL_DISCONNECT, 0xC0000237, WSAESHUTDOWN)                                               \
    X(CONNECTION_INVALID, 0xC000023A, WSAENOTCONN)                                                 \
    X(NETWORK_UNREACHABLE, 0xC000023C, WSAENETUNREACH)                                             \
    X(HOST_UNREACHABLE, 0xC000023D, WSAEHOSTUNREACH)                                               \
    X(PROTOCOL_UNREACHABLE, 0xC000023E, WSAENETUNREACH)                                            \
    X(PORT_UNREACHABLE, 0xC000023F, WSAECONNRESET)                                                 \
    X(REQUEST_ABORTED, 0xC0000240, ERROR_REQUEST_ABORTED)                                          \
    X(CONNECTION_ABORTED, 0xC0000241, WSAECONNABORTED)

#define WIN32__ERROR(name, number)  WIN32_ERROR_##name = number,
#define WIN32__SOCKET(name, number) WIN32_WSA##name = number,
enum win32_code { WIN32_ERROR_CODES(WIN32__ERROR) WIN32_SOCKET_CODES(WIN32__SOCKET) };

#define WIN32__STATUS(name, number, code) WIN32_STATUS_##name = (int32_t)number,
enum win32_status { WIN32_STATUSES(WIN32__STATUS) };
#undef WIN32__STATUS
#undef WIN32__ERROR
#undef WIN32__SOCKET

/* A status of the kernel's, as an OVERLAPPED holds it, in the code that Winsock gives for it; 0 for
 * success, WIN32_ERROR_GEN_FAILURE for one that isn't in the table. Any thread. */
int win32_code_of_status(uint32_t status);

#endif
