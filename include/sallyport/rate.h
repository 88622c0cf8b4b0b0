/* Sallyport: upper limits for bytes a second, of one connection and of what many share, apart for
 * what is received and what is sent. (Lower ones, which end a connection, are in limits.h.)
 *
 *     sally_rates rates = {.send = {.bytes_s = 1000000}};
 *     sally_server_options options = {.conn.rates = &rates};
 *
 * The bound. In any stretch of t seconds the handler is given, and the system is handed, at most
 * bytes_s * t + burst_bytes; of those that share a sally_bandwidth all together. It is met to the
 * byte, with one exception: what the system has taken from us is not yet on the wire, so what a
 * peer sees may lag and then catch up.
 *
 * Receiving stops, as by sally_conn_pause, while nothing may be handed out: the system's buffers
 * fill, and the peer's sending stalls. What had been received by then is kept, which is at most one
 * batch of the shard's receive buffers, and comes first. Bytes that are dropped since the
 * connection is closing are not limited.
 *
 * Sending: bytes stay in the send queue, with its limits and its policy, until they may go.
 *
 * Time spent waiting for a limit of ours is not held against the peer: not by write_stall_ms,
 * idle_ms, message_ms nor what limits.h has. A gentle close keeps to the limit and has linger_ms
 * for what is queued, beside the linger_ms after it: what has not gone by then is dropped, with a
 * reset and SALLY_CLOSE_LINGER_TIMEOUT. Who has more to say sets linger_ms accordingly, or closes
 * when sally_conn_when_sent says that it has gone. An abort waits for nothing.
 *
 * Sharing. Who waits for a shared limit waits in line, and who comes while somebody waits stands
 * behind them: one line, as good as, for all shards. A turn brings a hundredth of a second's bytes,
 * but at least 64 (or half the burst) and at most 64 KiB, and then the next has its turn: so nobody
 * starves, and nobody sends byte by byte. What somebody doesn't use, others get. Parts are equal in
 * turns, so a connection that has few bytes at a time gets fewer. The burst goes to who comes
 * first.
 *
 * Wake-ups. Nobody is woken for a limit that is not reached; who waits costs a timer of its own, or
 * one for all that wait on a shard for the same, some ten milliseconds apart or more. A connection
 * without limits pays nothing; one with limits about 400 bytes. */
#ifndef SALLYPORT_RATE_H
#define SALLYPORT_RATE_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_bandwidth sally_bandwidth;

/* A limit. Zero: none. */
typedef struct sally_rate {
    uint32_t bytes_s;
    uint32_t burst_bytes; /* so many may move at once after a rest; 0: those of a quarter of a
                             second, or 1500 if that is more and no more than a second's. At least
                             those of 10 ms, since shards look at the clock by the millisecond:
                             SALLY_EINVAL below that, and without bytes_s */
} sally_rate;

/* Limits of a connection; the stricter of its own and what it shares holds. */
struct sally_rates {
    sally_rate recv;
    sally_rate send;
    sally_bandwidth *shared; /* with others; NULL: nothing. Of the same engine */
};

/* Other limits from now on; NULL: none. What its own limits have saved up stays, up to the new
 * burst. From other threads: by sally_post. SALLY_EINVAL, SALLY_ENOMEM, SALLY_ECLOSED unless the
 * connection is open. [shard] */
SALLY_API int sally_conn_set_rates(sally_conn *conn, const sally_rates *rates);

/* Makes limits to be shared, by any number of connections on any shards: by naming them in
 * sally_rates, of a server's options, of an outgoing connection's, or of one connection. One that
 * was not destroyed goes with its engine. SALLY_EINVAL, SALLY_ENOMEM, SALLY_ELIMIT (more than 65536
 * of an engine). [any] */
SALLY_API int sally_bandwidth_create(sally_bandwidth **bandwidth, sally_engine *engine,
                                     sally_rate recv, sally_rate send) SALLY_MUST_USE;

/* Nobody may name it after this. Who shares it goes on doing so, also what a server accepts later:
 * it goes with the last of them. NULL does nothing. [any] */
SALLY_API void sally_bandwidth_destroy(sally_bandwidth *bandwidth);

/* Other limits from now on, as in sally_conn_set_rates; who waits hears of it within a second.
 * SALLY_EINVAL. [any] */
SALLY_API int sally_bandwidth_set(sally_bandwidth *bandwidth, sally_rate recv, sally_rate send);

typedef struct sally_bandwidth_stats {
    uint32_t conns;        /* that share it */
    uint32_t recv_waiting; /* of those, in line for receiving */
    uint32_t send_waiting;
    uint64_t recv_bytes; /* that it let pass */
    uint64_t send_bytes;
} sally_bandwidth_stats;

/* SALLY_EINVAL. [any] */
SALLY_API int sally_bandwidth_get_stats(sally_bandwidth *bandwidth,
                                        sally_bandwidth_stats *stats) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
