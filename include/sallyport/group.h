/* Sallyport: one message for many connections.
 *
 * A broadcast goes to every connection of a server, a group's send to those that have joined it.
 * The bytes are one sally_buf: no receiver has a copy, each queue holds a reference. What a shard
 * has to do for it is done in slices, so its other connections are served meanwhile.
 *
 *     sally_buf *buf = sally_buf_create(engine, len);
 *     memcpy(sally_buf_data(buf), text, len);
 *     int err = sally_broadcast(server, buf, NULL);
 *     sally_buf_release(buf);
 *
 * Order. What one thread sends by broadcasts, group sends and sally_send arrives at each receiver
 * in the order of the calls, and a join or leave of that thread is in force for what it sends after
 * it. One exception: inside a callback, what goes to a connection of the same shard by
 * sally_conn_send or sally_send is queued at once, and so before a message to many that the
 * callback has just begun. A connection that opens, closes, joins or leaves by another thread at
 * the same time may get the message or not.
 *
 * Slow receivers hold up nobody: one whose send queue has no room for the whole message is skipped
 * or closed, as the options say. What is queued counts as its own sends do, also for on_drain and
 * for pausing its reading (sally_conn_options).
 *
 * Bounds. Messages that are under way, from the call until each shard has queued them for its
 * receivers, are at most mailbox_letters_max, and their bytes at most mailbox_bytes_max, of
 * sally_engine_options; past that a call is SALLY_EFULL. All groups of an engine together have at
 * most 16 times as many members as the engine may have connections. */
#ifndef SALLYPORT_GROUP_H
#define SALLYPORT_GROUP_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_group sally_group;

/* What becomes of a receiver whose send queue has no room. */
typedef enum sally_slow {
    SALLY_SLOW_SKIP,  /* it misses this message */
    SALLY_SLOW_CLOSE, /* it is closed at once, with the reason SALLY_CLOSE_TOO_SLOW */
} sally_slow;

/* How many receivers; a connection that is not open, or has finished sending, is none. */
typedef struct sally_broadcast_report {
    uint64_t sent;    /* queued: not necessarily with the peer */
    uint64_t skipped; /* no room in its queue, or none for it in a memory_max */
    uint64_t closed;  /* the same, and so it was closed */
    uint64_t failed;  /* no memory, or the message is more than its send_bytes_max */
} sally_broadcast_report;

typedef struct sally_broadcast_options {
    sally_slow slow;
    sally_id except; /* this one doesn't get it; 0: nobody is left out */
    /* Asked for each receiver on its shard, between its callbacks: false leaves it out. NULL: all
     * get it. */
    bool (*filter)(sally_conn *conn, void *arg);
    /* Told exactly once, after a call that returned 0, never inside it: on the shard that was the
     * last to queue the message, or, when the engine stopped before, inside sally_engine_destroy
     * (what had been queued by then is in the report). NULL: not told. */
    void (*done)(const sally_broadcast_report *report, void *arg);
    void *arg; /* for both */
} sally_broadcast_options;

/* Sends to all connections of a server. It takes a reference of its own to `buf`, which must not be
 * written any more. `options` may be NULL. SALLY_EINVAL (also for an empty buffer, or one of
 * another engine), SALLY_EFULL, SALLY_ELIMIT (more than mailbox_bytes_max: it never fits),
 * SALLY_ENOMEM; then nobody gets it. [any] */
SALLY_API int sally_broadcast(sally_server *server, sally_buf *buf,
                              const sally_broadcast_options *options);

/* Makes a group, without members. A connection may be in any number of groups, incoming or
 * outgoing, of any server. A group that was not destroyed goes with its engine. SALLY_EINVAL,
 * SALLY_ENOMEM, SALLY_ELIMIT (more than a million groups). [any] */
SALLY_API int sally_group_create(sally_group **group, sally_engine *engine) SALLY_MUST_USE;

/* The group goes; its members stay open. What the same thread sent to it before still arrives.
 * Nobody may use it after. NULL does nothing. [any] */
SALLY_API void sally_group_destroy(sally_group *group);

/* Joins and leaves by id. At once inside a callback of the connection's shard, else when its shard
 * comes to it. Joining twice and leaving without having joined do nothing. A connection leaves all
 * its groups when it closes, before its on_close. A member costs memory, who is none costs nothing;
 * the time for either grows with the number of groups this connection is in, and with nothing else.
 * SALLY_EINVAL, SALLY_ENOCONN, SALLY_EFULL (the shard's mailbox), SALLY_ENOMEM, SALLY_ELIMIT (too
 * many members of all groups). [any] */
SALLY_API int sally_group_join(sally_group *group, sally_id id);
SALLY_API int sally_group_leave(sally_group *group, sally_id id);

/* Sends to the members. As sally_broadcast. [any] */
SALLY_API int sally_group_send(sally_group *group, sally_buf *buf,
                               const sally_broadcast_options *options);

/* How many are in it. [any] */
SALLY_API uint32_t sally_group_members(const sally_group *group);

#if defined(__cplusplus)
}
#endif
#endif
