/* A connection: from slot to slot. All of it belongs to its shard's thread.
 *
 * Life: (DIALING, TUNNELING, GREETING, SHAKING) OPEN DRAINING LINGERING ENDING, left in that order,
 * steps may be left out.
 *   begin   conn_close, sally_conn_abort, or whatever ends it: no new data goes out to the handler
 *   join    ENDING: port_close has been called; operations in flight end
 *   finish  PORT_CLOSE: on_close, once and last; then the slot is given back and its generation
 *           moves on
 *
 * Files: conn.c life, conn_recv.c what comes, conn_send.c what goes, conn_time.c limits, dial.c,
 * tunnel.c, greeting.c and chain.c before it is open, conn_message.c messages, websocket.c those of
 * WebSockets, conn_api.c the public face.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/sendq.h"
#include "base/wheel.h"
#include "net/policy.h"
#include "net/shard.h"
#include "port/port.h"
#include "sallyport.h"

enum conn_state {
    CONN_NEW,       /* named, not yet begun on its shard; role is 0 too */
    CONN_DIALING,   /* being made */
    CONN_TUNNELING, /* its proxy is asked for the target, see tunnel.h */
    CONN_GREETING,  /* a proxy's: its header is waited for, see greeting.h */
    CONN_SHAKING,   /* its filters aren't ready, see chain.h */
    CONN_OPEN,
    CONN_DRAINING,  /* closing gently: what is queued goes out */
    CONN_LINGERING, /* our FIN is sent; the peer's is waited for */
    CONN_ENDING,    /* port_close was called */
    CONN_GONE,      /* on_close runs */
};

enum conn_flag {
    CONN_DIRTY = 1 << 0,         /* in the shard's dirty list */
    CONN_PAUSED = 1 << 1,        /* by the handler */
    CONN_AUTO_PAUSED = 1 << 2,   /* by its own send queue */
    CONN_RECV_STOPPING = 1 << 3, /* port_recv_stop was called, its end has not come */
    CONN_EOF = 1 << 4,           /* the peer has finished sending, and the handler knows */
    CONN_EOF_HELD = 1 << 5,      /* it has, and the handler doesn't know yet */
    CONN_SHUT_ASKED = 1 << 6,    /* half-close once the queue is empty */
    CONN_SHUT = 1 << 7,          /* half-closed */
    CONN_DRAIN_DUE = 1 << 8,     /* on_drain is owed when the queue is low again */
    CONN_WAITS = 1 << 9,         /* reading waits for a limit of ours: see conn_update_waits */
    CONN_FIRST_BYTE = 1 << 10,   /* one came, or nobody waits for it */
    CONN_FOREIGN = 1 << 11,      /* other threads send to it */
    CONN_NOT_OPEN = 1 << 12,     /* the state is another than CONN_OPEN; see conn_set_state */
    CONN_HELD = 1 << 13,         /* there is `held`; NULL while some of it is handed out */
    CONN_FLOW = 1 << 14,    /* a note, a cork, a producer, limits for bytes, filters, a budget */
    CONN_LIMITED = 1 << 15, /* limits is not NULL */
    CONN_STOPS = CONN_PAUSED | CONN_AUTO_PAUSED | CONN_WAITS, /* any of these stops reading */
    /* none of these: nearly every connection, nearly always */
    CONN_SPECIAL = CONN_NOT_OPEN | CONN_STOPS | CONN_RECV_STOPPING | CONN_EOF | CONN_EOF_HELD |
                   CONN_SHUT_ASKED | CONN_SHUT | CONN_HELD | CONN_FLOW | CONN_LIMITED,
};

/* A send returns it inside the library: taken, and dropped by the policy. */
enum { CONN_LET_GO = 1, CONN_COPIED = 2 /* of a reference: it was not kept */ };

enum { SEND_SPANS_MAX = 64 }; /* of one call; the system's IOV_MAX is 1024 */

struct dial;
struct flow;
struct limits;
struct newcomer;
/* What came while reading was paused. */
struct held {
    struct sendq queue;
};

/* What few connections need: made when it is first needed, by conn_extra, and freed with the
 * connection. The place for what belongs to an optional feature. */
struct conn_extra {
    struct held *held;         /* NULL: none; so with all */
    struct carry *carry;       /* with a framing: the message that is not whole yet */
    struct limits *limits;     /* NULL: only those that every connection has */
    struct membership *groups; /* that it has joined */
    struct flow *flow;         /* completions, cork, drops, recorder; see flow.h */
    uint32_t source;           /* to be given back to the server's gate; 0: nothing */
    uint32_t peer_scope;       /* of IPv6 */
    uint8_t peer_ip[16];
};

_Static_assert(sizeof(struct conn_extra) <= 64, "an idle connection with a framing has one");

