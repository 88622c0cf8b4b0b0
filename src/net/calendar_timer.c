/* Timers of sallyport/calendar.h, as periodic timers of user_timer.h that look at the clock of the
 * date: when an instant is due, and once a minute, since people may have set that clock. Each has a
 * block of memory of its own from its start to its end. Its shard's alone once it has started. */
#include "net/engine.h"
#include "net/shard.h"
#include "net/user_timer.h"
#include "os/clock.h"
#include "sallyport/calendar.h"

enum { LOOK_MS = 60 * 1000 };

/* Set back by more than that, the clock was wrong before, and what came by it doesn't count. By
 * less, it has the right instants behind it. */
#define SET_BACK_MS (3 * INT64_C(3600000))

struct calendar_timer {
    sally_engine *engine;
    sally_calendar_timer_options options;
    uint64_t number;
    int64_t done_ms; /* no instant up to here comes (again) */
};

/* What the date is, as people have set it. */
static int64_t world_ms(const sally_engine *engine)
{
    return engine->host.world_ms ? engine->host.world_ms(engine->host.ctx) : 0;
}

static int32_t local_offset(void *user, int64_t unix_s)
{
    (void)user;
    return os_local_offset_s(unix_s);
}

sally_zone sally_zone_local(void) { return (sally_zone){.offset_s = local_offset}; }

static const sally_zone *zone_of(const struct calendar_timer *timer)
{
    return timer->options.zone.offset_s ? &timer->options.zone : NULL;
}

/* Whether an instant is due, and how long from now to the next look. */
static bool timer__look(struct calendar_timer *timer, int64_t now_ms, int64_t *due_ms,
                        uint32_t *wait_ms)
{
    int64_t next_ms;
    bool due = false;
    *wait_ms = LOOK_MS;
    if (now_ms < timer->done_ms - SET_BACK_MS) timer->done_ms = now_ms;
    /* no calendar knows such a date: nothing comes until that was set right */
    if (sally_calendar_next(&timer->options.calendar, timer->done_ms, zone_of(timer), &next_ms)) {
        timer->done_ms = now_ms;
        return false;
    }
    if (next_ms <= now_ms) {
        due = true;
        *due_ms = next_ms;
        timer->done_ms = now_ms;
        if (sally_calendar_next(&timer->options.calendar, now_ms, zone_of(timer), &next_ms))
            return true;
    }
    if (next_ms - now_ms < LOOK_MS) *wait_ms = (uint32_t)(next_ms - now_ms);
    return due;
}

static void on_tick(const sally_timer_tick *tick, void *user)
{
    struct calendar_timer *timer = user;
    sally_calendar_tick told = {.id = tick->id, .now_ms = world_ms(timer->engine)};
    uint32_t wait_ms;
    bool due = timer__look(timer, told.now_ms, &told.due_ms, &wait_ms);
    user_timer_due_in(shard_current(), tick->id, wait_ms);
    if (!due) return;
    told.number = ++timer->number;
    timer->options.on_tick(&told, timer->options.user);
}

static void on_end(sally_timer_end why, void *user)
{
    struct calendar_timer *timer = user;
    sally_calendar_timer_options options = timer->options;
    mem_free(&timer->engine->mem, timer, sizeof *timer);
    if (options.on_end) options.on_end(why, options.user);
}

int sally_timer_start_calendar(sally_engine *engine, const sally_calendar_timer_options *options,
                               sally_timer_id *id)
{
    if (!engine || !options || !options->on_tick) return SALLY_EINVAL;
    struct calendar_timer *timer = mem_zalloc(&engine->mem, sizeof *timer);
    if (!timer) return SALLY_ENOMEM;
    int64_t now_ms = world_ms(engine), due_ms;
    uint32_t wait_ms;
    timer->engine = engine;
    timer->options = *options;
    timer->done_ms = now_ms;
    int err = sally_calendar_next(&options->calendar, now_ms, zone_of(timer), &due_ms);
    if (err == SALLY_EINVAL) err = 0; /* the date is out of all bounds; it may be set */
    if (!err) {
        (void)timer__look(timer, now_ms, &due_ms, &wait_ms);
        sally_timer_options plain = {.after_ms = wait_ms,
                                     .period_ms = LOOK_MS,
                                     .user = timer,
                                     .on_tick = on_tick,
                                     .on_end = on_end};
        err = sally_timer_start(engine, &plain, id);
    }
    if (err) mem_free(&engine->mem, timer, sizeof *timer);
    return err;
}
