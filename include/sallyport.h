/* Sallyport: TCP servers and clients that hold many connections, on io_uring, epoll or Windows
 * completion ports, with one behaviour.
 *
 * Words
 *   engine      shards and their threads
 *   shard       one thread with its port to the kernel; owns its connections
 *   server      listening addresses, options and a handler; any number share one engine
 *   connection  lives on one shard from open to close
 *   id          names a connection from any thread; never used again
 *
 * Threads. A function says from where it may be called:
 *   [any]      any thread, also inside callbacks
 *   [shard]    only inside a callback of a connection of the same shard, or in the one thread that
 *              drives an engine by sally_engine_run_once
 *   [outside]  any thread but a shard's: never inside a callback
 * Callbacks run on the connection's shard, one at a time, in order, and never inside the call that
 * caused them. So a handler needs no lock for its connection.
 *
 * Ownership. What a callback is given is readable until it returns, unless it says otherwise. What
 * a function is given is copied, unless it says otherwise.
 *
 * Errors. 0 or a negative SALLY_E*, see sallyport/error.h. A call that returns an error calls
 * nothing back.
 *
 * Options. Structs whose zero value is the default, so that `{0}` or a NULL pointer means all
 * defaults. Every limit has a finite default; a time limit is switched off by SALLY_FOREVER, which
 * has to be asked for. */
#ifndef SALLYPORT_H
#define SALLYPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/buf.h"
#include "sallyport/close.h"
#include "sallyport/conn_options.h"
#include "sallyport/error.h"
#include "sallyport/look.h"
#include "sallyport/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define SALLY_VERSION_MAJOR 0
#define SALLY_VERSION_MINOR 1
#define SALLY_VERSION_PATCH 0
#define SALLY_VERSION_HEX                                                                          \
    ((SALLY_VERSION_MAJOR << 16) | (SALLY_VERSION_MINOR << 8) | SALLY_VERSION_PATCH)

/* ---- Version ---- */

/* The library's version at run time, as SALLY_VERSION_HEX and as "0.1.0". [any] */
SALLY_API uint32_t sally_version_hex(void);
SALLY_API const char *sally_version_string(void);

/* The version, the ports compiled in, the compiler; one line, static. [any] */
SALLY_API const char *sally_build_info(void);

/* ---- Handlers ---- */

typedef enum sally_timeout {
    SALLY_TIMEOUT_FIRST_BYTE,
    SALLY_TIMEOUT_IDLE,
    SALLY_TIMEOUT_WRITE,
    SALLY_TIMEOUT_MESSAGE,
    SALLY_TIMEOUT_IDLE_READ,
    SALLY_TIMEOUT_IDLE_WRITE,
    SALLY_TIMEOUT_SEND_RATE,
    SALLY_TIMEOUT_RECV_RATE,
    SALLY_TIMEOUT_AGE,
    SALLY_TIMEOUT_HEARTBEAT, /* heartbeat_dead_ms */
} sally_timeout;

/* What on_accept says of a newcomer. */
typedef enum sally_verdict {
    SALLY_ALLOW,
    SALLY_RESET,
    SALLY_FAREWELL, /* it gets the server's farewell, if there is one, and is closed gently */
    SALLY_DELAY, /* it is held, and on_accept is asked again after delay_ms: bounded in number and
                       time (sally_admission), then reset */
} sally_verdict;

/* A peer before it costs a connection. */
typedef struct sally_accept_info {
    const char *peer;       /* "192.0.2.1:4711" */
    const char *address;    /* the listening address it came to */
    uint32_t server_conns;  /* live connections of the server, without this one */
    uint32_t address_conns; /* of those, from this address (IPv6: its /64); 0 unless the server
                               counts them, see sally_admission */
    uint32_t delays;        /* how often it was SALLY_DELAY before */
} sally_accept_info;