#define CONN_MS_MAX ((UINT64_C(1) << 48) - 1) /* 8900 years */

/* Hot, from the top to bytes_out: what a request touches. Warm: user, the timer. Cold: beginning
 * and end. Many of these are alive and idle, so times have 48 bits and what
 * is short lies beside them; what few connections need is not here but behind `extra`. */
struct sally_conn {
    struct port_sock sock; /* first: the slot is in it */
    struct shard *shard;
    struct policy *policy; /* a reference */
    struct sendq out;
    uint32_t foreign_bytes; /* of those queued, charged to the shard's inbound account */
    uint32_t dirty_next : SLOTS_INDEX_BITS + 1; /* slot index + 1; 0: the last */
    uint32_t has_reason : 1;
    uint32_t counted_server : 1; /* in the server's count */
    uint32_t by_id : 1;          /* its end was asked for by id */
    uint32_t cut : 1;            /* ended by the end of a drain or a stop */
    uint32_t on_open_ran : 1;    /* the handler knows the connection */
    uint32_t proxied : 1;        /* a trusted proxy's: there is more behind extra */
    uint32_t ws_extra : 1;   /* a WebSocket's part is behind that: a guest may be none any more */
    uint64_t active_ms : 48; /* last byte in or out */
    uint16_t flags;
    uint64_t write_ms : 48; /* last time that the peer took a byte or the queue began; LINGERING:
                               since our FIN */
    uint8_t state;
    uint8_t reason; /* sally_close_reason, once has_reason */
    union {
        uint64_t bytes_in;      /* with CONN_FIRST_BYTE; see conn_bytes_in */
        uint64_t first_from_ms; /* without: first_byte_ms counts from here */
    };
    uint64_t bytes_out;
    void *user;
    struct timer timer; /* one for all limits: set to the earliest, looked at again when it fires */
    uint64_t user_due_ms : 48; /* sally_conn_timer; 0: not set */
    int16_t error;
    uint64_t opened_ms : 48;
    uint16_t sys_error;
    union {
        struct dial *dial;        /* DIALING */
        struct conn_extra *extra; /* later; NULL: none yet */
    };
    uint16_t peer_port;
    uint8_t peer_family; /* enum addr_family; of IPv6 the rest is in extra; DIALING: in dial */
    uint8_t reserved;
    uint8_t peer_v4[4];
};

_Static_assert(sizeof(struct sally_conn) - sizeof(struct port_sock) <= 144,
               "an idle one has no more");

/* ---- conn.c ---- */

/* A new slot, so that the connection has an id; NULL without room. Any thread: nothing in it is
 * written but by its shard. */
sally_conn *conn_name(struct shard *shard, const struct policy *policy);

/* Fills the slot; its shard. The policy reference becomes the connection's. */
void conn_init(sally_conn *conn, struct shard *shard, struct policy *policy);

/* A newcomer on this shard becomes an open connection, or a greeting; room has been reserved in
 * engine, shard and server, and its source by the server's gate. The policy reference is taken
 * over, also on failure, after which everything reserved has been given back and the handle is
 * refused. `inherits`: it has the policy's socket options already. Its first bytes are copied. */
void conn_adopt(struct shard *shard, struct policy *policy, const struct newcomer *newcomer,
                bool inherits);

/* It is connected: on_open, first read. */
void conn_open(sally_conn *conn);

/* The same, once its filters are ready, if it has any. */
void conn_begin(sally_conn *conn);

/* For the connection's cold part, made if it isn't there; NULL without memory. Not while it is
 * being made: dial has the place. */
struct conn_extra *conn_extra(sally_conn *conn);
/* Of it, without a WebSocket's part, which is behind these. */
size_t conn_extra_own_bytes(const sally_conn *conn);

/* The peer's address, kept and given back. False: no memory, which only IPv6 can need. */
bool conn_set_peer(sally_conn *conn, const struct addr *peer);
struct addr conn_peer(const sally_conn *conn);

void conn_on_event(sally_conn *conn, const struct port_event *event);

/* A job of it was taken, and has been told; see sallyport/work.h. The shard. */
void conn_job_begun(sally_conn *conn);
void conn_job_ended(struct shard *shard, sally_id id);
uint32_t conn_jobs(const sally_conn *conn);

/* As conn_close, when its jobs have come back; until then it reads no more. */
void conn_close_after_jobs(sally_conn *conn);

/* Everything that may be waiting to be done, in the turn in which it was marked. */
void conn_progress(sally_conn *conn);

/* As sally_conn_close. */
void conn_close_by_us(sally_conn *conn);

/* Gently. */
void conn_close(sally_conn *conn, sally_close_reason reason);

