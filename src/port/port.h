/* The port: starts operations on sockets and reaps their completions. This file is the contract;
 * uring*.c, epoll*.c and sim*.c keep it (iocp*.c on Windows), and tests/port/ proves it rule by
 * rule on each. Above this file nobody asks which system it is.
 *
 * The rules. P-numbers are those of the conformance suite.
 *   P1  A started operation ends exactly once: with one event, or, for a multishot one (accept,
 *       receive), with zero or more events marked `more` and then exactly one that is not.
 *   P2  Starting allocates nothing that can fail the caller and returns nothing: every failure
 *       arrives as the event that ends the operation.
 *   P3  No event is made inside the call that started the operation. Events come only out of
 *       port_take.
 *   P4  After port_close each operation still in flight on the socket ends, then PORT_CLOSE ends,
 *       last. Only then may the socket's slot be given back: until then the port may look at it,
 *       from then on it never does. The owner may also clear the struct behind its slot and use
 *       the socket again under the same name.
 *   P5  Bytes come in the order in which the peer sent them; an end of stream or an error comes
 *       after every byte that the system had before it.
 *   P6  A send may end short: 1 to n bytes. The starter sends the rest. A send that failed or was
 *       cancelled leaves the stream at an unknown position: the connection is finished.
 *   P7  After port_accept_stop or port_recv_stop events that were on their way still come, then
 *       the one that ends the operation (SALLY_ECANCELED, or what it met first). Connections and
 *       bytes that came with them are real.
 *   P8  A failure to accept one connection never ends accepting for good without saying so: either
 *       the event has `more` and the port goes on, or it has not and the owner starts the accept
 *       again.
 *   P9  Nobody starves: a socket that is always ready is served a bounded amount before the others
 *       get their turn.
 *   P10 Everything here belongs to the thread that owns the port, except port_wake and what says
 *       "any thread".
 *   P11 A wake-up is never lost: after port_wake the current or the next port_wait returns.
 *   P12 An event never reaches another socket than the one its operation was started on, also when
 *       descriptors and slots are used again.
 *   P13 After port_alarm the current or the next port_wait that is under way when its time is over
 *       returns, once; never early. One that was over before it was replaced may still end a wait.
 *   P14 A listener that was attached with accept_data_ms hands out only connections from which
 *       something has come. One that says nothing for that time, or longer than accept_held_max
 *       others that came later, is closed by the port, as is one that goes without a byte; each is
 *       told by an event with `more`: SALLY_ETIMEDOUT or SALLY_ERESET. Without an accept in flight
 *       nobody is handed out and nobody's time ends; a port may let those go that waited when it
 *       was stopped.
 *   P15 A file send takes 1 to PORT_FILE_BYTES_MAX bytes of the file, in its place between the
 *       sends before and behind it. Where the file has no byte it ends with SALLY_EFILEEND: nothing
 *       of it was sent, and the connection goes on. After any other failure the connection is
 *       finished, as after a send's.
 *
 * An operation is over for the port when port_take hands out its last event, and in_flight says so
 * from then on. Who takes several events at once must therefore not start an operation on a socket
 * again before it has handled all of them.
 *
 * Memory. Sockets live in a slot table that the port's owner brings; struct port_sock is the first
 * member of each object in it. The port names a socket towards the kernel by slot and generation
 * and looks it up again, so that an event that comes too late finds nothing. Received bytes are
 * lent: they stay until port_buf_release. */
#ifndef PORT_PORT_H
#define PORT_PORT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/counter.h"
#include "base/mem.h"
#include "base/slots.h"
#include "base/span.h"
#include "os/file.h"

/* A descriptor, a SOCKET, or a simulated socket's number. */
typedef intptr_t port_handle;
#define PORT_NO_HANDLE ((port_handle)-1)
#define PORT_FOREVER   UINT32_MAX
#define PORT_HELD_MAX  UINT32_C(65000)

/* Of a file in one operation. On Linux it bounds how long a shard is in the one call that copies
 * them, 20 to 30 us when the file is in memory; on Windows a completion comes when all of them are
 * through, so a slow reader is seen to move in steps of so many. The starter may ask for less. */
#define PORT_FILE_BYTES_MAX UINT32_C(262144)

enum port_op { PORT_ACCEPT, PORT_CONNECT, PORT_RECV, PORT_SEND, PORT_CLOSE, PORT_OPS };

/* Bits of port_sock.in_flight. */
#define PORT_BIT(op) (1u << (op))

