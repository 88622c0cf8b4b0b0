/* The timing wheel against a plain array of what is set (T14: jumps, stalls, each timer once). */
#include "base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/support/base_tools.h"

#define HOUR_MS  (UINT64_C(3600) * 1000)
#define BLOCK_MS (UINT64_C(1) << 36) /* what all the levels cover */
#define LAST_MS  ((UINT64_C(1) << 56) - 1)

/* ---- Single behaviours ---- */

static void timer_comes_at_its_tick_and_not_before(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, 1, 63, 64, 4095, 123456789, BLOCK_MS - 1};
    static struct wheel wheel;
    for (unsigned i = 0; i < sizeof starts / sizeof *starts; i++) {
        for (unsigned bits = 0; bits < 45; bits++) {
            for (int off = -1; off <= 1; off++) {
                uint64_t delay = (UINT64_C(1) << bits) + (uint64_t)off;
                struct timer timer = {0};
                if (!delay) continue;
                wheel_init(&wheel, starts[i]);
                wheel_set(&wheel, &timer, starts[i] + delay);
                assert_true(wheel_next_ms(&wheel) <= starts[i] + delay);
                wheel_advance(&wheel, starts[i] + delay - 1);
                assert_null(wheel_pop_due(&wheel));
                wheel_check(&wheel);
                wheel_advance(&wheel, starts[i] + delay);
                assert_ptr_equal(wheel_pop_due(&wheel), &timer);
                assert_false(timer_is_set(&timer));
                assert_null(wheel_pop_due(&wheel));
                assert_int_equal(wheel_next_ms(&wheel), WHEEL_NEVER);
                wheel_check(&wheel);
            }
        }
    }
}

static void due_already_waits_for_the_next_advance(void **state)
{
    (void)state;
    static struct wheel wheel;
    struct timer now = {0}, past = {0}, due = {0};
    wheel_init(&wheel, 1000);
    wheel_set(&wheel, &due, 1001);
    wheel_advance(&wheel, 1001);
    wheel_set(&wheel, &now, 1001); /* as a handler of `due` might, without end */
    wheel_set(&wheel, &past, 5);
    assert_ptr_equal(wheel_pop_due(&wheel), &due);
    assert_null(wheel_pop_due(&wheel));
    assert_int_equal(wheel_next_ms(&wheel), 1001);
    wheel_advance(&wheel, 1001);
    assert_ptr_equal(wheel_pop_due(&wheel), &now);
    assert_ptr_equal(wheel_pop_due(&wheel), &past);
    assert_null(wheel_pop_due(&wheel));
}

static void ties_keep_set_order_through_different_levels(void **state)
{
    (void)state;
    enum { TIMERS = 400 };
    static struct wheel wheel;
    static struct timer timers[TIMERS];
    /* one appointment, set from ever nearer: each timer goes in at the level of its own distance */
    const uint64_t appointment = 3 * BLOCK_MS + 12345;
    uint64_t left = appointment;
    wheel_init(&wheel, 0);
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_set(&wheel, &timers[i], appointment);
        left -= left / 16 + (left > 1);
        wheel_advance(&wheel, appointment - left);
        assert_null(wheel_pop_due(&wheel));
    }
    wheel_check(&wheel);
    wheel_advance(&wheel, appointment);
    for (unsigned i = 0; i < TIMERS; i++) assert_ptr_equal(wheel_pop_due(&wheel), &timers[i]);
    assert_null(wheel_pop_due(&wheel));
}

static void moving_a_timer_puts_it_behind_its_ties(void **state)
{
    (void)state;
    static struct wheel wheel;
    struct timer a = {0}, b = {0};
    wheel_init(&wheel, 0);
    wheel_set(&wheel, &a, 500);
    wheel_set(&wheel, &b, 500);
    wheel_set(&wheel, &a, 500);
    assert_int_equal(wheel.count, 2);
    wheel_advance(&wheel, 600);
    assert_ptr_equal(wheel_pop_due(&wheel), &b);
    assert_ptr_equal(wheel_pop_due(&wheel), &a);
}

