/* The byte queue. Segments are pool buffers: a chunk begins with its header and the copied bytes
 * follow it; a reference is a header and whom to tell. The queue owns them from append to consume.
 * One thread. */
#include "base/sendq.h"

struct reference {
    struct segment segment;
    sendq_release *release;
    void *owner;
    uint64_t token;
};

enum {
    SENDQ_CHUNK_MIN = 64,          /* less would be more header than data */
    SENDQ_KEEP_BYTES = 1024 * 1024 /* free memory kept per pool: a burst's rest goes back */
};
_Static_assert(sizeof(struct segment) <= 32, "the header eats into every chunk");

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static uint32_t saturated(uint64_t n) { return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; }

static uint32_t sendq__room(const struct segment *segment)
{
    return segment && segment->bytes_max ? segment->bytes_max - segment->bytes : 0;
}

int sendq_pools_init(struct sendq_pools *pools, struct mem *mem, size_t chunk_bytes,
                     uint32_t chunks_max)
{
    if (chunk_bytes < SENDQ_CHUNK_MIN || chunk_bytes > UINT32_MAX / 2 || chunks_max < 1)
        return SALLY_EINVAL;
    /* references may take as much memory as chunks: each is small, but one byte can need one */
    const size_t ref_bytes = sizeof(struct reference);
    uint32_t refs_max = saturated((uint64_t)chunks_max * chunk_bytes / ref_bytes);
    pool_init(&pools->chunks, mem, chunk_bytes, chunks_max,
              (uint32_t)(SENDQ_KEEP_BYTES / chunk_bytes) + 1);
    pool_init(&pools->refs, mem, ref_bytes, refs_max, (uint32_t)(SENDQ_KEEP_BYTES / ref_bytes));
    return 0;
}

void sendq_pools_free(struct sendq_pools *pools)
{
    pool_free(&pools->chunks);
    pool_free(&pools->refs);
}

/* ---- Appending ---- */

static void sendq__link(struct sendq *queue, struct segment *first, struct segment *last)
{
    if (queue->tail)
        queue->tail->next = first;
    else
        queue->head = first;
    queue->tail = last;
}

static void chain_give(struct pool *chunks, struct segment *chain)
{
    while (chain) {
        struct segment *next = chain->next;
        pool_give(chunks, chain);
        chain = next;
    }
}

/* An empty chunk for each of the bytes, linked; NULL when the pool has not so many. */
static struct segment *chain_take(struct pool *chunks, size_t bytes)
{
    uint32_t bytes_max = (uint32_t)(chunks->buf_bytes - sizeof(struct segment));
    struct segment *chain = NULL;
    for (size_t covered = 0; covered < bytes; covered += bytes_max) {
        struct segment *segment = pool_take(chunks);
        if (!segment) goto fail;
        *segment = (struct segment){
            .next = chain, .data = (unsigned char *)(segment + 1), .bytes_max = bytes_max};
        chain = segment;
    }
    return chain;
fail:
    chain_give(chunks, chain);
    return NULL;
}

/* As much as fits; how much. */
static size_t segment_fill(struct segment *segment, const void *data, size_t len)
{
    len = smaller(len, sendq__room(segment));
    memcpy((unsigned char *)(segment + 1) + segment->bytes, data, len);
    segment->bytes += (uint32_t)len;
    return len;
}

/* The segment that the copy begins in, with room for all of it from there on; NULL without memory.
 */
static struct segment *sendq__extend(struct sendq *queue, struct sendq_pools *pools, size_t len,
                                     bool unit)
{
    struct segment *tail = queue->tail;
    size_t room = unit ? 0 : sendq__room(tail);
    if (len <= room) return tail;
    struct segment *first = chain_take(&pools->chunks, len - room);
    if (!first) return NULL;
    first->unit = unit;
    struct segment *last = first;
    while (last->next) last = last->next;
    sendq__link(queue, first, last);
    return room ? tail : first;
}

int sendq_copy_spans(struct sendq *queue, struct sendq_pools *pools, const struct span *spans,
                     unsigned count, bool unit)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) len += spans[i].len;
    assert(len > 0);
    if (len > UINT32_MAX - queue->bytes) return SALLY_ENOMEM;
    struct segment *segment = sendq__extend(queue, pools, len, unit);
    if (!segment) return SALLY_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        const unsigned char *from = spans[i].data;
        for (size_t left = spans[i].len; left;) {
            size_t filled = segment_fill(segment, from, left);
            from += filled;
            left -= filled;
            if (left) segment = segment->next;
        }
    }
    queue->bytes += (uint32_t)len;
    return 0;
}

struct segment *sendq_reserve(struct sendq *queue, struct sendq_pools *pools)
{
    struct segment *tail = queue->tail;
    uint32_t room = sendq__room(tail);
    if (room && room >= tail->bytes_max / 4) return tail;
    return chain_take(&pools->chunks, 1);
}