enum port_close_mode {
    PORT_CLOSE_FIN, /* the peer sees the end of the stream after the bytes already handed over, if
                       none unread are here */
    PORT_CLOSE_RST, /* the peer sees a reset; bytes not yet sent are dropped */
};

/* 64-bit words that a port has of its own in each socket: Windows wants its OVERLAPPED there. */
#if !defined(PORT_OWN_WORDS)
#if defined(_WIN32)
#define PORT_OWN_WORDS 24
#else
#define PORT_OWN_WORDS 4
#endif
#endif

struct port_sock {
    struct slot slot;
    port_handle handle;
    uint8_t role : 7;  /* the owner's, to tell what the socket is embedded in */
    uint8_t hears : 1; /* a listener attached with accept_data_ms (P14) */
    uint8_t in_flight; /* PORT_BIT of each operation that has been started and has not ended; kept
                          by the port */
    uint8_t state;     /* the port's */
    uint8_t marks;     /* the port's */
    union {
        uint32_t own32;   /* the port's, of what sends */
        uint32_t data_ms; /* of one that hears */
    };
    uint64_t own[PORT_OWN_WORDS]; /* the port's */
};

/* What is said to be an operation's is only set in its events. */
struct port_event {
    struct port_sock *sock;
    uint8_t op;        /* enum port_op */
    bool more;         /* the operation goes on */
    int32_t error;     /* 0 or SALLY_E* */
    int32_t sys_error; /* the system's code beside it, 0 without one */
    uint32_t bytes; /* PORT_RECV: how many (0 with error 0: end of stream); PORT_SEND: how many were
                       taken, also of a file */
    uint32_t buf; /* with data: for port_buf_release. It may be several that lie side by side, which
                     are lent and released as one */
    const void *data;     /* PORT_RECV with bytes, and PORT_ACCEPT of a newcomer whose first bytes
                             came with it (P14; only some ports read them): readable until
                             port_buf_release(buf) */
    port_handle accepted; /* PORT_ACCEPT without error: the new connection, the receiver's to attach
                             or refuse */
    struct addr peer;     /* PORT_ACCEPT: the peer, ADDR_NONE where the system did not tell */
};

/* What a port can do beyond the contract's core; bits of port.abilities, which port_wait may change
 * (PORT_CAN_SEND_NOW: as it pays). */
enum port_ability {
    PORT_CAN_SEND_NOW = 1 << 0, /* port_send_now may take bytes at once: try it before port_send */
    PORT_CAN_POLL_FD =
        1 << 1, /* port_fd gives a descriptor that is readable when port_wait would not sleep */
    PORT_CAN_SEND_FILE = 1 << 2, /* port_send_file; without it the starter reads and sends */
};

/* Written by the port's thread (counter_add), readable by any. Counted by the wrappers below:
 * started = completed + cancelled + failed + in flight. */
struct port_counters {
    counter started[PORT_OPS];
    counter completed[PORT_OPS];
    counter cancelled[PORT_OPS];
    counter failed[PORT_OPS];
    counter accepted;      /* connections out of all accepts */
    counter stray_events;  /* events of the system that fit no socket */
    counter buf_shortages; /* receives that had to wait for a buffer */
    counter waits;         /* port_wait calls */
};

/* Ways, most of them of uring and iocp, that can be switched off one by one; each has a plain path
 * (bits of port_config.features_off). */
enum port_feature {
    PORT_NO_MULTISHOT_ACCEPT = 1 << 0,
    PORT_NO_MULTISHOT_RECV = 1 << 1,
    PORT_NO_BUF_RING = 1 << 2,
    PORT_NO_BUNDLES = 1 << 3,
    PORT_NO_DEFER_TASKRUN = 1 << 4,
    PORT_NO_SINGLE_ISSUER = 1 << 5,
    PORT_NO_RING_FD = 1 << 6,     /* registered ring descriptor */
    PORT_NO_PACKET_SKIP = 1 << 7, /* iocp: no packet for what the system finishes at once */
    PORT_NO_POSTED_RECV = 1 << 8, /* iocp: a busy connection's receive has its buffer beforehand */
    PORT_NO_RATION = 1 << 9,      /* uring: receives that end after so many bytes */
    PORT_NO_FILE_SEND = 1 << 10,  /* all: PORT_CAN_SEND_FILE */
};