/* What happened to a server. None of these stops it. */
typedef enum sally_server_event_kind {
    SALLY_SERVER_ACCEPT_FAILED, /* one accept failed; counted and gone on */
    SALLY_SERVER_EXHAUSTED,     /* descriptors, memory or buffers are used up: accepting pauses by
                                   itself; told once */
    SALLY_SERVER_RECOVERED,     /* accepting goes on after SALLY_SERVER_EXHAUSTED; told once */
    SALLY_SERVER_AT_LIMIT,      /* conns_max is reached; told once until it was left */
    SALLY_SERVER_BELOW_LIMIT,   /* and left again */
    SALLY_SERVER_STALLED, /* the watchdog found a listener that made no progress, and armed it anew
                           */
    SALLY_SERVER_LISTEN_FAILED, /* an address that sally_server_pause_closed had closed can't be had
                                   again; tried again and again, told once */
    SALLY_SERVER_LISTENING,     /* and is had after SALLY_SERVER_LISTEN_FAILED; told once */
    SALLY_SERVER_CLOSED, /* every listening socket is closed, after sally_server_close or as the
                                   engine stops; the last event, told once */
} sally_server_event_kind;

typedef struct sally_server_event {
    sally_server_event_kind kind;
    int error;      /* 0 or SALLY_E* */
    int sys_error;  /* the system's own code, 0 without one */
    uint64_t count; /* how many of this kind this server has seen */
} sally_server_event;

/* What a program does with its connections. Every member may be NULL. The struct is copied.
 *
 * For a connection the order is: on_open, then any of on_data, on_message, on_sent, on_drain,
 * on_eof, on_timer, on_timeout, on_heartbeat, then on_close once and last. A connection that could
 * not be made has on_close alone. */
typedef struct sally_handler {
    /* What sally_conn_user gives at first, and what sally_server_user gives. */
    void *user;

    /* A peer has connected (servers only) and may be refused before it costs anything. NULL allows
     * all. Not asked for whom a ban or a limit of its address refuses. Runs on the listener's
     * shard, which may not be the connection's. */
    sally_verdict (*on_accept)(sally_server *server, const sally_accept_info *info);

    /* The connection is open, and its filters are ready; sending is allowed from here on. */
    void (*on_open)(sally_conn *conn);

    /* Bytes came, in order; len > 0. Without it they are read and dropped. */
    void (*on_data)(sally_conn *conn, const void *data, size_t len);

    /* Instead of on_data, for a connection with a framing (sallyport/framing.h): one whole message,
     * in order. len may be 0. */
    void (*on_message)(sally_conn *conn, const void *data, size_t len);

    /* The system took `bytes` more of what was sent. Says nothing about the peer. */
    void (*on_sent)(sally_conn *conn, size_t bytes);

    /* The send queue has fallen to send_low_bytes after it was above send_high_bytes, after a send
     * returned SALLY_EFULL, or after files were in it (sallyport/file.h). */
    void (*on_drain)(sally_conn *conn);

    /* The peer has finished sending (it may still read). Without this callback the connection is
     * closed as by sally_conn_close, so that what is queued still goes out. With it, the connection
     * stays half-open until the handler closes it or idle_ms is over. */
    void (*on_eof)(sally_conn *conn);

    /* The time set by sally_conn_timer is over. */
    void (*on_timer)(sally_conn *conn);

    /* A time limit is over: true closes the connection (as without this callback), false starts the
     * limit anew. */
    bool (*on_timeout)(sally_conn *conn, sally_timeout which);

    /* Nothing was sent for heartbeat_ms, and nothing waits to be: time for the protocol's ping. */
    void (*on_heartbeat)(sally_conn *conn);

    /* The connection has gone. The last callback, exactly once for each connection; after it `conn`
     * is not valid. Nothing can be sent from here. */
    void (*on_close)(sally_conn *conn, const sally_close_info *info);

    /* Something happened to the server; for logs and alarms. Runs on the listener's shard. */
    void (*on_error)(sally_server *server, const sally_server_event *event);
} sally_handler;

