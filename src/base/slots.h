/* Slot table: objects of one size at addresses that never move, named by index and generation.
 *
 * A name is given out once in the table's life: an index's generation is odd while the slot is
 * taken and even while it is free, it moves on at both steps, and a slot whose generation would
 * pass `generation_max` is retired instead of being used again. So a stale name finds nothing, for
 * ever.
 *
 * Memory comes in chunks and goes back only with the table: a name from another thread may be
 * checked at any time. Taking and giving back are serialised by a lock (an outgoing connection is
 * named by the thread that asks for it); finding takes no lock. What is in the object behind its
 * header belongs to whoever owns the slot. */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "os/lock.h"

enum { SLOTS_CHUNK_BITS = 8, SLOTS_CHUNK = 1 << SLOTS_CHUNK_BITS, SLOTS_INDEX_BITS = 24 };

/* The first member of every object in a table. */
struct slot {
    _Atomic uint32_t generation;
    uint32_t index; /* while free: the next free slot's index + 1 */
};

struct slots {
    struct mem *mem;
    size_t object_bytes;
    uint32_t capacity;
    uint32_t generation_max;
    _Atomic(unsigned char *) *chunks; /* fixed length, filled as needed */
    /* under lock */
    struct os_lock lock;
    uint32_t fresh;     /* indexes from here on were never taken */
    uint32_t free_head; /* index + 1, 0: none */
    uint32_t taken;
    uint32_t retired;
};

/* capacity: 1 to 2^24. generation_max: UINT32_MAX, or a small number in tests. SALLY_ENOMEM or
 * SALLY_EINVAL. */
int slots_init(struct slots *slots, struct mem *mem, size_t object_bytes, uint32_t capacity,
               uint32_t generation_max);

/* Every object must have been given back. */
void slots_free(struct slots *slots);

/* An object, zeroed behind its header; NULL when the table is full or there is no memory. Any
 * thread. */
void *slots_take(struct slots *slots);

/* Any thread; the caller is the object's owner. */
void slots_give(struct slots *slots, void *object);

/* How many are taken. Any thread. */
uint32_t slots_taken(struct slots *slots);

/* The object at an index, taken or not; NULL where no chunk is. Any thread; used to walk a table by
 * its owner. */
static inline void *slots_at(const struct slots *slots, uint32_t index)
{
    if (index >= slots->capacity) return NULL;
    unsigned char *chunk =
        atomic_load_explicit(&slots->chunks[index >> SLOTS_CHUNK_BITS], memory_order_acquire);
    return chunk ? chunk + (size_t)(index & (SLOTS_CHUNK - 1)) * slots->object_bytes : NULL;
}

/* The object of that name, or NULL when it has gone or never was. Any thread may ask; only the
 * owner may look inside. */
static inline void *slots_find(const struct slots *slots, uint32_t index, uint32_t generation)
{
    struct slot *slot = slots_at(slots, index);
    if (!slot || !(generation & 1)) return NULL;
    return atomic_load_explicit(&slot->generation, memory_order_acquire) == generation ? slot
                                                                                       : NULL;
}

static inline uint32_t slot_generation(const struct slot *slot)
{
    return atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

#endif
