/* Timers by the calendar (P-89) in virtual time, with a clock of the date that is set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/calendar.h"
#include "sallyport/sim.h"
#include "support/long.h"

#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS  (24 * HOUR_MS)
/* 1 January 2000, a Saturday: when the simulator's world begins. */
#define BEGIN_MS INT64_C(946684800000)

enum { TICKS_MAX = 64, SEEDS = 40 };
static const int64_t MINUTE_MS = 60000;

/* One timer, and what came of it. */
struct alarm {
    sally_timer_id id;
    unsigned ticks, ends;
    sally_timer_end why;
    int64_t due_ms[TICKS_MAX], now_ms[TICKS_MAX];
    unsigned cancel_at; /* this tick; 0: none */
};

static struct {
    sally_sim *sim;
    sally_engine *engine;
} world;

/* The date is a little ahead of the run, so that what is due at its end has come. */
static void set_date(int64_t after_ms)
{
    sally_sim_set_world_ms(world.sim, BEGIN_MS + after_ms + 2);
}

static void begin(uint64_t seed, unsigned shards)
{
    sally_engine_options options = {.shards = shards};
    assert_int_equal(sally_sim_create(&world.sim, seed, NULL), 0);
    assert_int_equal(sally_sim_engine(world.sim, &options, &world.engine), 0);
    assert_true(sally_sim_world_ms(world.sim) == BEGIN_MS);
    set_date(0);
}

static void end(void)
{
    assert_int_equal(sally_engine_destroy(world.engine), 0);
    assert_int_equal(sally_sim_memory_bytes(world.sim), 0);
    sally_sim_destroy(world.sim);
}

static void run_ms(int64_t ms)
{
    while (ms > 0) {
        uint32_t part = ms > 1000000000 ? 1000000000 : (uint32_t)ms;
        assert_true(sally_sim_run(world.sim, part) >= 0);
        ms -= part;
    }
}

static void on_tick(const sally_calendar_tick *tick, void *user)
{
    struct alarm *alarm = user;
    assert_true(tick->id == alarm->id);
    assert_int_equal(alarm->ends, 0);
    assert_true(tick->now_ms == sally_sim_world_ms(world.sim) && tick->due_ms <= tick->now_ms);
    if (alarm->ticks < TICKS_MAX) {
        alarm->due_ms[alarm->ticks] = tick->due_ms;
        alarm->now_ms[alarm->ticks] = tick->now_ms;
    }
    assert_int_equal(tick->number, ++alarm->ticks);
    if (alarm->ticks == alarm->cancel_at)
        assert_int_equal(sally_timer_cancel(world.engine, alarm->id), 0);
}

static void on_end(sally_timer_end why, void *user)
{
    struct alarm *alarm = user;
    alarm->why = why;
    alarm->ends++;
}

static int start_in(struct alarm *alarm, const char *line, const sally_zone *zone)
{
    sally_calendar_timer_options options = {.user = alarm, .on_tick = on_tick, .on_end = on_end};
    if (zone) options.zone = *zone;
    assert_int_equal(sally_calendar_parse(line, &options.calendar, NULL), 0);
    return sally_timer_start_calendar(world.engine, &options, &alarm->id);
}

static void start(struct alarm *alarm, const char *line)
{
    assert_int_equal(start_in(alarm, line, NULL), 0);
}

/* The n-th tick came for this moment after the beginning, and at it. */
static void came(const struct alarm *alarm, unsigned n, int64_t after_ms)
{
    assert_true(alarm->ticks > n);
    assert_int_equal(alarm->due_ms[n] - BEGIN_MS, after_ms);
    assert_int_equal(alarm->now_ms[n] - BEGIN_MS, after_ms);
}

/* ---- A clock that is left alone ---- */

static void it_comes_at_each_instant(void **state)
{
    (void)state;
    struct alarm nightly = {0}, quarters = {0}, leap = {0};
    begin(1, 1);
    run_ms(12345);
    start(&nightly, "30 4 * * *");
    start(&quarters, "*/15 * * * *");
    start(&leap, "0 0 29 2 *");
    assert_int_equal(sally_timer_count(world.engine), 3);
    run_ms(60 * DAY_MS);
    assert_int_equal(nightly.ticks, 60);
    for (unsigned i = 0; i < 60; i++) came(&nightly, i, i * DAY_MS + 4 * HOUR_MS + 30 * MINUTE_MS);
    assert_int_equal(quarters.ticks, 60 * 96);
    for (unsigned i = 0; i < TICKS_MAX; i++) came(&quarters, i, (i + 1) * 15 * MINUTE_MS);
    assert_int_equal(leap.ticks, 1);
    came(&leap, 0, 59 * DAY_MS);
    end();
    assert_int_equal(nightly.ends + quarters.ends + leap.ends, 3);
    assert_int_equal(leap.why, SALLY_TIMER_SHUTDOWN);
}