/* ---- Engine ---- */

typedef enum sally_port_kind {
    SALLY_PORT_AUTO,  /* io_uring if a probe of what it really needs succeeds, else epoll; the
                         environment variable SALLY_PORT (uring, epoll, iocp) overrides. On Windows
                         completion ports */
    SALLY_PORT_URING, /* io_uring, or SALLY_ENOPORT */
    SALLY_PORT_EPOLL, /* epoll(7); SALLY_ENOPORT on Windows */
    SALLY_PORT_IOCP,  /* I/O completion ports; SALLY_ENOPORT but on Windows */
} sally_port_kind;

typedef enum sally_log_level {
    SALLY_LOG_ERROR,
    SALLY_LOG_WARN,
    SALLY_LOG_INFO,
    SALLY_LOG_DEBUG
} sally_log_level;

/* One line without a line end; readable until the call returns. Called from shards and from calling
 * threads, also at the same time: it must be thread-safe and must not call the engine. */
typedef void (*sally_log_fn)(void *user, sally_log_level level, const char *line);

/* Where memory comes from. All three or none; any thread at any time. `bytes` is what was asked
 * for. */
typedef struct sally_allocator {
    void *(*alloc)(void *user, size_t bytes); /* aligned as malloc, NULL when there is none */
    void (*free)(void *user, void *block, size_t bytes);
    void *user;
} sally_allocator;

/* Groups of engine options under one name: each sets the options named here, those alone that are 0
 * in the struct. What was measured: docs/design/performance.md. */
typedef enum sally_profile {
    SALLY_PROFILE_DEFAULT,    /* sets nothing */
    SALLY_PROFILE_MANY_IDLE,  /* many connections that send little: send_chunk_bytes 1024, so that
                                 a queued message holds 1 KiB instead of 4 */
    SALLY_PROFILE_THROUGHPUT, /* few connections that send much: turn_events_max 1024,
                                 send_chunk_bytes 16384 */
    SALLY_PROFILE_LATENCY, /* answers at once, for processor time: spin_us 50, turn_events_max 64 */
} sally_profile;

enum { SALLY_SPIN_US_MAX = 100000 };

typedef struct sally_engine_options {
    uint32_t shards; /* threads; 0: one for each core; at most 64 */
    sally_port_kind port;
    uint32_t conns_max; /* of the whole engine; 0: what the descriptor limit allows, some kept back;
                           at most 16 million a shard */
    uint32_t
        turn_events_max; /* events a shard handles before it looks at letters and timers; 0: 256 */
    uint32_t mailbox_letters_max; /* calls from other threads that may wait, a shard; 0: 65536 */
    uint32_t mailbox_bytes_max;   /* and their bytes; 0: 64 MiB */
    uint32_t recv_buf_bytes;      /* one receive buffer; 0: the port's default */
    uint32_t recv_bufs; /* receive buffers of a shard, shared by its connections; 0: the port's
                           default */
    uint32_t send_chunk_bytes; /* granularity of send queues; 0: 4096 */
    uint32_t send_chunks_max;  /* cap of a shard; 0: 65536. With seven tenths of them in use a
                                  connection is not read from its send_low_bytes on */
    uint32_t timers_max;       /* timers of a shard, see sallyport/timer.h; 0: 1048576; at most 16
                                  million */
    uint32_t
        port_features_off; /* for tests and for doubtful kernels: bits, see docs/design/uring.md */
    bool leave_signals;    /* sally_engine_run doesn't handle SIGINT and SIGTERM */
    uint32_t signal_drain_ms; /* how long it drains then; 0: 10000 */
    sally_log_fn log;         /* NULL: warnings and errors to stderr */
    void *log_user;
    sally_log_level log_level; /* 0: errors; only with `log` */
    uint64_t memory_max; /* bytes of all the engine's allocations; 0: no limit. At least 1 MiB. From
                            70 % on send queues stop growing, from 85 % on newcomers wait in the
                            backlog, from 95 % on the connections that hold the most are aborted
                            (SALLY_CLOSE_MEMORY; not for 4 KiB or less), and those that more than
                            4 KiB would have to be kept for, of a message that is not whole or while
                            paused (SALLY_CLOSE_NO_MEMORY): the rest is for small answers. Beyond it
                            nothing is allocated */
    sally_allocator allocator; /* zero: the C library's */
    sally_profile profile;     /* what is 0 of the options that it names */
    uint32_t spin_us; /* adaptive spinning: how long at most a shard's thread looks again before it
                         sleeps, after something came; 0: off, at most SALLY_SPIN_US_MAX. It spends
                         that only while events follow each other within it, so one that is idle
                         sleeps. It costs processor time, a whole core under steady traffic, and
                         harms where shards have no core of their own. Not for an engine that is
                         stepped by sally_engine_run_once */
} sally_engine_options;

