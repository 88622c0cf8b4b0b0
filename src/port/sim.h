/* The simulated world and the ports in it; private to sim*.c, src/sim/ and their tests.
 *
 * World: a virtual clock, one seeded stream of random numbers, a heap of what happens later, and
 * TCP in memory. Nothing in it moves but in sim_world_fire, which does the next thing due; so
 * whoever calls that (the scheduler in src/sim/, or a port_wait outside of it) decides about time.
 *
 *   sim_world.c   clock, heap, random numbers, trace and hash, violations, descriptors
 *   sim_socks.c   the table of sockets, and who listens where
 *   sim_tcp.c     handshake, segments, windows, FIN, RST
 *   sim_port.c    port_sim_ops: life, waiting and taking, buffers, handles
 *   sim_ops.c     port_sim_ops: operations, their completion and cancellation
 *   sim_hold.c    port_sim_ops: newcomers that have to speak first
 *   sim_file.c    files that are sent
 *
 * Determinism: no address of memory, real time or uninitialised byte reaches a decision or the
 * hash. Sockets, links and ports are walked by index only. Everything belongs to one thread, except
 * port_wake.
 *
 * Memory: the world's own comes from the C library (a struct mem of its own), so that failing
 * allocations hit the engine alone. */
#ifndef PORT_SIM_H
#define PORT_SIM_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mem.h"
#include "os/address.h"
#include "port/port.h"
#include "sallyport/sim.h"

#define SIM_US    UINT64_C(1000)
#define SIM_MS    UINT64_C(1000000)
#define SIM_S     UINT64_C(1000000000)
#define SIM_NEVER UINT64_MAX

/* port_sock.own[0] is its link's number; 0 before the first call and after a connect that failed;
 * this once PORT_CLOSE was taken, until the socket is made new. */
#define SIM_LINK_GONE UINT64_MAX

enum { SIM_PORTS_MAX = 256, SIM_SYN_TRIES = 6, SIM_INDEX_BITS = 20 };

/* ---- What happens later ---- */

enum sim_event_kind {
    SIM_SYN,         /* a: the client's socket, b: tries so far */
    SIM_ESTABLISHED, /* a: the client's socket */
    SIM_REFUSED,     /* a: the client's socket, b: -error */
    SIM_SEGMENT,     /* a: the sender's socket */
    SIM_RESET,       /* a: the receiver's socket */
    SIM_MAKE,        /* a: link, b: operation: it may have a result now */
    SIM_GIVE_BACK,   /* descriptors that somebody took by fault */
    SIM_BUFS_BACK,   /* a: port: its receives look for buffers again */
};

struct sim_event {
    uint64_t at_ns;
    uint64_t number; /* ties are broken in the order of scheduling */
    uint32_t kind;
    uint32_t b;
    uint64_t a;
};

/* ---- Sockets: what a kernel has ---- */

struct sim_ring {
    unsigned char *bytes; /* NULL until the first byte */
    uint32_t size;
    uint32_t head;
    uint32_t len;
};

enum sim_sock_kind { SIM_LISTENER, SIM_STREAM };
enum sim_sock_state { SIM_CONNECTING, SIM_ESTABLISHED_STATE, SIM_FAILED };

/* What a socket tells who has it. */
enum sim_notice {
    SIM_READABLE = 1 << 0,  /* bytes, end of stream, an error, or a newcomer */
    SIM_WRITABLE = 1 << 1,  /* room, or an error */
    SIM_CONNECTED = 1 << 2, /* connecting has ended, well or not */
};

struct sim_sock {
    struct sim_world *world;
    uint64_t number; /* generation and index: never used again */
    uint8_t kind;
    uint8_t state;
    bool descriptor; /* counted against the engines' limit */
    bool attached;   /* a port_sock has it */
    bool app_closed; /* nobody has it any more: the kernel finishes what is left */
    bool fin_asked;  /* end of stream after what is in tx */
    bool fin_sent;   /* and delivered */
    bool fin_received;
    bool vanished;    /* nothing leaves or arrives */
    bool segment_due; /* a SIM_SEGMENT of its is in the heap */
    bool in_backlog;  /* not yet accepted */
    int error;        /* SALLY_E* that ended it; 0 */
    struct sim_sock
        *other; /* the connection's other end; NULL before the handshake and when it has gone */
    struct sim_ring tx;
    struct sim_ring rx;
    uint64_t latency_ns;
    uint64_t clogged_until_ns;
    struct address local; /* ADDRESS_IP, ADDRESS_PATH, or ADDRESS_ANY of a listener */
    struct address remote;
    void (*notify)(void *owner, unsigned notices);
    void *owner;
    /* listeners */
    bool v6_only;
    bool share_port;
    uint32_t backlog_max;
    uint32_t backlog_len;
    struct sim_sock **backlog;
};

