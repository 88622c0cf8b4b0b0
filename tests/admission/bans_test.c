/* The public list of bans: adding, expiry, files read whole or not at all, and many threads. */
#include "admission/bans.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/address.h"

/* 2026-11-21T12:00:00Z in milliseconds */
#define NOON UINT64_C(1795262400000)
static uint64_t clock_ms;

static uint64_t test_clock(void *user)
{
    (void)user;
    return clock_ms;
}

static sally_bans *begin(uint32_t bans_max)
{
    sally_bans *bans = NULL;
    clock_ms = NOON;
    sally_bans_options options = {.bans_max = bans_max, .now_ms = test_clock};
    assert_int_equal(sally_bans_create(&bans, &options), 0);
    return bans;
}

static int check(sally_bans *bans, const char *address)
{
    return sally_bans_check(bans, address, NULL);
}

/* ---- One by one ---- */

static void a_ban_holds_until_its_time_is_over(void **state)
{
    (void)state;
    sally_bans *bans = begin(0);
    sally_ban ban;
    assert_int_equal(sally_bans_add(bans, "192.0.2.0/24", 10, "too loud"), 0);
    assert_int_equal(sally_bans_add(bans, "2001:db8::/32", SALLY_FOREVER, NULL), 0);
    clock_ms += 9999;
    assert_int_equal(sally_bans_check(bans, "192.0.2.77:4711", &ban), 1);
    assert_string_equal(ban.network, "192.0.2.0/24");
    assert_string_equal(ban.reason, "too loud");
    assert_int_equal(ban.left_s, 1);
    assert_int_equal(ban.hits, 0);
    clock_ms++;
    assert_int_equal(check(bans, "192.0.2.77"), 0);
    assert_int_equal(sally_bans_check(bans, "[2001:db8::1]:80", &ban), 1);
    assert_int_equal(ban.left_s, SALLY_FOREVER);
    assert_string_equal(ban.reason, "");
    sally_bans_destroy(bans);
}

static void every_way_to_write_an_address_meets_its_ban(void **state)
{
    (void)state;
    static const char *const same[] = {"192.0.2.1", "::ffff:192.0.2.1", "0:0:0:0:0:FFFF:C000:201",
                                       "192.0.2.1:1", "[::ffff:192.0.2.1]:65535"};
    sally_bans *bans = begin(0);
    assert_int_equal(sally_bans_add(bans, "::ffff:192.0.2.1", 10, NULL), 0);
    for (int i = 0; i < 5; i++) assert_int_equal(check(bans, same[i]), 1);
    assert_int_equal(sally_bans_add(bans, "2001:DB8:0::1", 10, NULL), 0);
    assert_int_equal(check(bans, "[2001:db8::1]:9"), 1);
    assert_int_equal(check(bans, "host:80"), SALLY_ENETWORK);
    assert_int_equal(check(bans, ""), SALLY_ENETWORK);
    sally_bans_destroy(bans);
}

static void adding_again_replaces_and_keeps_hits(void **state)
{
    (void)state;
    sally_bans *bans = begin(0);
    sally_ban ban;
    struct addr addr;
    assert_int_equal(address_parse_ip(&addr, "192.0.2.1"), 0);
    assert_int_equal(sally_bans_add(bans, "192.0.2.1", 10, "one"), 0);
    assert_true(bans_refuse(bans, &addr) && bans_refuse(bans, &addr));
    assert_true(bans_hold(bans, &addr));
    assert_int_equal(sally_bans_add(bans, "192.0.2.1", 5, "two"), 0);
    assert_int_equal(sally_bans_count(bans), 1);
    assert_int_equal(sally_bans_check(bans, "192.0.2.1", &ban), 1);
    assert_int_equal(ban.hits, 2);
    assert_int_equal(ban.left_s, 5);
    assert_string_equal(ban.reason, "two");
    sally_bans_destroy(bans);
}

static void what_strikes_ban_shortens_no_ban(void **state)
{
    (void)state;
    sally_bans *bans = begin(0);
    sally_ban ban;
    struct cidr cidr;
    assert_int_equal(cidr_parse(&cidr, "192.0.2.1", NULL), 0);
    assert_int_equal(sally_bans_add(bans, "192.0.2.1", 100, "by hand"), 0);
    assert_int_equal(bans_add(bans, &cidr, 50, "strikes"), 0);
    assert_int_equal(sally_bans_check(bans, "192.0.2.1", &ban), 1);
    assert_string_equal(ban.reason, "by hand");
    assert_int_equal(bans_add(bans, &cidr, 200, "strikes"), 0);
    assert_int_equal(sally_bans_check(bans, "192.0.2.1", &ban), 1);
    assert_string_equal(ban.reason, "strikes");
    sally_bans_destroy(bans);
}

