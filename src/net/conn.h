/* A connection: from slot to slot. All of it belongs to its shard's thread.
 *
 * Life: (DIALING) OPEN DRAINING LINGERING ENDING, left in that order, steps may be left out.
 *   begin   conn_close, conn_abort, or whatever ends it: no new data goes out to the handler
 *   join    ENDING: port_close has been called; operations in flight end
 *   finish  PORT_CLOSE: on_close, once and last; then the slot is given back and its generation
 *           moves on
 *
 * Files: conn.c life, conn_recv.c what comes, conn_send.c what goes, conn_time.c limits, dial.c
 * before it is open, conn_api.c the public face. */
#ifndef NET_CONN_H
#define NET_CONN_H

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
    CONN_NEW,     /* named, not yet begun on its shard; role is 0 too */
    CONN_DIALING, /* being made */
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
    CONN_ON_OPEN_RAN = 1 << 9,   /* the handler knows the connection */
    CONN_FIRST_BYTE = 1 << 10,   /* one came, or nobody waits for it */
    CONN_FOREIGN = 1 << 11,      /* other threads send to it */
    CONN_CUT = 1 << 12,          /* ended by the end of a drain or a stop */
    CONN_HELD = 1 << 13,         /* held is not NULL */
    /* none of these, and open: nearly every connection, nearly always */
    CONN_SPECIAL = CONN_PAUSED | CONN_AUTO_PAUSED | CONN_RECV_STOPPING | CONN_EOF | CONN_EOF_HELD |
                   CONN_SHUT_ASKED | CONN_SHUT | CONN_HELD,
};

struct dial;
/* What came while reading was paused. */
struct held {
    struct sendq queue;
};

/* In the order of use: a request touches the first three cache lines; the rest is for beginning,
 * end and timer. */
struct sally_conn {
    struct port_sock sock; /* first: the slot is in it */
    struct shard *shard;
    struct policy *policy; /* a reference */
    struct sendq out;
    uint16_t flags;
    uint8_t state;
    uint8_t reason;         /* sally_close_reason, once has_reason */
    uint32_t foreign_bytes; /* of those queued, charged to the shard's inbound account */
    uint64_t active_ms;     /* last byte in or out */
    uint64_t write_ms;      /* last time that the peer took a byte or the queue began */
    uint64_t bytes_in;
    uint64_t bytes_out;
    sally_conn *dirty_next;
    void *user;
    union {
        struct dial *dial; /* DIALING */
        struct held *held; /* later: bytes that came while reading was paused; NULL: none */
    };
    struct timer timer; /* one for all limits: set to the earliest, looked at again when it fires */
    uint64_t opened_ms;
    uint64_t phase_ms;    /* start of what has a limit of its own: first byte, linger, attempt */
    uint64_t user_due_ms; /* sally_conn_timer; 0: not set */
    struct addr peer;
    bool has_reason;
    bool counted_server; /* in the server's count */
    int16_t error;
    int32_t sys_error;
};

/* ---- conn.c ---- */

/* A new slot, so that the connection has an id; NULL without room. Any thread: nothing in it is
 * written but by its shard. */
sally_conn *conn_name(struct shard *shard, const struct policy *policy);

/* Fills the slot; its shard. The policy reference becomes the connection's. */
void conn_init(sally_conn *conn, struct shard *shard, struct policy *policy);

/* A handle on this shard becomes an open connection; room has been reserved in engine, shard and
 * server. The policy reference is taken over, also on failure, after which everything reserved has
 * been given back and the handle is refused. `first`: bytes that came with it, copied. */
void conn_adopt(struct shard *shard, struct policy *policy, port_handle handle,
                const struct addr *peer, const struct span *first);

/* It is connected: on_open, first read. */
void conn_open(sally_conn *conn);

void conn_on_event(sally_conn *conn, const struct port_event *event);

/* Everything that may be waiting to be done, in the turn in which it was marked. */
void conn_progress(sally_conn *conn);

/* As sally_conn_close. */
void conn_close_by_us(sally_conn *conn);

/* Gently. */
void conn_close(sally_conn *conn, sally_close_reason reason);

/* At once. What was told as a reason before is replaced: it is this that ended it. */
void conn_end(sally_conn *conn, enum port_close_mode mode, sally_close_reason reason, int error,
              int sys_error);

/* The port or the system failed it. */
void conn_broken(sally_conn *conn, int error, int sys_error);

/* PORT_CLOSE came: on_close, and the slot goes back; at once, or by conn_release when the dirty
 * list gets to it. */
void conn_finish(sally_conn *conn);
void conn_release(sally_conn *conn);

static inline bool conn_has(const sally_conn *conn, unsigned flags) { return conn->flags & flags; }
static inline bool conn_in_flight(const sally_conn *conn, enum port_op op)
{
    return conn->sock.in_flight & PORT_BIT(op);
}
/* Open both ways, nothing paused: bytes are handed out as they come, and taken. */
static inline bool conn_is_plain(const sally_conn *conn)
{
    return conn->state == CONN_OPEN && !conn_has(conn, CONN_SPECIAL);
}
static inline bool conn_alive(const sally_conn *conn)
{
    return conn->state >= CONN_OPEN && conn->state <= CONN_LINGERING;
}

/* ---- conn_recv.c ---- */
void conn_on_recv(sally_conn *conn, const struct port_event *event);
/* Starts or stops reading, as state and pauses want. */
void conn_update_reading(sally_conn *conn);
/* Bytes that came with the accept, right after conn_open. */
void conn_first_bytes(sally_conn *conn, const struct span *first);
/* Hands out what was held while paused. */
void conn_deliver_held(sally_conn *conn);
void conn_drop_held(sally_conn *conn);

/* ---- conn_send.c ---- */
int conn_send(sally_conn *conn, const void *data, size_t len);
/* From another thread: its bytes were accepted there, so they are taken past the limit. */
void conn_send_foreign(sally_conn *conn, const void *data, uint32_t len);
/* A reference: release as in sendq.h. */
int conn_send_ref(sally_conn *conn, const void *data, size_t len, sendq_release *release,
                  void *owner, uint64_t token);
void conn_on_sent(sally_conn *conn, const struct port_event *event);
void conn_flush(sally_conn *conn);
void conn_drop_queue(sally_conn *conn);

/* ---- conn_time.c ---- */
/* After anything that may have made a limit earlier. */
void conn_update_timer(sally_conn *conn);
void conn_on_timer(sally_conn *conn);

/* Whether the timer is early enough for the limit of what is queued; the subtraction is right for
 * POLICY_NEVER too. */
static inline bool conn_write_is_timed(const sally_conn *conn)
{
    return !conn->out.bytes || (timer_is_set(&conn->timer) && conn->timer.due_ms - conn->write_ms <=
                                                                  conn->policy->write_stall_ms);
}

#endif
