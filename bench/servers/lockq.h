/* The queue by which other threads reach a loop that has none of its own: a lock, and two arrays
 * that change places when the loop takes all that has come. The loop's waking is the caller's. */
#ifndef BENCH_SERVERS_LOCKQ_H
#define BENCH_SERVERS_LOCKQ_H

#include <stdbool.h>
#include <stdint.h>

#include "server.h"

/* As many as Sallyport's mailbox takes by default. */
enum { LOCKQ_ENTRIES_MAX = 65536 };

struct lockq_entry {
    uint64_t id;
    char bytes[SERVER_MESSAGE_BYTES];
};

void lockq_create(void);

/* False when it is full; `wake` tells whether the loop has to be woken, which is so for the first
 * entry after a take. [any thread] */
bool lockq_push(uint64_t id, const void *message, bool *wake);

/* All entries, readable until the next call. [the loop's thread] */
struct lockq_entry *lockq_take(uint32_t *count);

#endif
