/* Timers of a program's own (P-88): when they come, how they end, from which threads. In the
 * simulator, where a millisecond is exactly one, and on real engines, where threads meet. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/support/accept_tools.h"
#include "sallyport/sim.h"
#include "sallyport/timer.h"

enum { MILLION = SANITIZED ? 50000 : 1000000, RACERS = 2000, RUNNERS = 3, SEEDS = 40 };

/* One timer, and what came of it. */
struct clock {
    sally_engine *engine;
    sally_sim *sim;
    sally_timer_id id;
    uint64_t began_ms, last_ms, missed;
    uint32_t after_ms, period_ms;
    atomic_uint ticks, ends;
    atomic_int why, told; /* told: what a cancel returned; 1: nobody cancelled */
    unsigned stop_at;     /* cancels itself at this tick */
    struct clock *kills;  /* cancels that one */
    struct clock *then;   /* starts that one from on_end */
    int then_err;
    bool wrong;
    pthread_t thread;
};

static unsigned order[8];
static unsigned ordered;

static int start(struct clock *clock);

static void cancel(struct clock *clock)
{
    int err = sally_timer_cancel(clock->engine, clock->id);
    if (atomic_load(&clock->told) == 1) atomic_store(&clock->told, err);
}

static void on_tick(const sally_timer_tick *tick, void *user)
{
    struct clock *clock = user;
    unsigned ticks = atomic_fetch_add(&clock->ticks, 1) + 1;
    clock->thread = pthread_self();
    clock->missed += tick->missed;
    if (tick->id != clock->id) clock->wrong = true;
    if (tick->number != ticks || atomic_load(&clock->ends)) clock->wrong = true;
    if (clock->sim) {
        clock->last_ms = sally_sim_now_ms(clock->sim);
        uint64_t due = clock->began_ms + clock->after_ms +
                       (tick->number - 1 + clock->missed) * clock->period_ms;
        uint64_t late = clock->last_ms - due;
        /* the sim's milliseconds begin at another moment than the engine's, so one more */
        if (clock->last_ms < due || (clock->period_ms && late > clock->period_ms))
            clock->wrong = true;
        if (atomic_load(&clock->told) == 0) clock->wrong = true; /* it was cancelled */
    }
    if (clock->kills) cancel(clock->kills);
    if (ticks == clock->stop_at) cancel(clock);
}

static void on_end(sally_timer_end why, void *user)
{
    struct clock *clock = user;
    atomic_store(&clock->why, (int)why);
    if (clock->sim && ordered < 8) order[ordered++] = clock->after_ms;
    if (clock->then) clock->then_err = start(clock->then);
    atomic_fetch_add(&clock->ends, 1); /* last: tests wait for it */
}

static int start(struct clock *clock)
{
    sally_timer_options options = {.after_ms = clock->after_ms,
                                   .period_ms = clock->period_ms,
                                   .user = clock,
                                   .on_tick = on_tick,
                                   .on_end = on_end};
    atomic_store(&clock->told, 1);
    if (clock->sim) clock->began_ms = sally_sim_now_ms(clock->sim);
    return sally_timer_start(clock->engine, &options, &clock->id);
}

static sally_sim *sim_new(uint64_t seed, unsigned shards, sally_engine **engine)
{
    sally_sim *sim;
    sally_engine_options options = {.shards = shards};
    check_error(sally_sim_create(&sim, seed, NULL), 0);
    check_error(sally_sim_engine(sim, &options, engine), 0);
    return sim;
}

static void sim_end(sally_sim *sim, sally_engine *engine)
{
    check_error(sally_engine_destroy(engine), 0);
    check_equal(sally_sim_memory_bytes(sim), 0);
    sally_sim_destroy(sim);
}

/* ---- Simulated ---- */