/* ---- Files ---- */

/* Has no bytes of its own: they are made when they are sent, so it may be of any size. */
struct sim_file {
    uint64_t bytes;    /* a test may make it shorter at any time */
    uint64_t fails_at; /* the byte that can't be read; UINT64_MAX: none */
    void (*read)(void *user, uint64_t offset, void *to, uint32_t len);
    uint64_t (*size)(void *user); /* asked before each part; NULL: `bytes` it is */
    void *user;
    bool open;
};

/* ---- The world ---- */

struct sim_port;
struct sim_link;

struct sim_world {
    struct mem mem;
    uint64_t seed;
    uint64_t random[4];
    uint64_t start_ns;
    uint64_t now_ns;
    uint64_t hash;
    uint64_t steps;
    bool scheduled; /* the scheduler drives: port_wait must not move the world */
    bool send_now;
    uint64_t latency_max_ns;
    sally_sim_options options;
    sally_sim_faults faults;

    struct sim_event *heap;
    size_t heap_len;
    size_t heap_room;
    uint64_t event_number;

    struct sim_sock **socks; /* by index; NULL: free */
    uint32_t *sock_generations;
    uint32_t socks_room;
    uint32_t socks_open;
    uint16_t next_port; /* ephemeral */

    uint32_t descriptors_max;
    uint32_t descriptors_used;
    uint32_t descriptors_taken; /* by others */
    bool descriptors_all_taken;
    bool descriptors_fault; /* taken by fault: SIM_GIVE_BACK is in the heap */

    struct address *holes;
    uint32_t hole_count;

    struct sim_link **links; /* by index */
    uint32_t *link_generations;
    uint32_t links_room;

    struct sim_file *files; /* by handle - 1 */
    uint32_t files_room;

    struct sim_port *ports[SIM_PORTS_MAX]; /* by number; NULL once destroyed */
    uint32_t port_count;
};

/* ---- sim_world.c ---- */

int sim_world_create(struct sim_world **world, uint64_t seed, const sally_sim_options *options);

/* Every port has been destroyed; sockets that scripted peers have may be left. */
void sim_world_destroy(struct sim_world *world);

/* Does the earliest thing that is due now or later, and moves the clock to it; false when there is
 * nothing. */
bool sim_world_fire(struct sim_world *world);

/* When the earliest thing is due; SIM_NEVER. */
uint64_t sim_world_next_ns(const struct sim_world *world);
void sim_world_advance(struct sim_world *world, uint64_t to_ns);
void sim_world_later(struct sim_world *world, uint64_t delay_ns, enum sim_event_kind kind,
                     uint64_t a, uint32_t b);

uint64_t sim_random(struct sim_world *world);
uint64_t sim_below(struct sim_world *world, uint64_t below); /* 0 for 0 */
bool sim_chance(struct sim_world *world, uint32_t per_million);
/* Mostly small, sometimes up to max: what sizes and times in the world look like. 1 to max. */
uint64_t sim_skewed(struct sim_world *world, uint64_t max);
/* How long a completion takes. */
uint64_t sim_delay(struct sim_world *world);

