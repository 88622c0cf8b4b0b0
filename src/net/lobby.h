/* Newcomers that have been accepted and not yet been let in: in the order in which they came. The
 * memory of each is the list's, the handle its owner's. One thread. */
#ifndef NET_LOBBY_H
#define NET_LOBBY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mem.h"
#include "port/port.h"

struct newcomer {
    port_handle handle;
    struct addr peer;
    uint32_t source; /* what the server's gate gave for it; 0: nothing */
    uint32_t delays;
    uint64_t came_ms;
    uint64_t due_ms; /* delayed: when it is asked for again */
};

struct lobby_seat;

struct lobby {
    struct lobby_seat *first;
    struct lobby_seat *last;
};

/* False without memory. */
bool lobby_put(struct lobby *lobby, struct mem *mem, const struct newcomer *newcomer);

/* The first one, who stays; NULL when there is none. */
const struct newcomer *lobby_first(const struct lobby *lobby);

/* The first one leaves. False when there is none. */
bool lobby_take(struct lobby *lobby, struct mem *mem, struct newcomer *newcomer);

#endif