static void one_comes_once_at_its_time(const struct setting *setting)
{
    (void)setting;
    static const uint32_t times[] = {0, 1, 2, 63, 64, 65, 4096, 1000000, 86400000};
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        sally_engine *engine;
        sally_sim *sim = sim_new(i, 1, &engine);
        struct clock clock = {.engine = engine, .sim = sim, .after_ms = times[i]};
        sally_sim_run(sim, 10);
        check_error(start(&clock), 0);
        check_equal(sally_timer_count(engine), 1);
        sally_sim_run(sim, 90000000);
        check_equal(atomic_load(&clock.ticks), 1);
        check_equal(clock.last_ms, clock.began_ms + times[i]);
        check_equal(atomic_load(&clock.ends), 1);
        check_equal(atomic_load(&clock.why), SALLY_TIMER_FIRED);
        check_equal(sally_timer_count(engine), 0);
        check_error(sally_timer_cancel(engine, clock.id), SALLY_ECLOSED);
        sim_end(sim, engine);
        check(!clock.wrong);
    }
}

/* on_tick compares each time with first + n periods. */
static void a_periodic_one_does_not_drift(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(1, 1, &engine);
    struct clock clock = {.engine = engine, .sim = sim, .after_ms = 3, .period_ms = 7};
    check_error(start(&clock), 0);
    sally_sim_run(sim, 3 + 7 * 9999 + 1);
    check_equal(atomic_load(&clock.ticks), 10000);
    check_equal(clock.missed, 0);
    sim_end(sim, engine);
    check_equal(atomic_load(&clock.why), SALLY_TIMER_SHUTDOWN);
    check(!clock.wrong);
}

static void what_a_stall_missed_is_counted_and_fired_once(const struct setting *setting)
{
    (void)setting;
    uint64_t missed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sally_engine *engine;
        sally_sim *sim = sim_new(seed, 1, &engine);
        sally_sim_faults faults = {.stall = 200000};
        sally_sim_set_faults(sim, &faults);
        struct clock clock = {.engine = engine, .sim = sim, .after_ms = 5, .period_ms = 10};
        check_error(start(&clock), 0);
        sally_sim_run(sim, 5 + 10 * 999);
        sally_sim_set_faults(sim, NULL);
        sally_sim_run(sim, 600); /* a stall that has begun ends */
        uint64_t periods = 1 + (clock.last_ms - clock.began_ms - 5) / 10;
        uint64_t counted = atomic_load(&clock.ticks) + clock.missed;
        check(counted == periods || counted + 1 == periods);
        missed += clock.missed;
        sim_end(sim, engine);
        check(!clock.wrong);
    }
    check(missed > SEEDS);
}

static void those_of_one_moment_come_in_the_order_of_their_start(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(3, 1, &engine);
    struct clock clocks[4] = {
        {.after_ms = 13}, {.after_ms = 12}, {.after_ms = 11}, {.after_ms = 10}};
    ordered = 0;
    for (int i = 0; i < 4; i++) {
        clocks[i].engine = engine;
        clocks[i].sim = sim;
        check_error(start(&clocks[i]), 0);
        sally_sim_run(sim, 1); /* so that all are due together */
    }
    sally_sim_run(sim, 100);
    for (unsigned i = 0; i < 4; i++) check_equal(order[i], 13 - i);
    sim_end(sim, engine);
}

static void a_cancelled_one_never_fires(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(4, 1, &engine);
    /* due at the same moment, so collected already when it is cancelled */
    struct clock victim = {.engine = engine, .sim = sim, .after_ms = 10};
    struct clock killer = {.engine = engine, .sim = sim, .after_ms = 10, .kills = &victim};
    struct clock later = {.engine = engine, .sim = sim, .after_ms = 50};
    struct clock outside = {.engine = engine, .sim = sim, .after_ms = 20};
    struct clock itself = {
        .engine = engine, .sim = sim, .after_ms = 1, .period_ms = 1, .stop_at = 5};
    struct clock once = {.engine = engine, .sim = sim, .after_ms = 1, .stop_at = 1};
    struct clock *all[] = {&killer, &victim, &later, &outside, &itself, &once};
    for (int i = 0; i < 6; i++) check_error(start(all[i]), 0);
    cancel(&outside); /* before its letter has arrived */
    sally_sim_run(sim, 10);
    cancel(&later); /* in the wheel */
    check_error(sally_timer_cancel(engine, later.id), SALLY_ECLOSED);
    sally_sim_run(sim, 2); /* long before it would have come */
    check_equal(atomic_load(&later.ends), 1);
    sally_sim_run(sim, 100);
    check_equal(atomic_load(&killer.ticks), 1);
    check_equal(atomic_load(&itself.ticks), 5);
    check_equal(atomic_load(&once.ticks), 1);
    for (int i = 1; i < 6; i++) {
        check_equal(atomic_load(&all[i]->told), 0);
        check_equal(atomic_load(&all[i]->why), SALLY_TIMER_CANCELLED);
        check_equal(atomic_load(&all[i]->ends), 1);
        check(!all[i]->wrong);
        if (i < 4) check_equal(atomic_load(&all[i]->ticks), 0);
    }
    check_equal(sally_timer_count(engine), 0);
    sim_end(sim, engine);
}

