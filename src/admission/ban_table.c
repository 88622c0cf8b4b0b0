#include "admission/ban_table.h"

#include <assert.h>
#include <string.h>

#include "sallyport/error.h"

/* ---- Making ---- */

static uint32_t table__chunks_max(const struct ban_table *table)
{
    return (table->bans_max + BAN_CHUNK - 1) / BAN_CHUNK;
}

int ban_table_create(struct ban_table **out, struct mem *mem, uint32_t bans_max,
                     struct hash_seed seed)
{
    struct ban_table *table = mem_zalloc(mem, sizeof *table);
    if (!table) return SALLY_ENOMEM;
    table->mem = mem;
    table->bans_max = bans_max;
    table->seed = seed;
    table->chunk = mem_zalloc(mem, table__chunks_max(table) * sizeof *table->chunk);
    if (!table->chunk) {
        mem_free(mem, table, sizeof *table);
        return SALLY_ENOMEM;
    }
    *out = table;
    return 0;
}

void ban_table_destroy(struct ban_table *table)
{
    if (!table) return;
    struct mem *mem = table->mem;
    for (uint32_t at = 0; at < table->made; at++) {
        struct ban *ban = ban_table_at(table, at);
        if (ban) ban_reason_free(mem, ban->reason);
    }
    for (uint32_t i = 0; i < table->chunks; i++)
        mem_free(mem, table->chunk[i], BAN_CHUNK * sizeof(struct ban));
    ban_index_free(&table->index, mem);
    ban_index_free(&table->next, mem);
    ban_index_free(&table->old, mem);
    mem_free(mem, table->chunk, table__chunks_max(table) * sizeof *table->chunk);
    mem_free(mem, table, sizeof *table);
}

/* ---- Reasons ---- */

bool ban_reason_is_valid(const char *text)
{
    size_t len = strlen(text);
    if (len > BAN_REASON_MAX) return false;
    if (len && (text[0] == ' ' || text[len - 1] == ' ')) return false;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f) return false;
    return true;
}

