/* The part of cmocka's interface that our tests use, for a system that has no package of it: the
 * same names with the same meaning, ours inside. A failed assertion prints where and why and leaves
 * the test by longjmp, so tests assert on the thread that runs them, as with cmocka. Included after
 * setjmp.h, stdarg.h, stddef.h and stdint.h. */
#ifndef WIN32_CMOCKA_CMOCKA_H
#define WIN32_CMOCKA_CMOCKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func;
    CMFixtureFunction teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f, NULL, NULL, NULL                                                                    \
    }
#define cmocka_unit_test_setup_teardown(f, setup, teardown)                                        \
    {                                                                                              \
#f, f, setup, teardown, NULL                                                               \
    }
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cmocka_run_group_tests_name(#tests, tests, setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    _cmocka_run_group_tests(name, tests, sizeof tests / sizeof tests[0], setup, teardown)

/* How many failed. */
int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction setup, CMFixtureFunction teardown);
/* '*' stands for any text, '?' for any character. */
void cmocka_set_test_filter(const char *pattern);

_Noreturn void cmocka__fail(const char *file, int line, const char *format, ...);
_Noreturn void cmocka__skip(const char *file, int line);
void cmocka__equal(unsigned long long a, unsigned long long b, bool equal, const char *file,
                   int line);
void cmocka__strings(const char *a, const char *b, bool equal, const char *file, int line);
void cmocka__memory(const void *a, const void *b, size_t size, const char *file, int line);

#define print_message(...) ((void)printf(__VA_ARGS__))

#define skip()        cmocka__skip(__FILE__, __LINE__)
#define fail()        cmocka__fail(__FILE__, __LINE__, "failed")
#define fail_msg(...) cmocka__fail(__FILE__, __LINE__, __VA_ARGS__)

#define cmocka__check(c, text) ((c) ? (void)0 : cmocka__fail(__FILE__, __LINE__, "%s", text))
#define assert_true(c)         cmocka__check(c, "not true: " #c)
#define assert_false(c)        cmocka__check(!(c), "not false: " #c)
#define assert_null(c)         assert_true((c) == NULL)
#define assert_non_null(c)     assert_true((c) != NULL)
#define cmocka__number(a)      ((unsigned long long)(uintptr_t)(a))
#define assert_int_equal(a, b)                                                                     \
    cmocka__equal(cmocka__number(a), cmocka__number(b), true, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                 \
    cmocka__equal(cmocka__number(a), cmocka__number(b), false, __FILE__, __LINE__)
#define assert_ptr_equal(a, b)           assert_int_equal(a, b)
#define assert_ptr_not_equal(a, b)       assert_int_not_equal(a, b)
#define assert_string_equal(a, b)        cmocka__strings(a, b, true, __FILE__, __LINE__)
#define assert_string_not_equal(a, b)    cmocka__strings(a, b, false, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n)     cmocka__memory(a, b, n, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, n) assert_true(memcmp(a, b, n) != 0)
#define assert_in_range(v, min, max)                                                               \
    assert_true(cmocka__number(v) >= cmocka__number(min) &&                                        \
                cmocka__number(v) <= cmocka__number(max))

#endif