static void an_engine_that_ends_tells_every_timer(const struct setting *setting)
{
    (void)setting;
    for (unsigned shards = 1; shards <= 3; shards++) {
        sally_engine *engine;
        sally_sim *sim = sim_new(5, shards, &engine);
        struct clock refused = {.engine = engine, .sim = sim};
        struct clock clocks[20] = {{.then = &refused}};
        for (unsigned i = 0; i < 20; i++) {
            clocks[i].engine = engine;
            clocks[i].sim = sim;
            clocks[i].after_ms = 1000;
            clocks[i].period_ms = i % 2;
            if (i == 10) sally_sim_run(sim, 5); /* half of them by letters not yet read */
            check_error(start(&clocks[i]), 0);
        }
        cancel(&clocks[19]);
        sim_end(sim, engine);
        for (unsigned i = 0; i < 20; i++) {
            check_equal(atomic_load(&clocks[i].ends), 1);
            check_equal(atomic_load(&clocks[i].ticks), 0);
            check_equal(atomic_load(&clocks[i].why),
                        i == 19 ? SALLY_TIMER_CANCELLED : SALLY_TIMER_SHUTDOWN);
        }
        check_error(clocks[0].then_err, SALLY_ESTATE);
    }
}

static void their_number_is_bounded(const struct setting *setting)
{
    (void)setting;
    sally_sim *sim;
    sally_engine *engine;
    sally_engine_options options = {.shards = 1, .timers_max = 10};
    struct clock clocks[10] = {{0}}, more = {0};
    check_error(sally_sim_create(&sim, 6, NULL), 0);
    check_error(sally_sim_engine(sim, &options, &engine), 0);
    for (int round = 0; round < 3; round++) {
        memset(clocks, 0, sizeof clocks);
        for (int i = 0; i < 10; i++) {
            clocks[i].engine = engine;
            clocks[i].after_ms = 5;
            check_error(start(&clocks[i]), 0);
        }
        more.engine = engine;
        check_error(start(&more), SALLY_ELIMIT);
        sally_sim_run(sim, 20);
    }
    sim_end(sim, engine);
    check_equal(atomic_load(&more.ends), 0);
    options.timers_max = (1u << 24) + 1;
    check_error(sally_sim_create(&sim, 6, NULL), 0);
    check_error(sally_sim_engine(sim, &options, &engine), SALLY_EINVAL);
    sally_sim_destroy(sim);
}

static void without_memory_nothing_is_left_behind(const struct setting *setting)
{
    (void)setting;
    for (uint64_t nth = 1;; nth++) {
        sally_engine *engine;
        sally_sim *sim = sim_new(7, 1, &engine);
        struct clock clock = {.engine = engine, .sim = sim, .after_ms = 5};
        sally_sim_fail_alloc_at(sim, nth, false);
        int err = start(&clock);
        bool failed = sally_sim_alloc_failed(sim);
        check_error(err, failed ? SALLY_ENOMEM : 0);
        sally_sim_run(sim, 20);
        check_equal(atomic_load(&clock.ends), failed ? 0 : 1);
        sim_end(sim, engine);
        if (!failed) {
            check(nth >= 4); /* the table, its list of chunks, a chunk */
            return;
        }
    }
}

