/* See ban_index.h. */
#include "admission/ban_index.h"

#include <assert.h>

#include "sallyport/error.h"

static size_t index__bytes(uint32_t places)
{
    return places / 8 * sizeof(uint64_t) + places * sizeof(uint32_t);
}

int ban_index_create(struct ban_index *index, struct mem *mem, uint32_t places)
{
    assert(places >= BAN_INDEX_PLACES_MIN && (places & (places - 1)) == 0);
    uint64_t *block = mem_zalloc(mem, index__bytes(places));
    if (!block) return SALLY_ENOMEM;
    *index = (struct ban_index){
        .filter = block, .place = (uint32_t *)(void *)(block + places / 8), .places = places};
    return 0;
}

void ban_index_free(struct ban_index *index, struct mem *mem)
{
    if (index->places) mem_free(mem, index->filter, index__bytes(index->places));
    *index = (struct ban_index){.places = 0};
}

void ban_index_put(struct ban_index *index, uint64_t hash, uint32_t number)
{
    assert(number < BAN_NUMBER_MASK);
    uint32_t at = ban_index_home(index, hash);
    while (index->place[at]) at = ban_index_next(index, at);
    index->place[at] = ((uint32_t)hash & ~(uint32_t)BAN_NUMBER_MASK) | (number + 1);
    index->filter[ban_index_word(index, hash)] |= ban_index_bits(hash);
    index->added++;
}
