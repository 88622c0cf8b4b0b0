/* Content that is made while it is sent; see sallyport/flow.h. A part of the connection's flow:
 * CONN_FLOW is set while one has a producer. Its shard's thread.
 *
 * Asking is one of the things that conn_progress does, before it flushes: so it never happens
 * inside a call of the program's, other connections have their turns in between, and whoever takes
 * bytes from the queue only has to mark the connection. */
#ifndef NET_PRODUCE_H
#define NET_PRODUCE_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/flow.h"

struct producer {
    sally_producer plain;
    bool asleep;           /* it had nothing, and has not said that there is more */
    uint64_t retry_ms;     /* when memory is asked for again; WHEEL_NEVER: it isn't waited for */
    uint64_t close_due_ms; /* while closing gently: the end of it */
};

/* Whether there is one. */
bool produce_runs(const sally_conn *conn);

/* Asks for pieces, as long as the queue is low. It may end the connection. */
void produce_turn(sally_conn *conn);

/* Bytes have left the queue. */
void produce_took(sally_conn *conn);

/* WHEEL_NEVER: nothing is due. */
uint64_t produce_due_ms(const sally_conn *conn);
void produce_on_timer(sally_conn *conn);

/* It begins to close gently, whether it has had its time for that, and it ends. */
void produce_closing(sally_conn *conn);
bool produce_is_over(const sally_conn *conn);
void produce_end(sally_conn *conn);

#endif
