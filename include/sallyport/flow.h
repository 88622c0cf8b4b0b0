/* Flow: what a connection sends and receives beyond the plain calls of sallyport.h: bytes from
 * several places, bytes that are not copied, being told when bytes have gone, holding sends back,
 * and keeping what was received.
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
 * close. write_stall_ms counts from the uncork. Idempotent. SALLY_ECLOSED, SALLY_ENOMEM.
 * [shard] */
SALLY_API int sally_conn_cork(sally_conn *conn);
SALLY_API int sally_conn_uncork(sally_conn *conn);

/* Sends that at_full of the options let go: calls and their bytes; the bytes are in bytes_unsent of
 * on_close too. [shard] */
SALLY_API uint64_t sally_conn_dropped(const sally_conn *conn, uint64_t *bytes);

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
