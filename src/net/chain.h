/* A connection's filters: their stack (src/filter/stack.h) and what of a connection's life depends
 * on it. Made with the connection if its policy has filters, as a part of its flow, and freed with
 * it; CONN_FLOW is set as long as there is one, so who has none runs the code it would run without
 * filters. Its shard's thread.
 *
 * Files: chain.c life, handshake and what comes; chain_send.c what goes. */
#ifndef NET_CHAIN_H
#define NET_CHAIN_H

#include "filter/stack.h"
#include "net/conn.h"
#include "net/flow.h"

struct chain {
    struct stack stack;
    struct sendq early;    /* sent by id before every filter was ready, as it was sent */
    uint64_t shake_due_ms; /* the end of the handshake's time; WHEEL_NEVER: it has no limit */
    size_t bytes;          /* of this block */
    size_t states_bytes;
    bool behind;    /* a turn was too short for what came: reading waits */
    bool wire_over; /* the peer has finished */
    bool finished;  /* what goes has ended */
    bool failed;    /* the handshake */
    bool waits;     /* accepted, and nobody has been told: one of the engine's greetings */
};

/* A filter has failed: tells the log which, and how. */
void chain_blame(const sally_conn *conn, sally_log_level level, int error);

/* NULL: it has no filters. */
static inline struct chain *conn_chain(const sally_conn *conn)
{
    return conn_has(conn, CONN_FLOW) && conn_flow(conn) ? conn_flow(conn)->chain : NULL;
}

/* ---- Life ---- */

/* The chain, if the policy asks for one, before the connection is attached or open; false without
 * memory. */
bool chain_attach(sally_conn *conn);
void chain_free(sally_conn *conn);

/* It is connected: CONN_SHAKING until every filter is ready, then conn_open. */
void chain_begin(sally_conn *conn);

/* Of one in CONN_SHAKING: when its time is over, what is due then, and that the peer has gone. */
uint64_t chain_due_ms(const sally_conn *conn);
void chain_on_timer(sally_conn *conn);
void chain_gone(sally_conn *conn, int error, int sys_error);
/* The same, when it is ended for any cause: who was never open is counted all the same. */
void chain_ended(sally_conn *conn, sally_close_reason reason);

/* What it keeps: states, what lies between the filters, what waits for them. */
uint32_t conn_chain_holds(const sally_conn *conn);
/* Sent by id, and not gone through the filters. */
uint32_t conn_chain_early(const sally_conn *conn);

/* ---- What comes ---- */

/* Hands out what becomes of these bytes, and says how many of them that took: less than len when
 * reading was paused, the connection began to close, or the turn has had enough of it. What filters
 * have made by then waits in the chain. */
size_t chain_feed(sally_conn *conn, const void *data, size_t len);

/* The wire has ended. */
void chain_end_input(sally_conn *conn);

/* Something of what came waits to be handed out, or may be made without more from the wire. */
bool chain_is_pending(const sally_conn *conn);

/* Everything that ever comes was handed out. */
bool chain_is_over(const sally_conn *conn);

/* Another turn: one that was behind goes on. Whether reading waits for that. */
void chain_go_on(sally_conn *conn);
bool chain_is_behind(const sally_conn *conn);

/* It closes: nothing of what came is handed out any more. */
void chain_drop_input(sally_conn *conn);

/* ---- What goes ---- */

/* As conn_send_spans. */
int chain_send(sally_conn *conn, const struct span *spans, unsigned count);

/* As conn_send_foreign, open: 0, or the connection is ending. */
int chain_send_foreign(sally_conn *conn, const void *data, uint32_t len);

/* The most that becomes of len bytes on the wire. */
size_t chain_max(const sally_conn *conn, size_t len);

/* How many of at most `len` bytes are sure to become no more than `room`. */
size_t chain_fits(const sally_conn *conn, size_t len, size_t room);

/* For a producer: room of the shard's for STACK_ROOM_BYTES, that of what becomes of `len` of them
 * in the queue, and sending them, which takes that back; 0 bytes: only that. SALLY_ENOMEM. */
unsigned char *chain_lent_room(const sally_conn *conn);
int chain_reserve(sally_conn *conn, size_t len, struct sendq_room *room);
void chain_send_reserved(sally_conn *conn, size_t len, struct sendq_room *room);

/* What was sent by id early. */
void chain_send_early(sally_conn *conn);

/* What filters have to send by themselves. */
void chain_reply(sally_conn *conn);

/* Before the FIN: true when there was something to say, or the connection ends; then it has to be
 * asked again. */
bool chain_finish(sally_conn *conn);

#endif
