/* Times by the calendar (P-89): lines of crontab, the instants that they name, and zones whose
 * clocks are set. The table was written by calendar_table.py, which tries every minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/calendar.h"
#include "support/long.h"
#include "support/lot.h"

enum { INSTANTS = 5, ZONES = 7 };

struct change {
    int zone;
    int64_t at_s;
    int32_t offset_s;
};

struct row {
    int zone; /* 0: UTC */
    int64_t after_s;
    const char *line;
    int64_t next_s[INSTANTS]; /* 0: there are no more */
};

/* The table, read twice. */
#define CHANGE(zone, at, offset) {zone, at, offset},
#define ROW(zone, after, line, ...)
static const struct change changes[] = {
#include "base/calendar_table.txt"
};
#undef CHANGE
#undef ROW
#define CHANGE(zone, at, offset)
#define ROW(zone, after, line, ...) {zone, after, line, {__VA_ARGS__}},
static const struct row rows[] = {
#include "base/calendar_table.txt"
};

enum { CHANGES = sizeof changes / sizeof *changes, ROWS = sizeof rows / sizeof *rows };

/* `user` is the zone's number. */
static int32_t table_offset(void *user, int64_t unix_s)
{
    const struct change *last = NULL;
    for (size_t i = 0; i < CHANGES; i++) {
        if (changes[i].zone != *(int *)user) continue;
        if (!last || changes[i].at_s <= unix_s) last = &changes[i];
    }
    assert_non_null(last);
    return last->offset_s;
}

static sally_calendar parsed(const char *line)
{
    sally_calendar calendar;
    unsigned column = 0;
    int err = sally_calendar_parse(line, &calendar, &column);
    if (err) fail_msg("\"%s\": column %u: %s", line, column, sally_err_name(err));
    return calendar;
}

/* From instant to instant, and from a moment within. */
static void row_check(const struct row *row)
{
    int number = row->zone;
    const sally_zone in = {table_offset, &number}, *zone = number ? &in : NULL;
    sally_calendar calendar = parsed(row->line);
    int64_t after_ms = row->after_s * 1000 + 999, next_ms = 0;
    for (int i = 0; i < INSTANTS; i++) {
        int err = sally_calendar_next(&calendar, after_ms, zone, &next_ms);
        if (!row->next_s[i]) {
            assert_int_equal(err, SALLY_ENOENTRY);
            return;
        }
        if (err || next_ms != row->next_s[i] * 1000)
            fail_msg("zone %d, \"%s\" after %lld: %s, %lld, not %lld", number, row->line,
                     (long long)after_ms, sally_err_name(err), (long long)next_ms,
                     (long long)row->next_s[i] * 1000);
        assert_int_equal(sally_calendar_next(&calendar, next_ms - 1, zone, &after_ms), 0);
        assert_true(after_ms == next_ms);
    }
}

static void the_table_is_met(void **state)
{
    (void)state;
    unsigned in_zone[ZONES] = {0};
    for (size_t i = 0; i < ROWS; i++) {
        row_check(&rows[i]);
        in_zone[rows[i].zone]++;
    }
    assert_int_equal(in_zone[0], 200);
    for (int i = 1; i < ZONES; i++) assert_int_equal(in_zone[i], 40);
}

/* ---- Lines ---- */

static void check_same(const char *one, const char *other)
{
    sally_calendar a = parsed(one), b = parsed(other);
    assert_true(a.minutes == b.minutes && a.hours == b.hours && a.days == b.days);
    assert_true(a.months == b.months && a.weekdays == b.weekdays && a.both_days == b.both_days);
}

static void a_line_has_five_sets(void **state)
{
    (void)state;
    sally_calendar calendar = parsed("0,59 0,23 1,31 1,12 0,6");
    assert_true(calendar.minutes == (UINT64_C(1) | UINT64_C(1) << 59));
    assert_true(calendar.hours == (1u | 1u << 23) && calendar.days == (1u << 1 | 1u << 31));
    assert_true(calendar.months == (1u << 1 | 1u << 12) && calendar.weekdays == (1u | 1u << 6));
    assert_false(calendar.both_days);
    calendar = parsed("* * * * *");
    assert_true(calendar.minutes == (UINT64_C(1) << 60) - 1 && calendar.hours == (1u << 24) - 1);
    assert_true(calendar.days == ~1u && calendar.months == 0x1ffe && calendar.weekdays == 0x7f);
    assert_true(calendar.both_days);
}