static void removing_ends_that_one_and_clearing_all(void **state)
{
    (void)state;
    sally_bans *bans = begin(0);
    assert_int_equal(sally_bans_add(bans, "10.0.0.0/8", 10, NULL), 0);
    assert_int_equal(sally_bans_add(bans, "10.0.0.1", 10, NULL), 0);
    assert_int_equal(sally_bans_remove(bans, "10.0.0.1"), 0);
    assert_int_equal(sally_bans_remove(bans, "10.0.0.1"), SALLY_ENOENTRY);
    assert_int_equal(sally_bans_remove(bans, "10.0.0.1/8"), SALLY_ENETWORK);
    assert_int_equal(check(bans, "10.0.0.1"), 1);
    sally_bans_clear(bans);
    assert_int_equal(check(bans, "10.0.0.1"), 0);
    assert_int_equal(sally_bans_count(bans), 0);
    sally_bans_destroy(bans);
}

static void a_full_list_refuses_until_something_is_over(void **state)
{
    (void)state;
    sally_bans *bans = begin(2);
    assert_int_equal(sally_bans_add(bans, "10.0.0.1", 10, NULL), 0);
    assert_int_equal(sally_bans_add(bans, "10.0.0.2", 20, NULL), 0);
    assert_int_equal(sally_bans_add(bans, "10.0.0.3", 10, "x"), SALLY_ELIMIT);
    assert_int_equal(check(bans, "10.0.0.3"), 0);
    clock_ms += 10000;
    assert_int_equal(sally_bans_add(bans, "10.0.0.3", 10, "x"), 0);
    assert_int_equal(sally_bans_count(bans), 2);
    sally_bans_destroy(bans);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    sally_bans *bans = begin(0), *none = NULL;
    sally_bans_options many = {.bans_max = BANS_LIMIT + 1};
    assert_int_equal(sally_bans_create(&none, &many), SALLY_EINVAL);
    assert_int_equal(sally_bans_create(NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_bans_add(bans, "10.0.0.1", 0, NULL), SALLY_EINVAL);
    assert_int_equal(sally_bans_add(bans, "10.0.0.1", 1, "two\nlines"), SALLY_EINVAL);
    assert_int_equal(sally_bans_add(bans, "10.0.0.1/31", 1, NULL), SALLY_ENETWORK);
    assert_int_equal(sally_bans_add(NULL, "10.0.0.1", 1, NULL), SALLY_EINVAL);
    assert_int_equal(sally_bans_load(bans, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_bans_count(bans), 0);
    sally_bans_destroy(bans);
    sally_bans_destroy(NULL);
}

/* ---- Texts ---- */

static int load(sally_bans *bans, const char *text, sally_bans_fault *fault)
{
    return sally_bans_load_text(bans, text, strlen(text), fault);
}

static void a_text_replaces_the_whole_list(void **state)
{
    (void)state;
    static const char text[] = "# who may not\n"
                               "\n"
                               "192.0.2.1\n"
                               "  192.0.2.2\t10m   sent nothing\r\n"
                               "2001:db8::/32 never 3 strikes\n"
                               "10.0.0.0/8 2026-11-21T13:00:00Z\n"
                               "172.16.0.0/12 2026-11-21T12:00:00Z over already\n"
                               "192.0.2.3 # bad\n"
                               "192.0.2.3 90s\n"
                               "192.0.2.4 some reason";
    sally_bans *bans = begin(0);
    sally_ban ban;
    sally_bans_fault fault;
    assert_int_equal(sally_bans_add(bans, "198.51.100.1", 10, NULL), 0);
    int err = load(bans, text, &fault);
    if (err) fail_msg("line %u: %s", fault.line, fault.why);
    assert_int_equal(check(bans, "198.51.100.1"), 0);
    assert_int_equal(check(bans, "192.0.2.1"), 1);
    assert_int_equal(check(bans, "172.16.0.1"), 0);
    assert_int_equal(sally_bans_check(bans, "2001:db8::1", &ban), 1);
    assert_string_equal(ban.reason, "3 strikes");
    assert_int_equal(sally_bans_check(bans, "192.0.2.4", &ban), 1);
    assert_string_equal(ban.reason, "some reason");
    assert_int_equal(ban.left_s, SALLY_FOREVER);
    assert_int_equal(sally_bans_check(bans, "192.0.2.3", &ban), 1);
    assert_int_equal(ban.left_s, 90); /* the later line */
    assert_string_equal(ban.reason, "");
    assert_int_equal(sally_bans_check(bans, "10.9.9.9", &ban), 1);
    assert_int_equal(ban.left_s, 3600);
    assert_int_equal(sally_bans_count(bans), 6);
    sally_bans_destroy(bans);
}

static void one_wrong_line_refuses_all_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *why;
    } wrong[] = {
        {"10.0.0.256", "write 192.0.2.7"},
        {"10.0.0.1/8", "behind"},
        {"10.0.0.0/33", "slash"},
        {"host.example", "write 192.0.2.7"},
        {"192.0.2.1 192.0.2.2", "expiry"}, /* two on a line */
        {"192.0.2.1,192.0.2.2", "write 192.0.2.7"},
        {"192.0.2.1 10", "expiry"},
        {"192.0.2.1 0s", "expiry"},
        {"192.0.2.1 10 m", "expiry"},
        {"192.0.2.1 10x", "expiry"},
        {"192.0.2.1 10mm", "expiry"},
        {"192.0.2.1 99999999999999999999s", "expiry"},
        {"192.0.2.1 36601d", "expiry"},
        {"192.0.2.1 2026-02-29T00:00:00Z", "expiry"},
        {"192.0.2.1 2026-13-01T00:00:00Z", "expiry"},
        {"192.0.2.1 2026-11-21T24:00:00Z", "expiry"},
        {"192.0.2.1 2026-11-21T12:00:00", "expiry"},
        {"192.0.2.1 2026-11-21", "expiry"},
        {"192.0.2.1 bell\a", "control"},
        {"192.0.2.1 \x1b[2J", "control"},
    };
    sally_bans *bans = begin(0);
    assert_int_equal(sally_bans_add(bans, "198.51.100.1", 10, NULL), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[256];
        sally_bans_fault fault = {.line = 99};
        snprintf(text, sizeof text, "203.0.113.1\n# fine\n%s\n203.0.113.2\n", wrong[i].line);
        if (load(bans, text, &fault) != SALLY_EBANFILE) fail_msg("taken: %s", wrong[i].line);
        assert_int_equal(fault.line, 3);
        assert_int_equal(fault.sys_error, 0);
        if (!strstr(fault.why, wrong[i].why)) fail_msg("%s: %s", wrong[i].line, fault.why);
        assert_int_equal(check(bans, "198.51.100.1"), 1);
        assert_int_equal(check(bans, "203.0.113.1"), 0);
    }
    assert_int_equal(load(bans, "nonsense", NULL), SALLY_EBANFILE);
    sally_bans_destroy(bans);
}