/* An instant is not the next one after itself, also for one that is started in it. */
static void each_instant_comes_once(void **state)
{
    (void)state;
    struct alarm early = {0}, late = {0};
    begin(2, 1);
    start(&early, "* * * * *");
    run_ms(2 * MINUTE_MS);
    sally_sim_set_world_ms(world.sim, BEGIN_MS + 2 * MINUTE_MS);
    start(&late, "* * * * *");
    run_ms(3 * MINUTE_MS + 2);
    assert_int_equal(early.ticks, 5);
    assert_int_equal(late.ticks, 3);
    came(&late, 0, 3 * MINUTE_MS);
    end();
}

static int32_t east(void *user, int64_t unix_s)
{
    (void)unix_s;
    return *(int32_t *)user;
}

static void a_zone_moves_it(void **state)
{
    (void)state;
    int32_t offset_s = -(5 * 3600 + 1800);
    const sally_zone zone = {east, &offset_s};
    struct alarm alarm = {0};
    begin(3, 1);
    assert_int_equal(start_in(&alarm, "0 20 * * *", &zone), 0);
    run_ms(DAY_MS);
    offset_s = 3600; /* a zone may change its rules: by the new ones 19:00 is not done yet */
    run_ms(DAY_MS);
    assert_int_equal(alarm.ticks, 3);
    came(&alarm, 0, HOUR_MS + 30 * MINUTE_MS);
    assert_int_equal(alarm.due_ms[1] - BEGIN_MS, 19 * HOUR_MS);
    assert_true(alarm.now_ms[1] - BEGIN_MS <= DAY_MS + MINUTE_MS + 2);
    came(&alarm, 2, DAY_MS + 19 * HOUR_MS);
    end();
}

/* What the system says of the zone here, it says everywhere. */
static void the_zone_of_this_machine_can_be_used(void **state)
{
    (void)state;
    const sally_zone zone = sally_zone_local();
    for (int64_t year = 0; year < 60; year++) {
        int32_t offset_s = zone.offset_s(zone.user, year * 31556952);
        assert_true(offset_s >= -12 * 3600 && offset_s <= 14 * 3600);
    }
    struct alarm alarm = {0};
    begin(4, 1);
    assert_int_equal(start_in(&alarm, "0 * * * *", &zone), 0);
    run_ms(DAY_MS);
    assert_int_equal(alarm.ticks, 24); /* whatever the zone: each hour has one */
    end();
}

static void it_is_cancelled_as_any_timer(void **state)
{
    (void)state;
    struct alarm itself = {.cancel_at = 2}, other = {0};
    begin(5, 2);
    start(&itself, "* * * * *");
    start(&other, "*/10 * * * *");
    run_ms(25 * MINUTE_MS);
    assert_int_equal(itself.ticks, 2);
    assert_int_equal(itself.ends, 1);
    assert_int_equal(itself.why, SALLY_TIMER_CANCELLED);
    assert_int_equal(other.ticks, 2);
    assert_int_equal(sally_timer_cancel(world.engine, other.id), 0);
    run_ms(HOUR_MS);
    assert_int_equal(other.ticks, 2);
    assert_int_equal(other.ends, 1);
    assert_int_equal(sally_timer_cancel(world.engine, other.id), SALLY_ECLOSED);
    assert_int_equal(sally_timer_count(world.engine), 0);
    end();
}

/* ---- A clock that is set ---- */

