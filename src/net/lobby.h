/* Newcomers that have been accepted and not yet been let in: in the order in which they came. The
 * memory of each is the list's, the handle its owner's. One thread. */
#ifndef NET_LOBBY_H
#define NET_LOBBY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/span.h"
#include "port/port.h"

struct listening;

struct newcomer {
    port_handle handle;
    struct addr peer;
    uint32_t source; /* what the server's gate gave for it; 0: nothing */
    uint32_t delays;
    uint64_t came_ms;
    uint64_t due_ms;                    /* delayed: when it is asked for again */
    struct span first;                  /* bytes that came with it, the owner's */
    const struct listening *proxied_at; /* a trusted proxy's: where it came in; else NULL */
};

struct lobby_seat;

struct lobby {
    struct lobby_seat *first;
    struct lobby_seat *last;
};

/* With a copy of its first bytes. False without memory. */
bool lobby_put(struct lobby *lobby, struct mem *mem, const struct newcomer *newcomer);

/* The first one, who stays; NULL when there is none. */
const struct newcomer *lobby_first(const struct lobby *lobby);

/* The first one leaves, in its seat, which holds its first bytes; NULL when there is none. */
struct lobby_seat *lobby_take(struct lobby *lobby);
struct newcomer *lobby_newcomer(struct lobby_seat *seat);
void lobby_free(struct lobby_seat *seat, struct mem *mem);

#endif