struct port_config {
    struct mem *mem;
    struct slots *socks;   /* objects begin with struct port_sock */
    uint32_t buf_bytes;    /* one receive buffer; 0: the port's default */
    uint32_t bufs_max;     /* receive buffers; 0: the port's default */
    uint32_t sq_entries;   /* uring: submission queue; 0: default, tests take 4 */
    uint32_t cq_entries;   /* uring: completion queue; 0: default, tests take 8 */
    uint32_t features_off; /* PORT_NO_* */
    uint32_t accept_depth; /* iocp: accepts that wait for newcomers; 0: default */
    void *world; /* sim: the simulated network it belongs to; iocp: struct win32_calls, NULL: the
                    system's */
};

struct port_sock_options;

struct port_listen_options {
    int backlog;                              /* 0: the system's maximum */
    const struct port_sock_options *accepted; /* what accepted connections begin with, see
                                                 port_inherits; NULL: nothing */
    bool v6_only;
    bool share_port;    /* SO_REUSEPORT */
    uint32_t unix_mode; /* permissions of a Unix socket's file; 0: 0600 */
};

struct port_sock_options {
    bool delay;               /* leave Nagle's algorithm on */
    uint32_t keepalive_s;     /* idle seconds before probes; 0: no keepalive */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0: the system's */
    uint32_t send_buf_bytes;  /* SO_SNDBUF; 0: the system's */
    uint32_t recv_buf_bytes;  /* SO_RCVBUF; 0: the system's */
    uint32_t accept_data_ms;  /* of a listener: P14; 0: newcomers are handed out at once; nothing
                                 on a connection */
    uint32_t accept_held_max; /* of those that have said nothing; at most PORT_HELD_MAX */
};

/* What of a file is to be sent. */
struct port_file {
    os_file handle; /* open for reading; a simulated file's number on the simulated port */
    uint64_t offset;
    uint64_t bytes; /* at least 1; what is beyond PORT_FILE_BYTES_MAX is for further operations */
};

/* Of a listening handle. */
struct port_backlog {
    uint32_t waiting; /* connections that nobody has accepted yet */
    uint32_t max;
    uint32_t dropped; /* tries that found no place, each repetition counted; wraps around */
};

struct port;
struct address;

struct port_ops {
    const char *name;
    bool inherits; /* see port_inherits */
    int (*create)(struct port **port, const struct port_config *config);
    void (*destroy)(struct port *port);
    int (*own)(struct port *port);
    void (*disown)(struct port *port); /* NULL: there is nothing to let go */
    int (*wait)(struct port *port, uint32_t timeout_ms);
    bool (*alarm)(struct port *port, uint32_t delay_ms); /* NULL: has none */
    unsigned (*take)(struct port *port, struct port_event *events, unsigned max);
    void (*flush)(struct port *port);
    void (*wake)(struct port *port);
    int64_t (*fd)(struct port *port);
    int (*listen)(struct port *port, const struct address *address,
                  const struct port_listen_options *options, port_handle *handle, int *sys_error);
    int (*local)(struct port *port, port_handle handle, struct addr *addr);
    int (*peer)(struct port *port, port_handle handle, struct addr *addr);
    void (*refuse)(struct port *port, port_handle handle, enum port_close_mode mode);
    int (*probe)(struct port *port, int *sys_error);
    void (*attach)(struct port *port, struct port_sock *sock, port_handle handle,
                   const struct port_sock_options *options);
    void (*accept)(struct port *port, struct port_sock *sock);
    void (*accept_stop)(struct port *port, struct port_sock *sock);
    void (*connect)(struct port *port, struct port_sock *sock, const struct address *to,
                    const struct addr *from, const struct port_sock_options *options);
    void (*recv)(struct port *port, struct port_sock *sock);
    void (*recv_stop)(struct port *port, struct port_sock *sock);
    int64_t (*send_now)(struct port *port, struct port_sock *sock, const struct span *spans,
                        unsigned count, int *sys_error);
    void (*send)(struct port *port, struct port_sock *sock, const struct span *spans,
                 unsigned count);
    void (*send_file)(struct port *port, struct port_sock *sock, const struct port_file *file);
    int (*shutdown)(struct port *port, struct port_sock *sock);
    void (*close)(struct port *port, struct port_sock *sock, enum port_close_mode mode);
    void (*buf_release)(struct port *port, uint32_t buf, const void *data);
    bool (*pending)(struct port *port, port_handle handle);
    bool (*backlog)(struct port *port, port_handle handle,
                    struct port_backlog *backlog); /* NULL: the system doesn't tell */
};

/* The part of a port that every implementation begins with. */
struct port {
    const struct port_ops *ops;
    struct mem *mem;
    struct slots *socks;
    uint32_t abilities;
    uint32_t bufs_total; /* receive buffers */
    uint32_t bufs_lent;  /* of those, lent and not yet released */
    bool emptied;        /* port_take has just handed out the last event of the last port_wait: the
                            next would bring none. False says nothing */
    struct port_counters counters;
};

