/* The next instant that a calendar names. Pure but for the zone's function; any thread.
 *
 * Two kinds of seconds are counted from 1970: instants, in UTC, and local times, which are what a
 * clock on the wall shows, as if that were UTC. A zone makes one of the other; where it changes, a
 * local time may stand for no instant or for two. That it changes at most once within two days is
 * taken for granted: since 1970 no zone of the tz database has done otherwise. */
#include "sallyport/calendar.h"

#define YEAR_10000_MS INT64_C(253402300800000)

enum {
    MINUTE_S = 60,
    DAY_S = 86400,
    DAY_MINUTES = 1440,
    YEARS_MAX = 41,              /* 29 February on a given day of the week: 40 years, across 2100 */
    TRIES_MAX = 3 * DAY_MINUTES, /* a zone may leave out a day or have one twice */
    HOURS_ALL = (1 << 24) - 1,
};

/* ---- Days ---- */

struct date {
    int64_t day; /* since 1970 */
    int64_t year;
    unsigned month, of_month;
};

static bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100) || year % 400 == 0; }

static unsigned month_days(const struct date *date)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[date->month - 1] + (date->month == 2 && is_leap(date->year));
}

static int64_t leaps_before(int64_t year)
{
    return (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
}

static int64_t year_begins(int64_t year)
{
    return (year - 1970) * 365 + leaps_before(year) - leaps_before(1970);
}

/* The day may lie a little before 1970. */
static struct date date_of(int64_t day)
{
    struct date date = {.day = day, .year = 1968 + day / 366, .month = 1};
    while (year_begins(date.year + 1) <= day) date.year++;
    unsigned left = (unsigned)(day - year_begins(date.year));
    for (; left >= month_days(&date); date.month++) left -= month_days(&date);
    date.of_month = left + 1;
    return date;
}

static void date_next_month(struct date *date)
{
    date->day += month_days(date) - date->of_month + 1;
    date->of_month = 1;
    if (date->month++ < 12) return;
    date->month = 1;
    date->year++;
}

static void date_next(struct date *date)
{
    if (date->of_month == month_days(date)) {
        date_next_month(date);
        return;
    }
    date->of_month++;
    date->day++;
}

static bool day_matches(const sally_calendar *calendar, const struct date *date)
{
    unsigned weekday = (unsigned)((date->day + 7 + 4) % 7); /* 1970 began on a Thursday */
    bool in_days = calendar->days >> date->of_month & 1;
    bool in_weekdays = calendar->weekdays >> weekday & 1;
    return calendar->both_days ? in_days && in_weekdays : in_days || in_weekdays;
}

/* The first such minute of a day, from this one on; DAY_MINUTES: none. */
static unsigned minute_next(const sally_calendar *calendar, unsigned from)
{
    for (unsigned minute = from; minute < DAY_MINUTES; minute++) {
        bool in_hour = calendar->hours >> minute / 60 & 1;
        if (in_hour && calendar->minutes >> minute % 60 & 1) return minute;
        if (!in_hour) minute += 59 - minute % 60;
    }
    return DAY_MINUTES;
}

/* The first local time from this one's minute on. */
static bool local_next(const sally_calendar *calendar, int64_t from_s, int64_t *local_s)
{
    int64_t minutes = (from_s + DAY_S) / MINUTE_S; /* since a day before 1970 */
    unsigned from = (unsigned)(minutes % DAY_MINUTES);
    struct date date = date_of(minutes / DAY_MINUTES - 1);
    for (int64_t last = date.year + YEARS_MAX; date.year <= last; from = 0) {
        if (!(calendar->months >> date.month & 1)) {
            date_next_month(&date);
            continue;
        }
        unsigned minute = day_matches(calendar, &date) ? minute_next(calendar, from) : DAY_MINUTES;
        if (minute < DAY_MINUTES) {
            *local_s = date.day * DAY_S + (int64_t)minute * MINUTE_S;
            return true;
        }
        date_next(&date);
    }
    return false;
}

/* ---- Zones ---- */

static int64_t offset_at(const sally_zone *zone, int64_t instant_s)
{
    if (!zone || !zone->offset_s) return 0;
    int32_t offset_s = zone->offset_s(zone->user, instant_s);
    if (offset_s > DAY_S) return DAY_S;
    return offset_s < -DAY_S ? -DAY_S : offset_s;
}

/* The first instant in (from, to] whose offset is not that of `from`. */
static int64_t zone_change(const sally_zone *zone, int64_t from_s, int64_t to_s)
{
    int64_t offset_s = offset_at(zone, from_s);
    while (to_s - from_s > 1) {
        int64_t middle_s = from_s + (to_s - from_s) / 2;
        if (offset_at(zone, middle_s) == offset_s)
            from_s = middle_s;
        else
            to_s = middle_s;
    }
    return to_s;
}

/* A local time, and the offsets a day before and after it: one of them is its own. */
struct local {
    int64_t local_s;
    int64_t before_s, after_s;
};

static struct local local_look(const sally_zone *zone, int64_t local_s)
{
    return (struct local){local_s, offset_at(zone, local_s - DAY_S),
                          offset_at(zone, local_s + DAY_S)};
}

/* The earliest instant after `after_s` that the local time is taken for; INT64_MAX: none. */
static int64_t local_instant(const sally_zone *zone, const struct local *local, bool each_hour,
                             int64_t after_s)
{
    int64_t early_s = local->local_s - local->before_s, late_s = local->local_s - local->after_s;
    bool is_early = offset_at(zone, early_s) == local->before_s;
    bool is_late = offset_at(zone, late_s) == local->after_s;
    if (local->before_s == local->after_s || (is_early && (!each_hour || early_s > after_s)))
        return early_s > after_s ? early_s : INT64_MAX;
    if (is_late) return late_s > after_s ? late_s : INT64_MAX;
    if (each_hour || is_early) return INT64_MAX;
    int64_t change_s = zone_change(zone, local->local_s - DAY_S, local->local_s + DAY_S);
    return change_s > after_s ? change_s : INT64_MAX;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Around a change the order of local times is not that of their instants: so it begins with the
 * earliest that may come after, and goes on until none can come before the best. */
static int64_t instant_next(const sally_calendar *calendar, int64_t after_s, const sally_zone *zone)
{
    bool each_hour = (calendar->hours & HOURS_ALL) == HOURS_ALL;
    int64_t best_s = INT64_MAX;
    if (minute_next(calendar, 0) == DAY_MINUTES) return best_s; /* made by hand */
    int64_t from_s =
        after_s + least(offset_at(zone, after_s),
                        least(offset_at(zone, after_s - DAY_S), offset_at(zone, after_s + DAY_S)));
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        int64_t local_s;
        if (!local_next(calendar, from_s, &local_s)) break;
        struct local local = local_look(zone, local_s);
        if (best_s != INT64_MAX && local_s - local.before_s >= best_s &&
            local_s - local.after_s >= best_s)
            break;
        best_s = least(best_s, local_instant(zone, &local, each_hour, after_s));
        from_s = local_s + MINUTE_S;
    }
    return best_s;
}

int sally_calendar_next(const sally_calendar *calendar, int64_t after_ms, const sally_zone *zone,
                        int64_t *next_ms)
{
    if (!calendar || !next_ms || after_ms < 0 || after_ms >= YEAR_10000_MS) return SALLY_EINVAL;
    int64_t next_s = instant_next(calendar, after_ms / 1000, zone);
    if (next_s == INT64_MAX) return SALLY_ENOENTRY;
    *next_ms = next_s * 1000;
    return 0;
}
