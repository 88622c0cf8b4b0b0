/* A connection's upper limits for bytes a second, its own and those it shares; see
 * sallyport/rate.h. A part of its flow (CONN_FLOW is set while there are any), made when it is
 * first asked for and freed with it. Its shard's thread.
 *
 * Each way either has what it needs, or waits: for its own limit until due_ms, a part of the
 * connection's one timer, or for a shared one in a line (bandwidth.h). While receiving waits,
 * CONN_WAITS is set. */
#ifndef NET_THROTTLE_H
#define NET_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "net/bandwidth.h"

struct valve {
    struct seat seat;
    struct bucket own;
    bool waits;
    uint64_t due_ms;   /* of its own limit; WHEEL_NEVER: it doesn't wait for that */
    uint64_t since_ms; /* since when it waits */
};

struct throttle {
    struct valve ways[WAYS];
    sally_bandwidth *shared; /* a reference; NULL: nothing */
    bool limits;             /* there are any */
    uint32_t handed;         /* bytes of the send in flight, taken from the limits */
    bool portion;            /* bytes are taken that the handler is given just now, */
    bool moved;              /* and since then it has changed what it shares: */
    sally_bandwidth *lender; /* that before; a reference; NULL: it shared nothing */
    uint64_t drain_due_ms;   /* while closing gently: the end of it */
};

/* Fills the defaults in. SALLY_EINVAL, also for what is shared in another engine. NULL: none. */
int rates_fill(sally_rates *filled, const sally_engine *engine, const sally_rates *plain);

/* Its limits; NULL: it has none now. */
struct throttle *conn_throttle(const sally_conn *conn);

/* The policy's, if it has any, before the connection is open; false without memory. */
bool throttle_attach(sally_conn *conn);
void throttle_free(sally_conn *conn);

/* How many of `want` bytes may go this way now; they are taken. 0: it waits, and the connection
 * goes on by itself when it is its turn. */
uint32_t throttle_take(sally_conn *conn, enum way way, uint32_t want);

/* After a take for receiving: the handler had its part, and `left` bytes go back to where they were
 * taken, also if it has changed the limits. */
void throttle_handed_out(sally_conn *conn, uint32_t left);

/* A send of so many bytes has been started, and one has ended or gone in part. */
void throttle_handed(sally_conn *conn, uint32_t bytes);
void throttle_sent(sally_conn *conn, size_t bytes);
bool throttle_is_handed(const sally_conn *conn);

/* Bytes were handed out: reading stops if there is nothing for the next. */
void throttle_received(sally_conn *conn);

/* It is the turn of one in a line: seat.granted may be used. */
void throttle_granted(sally_conn *conn, enum way way);

/* Whether sending waits; whether either does. */
bool throttle_holds(const sally_conn *conn);
bool throttle_waits(const sally_conn *conn);

/* WHEEL_NEVER: nothing is due. */
uint64_t throttle_due_ms(const sally_conn *conn);
void throttle_on_timer(sally_conn *conn);

/* It begins to close gently, and it ends. */
void throttle_closing(sally_conn *conn);
bool throttle_drain_is_over(const sally_conn *conn);
void throttle_end(sally_conn *conn);

#endif
