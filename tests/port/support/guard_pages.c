/* Blocks between forbidden pages; see guard_pages.h. */
#include "port/support/guard_pages.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLACK_BYTE = 0xE7 };

struct span_of_pages {
    unsigned char *at;
    size_t bytes;
};

static struct span_of_pages kept[GUARD_KEPT]; /* freed and forbidden, the oldest at `next` */
static unsigned next;
static atomic_flag locked = ATOMIC_FLAG_INIT; /* of both */

static size_t up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/* page, data of whole pages, page; the block at the end of the data. */
static struct span_of_pages pages_of(const unsigned char *block, size_t bytes)
{
    size_t page = guard_page_bytes();
    size_t placed = up(bytes, GUARD_ALIGN), data = up(placed, page);
    uintptr_t at = (uintptr_t)block + placed - data - page;
    return (struct span_of_pages){(unsigned char *)at, data + 2 * page};
}

void *guard_alloc(size_t bytes)
{
    size_t page = guard_page_bytes();
    size_t placed = up(bytes, GUARD_ALIGN), data = up(placed, page);
    unsigned char *at = guard_map(data + 2 * page);
    if (!at) return NULL;
    guard_forbid(at, page);
    guard_forbid(at + page + data, page);
    unsigned char *block = at + page + data - placed;
    memset(block + bytes, SLACK_BYTE, placed - bytes);
    return block;
}

void guard_free(void *block, size_t bytes)
{
    const unsigned char *end = (unsigned char *)block + bytes;
    for (size_t i = 0; i < up(bytes, GUARD_ALIGN) - bytes; i++) {
        if (end[i] == SLACK_BYTE) continue;
        fprintf(stderr, "written past the end of a block of %zu bytes\n", bytes);
        abort();
    }
    struct span_of_pages pages = pages_of(block, bytes);
    guard_forbid(pages.at, pages.bytes);
    while (atomic_flag_test_and_set(&locked)) continue;
    struct span_of_pages oldest = kept[next];
    kept[next] = pages;
    next = (next + 1) % GUARD_KEPT;
    atomic_flag_clear(&locked);
    if (oldest.at) guard_unmap(oldest.at, oldest.bytes);
}
