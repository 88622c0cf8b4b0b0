/* What an engine takes from outside itself: a kind of port, a clock, a resolver, threads or none.
 * The real one is the machine's; the simulator brings its own. So nothing else in net reads a
 * clock, draws a number or starts a thread. */
#ifndef NET_HOST_H
#define NET_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "port/port.h"
#include "sallyport.h"

/* What threads of its own would do on a host that has none. */
struct stepper {
    struct stepper *next; /* the host's */
    /* When it has something to do; UINT64_MAX: nothing. */
    uint64_t (*due_ns)(struct stepper *stepper);
    void (*step)(struct stepper *stepper);
};

struct host {
    void *ctx;
    const struct port_ops *ops;
    void *world;                    /* port_config.world of each shard's port */
    uint64_t (*now_ns)(void *ctx);  /* monotonic */
    int64_t (*world_ms)(void *ctx); /* since 1970, which people set; NULL: always 0 */
    uint64_t (*random)(void *ctx);  /* seeds what is spread by chance; NULL: always 0 */
    /* As os_resolve. Called on a thread of its own if `threads`, else at once from the shard. */
    int (*resolve)(void *ctx, const char *name, uint16_t port, struct addr *addrs, unsigned max,
                   unsigned *count);
    bool threads; /* false: someone steps the shards, all on one thread (sally_engine_start is
                           SALLY_ESTATE) */
    /* Without threads: who is stepped beside the shards, and how long a job takes. */
    void (*step_add)(void *ctx, struct stepper *stepper);
    void (*step_remove)(void *ctx, struct stepper *stepper);
    uint64_t (*job_ns)(void *ctx);
    /* A file of the system's under the name that this host's ports have for it, until it is
     * dropped; NULL: they have the same. Neither opens nor closes it. */
    os_file (*file_take)(void *ctx, os_file file, uint64_t bytes);
    void (*file_drop)(void *ctx, os_file file);
    uint64_t seed[2];   /* a secret for hash tables */
    const char *reason; /* why this port, for sally_engine_port_reason */
};

/* sally_engine_create on a given host, which must live longer than the engine. */
int engine_create_on(sally_engine **engine, const sally_engine_options *options,
                     const struct host *host);

/* For who steps the shards of an engine without threads (the simulator). A shard needs a turn when
 * its port has events or was woken, or when its patience is over. Ports are made in the order of
 * shards.
 *
 * engine_step: one turn of a shard, without sleeping; true when it has ended and needs no more.
 *
 * engine_patience_ms: how long from now the shard needs no turn; 0: it has something to do;
 * SALLY_FOREVER: nothing. */
unsigned engine_shards(const sally_engine *engine);
bool engine_step(sally_engine *engine, unsigned shard);
uint32_t engine_patience_ms(const sally_engine *engine, unsigned shard);

#endif
