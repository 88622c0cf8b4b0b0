/* Counts, rates and strikes of addresses, against a model that keeps everything and is slow. */
#include "admission/sources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/address.h"
#include "support/long.h"
#include "support/lot.h"

enum { SEEDS = 60, STEPS = 4000, LIVE_MAX = 512 };

static const struct hash_seed secret = {11, 22};
static const struct source_limits no_limits = {.live_max = UINT32_MAX, .site_max = UINT32_MAX};

static struct mem mem;

static struct addr addr_from(const char *text)
{
    struct addr addr;
    assert_int_equal(address_parse_ip(&addr, text), 0);
    return addr;
}

static void begin(struct sources *sources, uint32_t idle_max)
{
    mem_init(&mem);
    sources_init(sources, &mem, idle_max, secret);
}

static void end(struct sources *sources)
{
    sources_free(sources);
    assert_int_equal(mem_in_use(&mem), 0);
}

static uint32_t enter(struct sources *sources, const char *text, const struct source_limits *limits,
                      enum source_answer wanted)
{
    struct addr addr = addr_from(text);
    uint32_t number = 77;
    assert_int_equal(sources_enter(sources, &addr, limits, RATE_NS_PER_S, &number), wanted);
    assert_true((number != 0) == (wanted == SOURCE_IN));
    return number;
}

static uint32_t live(const struct sources *sources, const char *text)
{
    struct addr addr = addr_from(text);
    return sources_live(sources, &addr);
}

/* ---- Counts ---- */

static void so_many_of_an_address_and_no_more(void **state)
{
    (void)state;
    struct source_limits limits = {.live_max = 3, .site_max = UINT32_MAX};
    struct sources sources;
    uint32_t numbers[3];
    begin(&sources, 10);
    for (int i = 0; i < 3; i++) numbers[i] = enter(&sources, "192.0.2.1", &limits, SOURCE_IN);
    enter(&sources, "192.0.2.1", &limits, SOURCE_TOO_MANY);
    enter(&sources, "::ffff:192.0.2.1", &limits, SOURCE_TOO_MANY);
    uint32_t other = enter(&sources, "192.0.2.2", &limits, SOURCE_IN);
    sources_leave(&sources, numbers[1]);
    assert_int_equal(live(&sources, "192.0.2.1"), 2);
    numbers[1] = enter(&sources, "192.0.2.1", &limits, SOURCE_IN);
    enter(&sources, "192.0.2.1", &limits, SOURCE_TOO_MANY);
    sources_check(&sources, 4);
    for (int i = 0; i < 3; i++) sources_leave(&sources, numbers[i]);
    sources_leave(&sources, other);
    assert_int_equal(live(&sources, "192.0.2.1"), 0);
    sources_check(&sources, 0);
    end(&sources);
}

static void ipv6_is_counted_by_64_and_by_48(void **state)
{
    (void)state;
    struct source_limits limits = {.live_max = 2, .site_max = 3};
    struct sources sources;
    begin(&sources, 10);
    uint32_t first = enter(&sources, "2001:db8:1:1::1", &limits, SOURCE_IN);
    enter(&sources, "2001:db8:1:1:ffff::2", &limits, SOURCE_IN);
    enter(&sources, "2001:db8:1:1::3", &limits, SOURCE_TOO_MANY);
    enter(&sources, "2001:db8:1:2::1", &limits, SOURCE_IN);
    enter(&sources, "2001:db8:1:3::1", &limits, SOURCE_TOO_MANY); /* the site */
    enter(&sources, "2001:db8:2:3::1", &limits, SOURCE_IN);
    assert_int_equal(live(&sources, "2001:db8:1:1::9"), 2);
    assert_int_equal(live(&sources, "2001:db8:1:3::1"), 0);
    assert_int_equal(sources.live, 3);
    sources_check(&sources, 4);
    sources_leave(&sources, first);
    enter(&sources, "2001:db8:1:3::1", &limits, SOURCE_IN);
    sources_check(&sources, 4);
    end(&sources);
}

/* ---- Rates ---- */

static void a_refusal_takes_nothing_from_anybodys_rate(void **state)
{
    (void)state;
    struct source_limits limits = {.live_max = UINT32_MAX,
                                   .site_max = UINT32_MAX,
                                   .rate = rate_of(1, 2),
                                   .site_rate = rate_of(1, 3)};
    struct sources sources;
    begin(&sources, 10);
    enter(&sources, "2001:db8:1:1::1", &limits, SOURCE_IN);
    enter(&sources, "2001:db8:1:1::1", &limits, SOURCE_IN);
    for (int i = 0; i < 50; i++) enter(&sources, "2001:db8:1:1::1", &limits, SOURCE_TOO_FAST);
    enter(&sources, "2001:db8:1:2::1", &limits, SOURCE_IN); /* the site's third */
    enter(&sources, "2001:db8:1:2::1", &limits, SOURCE_TOO_FAST);
    sources_check(&sources, 3);
    end(&sources);
}

