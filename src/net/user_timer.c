/* Timers of a program's own; see user_timer.h. */
#include "net/user_timer.h"

#include <assert.h>

#include "net/letter.h"
#include "net/shard.h"

enum { TIMERS_MAX = 1 << 20 };

/* ---- The table ---- */

static struct user_timers *table_of(const struct shard *shard)
{
    return atomic_load_explicit(&shard->user_timers, memory_order_acquire);
}

static void table__free(struct mem *mem, struct user_timers *table)
{
    slots_free(&table->slots);
    os_lock_free(&table->lock);
    mem_free(mem, table, sizeof *table);
}

/* Made by whoever comes first; of two who come at once, one gives his back. */
static int table__have(struct shard *shard, struct user_timers **out)
{
    struct mem *mem = &shard->engine->mem;
    uint32_t max = shard->engine->options.timers_max;
    *out = table_of(shard);
    if (*out) return 0;
    struct user_timers *table = mem_zalloc(mem, sizeof *table);
    if (!table) return SALLY_ENOMEM;
    int err = slots_init(&table->slots, mem, sizeof(struct user_timer), max ? max : TIMERS_MAX,
                         UINT32_MAX);
    if (err) {
        mem_free(mem, table, sizeof *table);
        return err;
    }
    os_lock_init(&table->lock);
    if (atomic_compare_exchange_strong(&shard->user_timers, out, table))
        *out = table;
    else
        table__free(mem, table);
    return 0;
}

void user_timers_free(struct shard *shard)
{
    struct user_timers *table = table_of(shard);
    if (table) table__free(&shard->engine->mem, table);
}

uint32_t user_timers_count(struct shard *shard)
{
    struct user_timers *table = table_of(shard);
    return table ? slots_taken(&table->slots) : 0;
}

/* ---- One timer, on its shard ---- */

/* Nothing refers to it any more: neither the wheel nor a letter. */
static void timer__end(struct shard *shard, struct user_timer *timer, sally_timer_end why)
{
    struct user_timers *table = table_of(shard);
    void (*on_end)(sally_timer_end, void *) = timer->on_end;
    void *user = timer->user;
    os_lock_take(&table->lock); /* so that nobody who found it is still looking at it */
    slots_give(&table->slots, timer);
    os_lock_give(&table->lock);
    if (on_end) on_end(why, user);
}

/* The next time after now, and how many are left out on the way there. */
static uint64_t timer__pass(struct user_timer *timer, uint64_t now_ms)
{
    if (!timer->period_ms) return 0;
    uint64_t missed = (now_ms - timer->due_ms) / timer->period_ms;
    timer->due_ms += (missed + 1) * timer->period_ms;
    return missed;
}

/* Whether it was in that state and is in the other now. */
static bool timer__move(struct user_timers *table, struct user_timer *timer,
                        enum user_timer_state from, enum user_timer_state to)
{
    os_lock_take(&table->lock);
    bool was = timer->state == from;
    if (was) timer->state = (uint8_t)to;
    os_lock_give(&table->lock);
    return was;
}

static void timer__fire(struct shard *shard, struct user_timer *timer)
{
    struct user_timers *table = table_of(shard);
    sally_timer_tick tick = {.id = shard_id(shard, &timer->slot),
                             .number = ++timer->number,
                             .missed = timer__pass(timer, shard->now_ms)};
    timer->on_tick(&tick, timer->user);
    if (!timer->period_ms && timer__move(table, timer, USER_TIMER_RUNNING, USER_TIMER_CANCELLED))
        timer__end(shard, timer, SALLY_TIMER_FIRED);
    else if (timer->period_ms && timer__move(table, timer, USER_TIMER_RUNNING, USER_TIMER_SET))
        wheel_set(&shard->wheel, &timer->timer, timer->due_ms);
    else
        timer__end(shard, timer, SALLY_TIMER_CANCELLED);
}

void user_timer_due_in(struct shard *shard, sally_timer_id id, uint32_t after_ms)
{
    struct user_timers *table = table_of(shard);
    os_lock_take(&table->lock);
    struct user_timer *timer = slots_find(&table->slots, id_slot(id), id_generation(id));
    os_lock_give(&table->lock);
    assert(timer); /* it fires */
    timer->due_ms = engine_due_ms(shard->engine, after_ms);
}

void user_timer_on_timer(struct shard *shard, struct user_timer *timer)
{
    struct user_timers *table = table_of(shard);
    if (timer__move(table, timer, USER_TIMER_SET, USER_TIMER_RUNNING)) {
        timer__fire(shard, timer);
        return;
    }
    os_lock_take(&table->lock);
    bool posted = timer->posted;
    os_lock_give(&table->lock);
    if (!posted) timer__end(shard, timer, SALLY_TIMER_CANCELLED);
}

void user_timer_on_letter(struct shard *shard, struct user_timer *timer)
{
    struct user_timers *table = table_of(shard);
    os_lock_take(&table->lock);
    bool cancelled = timer->state == USER_TIMER_CANCELLED;
    timer->posted = false;
    if (!cancelled) timer->state = USER_TIMER_SET;
    os_lock_give(&table->lock);
    if (cancelled) {
        wheel_cancel(&shard->wheel, &timer->timer);
        timer__end(shard, timer, SALLY_TIMER_CANCELLED);
    } else if (table->ending) {
        timer__end(shard, timer, SALLY_TIMER_SHUTDOWN);
    } else {
        wheel_set(&shard->wheel, &timer->timer, timer->due_ms);
    }
}

