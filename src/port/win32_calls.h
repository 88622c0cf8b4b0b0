/* Every call of Windows that the completion port makes, as a table: one call of the system in each
 * entry, in plain types. So a test puts its own in an entry and brings about what a system does
 * only under duress, and the port itself is built and tested on any system, against a fake.
 *
 * An entry returns 0 or the system's code (GetLastError or WSAGetLastError; WIN32_ERROR_IO_PENDING
 * for an operation that goes on). `ctx` is the table's own. Any thread may call those that port.h
 * gives to any thread, the others are the port owner's; nothing here keeps memory. */
#ifndef PORT_WIN32_CALLS_H
#define PORT_WIN32_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/span.h"
#include "os/win32_codes.h"
#include "port/port.h"

enum { WIN32_SPANS_MAX = 64, WIN32_ADDRS_BYTES = 2 * (128 + 16) };

/* Of first bytes that an accept may wait for; of sockets that are asked at once. */
enum { WIN32_FIRST_BYTES = 1024, WIN32_LOOK_MAX = 256 };

/* An OVERLAPPED. */
struct win32_overlapped {
    uint64_t status; /* the kernel's, see win32_code_of_status */
    uint64_t bytes;
    uint64_t offset;
    void *event;
};

/* An OVERLAPPED_ENTRY. */
struct win32_packet {
    uint64_t key;
    struct win32_overlapped *overlapped;
    uint64_t reserved;
    uint32_t bytes;
};

enum win32_option {
    WIN32_NO_DELAY,
    WIN32_KEEPALIVE, /* value: idle seconds */
    WIN32_USER_TIMEOUT,
    WIN32_SEND_BUF,
    WIN32_RECV_BUF,
    WIN32_EXCLUSIVE,
    WIN32_V6_ONLY,
    WIN32_REUSE_UNICAST, /* the local port is chosen with the target */
    WIN32_RESET_ON_CLOSE,
    WIN32_NON_BLOCKING,
    WIN32_ACCEPTED,  /* value: the listener; takes over its options, and getpeername works */
    WIN32_CONNECTED, /* the same after a connect */
    WIN32_TAKEN,     /* after `take`: watched no longer, and no child process gets it */
};

struct win32_calls {
    void *ctx;
    /* Winsock, and the functions that are asked for by name. `missing`: one that isn't there. */
    int (*start)(void *ctx, const char **missing);

    int (*socket)(void *ctx, enum addr_family family, port_handle *handle);
    int (*close)(void *ctx, port_handle handle);
    int (*bind)(void *ctx, port_handle handle, const struct addr *addr);
    int (*listen)(void *ctx, port_handle handle, int backlog);
    int (*option)(void *ctx, port_handle handle, enum win32_option option, int64_t value);
    /* Whether TransmitFile is there, of the system's own provider. */
    bool (*can_transmit)(void *ctx);
    int (*is_listener)(void *ctx, port_handle handle, bool *is);
    int (*has_newcomer)(void *ctx, port_handle handle, bool *has);
    int (*local)(void *ctx, port_handle handle, struct addr *addr);
    int (*peer)(void *ctx, port_handle handle, struct addr *addr);
    int (*shutdown)(void *ctx, port_handle handle);
    /* What is there; WIN32_WSAEWOULDBLOCK when nothing is. */
    int (*read)(void *ctx, port_handle handle, void *buf, uint32_t len, uint32_t *got);

    /* Operations. With 0 the overlapped holds the result already; whether a packet comes as well is
     * what skip_packets decided. With another code than pending none comes. */
    int (*recv)(void *ctx, port_handle handle, void *buf, uint32_t len,
                struct win32_overlapped *overlapped);
    int (*send)(void *ctx, port_handle handle, const struct span *spans, unsigned count,
                struct win32_overlapped *overlapped);
    /* `bytes` are not 0, which would be all of the file; from the offset in the overlapped on. It
     * may end with fewer where the file does. */
    int (*transmit)(void *ctx, port_handle handle, os_file file, uint32_t bytes,
                    struct win32_overlapped *overlapped);
    int (*file_bytes)(void *ctx, os_file file, uint64_t *bytes);
    /* `buf` has room for `first` bytes, without which it doesn't end unless that is 0, and the
     * addresses behind them. */
    int (*accept)(void *ctx, enum addr_family family, port_handle listener, port_handle handle,
                  void *buf, uint32_t first, struct win32_overlapped *overlapped);
    void (*accept_peer)(void *ctx, enum addr_family family, void *buf, uint32_t first,
                        struct addr *peer);
    /* Since when an accept's handle has been connected; -1: it is not. */
    int (*connect_time)(void *ctx, port_handle handle, int32_t *seconds);
    /* Who waits at a listener that doesn't block, as a socket without a port;
     * WIN32_WSAEWOULDBLOCK: nobody. */
    int (*take)(void *ctx, port_handle listener, port_handle *handle);
    /* Of which of at most WIN32_LOOK_MAX sockets something is there to read, an end or error too.
     */
    int (*look)(void *ctx, const port_handle *handles, uint32_t count, bool *there);
    /* One packet with the key comes when somebody waits at the listener and no accept does, or at
     * one of those watched something is there; the next only after signal_again, so that a system
     * that repeats itself fills no queue. */
    int (*signal)(void *ctx, port_handle listener, void *port, uint64_t key, void **signal);
    int (*watch)(void *ctx, void *signal, port_handle handle);
    void (*signal_again)(void *ctx, void *signal);
    void (*signal_end)(void *ctx, void *signal);
    int (*connect)(void *ctx, port_handle handle, const struct addr *to,
                   struct win32_overlapped *overlapped);
    int (*cancel)(void *ctx, port_handle handle, struct win32_overlapped *overlapped); /* or all */

    int (*port_open)(void *ctx, void **port);
    void (*port_close)(void *ctx, void *port);
    int (*port_add)(void *ctx, void *port, port_handle handle, uint64_t key);
    int (*skip_packets)(void *ctx, port_handle handle);
    /* `count` is 0 when the time is over. */
    int (*port_wait)(void *ctx, void *port, struct win32_packet *packets, uint32_t max,
                     uint32_t *count, uint32_t timeout_ms);
    int (*port_post)(void *ctx, void *port, uint64_t key);
};

/* The system's. Static. */
const struct win32_calls *win32_system_calls(void);

#endif