static void an_address_that_left_is_remembered_for_its_rate(void **state)
{
    (void)state;
    struct source_limits limits = {
        .live_max = UINT32_MAX, .site_max = UINT32_MAX, .rate = rate_of(1, 1)};
    struct sources sources;
    begin(&sources, 2);
    sources_leave(&sources, enter(&sources, "192.0.2.1", &limits, SOURCE_IN));
    enter(&sources, "192.0.2.1", &limits, SOURCE_TOO_FAST);
    sources_leave(&sources, enter(&sources, "192.0.2.2", &limits, SOURCE_IN));
    enter(&sources, "192.0.2.1", &limits, SOURCE_TOO_FAST);
    /* the third drives the oldest out, and only that */
    sources_leave(&sources, enter(&sources, "192.0.2.3", &limits, SOURCE_IN));
    enter(&sources, "192.0.2.3", &limits, SOURCE_TOO_FAST);
    enter(&sources, "192.0.2.2", &limits, SOURCE_TOO_FAST);
    enter(&sources, "192.0.2.1", &limits, SOURCE_IN);
    end(&sources);
}

/* ---- Full ---- */

static void ten_thousand_addresses_take_no_more_memory_than_a_thousand(void **state)
{
    (void)state;
    enum { IDLE = 500 };
    struct sources sources;
    size_t bytes = 0;
    begin(&sources, IDLE);
    for (uint32_t n = 0; n < 100000; n++) {
        struct addr addr = {.family = n % 2 ? ADDR_V4 : ADDR_V6};
        uint32_t number;
        memcpy(addr.ip, &n, sizeof n); /* another /48 each time */
        assert_int_equal(sources_enter(&sources, &addr, &no_limits, 0, &number), SOURCE_IN);
        sources_leave(&sources, number);
        if (n == 5000) bytes = mem_in_use(&mem);
        assert_true(sources.count <= IDLE);
    }
    assert_int_equal(mem_in_use(&mem), bytes);
    sources_check(&sources, 0);
    end(&sources);
}

static void who_has_a_connection_is_never_forgotten(void **state)
{
    (void)state;
    struct source_limits limits = {.live_max = 1, .site_max = UINT32_MAX};
    struct sources sources;
    begin(&sources, 0);
    uint32_t number = enter(&sources, "192.0.2.1", &limits, SOURCE_IN);
    for (uint32_t n = 1; n < 5000; n++) {
        struct addr addr = {.family = ADDR_V6};
        uint32_t other;
        memcpy(addr.ip, &n, sizeof n);
        assert_int_equal(sources_enter(&sources, &addr, &limits, 0, &other), SOURCE_IN);
        sources_leave(&sources, other);
    }
    assert_int_equal(sources.count, 1);
    enter(&sources, "192.0.2.1", &limits, SOURCE_TOO_MANY);
    sources_leave(&sources, number);
    assert_int_equal(sources.count, 0);
    end(&sources);
}

static int fail_in;
static void *failing_alloc(void *user, size_t bytes)
{
    (void)user;
    return fail_in && !--fail_in ? NULL : malloc(bytes);
}
static void plain_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(block);
}

static void without_memory_one_is_refused_and_nothing_is_counted(void **state)
{
    (void)state;
    for (int n = 1; n < 12; n++) {
        struct sources sources;
        struct addr addr = addr_from("2001:db8::1");
        uint32_t number;
        begin(&sources, 10);
        mem.alloc = failing_alloc;
        mem.free = plain_free;
        fail_in = n;
        enum source_answer answer = sources_enter(&sources, &addr, &no_limits, 0, &number);
        bool failed = fail_in == 0;
        assert_int_equal(answer, failed ? SOURCE_NO_MEMORY : SOURCE_IN);
        sources_check(&sources, failed ? 0 : 1);
        fail_in = 0;
        assert_int_equal(sources_enter(&sources, &addr, &no_limits, 0, &number), SOURCE_IN);
        sources_check(&sources, failed ? 1 : 2);
        end(&sources);
    }
}

/* ---- Strikes ---- */

static bool strike(struct sources *sources, const char *text, uint32_t weight, uint64_t now_ms,
                   uint32_t *bans)
{
    struct addr addr = addr_from(text);
    return sources_strike(sources, &addr, weight, 5, 1000, now_ms, bans);
}

static void so_many_strikes_within_the_time_are_a_ban(void **state)
{
    (void)state;
    struct sources sources;
    uint32_t bans;
    begin(&sources, 10);
    for (uint64_t t = 0; t < 4; t++) assert_false(strike(&sources, "192.0.2.1", 1, t, &bans));
    assert_false(strike(&sources, "192.0.2.2", 4, 4, &bans));
    assert_true(strike(&sources, "192.0.2.1", 1, 999, &bans));
    assert_int_equal(bans, 1);
    assert_false(strike(&sources, "192.0.2.1", 4, 1000, &bans)); /* begins anew */
    assert_true(strike(&sources, "192.0.2.1", UINT32_MAX, 1001, &bans));
    assert_int_equal(bans, 2);
    sources_check(&sources, 0);
    end(&sources);
}