/* Gently, of one in CONN_SHAKING: what is queued goes out first, if there is anything. */
void conn_send_off(sally_conn *conn, sally_close_reason reason, int error, int sys_error);

/* At once. What was told as a reason before is replaced: it is this that ended it. */
void conn_end(sally_conn *conn, enum port_close_mode mode, sally_close_reason reason, int error,
              int sys_error);

/* The port or the system failed it. */
void conn_broken(sally_conn *conn, int error, int sys_error);

/* PORT_CLOSE came: on_close, and the slot goes back; at once, or by conn_release when the dirty
 * list gets to it. */
void conn_finish(sally_conn *conn);
void conn_release(sally_conn *conn);

/* Accepted by a send call, and not gone out: queued or dropped. */
uint32_t conn_unsent(const sally_conn *conn);

/* Bytes of its queues. */
uint32_t conn_holds(const sally_conn *conn);

static inline bool conn_has(const sally_conn *conn, unsigned flags) { return conn->flags & flags; }
/* In every turn, before it ends, the connection gets its conn_progress. */
static inline void shard_mark_dirty(struct shard *shard, sally_conn *conn)
{
    if (!conn_has(conn, CONN_DIRTY)) shard_mark_dirty_slow(shard, conn);
}
static inline struct carry *conn_carry(const sally_conn *conn)
{
    return conn->state != CONN_DIALING && conn->extra ? conn->extra->carry : NULL;
}
static inline struct flow *conn_flow(const sally_conn *conn)
{
    return conn->state != CONN_DIALING && conn->extra ? conn->extra->flow : NULL;
}
static inline struct limits *conn_limits(const sally_conn *conn)
{
    return conn_has(conn, CONN_LIMITED) ? conn->extra->limits : NULL;
}
static inline uint32_t conn_source(const sally_conn *conn)
{
    return conn->state != CONN_DIALING && conn->extra ? conn->extra->source : 0;
}
static inline bool conn_has_groups(const sally_conn *conn)
{
    return conn->state != CONN_DIALING && conn->extra && conn->extra->groups;
}
static inline struct held *conn_held(const sally_conn *conn)
{
    return conn_has(conn, CONN_HELD) ? conn->extra->held : NULL;
}
static inline bool conn_in_flight(const sally_conn *conn, enum port_op op)
{
    return conn->sock.in_flight & PORT_BIT(op);
}
/* Open both ways, nothing paused: bytes are handed out as they come, and taken. */
static inline bool conn_is_plain(const sally_conn *conn) { return !conn_has(conn, CONN_SPECIAL); }
/* The only way to a state, so that one look at the flags tells who is open. */
static inline void conn_set_state(sally_conn *conn, enum conn_state state)
{
    conn->state = (uint8_t)state;
    if (state == CONN_OPEN)
        conn->flags &= (uint16_t)~CONN_NOT_OPEN;
    else
        conn->flags |= CONN_NOT_OPEN;
}
/* Its handler was never told of it and won't be told of its end. */
static inline bool conn_is_unknown(const sally_conn *conn)
{
    if (conn->policy->guest) return true;
    bool accepted = conn->proxied || (conn->policy->filters && conn->policy->server);
    return accepted && !conn->on_open_ran;
}
/* It was asked for and is not open yet. */
static inline bool conn_is_coming(const sally_conn *conn)
{
    return conn->state == CONN_DIALING || conn->state == CONN_TUNNELING;
}
static inline bool conn_alive(const sally_conn *conn)
{
    return conn->state >= CONN_SHAKING && conn->state <= CONN_LINGERING;
}
/* What comes is of use. */
static inline bool conn_takes_in(const sally_conn *conn)
{
    return conn->state == CONN_OPEN || conn->state == CONN_SHAKING;
}

/* ---- conn_recv.c ---- */
void conn_on_recv(sally_conn *conn, const struct port_event *event);
/* The same of an event that is bytes, see port_event_is_bytes. */
void conn_on_bytes(sally_conn *conn, const struct port_event *event);
/* Starts or stops reading, as state and pauses want. */
void conn_update_reading(sally_conn *conn);
/* Sets or clears CONN_WAITS, as what may stop reading wants. Setting it stops reading at once; who
 * clears it marks the connection. */
void conn_update_waits(sally_conn *conn);
/* Keeps what reading was paused before: at most what was on its way, which the port's buffers
 * bound. Copied, so that those go back. SALLY_ENOMEM. */
int conn_hold(sally_conn *conn, const void *data, size_t len);
/* Bytes that came with the accept, right after conn_open. */
void conn_first_bytes(sally_conn *conn, const struct span *first);
/* What was held before it was open, right after conn_open. */
void conn_deliver_first(sally_conn *conn);
/* The rest of an event that ends the receive, once its bytes are handed out. */
void conn_recv_ended(sally_conn *conn, const struct port_event *event);
/* Hands out what was held while paused. */
void conn_deliver_held(sally_conn *conn);
void conn_drop_held(sally_conn *conn);

