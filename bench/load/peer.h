/* A connection of the generator, and the bytes that go over it: each connection sends a stretch of
 * one fixed pattern, from a place of its own, so that a byte which comes back wrong, twice, too
 * early or on another connection is seen. The pattern's period is a prime: messages differ whatever
 * their size. One thread. */
#ifndef BENCH_LOAD_PEER_H
#define BENCH_LOAD_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "load.h"

enum { PEER_CHUNK_BYTES = 65536 }; /* of one send and of one receive */

struct peer {
    int fd;
    uint32_t number;
    bool waits_to_write;
    uint64_t sent, received; /* bytes */
    uint64_t goal;           /* to be sent so far */
};

/* The connections of a load, and the epoll set they are in; an event's data is the peer. */
struct peers {
    struct peer *all;
    uint32_t count;
    int epoll;
};

/* Opens options->conns connections. Waits, with a limit, until all of them are there. */
void peers_open(struct peers *peers, const struct load_options *options);

/* Connections that nobody looks at any more. */
void peers_hold(const struct load_options *options, uint32_t count);

/* A connecting socket, in the epoll set for `events` with `data`; -1 with errno. `number` chooses
 * the local address. */
int peer_connect(const struct load_options *options, int epoll, uint32_t number, uint32_t events,
                 void *data);

/* Sends on to the goal, as far as the socket takes it; false when the connection has failed. */
bool peer_send(struct peers *peers, struct peer *peer);

/* Receives once: the bytes, 0 for none now, -1 when the connection has ended, -2 when what came is
 * wrong. */
int64_t peer_receive(struct peer *peer);

/* The pattern's bytes from a position on, PEER_CHUNK_BYTES of them. */
const char *pattern_at(uint32_t number, uint64_t position);

#endif