extern const struct port_ops port_epoll_ops;
extern const struct port_ops port_uring_ops;
extern const struct port_ops port_iocp_ops;
extern const struct port_ops port_sim_ops;

/* All or nothing. SALLY_ENOPORT: this kind can't be used here (`sys_error`, if not NULL, says why);
 * SALLY_EEXHAUSTED, SALLY_ENOMEM. Any thread. */
int port_create(const struct port_ops *ops, const struct port_config *config, struct port **port);

/* Legal only when every socket's PORT_CLOSE has been taken. NULL does nothing. The owning thread,
 * or any if there is none: nobody ever owned it, or port_disown was called. */
void port_destroy(struct port *port);

/* The calling thread owns the port from now on; called once, before the first operation or wait. */
int port_own(struct port *port);

/* The owner lets go of a port with no socket left: what the port itself had in flight is ended.
 * After it only port_wake, which does nothing, and port_destroy are legal. */
void port_disown(struct port *port);

/* Submits what was started and waits until something may be taken, a wake-up came, or the time is
 * over (0: doesn't sleep). 0, also when nothing came; SALLY_ESYSTEM when the port is broken. A
 * signal only makes it return early. */
static inline int port_wait(struct port *port, uint32_t timeout_ms)
{
    counter_add(&port->counters.waits, 1);
    return port->ops->wait(port, timeout_ms);
}

/* The port's one alarm, set anew by each call: in so many ms a port_wait returns. It stays set over
 * any number of waits, so a wait that would have to end in time for the next timer needs no limit
 * of its own, whose setting up and taking down costs the system more than all else in a wait. False
 * where there is none, now and later: then the wait has to have the limit. */
bool port_alarm(struct port *port, uint32_t delay_ms);

/* Counts an operation's last event. */
void port_count_end(struct port_counters *counters, const struct port_event *event);

/* Bytes, and the receive goes on: nearly every event, and one that port_count has nothing to do
 * with. */
static inline bool port_event_is_bytes(const struct port_event *event)
{
    return event->op == PORT_RECV && event->more;
}

/* Counts an event that was taken. */
static inline void port_count(struct port *port, const struct port_event *event)
{
    if (!event->more && event->error == 0 && event->op > PORT_ACCEPT && event->op < PORT_OPS)
        counter_add(&port->counters.completed[event->op], 1);
    else if (!event->more)
        port_count_end(&port->counters, event);
    else if (event->op == PORT_ACCEPT && event->error == 0)
        counter_add(&port->counters.accepted, 1);
}

/* As port_take, for who calls port_count for each event himself, and so looks at it once. */
static inline unsigned port_take_uncounted(struct port *port, struct port_event *events,
                                           unsigned max)
{
    unsigned count = port->ops->take(port, events, max);
    assert(count <= max);
    return count;
}

/* At most `max` events of what the last port_wait found, possibly fewer than there are: 0 means
 * that there are none left. The kernel may be read from on the way, so a port with little memory
 * hands out one event at a time. */
static inline unsigned port_take(struct port *port, struct port_event *events, unsigned max)
{
    unsigned count = port_take_uncounted(port, events, max);
    for (unsigned i = 0; i < count; i++) port_count(port, &events[i]);
    return count;
}

/* Submits what was started since, without waiting: bounds the time that a reply waits for the rest
 * of its batch. */
void port_flush(struct port *port);

/* Any thread, any time between create and destroy; async-signal-safe. */
void port_wake(struct port *port);

/* A descriptor that is readable when port_wait would find something; -1 where abilities lack
 * PORT_CAN_POLL_FD. What was started has to be submitted (port_flush or port_wait) before one
 * sleeps on it. */
int64_t port_fd(struct port *port);

/* Opens, binds and listens; judged at once. The handle is the caller's until it is attached or
 * refused. For ADDRESS_FD the handle is checked to be a listening stream socket and made
 * non-blocking. A dead Unix socket's file is replaced, a live one's is SALLY_EADDRINUSE. Any
 * thread: it touches nothing of the port but its kind. */
int port_listen(struct port *port, const struct address *address,
                const struct port_listen_options *options, port_handle *handle, int *sys_error);

/* Whether connections accepted at a listener that port_listen opened on this address have the
 * options named there from the start, so that port_attach needs none. Any thread. */
bool port_inherits(const struct port *port, const struct address *address);