void user_timers_end(struct shard *shard)
{
    struct user_timers *table = table_of(shard);
    if (!table) return;
    table->ending = true;
    for (uint32_t i = 0; i < table->slots.capacity; i++) {
        struct user_timer *timer = slots_at(&table->slots, i);
        if (!timer) return;
        os_lock_take(&table->lock);
        bool taken = slot_generation(&timer->slot) & 1;
        bool cancelled = taken && timer->state == USER_TIMER_CANCELLED;
        bool ends = taken && !timer->posted && timer->state != USER_TIMER_NEW;
        if (ends) timer->state = USER_TIMER_CANCELLED;
        os_lock_give(&table->lock);
        if (!ends) continue;
        wheel_cancel(&shard->wheel, &timer->timer);
        timer__end(shard, timer, cancelled ? SALLY_TIMER_CANCELLED : SALLY_TIMER_SHUTDOWN);
    }
}

/* ---- Start ---- */

static bool options_are_valid(const sally_timer_options *options)
{
    return options->on_tick && options->after_ms != SALLY_FOREVER &&
           options->period_ms != SALLY_FOREVER;
}

/* A slot, filled; under the lock from the moment that it can be found. */
static int timer__make(struct shard *shard, const sally_timer_options *options, bool here,
                       struct user_timer **out)
{
    struct user_timers *table;
    int err = table__have(shard, &table);
    if (err) return err;
    if (here && table->ending) return SALLY_ESTATE;
    os_lock_take(&table->lock);
    struct user_timer *timer = slots_take(&table->slots);
    if (timer) {
        timer->letter = (struct letter){.mail = {sizeof *timer, LETTER_TIMER}};
        timer->timer.kind = TIMER_USER;
        timer->user = options->user;
        timer->on_tick = options->on_tick;
        timer->on_end = options->on_end;
        timer->due_ms = engine_due_ms(shard->engine, options->after_ms);
        timer->period_ms = options->period_ms;
        timer->state = here ? USER_TIMER_SET : USER_TIMER_NEW;
        timer->posted = !here;
    }
    os_lock_give(&table->lock);
    *out = timer;
    if (timer) return 0;
    return slots_taken(&table->slots) < table->slots.capacity ? SALLY_ENOMEM : SALLY_ELIMIT;
}

static int timer__start_here(struct shard *shard, const sally_timer_options *options,
                             sally_timer_id *id)
{
    struct user_timer *timer;
    int err = timer__make(shard, options, true, &timer);
    if (err) return err;
    if (id) *id = shard_id(shard, &timer->slot);
    wheel_set(&shard->wheel, &timer->timer, timer->due_ms);
    return 0;
}

/* The shard has promised not to end meanwhile. */
static int timer__send(struct shard *shard, const sally_timer_options *options, sally_timer_id *id)
{
    struct user_timer *timer;
    int err = timer__make(shard, options, false, &timer);
    if (err) return err;
    if (id) *id = shard_id(shard, &timer->slot); /* its callbacks may run once it is posted */
    err = shard_post(shard, &timer->letter, false);
    if (err) {
        struct user_timers *table = table_of(shard);
        os_lock_take(&table->lock);
        slots_give(&table->slots, timer);
        os_lock_give(&table->lock);
        if (id) *id = 0;
    }
    return err;
}

int sally_timer_start(sally_engine *engine, const sally_timer_options *options, sally_timer_id *id)
{
    if (!engine || !options || !options_are_valid(options)) return SALLY_EINVAL;
    struct shard *here = shard_current();
    if (here && here->engine == engine) return timer__start_here(here, options, id);
    /* in turn: timers are alike, and connections say nothing about them */
    unsigned turn = atomic_fetch_add_explicit(&engine->timer_turn, 1, memory_order_relaxed);
    struct shard *shard = engine->shards[turn % engine->shard_count];
    if (!shard_promise(shard)) return SALLY_ESTATE;
    int err = timer__send(shard, options, id);
    shard_withdraw(shard);
    return err;
}

/* ---- Cancel ---- */

/* On its shard: its on_end comes with the timers that are due. */
static void timer__cancelled_here(struct shard *shard, struct user_timer *timer)
{
    if (timer->on_end) {
        wheel_set(&shard->wheel, &timer->timer, shard->now_ms);
        return;
    }
    wheel_cancel(&shard->wheel, &timer->timer);
    timer__end(shard, timer, SALLY_TIMER_CANCELLED);
}

int sally_timer_cancel(sally_engine *engine, sally_timer_id id)
{
    if (!engine) return SALLY_EINVAL;
    unsigned index = id_shard(id);
    struct shard *shard = index < engine->shard_count ? engine->shards[index] : NULL;
    struct user_timers *table = shard ? table_of(shard) : NULL;
    if (!table) return SALLY_ECLOSED;
    bool here = shard_current() == shard;
    os_lock_take(&table->lock);
    struct user_timer *timer = slots_find(&table->slots, id_slot(id), id_generation(id));
    bool found = timer && timer->state != USER_TIMER_CANCELLED;
    bool was_set = found && timer->state == USER_TIMER_SET;
    if (found) timer->state = USER_TIMER_CANCELLED;
    if (was_set && !here) timer->posted = true;
    os_lock_give(&table->lock);
    if (!found) return SALLY_ECLOSED;
    if (was_set && here)
        timer__cancelled_here(shard, timer);
    else if (was_set)
        (void)shard_post(shard, &timer->letter, true); /* one for each timer at most */
    return 0;
}

uint64_t sally_timer_count(sally_engine *engine)
{
    uint64_t count = 0;
    for (unsigned i = 0; engine && i < engine->shard_count; i++)
        count += user_timers_count(engine->shards[i]);
    return count;
}
