/* Byte queue: what a connection has still to send (or has received and may not deliver yet). A list
 * of segments, each either bytes copied into a pool chunk, or a reference to bytes somebody else
 * keeps until `release` is called, or a mark: the place of something that is no bytes in memory,
 * such as a file. Bounded by its owner, who compares `bytes` with its limit before it appends. One
 * thread.
 *
 * Bytes at the front may be in flight (the kernel reads them): nothing in the queue moves or goes
 * until sendq_consume says that they were taken. Appending meanwhile is fine. */
#ifndef BASE_SENDQ_H
#define BASE_SENDQ_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/pool.h"
#include "base/span.h"
#include "sallyport/error.h"

/* An owner's limit is not above this, so that sums of two queues stay far below 2^32. */
enum { SENDQ_BYTES_LIMIT = 1 << 30 };

/* The bytes of a chunk follow it; of a reference they are elsewhere. */
struct segment {
    struct segment *next;
    const unsigned char *data; /* NULL: a mark */
    uint32_t bytes;
    uint32_t bytes_max; /* of a chunk; 0: it is a reference */
    bool unit;          /* begins what may only be dropped as a whole; see sendq_drop_unit */
};

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

/* What is left of the chunks, three in ten, is for queues that are short. */
static inline bool sendq_pools_scarce(const struct sendq_pools *pools)
{
    return pools->chunks.out > pools->chunks.out_max / 10 * 7;
}

/* Copies several ranges, which may be empty but not all. All or nothing: SALLY_ENOMEM takes
 * nothing. As a `unit` they begin a segment of their own, and nothing is appended to it but by
 * sendq_copy. */
int sendq_copy_spans(struct sendq *queue, struct sendq_pools *pools, const struct span *spans,
                     unsigned count, bool unit);

/* Drops the first whole unit behind the first `kept` segments: from a segment that begins one to
 * the next that does. How many bytes; 0: there is none. `before`: how many bytes are in front of
 * it. */
uint32_t sendq_drop_unit(struct sendq *queue, struct sendq_pools *pools, unsigned kept,
                         uint32_t *before);

/* What is rare of the calls below: several segments, references. */
unsigned sendq_gather_slow(const struct sendq *queue, struct span *spans, unsigned max);
void sendq_consume_slow(struct sendq *queue, struct sendq_pools *pools, size_t n);

/* A copy behind all that is queued, where it needs neither memory nor a second chunk, as nearly
 * always. False: nothing has happened. len > 0. */
static inline bool sendq_copy_simple(struct sendq *queue, struct sendq_pools *pools,
                                     const void *data, size_t len)
{
    struct segment *tail = queue->tail;
    uint32_t bytes_max = (uint32_t)(pools->chunks.buf_bytes - sizeof *tail);
    if (tail) {
        if (tail->bytes + len > tail->bytes_max || len > UINT32_MAX - queue->bytes) return false;
    } else {
        if (len > bytes_max || !pool_keeps(&pools->chunks)) return false;
        tail = pool_take_kept(&pools->chunks);
        tail->next = NULL;
        tail->data = (unsigned char *)(tail + 1);
        tail->bytes = 0;
        tail->bytes_max = bytes_max;
        tail->unit = false;
        queue->head = queue->tail = tail;
    }
    unsigned char *to = (unsigned char *)(tail + 1) + tail->bytes;
    tail->bytes += (uint32_t)len;
    queue->bytes += (uint32_t)len;
    memcpy(to, data, len);
    return true;
}

/* Copies. All or nothing: SALLY_ENOMEM takes nothing. Fills the last chunk's room first. len > 0.
 */
static inline int sendq_copy(struct sendq *queue, struct sendq_pools *pools, const void *data,
                             size_t len)
{
    assert(len > 0);
    if (sendq_copy_simple(queue, pools, data, len)) return 0;
    return sendq_copy_spans(queue, pools, &(struct span){data, len}, 1, false);
}