void sim_mix(struct sim_world *world, uint64_t value);
uint64_t sim_checksum(uint64_t sum, const void *data, size_t len);
void sim_trace(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A promise was broken: prints it with the seed and aborts. */
_Noreturn void sim_violation(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The world's own memory, zeroed; never NULL. */
void *sim_alloc(struct sim_world *world, size_t bytes);
void sim_free(struct sim_world *world, void *block, size_t bytes);
void *sim_grow(struct sim_world *world, void *block, size_t old_bytes, size_t bytes);

/* One descriptor for an engine; false when there is none. */
bool sim_descriptor_take(struct sim_world *world);
void sim_descriptor_give(struct sim_world *world);
bool sim_descriptor_left(const struct sim_world *world);
void sim_descriptors_back(struct sim_world *world);

/* ---- sim_socks.c ---- */

struct sim_sock *sim_sock_make(struct sim_world *world, enum sim_sock_kind kind);
struct sim_sock *sim_sock_find(struct sim_world *world, uint64_t number);
void sim_sock_free(struct sim_sock *sock);

/* SALLY_EADDRINUSE, SALLY_EINVAL. The socket is the caller's, without an owner to notify. */
int sim_listen(struct sim_world *world, const struct address *address, uint32_t backlog,
               bool v6_only, bool share_port, struct sim_sock **listener);
/* Who takes newcomers for an address; NULL. Of several that share it, one by seed. */
struct sim_sock *sim_listener_at(struct sim_world *world, const struct address *to);
bool sim_is_hole(const struct sim_world *world, const struct address *to);
int sim_hole_add(struct sim_world *world, const struct address *at);
bool sim_address_equal(const struct address *a, const struct address *b);
void sim_address_of(const struct address *address, struct addr *addr);

uint32_t sim_ring_room(const struct sim_ring *ring);
uint32_t sim_ring_put(struct sim_world *world, struct sim_ring *ring, const void *data,
                      uint32_t len);
uint32_t sim_ring_take(struct sim_ring *ring, void *data, uint32_t len);
void sim_ring_clear(struct sim_world *world, struct sim_ring *ring); /* and frees */

/* ---- sim_tcp.c ---- */

/* A socket that begins to connect; SIM_CONNECTED tells how it ended (state, error). */
struct sim_sock *sim_tcp_connect(struct sim_world *world, const struct address *to,
                                 const struct addr *from);
/* The first of the backlog, NULL. */
struct sim_sock *sim_tcp_accept(struct sim_sock *listener);
/* How many bytes the send buffer took. */
uint32_t sim_tcp_write(struct sim_sock *sock, const void *data, uint32_t len);
/* What was received; opens the window. */
uint32_t sim_tcp_read(struct sim_sock *sock, void *data, uint32_t len);
void sim_tcp_finish(struct sim_sock *sock);
/* Nobody has the socket any more; it must not be used after. */
void sim_tcp_close(struct sim_sock *sock, enum port_close_mode mode);
/* Seen by both ends. */
void sim_tcp_break(struct sim_sock *sock);
void sim_tcp_vanish(struct sim_sock *sock);
void sim_tcp_fire(struct sim_world *world, const struct sim_event *event);

/* ---- sim_port.c, sim_ops.c ---- */

enum sim_op_state {
    SIM_OP_IDLE,
    SIM_OP_ACTIVE, /* started */
    SIM_OP_ENDED,  /* its last event waits to be taken */
};

struct sim_op {
    uint8_t state;
    bool make_due; /* a SIM_MAKE is in the heap */
    bool stopping;
    bool starved; /* recv: waits for a buffer */
};

struct sim_held {
    struct sim_sock *s;
    uint64_t due_ns;
};

/* A port_sock as its port knows it, from the first call on it until PORT_CLOSE, or the failure of
 * its connect, is taken. */
struct sim_link {
    uint64_t number;
    struct sim_port *port;
    struct port_sock *sock;
    uint32_t slot_index;
    uint32_t slot_generation;
    struct sim_sock *s; /* NULL: none (yet, or after a failed connect, or after close) */
    struct sim_op ops[PORT_OPS];
    bool closing;
    bool descriptor; /* to be given back when the close ends */
    bool shut;
    bool recv_ended; /* end of stream or an error was told */
    bool send_failed;
    int send_forced; /* what the close decided for the send in flight: bytes taken, or an error */
    int connect_forced; /* how the connect ends whatever the network says: SALLY_E*, 1: well, 0: not
                           decided */
    struct span *spans; /* the send in flight */
    unsigned span_count;
    unsigned span_room;
    size_t send_bytes;
    uint64_t send_sum;            /* of its bytes when it was started */
    const struct port_file *file; /* the same of a file; NULL: of spans */
    struct port_file file_copy;   /* as it was when it was started */
    struct sim_held *held; /* a listener's that hears: newcomers that said nothing yet, in order */
    uint32_t held_len;
    uint32_t held_max;
    uint64_t held_alarm_ns; /* a SIM_MAKE is in the heap for then */
};

struct sim_ready {
    struct port_event event;
    uint64_t link;
};

struct sim_lent {
    unsigned char *data; /* NULL: free */
    uint64_t sum;        /* of the bytes: nobody may change them */
    uint32_t bytes;
    bool taken; /* by the port's owner */
};

struct sim_port {
    struct port port; /* first */
    struct sim_world *world;
    uint32_t number;
    uint32_t buf_bytes;
    uint32_t bufs_used; /* lent, or in an event that waits */
    uint32_t bufs_next; /* where the search for a free one begins */
    struct sim_lent *bufs;
    struct sim_ready *ready;
    uint32_t ready_len;
    uint32_t ready_room;
    uint32_t links;
    bool owned;
    bool bufs_fault; /* a SIM_BUFS_BACK is in the heap */
    atomic_bool woken;
};

static inline struct sim_port *sim_port_of(struct port *port) { return (struct sim_port *)port; }

/* Whether a turn would find something: an event or a wake-up. */
bool sim_port_runnable(struct sim_port *port);

/* The link of a socket, made at the first call. */
struct sim_link *sim_link_of(struct sim_port *port, struct port_sock *sock);
struct sim_link *sim_link_find(struct sim_world *world, uint64_t number);
void sim_link_free(struct sim_link *link);
/* The slot must still be the one the link was made for. */
void sim_link_check(struct sim_link *link);
void sim_link_bind(struct sim_link *link, struct sim_sock *s);
void sim_port_push(struct sim_link *link, const struct port_event *event);
/* Receives up to buf_bytes of a socket into a buffer of exactly their size and tells; false when
 * there is none. */
bool sim_port_receive(struct sim_link *link);
/* The same for any socket, into the event. */
bool sim_port_lend(struct sim_link *link, struct sim_sock *s, struct port_event *event);
void sim_port_feed_starved(struct sim_port *port);

/* A listener that accepts with data. sim_hold_make goes on by one thing; false without a
 * descriptor. */
void sim_hold_begin(struct sim_link *link, uint32_t held_max);
void sim_hold_end(struct sim_link *link);
bool sim_hold_make(struct sim_link *link);

/* A file of the world. `read` makes bytes that are inside of it; it must give the same ones each
 * time. The handle is not given anew while a file with it is open. */
os_file sim_file_make(struct sim_world *world, uint64_t bytes,
                      void (*read)(void *user, uint64_t offset, void *to, uint32_t len),
                      void *user);
/* Its file; valid until the next one is made. NULL: there is none with this handle. */
struct sim_file *sim_file_of(struct sim_world *world, os_file handle);
void sim_file_close(struct sim_world *world, os_file handle);
/* At most so many bytes of the file in flight, written to the socket: how many, 0 without room, or
 * SALLY_E*. */
int64_t sim_file_put(struct sim_link *link, uint32_t max);
/* That nobody changed the struct or closed the file meanwhile. */
void sim_file_check(struct sim_link *link);

/* SIM_MAKE */
void sim_ops_make(struct sim_world *world, uint64_t link, enum port_op op);
/* Its last event is taken now: what may be checked then is. */
void sim_ops_taken(struct sim_link *link, const struct port_event *event);
/* An operation may have a result: look at it a bit later. */
void sim_ops_poke(struct sim_link *link, enum port_op op);

void sim_op_accept(struct port *port, struct port_sock *sock);
void sim_op_accept_stop(struct port *port, struct port_sock *sock);
void sim_op_connect(struct port *port, struct port_sock *sock, const struct address *to,
                    const struct addr *from, const struct port_sock_options *options);
void sim_op_recv(struct port *port, struct port_sock *sock);
void sim_op_recv_stop(struct port *port, struct port_sock *sock);
int64_t sim_op_send_now(struct port *port, struct port_sock *sock, const struct span *spans,
                        unsigned count, int *sys_error);
void sim_op_send(struct port *port, struct port_sock *sock, const struct span *spans,
                 unsigned count);
void sim_op_send_file(struct port *port, struct port_sock *sock, const struct port_file *file);
int sim_op_shutdown(struct port *port, struct port_sock *sock);
void sim_op_close(struct port *port, struct port_sock *sock, enum port_close_mode mode);

#endif