static void what_makes_no_sense_is_refused(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(8, 1, &engine);
    sally_timer_options options = {.user = engine};
    check_error(sally_timer_start(engine, &options, NULL), SALLY_EINVAL);
    options.on_tick = on_tick;
    check_error(sally_timer_start(NULL, &options, NULL), SALLY_EINVAL);
    check_error(sally_timer_start(engine, NULL, NULL), SALLY_EINVAL);
    options.after_ms = SALLY_FOREVER;
    check_error(sally_timer_start(engine, &options, NULL), SALLY_EINVAL);
    options.after_ms = 0;
    options.period_ms = SALLY_FOREVER;
    check_error(sally_timer_start(engine, &options, NULL), SALLY_EINVAL);
    check_error(sally_timer_cancel(NULL, 1), SALLY_EINVAL);
    check_error(sally_timer_cancel(engine, 0), SALLY_ECLOSED);
    check_error(sally_timer_cancel(engine, UINT64_MAX), SALLY_ECLOSED);
    check_equal(sally_timer_count(NULL), 0);
    sim_end(sim, engine);
}

/* Timers that start and cancel others, from callbacks and from outside, as the seed says. */
enum { CROWD = 60 };
struct crowd {
    sally_sim *sim;
    sally_engine *engine;
    struct clock clocks[CROWD];
    unsigned started;
};

static void crowd_act(struct crowd *crowd)
{
    if (crowd->started < CROWD && sally_sim_random(crowd->sim, 2)) {
        struct clock *clock = &crowd->clocks[crowd->started++];
        *clock = (struct clock){.engine = crowd->engine,
                                .sim = crowd->sim,
                                .after_ms = sally_sim_random(crowd->sim, 100),
                                .period_ms = sally_sim_random(crowd->sim, 3) * 7,
                                .stop_at = sally_sim_random(crowd->sim, 20)};
        clock->kills = &crowd->clocks[sally_sim_random(crowd->sim, crowd->started)];
        if (clock->kills == clock) clock->kills = NULL;
        check_error(start(clock), 0);
    } else if (crowd->started) {
        cancel(&crowd->clocks[sally_sim_random(crowd->sim, crowd->started)]);
    }
}

static uint64_t crowd_run(uint64_t seed)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    check(crowd != NULL);
    crowd->sim = sim_new(seed, 1 + (unsigned)(seed % 3), &crowd->engine);
    sally_sim_faults faults = {.stall = 20000, .early_turn = 100000};
    sally_sim_set_faults(crowd->sim, &faults);
    for (int i = 0; i < 200; i++) {
        crowd_act(crowd);
        if (sally_sim_random(crowd->sim, 2)) sally_sim_run(crowd->sim, 4);
    }
    uint64_t hash = sally_sim_hash(crowd->sim);
    sim_end(crowd->sim, crowd->engine);
    for (unsigned i = 0; i < crowd->started; i++) {
        struct clock *clock = &crowd->clocks[i];
        check_equal(atomic_load(&clock->ends), 1);
        check(!clock->wrong);
        check((atomic_load(&clock->told) == 0) ==
              (atomic_load(&clock->why) == SALLY_TIMER_CANCELLED));
        hash = hash * 31 + atomic_load(&clock->ticks);
    }
    free(crowd);
    return hash;
}

static void any_order_of_starts_and_cancels_holds_and_replays(const struct setting *setting)
{
    (void)setting;
    for (uint64_t seed = 1; seed <= SEEDS * 5; seed++) {
        char text[32];
        snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
        uint64_t first = crowd_run(seed), second = crowd_run(seed);
        check_at(first == second, text, __FILE__, __LINE__);
    }
}

static atomic_uint counted;

static void count_tick(const sally_timer_tick *tick, void *user)
{
    (void)tick;
    (void)user;
    atomic_fetch_add_explicit(&counted, 1, memory_order_relaxed);
}

