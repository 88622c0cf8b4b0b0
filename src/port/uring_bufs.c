/* Receive buffers: one block for a port, lent one by one. With a buffer ring the kernel takes the
 * next one when bytes are there, so idle connections hold none; without, the port takes one from a
 * stack when a connection is readable.
 *
 * A buffer is free (the kernel's or the stack's) or lent; giving one back twice, or lending one
 * twice, would show one connection another's bytes, so each step checks the state: the owner's
 * mistakes with asserts, the kernel's with errors. The ring has twice as many places as there are
 * buffers, so that the order in which the kernel took them can be read after some were put back.
 *
 * Buffers of one bundle that lie side by side are lent as one run: a large message is then one
 * event, one reference and one span instead of sixteen. So that they do lie side by side, those
 * that were given back since the last time go into the ring in the order of memory.
 * The owning thread. */
#include <errno.h>
#include <string.h>

#include "port/uring.h"
#include "sallyport/error.h"

enum {
    PAGE = 4096,
    BUFS_MAX = 1 << 14,
    BUF_BYTES_MAX = 1 << 24,
    /* A bundle fills as many buffers as it needs, so they are small; one alone must hold a message.
     */
    BUNDLE_BYTES = 4096,
    BUNDLE_BUFS = 256,
    SINGLE_BYTES = 16384,
    SINGLE_BUFS = 64,
    RUN_BYTES = 65536, /* as much as the epoll port reads at once */
    WORD_BITS = 64,
};

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

static uint32_t places_for(uint32_t count)
{
    uint32_t places = 2;
    while (places < 2 * count) places *= 2;
    return places;
}

static uint32_t words_for(uint32_t count) { return (count + WORD_BITS - 1) / WORD_BITS; }

/* Cuts the block up: ring, buffers, tables. Everything before the tables is whole pages. */
static void bufs_lay_out(struct uring_bufs *bufs, bool ring, uint32_t places, size_t ring_bytes,
                         size_t data_bytes)
{
    uintptr_t start = round_up((uintptr_t)bufs->block, PAGE);
    unsigned char *at = (unsigned char *)bufs->block + (start - (uintptr_t)bufs->block);
    if (ring) bufs->ring = (struct io_uring_buf_ring *)(void *)at;
    bufs->data = at + ring_bytes;
    bufs->back = (uint64_t *)(void *)(bufs->data + data_bytes);
    bufs->order = (uint16_t *)(void *)(bufs->back + words_for(bufs->count));
    bufs->place = bufs->order + places;
    bufs->run = bufs->place + bufs->count;
    bufs->state = (uint8_t *)(bufs->run + bufs->count);
    bufs->mask = places - 1;
}

int uring_bufs_create(struct uring *uring, uint32_t bytes, uint32_t count)
{
    struct uring_bufs *bufs = &uring->bufs;
    bool bundles = uring_has(uring, PORT_NO_BUNDLES);
    bool ring = uring_has(uring, PORT_NO_BUF_RING);
    bufs->bytes = bytes ? bytes : bundles ? BUNDLE_BYTES : SINGLE_BYTES;
    bufs->count = count ? count : bundles ? BUNDLE_BUFS : SINGLE_BUFS;
    if (bufs->bytes > BUF_BYTES_MAX || bufs->count > BUFS_MAX) return SALLY_EINVAL;
    uint32_t places = places_for(bufs->count);
    size_t ring_bytes = ring ? round_up(places * sizeof(struct io_uring_buf), PAGE) : 0;
    size_t data_bytes = round_up((size_t)bufs->bytes * bufs->count, PAGE);
    size_t table_bytes = words_for(bufs->count) * sizeof *bufs->back +
                         places * sizeof *bufs->order +
                         bufs->count * (sizeof *bufs->place + sizeof *bufs->run + 1);
    bufs->block_bytes = PAGE + ring_bytes + data_bytes + table_bytes;
    bufs->block = mem_alloc(uring->port.mem, bufs->block_bytes);
    if (!bufs->block) return SALLY_ENOMEM;
    bufs_lay_out(bufs, ring, places, ring_bytes, data_bytes);
    memset(bufs->state, URING_BUF_FREE, bufs->count);
    memset(bufs->run, 0, bufs->count * sizeof *bufs->run);
    memset(bufs->back, 0, words_for(bufs->count) * sizeof *bufs->back);
    bufs->back_low = words_for(bufs->count);
    bufs->run_max = bufs->bytes < RUN_BYTES ? RUN_BYTES / bufs->bytes : 1;
    bufs->ration = bufs->bytes < RUN_BYTES ? RUN_BYTES : bufs->bytes;
    ASAN_POISON_MEMORY_REGION(bufs->data, (size_t)bufs->bytes * bufs->count);
    uring->port.bufs_total = bufs->count;
    if (!ring)
        while (bufs->free < bufs->count) {
            bufs->order[bufs->free] = (uint16_t)bufs->free;
            bufs->free++;
        }
    return 0;
}

