/* The slot table. T10: a name whose slot was given back finds nothing, for ever. */
#include "base/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"
#include "os/thread.h"
#include "sallyport/error.h"

struct object {
    struct slot slot;
    uint64_t payload[7];
};
_Static_assert(sizeof(struct object) == 64, "as a cache line");

struct name {
    uint32_t index, generation;
};

static struct name name_of(const struct object *object)
{
    return (struct name){object->slot.index, slot_generation(&object->slot)};
}

static void *find(const struct slots *slots, struct name name)
{
    return slots_find(slots, name.index, name.generation);
}

/* ---- Basics ---- */

static void name_finds_its_object_until_it_is_given_back(void **state)
{
    (void)state;
    struct ledger ledger;
    struct slots slots;
    ledger_init(&ledger);
    assert_int_equal(slots_init(&slots, &ledger.mem, sizeof(struct object), 10, UINT32_MAX), 0);
    struct object *a = slots_take(&slots), *b = slots_take(&slots);
    struct name name_a = name_of(a), name_b = name_of(b);
    assert_int_equal(name_a.index, 0);
    assert_int_equal(name_b.index, 1);
    assert_ptr_equal(find(&slots, name_a), a);
    assert_ptr_equal(find(&slots, name_b), b);
    slots_give(&slots, a);
    assert_null(find(&slots, name_a));
    assert_ptr_equal(slots_at(&slots, 0), a); /* memory stays */
    assert_int_equal(slots_taken(&slots), 1);
    struct object *again = slots_take(&slots);
    assert_ptr_equal(again, a);
    assert_int_equal(again->slot.index, 0);
    assert_null(find(&slots, name_a));
    assert_int_equal(name_of(again).generation, name_a.generation + 2);
    slots_give(&slots, b);
    slots_give(&slots, again);
    slots_free(&slots);
    ledger_check_empty(&ledger);
}

static void names_that_never_were_find_nothing(void **state)
{
    (void)state;
    struct mem mem;
    struct slots slots;
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct object), 1000, UINT32_MAX), 0);
    struct object *object = slots_take(&slots);
    static const uint32_t indexes[] = {0, 1, 255, 256, 999, 1000, 1u << 24, UINT32_MAX};
    static const uint32_t generations[] = {0, 1, 2, 3, UINT32_MAX - 1, UINT32_MAX};
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned g = 0; g < 6; g++) {
            bool is_it = indexes[i] == 0 && generations[g] == 1;
            assert_ptr_equal(slots_find(&slots, indexes[i], generations[g]), is_it ? object : NULL);
        }
    }
    slots_give(&slots, object);
    for (uint32_t g = 0; g < 4; g++) assert_null(slots_find(&slots, 0, g)); /* free: even */
    slots_free(&slots);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct ledger ledger;
    struct slots slots;
    ledger_init(&ledger);
    static const struct {
        size_t object_bytes;
        uint32_t capacity, generation_max;
    } bad[] = {
        {64, 0, 7},
        {64, (1u << 24) + 1, 7},
        {64, UINT32_MAX, 7},
        {64, 10, 0},
        {0, 10, 7},
        {sizeof(struct slot) - 1, 10, 7},
        {63, 10, 7},
        {SIZE_MAX - 3, 10, 7},
        {SIZE_MAX / SLOTS_CHUNK + 1, 10, 7},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(slots_init(&slots, &ledger.mem, bad[i].object_bytes, bad[i].capacity,
                                    bad[i].generation_max),
                         SALLY_EINVAL);
    }
    assert_int_equal(ledger.allocs, 0);
}

static void object_is_zeroed_behind_its_header_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {sizeof(struct slot), 12, 64, 192, 1024};
    static const unsigned char zeroes[1024];
    for (unsigned s = 0; s < 5; s++) {
        struct ledger ledger;
        struct slots slots;
        unsigned char *taken[300];
        ledger_init(&ledger);
        assert_int_equal(slots_init(&slots, &ledger.mem, sizes[s], 300, UINT32_MAX), 0);
        for (unsigned round = 0; round < 2; round++) {
            for (unsigned i = 0; i < 300; i++) {
                taken[i] = slots_take(&slots);
                if (sizes[s] % 64 == 0) assert_int_equal((uintptr_t)taken[i] % 64, 0);
                size_t bytes = sizes[s] - sizeof(struct slot);
                assert_memory_equal(taken[i] + sizeof(struct slot), zeroes, bytes);
                memset(taken[i] + sizeof(struct slot), 0xEE, bytes);
            }
            assert_null(slots_take(&slots));
            for (unsigned i = 0; i < 300; i++) slots_give(&slots, taken[i]);
        }
        slots_free(&slots);
        ledger_check_empty(&ledger);
    }
}

