/* Byte queue: what a connection has still to send (or has received and may not deliver yet). A list
 * of segments, each either bytes copied into a pool chunk, or a reference to bytes somebody else
 * keeps until `release` is called. Bounded by its owner, who compares `bytes` with its limit before
 * it appends. One thread.
 *
 * Bytes at the front may be in flight (the kernel reads them): nothing in the queue moves or goes
 * until sendq_consume says that they were taken. Appending meanwhile is fine. */
#ifndef BASE_SENDQ_H
#define BASE_SENDQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/span.h"

struct segment;

struct sendq {
    struct segment *head;
    struct segment *tail;
    uint32_t bytes;
    uint32_t front; /* bytes of the head segment already consumed */
};

/* Where segments come from; one for a shard. */
struct sendq_pools {
    struct pool chunks; /* copied bytes */
    struct pool refs;   /* segments that refer */
};

typedef void sendq_release(void *owner, const void *data, uint64_t token);

int sendq_pools_init(struct sendq_pools *pools, struct mem *mem, size_t chunk_bytes,
                     uint32_t chunks_max);
void sendq_pools_free(struct sendq_pools *pools);

/* Copies. All or nothing: SALLY_ENOMEM takes nothing. Fills the last chunk's room first. len > 0.
 */
int sendq_copy(struct sendq *queue, struct sendq_pools *pools, const void *data, size_t len);

/* Refers: release(owner, data, token) is called once when the bytes were consumed or the queue is
 * cleared. On SALLY_ENOMEM nothing was taken and release is not called. len > 0. */
int sendq_refer(struct sendq *queue, struct sendq_pools *pools, const void *data, size_t len,
                sendq_release *release, void *owner, uint64_t token);

/* Fills at most `max` spans from the front; how many. The queue is as it was. */
unsigned sendq_gather(const struct sendq *queue, struct span *spans, unsigned max);

/* Drops n bytes from the front; n <= bytes. */
void sendq_consume(struct sendq *queue, struct sendq_pools *pools, size_t n);

/* Drops all. */
void sendq_clear(struct sendq *queue, struct sendq_pools *pools);

#endif
