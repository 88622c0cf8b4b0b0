/* The door; see door.h. The lock is what makes closing wait for a post that is under way. */
#include "net/door.h"

#include <stdatomic.h>

#include "net/engine.h"
#include "net/shard.h"

struct door {
    struct mem mem; /* a copy of the engine's hooks */
    atomic_uint refs;
    struct os_lock lock;
    sally_engine *engine; /* NULL: gone; under the lock */
};

int door_create(struct door **out, sally_engine *engine)
{
    struct mem mem;
    mem_init(&mem);
    mem.alloc = engine->mem.alloc;
    mem.free = engine->mem.free;
    mem.user = engine->mem.user;
    struct door *door = mem_zalloc(&mem, sizeof *door);
    if (!door) return SALLY_ENOMEM;
    door->mem = mem;
    atomic_init(&door->refs, 1);
    os_lock_init(&door->lock);
    door->engine = engine;
    *out = door;
    return 0;
}

struct door *door_ref(struct door *door)
{
    atomic_fetch_add_explicit(&door->refs, 1, memory_order_relaxed);
    return door;
}

void door_release(struct door *door)
{
    if (!door || atomic_fetch_sub_explicit(&door->refs, 1, memory_order_acq_rel) != 1) return;
    os_lock_free(&door->lock);
    struct mem mem = door->mem;
    mem_free(&mem, door, sizeof *door);
}

void door_close(struct door *door)
{
    if (!door) return;
    os_lock_take(&door->lock);
    door->engine = NULL;
    os_lock_give(&door->lock);
}

/* The shard's number is in the id, so it is found also when the connection has gone. */
static struct shard *door__shard(const struct door *door, sally_id id)
{
    return door->engine->shards[(unsigned)(id >> SLOTS_INDEX_BITS) & 0xff];
}

bool door_post(struct door *door, sally_id id, struct letter *letter)
{
    os_lock_take(&door->lock);
    bool open = door->engine != NULL;
    if (open) (void)shard_post(door__shard(door, id), letter, true);
    os_lock_give(&door->lock);
    return open;
}

bool door_knows(struct door *door, sally_id id)
{
    os_lock_take(&door->lock);
    bool known = door->engine && shard_find(door__shard(door, id), id);
    os_lock_give(&door->lock);
    return known;
}