static void last_given_is_first_taken(void **state)
{
    (void)state;
    struct mem mem;
    struct slots slots;
    struct object *objects[4];
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct object), 4, UINT32_MAX), 0);
    for (unsigned i = 0; i < 4; i++) objects[i] = slots_take(&slots);
    static const unsigned order[] = {2, 0, 3, 1};
    for (unsigned i = 0; i < 4; i++) slots_give(&slots, objects[order[i]]);
    for (unsigned i = 4; i-- > 0;) assert_ptr_equal(slots_take(&slots), objects[order[i]]);
    for (unsigned i = 0; i < 4; i++) slots_give(&slots, objects[i]);
    slots_free(&slots);
}

static void memory_comes_in_chunks_as_needed(void **state)
{
    (void)state;
    struct ledger ledger;
    struct slots slots;
    struct object *objects[600];
    ledger_init(&ledger);
    assert_int_equal(slots_init(&slots, &ledger.mem, sizeof(struct object), 600, UINT32_MAX), 0);
    assert_int_equal(ledger.blocks, 1);
    assert_null(slots_at(&slots, 0));
    for (unsigned i = 0; i < 600; i++) {
        objects[i] = slots_take(&slots);
        assert_int_equal(objects[i]->slot.index, i);
        assert_int_equal(ledger.blocks, 2 + i / SLOTS_CHUNK);
        assert_ptr_equal(slots_at(&slots, i), objects[i]);
    }
    assert_null(slots_at(&slots, 600)); /* past the capacity, in the last chunk's range */
    assert_null(slots_take(&slots));
    for (unsigned i = 0; i < 600; i++) slots_give(&slots, objects[i]);
    assert_int_equal(ledger.blocks, 4);
    slots_free(&slots);
    ledger_check_empty(&ledger);
}

static void failed_allocation_leaves_the_table_as_it_was(void **state)
{
    (void)state;
    for (size_t fail_at = 1; fail_at <= 4; fail_at++) {
        struct ledger ledger;
        struct slots slots;
        struct object *objects[600];
        ledger_init(&ledger);
        ledger.fail_at = fail_at;
        int err = slots_init(&slots, &ledger.mem, sizeof(struct object), 600, UINT32_MAX);
        assert_int_equal(err, fail_at == 1 ? SALLY_ENOMEM : 0);
        if (err) {
            ledger_check_empty(&ledger);
            continue;
        }
        for (unsigned i = 0; i < 600; i++) {
            objects[i] = slots_take(&slots);
            bool fails = i % SLOTS_CHUNK == 0 && i / SLOTS_CHUNK + 2 == fail_at;
            assert_int_equal(objects[i] == NULL, fails);
            assert_int_equal(slots_taken(&slots), fails ? i : i + 1);
            if (fails) objects[i] = slots_take(&slots); /* there is memory again */
            assert_int_equal(objects[i]->slot.index, i);
        }
        for (unsigned i = 0; i < 600; i++) slots_give(&slots, objects[i]);
        slots_free(&slots);
        ledger_check_empty(&ledger);
    }
}

/* ---- T10 ---- */

static void T10_slot_retires_when_its_generations_are_used_up(void **state)
{
    (void)state;
    enum { CAPACITY = 3 };
    for (uint32_t generation_max = 1; generation_max <= 8; generation_max++) {
        const uint32_t names = (generation_max + 1) / 2; /* of a slot: the odd ones */
        struct mem mem;
        struct slots slots;
        struct name given[CAPACITY * 4];
        uint32_t count = 0;
        mem_init(&mem);
        assert_int_equal(slots_init(&slots, &mem, sizeof(struct object), CAPACITY, generation_max),
                         0);
        for (struct object *object; (object = slots_take(&slots)); count++) {
            assert_true(count < CAPACITY * names);
            given[count] = name_of(object);
            assert_true(given[count].generation <= generation_max);
            for (uint32_t i = 0; i < count; i++) assert_null(find(&slots, given[i]));
            slots_give(&slots, object);
        }
        assert_int_equal(count, CAPACITY * names);
        assert_int_equal(slots.retired, CAPACITY);
        assert_int_equal(slots_taken(&slots), 0);
        for (uint32_t i = 0; i < count; i++) assert_null(find(&slots, given[i]));
        assert_null(slots_take(&slots));
        slots_free(&slots);
    }
}

