/* Sallyport: filters, which change the bytes of a connection between the wire and the framing (or
 * on_data): compression, encryption, counting. A connection has a short stack of them, chosen in
 * sally_conn_options:
 *
 *     sally_filter filters[] = {counting, compression};      from the wire up
 *     sally_server_options options = {.conn.filters = filters, .conn.filter_count = 2};
 *
 *     on_data, on_message             sally_conn_send and all else that sends
 *            ^   in of compression           |   out of compression
 *            |   in of counting              v   out of counting
 *            +------------------ the wire ---+
 *
 * A filter does no I/O: it is asked. Each call has input and room for output, says how much it used
 * and made, and is called again while there is more of either. So a filter needs no buffer of its
 * own for what it can't write yet, and a little input that becomes much output is delivered in
 * pieces: when the handler pauses, closes or is throttled in between, the filter is not asked on,
 * and what it was not given yet is kept as it came.
 *
 * What comes. Limits for bytes a second, first_byte_ms, bytes_in and all other times and counts are
 * of the wire: what was received, before any filter. Of what filters have made and nobody has taken
 * yet a connection keeps at most send_chunk_bytes for each filter, and one receive's bytes.
 *
 * What goes is changed in the call that sends it, so that everything about the send queue counts
 * bytes of the wire: send_bytes_max and its marks, on_sent, sally_conn_queued, memory budgets,
 * bytes_out and bytes_unsent. Whether a send has room is judged by the most that the filters may
 * make of it (out_max): so a send may be SALLY_EFULL though what it becomes would have fitted, and
 * SALLY_ELIMIT when the most that it may become is more than send_bytes_max. All or nothing holds.
 * Each call that sends ends with a flush, so the peer can read all of it.
 *   copies         sally_conn_send_buf, sally_conn_send_owned, broadcasts and group sends work, but
 *                  what goes is a copy that the filters made; `done` is still called when it went
 *   by id          bytes that other threads send are changed when they arrive at the connection;
 *                  there they are taken even when they grow past send_bytes_max
 *   producers      sally_conn_produce fills room of the shard's, at most 4096 bytes at a time
 *   drops          SALLY_FULL_DROP_OLDEST would tear a stream: sally_listen and sally_connect are
 *                  SALLY_EINVAL. SALLY_FULL_DROP_NEWEST drops what no filter has seen
 *   farewells      and other answers to who isn't let in go unfiltered
 *
 * Handshakes. on_open waits until every filter is ready; until then nothing is delivered, and what
 * is sent by id waits. A handshake has first_byte_ms, also on an outgoing connection. One that
 * fails or is late ends the connection with SALLY_CLOSE_HANDSHAKE: an outgoing one has on_close
 * alone, as one that could not be made; an accepted one has no callback, is counted as
 * SALLY_REFUSED_HANDSHAKE, and is a SALLY_STRIKE_HANDSHAKE once the peer has sent anything. One
 * that something else cuts short is counted by that: a ban, want of memory, the end of its engine.
 *
 * Ends. At a half-close and a gentle close the filters finish after all that is queued and before
 * the FIN, from the top down. When the peer has finished, `in` is told (finish), and on_eof comes
 * after the last byte that the filters make of it.
 *
 * Errors. An `in` that fails ends the connection gently with SALLY_CLOSE_FILTER and the filter's
 * error, and counts as SALLY_STRIKE_MALFORMED: what is queued still goes out, but nothing more is
 * read. What the failing call itself has made is dropped: a filter that has good bytes before what
 * is wrong makes those first. An `out` that fails, or breaks what it declared, is our own mistake:
 * the connection is aborted with SALLY_CLOSE_FILTER, and the send call is SALLY_ECLOSED.
 *
 * A connection without filters pays nothing for all this. */
#ifndef SALLYPORT_FILTER_H
#define SALLYPORT_FILTER_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

enum {
    SALLY_FILTERS_MAX = 4,                     /* of a connection */
    SALLY_FILTER_NAME_MAX = 31,                /* bytes of a name */
    SALLY_FILTER_STATE_MAX = 16 * 1024 * 1024, /* bytes of a state */
};

/* What `in` and `out` return, or a negative SALLY_E*, which ends the connection (a number that is
 * none of these counts as SALLY_EINVAL, as does a call that neither uses nor makes anything though
 * it could). */
typedef enum sally_filtered {
    SALLY_FILTERED_ALL,  /* what can be made of the bytes used so far has been made; the rest of the
                           input comes again */
    SALLY_FILTERED_MORE, /* there is more to be written: again, with new room, also without input */
    SALLY_FILTERED_END,  /* of `in` alone: the stream ends here, before the wire does; what comes
                           after it is not looked at */
} sally_filtered;

/* One call. The filter sets used, made and reply, which are 0 before. */
typedef struct sally_filter_io {
    const void *input;
    size_t len; /* of the input; may be 0 */
    size_t used;
    void *room;
    size_t room_bytes; /* 1 or more */
    size_t made;
    bool flush;  /* of `out`: after this input nothing follows soon; keep nothing of it back */
    bool finish; /* nothing follows the input at all. `in` may say that something is missing
                    (SALLY_EMALFORMED), `out` writes its end */
    bool reply;  /* set by `in`, also when it fails: the filter has something to send by itself, and
                    `out` is called for it, with no input */
} sally_filter_io;

/* A description; copied. Functions are called on shards, on several at the same time, each for a
 * state of its own. They may use the state alone and call nothing of this library but what reads
 * (sally_conn_peer, sally_conn_server...) in `open`. */
struct sally_filter {
    const char *name;     /* for logs and people */
    uint32_t state_bytes; /* each connection's: allocated with it, all 0 and aligned as by malloc.
                             Counted in memory budgets as if it were queued; memory_max of a
                             connection has to be more than all its filters' (SALLY_EINVAL) */
    void *user;           /* for open: a configuration, which outlives the engine */

    /* The connection is there, before any byte. 0 or the SALLY_E* that SALLY_CLOSE_HANDSHAKE has.
     * `conn` is valid as long as the state. NULL: nothing to do. */
    int (*open)(void *state, void *user, sally_conn *conn);

    /* It has gone; once for each open that returned 0. NULL: nothing to do. */
    void (*close)(void *state);

    /* Whether its handshake is over: asked while the connection isn't open. While it isn't, `in`
     * makes nothing; `out` is called once at the beginning, with no input, for what it begins with,
     * and for each reply. NULL: there is no handshake. */
    bool (*ready)(const void *state);

    /* Bytes from below become bytes for above, and from above for below. As sally_filtered. */
    int (*in)(void *state, sally_filter_io *io);
    int (*out)(void *state, sally_filter_io *io);

    /* The most that `out` makes of `len` bytes with a flush, together with what was kept back
     * before; larger for larger numbers. 0: of a reply, or at the end. NULL: never more than it
     * is given, and nothing by itself. */
    size_t (*out_max)(const void *state, size_t len);
};

#if defined(__cplusplus)
}
#endif
#endif