static void handler_cancels_and_moves_what_is_collected(void **state)
{
    (void)state;
    static struct wheel wheel;
    struct timer timers[4] = {{0}};
    wheel_init(&wheel, 0);
    for (unsigned i = 0; i < 4; i++) wheel_set(&wheel, &timers[i], 10);
    wheel_advance(&wheel, 10);
    assert_ptr_equal(wheel_pop_due(&wheel), &timers[0]);
    wheel_cancel(&wheel, &timers[1]);
    wheel_cancel(&wheel, &timers[1]); /* not set: nothing */
    wheel_set(&wheel, &timers[2], 20);
    wheel_check(&wheel);
    assert_ptr_equal(wheel_pop_due(&wheel), &timers[3]);
    assert_null(wheel_pop_due(&wheel));
    assert_int_equal(wheel.count, 1);
    wheel_advance(&wheel, 20);
    assert_ptr_equal(wheel_pop_due(&wheel), &timers[2]);
    assert_int_equal(wheel_next_ms(&wheel), WHEEL_NEVER);
}

static void kind_survives_and_farthest_times_are_capped(void **state)
{
    (void)state;
    static struct wheel wheel;
    struct timer timer = {.kind = 0xC3};
    wheel_init(&wheel, 77);
    wheel_set(&wheel, &timer, WHEEL_NEVER);
    assert_int_equal(timer.kind, 0xC3);
    assert_int_equal(timer.due_ms, LAST_MS);
    wheel_advance(&wheel, LAST_MS - 1);
    assert_null(wheel_pop_due(&wheel));
    wheel_check(&wheel);
    wheel_advance(&wheel, UINT64_MAX);
    assert_ptr_equal(wheel_pop_due(&wheel), &timer);
    assert_int_equal(timer.kind, 0xC3);
    wheel_set(&wheel, &timer, WHEEL_NEVER); /* at the end of time everything is due */
    wheel_advance(&wheel, UINT64_MAX);
    assert_ptr_equal(wheel_pop_due(&wheel), &timer);
}

/* T14. With work in proportion to the time that passed, the jumps would take days. */
static void T14_jump_costs_what_is_in_it_and_fires_each_once(void **state)
{
    (void)state;
    static const uint64_t jumps[] = {HOUR_MS, 24 * 49 * HOUR_MS, BLOCK_MS, LAST_MS / 8};
    static struct wheel wheel;
    static struct timer timers[1000];
    struct timer far = {0};
    wheel_init(&wheel, 42);
    for (unsigned round = 0; round < 4; round++) {
        uint64_t from = wheel.now_ms;
        for (unsigned i = 0; i < 1000; i++)
            wheel_set(&wheel, &timers[i], from + 1 + i * (jumps[round] / 1000));
        wheel_set(&wheel, &far, from + jumps[round] + 1);
        wheel_advance(&wheel, from + jumps[round]);
        for (unsigned i = 0; i < 1000; i++) assert_ptr_equal(wheel_pop_due(&wheel), &timers[i]);
        assert_null(wheel_pop_due(&wheel));
        wheel_advance(&wheel, from); /* back: nothing changes */
        assert_int_equal(wheel.now_ms, from + jumps[round]);
        assert_null(wheel_pop_due(&wheel));
        assert_true(timer_is_set(&far));
        wheel_check(&wheel);
    }
}

/* Were they looked at as time goes by, this would take minutes. */
static void T14_timers_past_the_top_level_cost_nothing_meanwhile(void **state)
{
    (void)state;
    enum { FAR = 100000, TICKS = 200000 };
    static struct wheel wheel;
    struct timer near = {0}, *far = calloc(FAR, sizeof *far);
    assert_non_null(far);
    wheel_init(&wheel, 0);
    for (unsigned i = 0; i < FAR; i++) wheel_set(&wheel, &far[i], BLOCK_MS + i);
    for (uint64_t tick = 1; tick <= TICKS; tick++) {
        wheel_set(&wheel, &near, tick * WHEEL_SLOTS);
        wheel_advance(&wheel, tick * WHEEL_SLOTS);
        assert_ptr_equal(wheel_pop_due(&wheel), &near);
    }
    wheel_check(&wheel);
    wheel_advance(&wheel, BLOCK_MS - 1);
    assert_null(wheel_pop_due(&wheel));
    wheel_advance(&wheel, BLOCK_MS + FAR);
    for (unsigned i = 0; i < FAR; i++) assert_ptr_equal(wheel_pop_due(&wheel), &far[i]);
    assert_int_equal(wheel.count, 0);
    free(far);
}

/* ---- The model ---- */