static void long_lines_and_zeros_are_refused(void **state)
{
    (void)state;
    char text[1200];
    sally_bans *bans = begin(0);
    sally_bans_fault fault;
    memset(text, ' ', sizeof text);
    memcpy(text, "10.0.0.1", 8);
    assert_int_equal(sally_bans_load_text(bans, text, 511, &fault), 0);
    assert_int_equal(sally_bans_load_text(bans, text, 512, &fault), SALLY_EBANFILE);
    memset(text + 9, 'x', 128);
    assert_int_equal(sally_bans_load_text(bans, text, 9 + 127, &fault), 0);
    assert_int_equal(sally_bans_load_text(bans, text, 9 + 128, &fault), SALLY_EBANFILE);
    assert_int_equal(sally_bans_load_text(bans, "10.0.0.1\0", 9, &fault), SALLY_EBANFILE);
    assert_int_equal(sally_bans_load_text(bans, "10.0.0.1 a\0b", 12, &fault), SALLY_EBANFILE);
    assert_int_equal(check(bans, "10.0.0.1"), 1);
    assert_int_equal(sally_bans_load_text(bans, NULL, 0, &fault), 0);
    assert_int_equal(sally_bans_count(bans), 0);
    sally_bans_destroy(bans);
}

static void more_lines_than_bans_are_refused(void **state)
{
    (void)state;
    sally_bans *bans = begin(2);
    sally_bans_fault fault;
    assert_int_equal(load(bans, "10.0.0.1\n10.0.0.2\n10.0.0.1 5m\n", &fault), 0);
    assert_int_equal(load(bans, "10.0.0.3\n10.0.0.4\n10.0.0.5\n", &fault), SALLY_ELIMIT);
    assert_int_equal(fault.line, 3);
    assert_int_equal(check(bans, "10.0.0.2"), 1);
    assert_int_equal(check(bans, "10.0.0.3"), 0);
    sally_bans_destroy(bans);
}

