/* The time limits that a connection has only when it is asked for one of them: reading and writing
 * apart, rates, age, heartbeats. One object beside the connection, so that one without them pays a
 * pointer; no timer of their own: limits_due_ms goes into the connection's. All of it belongs to
 * the connection's shard. */
#ifndef NET_LIMITS_H
#define NET_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pace.h"
#include "sallyport.h"

struct limits {
    uint64_t recv_ms;    /* the last byte in, or since when one could come */
    uint64_t sent_ms;    /* the last byte out */
    uint64_t beat_ms;    /* the last on_heartbeat */
    uint64_t age_due_ms; /* when it is too old */
    struct pace send;    /* while the send queue is not empty */
    struct pace recv;    /* while the handler expects something */
};

_Static_assert(sizeof(struct limits) <= 64, "it comes with a conn_extra");

/* Gives the connection its object if its policy asks for one; false without memory. */
bool limits_attach(sally_conn *conn);
void limits_detach(sally_conn *conn);

/* Everything below is for a connection that has one. */

/* It is open. */
void limits_begin(sally_conn *conn);

void limits_on_recv(sally_conn *conn, uint32_t bytes);

/* After the bytes have left the queue and before write_ms says so. */
void limits_on_sent(sally_conn *conn, size_t bytes);

/* Reading goes on after a pause, which was not the peer's fault. */
void limits_resumed(sally_conn *conn);

/* As sally_conn_expect, for what knows when a message begins and ends. */
void limits_expect(sally_conn *conn, bool expects);

/* The earliest of what is to be looked at, in OPEN and in DRAINING. */
uint64_t limits_due_ms(sally_conn *conn);
uint64_t limits_draining_due_ms(sally_conn *conn);

/* Acts on what is due. */
void limits_on_timer(sally_conn *conn);

/* Whether the queue's last window was too slow. */
bool limits_send_is_low(sally_conn *conn);

#endif
