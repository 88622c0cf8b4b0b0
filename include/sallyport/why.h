/* Why did it close? Each connection keeps a small flight recorder: what happened to it that was out
 * of the ordinary, the last 22 of it, with times. It costs nothing while nothing of that kind
 * happens, 96 bytes after, and no_recorder of sally_conn_options switches it off. */
#ifndef SALLYPORT_WHY_H
#define SALLYPORT_WHY_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* X(name, sentence) */
#define SALLY_INITIATORS(X)                                                                        \
    X(HANDLER, "its handler")                                                                      \
    X(BY_ID, "a call by its id")                                                                   \
    X(PEER, "the peer")                                                                            \
    X(LIMIT, "a limit of its options")                                                             \
    X(ENGINE, "the engine")                                                                        \
    X(SYSTEM, "the system or the network")

/* Who ended a connection. */
typedef enum sally_initiator {
#define SALLY__ENUM(name, sentence) SALLY_INITIATOR_##name,
    SALLY_INITIATORS(SALLY__ENUM)
#undef SALLY__ENUM
} sally_initiator;

/* Who ended it; in on_close, and while it is closing. SALLY_INITIATOR_HANDLER before. [shard] */
SALLY_API sally_initiator sally_conn_initiator(const sally_conn *conn);

/* What it is in words; static. [any] */
SALLY_API const char *sally_initiator_text(sally_initiator initiator);

/* One line about a connection so far; in on_close, about all of it: cause, who, how long, how many
 * bytes, and what was recorded before, as in
 *   "the peer took no byte for too long (a limit of its options) after 42.7 s; in 81, out 65536,
 *   unsent 4096 bytes; before: +12.682 queue above its high mark, +12.690 reading paused by it"
 * `buf` is filled, cut to `size` and returned; 1024 bytes are always enough. Engines log it for
 * each connection at SALLY_LOG_DEBUG. [shard] */
SALLY_API const char *sally_conn_why(const sally_conn *conn, char *buf, size_t size);

#if defined(__cplusplus)
}
#endif
#endif