typedef enum sally_engine_state {
    SALLY_ENGINE_CREATED,
    SALLY_ENGINE_RUNNING,
    SALLY_ENGINE_DRAINING,
    SALLY_ENGINE_STOPPING,
    SALLY_ENGINE_STOPPED,
} sally_engine_state;

/* How the last drain or stop ended. */
typedef struct sally_stop_report {
    uint32_t conns;        /* live when it began */
    uint32_t finished;     /* of those, ended in their own time */
    uint32_t cut;          /* of those, aborted at the end */
    uint64_t bytes_unsent; /* dropped by the cut */
    uint32_t took_ms;
    uint32_t jobs;     /* of connections, under way when it began */
    uint32_t jobs_cut; /* of connections, when those were cut */
} sally_stop_report;

typedef struct sally_engine_stats {
    uint32_t shards;
    uint32_t conns;     /* live now */
    uint32_t conns_max; /* the effective limit */
    uint64_t accepted;  /* connections that reached a server */
    uint64_t accept_failures;
    uint64_t refused;   /* by whatever cause */
    uint64_t connected; /* outgoing connections that opened */
    uint64_t connect_failures;
    uint64_t closed;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t messages;        /* received, on connections with a framing */
    uint64_t messages_copied; /* of those, that did not lie whole in one receive */
    uint64_t letters;         /* calls from other threads handled */
    uint64_t letters_refused;
    uint64_t turns;
    uint64_t spins;       /* of those, the ones that spin_us kept from sleeping */
    uint64_t ops_started; /* operations handed to the system; started = completed + cancelled +
                             failed + in flight */
    uint64_t ops_completed;
    uint64_t ops_cancelled;
    uint64_t ops_failed;
    uint64_t recv_buf_shortages;
    uint64_t memory_bytes; /* of all the engine's allocations, now */
} sally_engine_stats;

/* Makes an engine: everything that can fail does so here, and then nothing is left behind. No
 * thread runs yet. `options` may be NULL. SALLY_EINVAL, SALLY_ENOMEM, SALLY_EEXHAUSTED,
 * SALLY_ENOPORT. [any] */
SALLY_API int sally_engine_create(sally_engine **engine,
                                  const sally_engine_options *options) SALLY_MUST_USE;

/* Starts the shards' threads and returns. SALLY_ESTATE unless created and not yet started.
 * [outside] */
SALLY_API int sally_engine_start(sally_engine *engine) SALLY_MUST_USE;

/* Waits until the engine has stopped. SALLY_ESTATE for one that is driven by sally_engine_run_once.
 * [outside] */
SALLY_API int sally_engine_wait(sally_engine *engine);

/* Start and wait. Unless leave_signals is set, SIGINT and SIGTERM are caught meanwhile (those whose
 * action is the default one): the first drains for signal_drain_ms and stops, the second stops at
 * once. The old actions are restored. [outside] */
SALLY_API int sally_engine_run(sally_engine *engine) SALLY_MUST_USE;