void uring_bufs_free(struct uring *uring)
{
    struct uring_bufs *bufs = &uring->bufs;
    if (!bufs->block) return;
    ASAN_UNPOISON_MEMORY_REGION(bufs->data, (size_t)bufs->bytes * bufs->count);
    mem_free(uring->port.mem, bufs->block, bufs->block_bytes);
    bufs->block = NULL;
}

/* At the ring's end; the kernel sees it when it is published. */
static inline void ring_put(struct uring_bufs *bufs, uint32_t buf)
{
    uint16_t place = (uint16_t)((bufs->ring->tail + bufs->pending) & bufs->mask);
    struct io_uring_buf *entry = &bufs->ring->bufs[place];
    entry->addr = (uint64_t)(uintptr_t)uring_bufs_at(bufs, buf);
    entry->len = bufs->bytes;
    entry->bid = (uint16_t)buf;
    bufs->order[place] = (uint16_t)buf;
    bufs->place[buf] = place;
    bufs->pending++;
}

int uring_bufs_register(struct uring *uring)
{
    struct uring_bufs *bufs = &uring->bufs;
    if (!bufs->ring) return 0;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)bufs->ring,
                                   .ring_entries = bufs->mask + 1};
    bufs->ring->tail = 0;
    int rc = io_uring_register_buf_ring(&uring->ring, &reg, 0);
    if (rc) return rc;
    for (uint32_t buf = 0; buf < bufs->count; buf++) ring_put(bufs, buf);
    uring_bufs_publish(uring);
    return 0;
}

void uring_bufs_unregister(struct uring *uring)
{
    if (!uring->bufs.ring) return;
    (void)io_uring_unregister_buf_ring(&uring->ring, 0);
    uring->bufs.ring = NULL;
}

/* In the order of memory, whatever the order in which they came back. */
static void ring_put_back(struct uring_bufs *bufs)
{
    for (uint32_t word = bufs->back_low; word < bufs->back_high; word++) {
        uint64_t bits = bufs->back[word];
        bufs->back[word] = 0;
        for (; bits; bits &= bits - 1) {
            uint32_t buf = word * WORD_BITS + (uint32_t)__builtin_ctzll(bits);
            bufs->state[buf] = URING_BUF_FREE;
            ring_put(bufs, buf);
        }
    }
    bufs->back_low = words_for(bufs->count);
    bufs->back_high = 0;
}

void uring_bufs_publish(struct uring *uring)
{
    struct uring_bufs *bufs = &uring->bufs;
    if (bufs->back_high) ring_put_back(bufs);
    if (!bufs->pending) return;
    io_uring_buf_ring_advance(bufs->ring, (int)bufs->pending);
    bufs->pending = 0;
}

uint32_t uring_bufs_ready(const struct uring *uring)
{
    return uring->bufs.count - uring->port.bufs_lent - uring->bufs.lost;
}

/* The entry's length is read back: the kernel shortens it to what it meant to receive. 0: the
 * buffer isn't there to be lent. */
static inline uint32_t place_lend(struct uring *uring, uint16_t place)
{
    struct uring_bufs *bufs = &uring->bufs;
    uint32_t buf = bufs->order[place], bytes = bufs->ring->bufs[place].len;
    if (!uring_bufs_known(uring, buf) || bufs->place[buf] != place) return 0;
    if (bufs->state[buf] == URING_BUF_LOST) bufs->lost--;
    (void)uring_buf_lend(uring, buf);
    return bytes == 0 || bytes > bufs->bytes ? bufs->bytes : bytes;
}