/* Good lines with some bytes changed: taken or refused with a line that there is, never
 * anything else. */
static void no_bytes_do_harm(void **state)
{
    (void)state;
    static const char good[] = "192.0.2.1\n10.0.0.0/8 10m why not\n# no\n2001:db8::/32 never x\n"
                               "::ffff:1.2.3.0/120 2027-01-01T00:00:00Z\n";
    enum { LOTS = 20000 };
    uint64_t lot = 1;
    unsigned taken = 0;
    sally_bans *bans = begin(0);
    for (int n = 0; n < LOTS; n++) {
        char text[sizeof good];
        sally_bans_fault fault = {.line = 0};
        memcpy(text, good, sizeof good);
        size_t len = sizeof good - 1;
        for (int changes = n % 4; changes >= 0; changes--) {
            static const char bytes[] = "0129:./-# \n\t\0afx\xff";
            lot = lot * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            text[(lot >> 33) % len] = bytes[(lot >> 20) % (sizeof bytes - 1)];
        }
        int err = sally_bans_load_text(bans, text, len, &fault);
        if (err == 0) {
            taken++;
            assert_true(sally_bans_count(bans) <= 6);
        } else {
            assert_int_equal(err, SALLY_EBANFILE);
            assert_true(fault.line >= 1 && fault.line <= 10 && fault.why[0]);
        }
    }
    assert_true(taken > LOTS / 20 && taken < LOTS); /* both ways were gone */
    sally_bans_destroy(bans);
}

/* ---- Files ---- */

static void file_path(char *path, size_t size, const char *name)
{
    snprintf(path, size, "/tmp/sally-bans-%d-%s", (int)getpid(), name);
}

static bool count_one(const sally_ban *ban, void *arg)
{
    (void)ban;
    return ++*(int *)arg < 1000000;
}

static void what_was_saved_is_loaded_again(void **state)
{
    (void)state;
    char path[128];
    sally_bans *bans = begin(0), *other;
    sally_ban ban;
    file_path(path, sizeof path, "round");
    assert_int_equal(sally_bans_add(bans, "192.0.2.1", 3600, "5 strikes"), 0);
    assert_int_equal(sally_bans_add(bans, "192.0.2.0/24", SALLY_FOREVER, "# odd"), 0);
    assert_int_equal(sally_bans_add(bans, "2001:db8::/32", SALLY_FOREVER, NULL), 0);
    assert_int_equal(sally_bans_add(bans, "10.0.0.0/8", 1, "over by then"), 0);
    clock_ms += 1500;
    assert_int_equal(sally_bans_save(bans, path, NULL), 0);
    sally_bans_destroy(bans);
    other = begin(0);
    clock_ms = NOON + 1000 * 1000; /* the restart took that long */
    assert_int_equal(sally_bans_load(other, path, NULL), 0);
    assert_int_equal(sally_bans_count(other), 3);
    assert_int_equal(sally_bans_check(other, "192.0.2.1", &ban), 1);
    assert_string_equal(ban.reason, "5 strikes");
    assert_int_equal(ban.left_s, 2600);
    assert_int_equal(sally_bans_check(other, "192.0.2.2", &ban), 1);
    assert_string_equal(ban.reason, "# odd");
    assert_int_equal(ban.left_s, SALLY_FOREVER);
    assert_int_equal(check(other, "2001:db8::1"), 1);
    char beside[160];
    snprintf(beside, sizeof beside, "%s.new", path);
    assert_int_not_equal(access(beside, F_OK), 0);
    sally_bans_destroy(other);
    unlink(path);
}

