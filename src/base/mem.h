/* Every allocation of an engine goes through one of these, so that a program can bring its own
 * allocator, a test can fail the n-th allocation, and the bytes in use are known. Any thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdatomic.h>
#include <stddef.h>

struct sally_allocator;

struct mem {
    void *(*alloc)(void *user,
                   size_t bytes); /* as malloc: aligned for any type, NULL when there is none */
    void (*free)(void *user, void *block, size_t bytes);
    void *user;
    size_t bytes_max;           /* more is refused */
    atomic_size_t bytes_in_use; /* ours, not the allocator's overhead */
};

/* Takes the C library's allocator. */
void mem_init(struct mem *mem);

/* Takes the program's, or the C library's where `hooks` has no functions or is NULL. SALLY_EINVAL,
 * and the C library's: it has one of them alone. */
int mem_init_hooked(struct mem *mem, const struct sally_allocator *hooks);

/* NULL when there is no memory; bytes > 0. */
void *mem_alloc(struct mem *mem, size_t bytes);
void *mem_zalloc(struct mem *mem, size_t bytes);

/* `bytes` is what was asked for; block may be NULL. */
void mem_free(struct mem *mem, void *block, size_t bytes);

/* So many bytes and what is missing to the next multiple of malloc's alignment, for what lies
 * behind them in the same block. */
static inline size_t mem_aligned(size_t bytes)
{
    const size_t to = _Alignof(max_align_t);
    return (bytes + to - 1) / to * to;
}

size_t mem_in_use(const struct mem *mem);

#endif