static void there_are_many_ways_to_write_it(void **state)
{
    (void)state;
    check_same(" \t0  0\t1 1 0 \t", "0 0 1 1 7");
    check_same("*/15 0 1 1 0", "0,15,30,45 0 1 1 0");
    check_same("10-40/10 0 1 1 0", "10,20,30,40 0 1 1 0");
    check_same("10-45/10 0 1 1 0", "40,30,20,10,10 0 1 1 0");
    check_same("*/9999 0 1 1 0", "0 0 1 1 0");
    check_same("007 00 01 1 1", "7 0 1 1 1");
    check_same("0 0 1 jan,FEB,Mar,aPR-jun,12 mon", "0 0 1 1-6,12 1");
    check_same("0 0 1 jul-dec/2 sun", "0 0 1 7,9,11 7");
    check_same("0 0 1 1 fri-sun", "0 0 1 1 5-7");
    check_same("0 0 1 1 0-7", "0 0 1 1 0-6");
    check_same("0 0 1 1 sun-sat", "0 0 1 1 0-6");
    check_same("0 0 1 1 sun-sun", "0 0 1 1 0");
    assert_true(parsed("0 0 */2 1 1").both_days && parsed("0 0 1 1 */2").both_days);
    assert_false(parsed("0 0 1,*/2 1 1").both_days || parsed("0 0 1-31 1 0-6").both_days);
}

static void a_mistake_is_named_by_its_column(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned column;
    } wrong[] = {
        {"", 1},
        {"  ", 3},
        {"60 * * * *", 1},
        {"* 24 * * *", 3},
        {"* * 0 * *", 5},
        {"* * 32 * *", 5},
        {"* * * 0 *", 7},
        {"* * * 13 *", 7},
        {"* * * * 8", 9},
        {"* * * *", 8},
        {"* * * * ", 9},
        {"* * * * * *", 11},
        {"* * * * * root", 11},
        {"* * * * *x", 10},
        {"-1 * * * *", 1},
        {"1- * * * *", 3},
        {"1-x * * * *", 3},
        {"30-20 * * * *", 4},
        {"10-70 * * * *", 4},
        {"1,,2 * * * *", 3},
        {"1, * * * *", 3},
        {"*/0 * * * *", 3},
        {"*/ * * * *", 3},
        {"*/x * * * *", 3},
        {"*/10000 * * * *", 3},
        {"5/10 * * * *", 2},
        {"** * * * *", 2},
        {"*-5 * * * *", 2},
        {"1-5-7 * * * *", 4},
        {"1-5/2/2 * * * *", 6},
        {"99999999999999999999 * * * *", 1},
        {"jan * * * *", 1},
        {"* * * mon *", 7},
        {"* * * janu *", 7},
        {"* * * ja *", 7},
        {"* * * j", 7},
        {"* * * * jan", 9},
        {"* * * 5,jab *", 9},
        {"* * * * sat-fri", 13},
        {"* * * * fri-0", 13},
        {"@daily", 1},
        {"* * * *\n* ", 8},
        {"\xff * * * *", 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sally_calendar calendar;
        unsigned column = 0;
        assert_int_equal(sally_calendar_parse(wrong[i].line, &calendar, &column), SALLY_EMALFORMED);
        if (column != wrong[i].column)
            fail_msg("\"%s\": column %u, not %u", wrong[i].line, column, wrong[i].column);
        assert_int_equal(sally_calendar_parse(wrong[i].line, &calendar, NULL), SALLY_EMALFORMED);
    }
}

/* Any bytes: a column within the line or right behind it, and what is read can be used. */
static void any_text_is_judged(void **state)
{
    (void)state;
    static const char letters[] = "0123456789 ****,,--//\t9sunjanmonfebxX@\xff";
    struct lot lot = {run_seed(7)};
    unsigned good = 0;
    for (int i = 0; i < (long_form() ? 5000000 : 200000); i++) {
        char line[40];
        unsigned len = 5 + lot_below(&lot, 15), column = 0;
        for (unsigned at = 0; at < len; at++)
            line[at] = at % 2 ? ' ' : letters[lot_below(&lot, sizeof letters - 1)];
        for (unsigned n = lot_below(&lot, 4); n; n--)
            line[lot_below(&lot, len)] = letters[lot_below(&lot, sizeof letters - 1)];
        line[len] = 0;
        sally_calendar calendar;
        int64_t next_ms;
        if (sally_calendar_parse(line, &calendar, &column)) {
            assert_true(column >= 1 && column <= len + 1);
            continue;
        }
        good++;
        int err = sally_calendar_next(&calendar, lot_below(&lot, UINT32_MAX), NULL, &next_ms);
        assert_true(err == 0 || err == SALLY_ENOENTRY);
    }
    assert_true(good > 100);
}

