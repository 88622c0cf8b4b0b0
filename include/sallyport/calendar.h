/* Sallyport: times by the calendar, written as a line of crontab(5), and timers that come by them.
 *
 *     sally_calendar_timer_options options = {.on_tick = tidy_up};
 *     unsigned column;
 *     if (sally_calendar_parse("30 4 * * mon-fri", &options.calendar, &column)) ... see column ...
 *     if (sally_timer_start_calendar(engine, &options, NULL)) ...
 *
 * A line has five fields with blanks between them:
 *
 *     field         values                                     "*" is
 *     minute        0-59                                       every minute
 *     hour          0-23                                       every hour
 *     day of month  1-31                                       every day
 *     month         1-12, or jan feb mar apr may jun jul
 *                   aug sep oct nov dec                        every month
 *     day of week   0-7 (0 and 7 are Sunday), or sun mon tue
 *                   wed thu fri sat                            every day
 *
 * A field is a list of parts with commas between them; a part is a value, a range "a-b" with both
 * its ends, or "*", and the latter two may have a step: "10-40/10" is 10, 20, 30, 40, and "*" with
 * a step of 15 in the first field is 0, 15, 30, 45. Names are read in any case and may stand
 * wherever a number may; a range of days may end with sun. All of it is what POSIX says of
 * crontab(1), with the steps, names and Sunday's 7 of Vixie's cron. Its "@daily" and the like and
 * its commands are not.
 *
 * The two fields for days: when both are restricted, a day is one that either of them names ("0 0
 * 13 * fri" is every 13th and every Friday). A field that begins with "*" does not count as
 * restricted; then a day has to be in both.
 *
 * Time zones. Times are those of UTC, or of a zone, which is a function from an instant to what has
 * to be added to UTC. Where a zone's clock is set (summer time), as in Vixie's cron:
 *   forward   times that the clock leaves out come once, at the moment it is set: "30 2 * * *" at
 *             03:00 on that day. Unless all 24 hours are named: then they are left out
 *   back      times that come twice are taken the first time. Unless all 24 hours are named: then
 *             they are taken both times, so that "0 * * * *" comes each hour that passes
 *
 * Instants are milliseconds since 1970 in UTC, without leap seconds, as everywhere in POSIX. */
#ifndef SALLYPORT_CALENDAR_H
#define SALLYPORT_CALENDAR_H

#include "sallyport.h"
#include "sallyport/timer.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* A line that was read, or one made by hand: bit n of a field stands for its value n. */
typedef struct sally_calendar {
    uint64_t minutes;
    uint32_t hours;
    uint32_t days;     /* of the month: bits 1 to 31 */
    uint32_t months;   /* bits 1 to 12 */
    uint32_t weekdays; /* bits 0 to 6; Sunday is 0 */
    bool both_days;    /* a day has to be in `days` and in `weekdays`; else one of them will do */
} sally_calendar;

/* Reads a line. SALLY_EMALFORMED: *column (may be NULL) is where the first thing is that makes no
 * sense, from 1 on: the beginning of a number or name, the character that should be another one, or
 * the place after the end where something is missing. SALLY_EINVAL for NULL. [any] */
SALLY_API int sally_calendar_parse(const char *line, sally_calendar *calendar,
                                   unsigned *column) SALLY_MUST_USE;

/* What has to be added to UTC at an instant, in seconds; `unix_s` counts from 1970. Called on any
 * thread. More than a day either way is taken as a day. */
typedef struct sally_zone {
    int32_t (*offset_s)(void *user, int64_t unix_s); /* NULL: UTC */
    void *user;
} sally_zone;

/* The zone of this machine, by localtime_r(3), or _localtime64_s on Windows; the C library looks
 * for it (TZ, see tzset(3)) when it is first asked for a local time. [any] */
SALLY_API sally_zone sally_zone_local(void);

/* The first instant after `after_ms` that the calendar names; `zone` NULL: in UTC. A pure function
 * of what it is given, and of the zone. It looks 41 years ahead, which is longer than any day that
 * exists is away (29 February on a given day of the week). SALLY_ENOENTRY: there is none ("0 0 30 2
 * *"). SALLY_EINVAL: NULL, or `after_ms` is not of the years 1970 to 9999. [any] */
SALLY_API int sally_calendar_next(const sally_calendar *calendar, int64_t after_ms,
                                  const sally_zone *zone, int64_t *next_ms) SALLY_MUST_USE;

/* ---- Timers ---- */

typedef struct sally_calendar_tick {
    sally_timer_id id;
    uint64_t number; /* 1 for the first */
    int64_t due_ms;  /* the instant it comes for; the first one if there were several */
    int64_t now_ms;  /* by the clock of the date; never before due_ms */
} sally_calendar_tick;

typedef struct sally_calendar_timer_options {
    sally_calendar calendar;
    sally_zone zone; /* zero: UTC */
    void *user;
    void (*on_tick)(const sally_calendar_tick *tick, void *user); /* not NULL */
    void (*on_end)(sally_timer_end why, void *user);              /* NULL: nobody has to know */
} sally_calendar_timer_options;

/* Starts a timer that comes at each instant the calendar names, by the machine's clock of the date
 * (clock_gettime(2) CLOCK_REALTIME; GetSystemTimePreciseAsFileTime), until it is cancelled or the
 * engine ends. It is one of the timers of sallyport/timer.h: on one shard, among timers_max, ended
 * by sally_timer_cancel, its callbacks in the same order.
 *
 * People and programs set that clock. It is looked at once a minute and when an instant is due, and
 *   set forward  past any number of instants, the timer comes once for all of them, within a minute
 *                (as after anything else that held it up: a stall, a machine that slept)
 *   set back     up to 3 hours, what has come does not come again; further back, it starts anew
 *                from the new date
 *
 * After 0 on_end follows once. SALLY_EINVAL (no on_tick), SALLY_ENOENTRY (it would never come),
 * SALLY_ELIMIT, SALLY_EFULL, SALLY_ENOMEM, SALLY_ESTATE, as sally_timer_start. [any] */
SALLY_API int sally_timer_start_calendar(sally_engine *engine,
                                         const sally_calendar_timer_options *options,
                                         sally_timer_id *id) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