/* A handle's own and its peer's address. SALLY_ENOCONN when the peer has gone. Any thread. */
int port_local(struct port *port, port_handle handle, struct addr *addr);
int port_peer(struct port *port, port_handle handle, struct addr *addr);

/* Closes a handle that was never attached. Any thread. */
void port_refuse(struct port *port, port_handle handle, enum port_close_mode mode);

/* Whether the system says that connections wait at this listening handle; what a watchdog asks. Any
 * thread. */
bool port_pending(struct port *port, port_handle handle);

/* What waits there and what was dropped; false, and nothing written, where the system doesn't tell.
 * Any thread. */
bool port_backlog(struct port *port, port_handle handle, struct port_backlog *backlog);

/* Tries whether descriptors and memory are there again, cheaply: makes and closes a socket. 0 or
 * SALLY_EEXHAUSTED. */
int port_probe(struct port *port, int *sys_error);

/* Gives the socket its handle: an accepted, adopted or listening one, which the port owns from then
 * on. Sets the options (NULL: none), whose failure is not told: the first operation will. Not for a
 * socket that connects. */
void port_attach(struct port *port, struct port_sock *sock, port_handle handle,
                 const struct port_sock_options *options);

/* Multishot. An event without error brings a connection; one with an error and `more` cost one
 * connection; one with an error and not `more` ended the operation: SALLY_EEXHAUSTED (start again
 * when there is room), SALLY_ECANCELED, or what is wrong with the listener. */
void port_accept(struct port *port, struct port_sock *sock);
void port_accept_stop(struct port *port, struct port_sock *sock);

/* Makes a socket (bound to `from` unless NULL) and connects it; `to` is an ADDRESS_IP or
 * ADDRESS_PATH and is copied. After a failure the socket has no handle and may be connected again,
 * or be closed. To cancel: port_close. */
void port_connect(struct port *port, struct port_sock *sock, const struct address *to,
                  const struct addr *from, const struct port_sock_options *options);

/* Multishot. Ends with the end of the stream (error 0, bytes 0), an error, or SALLY_ECANCELED after
 * port_recv_stop. After SALLY_ECANCELED it may be started again. */
void port_recv(struct port *port, struct port_sock *sock);
void port_recv_stop(struct port *port, struct port_sock *sock);

/* Takes what the system takes at once, without an operation; no send may be in flight. Bytes taken
 * (0: it would have to wait, or this port doesn't), or SALLY_E* (the connection is broken). Nothing
 * here keeps the spans. */
static inline int64_t port_send_now(struct port *port, struct port_sock *sock,
                                    const struct span *spans, unsigned count, int *sys_error)
{
    assert(!(sock->in_flight & (PORT_BIT(PORT_SEND) | PORT_BIT(PORT_CLOSE))));
    assert(count > 0 && spans[0].len > 0);
    return port->ops->send_now(port, sock, spans, count, sys_error);
}

/* One send at a time on a socket. The spans' bytes stay as they are until the event; the array
 * itself is not kept. At least one span, none empty. */
static inline void port_send(struct port *port, struct port_sock *sock, const struct span *spans,
                             unsigned count)
{
    assert(!(sock->in_flight & (PORT_BIT(PORT_SEND) | PORT_BIT(PORT_CLOSE))));
    assert(count > 0 && spans[0].len > 0);
    counter_add(&port->counters.started[PORT_SEND], 1);
    port->ops->send(port, sock, spans, count);
}

/* A send whose bytes the system takes from a file (P15): its event is PORT_SEND's, and like one it
 * is the only one in flight, ended by port_close. Only where abilities have PORT_CAN_SEND_FILE. The
 * struct stays as it is, and the file open, until the event; the same file may be sent to many at
 * once. The file's place of reading is neither used nor moved. Reading may wait for a disk, and on
 * Linux the port's thread with it; PORT_FILE_BYTES_MAX bounds that. */
void port_send_file(struct port *port, struct port_sock *sock, const struct port_file *file);

/* Half-close: the peer sees the end of the stream after the bytes taken so far. No send may be in
 * flight. 0, or an error that says the connection is broken, which its receive will say too. */
int port_shutdown(struct port *port, struct port_sock *sock);

/* Ends everything on the socket (P4). Once only. Legal at any moment after slots_take, also without
 * a handle. */
void port_close(struct port *port, struct port_sock *sock, enum port_close_mode mode);

/* Ends the loan of received bytes; the event's `buf` and `data`. */
static inline void port_buf_release(struct port *port, uint32_t buf, const void *data)
{
    assert(data && port->bufs_lent > 0);
    port->ops->buf_release(port, buf, data);
}

#endif
