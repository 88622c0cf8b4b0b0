/* A uring port with a server on it and plain sockets as its clients, all on one thread. Every
 * stream is tagged: each of its words names the stream and its place in it, so a byte that reached
 * a wrong connection, came twice or not at all is found where it arrives. */
#ifndef TESTS_PORT_SUPPORT_URING_RIG_H
#define TESTS_PORT_SUPPORT_URING_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/uring.h"

enum { RIG_CONNS_MAX = 700, RIG_HELD_MAX = 512, RIG_ROUNDS_MAX = 20000 };

struct rig_conn {
    struct port_sock sock;
    struct rig *rig;
    uint32_t tag;
    uint64_t received;
    unsigned finals[PORT_OPS];
    int32_t end; /* the receive's last error */
    bool ended;
    bool closing;
    bool sending; /* until the event is handled, while in_flight is cleared when it is taken */
    unsigned char *out; /* to be echoed */
    size_t out_len;
    size_t out_done;
};

struct rig_held {
    uint32_t buf;
    const void *data;
};

struct rig {
    struct mem mem;
    struct slots slots;
    struct port *port;
    struct rig_conn *listener;
    struct addr addr; /* it listens there */
    /* how the server behaves */
    bool echo;
    bool no_recv;  /* accepted connections are not read from */
    bool no_send;  /* sends are the test's own */
    unsigned hold; /* so many buffers are given back one turn late */
    bool keep;     /* and they aren't given back at all */
    unsigned take_max;
    bool one_take; /* one port_take after each port_wait */
    void (*on_event)(struct rig *rig, const struct port_event *event); /* before the rig's own */
    /* what came */
    unsigned opened;
    unsigned closed;
    unsigned accept_errors;
    int32_t accept_end;
    bool accept_ended;
    unsigned nameless; /* accepted without a peer's address */
    uint64_t received;
    struct port_event last;
    struct rig_held held[RIG_HELD_MAX];
    unsigned held_count;
    struct rig_conn *conns[RIG_CONNS_MAX]; /* living ones, NULL between */
};

/* sq, cq, buffers as in port_config. The port is owned by the caller's thread and nothing listens.
 */
void rig_open(struct rig *rig, uint32_t sq, uint32_t cq, uint32_t buf_bytes, uint32_t bufs,
              uint32_t features_off);
void rig_listen(struct rig *rig);

/* Closes everything, checks that each operation ended once and that nothing is left. */
void rig_close(struct rig *rig);

/* One turn. */
void rig_turn(struct rig *rig, uint32_t timeout_ms);

/* Turns until `done` holds; fails the test after a limit of turns. */
void rig_until(struct rig *rig, bool (*done)(struct rig *rig, void *arg), void *arg);
/* So many in all. */
void rig_until_opened(struct rig *rig, unsigned count);
void rig_until_closed(struct rig *rig, unsigned count);

struct rig_conn *rig_add(struct rig *rig, port_handle handle);
void rig_shut(struct rig *rig, struct rig_conn *conn, enum port_close_mode mode);
unsigned rig_living(const struct rig *rig);

/* --- clients --- */

struct rig_client {
    int fd;
    uint32_t tag;
    uint64_t sent;
    uint64_t echoed;
    uint64_t goal; /* bytes to send, and to get back */
    bool ended;    /* EOF or an error was read */
};

void rig_client_open(struct rig *rig, struct rig_client *client, uint32_t tag, uint64_t goal);
void rig_client_close(struct rig_client *client);

/* Sends at most `bytes` of what is left and reads what is there, without waiting; checks it. */
void rig_client_step(struct rig_client *client, size_t bytes);

unsigned char rig_byte(uint32_t tag, uint64_t offset);

/* Any living connection that isn't the listener. */
struct rig_conn *rig_only(struct rig *rig);

/* A client with tag 1 whose connection has its receive in the kernel. */
struct rig_conn *rig_armed(struct rig *rig, struct rig_client *client);

/* The clients' streams through the server and back. Each is closed when it is whole. */
void rig_stream(struct rig *rig, unsigned clients, uint64_t bytes, size_t step);

#endif