static void set_forward_it_comes_once_within_a_minute(void **state)
{
    (void)state;
    struct alarm hourly = {0}, daily = {0}, far = {0};
    begin(6, 1);
    start(&hourly, "0 * * * *");
    start(&daily, "0 12 * * *");
    start(&far, "0 0 1 6 *");
    run_ms(10 * MINUTE_MS);
    set_date(3 * DAY_MS + 5 * HOUR_MS + MINUTE_MS);
    assert_int_equal(hourly.ticks + daily.ticks + far.ticks, 0);
    run_ms(MINUTE_MS);
    assert_int_equal(hourly.ticks, 1); /* for 77 */
    assert_int_equal(daily.ticks, 1);  /* for three */
    assert_int_equal(far.ticks, 0);
    assert_int_equal(hourly.due_ms[0] - BEGIN_MS, HOUR_MS);
    assert_int_equal(daily.due_ms[0] - BEGIN_MS, 12 * HOUR_MS);
    assert_true(hourly.now_ms[0] - BEGIN_MS <= 3 * DAY_MS + 5 * HOUR_MS + 2 * MINUTE_MS);
    run_ms(7 * HOUR_MS); /* and by the new clock from there on */
    assert_int_equal(hourly.ticks, 8);
    came(&hourly, 1, 3 * DAY_MS + 6 * HOUR_MS);
    assert_int_equal(daily.ticks, 2);
    came(&daily, 1, 3 * DAY_MS + 12 * HOUR_MS);
    end();
}

static void set_back_a_little_nothing_comes_again(void **state)
{
    (void)state;
    struct alarm minutes = {0}, hourly = {0};
    begin(7, 1);
    start(&minutes, "* * * * *");
    start(&hourly, "0 * * * *");
    run_ms(HOUR_MS);
    assert_int_equal(minutes.ticks, 60);
    assert_int_equal(hourly.ticks, 1);
    set_date(HOUR_MS - 30); /* as a time server might */
    run_ms(MINUTE_MS - 1);
    assert_int_equal(minutes.ticks, 60);
    run_ms(40);
    assert_int_equal(minutes.ticks, 61);
    came(&minutes, 60, HOUR_MS + MINUTE_MS);
    set_date(-119 * MINUTE_MS); /* 3 hours in all */
    run_ms(3 * HOUR_MS);
    assert_int_equal(minutes.ticks, 61);
    assert_int_equal(hourly.ticks, 1);
    run_ms(HOUR_MS);
    assert_int_equal(minutes.ticks, 61 + 60);
    came(&minutes, 61, HOUR_MS + 2 * MINUTE_MS);
    assert_int_equal(hourly.ticks, 2);
    end();
}

static void set_back_far_it_starts_anew(void **state)
{
    (void)state;
    struct alarm hourly = {0};
    begin(8, 1);
    start(&hourly, "0 * * * *");
    run_ms(5 * HOUR_MS + MINUTE_MS);
    assert_int_equal(hourly.ticks, 5);
    set_date(115 * MINUTE_MS); /* 3 hours and 5 minutes before the last one */
    run_ms(4 * MINUTE_MS);
    assert_int_equal(hourly.ticks, 5);
    run_ms(MINUTE_MS); /* looked at each minute, so it knows */
    assert_int_equal(hourly.ticks, 6);
    came(&hourly, 5, 2 * HOUR_MS);
    end();
}

/* A machine without a battery begins before 1970 or after 9999, until somebody tells it. */
static void a_date_out_of_all_bounds_is_waited_out(void **state)
{
    (void)state;
    static const int64_t dates[] = {-1000, INT64_C(253402300800000), INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct alarm alarm = {0};
        begin(9, 1);
        sally_sim_set_world_ms(world.sim, dates[i]);
        start(&alarm, "*/10 * * * *");
        run_ms(i ? HOUR_MS : 500);
        assert_int_equal(alarm.ticks, 0);
        set_date(0);
        run_ms(HOUR_MS);
        assert_int_equal(alarm.ticks, 6);
        for (unsigned n = 0; n < 6; n++) came(&alarm, n, (n + 1) * 10 * MINUTE_MS);
        end();
    }
}

/* ---- What makes no sense ---- */

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct alarm alarm = {0};
    begin(10, 1);
    sally_calendar_timer_options options = {.user = &alarm, .on_end = on_end};
    assert_int_equal(sally_calendar_parse("0 0 1 1 *", &options.calendar, NULL), 0);
    assert_int_equal(sally_timer_start_calendar(world.engine, &options, NULL), SALLY_EINVAL);
    options.on_tick = on_tick;
    assert_int_equal(sally_timer_start_calendar(NULL, &options, NULL), SALLY_EINVAL);
    assert_int_equal(sally_timer_start_calendar(world.engine, NULL, NULL), SALLY_EINVAL);
    options.calendar = (sally_calendar){0};
    assert_int_equal(sally_timer_start_calendar(world.engine, &options, NULL), SALLY_ENOENTRY);
    assert_int_equal(start_in(&alarm, "0 0 30 2 *", NULL), SALLY_ENOENTRY);
    assert_int_equal(sally_timer_count(world.engine), 0);
    assert_int_equal(sally_engine_stop(world.engine), 0);
    run_ms(10);
    assert_int_equal(start_in(&alarm, "0 0 1 1 *", NULL), SALLY_ESTATE);
    end();
    assert_int_equal(alarm.ends, 0);
}

