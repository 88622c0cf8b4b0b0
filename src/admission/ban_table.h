/* Banned networks: which of them an address is in, the longest first. One hash table for all
 * lengths, asked once for each length that is in use, and nearly always answered by a filter in
 * front of it (ban_index.h): so a look-up costs what the number of different lengths costs, not
 * what the number of bans does. An innocent address touches one cache line for each length, a
 * banned one three more.
 *
 * No lock, no clock: bans.c has both. Looking never writes but to hits. Growing is prepared apart
 * from the rest (ban_table_room), so that who looks has to wait for a pointer only.
 *
 * Memory: at most bans_max entries of 48 bytes in chunks of 1024, 10 to 20 bytes of index for each,
 * once more of those while an index is being replaced, and the reasons. */
#ifndef ADMISSION_BAN_TABLE_H
#define ADMISSION_BAN_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission/ban_index.h"
#include "admission/cidr.h"
#include "admission/hash.h"
#include "base/mem.h"

enum { BAN_REASON_MAX = 127, BAN_CHUNK = 1024, BANS_LIMIT = 1 << 22 };
#define BAN_NEVER UINT64_MAX /* has no end */

struct ban {
    struct key key;
    uint8_t family; /* ADDR_NONE: not in use */
    uint8_t bits;
    uint32_t next_free; /* not in use: index + 1 of the next such, 0: none */
    uint64_t until_ms;  /* over from then on; BAN_NEVER */
    uint64_t hits;
    char *reason; /* NULL: none */
};

_Static_assert(sizeof(struct ban) == 48 || sizeof(void *) != 8, "said at the top");
_Static_assert((int)BANS_LIMIT < (int)BAN_NUMBER_MASK, "a place has room for the last number");

struct ban_table {
    struct mem *mem;
    struct hash_seed seed;
    uint32_t bans_max;
    uint32_t count;
    uint32_t made;      /* entries that were ever in use */
    uint32_t next_free; /* index + 1 */
    uint32_t chunks;
    struct ban **chunk; /* entries never move: BAN_CHUNK in each */
    struct ban_index index;
    struct ban_index next;  /* made by ban_table_room, not yet taken into use */
    struct ban_index old;   /* replaced, not yet freed */
    uint64_t lengths[2][3]; /* a bit for each length in use; IPv4, IPv6 */
    uint32_t of_length[2][CIDR_BITS_MAX + 1];
};

/* SALLY_ENOMEM. */
int ban_table_create(struct ban_table **table, struct mem *mem, uint32_t bans_max,
                     struct hash_seed seed);
void ban_table_destroy(struct ban_table *table);

/* Makes room for one more without disturbing who looks. The add follows: nothing is removed between
 * the two. SALLY_ELIMIT, SALLY_ENOMEM. */
int ban_table_room(struct ban_table *table);

/* There is room. Replaces time and reason of one that is there. The reason becomes the table's;
 * what it replaces is given back, to be freed by ban_reason_free. */
char *ban_table_add(struct ban_table *table, const struct cidr *cidr, uint64_t until_ms,
                    char *reason);

/* False: there is none. */
bool ban_table_remove(struct ban_table *table, const struct cidr *cidr);

/* Removes what is over among the next `count` entries from *at on; true when that was all. */
bool ban_table_sweep(struct ban_table *table, uint64_t now_ms, uint32_t *at, uint32_t count);

/* The longest network that holds the address and is not over, or NULL. `steps`, if not NULL, counts
 * the words of the filter and the places that were looked at. */
struct ban *ban_table_find(const struct ban_table *table, const struct addr *addr, uint64_t now_ms,
                           uint32_t *steps);

/* Exactly this one, over or not. */
struct ban *ban_table_get(const struct ban_table *table, const struct cidr *cidr);

/* Entry number `at`, NULL when it is not in use; numbers are below `made`. */
struct ban *ban_table_at(const struct ban_table *table, uint32_t at);

struct cidr ban_cidr(const struct ban *ban);
static inline bool ban_is_over(const struct ban *ban, uint64_t now_ms)
{
    return now_ms >= ban->until_ms;
}

/* A copy; NULL for "" and NULL; *failed without memory. */
char *ban_reason_copy(struct mem *mem, const char *text, bool *failed);
void ban_reason_free(struct mem *mem, char *reason);

/* At most BAN_REASON_MAX bytes, no control characters, no blank at either end: what can be one
 * line's end in a file. */
bool ban_reason_is_valid(const char *text);

/* Asserts every invariant; for tests. */
void ban_table_check(const struct ban_table *table);

#endif
