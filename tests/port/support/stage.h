/* The stage: one port under test with everything that it needs and a check of the contract at each
 * of its events. Rules start operations through it, never past it, so that it knows what is in
 * flight; it keeps its own account beside the port's.
 *
 * Actors are the sockets of the port under test; they live in its slot table and hold what came.
 * Peers are the other ends. Both belong to the stage and to the thread that opened it. A broken
 * rule ends the trial at once (trial_fail). */
#ifndef PORT_SUPPORT_STAGE_H
#define PORT_SUPPORT_STAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slots.h"
#include "port/port.h"
#include "port/support/ground.h"
#include "port/support/trial.h"

enum {
    STAGE_PEERS_MAX = 1200,
    STAGE_HELD_MAX = 1024,
    STAGE_ARRIVALS_MAX = 2048,
    STAGE_BATCH_MAX = 64,
    STAGE_PIECE_BYTES = 32 * 1024,
    STAGE_SPANS_MAX = 2048,
    TAG_OF_REUSE = 1 << 30, /* in a tag: wrong bytes are those of another connection */
};

struct stage;

struct actor {
    struct port_sock sock; /* first */
    uint8_t flying;        /* PORT_BIT of what we started and saw no end of */
    bool closed;           /* PORT_CLOSE was taken */
    bool hold;             /* keeps what it is lent */
    bool echo;             /* sends back what it gets */
    bool refuse;           /* a listener's: newcomers are turned away with FIN */
    bool ended;            /* its receive met the end of the stream */
    uint32_t tag_in;       /* pattern that must arrive; 0: anything */
    uint32_t tag_out;
    uint64_t got;
    uint64_t sent;
    uint64_t send_left; /* goes on by itself until none is left */
    uint32_t chunk;     /* bytes of one such send; 0: all */
    uint32_t asked;     /* bytes of the send in flight */
    unsigned char *out; /* and the bytes, freed when it ends */
    uint32_t out_len;
    struct port_file *file; /* what the send in flight is of, freed when it ends */
    uint64_t file_left;     /* goes on by itself until none is left */
    uint32_t endings[PORT_OPS];
    uint32_t events[PORT_OPS];
    int32_t error[PORT_OPS]; /* of the last ending */
    unsigned char *first; /* bytes that came with its accept; checked and counted by stage_recv */
    uint32_t first_len;
    uint32_t newcomers;
    uint32_t silent;        /* newcomers lost by P14, which are no accept_errors */
    uint32_t accept_errors; /* with and without `more` */
    void (*on_event)(struct stage *stage, struct actor *actor, const struct port_event *event);
    void *user;
    uint64_t number;
};

struct peer {
    struct stage *stage;
    intptr_t id;
    bool open;
    bool ended;
    bool reset;
    bool finished;
    uint32_t tag_in;
    uint32_t tag_out;
    uint64_t got;
    uint64_t wrote;
};

struct arrival {
    port_handle handle;
    unsigned char *first; /* bytes that came with it, or NULL */
    uint32_t first_len;
    struct addr peer;
};

struct stage_config {
    const struct port_ops *ops;
    const struct ground *ground;
    uint32_t features_off;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint32_t slots_max; /* 0: 4096 */
    uint32_t bufs_max;
    uint32_t buf_bytes;
    bool guarded;   /* memory between forbidden pages, see guard_pages.h */
    bool no_strays; /* an event of the system that fits no socket is a flaw of the port's */
};

struct stage {
    struct stage_config config;
    const struct ground *ground;
    void *world;
    struct mem mem;
    atomic_uint blocks;      /* allocated and not freed */
    atomic_int allocs_until; /* this many more succeed, then all fail; -1: no limit */
    struct slots socks;
    struct port *port;
    unsigned descriptors_before;
    unsigned take_max;
    uint64_t random;
    uint64_t number_last;

    struct actor *door; /* the listener that pairs come through */
    struct address door_at;
    struct arrival arrivals[STAGE_ARRIVALS_MAX];
    unsigned arrivals_head, arrivals_len;
    struct {
        uint32_t buf;
        uint32_t bytes;
        const void *data;
        uint64_t sum;
    } held[STAGE_HELD_MAX];
    unsigned held_len;
    struct peer peers[STAGE_PEERS_MAX];
    unsigned peers_len;
    uint64_t events; /* taken so far */
    unsigned char piece[STAGE_PIECE_BYTES];
};

/* Opens the stage: port created and owned. Skips the trial when this kind can't be used here. */
void stage_open(struct stage *stage, const struct stage_config *config);
/* The same without a port, for rules that create theirs. */
void stage_open_bare(struct stage *stage, const struct stage_config *config);
/* Closes all that is left, destroys the port, and checks that nothing stays: operations, buffers,
 * memory, descriptors. */
void stage_shut(struct stage *stage);
/* The port's part of it, for a port that another thread owns. */
void stage_shut_port(struct stage *stage);
void stage_port_config(struct stage *stage, struct port_config *config);

/* --- turning --- */

/* Waits once and takes everything; how many events. */
unsigned stage_turn(struct stage *stage, uint32_t timeout_ms);
/* Takes at most one batch of what the last wait found. */
unsigned stage_take(struct stage *stage);
/* Turns until nothing has come for a while: for what must not come. */
void stage_settle(struct stage *stage);

/* The peers must move too, so the port never sleeps long. */
#define UNTIL(stage, condition) STAGE_TURN_UNTIL(stage, condition, 1)

/* Everything has been done that must be done: the port itself has to wake up for it. */
#define AWAIT(stage, condition) STAGE_TURN_UNTIL(stage, condition, PORT_FOREVER)