static void they_are_among_timers_max(void **state)
{
    (void)state;
    sally_engine_options options = {.timers_max = 2};
    struct alarm alarms[3] = {{0}};
    assert_int_equal(sally_sim_create(&world.sim, 11, NULL), 0);
    assert_int_equal(sally_sim_engine(world.sim, &options, &world.engine), 0);
    start(&alarms[0], "* * * * *");
    start(&alarms[1], "* * * * *");
    assert_int_equal(start_in(&alarms[2], "* * * * *", NULL), SALLY_ELIMIT);
    end();
    assert_int_equal(alarms[2].ends, 0);
}

static void without_memory_nothing_is_left_behind(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        struct alarm alarm = {0};
        begin(12, 1);
        sally_sim_fail_alloc_at(world.sim, nth, false);
        int err = start_in(&alarm, "* * * * *", NULL);
        failed = sally_sim_alloc_failed(world.sim);
        assert_int_equal(err, failed ? SALLY_ENOMEM : 0);
        run_ms(MINUTE_MS);
        assert_int_equal(alarm.ticks, failed ? 0 : 1);
        end();
        assert_int_equal(alarm.ends, failed ? 0 : 1);
    }
}

/* ---- A clock that is set again and again, by the seed ---- */

static struct alarm restless;
static int64_t newest_ms; /* the latest date at which anything may have come */

/* Never early, and no instant twice unless the clock went back far. */
static void judge(const sally_calendar_tick *tick, void *user)
{
    (void)user;
    assert_true(tick->due_ms <= tick->now_ms && tick->due_ms % MINUTE_MS == 0);
    if (restless.ticks++)
        assert_true(tick->due_ms > newest_ms ||
                    newest_ms - tick->due_ms > 3 * HOUR_MS - 8 * MINUTE_MS);
    newest_ms = tick->now_ms;
}

static void seed_run(uint64_t seed)
{
    begin(seed, 1);
    sally_sim_faults faults = {.stall = 20000, .early_turn = 100000};
    sally_sim_set_faults(world.sim, &faults);
    sally_calendar_timer_options options = {.on_tick = judge};
    assert_int_equal(sally_calendar_parse("*/7 * * * *", &options.calendar, NULL), 0);
    memset(&restless, 0, sizeof restless);
    assert_int_equal(sally_timer_start_calendar(world.engine, &options, NULL), 0);
    unsigned steps = 100, before = 0;
    for (unsigned i = 0; i < steps; i++) {
        run_ms(15 * MINUTE_MS + sally_sim_random(world.sim, 600000));
        assert_true(restless.ticks > before ||
                    newest_ms > sally_sim_world_ms(world.sim) - 7 * MINUTE_MS);
        before = restless.ticks;
        int64_t by_ms = (int64_t)sally_sim_random(world.sim, 10 * 3600000) - 5 * HOUR_MS;
        if (sally_sim_random(world.sim, 2)) by_ms /= 600;
        sally_sim_set_world_ms(world.sim, sally_sim_world_ms(world.sim) + by_ms);
    }
    assert_true(restless.ticks > steps / 2);
    end();
}

static void a_restless_clock_brings_nothing_twice(void **state)
{
    (void)state;
    seeds_run(SEEDS, 50, seed_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_at_each_instant),
        cmocka_unit_test(each_instant_comes_once),
        cmocka_unit_test(a_zone_moves_it),
        cmocka_unit_test(the_zone_of_this_machine_can_be_used),
        cmocka_unit_test(it_is_cancelled_as_any_timer),
        cmocka_unit_test(set_forward_it_comes_once_within_a_minute),
        cmocka_unit_test(set_back_a_little_nothing_comes_again),
        cmocka_unit_test(set_back_far_it_starts_anew),
        cmocka_unit_test(a_date_out_of_all_bounds_is_waited_out),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(they_are_among_timers_max),
        cmocka_unit_test(without_memory_nothing_is_left_behind),
        cmocka_unit_test(a_restless_clock_brings_nothing_twice),
    };
    return cmocka_run_group_tests_name("calendar_timer", tests, NULL, NULL);
}
