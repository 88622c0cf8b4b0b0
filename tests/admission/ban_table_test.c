/* The table of bans against a list that is searched line by line, and what a look-up costs in words
 * and places looked at: a number that no busy machine changes. */
#include "admission/ban_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "os/address.h"
#include "sallyport/error.h"
#include "support/long.h"
#include "support/lot.h"

enum { SEEDS = 40, STEPS = 1500, MODEL_MAX = 200 };

static const struct hash_seed secret = {3, 4};
static struct mem mem;

static struct ban_table *begin(uint32_t bans_max)
{
    struct ban_table *table;
    mem_init(&mem);
    assert_int_equal(ban_table_create(&table, &mem, bans_max, secret), 0);
    return table;
}

static void end(struct ban_table *table)
{
    ban_table_check(table);
    ban_table_destroy(table);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void put(struct ban_table *table, const struct cidr *cidr, uint64_t until_ms)
{
    if (!ban_table_get(table, cidr)) assert_int_equal(ban_table_room(table), 0);
    ban_reason_free(&mem, ban_table_add(table, cidr, until_ms, NULL));
}

static void add(struct ban_table *table, const char *text, uint64_t until_ms)
{
    struct cidr cidr;
    assert_int_equal(cidr_parse(&cidr, text, NULL), 0);
    put(table, &cidr, until_ms);
}

static const char *found(struct ban_table *table, const char *text, uint64_t now_ms)
{
    static char network[CIDR_TEXT_MAX];
    struct addr addr;
    assert_int_equal(address_parse_ip(&addr, text), 0);
    struct ban *ban = ban_table_find(table, &addr, now_ms, NULL);
    if (!ban) return "none";
    struct cidr cidr = ban_cidr(ban);
    return cidr_format(&cidr, network, sizeof network);
}

static void the_longest_that_holds_and_is_not_over_is_found(void **state)
{
    (void)state;
    struct ban_table *table = begin(100);
    assert_string_equal(found(table, "10.0.0.1", 0), "none");
    add(table, "10.0.0.0/8", BAN_NEVER);
    add(table, "10.1.0.0/16", 100);
    add(table, "10.1.2.3", 50);
    add(table, "2001:db8::/32", BAN_NEVER);
    add(table, "2001:db8:1::/48", 70);
    add(table, "2001:db8:1:0:8000::/65", 60);
    assert_string_equal(found(table, "10.1.2.3", 49), "10.1.2.3");
    assert_string_equal(found(table, "10.1.2.3", 50), "10.1.0.0/16");
    assert_string_equal(found(table, "10.1.2.4", 0), "10.1.0.0/16");
    assert_string_equal(found(table, "10.1.2.3", 100), "10.0.0.0/8");
    assert_string_equal(found(table, "11.0.0.0", 0), "none");
    assert_string_equal(found(table, "::ffff:10.9.9.9", 0), "10.0.0.0/8");
    assert_string_equal(found(table, "2001:db8:1:0:8000::1", 0), "2001:db8:1:0:8000::/65");
    assert_string_equal(found(table, "2001:db8:1:0:7fff::1", 0), "2001:db8:1::/48");
    assert_string_equal(found(table, "2001:db8:1::1", 70), "2001:db8::/32");
    assert_string_equal(found(table, "2001:db9::", 0), "none");
    end(table);
}

static void all_of_a_family_can_be_banned(void **state)
{
    (void)state;
    struct ban_table *table = begin(100);
    add(table, "0.0.0.0/0", BAN_NEVER);
    assert_string_equal(found(table, "255.255.255.255", 0), "0.0.0.0/0");
    assert_string_equal(found(table, "::1", 0), "none");
    add(table, "::/0", BAN_NEVER);
    assert_string_equal(found(table, "::1", 0), "::/0");
    end(table);
}

static void one_more_than_the_maximum_is_refused_until_one_goes(void **state)
{
    (void)state;
    struct ban_table *table = begin(3);
    struct cidr cidr;
    uint32_t at = 0;
    add(table, "10.0.0.1", 5);
    add(table, "10.0.0.2", 6);
    add(table, "10.0.0.3", BAN_NEVER);
    assert_int_equal(ban_table_room(table), SALLY_ELIMIT);
    add(table, "10.0.0.3", 7); /* it is there */
    assert_true(ban_table_sweep(table, 6, &at, 100));
    assert_int_equal(table->count, 1);
    assert_int_equal(ban_table_room(table), 0);
    assert_int_equal(cidr_parse(&cidr, "10.0.0.1", NULL), 0);
    assert_false(ban_table_remove(table, &cidr));
    add(table, "10.0.0.1", BAN_NEVER);
    assert_true(ban_table_remove(table, &cidr));
    assert_false(ban_table_remove(table, &cidr));
    end(table);
}

/* Sweeping in pieces ends, and finds all. */
static void a_sweep_in_pieces_is_a_sweep(void **state)
{
    (void)state;
    struct ban_table *table = begin(5000);
    for (uint32_t n = 0; n < 3000; n++) {
        struct addr addr = {.family = ADDR_V4, .ip = {10, 1, (uint8_t)(n >> 8), (uint8_t)n}};
        struct cidr cidr = cidr_around(&addr, 32);
        put(table, &cidr, n % 3 ? 10 : 20);
    }
    uint32_t at = 0, pieces = 0;
    while (!ban_table_sweep(table, 10, &at, 100)) pieces++;
    assert_int_equal(pieces, 29);
    assert_int_equal(table->count, 1000);
    end(table);
}

static void what_was_prepared_is_right_after_removals(void **state)
{
    (void)state;
    struct ban_table *table = begin(1000);
    struct cidr first;
    char text[32];
    assert_int_equal(cidr_parse(&first, "10.0.0.0", NULL), 0);
    for (int n = 0; n < 31; n++) {
        snprintf(text, sizeof text, "10.0.0.%d", n);
        add(table, text, BAN_NEVER);
    }
    assert_int_equal(ban_table_room(table), 0);
    add(table, "10.0.0.1", 7); /* replaces: nothing new */
    assert_true(ban_table_remove(table, &first));
    for (int n = 40; n < 200; n++) {
        snprintf(text, sizeof text, "10.0.0.%d", n);
        add(table, text, BAN_NEVER);
    }
    assert_string_equal(found(table, "10.0.0.0", 0), "none");
    end(table);
}

static void reasons_are_what_fits_on_a_line(void **state)
{
    (void)state;
    char text[BAN_REASON_MAX + 2];
    memset(text, 'x', sizeof text);
    text[BAN_REASON_MAX] = 0;
    assert_true(ban_reason_is_valid(text));
    text[BAN_REASON_MAX] = 'x';
    text[BAN_REASON_MAX + 1] = 0;
    assert_false(ban_reason_is_valid(text));
    assert_true(ban_reason_is_valid(""));
    assert_true(ban_reason_is_valid("zu oft \xc3\xbc"
                                    "ber die Grenze"));
    static const char *const wrong[] = {" x", "x ", "a\nb", "a\tb", "a\x1b[31mb", "\x7f"};
    for (int i = 0; i < 6; i++) assert_false(ban_reason_is_valid(wrong[i]));
}

/* ---- Against a list ---- */

struct model {
    struct cidr cidr;
    uint64_t until_ms;
};

/* Few bits are in play, so that networks nest and collide. */
static struct cidr model_cidr(uint64_t *lot)
{
    struct addr addr = {.family = lot_draw(lot) % 2 ? ADDR_V4 : ADDR_V6};
    unsigned most = cidr_bits_of(addr.family), bytes = most / 8;
    for (unsigned i = 0; i < bytes; i++) addr.ip[i] = (uint8_t)(lot_draw(lot) % 3 ? 0 : 0x81);
    return cidr_around(&addr, (unsigned)(lot_draw(lot) % (most + 1)));
}

static const struct model *model_find(const struct model *list, int count, const struct addr *addr,
                                      uint64_t now_ms)
{
    const struct model *best = NULL;
    for (int i = 0; i < count; i++)
        if (list[i].until_ms > now_ms && cidr_covers(&list[i].cidr, addr) &&
            (!best || list[i].cidr.bits > best->cidr.bits))
            best = &list[i];
    return best;
}

static void model_run(uint64_t seed)
{
    static struct model list[MODEL_MAX];
    uint64_t lot = seed * 31337, now_ms = 0;
    int count = 0;
    struct ban_table *table = begin(MODEL_MAX);
    for (int step = 0; step < STEPS; step++) {
        struct cidr cidr = model_cidr(&lot);
        int at = 0;
        now_ms += lot_draw(&lot) % 3;
        while (at < count && !cidr_equal(&list[at].cidr, &cidr)) at++;
        if (lot_draw(&lot) % 3 == 0) {
            assert_int_equal(ban_table_remove(table, &cidr), at < count);
            if (at < count) list[at] = list[--count];
        } else if (at < count || count < MODEL_MAX) {
            uint64_t until_ms = lot_draw(&lot) % 4 ? now_ms + lot_draw(&lot) % 300 : BAN_NEVER;
            put(table, &cidr, until_ms);
            if (at == count) count++;
            list[at] = (struct model){cidr, until_ms};
        }
        struct cidr probe = model_cidr(&lot);
        struct addr addr = {.family = probe.family};
        memcpy(addr.ip, probe.ip, sizeof addr.ip);
        const struct model *wanted = model_find(list, count, &addr, now_ms);
        struct ban *ban = ban_table_find(table, &addr, now_ms, NULL);
        struct cidr got = ban ? ban_cidr(ban) : (struct cidr){.family = ADDR_NONE};
        if ((wanted != NULL) != (ban != NULL) || (wanted && !cidr_equal(&wanted->cidr, &got)))
            fail_msg("seed %llu, step %d", (unsigned long long)seed, step);
        if (step % 100 == 0) ban_table_check(table);
    }
    assert_int_equal(table->count, count);
    end(table);
}

static void it_finds_what_the_list_finds(void **state)
{
    (void)state;
    seeds_run(SEEDS, 20, model_run);
}

/* ---- What it costs ---- */

static const unsigned lengths[] = {32, 24, 64, 48};

static struct addr any_addr(uint64_t *lot, unsigned n)
{
    struct addr addr = {.family = n % 4 < 2 ? ADDR_V4 : ADDR_V6};
    for (int i = 0; i < 16; i++) addr.ip[i] = (uint8_t)lot_draw(lot);
    return addr;
}

struct cost {
    double mean;
    uint32_t most;
};

/* Of addresses in no network, or in one of those that `lot` has drawn first. */
static struct cost cost_of(const struct ban_table *table, uint64_t lot, bool banned)
{
    enum { LOOKS = 50000 };
    struct cost cost = {0};
    uint64_t sum = 0;
    if (!banned) lot = ~lot;
    for (unsigned n = 0; n < LOOKS; n++) {
        struct addr addr = any_addr(&lot, n);
        uint32_t steps = 0;
        struct ban *ban = ban_table_find(table, &addr, 0, &steps);
        if (banned) assert_non_null(ban);
        sum += steps;
        if (steps > cost.most) cost.most = steps;
    }
    cost.mean = (double)sum / LOOKS;
    return cost;
}

static struct ban_table *filled(uint32_t bans, uint64_t lot)
{
    struct ban_table *table = begin(bans);
    for (unsigned n = 0; table->count < bans; n++) {
        struct addr addr = any_addr(&lot, n);
        struct cidr cidr = cidr_around(&addr, lengths[n % 4]);
        put(table, &cidr, BAN_NEVER);
    }
    return table;
}

/* Two lengths a family: two words of the filter, which are all that an innocent one looks at, but
 * for a few in a thousand. A banned one looks at one or two words and at one and a half places
 * (half of them are empty at least: Knuth, volume 3, 6.4). However many bans there are. */
static void a_look_up_costs_what_the_lengths_cost_and_not_what_the_bans_do(void **state)
{
    (void)state;
    static const uint32_t counts[] = {50000, 65536, 1000000};
    for (int i = 0; i < (long_form() ? 3 : 2); i++) {
        uint64_t lot = counts[i];
        struct ban_table *table = filled(counts[i], lot);
        struct cost innocent = cost_of(table, lot, false), banned = cost_of(table, lot, true);
        print_message("%u bans: innocent %.3f, at most %u; banned %.2f, at most %u\n", counts[i],
                      innocent.mean, innocent.most, banned.mean, banned.most);
        assert_true(innocent.mean >= 2 && innocent.mean < 2.06);
        assert_true(banned.mean >= 2.5 && banned.mean < 3.2);
        assert_true(innocent.most < 100 && banned.most < 100);
        /* what ban_table.h says; a chunk more, and the pointers to chunks */
        assert_true(mem_in_use(&mem) <= (48u + 20) * counts[i] + 100 * 1024);
        end(table);
    }
}

/* All bits of an address count for its place: whoever has a /64 can't make them all meet in one. */
static void neighbours_are_not_in_each_others_way(void **state)
{
    (void)state;
    struct ban_table *table = begin(20000);
    uint32_t most = 0;
    for (uint32_t n = 0; n < 20000; n++) {
        struct addr addr = {.family = ADDR_V6,
                            .ip = {0x20, 1, [14] = (uint8_t)(n >> 8), (uint8_t)n}};
        struct cidr cidr = cidr_around(&addr, 128);
        put(table, &cidr, BAN_NEVER);
    }
    for (uint32_t n = 0; n < 65536; n++) {
        struct addr addr = {.family = ADDR_V6,
                            .ip = {0x20, 1, [14] = (uint8_t)(n >> 8), (uint8_t)n}};
        uint32_t steps = 0;
        assert_int_equal(ban_table_find(table, &addr, 0, &steps) != NULL, n < 20000);
        if (steps > most) most = steps;
    }
    assert_true(most < 100);
    end(table);
}

/* What has gone leaves its bits in the filter: not for ever. */
static void a_list_that_changes_for_ever_costs_no_more(void **state)
{
    (void)state;
    enum { LIVE = 2000, CHANGES = 100000 };
    static struct cidr live[LIVE];
    uint64_t lot = 7;
    struct ban_table *table = begin(LIVE);
    for (unsigned n = 0; n < CHANGES;) {
        struct addr addr = any_addr(&lot, n);
        struct cidr cidr = cidr_around(&addr, lengths[n % 4]);
        if (ban_table_get(table, &cidr)) continue;
        if (n >= LIVE) assert_true(ban_table_remove(table, &live[n % LIVE]));
        put(table, &cidr, BAN_NEVER);
        live[n++ % LIVE] = cidr;
        assert_true(table->index.added <= table->index.places);
    }
    assert_int_equal(table->count, LIVE);
    assert_true(table->index.places <= 4 * LIVE);
    struct cost innocent = cost_of(table, lot, false);
    print_message("after %u changes: %.3f, at most %u\n", CHANGES, innocent.mean, innocent.most);
    assert_true(innocent.mean < 2.3);
    end(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_that_holds_and_is_not_over_is_found),
        cmocka_unit_test(all_of_a_family_can_be_banned),
        cmocka_unit_test(one_more_than_the_maximum_is_refused_until_one_goes),
        cmocka_unit_test(a_sweep_in_pieces_is_a_sweep),
        cmocka_unit_test(what_was_prepared_is_right_after_removals),
        cmocka_unit_test(reasons_are_what_fits_on_a_line),
        cmocka_unit_test(it_finds_what_the_list_finds),
        cmocka_unit_test(a_look_up_costs_what_the_lengths_cost_and_not_what_the_bans_do),
        cmocka_unit_test(neighbours_are_not_in_each_others_way),
        cmocka_unit_test(a_list_that_changes_for_ever_costs_no_more),
    };
    return cmocka_run_group_tests_name("ban_table", tests, NULL, NULL);
}
