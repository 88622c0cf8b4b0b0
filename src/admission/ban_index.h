/* Where in the table of bans a network's entry is: a hash table of numbers, and in front of it a
 * filter that says of nearly every network which is not banned that it isn't. The filter is what
 * an innocent address meets: an eighth of the index's size, so that it stays in the processor's
 * cache when nothing else does. It is a Bloom filter whose bits for one key are all in one word
 * (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007): one look
 * costs one cache line at most.
 *
 * Bits are never taken out of it: what was removed costs a look at the hash table, and an index
 * that has seen as many puts as it has places is replaced by its owner.
 *
 * Memory: 5 bytes a place, of which more than half are always empty. No lock. */
#ifndef ADMISSION_BAN_INDEX_H
#define ADMISSION_BAN_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

enum {
    BAN_INDEX_PLACES_MIN = 64,
    BAN_NUMBER_BITS = 23, /* of a place; the other 9 are of the hash */
    BAN_NUMBER_MASK = (1 << BAN_NUMBER_BITS) - 1
};

struct ban_index {
    uint64_t *filter; /* a word for 8 places; the block that place is in too */
    uint32_t *place;  /* 0: empty; else the entry's number + 1, and 9 bits of its hash */
    uint32_t places;  /* a power of two; 0: no index yet, all else is 0 then */
    uint32_t added;   /* puts */
};

/* Empty. SALLY_ENOMEM. */
int ban_index_create(struct ban_index *index, struct mem *mem, uint32_t places);
void ban_index_free(struct ban_index *index, struct mem *mem);

/* There is room: fewer than half of the places are taken. */
void ban_index_put(struct ban_index *index, uint64_t hash, uint32_t number);

/* A hash has its place in bits 0 to 22 (as many as are needed), the bits kept beside the number in
 * 23 to 31, the filter's word in 32 and up; its bits in that word are in 0 to 23 again, which say
 * nothing of which word it is. */
static inline uint32_t ban_index_home(const struct ban_index *index, uint64_t hash)
{
    return (uint32_t)hash & (index->places - 1);
}

static inline uint32_t ban_index_next(const struct ban_index *index, uint32_t at)
{
    return (at + 1) & (index->places - 1);
}

/* Whether a place that is not empty may be of that hash. */
static inline bool ban_index_is_like(uint32_t place, uint64_t hash)
{
    return (place ^ (uint32_t)hash) >> BAN_NUMBER_BITS == 0;
}

static inline uint32_t ban_index_word(const struct ban_index *index, uint64_t hash)
{
    return (uint32_t)(hash >> 32) & (index->places / 8 - 1);
}

static inline uint64_t ban_index_bits(uint64_t hash)
{
    return UINT64_C(1) << (hash & 63) | UINT64_C(1) << (hash >> 6 & 63) |
           UINT64_C(1) << (hash >> 12 & 63) | UINT64_C(1) << (hash >> 18 & 63);
}

/* False: it is not there. True: it may be. */
static inline bool ban_index_may_have(const struct ban_index *index, uint64_t hash)
{
    uint64_t bits = ban_index_bits(hash);
    return (index->filter[ban_index_word(index, hash)] & bits) == bits;
}

#endif