void sendq_commit(struct sendq *queue, struct sendq_pools *pools, struct segment *segment,
                  uint32_t n)
{
    assert(n <= sendq__room(segment) && n <= UINT32_MAX - queue->bytes);
    if (n && !segment->bytes) sendq__link(queue, segment, segment);
    if (!n && !segment->bytes) pool_give(&pools->chunks, segment);
    if (!n) return;
    assert(queue->tail == segment);
    segment->bytes += n;
    queue->bytes += n;
}

/* ---- Room for what is not known yet ---- */

int sendq_room_take(const struct sendq *queue, struct sendq_pools *pools, size_t bytes,
                    struct sendq_room *room)
{
    uint32_t left = sendq__room(queue->tail);
    room->spare = NULL;
    if (bytes > UINT32_MAX - queue->bytes) return SALLY_ENOMEM;
    if (bytes <= left) return 0;
    room->spare = chain_take(&pools->chunks, bytes - left);
    return room->spare ? 0 : SALLY_ENOMEM;
}

unsigned char *sendq_room_next(const struct sendq *queue, const struct sendq_room *room,
                               uint32_t *bytes)
{
    struct segment *segment = sendq__room(queue->tail) ? queue->tail : room->spare;
    *bytes = 0;
    return segment ? segment_room(segment, bytes) : NULL;
}

void sendq_room_made(struct sendq *queue, struct sendq_room *room, uint32_t n)
{
    if (!n) return;
    if (!sendq__room(queue->tail)) {
        struct segment *segment = room->spare;
        room->spare = segment->next;
        segment->next = NULL;
        sendq__link(queue, segment, segment);
    }
    assert(n <= sendq__room(queue->tail) && n <= UINT32_MAX - queue->bytes);
    queue->tail->bytes += n;
    queue->bytes += n;
}

void sendq_room_drop(struct sendq_pools *pools, struct sendq_room *room)
{
    chain_give(&pools->chunks, room->spare);
    room->spare = NULL;
}

int sendq_refer(struct sendq *queue, struct sendq_pools *pools, const void *data, size_t len,
                sendq_release *release, void *owner, uint64_t token)
{
    assert(len > 0);
    if (len > UINT32_MAX - queue->bytes) return SALLY_ENOMEM;
    struct reference *reference = pool_take(&pools->refs);
    if (!reference) return SALLY_ENOMEM;
    *reference = (struct reference){.segment = {.data = data, .bytes = (uint32_t)len, .unit = true},
                                    .release = release,
                                    .owner = owner,
                                    .token = token};
    sendq__link(queue, &reference->segment, &reference->segment);
    queue->bytes += (uint32_t)len;
    return 0;
}

/* ---- Sending ---- */

unsigned sendq_gather_slow(const struct sendq *queue, struct span *spans, unsigned max)
{
    unsigned count = 0;
    uint32_t skip = queue->front;
    for (const struct segment *segment = queue->head; segment && segment->data && count < max;
         segment = segment->next) {
        spans[count++] = (struct span){segment->data + skip, segment->bytes - skip};
        skip = 0;
    }
    return count;
}

/* The head has left the queue already: `release` may append to it. */
static void segment_drop(struct segment *segment, struct sendq_pools *pools)
{
    if (segment->bytes_max) {
        pool_give(&pools->chunks, segment);
        return;
    }
    struct reference reference = *(struct reference *)segment;
    pool_give(&pools->refs, segment);
    if (reference.release)
        reference.release(reference.owner, reference.segment.data, reference.token);
}

void sendq_consume_slow(struct sendq *queue, struct sendq_pools *pools, size_t n)
{
    assert(n <= queue->bytes);
    while (n) {
        struct segment *head = queue->head;
        uint32_t left = head->bytes - queue->front;
        if (n < left) {
            queue->front += (uint32_t)n;
            queue->bytes -= (uint32_t)n;
            return;
        }
        n -= left;
        queue->bytes -= left;
        queue->front = 0;
        queue->head = head->next;
        if (!queue->head) queue->tail = NULL;
        segment_drop(head, pools);
    }
}

/* Where the unit begins; `before` gets what is in front. */
static struct segment **sendq__unit(struct sendq *queue, unsigned kept, struct segment **previous,
                                    uint32_t *before)
{
    struct segment **link = &queue->head;
    uint32_t skip = queue->front;
    *previous = NULL;
    *before = 0;
    for (unsigned at = 0; *link && (at < kept || !(*link)->unit); at++) {
        *before += (*link)->bytes - skip;
        skip = 0;
        *previous = *link;
        link = &(*link)->next;
    }
    return link;
}

uint32_t sendq_drop_unit(struct sendq *queue, struct sendq_pools *pools, unsigned kept,
                         uint32_t *before)
{
    assert(kept || !queue->front);
    struct segment *previous;
    struct segment **link = sendq__unit(queue, kept, &previous, before), *segment = *link;
    uint32_t dropped = 0;
    for (struct segment *next; segment && (!dropped || !segment->unit); segment = next) {
        next = segment->next;
        dropped += segment->bytes;
        *link = next;
        if (!next) queue->tail = previous;
        queue->bytes -= segment->bytes;
        segment_drop(segment, pools);
    }
    return dropped;
}

void sendq_clear(struct sendq *queue, struct sendq_pools *pools)
{
    sendq_consume(queue, pools, queue->bytes);
}
