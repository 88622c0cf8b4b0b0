/* Sallyport: error codes.
 *
 * Functions return 0 or one of these negative numbers. They are the same on every system and never
 * change their meaning; the system's own code (errno, Winsock) is kept beside them where one
 * exists. */
#ifndef SALLYPORT_ERROR_H
#define SALLYPORT_ERROR_H

#if defined(__cplusplus)
extern "C" {
#endif

#if !defined(SALLY_API)
#if defined(__GNUC__) && !defined(_WIN32)
#define SALLY_API __attribute__((visibility("default")))
#else
#define SALLY_API
#endif
#endif

/* X(name, number, sentence) */
#define SALLY_ERRORS(X)                                                                            \
    X(EINVAL, -1001, "an argument is not valid")                                                   \
    X(EADDRESS, -1002,                                                                             \
      "the address can't be read; write host:port, [v6]:port, *:port, unix:/path or fd:number")    \
    X(ENONAME, -1003, "the host name has no address")                                              \
    X(EADDRINUSE, -1004, "the address is in use; stop the other program or take another port")     \
    X(EADDRNOTAVAIL, -1005, "the address is not one of this machine")                              \
    X(EACCES, -1006, "permission denied; a port below 1024 or this path needs more rights")        \
    X(EEXHAUSTED, -1007, "the system's descriptors, memory or buffers are used up")                \
    X(ENOMEM, -1008, "no memory")                                                                  \
    X(EFULL, -1009, "the queue is full; nothing was taken")                                        \
    X(ELIMIT, -1010, "a configured limit is reached")                                              \
    X(ENOCONN, -1011, "no such connection; it has gone")                                           \
    X(ECLOSED, -1012, "closing or closed already")                                                 \
    X(ECANCELED, -1013, "cancelled")                                                               \
    X(ETIMEDOUT, -1014, "timed out")                                                               \
    X(EREFUSED, -1015, "the peer refused the connection")                                          \
    X(EUNREACH, -1016, "the peer can't be reached")                                                \
    X(ERESET, -1017, "the peer reset the connection")                                              \
    X(ENOPORT, -1018, "the port kind asked for can't be used here")                                \
    X(ESTATE, -1019, "not possible in this state")                                                 \
    X(ETHREAD, -1020, "not possible from this thread or from inside a callback")                   \
    X(ENOTSUP, -1021, "not supported here")                                                        \
    X(ESYSTEM, -1022, "the system failed in an unexpected way; see its own code")                  \
    X(EMALFORMED, -1023, "the bytes break the rules of their format")                              \
    X(ENETWORK, -1024,                                                                             \
      "not an address or a network; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")               \
    X(EBANFILE, -1025, "a line of the ban list can't be read; nothing of it was taken")            \
    X(ENOENTRY, -1026, "there is no such entry")                                                   \
    X(EFILE, -1027, "the file can't be opened or read; see the system's code")                     \
    X(EFILEEND, -1028, "the file ends before the bytes asked for")                                 \
    X(EPROXY, -1029, "the proxy refused to connect; see its own code")                             \
    X(EPROXYAUTH, -1030, "the proxy wants a name and a password, or others")

#define SALLY__ENUM(name, number, sentence) SALLY_##name = number,
enum { SALLY_ERRORS(SALLY__ENUM) SALLY__ERRORS_END = 0 };
#undef SALLY__ENUM

/* The sentence of a code, for a person; "no error" for 0, "unknown error" for a number not in the
 * list; the text is static. [any] */
SALLY_API const char *sally_strerror(int error);

/* The name of a code, such as "SALLY_EFULL"; "0" for 0, "?" for a number not in the list;
 * static. [any] */
SALLY_API const char *sally_err_name(int error);

#if defined(__cplusplus)
}
#endif
#endif
