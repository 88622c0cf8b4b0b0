/* The flight recorder of a connection: the last events out of the ordinary. Made with the first of
 * them; its connection's. The shard's thread. */
#ifndef NET_RECORD_H
#define NET_RECORD_H

#include <stdint.h>

#include "sallyport/why.h"

/* X(name, sentence) */
#define RECORD_KINDS(X)                                                                            \
    X(HIGH, "the send queue was above its high mark")                                              \
    X(LOW, "the send queue was low again")                                                         \
    X(FULL, "a send found the queue full")                                                         \
    X(DROPPED, "a send was let go")                                                                \
    X(PAUSED, "reading was paused")                                                                \
    X(RESUMED, "reading went on")                                                                  \
    X(PEER_FINISHED, "the peer finished sending")                                                  \
    X(SHUT, "we finished sending")                                                                 \
    X(FIRST_BYTE_OVER, "the first-byte limit was over and the handler kept it")                    \
    X(IDLE_OVER, "the idle limit was over and the handler kept it")                                \
    X(MESSAGE_OVER, "the limit of a message was over and the handler kept it")                     \
    X(RATE_OVER, "a rate was too low and the handler kept it")                                     \
    X(AGE_OVER, "the maximum age was reached and the handler kept it")                             \
    X(HEART_OVER, "the peer gave no sign of life and the handler kept it")                         \
    X(WRITE_OVER, "the write limit was over and the handler kept it")                              \
    X(CLOSING, "closing began")                                                                    \
    X(LINGERING, "our end was sent, the peer's was waited for")

enum record_kind {
#define RECORD__ENUM(name, sentence) RECORD_##name,
    RECORD_KINDS(RECORD__ENUM)
#undef RECORD__ENUM
};

enum { RECORD_EVENTS = 22 };

/* An event: its kind in the upper 6 bits, and the milliseconds since the one before. */
struct record {
    uint32_t last_ms; /* of the newest, since the connection opened */
    uint16_t count;   /* at most RECORD_EVENTS */
    uint16_t next;
    uint32_t events[RECORD_EVENTS];
};
_Static_assert(sizeof(struct record) <= 96, "promised in why.h");

/* What is the same as the newest is not repeated. Without memory nothing is recorded. */
void record_add(sally_conn *conn, enum record_kind kind);

/* The same, if anything was recorded before: what is in every connection's life. */
void record_add_more(sally_conn *conn, enum record_kind kind);

void record_drop(sally_conn *conn);

#endif