/* ---- Days ---- */

static int64_t next_of(const char *line, int64_t after_s)
{
    sally_calendar calendar = parsed(line);
    int64_t next_ms = 0;
    int err = sally_calendar_next(&calendar, after_s * 1000, NULL, &next_ms);
    return err ? err : next_ms / 1000;
}

static void days_that_are_rare_are_found(void **state)
{
    (void)state;
    assert_int_equal(next_of("0 0 29 2 *", 951868800), 1078012800);     /* 2000 to 2004 */
    assert_int_equal(next_of("0 0 29 2 *", 3981484800), 4233686400);    /* 2096 to 2104 */
    assert_int_equal(next_of("0 0 29 2 */9", 3728851200), 4991068800);  /* Sundays: 2088 to 2128 */
    assert_int_equal(next_of("59 23 31 12 *", 946684799), 978307140);   /* from year to year */
    assert_int_equal(next_of("0 0 1 1 *", 253370764799), 253370764800); /* 9999 */
    assert_int_equal(next_of("0 0 1 1 *", 253370764800), 253402300800); /* and the next */
    assert_int_equal(next_of("0 0 31 4,6,9,11 *", 0), SALLY_ENOENTRY);
    assert_int_equal(next_of("0 0 30,31 2 *", 1700000000), SALLY_ENOENTRY);
    assert_int_equal(next_of("* * * * *", 0), 60);
    assert_int_equal(next_of("0 0 1 1 *", 0), 31536000);
}

/* POSIX: "0 0 1,15 * 1" is the 1st, the 15th and every Monday. */
static void either_kind_of_day_will_do_when_both_are_named(void **state)
{
    (void)state;
    static const int days[] = {1, 4, 11, 15, 18, 25}; /* of November 2024 */
    int64_t at_s = 1730419199;
    for (int i = 0; i < 6; i++) {
        at_s = next_of("0 0 1,15 * 1", at_s);
        assert_int_equal(at_s, 1730419200 + (days[i] - 1) * 86400);
    }
}

static void what_cannot_be_asked_is_refused(void **state)
{
    (void)state;
    sally_calendar calendar = parsed("* * * * *"), empty = {0}, odd = calendar;
    int64_t next_ms;
    assert_int_equal(sally_calendar_next(NULL, 0, NULL, &next_ms), SALLY_EINVAL);
    assert_int_equal(sally_calendar_next(&calendar, 0, NULL, NULL), SALLY_EINVAL);
    assert_int_equal(sally_calendar_next(&calendar, -1, NULL, &next_ms), SALLY_EINVAL);
    assert_int_equal(sally_calendar_next(&calendar, INT64_MAX, NULL, &next_ms), SALLY_EINVAL);
    assert_int_equal(sally_calendar_next(&calendar, INT64_C(253402300800000), NULL, &next_ms),
                     SALLY_EINVAL);
    assert_int_equal(sally_calendar_next(&empty, 0, NULL, &next_ms), SALLY_ENOENTRY);
    odd.months = 1 | 1u << 13; /* bits that stand for nothing */
    assert_int_equal(sally_calendar_next(&odd, 0, NULL, &next_ms), SALLY_ENOENTRY);
    odd = calendar;
    odd.days = odd.weekdays = 0;
    odd.both_days = false;
    assert_int_equal(sally_calendar_next(&odd, 0, NULL, &next_ms), SALLY_ENOENTRY);
    assert_int_equal(sally_calendar_parse(NULL, &calendar, NULL), SALLY_EINVAL);
    assert_int_equal(sally_calendar_parse("* * * * *", NULL, NULL), SALLY_EINVAL);
}

/* ---- Zones ---- */

/* A zone that changes its mind all the time, and one that is off the map: an end is all that can be
 * asked for. */
static int32_t mad_offset(void *user, int64_t unix_s)
{
    uint64_t state = (uint64_t)unix_s;
    return user ? INT32_MIN : (int32_t)(lot_draw(&state) >> 32);
}

