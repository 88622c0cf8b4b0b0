/* What a scenario is played in: an engine on one kind of port, raw peers at the other ends of its
 * connections, and time that passes only when the scenario says so. All of it is one thread: the
 * shards are stepped, and nothing blocks. */
#ifndef TRACE_SUPPORT_WORLD_H
#define TRACE_SUPPORT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/host.h"
#include "port/port.h"
#include "sallyport/sim.h"

enum { WORLD_HOLES_MAX = 4, WORLD_FILLERS_MAX = 8 };

/* A kind of port, and what can be switched off of it. */
struct column {
    const char *name;
    const struct port_ops *ops; /* NULL: the simulator */
    uint32_t features_off;
    void *(*system_make)(void); /* port_config.world; NULL: none */
    void (*system_free)(void *system);
};
extern const struct column trace_columns[];
extern const unsigned trace_columns_count;

enum wire_news {
    WIRE_NOTHING,
    WIRE_BYTES,
    WIRE_FIN,
    WIRE_RST,
    WIRE_REFUSED,
};

struct world;
struct wire; /* a raw end, or a listening one */

struct world_ops {
    int (*engine)(struct world *world, const sally_engine_options *options, sally_engine **engine);
    void (*turn)(struct world *world); /* every shard has had its turn, or something happened */
    void (*pass)(struct world *world, uint32_t ms);
    void (*nap)(void); /* between two looks for what is late; NULL: nothing is */
    void (*destroy)(struct world *world);
    struct wire *(*dial)(struct world *world, const char *address, int recv_buf_bytes);
    struct wire *(*listen)(struct world *world, char *address, size_t size);
    struct wire *(*accept)(struct wire *listener);                    /* NULL: nobody is there */
    void (*nowhere)(struct world *world, char *address, size_t size); /* nobody listens */
    void (*hole)(struct world *world, char *address, size_t size);    /* nobody answers */
    enum wire_news (*look)(struct wire *wire, void *buf, size_t size, size_t *len);
    bool (*ready)(struct wire *wire); /* it is connected */
    size_t (*send)(struct wire *wire, const void *data, size_t len);
    void (*stop)(struct wire *wire, bool stopped); /* reading, or not */
    void (*finish)(struct wire *wire);
    void (*reset)(struct wire *wire); /* after this or close the wire is only freed */
    void (*close)(struct wire *wire);
    void (*address)(struct wire *wire, char *buf, size_t size);
    void (*free)(struct wire *wire);
};

struct world {
    const struct world_ops *ops;
    const struct column *column;
    unsigned shards;
    sally_engine *engine;
    /* the machine's */
    struct host host;
    void *system;
    uint64_t now_ns;
    int hole[WORLD_HOLES_MAX];
    int filler[WORLD_FILLERS_MAX];
    unsigned holes, fillers;
    /* the simulator's */
    sally_sim *sim;
    unsigned asked;
};

/* NULL in `why` when it is there; otherwise the column can't be used on this machine. */
struct world *world_make(const struct column *column, unsigned shards, uint64_t seed,
                         const char **why);
void world_free(struct world *world);

/* Each makes its own part. */
bool world_machine_make(struct world *world, const char **why);
bool world_sim_make(struct world *world, uint64_t seed, const char **why);

/* A socket connected to a Unix socket's path, or -1. */
int wire_unix_connect(const char *path);

#endif
