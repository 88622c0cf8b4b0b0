/* Where connections come from: for each address how many are there now, how fast they come, and
 * what its peers did wrong. IPv6 addresses are counted by /64, which is what one subscriber has
 * (RFC 6177), and by /48 above it, which is what one site has: so nobody gets a second count by
 * taking another address of his own.
 *
 * Counts can't drift: who comes in is given a number, and gives it back when it goes, whatever
 * happened in between. What has no connection is remembered for its rate and its strikes, the last
 * idle_max of them; the one that has been gone longest is forgotten for the next. What has a
 * connection is never forgotten, so the table is bounded by two entries for each connection and
 * idle_max beside.
 *
 * No lock and no clock: gate.c has both. */
#ifndef ADMISSION_SOURCES_H
#define ADMISSION_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "admission/cidr.h"
#include "admission/hash.h"
#include "admission/rate.h"
#include "base/mem.h"

enum { SOURCE_CHUNK = 256, SOURCE_SUBSCRIBER_BITS = 64, SOURCE_SITE_BITS = 48 };

struct source_limits {
    uint32_t live_max; /* of an address; UINT32_MAX: no limit */
    uint32_t site_max; /* of a /48 */
    struct rate rate;
    struct rate site_rate;
};

/* Why one may not come in. */
enum source_answer {
    SOURCE_IN,
    SOURCE_TOO_MANY,
    SOURCE_TOO_FAST,
    SOURCE_NO_MEMORY,
};

struct source {
    struct key key;
    uint8_t family; /* ADDR_NONE: not in use */
    uint8_t bits;
    uint8_t bans; /* how often its strikes have become a ban */
    uint32_t live;
    uint32_t site;  /* number of the /48 above it; 0: none */
    uint32_t older; /* idle: numbers of its neighbours; not in use: `newer` is the next such */
    uint32_t newer;
    uint32_t strikes;
    uint64_t strikes_ms; /* when the first of them was */
    uint64_t used_ns;    /* its rate, see rate.h */
};

/* Numbers of entries are from 1; 0 is none. */
struct sources {
    struct mem *mem;
    struct hash_seed seed;
    uint32_t idle_max;
    uint32_t idle; /* entries without a connection */
    uint32_t live; /* addresses with one, sites not among them */
    uint32_t count;
    uint32_t made;
    uint32_t unused; /* the first number not in use */
    uint32_t oldest; /* of the idle ones */
    uint32_t newest;
    struct source **chunk;
    uint32_t chunks;
    uint32_t chunks_room;
    uint32_t *place; /* numbers; linear probing */
    uint32_t places;
};

void sources_init(struct sources *sources, struct mem *mem, uint32_t idle_max,
                  struct hash_seed seed);
void sources_free(struct sources *sources);

/* One comes in: counted, and its number given, if no limit is against it. All or nothing. The
 * number goes back by sources_leave, once. */
enum source_answer sources_enter(struct sources *sources, const struct addr *addr,
                                 const struct source_limits *limits, uint64_t now_ns,
                                 uint32_t *number);
void sources_leave(struct sources *sources, uint32_t number);

/* How many of that address are in. */
uint32_t sources_live(const struct sources *sources, const struct addr *addr);

/* Counts strikes against an address, with or without a connection. True when they have reached
 * `max` within `within_ms` of the first: they are 0 again then, and *bans is how often that was so,
 * this time included. */
bool sources_strike(struct sources *sources, const struct addr *addr, uint32_t weight, uint32_t max,
                    uint64_t within_ms, uint64_t now_ms, uint32_t *bans);

/* Asserts every invariant, with the sum of live connections; for tests. */
void sources_check(const struct sources *sources, uint32_t live_sum);

#endif