static void a_zone_without_sense_does_no_harm(void **state)
{
    (void)state;
    static const char *const lines[] = {"* * * * *", "30 2 * * *", "0 0 29 2 *", "7 * 1 1 *"};
    for (int i = 0; i < 200; i++) {
        sally_calendar calendar = parsed(lines[i % 4]);
        const sally_zone zone = {mad_offset, i % 2 ? &calendar : NULL};
        int64_t after_ms = INT64_C(86400000) * 40 * i, next_ms = INT64_MAX;
        int err = sally_calendar_next(&calendar, after_ms, &zone, &next_ms);
        assert_true(err == SALLY_ENOENTRY || (err == 0 && next_ms > after_ms));
    }
}

static int32_t west(void *user, int64_t unix_s)
{
    (void)user;
    (void)unix_s;
    return -10 * 3600;
}

/* At 00:00 in UTC it is still 1969 there. */
static void a_zone_may_be_behind_1970(void **state)
{
    (void)state;
    const sally_zone zone = {.offset_s = west};
    sally_calendar calendar = parsed("0 15 31 12 *");
    int64_t next_ms = 0;
    assert_int_equal(sally_calendar_next(&calendar, 0, &zone, &next_ms), 0);
    assert_int_equal(next_ms, 3600000);
}

/* Apia had no 30 December 2011: 1440 minutes that stand for nothing, or all for one moment. */
static void a_day_may_be_left_out(void **state)
{
    (void)state;
    enum { CHANGE_S = 1325239200 };
    static int apia = 5;
    const sally_zone zone = {table_offset, &apia};
    static const char *const lines[] = {"* * * * *", "0 * 31 12 *", "* 7 * * *", "15 9 30 12 *"};
    for (int i = 0; i < 4; i++) {
        sally_calendar calendar = parsed(lines[i]);
        int64_t next_ms = 0;
        assert_int_equal(
            sally_calendar_next(&calendar, INT64_C(1000) * CHANGE_S - 1, &zone, &next_ms), 0);
        assert_int_equal(next_ms, INT64_C(1000) * CHANGE_S);
    }
}

/* 2024 in Berlin: from 02:00 to 03:00 at 01:00 UTC on 31 March, back at 01:00 UTC on 27 October. */
static void what_the_header_says_of_both_changes(void **state)
{
    (void)state;
    enum { MARCH = 1711846800, OCTOBER = 1729990800, HOUR = 3600 };
    static int berlin = 1;
    const sally_zone zone = {table_offset, &berlin};
    static const struct {
        const char *line;
        int64_t after_s, next_s[3];
    } cases[] = {
        {"30 2 * * *", MARCH - 2 * HOUR, {MARCH, MARCH + 23 * HOUR + 1800}},
        {"30 1,2,3 * * *", MARCH - 2 * HOUR, {MARCH - 1800, MARCH, MARCH + 1800}},
        {"0 2,3 * * *", MARCH - 1, {MARCH, MARCH + 23 * HOUR}},
        {"30 * * * *", MARCH - 2 * HOUR, {MARCH - 2 * HOUR + 1800, MARCH - 1800, MARCH + 1800}},
        {"30 2 * * *", OCTOBER - 2 * HOUR, {OCTOBER - 1800, OCTOBER + 24 * HOUR + 1800}},
        {"0 3 * * *", OCTOBER - 2 * HOUR, {OCTOBER + HOUR, OCTOBER + 25 * HOUR}},
        {"30 * * * *", OCTOBER - HOUR, {OCTOBER - 1800, OCTOBER + 1800, OCTOBER + HOUR + 1800}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sally_calendar calendar = parsed(cases[i].line);
        int64_t at_ms = cases[i].after_s * 1000;
        for (int n = 0; n < 3 && cases[i].next_s[n]; n++) {
            assert_int_equal(sally_calendar_next(&calendar, at_ms, &zone, &at_ms), 0);
            assert_int_equal(at_ms, cases[i].next_s[n] * 1000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_met),
        cmocka_unit_test(a_line_has_five_sets),
        cmocka_unit_test(there_are_many_ways_to_write_it),
        cmocka_unit_test(a_mistake_is_named_by_its_column),
        cmocka_unit_test(any_text_is_judged),
        cmocka_unit_test(days_that_are_rare_are_found),
        cmocka_unit_test(either_kind_of_day_will_do_when_both_are_named),
        cmocka_unit_test(what_cannot_be_asked_is_refused),
        cmocka_unit_test(a_zone_without_sense_does_no_harm),
        cmocka_unit_test(a_zone_may_be_behind_1970),
        cmocka_unit_test(a_day_may_be_left_out),
        cmocka_unit_test(what_the_header_says_of_both_changes),
    };
    return cmocka_run_group_tests_name("calendar", tests, NULL, NULL);
}
