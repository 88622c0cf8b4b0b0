/* An epoll port on a bench: every event that comes is logged in order, and returns from port_wait
 * are counted. Peers are plain sockets of the same thread. What can't be set up fails the test. */
#ifndef TESTS_PORT_SUPPORT_EPOLL_BENCH_H
#define TESTS_PORT_SUPPORT_EPOLL_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slots.h"
#include "port/port.h"

enum {
    BENCH_STRETCH_MS = 200,
    BENCH_SPINS_MAX = 5, /* returns from port_wait in a stretch in which nothing happens */
    BENCH_EVENTS_MAX = 512,
    BENCH_SOCKS_MAX = 256,
    BENCH_BUF_BYTES = 4096,
};

/* A port, its table, and every event that came, in order. */
struct bench {
    struct mem mem;
    struct slots socks;
    struct port *port;
    bool hold; /* received buffers stay lent */
    struct port_event events[BENCH_EVENTS_MAX];
    unsigned count;
    bool no_buffers; /* there is no memory for a receive buffer */
};

/* bufs_max 0: the port's default. */
void bench_open(struct bench *bench, uint32_t bufs_max);

/* Checks that every operation has ended once and that nothing is left. */
void bench_shut(struct bench *bench);

/* Takes up to `max` events, once. */
unsigned bench_take(struct bench *bench, unsigned max);

/* One turn: waits, then takes until there is nothing left; how many came. */
unsigned bench_turn(struct bench *bench, uint32_t timeout_ms);

/* Turns until `events` have come since the log was cleared. */
void bench_until(struct bench *bench, unsigned events);

/* How often port_wait came back in a stretch of time, with all taken each time. */
unsigned bench_returns(struct bench *bench);

struct port_sock *bench_sock(struct bench *bench);

/* Closes, takes all that comes of it, gives the slot back, clears the log. */
void bench_drop(struct bench *bench, struct port_sock *sock, enum port_close_mode mode);

struct port_sock *bench_listener(struct bench *bench, int backlog, struct addr *at);

/* A connection: one end attached to the port, the other a plain socket. */
struct port_sock *bench_pair(struct bench *bench, int *peer);

/* So many that receive, each with a text that has come; with `turns`, one has been looked at before
 * the next one's comes. And their end, with their peers'. */
void bench_senders(struct bench *bench, struct port_sock **socks, int *peers, unsigned count,
                   const char *text, bool turns);
void bench_drop_pairs(struct bench *bench, struct port_sock **socks, const int *peers,
                      unsigned count);

/* As bench_pair, with the port's end as a plain descriptor that nobody has attached yet. */
int bench_connection(int *peer);

/* Fills what is between the two ends, until the port must park a send, and starts it. */
void bench_fill(struct bench *bench, struct port_sock *sock);

/* Sends, and waits until the bytes are at the other end. */
void peer_send(int fd, const struct port_sock *to, const char *text);
void peer_reset(int fd);

#endif
