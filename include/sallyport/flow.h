/* Flow: what a connection sends and receives beyond the plain calls of sallyport.h: bytes from
 * several places, bytes that are not copied, bytes that are made while they are sent, being told
 * when bytes have gone, holding sends back, and keeping what was received.
 *
 * Bounds. Whatever is queued here counts for send_bytes_max, and what is kept for the receive
 * buffers of the shard. */
#ifndef SALLYPORT_FLOW_H
#define SALLYPORT_FLOW_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- Sending ---- */

typedef struct sally_bytes {
    const void *data;
    size_t len;
} sally_bytes;

/* sally_conn_send of several pieces as one: a copy of all of them in order, or of none, with the
 * same errors. Also SALLY_EINVAL for more than 1024 pieces. [shard] */
SALLY_API int sally_conn_sendv(sally_conn *conn, const sally_bytes *pieces,
                               size_t count) SALLY_MUST_USE;

/* Bytes that were to be sent have gone: with `sent`, the system took the last of them (it says
 * nothing about the peer); without, they were dropped, because the connection ended or by
 * SALLY_FULL_DROP_OLDEST. Called once, before on_close, never inside the call that asked for it; it
 * may call what every callback may. */
typedef void (*sally_sent_fn)(sally_conn *conn, void *arg, bool sent);

/* sally_conn_send without a copy: the bytes stay the caller's and must not change until `done` is
 * called, which may free them. After an error nothing was taken and `done` is not called. `done`
 * NULL: the bytes never change and never go. Errors as sally_conn_send; also SALLY_EFULL while 4096
 * calls with a `done` wait. [shard] */
SALLY_API int sally_conn_send_owned(sally_conn *conn, const void *data, size_t len,
                                    sally_sent_fn done, void *arg) SALLY_MUST_USE;

/* Calls `done` when everything that is queued now has gone: a send's completion, with `arg` as its
 * tag. SALLY_ECLOSED unless the connection is open, SALLY_EFULL while 4096 wait, SALLY_ENOMEM.
 * [shard] */
SALLY_API int sally_conn_when_sent(sally_conn *conn, sally_sent_fn done, void *arg) SALLY_MUST_USE;

/* What is sent between the two stays in the queue, over any number of turns, so that it goes in few
 * segments. It goes all the same when there is more than send_high_bytes of it, and at shutdown and
 * close; a file that has begun goes on. write_stall_ms counts from the uncork. Idempotent.
 * SALLY_ECLOSED, SALLY_ENOMEM. [shard] */
SALLY_API int sally_conn_cork(sally_conn *conn);
SALLY_API int sally_conn_uncork(sally_conn *conn);

/* As many of the bytes as there is room for, from the first on: how many were taken (0 to len), or
 * a negative error, and then none were. When it took less than all, on_drain follows. Room is what
 * send_bytes_max and the memory budgets leave; at_full is not asked, so nothing is dropped.
 * SALLY_EINVAL; SALLY_ECLOSED as sally_conn_send; SALLY_ESTATE while a producer runs;
 * SALLY_ENOMEM, also when a budget leaves nothing for an empty queue. [shard] */
SALLY_API int64_t sally_conn_send_some(sally_conn *conn, const void *data,
                                       size_t len) SALLY_MUST_USE;

/* Sends that at_full of the options let go: calls and their bytes; the bytes are in bytes_unsent of
 * on_close too. [shard] */
SALLY_API uint64_t sally_conn_dropped(const sally_conn *conn, uint64_t *bytes);

/* ---- Long content ---- */

/* What a sally_produce_fn says at the end of the content; no error has this number. */
enum { SALLY_PRODUCED_END = -30000 };

/* Writes the next bytes of the content to `into`, at most `room` (at most send_chunk_bytes of the
 * engine; never less than 256 with the default options, 1 near limits that are lower), which is
 * the send queue's own memory: there is no other copy. Returns how many, and is called again for
 * more; 0: nothing now, and it is not called again before sally_conn_produce_more;
 * SALLY_PRODUCED_END: there is no more (bytes written in that call don't count); or a negative
 * SALLY_E*: the connection is aborted, with SALLY_CLOSE_PRODUCER and this error. So it is, with
 * SALLY_EINVAL, after more than `room` or a number that is none of these. It may call what every
 * callback may, but nothing that sends to this connection. */
typedef int64_t (*sally_produce_fn)(sally_conn *conn, void *arg, void *into, size_t room);

/* The content is over: 0 after SALLY_PRODUCED_END, when all of it is in the send queue (and
 * sally_conn_when_sent tells when it has gone). From here on sends are taken again, and the next
 * content may begin. Else why it was cut: the error that on_close will tell, SALLY_ECLOSED where
 * that has none. Called exactly once, before on_close; nothing of the producer is used after it. */
typedef void (*sally_produced_fn)(sally_conn *conn, void *arg, int error);

typedef struct sally_producer {
    sally_produce_fn produce;
    sally_produced_fn done; /* NULL: nobody wants to know */
    void *arg;
    uint32_t close_ms; /* how long it may go on after a gentle close; 0: 600000 (ten minutes);
                          SALLY_FOREVER: no limit */
} sally_producer;

/* Sends content of any length as it is made: whenever the send queue is at or below
 * send_low_bytes, the producer is asked for more, never inside this call. So a connection never
 * has more than that and a chunk of it, and what holds sends back (the peer, rates, budgets) holds
 * the producer back. While memory is short it is asked later, or for less.
 *
 * Order: behind everything queued before. While it runs, every call of this shard that sends to
 * the connection is SALLY_ESTATE; a broadcast or group send counts it as failed. What other
 * threads send by id can't be refused and goes between two pieces: let them only where each piece
 * may stand alone.
 *
 * End: sally_conn_shutdown and a gentle close (sally_conn_close, the end of a peer's stream
 * without on_eof, max_age_ms, a drain) let it finish, so that a peer never takes a part for the
 * whole. After a close it has close_ms, instead of the linger_ms that limits for bytes a second
 * leave a queue; then the connection is reset (SALLY_CLOSE_LINGER_TIMEOUT). A drain's own limit
 * and idle_ms hold; whatever else ends the connection while a producer runs resets it, too. A cork
 * does not hold back while it runs.
 *
 * The struct is copied. SALLY_EINVAL; SALLY_ECLOSED before on_open, after shutdown or close;
 * SALLY_ESTATE while another runs; SALLY_ENOTSUP with SALLY_FULL_DROP_OLDEST, which could drop a
 * part; SALLY_ENOMEM. After an error nothing is called. [shard] */
SALLY_API int sally_conn_produce(sally_conn *conn, const sally_producer *producer) SALLY_MUST_USE;

/* There is something again after a 0: the producer is asked soon, not inside this call. Also from
 * inside the producer, before its 0. SALLY_ESTATE when none runs. From other threads: sally_post.
 * [shard] */
SALLY_API int sally_conn_produce_more(sally_conn *conn);

/* ---- Receiving ---- */

/* Keeps received bytes beyond the callback: all or a part of what on_data was given. The first call
 * within a callback keeps the receive buffer itself, without a copy, while at most half of the
 * shard's are away; others copy. The bytes are read-only. Release it with sally_buf_release from
 * any thread, and before the engine is destroyed. NULL without memory.
 * [shard] */
SALLY_API sally_buf *sally_conn_keep(sally_conn *conn, const void *data, size_t len) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
