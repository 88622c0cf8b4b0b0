/* What few connections have: sends with a completion, a cork, drops, a producer. Made when the
 * first of these is asked for, so that the others pay nothing; freed with the connection. Its
 * shard's thread. */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/flow.h"

/* Somebody waits for the stream's first `at` bytes to have gone. */
struct note {
    struct note *next;
    uint64_t at;
    sally_sent_fn done;
    void *arg;
    bool dropped;
};

struct chain;
struct file_queue;
struct producer;
struct record;
struct throttle;
struct flow {
    struct note *first;
    struct note *last;
    uint32_t notes;
    bool corked;
    uint64_t dropped; /* sends */
    uint64_t dropped_bytes;
    uint32_t charged;          /* to its server's budget */
    struct record *record;     /* NULL: nothing recorded */
    struct throttle *throttle; /* NULL: never had limits for bytes a second */
    struct producer *producer; /* NULL: nothing is produced */
    struct file_queue *files;  /* NULL: never sent one */
    struct chain *chain;       /* NULL: no filters */
    uint32_t wanted;           /* sally_conn_want; 0: nothing */
};

/* conn_flow is there after 0; else SALLY_ENOMEM, also while the connection is being made. */
int flow_need(sally_conn *conn);

/* A completion to come, for behind all that is queued by then; NULL: what keeps it from being made.
 * Appended, or given back. */
struct note *flow_note(sally_conn *conn, sally_sent_fn done, void *arg, int *err);
void flow_append(sally_conn *conn, struct note *note);
void flow_give_back(sally_conn *conn, struct note *note);

/* Corked, and nothing that goes all the same. */
bool flow_holds(const sally_conn *conn);

/* Something was queued, or has gone: what CONN_FLOW asks for. */
void flow_queued(sally_conn *conn);
void flow_took(sally_conn *conn, size_t bytes);

/* Sets or clears CONN_FLOW. */
void flow_flag(sally_conn *conn);

/* Calls those whose bytes have gone. */
void flow_notify(sally_conn *conn);

/* `bytes` behind `before` of the queue's bytes were dropped. */
void flow_dropped(sally_conn *conn, uint32_t before, uint32_t bytes);

/* Whether len more bytes may be queued, and what the options say when not: 0, SALLY_E* or
 * CONN_LET_GO. */
int flow_make_room(sally_conn *conn, size_t len);
/* The same when they may become `most`. */
int flow_make_room_for(sally_conn *conn, size_t len, size_t most);

/* For a send that may neither be let go nor end the connection: 0 when len bytes are sure to be
 * queued, SALLY_EFULL whatever the options say; only older ones may have been dropped for it. */
int flow_make_sure_of_room(sally_conn *conn, size_t len);

/* Whether there is room for len bytes now, whatever the options say: 0, SALLY_EFULL, SALLY_ENOMEM.
 */
int flow_judge(const sally_conn *conn, size_t len);

/* A send of so many bytes was let go. 0 or SALLY_ENOMEM. */
int flow_count_drop(sally_conn *conn, size_t bytes);

/* Its limits for bytes a second and its producer: the earliest time that they wait for
 * (WHEEL_NEVER: none), what is due then, that a gentle close begins, and whether it has had the
 * time that they leave it. */
uint64_t flow_due_ms(const sally_conn *conn);
void flow_on_timer(sally_conn *conn);
void flow_closing(sally_conn *conn);
bool flow_drain_is_over(const sally_conn *conn);

/* The connection ends: everybody who waits is told. */
void flow_end(sally_conn *conn);

void flow_free(sally_conn *conn);

#endif