static void a_million_come_each_once(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(9, 1, &engine);
    atomic_store(&counted, 0);
    for (unsigned i = 0; i < MILLION; i++) {
        sally_timer_options options = {.after_ms = 1 + i % 60000, .on_tick = count_tick};
        int err = sally_timer_start(engine, &options, NULL);
        if (err == SALLY_EFULL) i--;
        if (err == SALLY_EFULL) sally_sim_run(sim, 1); /* empties the mailbox */
        check(err == 0 || err == SALLY_EFULL);
    }
    uint64_t bytes = sally_sim_memory_bytes(sim);
    check(bytes < (uint64_t)MILLION * 120 + (4 << 20));
    sally_sim_run(sim, 70000);
    check_equal(atomic_load(&counted), MILLION);
    check_equal(sally_timer_count(engine), 0);
    sim_end(sim, engine);
}

/* ---- Real engines ---- */

static void a_timer_started_before_the_engine_comes_after_it(const struct setting *setting)
{
    struct rig rig;
    rig_open(&rig, setting);
    struct clock clock = {.engine = rig.engine, .after_ms = 1}, often = {.engine = rig.engine};
    often.period_ms = 1;
    check_error(start(&clock), 0);
    check_error(start(&often), 0);
    rig_start(&rig);
    until(atomic_load(&clock.ends) == 1);
    until(atomic_load(&often.ticks) >= 3);
    rig_end(&rig);
    check_equal(atomic_load(&clock.why), SALLY_TIMER_FIRED);
    check_equal(atomic_load(&often.why), SALLY_TIMER_SHUTDOWN);
    check(!clock.wrong && !often.wrong);
}

static void an_engine_that_never_ran_tells_its_timers(const struct setting *setting)
{
    struct rig rig;
    rig_open(&rig, setting);
    struct clock clock = {.engine = rig.engine, .after_ms = 3600 * 1000};
    struct clock cancelled = {.engine = rig.engine, .after_ms = 3600 * 1000};
    check_error(start(&clock), 0);
    check_error(start(&cancelled), 0);
    cancel(&cancelled);
    rig_end(&rig);
    check_equal(atomic_load(&clock.why), SALLY_TIMER_SHUTDOWN);
    check_equal(atomic_load(&cancelled.why), SALLY_TIMER_CANCELLED);
    check_equal(atomic_load(&clock.ends) + atomic_load(&cancelled.ends), 2);
}

/* A drain with no connection is over at once, though the timer has an hour to go. */
static void timers_do_not_hold_up_a_drain(const struct setting *setting)
{
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    struct clock clock = {.engine = rig.engine, .after_ms = 3600 * 1000};
    check_error(start(&clock), 0);
    check_error(sally_engine_drain(rig.engine, 3600 * 1000), 0);
    check_error(sally_engine_wait(rig.engine), 0);
    check_equal(atomic_load(&clock.why), SALLY_TIMER_SHUTDOWN);
    check_error(start(&clock), SALLY_ESTATE);
    rig_end(&rig);
}

struct host_conn {
    struct clock clock;
    pthread_t thread;
};

static void start_on_open(sally_conn *conn)
{
    struct host_conn *host = sally_conn_user(conn);
    host->thread = pthread_self();
    host->clock.engine = sally_conn_engine(conn);
    host->clock.after_ms = 1;
    check_error(start(&host->clock), 0);
}

static void a_callback_starts_its_timer_on_its_own_shard(const struct setting *setting)
{
    static struct host_conn hosts[12];
    struct rig rig;
    char address[TEXT_MAX];
    rig_open(&rig, setting);
    rig_start(&rig);
    int door = doorway(16, address), peers[12];
    memset(hosts, 0, sizeof hosts);
    for (int i = 0; i < 12; i++) {
        sally_handler handler = {.user = &hosts[i], .on_open = start_on_open};
        check_error(sally_connect(rig.engine, address, &handler, NULL, NULL), 0);
        peers[i] = let_in(door);
    }
    for (int i = 0; i < 12; i++) {
        until(atomic_load(&hosts[i].clock.ends) == 1);
        check(pthread_equal(hosts[i].clock.thread, hosts[i].thread));
    }
    hang_up_all(peers, 12);
    hang_up(door);
    rig_end(&rig);
}

static void ask_to_stop(const sally_timer_tick *tick, void *user)
{
    (void)tick;
    (void)user;
    check(kill(getpid(), SIGTERM) == 0);
}