static void strikes_are_over_when_the_time_is(void **state)
{
    (void)state;
    struct sources sources;
    uint32_t bans;
    begin(&sources, 10);
    assert_false(strike(&sources, "192.0.2.1", 4, 5000, &bans));
    assert_false(strike(&sources, "192.0.2.1", 4, 6000, &bans)); /* the first is 1000 ms old */
    assert_true(strike(&sources, "192.0.2.1", 1, 6999, &bans));
    assert_false(strike(&sources, "192.0.2.1", 4, 9000, &bans));
    assert_true(strike(&sources, "192.0.2.1", 1, 8999, &bans)); /* another shard's clock */
    end(&sources);
}

static void a_subscriber_of_ipv6_strikes_as_one(void **state)
{
    (void)state;
    struct sources sources;
    uint32_t bans;
    begin(&sources, 10);
    assert_false(strike(&sources, "2001:db8::1", 4, 1, &bans));
    assert_false(strike(&sources, "2001:db8:0:1::1", 4, 1, &bans));
    assert_true(strike(&sources, "2001:db8::2", 1, 1, &bans));
    end(&sources);
}

/* ---- Against the model ---- */

struct one {
    uint32_t address;
    uint32_t number;
};

/* Few addresses, so that they meet: 8 of IPv4, and 4 sites of 4 subscribers. */
static struct addr model_addr(uint32_t address)
{
    struct addr addr = {.family = ADDR_V4, .ip = {10, 0, 0, (uint8_t)address}};
    if (address < 8) return addr;
    address -= 8;
    return (struct addr){
        .family = ADDR_V6,
        .ip = {0x20, 1, 0, 0, 0, (uint8_t)(address / 4), 0, (uint8_t)(address % 4)}};
}

static void model_run(uint64_t seed)
{
    uint64_t lot = seed * 977 + 1;
    uint32_t counts[24] = {0}, sites[4] = {0}, live_count = 0;
    static struct one all[LIVE_MAX];
    struct source_limits limits = {.live_max = 1 + (uint32_t)(lot_draw(&lot) % 6),
                                   .site_max = 1 + (uint32_t)(lot_draw(&lot) % 12)};
    struct sources sources;
    begin(&sources, (uint32_t)(lot_draw(&lot) % 6));
    for (int step = 0; step < STEPS; step++) {
        if (live_count && (live_count == LIVE_MAX || lot_draw(&lot) % 2)) {
            uint32_t which = (uint32_t)(lot_draw(&lot) % live_count);
            struct one one = all[which];
            sources_leave(&sources, one.number);
            counts[one.address]--;
            if (one.address >= 8) sites[(one.address - 8) / 4]--;
            all[which] = all[--live_count];
        } else {
            uint32_t address = (uint32_t)(lot_draw(&lot) % 24), number;
            uint32_t *site = address < 8 ? NULL : &sites[(address - 8) / 4];
            struct addr addr = model_addr(address);
            bool may = counts[address] < limits.live_max && (!site || *site < limits.site_max);
            enum source_answer answer = sources_enter(&sources, &addr, &limits, 0, &number);
            if ((answer == SOURCE_IN) != may)
                fail_msg("seed %llu, step %d", (unsigned long long)seed, step);
            if (may) {
                counts[address]++;
                if (site) ++*site;
                all[live_count++] = (struct one){address, number};
            }
        }
        if (step % 64) continue;
        sources_check(&sources, live_count);
        for (uint32_t i = 0; i < 24; i++) {
            struct addr addr = model_addr(i);
            assert_int_equal(sources_live(&sources, &addr), counts[i]);
        }
    }
    while (live_count) sources_leave(&sources, all[--live_count].number);
    sources_check(&sources, 0);
    end(&sources);
}

static void counts_are_those_of_the_model(void **state)
{
    (void)state;
    seeds_run(SEEDS, 50, model_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_of_an_address_and_no_more),
        cmocka_unit_test(ipv6_is_counted_by_64_and_by_48),
        cmocka_unit_test(a_refusal_takes_nothing_from_anybodys_rate),
        cmocka_unit_test(an_address_that_left_is_remembered_for_its_rate),
        cmocka_unit_test(ten_thousand_addresses_take_no_more_memory_than_a_thousand),
        cmocka_unit_test(who_has_a_connection_is_never_forgotten),
        cmocka_unit_test(without_memory_one_is_refused_and_nothing_is_counted),
        cmocka_unit_test(so_many_strikes_within_the_time_are_a_ban),
        cmocka_unit_test(strikes_are_over_when_the_time_is),
        cmocka_unit_test(a_subscriber_of_ipv6_strikes_as_one),
        cmocka_unit_test(counts_are_those_of_the_model),
    };
    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
