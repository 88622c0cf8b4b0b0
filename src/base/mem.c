/* The one door to the allocator. It counts bytes, not blocks: the caller names the size again when
 * it frees, so no header is put before a block. Any thread, if the hooks may be called by any. */
#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sallyport.h"

static void *mem__system_alloc(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}

static void mem__system_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

void mem_init(struct mem *mem)
{
    mem->alloc = mem__system_alloc;
    mem->free = mem__system_free;
    mem->user = NULL;
    mem->bytes_max = SIZE_MAX;
    atomic_init(&mem->bytes_in_use, 0);
}

int mem_init_hooked(struct mem *mem, const struct sally_allocator *hooks)
{
    mem_init(mem);
    if (!hooks || (!hooks->alloc && !hooks->free)) return 0;
    if (!hooks->alloc || !hooks->free) return SALLY_EINVAL;
    mem->alloc = hooks->alloc;
    mem->free = hooks->free;
    mem->user = hooks->user;
    return 0;
}

/* Counted before it is there, so that all threads together stay below the maximum. */
static bool mem__charge(struct mem *mem, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&mem->bytes_in_use, bytes, memory_order_relaxed);
    if (before <= mem->bytes_max && bytes <= mem->bytes_max - before) return true;
    atomic_fetch_sub_explicit(&mem->bytes_in_use, bytes, memory_order_relaxed);
    return false;
}

static void *mem__counted(struct mem *mem, void *block, size_t bytes)
{
    if (!block) atomic_fetch_sub_explicit(&mem->bytes_in_use, bytes, memory_order_relaxed);
    return block;
}

void *mem_alloc(struct mem *mem, size_t bytes)
{
    assert(bytes > 0);
    if (!mem__charge(mem, bytes)) return NULL;
    return mem__counted(mem, mem->alloc(mem->user, bytes), bytes);
}

void *mem_zalloc(struct mem *mem, size_t bytes)
{
    assert(bytes > 0);
    if (!mem__charge(mem, bytes)) return NULL;
    /* calloc knows which pages come zeroed from the system and leaves them untouched */
    if (mem->alloc == mem__system_alloc) return mem__counted(mem, calloc(1, bytes), bytes);
    void *block = mem->alloc(mem->user, bytes);
    if (block) memset(block, 0, bytes);
    return mem__counted(mem, block, bytes);
}

void mem_free(struct mem *mem, void *block, size_t bytes)
{
    if (!block) return;
    size_t before = atomic_fetch_sub_explicit(&mem->bytes_in_use, bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
    mem->free(mem->user, block, bytes);
}

size_t mem_in_use(const struct mem *mem)
{
    return atomic_load_explicit(&mem->bytes_in_use, memory_order_relaxed);
}