/* The buffers behind a full one, as far as they lie behind it in memory too; how many there are
 * then. */
static uint32_t run_lend(struct uring *uring, uint16_t place, uint32_t buf, uint32_t *bytes)
{
    struct uring_bufs *bufs = &uring->bufs;
    uint32_t got = bufs->bytes, count = 1;
    while (got < *bytes && count < bufs->run_max) {
        uint16_t at = (uint16_t)(place + count) & (uint16_t)bufs->mask;
        uint32_t more = bufs->order[at] == buf + count ? place_lend(uring, at) : 0;
        if (!more) break;
        got += more;
        count++;
        if (more < bufs->bytes) break;
    }
    if (got < *bytes) *bytes = got;
    bufs->run[buf] = (uint16_t)(count - 1);
    return count;
}

uint32_t uring_bufs_lend(struct uring *uring, uint16_t place, uint32_t *buf, uint32_t *bytes)
{
    struct uring_bufs *bufs = &uring->bufs;
    uint16_t at = place & (uint16_t)bufs->mask;
    *buf = bufs->order[at];
    uint32_t count = 1, first = place_lend(uring, at);
    if (!first) return 0;
    if (*bytes > first) {
        if (first == bufs->bytes)
            count = run_lend(uring, at, *buf, bytes);
        else
            *bytes = first;
    }
    return count;
}

unsigned char *uring_bufs_pop(struct uring *uring, uint32_t *buf)
{
    struct uring_bufs *bufs = &uring->bufs;
    if (bufs->free == 0) return NULL;
    *buf = bufs->order[--bufs->free];
    return uring_buf_lend(uring, *buf);
}

static inline void buf_back(struct uring *uring, uint32_t buf)
{
    struct uring_bufs *bufs = &uring->bufs;
    assert(bufs->state[buf] == URING_BUF_LENT);
    ASAN_POISON_MEMORY_REGION(uring_bufs_at(bufs, buf), bufs->bytes);
    uring->port.bufs_lent--;
    if (bufs->ring && (bufs->pending || bufs->back_high)) {
        uint32_t word = buf / WORD_BITS;
        bufs->state[buf] = URING_BUF_BACK;
        bufs->back[word] |= 1ull << buf % WORD_BITS;
        if (word < bufs->back_low) bufs->back_low = word;
        if (word >= bufs->back_high) bufs->back_high = word + 1;
        return;
    }
    bufs->state[buf] = URING_BUF_FREE;
    if (bufs->ring)
        ring_put(bufs, buf); /* the first, and mostly the only one: nothing to put in order */
    else
        bufs->order[bufs->free++] = (uint16_t)buf;
}

void uring_bufs_release(struct port *port, uint32_t buf, const void *data)
{
    struct uring *uring = uring_of(port);
    struct uring_bufs *bufs = &uring->bufs;
    uring_assert_owner(uring);
    assert(buf < bufs->count && data == uring_bufs_at(bufs, buf));
    (void)data;
    uint32_t more = bufs->run[buf];
    bufs->run[buf] = 0;
    for (buf_back(uring, buf); more; more--) buf_back(uring, ++buf);
}

/* Kernels have named a buffer that they had not taken. Put back while it is still in the ring it
 * would be there twice; so the kernel is asked. One that it may have taken is set aside until a
 * completion with bytes names it: a buffer fewer is better than one with two owners. Kernels
 * before 6.8 can't be asked, and named none wrongly. */
void uring_bufs_unused(struct uring *uring, uint32_t buf)
{
    struct uring_bufs *bufs = &uring->bufs;
    uring->port.counters.stray_events++;
    if (!uring_bufs_known(uring, buf) || bufs->state[buf] == URING_BUF_LOST) return;
    struct uring_buf_status status = {0};
    int rc =
        io_uring_register((unsigned)uring->ring.ring_fd, URING_REGISTER_PBUF_STATUS, &status, 1);
    if (rc < 0) {
        ring_put(bufs, buf);
        return;
    }
    uint32_t from_head = (bufs->place[buf] - status.head) & bufs->mask;
    uint32_t waiting = ((uint32_t)bufs->ring->tail + bufs->pending - status.head) & bufs->mask;
    if (from_head < waiting) return;
    bufs->state[buf] = URING_BUF_LOST;
    bufs->lost++;
}