/* As after four billion uses: the count would go round to names that were given out before. */
static void T10_generation_never_wraps(void **state)
{
    (void)state;
    struct mem mem;
    struct slots slots;
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct object), 1, UINT32_MAX), 0);
    struct object *object = slots_take(&slots);
    atomic_store(&object->slot.generation, UINT32_MAX - 2);
    slots_give(&slots, object);
    object = slots_take(&slots);
    assert_non_null(object);
    assert_int_equal(name_of(object).generation, UINT32_MAX);
    assert_ptr_equal(slots_find(&slots, 0, UINT32_MAX), object);
    slots_give(&slots, object);
    assert_null(slots_find(&slots, 0, UINT32_MAX));
    assert_null(slots_find(&slots, 0, 0));
    assert_null(slots_find(&slots, 0, 1));
    assert_null(slots_take(&slots));
    assert_int_equal(slots.retired, 1);
    slots_free(&slots);
}

enum { FEW = 4, STALE = 64 };

static void T10_four_slots_churned_a_million_times_give_each_name_once(void **state)
{
    (void)state;
    struct dice dice;
    struct mem mem;
    struct slots slots;
    struct object *taken[FEW] = {0};
    uint32_t last[FEW] = {0}; /* an index's generations only rise, so no name comes twice */
    struct name stale[STALE] = {{0}};
    unsigned stale_count = 0;
    dice_init(&dice, "churn");
    mem_init(&mem);
    assert_int_equal(slots_init(&slots, &mem, sizeof(struct object), FEW, UINT32_MAX), 0);
    for (unsigned step = 0; step < 1000000; step++) {
        unsigned which = (unsigned)dice_below(&dice, FEW);
        if (taken[which]) {
            stale[stale_count++ % STALE] = name_of(taken[which]);
            slots_give(&slots, taken[which]);
            taken[which] = NULL;
        } else {
            struct object *object = taken[which] = slots_take(&slots);
            struct name name = name_of(object);
            assert_true(name.generation > last[name.index]);
            last[name.index] = name.generation;
            assert_ptr_equal(find(&slots, name), object);
        }
        assert_null(find(&slots, stale[dice_below(&dice, STALE)]));
    }
    for (unsigned i = 0; i < STALE; i++) assert_null(find(&slots, stale[i]));
    for (unsigned i = 0; i < FEW; i++) {
        if (taken[i]) slots_give(&slots, taken[i]);
    }
    assert_int_equal(slots_taken(&slots), 0);
    slots_free(&slots);
}

/* ---- Threads ---- */

enum { TAKERS = 2, FINDERS = 2, TURNS = 50000 };

struct arena {
    struct slots slots;
    _Atomic uint64_t stale[TAKERS]; /* a name that is gone for good */
    _Atomic uint64_t shown[TAKERS]; /* a name that may be there */
    atomic_uint takers_left;
    atomic_uint wrong;
};

struct taker {
    struct arena *arena;
    unsigned number;
};

static uint64_t name_pack(struct name name) { return (uint64_t)name.generation << 32 | name.index; }

static struct name name_unpack(uint64_t packed)
{
    return (struct name){(uint32_t)packed, (uint32_t)(packed >> 32)};
}

static void taker_run(void *arg)
{
    struct taker *taker = arg;
    struct arena *arena = taker->arena;
    for (unsigned i = 0; i < TURNS; i++) {
        struct object *object = slots_take(&arena->slots);
        if (!object) continue;
        struct name name = name_of(object);
        for (unsigned j = 0; j < 7; j++) {
            if (object->payload[j]) atomic_fetch_add(&arena->wrong, 1);
            object->payload[j] = taker->number + 1; /* the owner's: finders don't look inside */
        }
        atomic_store(&arena->shown[taker->number], name_pack(name));
        if (find(&arena->slots, name) != object) atomic_fetch_add(&arena->wrong, 1);
        slots_give(&arena->slots, object);
        atomic_store(&arena->stale[taker->number], name_pack(name));
    }
    atomic_fetch_sub(&arena->takers_left, 1);
}