#define STAGE_TURN_UNTIL(stage, condition, timeout_ms)                                             \
    do {                                                                                           \
        trial_waits_for(#condition, __FILE__, __LINE__);                                           \
        while (!(condition)) stage_turn(stage, timeout_ms);                                        \
        trial_waits_for(NULL, NULL, 0);                                                            \
    } while (0)

/* Each of them is looked at, which && would not do: looking moves a peer on. */
static inline bool all_of(bool one, bool another, bool third) { return one && another && third; }

/* --- actors --- */

struct actor *stage_actor(struct stage *stage);
/* The slot goes back; PORT_CLOSE has been taken. What a port could still read there is spoiled. */
void stage_give(struct stage *stage, struct actor *actor);
/* PORT_CLOSE has been taken: the actor is as new, in the same slot with the same name. */
void stage_renew(struct stage *stage, struct actor *actor);
/* Closes, waits, gives back. */
void stage_drop(struct stage *stage, struct actor *actor, enum port_close_mode mode);

void stage_attach(struct stage *stage, struct actor *actor, port_handle handle);
void stage_accept(struct stage *stage, struct actor *actor);
void stage_accept_stop(struct stage *stage, struct actor *actor);
void stage_connect(struct stage *stage, struct actor *actor, const struct address *to,
                   const struct addr *from);
void stage_recv(struct stage *stage, struct actor *actor);
void stage_recv_stop(struct stage *stage, struct actor *actor);
/* The next `bytes` of the actor's pattern in one operation. */
void stage_send(struct stage *stage, struct actor *actor, uint32_t bytes);
/* The same, cut into spans of the given sizes, which are used round and round. */
void stage_send_spans(struct stage *stage, struct actor *actor, uint32_t bytes,
                      const uint32_t *sizes, unsigned count);
/* In as many operations as it takes. */
void stage_send_all(struct stage *stage, struct actor *actor, uint64_t bytes);
/* At most `bytes` of a file in one operation. Skips the trial where the port can't. */
void stage_send_file(struct stage *stage, struct actor *actor, os_file file, uint64_t offset,
                     uint64_t bytes);
/* In as many operations as it takes, until an error. */
void stage_send_file_all(struct stage *stage, struct actor *actor, os_file file, uint64_t offset,
                         uint64_t bytes);
/* Sends until the system takes no more and a send stays in flight; the peer must not read. */
void stage_fill(struct stage *stage, struct actor *actor);
/* What port_send_now takes of the next `bytes`; negative: its error. */
int64_t stage_send_now(struct stage *stage, struct actor *actor, uint32_t bytes);
void stage_close(struct stage *stage, struct actor *actor, enum port_close_mode mode);

static inline bool actor_flies(const struct actor *actor, enum port_op op)
{
    return actor->flying & PORT_BIT(op);
}

/* Releases what actors hold. */
void stage_release_held(struct stage *stage);

/* --- connections --- */

/* A peer's listener on loopback whose queue is full, so that who connects gets no answer. */
intptr_t stage_hole(struct stage *stage, struct address *at);
/* 127.0.0.1, any port. */
struct address stage_loopback(void);
struct address stage_loopback6(void);
/* A listener of the port; not accepting yet. */
struct actor *stage_listener(struct stage *stage, const struct address *at,
                             const struct port_listen_options *options, struct address *bound);
/* One that accepts with data, on loopback. */
struct actor *stage_listener_for_data(struct stage *stage, uint32_t data_ms, uint32_t held_max,
                                      struct address *bound);
/* An actor for the oldest newcomer. */
struct actor *stage_next(struct stage *stage);
bool stage_has_newcomer(const struct stage *stage);
/* The listener that stage_pair uses, made by the first call. */
void stage_open_door(struct stage *stage);
/* A connection through the door; both directions have patterns. */
struct actor *stage_pair(struct stage *stage, struct peer **peer);
/* The other way round: the actor connected to a peer's listener. */
struct actor *stage_pair_out(struct stage *stage, struct peer **peer);

/* So many bytes, fewer where a network in memory may move them one by one. */
static inline uint32_t stage_bulk(const struct stage *stage, uint32_t bytes)
{
    return stage->ground->real ? bytes : bytes / 64;
}

uint32_t stage_random(struct stage *stage, uint32_t below);

/* --- peers --- */

struct peer *stage_peer(struct stage *stage); /* not connected */
struct peer *peer_connect(struct stage *stage, const struct address *to);
struct peer *peer_accept(struct stage *stage, intptr_t listener); /* NULL: nobody yet */
/* Writes more of its pattern; true when `total` bytes have been written in all. */
bool peer_wrote(struct peer *peer, uint64_t total);
/* Turns until so many have been written in all. */
void peer_write(struct peer *peer, uint64_t total);
/* Reads and checks what is there, at most `max` bytes; how many. */
uint64_t peer_read(struct peer *peer, uint64_t max);
/* Reads; true when that many, or the end or a reset, has come. */
bool peer_got(struct peer *peer, uint64_t total);
bool peer_ended(struct peer *peer);
bool peer_was_reset(struct peer *peer);
void peer_finish(struct peer *peer);
/* Any step that an open peer may take, by the stage's lot; at most so many bytes are written. */
void peer_stray(struct peer *peer, uint32_t bytes_max);
void peer_close(struct peer *peer, enum port_close_mode mode);

/* The byte of a pattern. */
static inline unsigned char pattern_at(uint32_t tag, uint64_t offset)
{
    uint64_t word = (offset >> 3) + ((uint64_t)tag << 32) + 1;
    word *= UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)((word ^ (word >> 32)) >> (8 * (offset & 7)));
}
void pattern_fill(uint32_t tag, uint64_t offset, void *to, size_t len);
/* True, or where it differs. */
bool pattern_equal(uint32_t tag, uint64_t offset, const void *is, size_t len, size_t *at);

#endif