/* By dates of a year each, leap days among them. */
static void dates_are_written_as_they_are_read(void **state)
{
    (void)state;
    char path[128];
    sally_bans *bans = begin(0);
    sally_ban ban;
    file_path(path, sizeof path, "dates");
    for (uint64_t day = 1; day < 800; day += 7) {
        uint32_t for_s = (uint32_t)(day * 86400 + day);
        clock_ms = NOON;
        sally_bans_clear(bans);
        assert_int_equal(sally_bans_add(bans, "192.0.2.1", for_s, NULL), 0);
        assert_int_equal(sally_bans_save(bans, path, NULL), 0);
        assert_int_equal(sally_bans_load(bans, path, NULL), 0);
        assert_int_equal(sally_bans_check(bans, "192.0.2.1", &ban), 1);
        assert_int_equal(ban.left_s, for_s);
    }
    assert_int_equal(load(bans, "192.0.2.1 2028-02-29T23:59:59Z\n", NULL), 0);
    assert_int_equal(sally_bans_check(bans, "192.0.2.1", &ban), 1);
    assert_int_equal(ban.left_s, 1835481599 - NOON / 1000); /* by date(1) */
    sally_bans_destroy(bans);
    unlink(path);
}

static void a_file_that_cant_be_read_changes_nothing(void **state)
{
    (void)state;
    char path[128];
    sally_bans *bans = begin(0);
    sally_bans_fault fault;
    file_path(path, sizeof path, "wrong");
    assert_int_equal(sally_bans_add(bans, "192.0.2.1", 10, NULL), 0);
    assert_int_equal(sally_bans_load(bans, path, &fault), SALLY_ESYSTEM);
    assert_true(fault.sys_error != 0 && fault.line == 0 && fault.why[0]);
    assert_int_equal(sally_bans_load(bans, "/tmp", &fault), SALLY_ESYSTEM);
    assert_true(fault.sys_error != 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("192.0.2.2\n192.0.2.300\n", file);
    fclose(file);
    assert_int_equal(sally_bans_load(bans, path, &fault), SALLY_EBANFILE);
    assert_int_equal(fault.line, 2);
    assert_int_equal(check(bans, "192.0.2.1"), 1);
    assert_int_equal(check(bans, "192.0.2.2"), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(sally_bans_load(bans, path, &fault), 0);
    assert_int_equal(sally_bans_count(bans), 0);
    assert_int_equal(sally_bans_save(bans, "/nosuchfolder/bans", &fault), SALLY_ESYSTEM);
    assert_true(fault.sys_error != 0);
    sally_bans_destroy(bans);
    unlink(path);
}

/* ---- All of them ---- */

static bool remove_it(const sally_ban *ban, void *arg)
{
    assert_int_equal(sally_bans_remove(arg, ban->network), 0);
    return true;
}

static bool stop_at_once(const sally_ban *ban, void *arg)
{
    (void)ban;
    ++*(int *)arg;
    return false;
}

static void each_comes_once_and_may_be_removed_there(void **state)
{
    (void)state;
    char network[32];
    int count = 0;
    sally_bans *bans = begin(0);
    for (int i = 0; i < 1000; i++) {
        snprintf(network, sizeof network, "10.0.%d.%d", i / 256, i % 256);
        assert_int_equal(sally_bans_add(bans, network, i % 2 ? 5 : 10, NULL), 0);
    }
    assert_int_equal(sally_bans_each(bans, count_one, &count), 0);
    assert_int_equal(count, 1000);
    clock_ms += 5000;
    count = 0;
    assert_int_equal(sally_bans_each(bans, count_one, &count), 0);
    assert_int_equal(count, 500);
    count = 0;
    assert_int_equal(sally_bans_each(bans, stop_at_once, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(sally_bans_each(bans, remove_it, bans), 0);
    count = 0;
    assert_int_equal(sally_bans_each(bans, count_one, &count), 0);
    assert_int_equal(count, 0);
    sally_bans_destroy(bans);
}

/* ---- Memory and threads ---- */

static atomic_size_t blocks;
static atomic_int fail_in;
static void *counting_alloc(void *user, size_t bytes)
{
    (void)user;
    if (atomic_load(&fail_in) && atomic_fetch_sub(&fail_in, 1) == 1) return NULL;
    atomic_fetch_add(&blocks, 1);
    return malloc(bytes);
}
static void counting_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)bytes;
    atomic_fetch_sub(&blocks, 1);
    free(block);
}

static void no_failed_allocation_leaks_or_changes_anything(void **state)
{
    (void)state;
    sally_bans_options options = {.allocator = {counting_alloc, counting_free, NULL}};
    for (int n = 1; n < 30; n++) {
        sally_bans *bans = NULL;
        atomic_store(&fail_in, n);
        int err = sally_bans_create(&bans, &options);
        if (!err) {
            int added = sally_bans_add(bans, "192.0.2.1", 10, "reason");
            assert_int_equal(check(bans, "192.0.2.1"), added == 0);
            int loaded = load(bans, "10.0.0.1 never one\n10.0.0.2 never two\n", NULL);
            assert_true(loaded == 0 || loaded == SALLY_ENOMEM);
            assert_int_equal(check(bans, "10.0.0.2"), loaded == 0);
            assert_int_equal(check(bans, "192.0.2.1"), loaded != 0 && added == 0);
            sally_bans_clear(bans);
            assert_int_equal(check(bans, "10.0.0.2"), 0);
        }
        atomic_store(&fail_in, 0);
        sally_bans_destroy(bans);
        assert_int_equal(atomic_load(&blocks), 0);
    }
}

struct crowd {
    sally_bans *bans;
    atomic_bool stop;
    atomic_uint wrong;
    atomic_ullong looks;
};

/* 10.0.0.1 is in every list there ever is, 10.0.0.2 in none. */
static void *look(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop)) {
        if (check(crowd->bans, "10.0.0.1") != 1) atomic_fetch_add(&crowd->wrong, 1);
        if (check(crowd->bans, "10.0.0.2") != 0) atomic_fetch_add(&crowd->wrong, 1);
        atomic_fetch_add(&crowd->looks, 1);
    }
    return NULL;
}

