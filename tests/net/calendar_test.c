/* Timers by the calendar (P-89) with what is the machine's: its clocks, its zones, its threads.
 * What they do when the clock is set is tests/sim/calendar_timer_test.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/support/accept_tools.h"
#include "sallyport/calendar.h"
#include "sallyport/sim.h"

enum { ALARMS = 40, TICKS_MAX = 8, ROUNDS = SANITIZED ? 5 : 25 };
#define HOUR_MS INT64_C(3600000)

struct alarm {
    sally_timer_id id;
    atomic_uint ticks, ends;
    atomic_int why;
    bool wrong;
    int64_t due_ms[TICKS_MAX];
    int32_t offset_s;
};

static void on_tick(const sally_calendar_tick *tick, void *user)
{
    struct alarm *alarm = user;
    unsigned tick_number = atomic_load(&alarm->ticks);
    if (tick->number != tick_number + 1 || tick->now_ms < tick->due_ms) alarm->wrong = true;
    if (tick_number < TICKS_MAX) alarm->due_ms[tick_number] = tick->due_ms;
    atomic_store(&alarm->ticks, tick_number + 1);
}

static void on_end(sally_timer_end why, void *user)
{
    struct alarm *alarm = user;
    atomic_store(&alarm->why, (int)why);
    atomic_fetch_add(&alarm->ends, 1);
}

static int start(sally_engine *engine, struct alarm *alarm, const char *line, sally_zone zone)
{
    sally_calendar_timer_options options = {
        .zone = zone, .user = alarm, .on_tick = on_tick, .on_end = on_end};
    check_error(sally_calendar_parse(line, &options.calendar, NULL), 0);
    return sally_timer_start_calendar(engine, &options, &alarm->id);
}

/* ---- Real engines ---- */

static int32_t alarm_offset(void *user, int64_t unix_s)
{
    (void)unix_s;
    return ((struct alarm *)user)->offset_s;
}

/* In a zone in which a minute begins a second from now. On a machine that takes longer to start it,
 * again. */
static void it_comes_by_the_machines_clock(const struct setting *setting)
{
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    for (bool came = false; !came;) {
        struct alarm alarm = {0};
        int64_t soon_s = (int64_t)time(NULL) + 1;
        alarm.offset_s = (int32_t)(60 - soon_s % 60);
        check_error(start(rig.engine, &alarm, "* * * * *", (sally_zone){alarm_offset, &alarm}), 0);
        uint64_t end_ms = tools_now_ms() + 3000;
        while (!atomic_load(&alarm.ticks) && tools_now_ms() < end_ms) tools_nap_ms(2);
        check_error(sally_timer_cancel(rig.engine, alarm.id), 0);
        until(atomic_load(&alarm.ends) == 1);
        came = atomic_load(&alarm.ticks) == 1;
        check(!alarm.wrong);
        if (came) check_equal((alarm.due_ms[0] / 1000 + alarm.offset_s) % 60, 0);
    }
    rig_end(&rig);
}

/* Started and cancelled from outside, and what is left ends with the engine. */
static void threads_start_and_end_them(const struct setting *setting)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct alarm alarms[ALARMS];
        struct rig rig;
        memset(alarms, 0, sizeof alarms);
        rig_open(&rig, setting);
        if (round % 2) rig_start(&rig);
        for (int i = 0; i < ALARMS; i++)
            check_error(start(rig.engine, &alarms[i], "0 0 1 1 *", sally_zone_local()), 0);
        for (int i = 0; i < ALARMS; i += 2)
            check_error(sally_timer_cancel(rig.engine, alarms[i].id), 0);
        if (round % 2 == 0 && round % 4) rig_start(&rig);
        rig_end(&rig);
        for (int i = 0; i < ALARMS; i++) {
            check_equal(atomic_load(&alarms[i].ends), 1);
            check_equal(atomic_load(&alarms[i].why),
                        i % 2 ? SALLY_TIMER_SHUTDOWN : SALLY_TIMER_CANCELLED);
        }
    }
}

/* ---- A zone of this machine, in virtual time ---- */

static void run_hours(sally_sim *sim, unsigned hours)
{
    check(sally_sim_run(sim, hours * 3600 * 1000) >= 0);
}

/* Berlin in 2024: 02:00 is 03:00 at 01:00 UTC on 31 March, 03:00 is 02:00 at 01:00 UTC on 27
 * October. */
static void summer_time_begins_and_ends(const struct setting *setting)
{
    (void)setting;
    enum { MARCH_S = 1711846800, OCTOBER_S = 1729990800 };
    bool files = access("/usr/share/zoneinfo/Europe/Berlin", R_OK) == 0;
    check(setenv("TZ", files ? "Europe/Berlin" : "CET-1CEST,M3.5.0,M10.5.0/3", 1) == 0);
    tzset();
    for (int64_t change_s = MARCH_S; change_s; change_s = change_s == MARCH_S ? OCTOBER_S : 0) {
        struct alarm at_half_past_two = {0}, each_hour = {0};
        const int64_t change_ms = change_s * 1000;
        sally_sim *sim;
        sally_engine *engine;
        check_error(sally_sim_create(&sim, 1, NULL), 0);
        check_error(sally_sim_engine(sim, NULL, &engine), 0);
        sally_sim_set_world_ms(sim, change_ms - 2 * HOUR_MS + 2);
        check_error(start(engine, &at_half_past_two, "30 2 * * *", sally_zone_local()), 0);
        check_error(start(engine, &each_hour, "30 * * * *", sally_zone_local()), 0);
        run_hours(sim, 4);
        check_equal(atomic_load(&each_hour.ticks), 4); /* each that passes, whatever it is called */
        for (int i = 0; i < 4; i++)
            check_equal(each_hour.due_ms[i], change_ms + (i - 2) * HOUR_MS + HOUR_MS / 2);
        check_equal(atomic_load(&at_half_past_two.ticks), 1); /* not left out, and not twice */
        check_equal(at_half_past_two.due_ms[0],
                    change_s == MARCH_S ? change_ms : change_ms - HOUR_MS / 2);
        run_hours(sim, 24);
        check_equal(atomic_load(&at_half_past_two.ticks), 2);
        check_equal(at_half_past_two.due_ms[1],
                    change_ms + (change_s == MARCH_S ? 23 : 24) * HOUR_MS + HOUR_MS / 2);
        check(!at_half_past_two.wrong && !each_hour.wrong);
        check_error(sally_engine_destroy(engine), 0);
        sally_sim_destroy(sim);
    }
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(it_comes_by_the_machines_clock, ON_ONE),
        BEHAVIOUR(threads_start_and_end_them, ON_BOTH),
        BEHAVIOUR(summer_time_begins_and_ends, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