/* Ends every connection at once (reason SALLY_CLOSE_SHUTDOWN), each with its on_close, then the
 * threads. Returns at once; sally_engine_wait waits for the end. Calling it again changes nothing.
 * [any] */
SALLY_API int sally_engine_stop(sally_engine *engine);

/* Stops gently: servers stop accepting, every connection is closed as by sally_conn_close, one with
 * jobs under way (sallyport/work.h) when they have come back, and what is still there after
 * `timeout_ms` is cut (SALLY_CLOSE_DRAIN_TIMEOUT). Then the engine stops. Returns at once. A second
 * call can shorten the time, not extend it. [any] */
SALLY_API int sally_engine_drain(sally_engine *engine, uint32_t timeout_ms);

/* How the drain or stop went; SALLY_ESTATE before the engine has stopped. [any] */
SALLY_API int sally_engine_stop_report(sally_engine *engine,
                                       sally_stop_report *report) SALLY_MUST_USE;

/* Stops if needed, waits, and frees everything, also with live traffic. NULL does nothing. From
 * inside a callback it is SALLY_ETHREAD and does nothing: call sally_engine_stop there. Nobody may
 * use the engine, its servers or ids after. [outside] */
SALLY_API int sally_engine_destroy(sally_engine *engine);

/* What it does now; SALLY_ENGINE_STOPPED also when it never ran and was stopped. [any] */
SALLY_API sally_engine_state sally_engine_get_state(const sally_engine *engine);

/* Which port was taken ("uring", "epoll", "iocp", "sim"), and why, in words. Static as long as the
 * engine lives. [any] */
SALLY_API const char *sally_engine_port(const sally_engine *engine);
SALLY_API const char *sally_engine_port_reason(const sally_engine *engine);

/* Sums over all shards; each number is exact, but they may be of slightly different moments. [any]
 */
SALLY_API int sally_engine_get_stats(sally_engine *engine,
                                     sally_engine_stats *stats) SALLY_MUST_USE;

/* Driving an engine of one shard from a loop of the program's own, instead of start or run. The
 * first call of run_once fixes the thread that owns the engine; the callbacks run inside it.
 *   run_once  one turn: waits at most timeout_ms for something to do. 0: go on; 1: the engine has
 *             stopped; SALLY_ESTATE: it has threads of its own or more than one shard;
 *             SALLY_ETHREAD: not this thread's, or inside a callback
 *   fd        a descriptor to wait on (poll(2): readable); -1 if there is none
 *   next_ms   how long the program may wait on it before it calls run_once; SALLY_FOREVER: until
 *             it is readable
 * [outside], and after the first call in that thread alone */
SALLY_API int sally_engine_run_once(sally_engine *engine, uint32_t timeout_ms) SALLY_MUST_USE;
SALLY_API int64_t sally_engine_fd(sally_engine *engine);
SALLY_API uint32_t sally_engine_next_ms(sally_engine *engine);

/* ---- Servers ---- */

typedef enum sally_at_limit {
    SALLY_AT_LIMIT_WAIT,     /* newcomers stay in the system's backlog until there is room */
    SALLY_AT_LIMIT_RESET,    /* newcomers are accepted and reset */
    SALLY_AT_LIMIT_FAREWELL, /* newcomers are accepted, get the farewell of sally_admission and are
                                closed gently; at most 64 of an engine at a time and for 2 s each,
                                further ones are reset */
} sally_at_limit;

