/* The allocator's door: counted, hooked, zeroed. */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/support/base_tools.h"
#include "os/thread.h"
#include "sallyport.h"

static void system_allocator_counts_bytes_in_use(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem);
    assert_int_equal(mem_in_use(&mem), 0);
    void *a = mem_alloc(&mem, 100);
    void *b = mem_zalloc(&mem, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(mem_in_use(&mem), 101);
    mem_free(&mem, a, 100);
    assert_int_equal(mem_in_use(&mem), 1);
    mem_free(&mem, b, 1);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void zalloc_zeroes_with_system_and_with_hooks(void **state)
{
    (void)state;
    static const unsigned char zeroes[300];
    struct mem mem;
    struct ledger ledger;
    mem_init(&mem);
    ledger_init(&ledger); /* hands out blocks full of rubbish */
    struct mem *mems[] = {&mem, &ledger.mem};
    for (unsigned i = 0; i < 2; i++) {
        void *block = mem_zalloc(mems[i], sizeof zeroes);
        assert_memory_equal(block, zeroes, sizeof zeroes);
        mem_free(mems[i], block, sizeof zeroes);
    }
    ledger_check_empty(&ledger);
}

static void failed_allocation_is_null_and_not_counted(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    ledger.fail_from = 1;
    assert_null(mem_alloc(&ledger.mem, 8));
    assert_null(mem_zalloc(&ledger.mem, 8));
    assert_int_equal(mem_in_use(&ledger.mem), 0);
}

static void past_the_maximum_nothing_is_allocated(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem);
    mem.bytes_max = 100;
    void *a = mem_alloc(&mem, 60);
    assert_non_null(a);
    assert_null(mem_alloc(&mem, 41));
    assert_null(mem_zalloc(&mem, SIZE_MAX));
    void *b = mem_zalloc(&mem, 40);
    assert_non_null(b);
    assert_null(mem_alloc(&mem, 1));
    assert_int_equal(mem_in_use(&mem), 100);
    mem_free(&mem, a, 60);
    mem_free(&mem, b, 40);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void freeing_null_does_nothing(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    mem_free(&ledger.mem, NULL, 77);
    ledger_check_empty(&ledger);
}

static void churn(void *arg)
{
    struct mem *mem = arg;
    for (size_t i = 1; i <= 20000; i++) {
        void *block = mem_alloc(mem, i % 97 + 1);
        memset(block, 1, i % 97 + 1);
        mem_free(mem, block, i % 97 + 1);
    }
}

static void *half_alloc(void *user, size_t bytes)
{
    (void)user;
    (void)bytes;
    return NULL;
}

static void half_free(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)block;
    (void)bytes;
}

static void hooks_are_both_there_or_none(void **state)
{
    (void)state;
    struct mem system, mem;
    int user;
    mem_init(&system);
    assert_int_equal(mem_init_hooked(&mem, NULL), 0);
    assert_ptr_equal(mem.alloc, system.alloc);
    assert_int_equal(mem_init_hooked(&mem, &(sally_allocator){.user = &user}), 0);
    assert_ptr_equal(mem.alloc, system.alloc);
    assert_ptr_equal(mem.free, system.free);
    assert_int_equal(mem_init_hooked(&mem, &(sally_allocator){.alloc = half_alloc}), SALLY_EINVAL);
    assert_int_equal(mem_init_hooked(&mem, &(sally_allocator){.free = half_free}), SALLY_EINVAL);
    assert_int_equal(mem_init_hooked(&mem, &(sally_allocator){half_alloc, half_free, &user}), 0);
    assert_ptr_equal(mem.alloc, half_alloc);
    assert_ptr_equal(mem.free, half_free);
    assert_ptr_equal(mem.user, &user);
    assert_null(mem_alloc(&mem, 1));
}

static void what_follows_aligned_bytes_is_aligned(void **state)
{
    (void)state;
    const size_t to = _Alignof(max_align_t);
    for (size_t bytes = 0; bytes < 5 * to; bytes++) {
        size_t aligned = mem_aligned(bytes);
        assert_true(aligned >= bytes && aligned - bytes < to && aligned % to == 0);
    }
}

static void count_is_exact_with_several_threads(void **state)
{
    (void)state;
    struct mem mem;
    struct os_thread threads[4];
    mem_init(&mem);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(os_thread_start(&threads[i], "churn", churn, &mem), 0);
    for (unsigned i = 0; i < 4; i++) os_thread_join(&threads[i]);
    assert_int_equal(mem_in_use(&mem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(system_allocator_counts_bytes_in_use),
        cmocka_unit_test(zalloc_zeroes_with_system_and_with_hooks),
        cmocka_unit_test(failed_allocation_is_null_and_not_counted),
        cmocka_unit_test(past_the_maximum_nothing_is_allocated),
        cmocka_unit_test(freeing_null_does_nothing),
        cmocka_unit_test(hooks_are_both_there_or_none),
        cmocka_unit_test(what_follows_aligned_bytes_is_aligned),
        cmocka_unit_test(count_is_exact_with_several_threads),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