/* A pointer is only good on its own shard: elsewhere an id is the way. */
static inline bool conn_here(const sally_conn *conn)
{
    assert(!conn || shard_current() == conn->shard || !shard_current());
    return conn != NULL;
}
/* What a send tells the caller. */
static inline int conn_told(int err) { return err > 0 ? 0 : err; }

/* ---- conn_message.c ---- */
/* Hands out the messages in these bytes, and says how many bytes that was: less than len when
 * reading was paused or the connection began to close on the way. */
size_t conn_deliver_messages(sally_conn *conn, const void *data, size_t len);
/* The same, and what a pause leaves is held. */
void conn_deliver_received(sally_conn *conn, const void *data, size_t len);
/* Of the message that is not whole. */
uint32_t conn_message_bytes(const sally_conn *conn);
/* Its messages are to be asked for, and nothing is. */
bool conn_wants_nothing(const sally_conn *conn);
/* What came can't be read as a message (SALLY_EMALFORMED, SALLY_ELIMIT): a strike, and it is
 * closed. Open ones only. */
void conn_refuse_message(sally_conn *conn, int error);
/* Reading goes on: the time that it was paused doesn't count against message_ms. */
void conn_restart_message(sally_conn *conn);
/* We made it wait for so long: its beginning moves by that. */
void conn_message_waited(sally_conn *conn, uint64_t waited_ms);

/* ---- conn_api.c ---- */
/* From any thread: the connection itself if this is its shard's, and its framing otherwise, NULL
 * without one. SALLY_ENOCONN. */
int conn_id_look(sally_engine *engine, sally_id id, sally_conn **here,
                 const struct framing **framing);
/* As sally_send, of what lies in pieces, for a connection that is not here. */
int conn_id_send(sally_engine *engine, sally_id id, const struct span *spans, unsigned count);

/* ---- conn_send.c ---- */
int conn_send(sally_conn *conn, const void *data, size_t len);
/* Copies of all of them or of nothing. */
int conn_send_spans(sally_conn *conn, const struct span *spans, unsigned count);
/* As conn_send while nothing is queued: SALLY_FULL_DROP_OLDEST never drops it. */
int conn_send_first(sally_conn *conn, const void *data, size_t len);
/* From another thread: its bytes were accepted there, so they are taken past the limit. */
void conn_send_foreign(sally_conn *conn, const void *data, uint32_t len);
/* A reference: release as in sendq.h; not called unless the result is 0. Also CONN_LET_GO, and
 * CONN_COPIED where filters have made other bytes of these. */
int conn_send_ref(sally_conn *conn, const void *data, size_t len, sendq_release *release,
                  void *owner, uint64_t token);
/* A file's mark was queued; `high`: there are so many of them that reading pauses. */
void conn_queued_file(sally_conn *conn, bool was_empty, bool high);
void conn_on_sent(sally_conn *conn, const struct port_event *event);
void conn_flush(sally_conn *conn);
/* Of a plain one with something queued. True when it is still plain, its receive goes on and what
 * is queued has its limit; else it has to be looked at. */
bool conn_flush_plain(sally_conn *conn);
void conn_drop_queue(sally_conn *conn);
/* on_drain, at once or as soon as it may be told: open, and the queue low. */
void conn_owe_drain(sally_conn *conn);
/* Something was queued behind what send calls look at themselves. */
void conn_has_queued(sally_conn *conn, bool was_empty);
/* Bytes that other threads sent have gone: their account has room again. */
void conn_return_foreign(sally_conn *conn, size_t bytes);

/* ---- conn_time.c ---- */
/* After anything that may have made a limit earlier. */
void conn_update_timer(sally_conn *conn);
void conn_on_timer(sally_conn *conn);
/* A limit is over: the handler is asked. True: it is still open, and the limit starts anew. */
bool conn_limit_again(sally_conn *conn, sally_timeout which);

/* Before the first byte none has come. */
static inline uint64_t conn_bytes_in(const sally_conn *conn)
{
    return conn_has(conn, CONN_FIRST_BYTE) ? conn->bytes_in : 0;
}

/* Whether the timer is early enough for the limit of what is queued; the subtraction is right for
 * POLICY_NEVER too. */
static inline bool conn_write_is_timed(const sally_conn *conn)
{
    return !conn->out.bytes || (timer_is_set(&conn->timer) && conn->timer.due_ms - conn->write_ms <=
                                                                  conn->policy->write_stall_ms);
}

#endif
