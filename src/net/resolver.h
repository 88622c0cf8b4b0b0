/* Names to addresses without holding up a shard: the system's resolver blocks, so each look-up runs
 * on one of a few threads that exist only while there is work. Look-ups past that wait in a queue;
 * connections bound it. */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include <stdbool.h>

#include "base/addr.h"
#include "os/lock.h"
#include "os/thread.h"

enum { RESOLVER_THREADS = 4, RESOLVER_ADDRS = 16 };

struct host;

/* One look-up; its owner keeps it until done(lookup) has been called, on a resolver thread. */
struct lookup {
    struct lookup *next;
    const char *name;
    uint16_t port;
    void (*done)(struct lookup *lookup);
    int error;
    unsigned count;
    struct addr addrs[RESOLVER_ADDRS];
};

struct resolver {
    const struct host *host;
    struct os_lock lock;
    struct lookup *head;
    struct lookup *tail;
    bool closed;
    struct resolver_thread {
        struct resolver *resolver;
        struct os_thread thread;
        enum { RESOLVER_NEVER, RESOLVER_RUNS, RESOLVER_DONE } state;
    } threads[RESOLVER_THREADS];
};

void resolver_init(struct resolver *resolver, const struct host *host);

/* Finishes what runs (a system look-up can't be cancelled), drops what waits with SALLY_ECANCELED.
 */
void resolver_close(struct resolver *resolver);
void resolver_free(struct resolver *resolver);

/* Any thread. SALLY_EEXHAUSTED when no thread can be had and none runs: then done is not called. */
int resolver_ask(struct resolver *resolver, struct lookup *lookup);

#endif