static void finder_run(void *arg)
{
    struct arena *arena = arg;
    for (unsigned i = 0; atomic_load(&arena->takers_left); i++) {
        struct name stale = name_unpack(atomic_load(&arena->stale[i % TAKERS]));
        struct name shown = name_unpack(atomic_load(&arena->shown[i % TAKERS]));
        if (find(&arena->slots, stale)) atomic_fetch_add(&arena->wrong, 1);
        void *found = find(&arena->slots, shown);
        if (found && found != slots_at(&arena->slots, shown.index))
            atomic_fetch_add(&arena->wrong, 1);
    }
}

static void T10_finders_on_other_threads_never_see_a_stale_name(void **state)
{
    (void)state;
    static struct arena arena;
    struct mem mem;
    struct os_thread threads[TAKERS + FINDERS];
    struct taker takers[TAKERS];
    mem_init(&mem);
    assert_int_equal(slots_init(&arena.slots, &mem, sizeof(struct object), TAKERS * 2, UINT32_MAX),
                     0);
    atomic_store(&arena.takers_left, TAKERS);
    for (unsigned i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){&arena, i};
        assert_int_equal(os_thread_start(&threads[i], "taker", taker_run, &takers[i]), 0);
    }
    for (unsigned i = TAKERS; i < TAKERS + FINDERS; i++)
        assert_int_equal(os_thread_start(&threads[i], "finder", finder_run, &arena), 0);
    for (unsigned i = 0; i < TAKERS + FINDERS; i++) os_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&arena.wrong), 0);
    assert_int_equal(slots_taken(&arena.slots), 0);
    slots_free(&arena.slots);
}

/* Grows while others look: a chunk is seen whole or not at all. */
static void grower_run(void *arg)
{
    struct arena *arena = arg;
    while (slots_take(&arena->slots)) continue;
    atomic_fetch_sub(&arena->takers_left, 1);
}

static void looker_run(void *arg)
{
    struct arena *arena = arg;
    do {
        for (uint32_t i = 0; i < arena->slots.capacity; i += 50) {
            if (slots_find(&arena->slots, i, 3)) atomic_fetch_add(&arena->wrong, 1);
            void *found = slots_find(&arena->slots, i, 1);
            if (found && found != slots_at(&arena->slots, i)) atomic_fetch_add(&arena->wrong, 1);
        }
    } while (atomic_load(&arena->takers_left));
}

static void finders_meet_a_growing_table(void **state)
{
    (void)state;
    enum { CAPACITY = 20000 };
    static struct arena arena;
    struct mem mem;
    struct os_thread threads[4];
    mem_init(&mem);
    assert_int_equal(slots_init(&arena.slots, &mem, sizeof(struct object), CAPACITY, 7), 0);
    atomic_store(&arena.takers_left, 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            os_thread_start(&threads[i], "grow", i < 2 ? looker_run : grower_run, &arena), 0);
    }
    for (unsigned i = 0; i < 4; i++) os_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&arena.wrong), 0);
    assert_int_equal(slots_taken(&arena.slots), CAPACITY);
    for (uint32_t i = 0; i < CAPACITY; i++) {
        struct object *object = slots_find(&arena.slots, i, 1);
        assert_non_null(object);
        assert_int_equal(object->slot.index, i);
        slots_give(&arena.slots, object);
    }
    slots_free(&arena.slots);
    assert_int_equal(mem_in_use(&mem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_finds_its_object_until_it_is_given_back),
        cmocka_unit_test(names_that_never_were_find_nothing),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(object_is_zeroed_behind_its_header_and_aligned),
        cmocka_unit_test(last_given_is_first_taken),
        cmocka_unit_test(memory_comes_in_chunks_as_needed),
        cmocka_unit_test(failed_allocation_leaves_the_table_as_it_was),
        cmocka_unit_test(T10_slot_retires_when_its_generations_are_used_up),
        cmocka_unit_test(T10_generation_never_wraps),
        cmocka_unit_test(T10_four_slots_churned_a_million_times_give_each_name_once),
        cmocka_unit_test(T10_finders_on_other_threads_never_see_a_stale_name),
        cmocka_unit_test(finders_meet_a_growing_table),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