enum { MODEL_TIMERS = 300, MODEL_APPOINTMENTS = 6, MODEL_STEPS = 30000 };

struct entry {
    struct timer timer;
    uint64_t due_ms; /* as it counts: not before the time at which it was set */
    uint64_t set_number;
    bool set;
    bool collected;
};

struct model {
    struct wheel wheel;
    struct dice dice;
    struct entry entries[MODEL_TIMERS];
    struct entry *due[MODEL_TIMERS]; /* in the order in which they must come */
    unsigned due_count;
    uint64_t set_number;
    uint64_t appointments[MODEL_APPOINTMENTS]; /* times that many timers share */
};

static uint64_t model_delay(struct model *model)
{
    static const uint64_t edges[] = {0, 1, 63, 64, 65, 4095, 4096, HOUR_MS, BLOCK_MS - 1, BLOCK_MS};
    switch (dice_below(&model->dice, 4)) {
    case 0: return edges[dice_below(&model->dice, sizeof edges / sizeof *edges)];
    case 1: return dice_below(&model->dice, 200);
    default: return dice_any_size(&model->dice, 40);
    }
}

static void model_leave_due(struct model *model, const struct entry *entry)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < model->due_count; i++) {
        if (model->due[i] != entry) model->due[kept++] = model->due[i];
    }
    model->due_count = kept;
}

static void model_cancel(struct model *model, struct entry *entry)
{
    wheel_cancel(&model->wheel, &entry->timer);
    if (entry->collected) model_leave_due(model, entry);
    entry->set = entry->collected = false;
}

static void model_set(struct model *model, struct entry *entry)
{
    uint64_t now = model->wheel.now_ms;
    uint64_t *appointment = &model->appointments[dice_below(&model->dice, MODEL_APPOINTMENTS)];
    if (*appointment <= now) *appointment = now + model_delay(model);
    uint64_t due = *appointment;
    if (dice_below(&model->dice, 3) == 0) due = now + model_delay(model);
    if (dice_below(&model->dice, 50) == 0) due = dice_any_size(&model->dice, 64);
    wheel_set(&model->wheel, &entry->timer, due);
    if (entry->collected) model_leave_due(model, entry);
    entry->due_ms = due < now ? now : due > LAST_MS ? LAST_MS : due;
    entry->set_number = model->set_number++;
    entry->set = true;
    entry->collected = false;
}

static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    if (x->due_ms != y->due_ms) return x->due_ms < y->due_ms ? -1 : 1;
    return x->set_number < y->set_number ? -1 : 1;
}

static void model_collect(struct model *model)
{
    unsigned from = model->due_count;
    for (unsigned i = 0; i < MODEL_TIMERS; i++) {
        struct entry *entry = &model->entries[i];
        if (!entry->set || entry->collected || entry->due_ms > model->wheel.now_ms) continue;
        entry->collected = true;
        model->due[model->due_count++] = entry;
    }
    qsort(model->due + from, model->due_count - from, sizeof *model->due, entry_compare);
}

static uint64_t model_earliest(const struct model *model)
{
    uint64_t earliest = WHEEL_NEVER;
    for (unsigned i = 0; i < MODEL_TIMERS; i++) {
        const struct entry *entry = &model->entries[i];
        if (entry->set && entry->due_ms < earliest) earliest = entry->due_ms;
    }
    return model->due_count ? model->wheel.now_ms : earliest;
}

static void model_check_next(struct model *model)
{
    uint64_t next = wheel_next_ms(&model->wheel), earliest = model_earliest(model);
    assert_true(next <= earliest);
    assert_true(next >= model->wheel.now_ms);
    assert_int_equal(next == WHEEL_NEVER, earliest == WHEEL_NEVER);
}

static void model_advance(struct model *model)
{
    uint64_t now = model->wheel.now_ms, next = wheel_next_ms(&model->wheel), to;
    switch (dice_below(&model->dice, 8)) {
    case 0: to = next == WHEEL_NEVER ? now : next; break; /* as a shard does */
    case 1: to = next == WHEEL_NEVER || !next ? now : next - 1; break;
    case 2: to = now - (now ? dice_below(&model->dice, now) : 0); break; /* back */
    case 3: to = model->appointments[dice_below(&model->dice, MODEL_APPOINTMENTS)]; break;
    case 4: to = now + dice_any_size(&model->dice, 42); break;
    default: to = now + dice_below(&model->dice, 70); break;
    }
    wheel_advance(&model->wheel, to);
    assert_int_equal(model->wheel.now_ms, to > LAST_MS ? LAST_MS : to > now ? to : now);
    model_collect(model);
}