static void who_looks_never_finds_half_a_list(void **state)
{
    (void)state;
    enum { THREADS = 3, ROUNDS = 60, LINES = 700 };
    static char text[LINES * 24];
    struct crowd crowd = {.stop = false};
    pthread_t threads[THREADS];
    size_t len = 0;
    assert_int_equal(sally_bans_create(&crowd.bans, NULL), 0);
    for (int i = 0; i < LINES; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "172.16.%d.%d\n", i / 256, i % 256);
    len += (size_t)snprintf(text + len, sizeof text - len, "10.0.0.1\n"); /* the last line */
    assert_int_equal(sally_bans_load_text(crowd.bans, text, len, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &crowd), 0);
    for (int round = 0; round < ROUNDS || atomic_load(&crowd.looks) < 1000; round++) {
        char network[32];
        assert_int_equal(sally_bans_load_text(crowd.bans, text, len, NULL), 0);
        for (int i = 0; i < 200; i++) {
            snprintf(network, sizeof network, "192.168.%d.%d", round % 256, i);
            assert_int_equal(sally_bans_add(crowd.bans, network, 1 + (uint32_t)i, "x"), 0);
            if (i % 3) assert_int_equal(sally_bans_remove(crowd.bans, network), 0);
        }
        int count = 0;
        assert_int_equal(sally_bans_each(crowd.bans, count_one, &count), 0);
        assert_true(count > LINES);
    }
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    sally_bans_destroy(crowd.bans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ban_holds_until_its_time_is_over),
        cmocka_unit_test(every_way_to_write_an_address_meets_its_ban),
        cmocka_unit_test(adding_again_replaces_and_keeps_hits),
        cmocka_unit_test(what_strikes_ban_shortens_no_ban),
        cmocka_unit_test(removing_ends_that_one_and_clearing_all),
        cmocka_unit_test(a_full_list_refuses_until_something_is_over),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(a_text_replaces_the_whole_list),
        cmocka_unit_test(one_wrong_line_refuses_all_of_it),
        cmocka_unit_test(long_lines_and_zeros_are_refused),
        cmocka_unit_test(more_lines_than_bans_are_refused),
        cmocka_unit_test(no_bytes_do_harm),
        cmocka_unit_test(what_was_saved_is_loaded_again),
        cmocka_unit_test(dates_are_written_as_they_are_read),
        cmocka_unit_test(a_file_that_cant_be_read_changes_nothing),
        cmocka_unit_test(each_comes_once_and_may_be_removed_there),
        cmocka_unit_test(no_failed_allocation_leaks_or_changes_anything),
        cmocka_unit_test(who_looks_never_finds_half_a_list),
    };
    return cmocka_run_group_tests_name("bans", tests, NULL, NULL);
}