/* The first shard's timer comes while the others are still being started. */
static void a_signal_during_the_start_stops_gently(const struct setting *setting)
{
    for (int i = 0; i < 20; i++) {
        struct rig rig;
        sally_timer_options options = {.on_tick = ask_to_stop};
        rig_open(&rig, setting);
        check_error(sally_timer_start(rig.engine, &options, NULL), 0);
        check_error(sally_engine_run(rig.engine), 0);
        check_error(sally_engine_destroy(rig.engine), 0);
        rig_check_clean(&rig);
    }
}

/* Each runner starts timers that are due about now and cancels them at once. */
struct runner {
    pthread_t thread;
    sally_engine *engine;
    struct clock clocks[RACERS];
};

static void *race(void *arg)
{
    struct runner *runner = arg;
    for (unsigned i = 0; i < RACERS; i++) {
        struct clock *clock = &runner->clocks[i];
        clock->engine = runner->engine;
        clock->after_ms = i % 3;
        clock->period_ms = i % 5 == 0;
        check_error(start(clock), 0);
        if (i % 64 == 0) tools_nap_ms(1);
        if (i >= 40) cancel(&runner->clocks[i - 40]);
    }
    for (unsigned i = RACERS - 40; i < RACERS; i++) cancel(&runner->clocks[i]);
    return NULL;
}

static void a_cancel_from_another_thread_says_what_came_of_it(const struct setting *setting)
{
    struct rig rig;
    struct runner *runners = calloc(RUNNERS, sizeof *runners);
    unsigned fired = 0, cancelled = 0;
    check(runners != NULL);
    rig_open(&rig, setting);
    rig_start(&rig);
    for (int r = 0; r < RUNNERS; r++) {
        runners[r].engine = rig.engine;
        check(pthread_create(&runners[r].thread, NULL, race, &runners[r]) == 0);
    }
    for (int r = 0; r < RUNNERS; r++) pthread_join(runners[r].thread, NULL);
    until(sally_timer_count(rig.engine) == 0);
    rig_end(&rig);
    for (int r = 0; r < RUNNERS; r++) {
        for (unsigned i = 0; i < RACERS; i++) {
            struct clock *clock = &runners[r].clocks[i];
            int told = atomic_load(&clock->told), why = atomic_load(&clock->why);
            check_equal(atomic_load(&clock->ends), 1);
            check_equal(why, told ? SALLY_TIMER_FIRED : SALLY_TIMER_CANCELLED);
            if (told) check_error(told, SALLY_ECLOSED);
            if (!clock->period_ms) check(atomic_load(&clock->ticks) <= 1);
            check(!clock->wrong);
            fired += told != 0;
            cancelled += told == 0;
        }
    }
    check(fired > 0 && cancelled > 0);
    free(runners);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(one_comes_once_at_its_time, ANYWHERE),
        BEHAVIOUR(a_periodic_one_does_not_drift, ANYWHERE),
        BEHAVIOUR(what_a_stall_missed_is_counted_and_fired_once, ANYWHERE),
        BEHAVIOUR(those_of_one_moment_come_in_the_order_of_their_start, ANYWHERE),
        BEHAVIOUR(a_cancelled_one_never_fires, ANYWHERE),
        BEHAVIOUR(an_engine_that_ends_tells_every_timer, ANYWHERE),
        BEHAVIOUR(their_number_is_bounded, ANYWHERE),
        BEHAVIOUR(without_memory_nothing_is_left_behind, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(any_order_of_starts_and_cancels_holds_and_replays, ANYWHERE),
        BEHAVIOUR(a_million_come_each_once, ANYWHERE),
        BEHAVIOUR(a_timer_started_before_the_engine_comes_after_it, ON_BOTH),
        BEHAVIOUR(an_engine_that_never_ran_tells_its_timers, ON_BOTH),
        BEHAVIOUR(timers_do_not_hold_up_a_drain, ON_BOTH),
        BEHAVIOUR(a_callback_starts_its_timer_on_its_own_shard, ON_BOTH),
        BEHAVIOUR(a_signal_during_the_start_stops_gently, ON_THREE),
        BEHAVIOUR(a_cancel_from_another_thread_says_what_came_of_it, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