typedef struct sally_server_options {
    sally_conn_options conn;
    uint32_t conns_max; /* of this server; 0: only the engine's limit */
    sally_at_limit at_limit;
    uint64_t memory_max;  /* bytes in the queues of all its connections, with the levels of the
                             engine's  memory_max; 0: no limit */
    int backlog;          /* listen(2); 0: the system's maximum */
    bool v6_only;         /* an IPv6 address doesn't take IPv4 peers */
    bool share_port;      /* SO_REUSEPORT: other processes may listen on it too */
    uint32_t unix_mode;   /* permissions of a Unix socket's file; 0: 0600 */
    uint32_t watchdog_ms; /* how often listeners are checked for progress; 0: 1000 */
    const sally_admission
        *admission; /* bans, limits for each address, rates, strikes; NULL: none */
    const sally_proxy_options *proxy; /* whose PROXY headers are read; NULL: nobody's */

    /* Newcomers wait in the port until their first bytes have come: who says nothing costs a
     * descriptor, but no connection, no place in conns_max and no callback. One that says nothing
     * in time is closed, as is the oldest when more wait than may; both are counted in `silent`. On
     * Windows one may be closed half a second after its time (SO_CONNECT_TIME), a few more may wait
     * for as long, and a pause ends those who wait. */
    bool accept_with_data;
    uint32_t accept_data_ms;  /* for the first bytes; 0: 30000 */
    uint32_t accept_held_max; /* silent newcomers of one address; 0: 1024, or an eighth of the
                                 descriptor limit if that is less; at most 65000 */
} sally_server_options;

/* Opens a server with one address; judged at once. It accepts from the moment the engine runs (or
 * runs already). `options` and `server` may be NULL. The server lives as long as the engine.
 *   "127.0.0.1:5002"  "[::1]:5002"
 *   "127.0.0.1:0"     any free port; sally_server_address tells which
 *   "*:5002"          all addresses, IPv4 and IPv6
 *   "host:5002"       every address of the name; the system resolves it, which may take its time
 *   "unix:/path"      a Unix socket (unix(7)); a dead one's file is replaced (one by one: flock(2))
 *   "unix:@name"      Linux' abstract names
 *   "fd:3"            a listening socket handed to the program; taken over when the call succeeds
 * SALLY_EINVAL, SALLY_EADDRESS, SALLY_ENONAME, SALLY_EADDRINUSE, SALLY_EADDRNOTAVAIL, SALLY_EACCES,
 * SALLY_EEXHAUSTED, SALLY_ENOMEM, SALLY_ELIMIT (too many servers), SALLY_ESTATE (the engine stops).
 * [any] */
SALLY_API int sally_listen(sally_engine *engine, const char *address, const sally_handler *handler,
                           const sally_server_options *options,
                           sally_server **server) SALLY_MUST_USE;

/* One more address, with the same errors; the others go on when it fails. At most 64. [any] */
SALLY_API int sally_server_add(sally_server *server, const char *address) SALLY_MUST_USE;

/* The n-th listening address as the system has it, with the real port; returns buf, or NULL when
 * there are no more than n. [any] */
SALLY_API const char *sally_server_address(sally_server *server, unsigned n, char *buf,
                                           size_t size);

/* Stops and restarts taking newcomers; meanwhile they wait in the system's backlog, and past its
 * length get no answer (listen(2)). sally_server_pause_closed refuses them instead. Live
 * connections go on. Idempotent. [any] */
SALLY_API int sally_server_pause(sally_server *server);
SALLY_API int sally_server_resume(sally_server *server);

/* Closes the listening sockets for good; live connections go on. Idempotent. [any] */
SALLY_API int sally_server_close(sally_server *server);

/* The handler's `user`. [any] */
SALLY_API void *sally_server_user(const sally_server *server);

/* Live connections. [any] */
SALLY_API uint32_t sally_server_conns(const sally_server *server);

