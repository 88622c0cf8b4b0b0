/* The public list of bans; see bans.h. Files are in bans_file.c. */
#include "admission/bans.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "admission/bans_inside.h"
#include "os/address.h"
#include "os/clock.h"
#include "os/random.h"

enum { BANS_MAX = 65536, SWEEP_PIECE = 1024, LOOK_PIECE = 64 };

/* ---- Making ---- */

static uint64_t machine_now(void *user)
{
    (void)user;
    return os_clock_ns() / 1000000;
}

uint64_t bans_now_ms(const sally_bans *bans) { return bans->now_ms(bans->clock_user); }

int bans_new_table(sally_bans *bans, struct ban_table **table)
{
    return ban_table_create(table, &bans->mem, bans->bans_max, bans->seed);
}

static void bans__take_options(sally_bans *bans, const sally_bans_options *options)
{
    bans->bans_max = options && options->bans_max ? options->bans_max : BANS_MAX;
    bans->now_ms = options && options->now_ms ? options->now_ms : machine_now;
    bans->clock_user = options ? options->clock_user : NULL;
    bans->own_clock = options && options->now_ms;
}

static void bans__free(sally_bans *bans)
{
    struct mem mem = bans->mem;
    ban_table_destroy(bans->table);
    os_lock_free(&bans->change);
    os_lock_free(&bans->look);
    mem.free(mem.user, bans, sizeof *bans);
}

int sally_bans_create(sally_bans **out, const sally_bans_options *options)
{
    struct mem mem;
    if (!out || (options && options->bans_max > BANS_LIMIT)) return SALLY_EINVAL;
    int err = mem_init_hooked(&mem, options ? &options->allocator : NULL);
    if (err) return err;
    sally_bans *bans = mem.alloc(mem.user, sizeof *bans);
    if (!bans) return SALLY_ENOMEM;
    memset(bans, 0, sizeof *bans);
    bans->mem = mem;
    atomic_init(&bans->refs, 1);
    os_lock_init(&bans->change);
    os_lock_init(&bans->look);
    bans__take_options(bans, options);
    os_random(&bans->seed, sizeof bans->seed);
    err = bans_new_table(bans, &bans->table);
    if (err)
        bans__free(bans);
    else
        *out = bans;
    return err;
}

sally_bans *bans_ref(sally_bans *bans)
{
    if (bans) atomic_fetch_add_explicit(&bans->refs, 1, memory_order_relaxed);
    return bans;
}

void sally_bans_destroy(sally_bans *bans)
{
    if (bans && atomic_fetch_sub_explicit(&bans->refs, 1, memory_order_acq_rel) == 1)
        bans__free(bans);
}

/* ---- Changing ---- */

/* Everybody looks at the new table; the old one is the caller's. `change` is held. */
struct ban_table *bans_swap(sally_bans *bans, struct ban_table *table)
{
    os_lock_take(&bans->look);
    struct ban_table *before = bans->table;
    bans->table = table;
    atomic_store_explicit(&bans->count, table->count, memory_order_relaxed);
    os_lock_give(&bans->look);
    return before;
}

/* In pieces, so that nobody waits for all of it. */
static void bans__sweep(sally_bans *bans, uint64_t now_ms)
{
    uint32_t at = 0;
    for (bool done = false; !done;) {
        os_lock_take(&bans->look);
        done = ban_table_sweep(bans->table, now_ms, &at, SWEEP_PIECE);
        atomic_store_explicit(&bans->count, bans->table->count, memory_order_relaxed);
        os_lock_give(&bans->look);
    }
}

/* A list that is full is searched for what is over; for bans made by strikes not again and again,
 * or an attack that fills it would have it searched for each newcomer. */
static void bans__make_room(sally_bans *bans, uint64_t now_ms, bool by_strikes)
{
    if (bans->table->count < bans->bans_max || (by_strikes && now_ms < bans->sweep_ms)) return;
    bans__sweep(bans, now_ms);
    bans->sweep_ms = now_ms + BANS_SWEEP_MS;
}

/* `change` is held. */
static int bans__put(sally_bans *bans, const struct cidr *cidr, uint64_t until_ms, char *reason)
{
    bool is_new = !ban_table_get(bans->table, cidr);
    int err = is_new ? ban_table_room(bans->table) : 0;
    if (err) return err;
    os_lock_take(&bans->look);
    char *before = ban_table_add(bans->table, cidr, until_ms, reason);
    atomic_store_explicit(&bans->count, bans->table->count, memory_order_relaxed);
    os_lock_give(&bans->look);
    ban_reason_free(&bans->mem, before);
    return 0;
}

static int bans__add(sally_bans *bans, const struct cidr *cidr, uint32_t for_s, const char *text,
                     bool by_strikes)
{
    bool failed;
    char *reason = ban_reason_copy(&bans->mem, text, &failed);
    if (failed) return SALLY_ENOMEM;
    uint64_t now_ms = bans_now_ms(bans);
    uint64_t until_ms = for_s == SALLY_FOREVER ? BAN_NEVER : now_ms + (uint64_t)for_s * 1000;
    os_lock_take(&bans->change);
    bans__make_room(bans, now_ms, by_strikes);
    struct ban *there = by_strikes ? ban_table_get(bans->table, cidr) : NULL;
    bool stays = there && there->until_ms >= until_ms;
    int err = stays ? 0 : bans__put(bans, cidr, until_ms, reason);
    os_lock_give(&bans->change);
    if (err || stays) ban_reason_free(&bans->mem, reason);
    return err;
}

