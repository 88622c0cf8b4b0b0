/* The slot table's slow half: taking and giving back. Chunks belong to the table and go only with
 * it, so a finder never meets freed memory. A name becomes findable last (generation, with release,
 * after the object is zeroed) and unfindable first.
 *
 * What a taker does to its slot after it left the free list needs no lock: until it publishes the
 * name nobody else knows the slot, and finders read nothing but the generation. */
#include "base/slots.h"

#include <assert.h>
#include <string.h>

#include "sallyport/error.h"

/* Objects often group what threads share by cache lines, which only works from such an address. */
enum { SLOTS_ALIGN = 64, SLOTS_SLACK = SLOTS_ALIGN + sizeof(void *) };

static uint32_t slots__chunk_count(uint32_t capacity)
{
    return (capacity + SLOTS_CHUNK - 1) >> SLOTS_CHUNK_BITS;
}

/* The last chunk is as short as the capacity allows: a small table costs little. */
static size_t slots__chunk_bytes(const struct slots *slots, uint32_t chunk)
{
    uint32_t objects = slots->capacity - (chunk << SLOTS_CHUNK_BITS);
    if (objects > SLOTS_CHUNK) objects = SLOTS_CHUNK;
    return objects * slots->object_bytes + SLOTS_SLACK;
}

int slots_init(struct slots *slots, struct mem *mem, size_t object_bytes, uint32_t capacity,
               uint32_t generation_max)
{
    if (capacity < 1 || capacity > 1u << SLOTS_INDEX_BITS || generation_max < 1)
        return SALLY_EINVAL;
    if (object_bytes < sizeof(struct slot) || object_bytes % _Alignof(struct slot) != 0 ||
        object_bytes > (SIZE_MAX - SLOTS_SLACK) / SLOTS_CHUNK)
        return SALLY_EINVAL;
    *slots = (struct slots){.mem = mem,
                            .object_bytes = object_bytes,
                            .capacity = capacity,
                            .generation_max = generation_max};
    slots->chunks = mem_zalloc(mem, slots__chunk_count(capacity) * sizeof *slots->chunks);
    if (!slots->chunks) return SALLY_ENOMEM;
    os_lock_init(&slots->lock);
    return 0;
}

void slots_free(struct slots *slots)
{
    assert(slots->taken == 0);
    uint32_t count = slots__chunk_count(slots->capacity);
    for (uint32_t i = 0; i < count; i++) {
        unsigned char *chunk = atomic_load_explicit(&slots->chunks[i], memory_order_relaxed);
        if (!chunk) break; /* they are made in order */
        void *raw;
        memcpy(&raw, chunk - sizeof raw, sizeof raw);
        mem_free(slots->mem, raw, slots__chunk_bytes(slots, i));
    }
    mem_free(slots->mem, slots->chunks, count * sizeof *slots->chunks);
    slots->chunks = NULL;
    os_lock_free(&slots->lock);
}

/* Zeroed: generation 0 is "free". What the allocator gave is kept right before the objects. */
static bool slots__add_chunk(struct slots *slots, uint32_t chunk)
{
    unsigned char *raw = mem_zalloc(slots->mem, slots__chunk_bytes(slots, chunk));
    if (!raw) return false;
    uintptr_t past = (uintptr_t)raw + sizeof raw;
    size_t skip = sizeof raw + (SLOTS_ALIGN - past % SLOTS_ALIGN) % SLOTS_ALIGN;
    memcpy(raw + skip - sizeof raw, &raw, sizeof raw);
    atomic_store_explicit(&slots->chunks[chunk], raw + skip, memory_order_release);
    return true;
}

/* Under the lock: takes a slot off the free list, the one given back last first, or makes one. */
static struct slot *slots__pick(struct slots *slots)
{
    uint32_t index;
    struct slot *slot;
    if (slots->free_head) {
        index = slots->free_head - 1;
        slot = slots_at(slots, index);
        slots->free_head = slot->index;
    } else {
        index = slots->fresh;
        if (index == slots->capacity) return NULL;
        slot = slots_at(slots, index);
        if (!slot && !slots__add_chunk(slots, index >> SLOTS_CHUNK_BITS)) return NULL;
        slot = slots_at(slots, index);
        slots->fresh++;
    }
    slot->index = index;
    slots->taken++;
    return slot;
}

void *slots_take(struct slots *slots)
{
    os_lock_take(&slots->lock);
    struct slot *slot = slots__pick(slots);
    os_lock_give(&slots->lock);
    if (!slot) return NULL;
    memset(slot + 1, 0, slots->object_bytes - sizeof *slot);
    uint32_t generation = slot_generation(slot);
    assert(!(generation & 1));
    atomic_store_explicit(&slot->generation, generation + 1, memory_order_release);
    return slot;
}

/* The generation after the last may wrap to 0: even, so it still finds nothing. */
void slots_give(struct slots *slots, void *object)
{
    struct slot *slot = object;
    uint32_t generation = slot_generation(slot);
    assert(generation & 1);
    assert(slots_at(slots, slot->index) == object);
    atomic_store_explicit(&slot->generation, generation + 1, memory_order_release);
    bool again = slots->generation_max - generation >= 2;
    os_lock_take(&slots->lock);
    assert(slots->taken > 0);
    slots->taken--;
    if (again) {
        uint32_t index = slot->index;
        slot->index = slots->free_head;
        slots->free_head = index + 1;
    } else {
        slots->retired++;
    }
    os_lock_give(&slots->lock);
}

uint32_t slots_taken(struct slots *slots)
{
    os_lock_take(&slots->lock);
    uint32_t taken = slots->taken;
    os_lock_give(&slots->lock);
    return taken;
}