char *ban_reason_copy(struct mem *mem, const char *text, bool *failed)
{
    *failed = false;
    if (!text || !*text) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = mem_alloc(mem, bytes);
    *failed = !copy;
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void ban_reason_free(struct mem *mem, char *reason)
{
    if (reason) mem_free(mem, reason, strlen(reason) + 1);
}

/* ---- Entries ---- */

static struct ban *table__entry(const struct ban_table *table, uint32_t at)
{
    return &table->chunk[at / BAN_CHUNK][at % BAN_CHUNK];
}

struct ban *ban_table_at(const struct ban_table *table, uint32_t at)
{
    struct ban *ban = table__entry(table, at);
    return ban->family == ADDR_NONE ? NULL : ban;
}

struct cidr ban_cidr(const struct ban *ban)
{
    struct cidr cidr = {.family = ban->family, .bits = ban->bits};
    unsigned bytes = cidr_bits_of(ban->family) / 8;
    for (unsigned i = 0; i < bytes; i++) {
        uint64_t word = i < 8 ? ban->key.high : ban->key.low;
        cidr.ip[i] = (uint8_t)(word >> (56 - i % 8 * 8));
    }
    return cidr;
}

static uint64_t table__hash(const struct ban_table *table, const struct ban *ban)
{
    return hash_network(&table->seed, ban->key, ban->family, ban->bits);
}

static bool ban_is(const struct ban *ban, struct key key, uint8_t family, unsigned bits)
{
    return ban->key.high == key.high && ban->key.low == key.low && ban->family == family &&
           ban->bits == bits;
}

/* ---- Places: linear probing ---- */

enum { NO_PLACE = UINT32_MAX };

static struct ban *table__of_place(const struct ban_table *table, uint32_t place)
{
    return table__entry(table, (place & BAN_NUMBER_MASK) - 1);
}

/* The place of that ban, or NO_PLACE. */
static uint32_t table__search(const struct ban_table *table, struct key key, uint8_t family,
                              unsigned bits, uint32_t *steps)
{
    const struct ban_index *index = &table->index;
    if (!index->places) return NO_PLACE;
    uint64_t hash = hash_network(&table->seed, key, family, bits);
    if (steps) ++*steps;
    if (!ban_index_may_have(index, hash)) return NO_PLACE;
    for (uint32_t at = ban_index_home(index, hash);; at = ban_index_next(index, at)) {
        uint32_t place = index->place[at];
        if (steps) ++*steps;
        if (!place) return NO_PLACE;
        if (!ban_index_is_like(place, hash)) continue;
        if (ban_is(table__of_place(table, place), key, family, bits)) return at;
    }
}

/* Those behind it move up as far as they may, so that no search ends too early. */
static void table__clear(struct ban_table *table, uint32_t hole)
{
    struct ban_index *index = &table->index;
    uint32_t mask = index->places - 1;
    for (uint32_t at = ban_index_next(index, hole); index->place[at];
         at = ban_index_next(index, at)) {
        const struct ban *ban = table__of_place(table, index->place[at]);
        uint32_t home = ban_index_home(index, table__hash(table, ban));
        if (((at - home) & mask) < ((at - hole) & mask)) continue; /* would be before its home */
        index->place[hole] = index->place[at];
        hole = at;
    }
    index->place[hole] = 0;
}

/* ---- Room ---- */

static void table__put_all(const struct ban_table *table, struct ban_index *index)
{
    for (uint32_t at = 0; at < table->made; at++) {
        const struct ban *ban = ban_table_at(table, at);
        if (ban) ban_index_put(index, table__hash(table, ban), at);
    }
}

/* A new index when this one is half full, or when its filter has seen too many that have gone; that
 * is after half as many changes as it has places at the earliest. */
static int table__more_places(struct ban_table *table)
{
    const struct ban_index *index = &table->index;
    uint32_t places = index->places ? index->places : BAN_INDEX_PLACES_MIN;
    if (table->next.places) return 0;
    if (index->places / 2 > table->count && index->added < index->places) return 0;
    while (places / 2 <= table->count) places *= 2;
    int err = ban_index_create(&table->next, table->mem, places);
    if (!err) table__put_all(table, &table->next);
    return err;
}

static int table__more_entries(struct ban_table *table)
{
    if (table->next_free || table->made < table->chunks * BAN_CHUNK) return 0;
    struct ban *chunk = mem_zalloc(table->mem, BAN_CHUNK * sizeof *chunk);
    if (!chunk) return SALLY_ENOMEM;
    table->chunk[table->chunks++] = chunk;
    return 0;
}

int ban_table_room(struct ban_table *table)
{
    if (table->count >= table->bans_max) return SALLY_ELIMIT;
    ban_index_free(&table->old, table->mem);
    int err = table__more_entries(table);
    return err ? err : table__more_places(table);
}

/* What is replaced is freed by the next room, or at the end: here somebody waits. */
static void table__take_places(struct ban_table *table)
{
    if (!table->next.places) return;
    assert(!table->old.places);
    table->old = table->index;
    table->index = table->next;
    table->next = (struct ban_index){.places = 0};
}

/* ---- Adding and removing ---- */

static void table__count_length(struct ban_table *table, uint8_t family, unsigned bits, int by)
{
    unsigned which = family == ADDR_V6;
    uint32_t *count = &table->of_length[which][bits];
    *count += (uint32_t)by;
    uint64_t bit = UINT64_C(1) << (bits % 64);
    if (*count)
        table->lengths[which][bits / 64] |= bit;
    else
        table->lengths[which][bits / 64] &= ~bit;
}

static uint32_t table__take_entry(struct ban_table *table)
{
    uint32_t at = table->next_free;
    if (!at) return table->made++;
    table->next_free = table__entry(table, at - 1)->next_free;
    return at - 1;
}

char *ban_table_add(struct ban_table *table, const struct cidr *cidr, uint64_t until_ms,
                    char *reason)
{
    table__take_places(table); /* first: what is prepared fits what is there now */
    struct ban *ban = ban_table_get(table, cidr);
    if (ban) {
        char *before = ban->reason;
        ban->until_ms = until_ms;
        ban->reason = reason;
        return before;
    }
    assert(table->count < table->bans_max && table->index.places / 2 > table->count);
    uint32_t at = table__take_entry(table);
    ban = table__entry(table, at);
    *ban = (struct ban){.key = key_of(cidr->family, cidr->ip),
                        .family = cidr->family,
                        .bits = cidr->bits,
                        .until_ms = until_ms,
                        .reason = reason};
    ban_index_put(&table->index, table__hash(table, ban), at);
    table__count_length(table, cidr->family, cidr->bits, 1);
    table->count++;
    return NULL;
}

static void table__drop(struct ban_table *table, uint32_t place)
{
    assert(!table->next.places); /* it would be there still */
    uint32_t at = (table->index.place[place] & BAN_NUMBER_MASK) - 1;
    struct ban *ban = table__entry(table, at);
    table__clear(table, place);
    table__count_length(table, ban->family, ban->bits, -1);
    table->count--;
    ban_reason_free(table->mem, ban->reason);
    *ban = (struct ban){.next_free = table->next_free};
    table->next_free = at + 1;
}

bool ban_table_remove(struct ban_table *table, const struct cidr *cidr)
{
    struct key key = key_of(cidr->family, cidr->ip);
    uint32_t place = table__search(table, key, cidr->family, cidr->bits, NULL);
    if (place != NO_PLACE) table__drop(table, place);
    return place != NO_PLACE;
}

bool ban_table_sweep(struct ban_table *table, uint64_t now_ms, uint32_t *at, uint32_t count)
{
    for (; count && *at < table->made; count--, ++*at) {
        struct ban *ban = ban_table_at(table, *at);
        if (!ban || !ban_is_over(ban, now_ms)) continue;
        table__drop(table, table__search(table, ban->key, ban->family, ban->bits, NULL));
    }
    return *at >= table->made;
}

/* ---- Looking ---- */

static struct ban *table__get(const struct ban_table *table, struct key key, uint8_t family,
                              unsigned bits, uint32_t *steps)
{
    uint32_t place = table__search(table, key, family, bits, steps);
    return place == NO_PLACE ? NULL : table__of_place(table, table->index.place[place]);
}

struct ban *ban_table_get(const struct ban_table *table, const struct cidr *cidr)
{
    struct key key = key_of(cidr->family, cidr->ip);
    return table__get(table, key, cidr->family, cidr->bits, NULL);
}

static struct ban *table__find_length(const struct ban_table *table, struct key key, uint8_t family,
                                      unsigned bits, uint64_t now_ms, uint32_t *steps)
{
    struct ban *ban = table__get(table, key_prefix(key, bits), family, bits, steps);
    return ban && !ban_is_over(ban, now_ms) ? ban : NULL;
}

struct ban *ban_table_find(const struct ban_table *table, const struct addr *addr, uint64_t now_ms,
                           uint32_t *steps)
{
    if (!cidr_takes(addr)) return NULL;
    struct key key = key_of(addr->family, addr->ip);
    for (int word = 2; word >= 0; word--) {
        uint64_t left = table->lengths[addr->family == ADDR_V6][word];
        while (left) {
            unsigned bit = 63 - (unsigned)__builtin_clzll(left);
            left &= ~(UINT64_C(1) << bit);
            struct ban *ban = table__find_length(table, key, addr->family,
                                                 (unsigned)word * 64 + bit, now_ms, steps);
            if (ban) return ban;
        }
    }
    return NULL;
}

/* ---- Checking ---- */

void ban_table_check(const struct ban_table *table)
{
    uint32_t used = 0, placed = 0, lengths[2][CIDR_BITS_MAX + 1] = {{0}};
    for (uint32_t at = 0; at < table->made; at++) {
        struct ban *ban = ban_table_at(table, at);
        if (!ban) continue;
        struct cidr cidr = ban_cidr(ban);
        used++;
        lengths[ban->family == ADDR_V6][ban->bits]++;
        assert(ban_table_get(table, &cidr) == ban);
    }
    for (uint32_t at = 0; at < table->index.places; at++) placed += table->index.place[at] != 0;
    assert(used == table->count && placed == table->count && used <= table->bans_max);
    assert(memcmp(lengths, table->of_length, sizeof lengths) == 0);
    for (unsigned which = 0; which < 2; which++)
        for (unsigned bits = 0; bits <= CIDR_BITS_MAX; bits++)
            assert((table->lengths[which][bits / 64] >> bits % 64 & 1) ==
                   (lengths[which][bits] != 0));
}
