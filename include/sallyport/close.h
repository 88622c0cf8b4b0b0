/* Closing: why a connection ended. A part of sallyport.h, which includes it. */
#ifndef SALLYPORT_CLOSE_H
#define SALLYPORT_CLOSE_H

#include <stdint.h>

#include "sallyport/error.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* X(name, sentence) */
#define SALLY_CLOSE_REASONS(X)                                                                     \
    X(LOCAL, "closed by us")                                                                       \
    X(ABORTED, "aborted by us")                                                                    \
    X(PEER_CLOSED, "closed by the peer")                                                           \
    X(PEER_RESET, "reset by the peer")                                                             \
    X(NETWORK, "the network failed")                                                               \
    X(CONNECT_FAILED, "the connection could not be made")                                          \
    X(CONNECT_TIMEOUT, "the connection was not made in time")                                      \
    X(FIRST_BYTE_TIMEOUT, "the peer sent nothing in time")                                         \
    X(IDLE_TIMEOUT, "nothing came or went for too long")                                           \
    X(WRITE_TIMEOUT, "the peer took no byte for too long")                                         \
    X(LINGER_TIMEOUT, "the peer did not finish in time after we had")                              \
    X(NO_MEMORY, "no memory for this connection")                                                  \
    X(SHUTDOWN, "the engine stopped")                                                              \
    X(DRAIN_TIMEOUT, "not finished at the end of the drain")                                       \
    X(SEND_LIMIT, "the peer read too slowly: the send queue was full")                             \
    X(MEMORY, "memory was short, and this connection held too much of it")                         \
    X(MESSAGE_TOO_LONG, "the peer sent a message longer than allowed")                             \
    X(MALFORMED, "the peer sent what is no message")                                               \
    X(MESSAGE_TIMEOUT, "the peer did not finish a message in time")                                \
    X(IDLE_READ_TIMEOUT, "the peer sent nothing for too long")                                     \
    X(IDLE_WRITE_TIMEOUT, "nothing went out for too long")                                         \
    X(SEND_RATE, "the peer took bytes too slowly")                                                 \
    X(RECV_RATE, "the peer sent bytes too slowly")                                                 \
    X(MAX_AGE, "it had reached its maximum age")                                                   \
    X(HEARTBEAT_TIMEOUT, "the peer gave no sign of life")                                          \
    X(TOO_SLOW, "no room in its send queue for what was sent to many")                             \
    X(BANNED, "its address was banned")                                                            \
    X(PRODUCER, "what was to be sent could not be produced")                                       \
    X(FILE, "a file that was being sent could not be read to its end")                             \
    X(HANDSHAKE, "the handshake failed or took too long")                                          \
    X(FILTER, "the bytes did not pass a filter")

/* What ended it. A peer that after a gentle close reads too slowly, resets or does not finish in
 * time is told in place of LOCAL and PEER_CLOSED; MALFORMED, MESSAGE_TOO_LONG, HANDSHAKE and FILTER
 * stay. MAX_AGE and SHUTDOWN stay as soon as all that was queued has gone out, and `error` tells
 * how the peer took it: 0, SALLY_ETIMEDOUT, SALLY_ERESET. */
typedef enum sally_close_reason {
#define SALLY__ENUM(name, sentence) SALLY_CLOSE_##name,
    SALLY_CLOSE_REASONS(SALLY__ENUM)
#undef SALLY__ENUM
} sally_close_reason;

typedef struct sally_close_info {
    sally_close_reason reason;
    int error;                /* 0 or the SALLY_E* behind the reason */
    int sys_error;            /* the system's own code behind it, 0 without one */
    uint64_t bytes_in;        /* received */
    uint64_t bytes_out;       /* taken by the system for sending */
    uint32_t bytes_unsent;    /* accepted by a send call and dropped */
    uint32_t bytes_truncated; /* received of a message whose end never came, see
                                 sallyport/framing.h; not with MESSAGE_TOO_LONG and MALFORMED */
} sally_close_info;

/* The sentence of a reason; static. [any] */
SALLY_API const char *sally_close_reason_text(sally_close_reason reason);

#if defined(__cplusplus)
}
#endif
#endif