typedef struct sally_server_stats {
    uint32_t conns;
    uint32_t listeners; /* addresses */
    uint32_t armed;     /* of those, with an accept outstanding */
    uint32_t exhausted; /* of those, waiting for descriptors, memory or buffers */
    uint64_t accepted;
    uint64_t accept_failures;
    uint64_t dead_on_arrival; /* the peer had gone before it was looked at */
    uint64_t refused;         /* by whatever cause: sallyport/admission.h has them apart */
    uint64_t exhausted_times;
    uint64_t stalled_times; /* the watchdog had to act */
    uint64_t silent; /* with accept_with_data: newcomers that were closed, or had gone, before they
                        said anything; proxies that had gone before the first byte of a header */
    uint32_t backlog_waiting; /* in the system's backlogs, at the watchdog's last tick; Linux' TCP
                                 (TCP_INFO, SO_MEMINFO) tells it and the next two, else 0 */
    uint32_t backlog_max;     /* how many may; the system may let one more wait */
    uint64_t backlog_dropped; /* tries to connect that found no place there, repeated ones too */
} sally_server_stats;

/* [any] */
SALLY_API int sally_server_get_stats(sally_server *server,
                                     sally_server_stats *stats) SALLY_MUST_USE;

/* ---- Outgoing connections ---- */

typedef struct sally_connect_options {
    sally_conn_options conn;
    uint32_t connect_ms; /* for all of it: names, every address, a proxy; 0: 30000 */
    uint32_t attempt_ms; /* for one address while others are left; 0: 2000 */
    const char
        *from; /* local address to bind, as "192.0.2.1:0"; NULL: the system's choice; copied */
    bool same_shard; /* on the shard whose callback asks, so that handlers of both connections may
                        use either by pointer; outside callbacks SALLY_ESTATE */
    const sally_upstream *upstream; /* through this proxy, see sallyport/upstream.h; copied; NULL:
                                       without one */
    const char *server_name; /* the peer's host name where the address is not to be it: what a proxy
                                is asked for, and sally_conn_server_name; at most 253 bytes in
                                labels of letters, digits, - and _, else SALLY_EINVAL; no IP
                                address; copied; NULL: the address's, if it is a name */
} sally_connect_options;

/* Begins a connection to "host:port", "1.2.3.4:port", "[v6]:port" or "unix:/path". A name's
 * addresses are tried in turn, IPv6 and IPv4 alternating, in the resolver's order. After 0 exactly
 * one of on_open (and later on_close) or on_close alone follows. To cancel: sally_close or
 * sally_abort with the id. `options` and `id` may be NULL. SALLY_EINVAL, SALLY_EADDRESS,
 * SALLY_ELIMIT, SALLY_EFULL, SALLY_ENOMEM, SALLY_ESTATE (the engine stops), SALLY_ENOTSUP
 * (sallyport/upstream.h). [any] */
SALLY_API int sally_connect(sally_engine *engine, const char *address, const sally_handler *handler,
                            const sally_connect_options *options, sally_id *id) SALLY_MUST_USE;

/* ---- A connection, inside its callbacks ---- */

/* Queues a copy of the bytes; they go out in order, at the latest when the callback's turn ends.
 * All or nothing: SALLY_EFULL when the queue has no room for all of them, and on_drain tells when
 * there is; SALLY_ELIMIT when they are more than send_bytes_max and never fit; SALLY_ECLOSED after
 * shutdown or close, or before on_open; SALLY_ESTATE while sally_conn_produce runs; SALLY_ENOMEM.
 * len 0 does nothing. [shard] */
SALLY_API int sally_conn_send(sally_conn *conn, const void *data, size_t len);

/* The same without a copy: the queue takes a reference of its own and drops it when the bytes are
 * gone. [shard] */
SALLY_API int sally_conn_send_buf(sally_conn *conn, sally_buf *buf);

/* Half-close: after what is queued the peer sees the end of the stream; receiving goes on.
 * Idempotent. [shard] */
SALLY_API int sally_conn_shutdown(sally_conn *conn);

/* Closes gently: what is queued goes out, then FIN, then the peer's end of stream is waited for, at
 * most linger_ms, while what it still sends is dropped, so that it reads all we sent instead of a
 * reset (RFC 9293 section 3.6; RFC 1122 4.2.2.13). No on_data after this. on_close follows.
 * Idempotent; returns at once. [shard] */
SALLY_API int sally_conn_close(sally_conn *conn);

