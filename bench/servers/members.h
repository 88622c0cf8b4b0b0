/* The open connections of a server that sends to all of them, close together; a connection keeps
 * its place, so that it can be taken out. One thread. */
#ifndef BENCH_SERVERS_MEMBERS_H
#define BENCH_SERVERS_MEMBERS_H

#include <stdint.h>

#include "server.h"

struct members {
    void **all;
    uint32_t **places; /* where each member keeps its place */
    uint32_t count;
};

static inline void members_add(struct members *members, void *member, uint32_t *place)
{
    if (!members->all) {
        members->all = server_memory(server_fds_max(), sizeof *members->all);
        members->places = server_memory(server_fds_max(), sizeof *members->places);
    }
    *place = members->count++;
    members->all[*place] = member;
    members->places[*place] = place;
}

static inline void members_remove(struct members *members, uint32_t place)
{
    uint32_t last = --members->count;
    members->all[place] = members->all[last];
    members->places[place] = members->places[last];
    *members->places[place] = place;
}

#endif