static void model_pop(struct model *model)
{
    struct timer *timer = wheel_pop_due(&model->wheel);
    if (!model->due_count) {
        assert_null(timer);
        return;
    }
    struct entry *entry = model->due[0];
    assert_ptr_equal(timer, &entry->timer);
    assert_false(timer_is_set(timer));
    model_leave_due(model, entry);
    entry->set = entry->collected = false;
    if (dice_below(&model->dice, 2)) model_set(model, entry); /* as handlers do */
}

static void model_step(struct model *model)
{
    struct entry *entry = &model->entries[dice_below(&model->dice, MODEL_TIMERS)];
    switch (dice_below(&model->dice, 10)) {
    case 0:
    case 1:
    case 2:
    case 3: model_set(model, entry); break;
    case 4:
        if (model->due_count) entry = model->due[dice_below(&model->dice, model->due_count)];
        model_cancel(model, entry);
        break;
    case 5:
        if (model->due_count) entry = model->due[dice_below(&model->dice, model->due_count)];
        model_set(model, entry);
        break;
    case 6:
    case 7: model_advance(model); break;
    default: model_pop(model); break;
    }
    assert_int_equal(timer_is_set(&entry->timer), entry->set);
}

static void model_run(struct model *model, uint64_t start_ms)
{
    wheel_init(&model->wheel, start_ms);
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        model_step(model);
        model_check_next(model);
        if (step % 8 == 0) wheel_check(&model->wheel);
    }
    wheel_advance(&model->wheel, UINT64_MAX);
    model_collect(model);
    while (model->due_count) model_cancel(model, model->due[0]);
    assert_int_equal(model->wheel.count, 0);
    assert_int_equal(wheel_next_ms(&model->wheel), WHEEL_NEVER);
}

static void T14_random_use_agrees_with_a_sorted_array(void **state)
{
    (void)state;
    struct dice dice;
    dice_init(&dice, "wheel");
    const uint64_t starts[] = {0, BLOCK_MS - 200, dice_any_size(&dice, 48), dice_roll(&dice) >> 9};
    struct model *model = malloc(sizeof *model);
    for (unsigned i = 0; i < sizeof starts / sizeof *starts; i++) {
        *model = (struct model){.dice = dice};
        model_run(model, starts[i]);
        dice = model->dice;
    }
    free(model);
}

/* A million timers: set, moved, and then all of them at once after a stall. */
static void T14_stall_with_many_timers_fires_each_once_in_order(void **state)
{
    (void)state;
    enum { MANY = 1000000 };
    static struct wheel wheel;
    struct dice dice;
    struct timer *timers = calloc(MANY, sizeof *timers);
    assert_non_null(timers);
    dice_init(&dice, "stall");
    wheel_init(&wheel, 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++)
            wheel_set(&wheel, &timers[i], 1 + dice_below(&dice, 10 * 60 * 1000));
    }
    assert_int_equal(wheel.count, MANY);
    wheel_advance(&wheel, 10 * 60 * 1000);
    uint64_t before = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct timer *timer = wheel_pop_due(&wheel);
        assert_true(timer && timer->due_ms >= before);
        before = timer->due_ms;
    }
    assert_null(wheel_pop_due(&wheel));
    assert_int_equal(wheel.count, 0);
    free(timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_comes_at_its_tick_and_not_before),
        cmocka_unit_test(due_already_waits_for_the_next_advance),
        cmocka_unit_test(ties_keep_set_order_through_different_levels),
        cmocka_unit_test(moving_a_timer_puts_it_behind_its_ties),
        cmocka_unit_test(handler_cancels_and_moves_what_is_collected),
        cmocka_unit_test(kind_survives_and_farthest_times_are_capped),
        cmocka_unit_test(T14_jump_costs_what_is_in_it_and_fires_each_once),
        cmocka_unit_test(T14_timers_past_the_top_level_cost_nothing_meanwhile),
        cmocka_unit_test(T14_random_use_agrees_with_a_sorted_array),
        cmocka_unit_test(T14_stall_with_many_timers_fires_each_once_in_order),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