/* Closes at once with a reset; what is queued is dropped. on_close follows, not inside the call.
 * Idempotent. [shard] */
SALLY_API int sally_conn_abort(sally_conn *conn);

/* Stops and restarts reading; no on_data and no on_eof between the two, and the peer's sending
 * stalls once the system's buffers are full. Idempotent. [shard] */
SALLY_API int sally_conn_pause(sally_conn *conn);
SALLY_API int sally_conn_resume(sally_conn *conn);

/* on_timer after so many milliseconds, once; replaces the one set before; 0 cancels. At most 49
 * days. [shard] */
SALLY_API int sally_conn_timer(sally_conn *conn, uint32_t after_ms);

/* Something is expected of the peer, such as the rest of a message: from now on it has to send
 * min_recv_bytes_s. False: it has come, or nothing has. Saying true again changes nothing.
 * SALLY_ECLOSED; SALLY_ESTATE without that option. [shard] */
SALLY_API int sally_conn_expect(sally_conn *conn, bool expects);

/* The connection's name for other threads. [shard] */
SALLY_API sally_id sally_conn_id(const sally_conn *conn);

/* The program's pointer. [shard] */
SALLY_API void *sally_conn_user(const sally_conn *conn);
SALLY_API void sally_conn_set_user(sally_conn *conn, void *user);

/* NULL server for an outgoing connection. [shard] */
SALLY_API sally_engine *sally_conn_engine(const sally_conn *conn);
SALLY_API sally_server *sally_conn_server(const sally_conn *conn);

/* Addresses as text, "-" when not known; buf is filled (64 bytes are enough) and returned. [shard]
 */
SALLY_API const char *sally_conn_peer(const sally_conn *conn, char *buf, size_t size);
SALLY_API const char *sally_conn_local(const sally_conn *conn, char *buf, size_t size);

/* The host name that an outgoing connection was made for, without a dot at its end: `server_name`
 * of its options, else the name in its address. NULL when there is none, as for an IP address (RFC
 * 6066 section 3 wants none then), and for accepted connections. Readable as long as the connection
 * lives. [shard] */
SALLY_API const char *sally_conn_server_name(const sally_conn *conn);

/* Bytes accepted by a send call and not yet taken by the system; with filters, what they made of
 * those. [shard] */
SALLY_API uint32_t sally_conn_queued(const sally_conn *conn);

/* ---- A connection, from any thread ---- */

/* As sally_conn_send, by id: the bytes are copied and travel to the connection's shard; one
 * thread's sends keep their order, and each call's bytes stay together. SALLY_ENOCONN for an id
 * that has gone; when it goes after 0 was returned, the bytes go with it. SALLY_EFULL when the
 * connection's queue, with what travels to it, or the shard's mailbox has no room: then on_drain
 * follows, when there is room and the queue is low. SALLY_ELIMIT when len is more than
 * send_bytes_max, or than mailbox_bytes_max can hold; SALLY_ENOMEM. [any] */
SALLY_API int sally_send(sally_engine *engine, sally_id id, const void *data, size_t len);

/* As sally_conn_close and sally_conn_abort. SALLY_ENOCONN, SALLY_ENOMEM, SALLY_EFULL. [any] */
SALLY_API int sally_close(sally_engine *engine, sally_id id);
SALLY_API int sally_abort(sally_engine *engine, sally_id id);

/* Runs a function on the connection's shard, between its callbacks; never inside this call. After 0
 * it is called exactly once, with conn NULL if the connection has gone or is not open yet (from the
 * shard, or from sally_engine_destroy), so that `arg` can be freed there. SALLY_ENOCONN,
 * SALLY_ENOMEM, SALLY_EFULL. [any] */
SALLY_API int sally_post(sally_engine *engine, sally_id id, void (*fn)(sally_conn *conn, void *arg),
                         void *arg);

#if defined(__cplusplus)
}
#endif
#endif