/* Room behind all that is queued, for bytes to be written in place: what is left of the last chunk,
 * if that is a quarter of one, else a chunk of its own, which is not queued yet. NULL without
 * memory. Nothing may be appended before sendq_commit. */
struct segment *sendq_reserve(struct sendq *queue, struct sendq_pools *pools);

static inline unsigned char *segment_room(struct segment *segment, uint32_t *room)
{
    *room = segment->bytes_max - segment->bytes;
    return (unsigned char *)(segment + 1) + segment->bytes;
}

/* n bytes of that room were written; 0: it is given back. */
void sendq_commit(struct sendq *queue, struct sendq_pools *pools, struct segment *segment,
                  uint32_t n);

/* Room behind all that is queued for bytes whose number is not known yet: what is left of the last
 * chunk, and new chunks, which are not queued before something is in them. Nothing else may be
 * appended between take and drop. */
struct sendq_room {
    struct segment *spare; /* NULL: none are left */
};

/* For so many bytes; SALLY_ENOMEM takes nothing. */
int sendq_room_take(const struct sendq *queue, struct sendq_pools *pools, size_t bytes,
                    struct sendq_room *room);

/* Where the next of them go, and how many fit there; NULL when the room is used up. */
unsigned char *sendq_room_next(const struct sendq *queue, const struct sendq_room *room,
                               uint32_t *bytes);

/* n bytes were written there: they are queued. */
void sendq_room_made(struct sendq *queue, struct sendq_room *room, uint32_t n);

/* What was not used goes back. */
void sendq_room_drop(struct sendq_pools *pools, struct sendq_room *room);

/* Refers: release(owner, data, token) is called once when the bytes were consumed or the queue is
 * cleared. On SALLY_ENOMEM nothing was taken and release is not called. len > 0. With data NULL it
 * is a mark, which counts for `len` bytes: nothing is gathered from there on until it is at the
 * front, and then its owner consumes those bytes when what it stands for is done. */
int sendq_refer(struct sendq *queue, struct sendq_pools *pools, const void *data, size_t len,
                sendq_release *release, void *owner, uint64_t token);

/* A mark is next. */
static inline bool sendq_at_mark(const struct sendq *queue)
{
    return queue->head && !queue->head->data;
}

/* Fills at most `max` spans from the front; how many. The queue is as it was. Not at a mark. */
static inline unsigned sendq_gather(const struct sendq *queue, struct span *spans, unsigned max)
{
    const struct segment *head = queue->head;
    if (!head || head->next) return sendq_gather_slow(queue, spans, max);
    spans[0] = (struct span){head->data + queue->front, head->bytes - queue->front};
    return 1;
}

/* Whether all of it is in one segment. */
static inline bool sendq_is_single(const struct sendq *queue)
{
    return queue->head && !queue->head->next;
}

/* Of one that is: its bytes, and dropping them. */
static inline struct span sendq_front(const struct sendq *queue)
{
    return (struct span){queue->head->data + queue->front, queue->bytes};
}

static inline void sendq_drop_only(struct sendq *queue, struct sendq_pools *pools)
{
    struct segment *head = queue->head;
    if (!head->bytes_max) {
        sendq_consume_slow(queue, pools, queue->bytes);
        return;
    }
    *queue = (struct sendq){0};
    pool_give(&pools->chunks, head);
}

/* Drops n bytes from the front; n <= bytes. */
static inline void sendq_consume(struct sendq *queue, struct sendq_pools *pools, size_t n)
{
    struct segment *head = queue->head;
    if (!head || head->next || !head->bytes_max || n != queue->bytes) {
        sendq_consume_slow(queue, pools, n);
        return;
    }
    *queue = (struct sendq){0};
    pool_give(&pools->chunks, head);
}

/* Drops all. */
void sendq_clear(struct sendq *queue, struct sendq_pools *pools);

#endif