int bans_add(sally_bans *bans, const struct cidr *cidr, uint32_t for_s, const char *reason)
{
    return bans__add(bans, cidr, for_s, reason, true);
}

int sally_bans_add(sally_bans *bans, const char *network, uint32_t for_s, const char *reason)
{
    struct cidr cidr;
    if (!bans || !network || !for_s || (reason && !ban_reason_is_valid(reason)))
        return SALLY_EINVAL;
    int err = cidr_parse(&cidr, network, NULL);
    return err ? err : bans__add(bans, &cidr, for_s, reason, false);
}

int sally_bans_remove(sally_bans *bans, const char *network)
{
    struct cidr cidr;
    if (!bans || !network) return SALLY_EINVAL;
    int err = cidr_parse(&cidr, network, NULL);
    if (err) return err;
    os_lock_take(&bans->change);
    os_lock_take(&bans->look);
    bool there = ban_table_remove(bans->table, &cidr);
    atomic_store_explicit(&bans->count, bans->table->count, memory_order_relaxed);
    os_lock_give(&bans->look);
    os_lock_give(&bans->change);
    return there ? 0 : SALLY_ENOENTRY;
}

/* Without memory for an empty table the old one is emptied, which takes longer. */
void sally_bans_clear(sally_bans *bans)
{
    struct ban_table *table;
    if (!bans) return;
    os_lock_take(&bans->change);
    if (bans_new_table(bans, &table) == 0)
        ban_table_destroy(bans_swap(bans, table));
    else
        bans__sweep(bans, BAN_NEVER);
    os_lock_give(&bans->change);
}

/* ---- Looking ---- */

uint32_t sally_bans_count(const sally_bans *bans)
{
    return bans ? atomic_load_explicit(&bans->count, memory_order_relaxed) : 0;
}

/* An empty list, which is what most servers have nearly always, costs no lock and no clock. */
static bool bans__find(sally_bans *bans, const struct addr *addr, uint32_t hits, sally_ban *info)
{
    if (!atomic_load_explicit(&bans->count, memory_order_relaxed)) return false;
    uint64_t now_ms = bans_now_ms(bans);
    os_lock_take(&bans->look);
    struct ban *ban = ban_table_find(bans->table, addr, now_ms, NULL);
    if (ban) ban->hits += hits;
    if (ban && info) ban_describe(ban, now_ms, info);
    os_lock_give(&bans->look);
    return ban != NULL;
}

bool bans_refuse(sally_bans *bans, const struct addr *addr)
{
    return bans__find(bans, addr, 1, NULL);
}

bool bans_hold(sally_bans *bans, const struct addr *addr)
{
    return bans__find(bans, addr, 0, NULL);
}

int sally_bans_check(sally_bans *bans, const char *text, sally_ban *info)
{
    struct addr addr;
    if (!bans || !text) return SALLY_EINVAL;
    int err = address_parse_peer(&addr, text);
    return err ? SALLY_ENETWORK : bans__find(bans, &addr, 0, info);
}

void ban_describe(const struct ban *ban, uint64_t now_ms, sally_ban *info)
{
    struct cidr cidr = ban_cidr(ban);
    uint64_t left_s = ban->until_ms > now_ms ? (ban->until_ms - now_ms + 999) / 1000 : 0;
    cidr_format(&cidr, info->network, sizeof info->network);
    info->left_s =
        ban->until_ms == BAN_NEVER || left_s > SALLY_FOREVER ? SALLY_FOREVER : (uint32_t)left_s;
    info->hits = ban->hits;
    snprintf(info->reason, sizeof info->reason, "%s", ban->reason ? ban->reason : "");
}

/* The next few from *at on; how many. */
static unsigned bans__copy(sally_bans *bans, uint32_t *at, sally_ban *infos, unsigned max)
{
    unsigned count = 0;
    uint64_t now_ms = bans_now_ms(bans);
    os_lock_take(&bans->look);
    for (; count < max && *at < bans->table->made; ++*at) {
        const struct ban *ban = ban_table_at(bans->table, *at);
        if (ban && !ban_is_over(ban, now_ms)) ban_describe(ban, now_ms, &infos[count++]);
    }
    os_lock_give(&bans->look);
    return count;
}

int sally_bans_each(sally_bans *bans, bool (*each)(const sally_ban *ban, void *arg), void *arg)
{
    sally_ban infos[LOOK_PIECE];
    uint32_t at = 0;
    if (!bans || !each) return SALLY_EINVAL;
    for (unsigned count; (count = bans__copy(bans, &at, infos, LOOK_PIECE)) > 0;)
        for (unsigned i = 0; i < count; i++)
            if (!each(&infos[i], arg)) return 0;
    return 0;
}
