/* See cmocka.h. One group of tests runs at a time, on one thread; static state. */
#include "win32/cmocka/cmocka.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum outcome { PASSED, FAILED, SKIPPED };

static jmp_buf way_out;
static bool running;
static const char *filter;

void cmocka_set_test_filter(const char *pattern) { filter = pattern; }

static bool matches(const char *pattern, const char *name)
{
    if (!*pattern) return !*name;
    if (*pattern == '*') return matches(pattern + 1, name) || (*name && matches(pattern, name + 1));
    return *name && (*pattern == '?' || *pattern == *name) && matches(pattern + 1, name + 1);
}

static _Noreturn void leave(enum outcome outcome)
{
    fflush(NULL);
    if (!running) exit(1);
    longjmp(way_out, outcome);
}

void cmocka__fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "[  ERROR   ] ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n%s:%d: failed\n", file, line);
    va_end(args);
    leave(FAILED);
}

void cmocka__skip(const char *file, int line)
{
    (void)file, (void)line;
    leave(SKIPPED);
}

void cmocka__equal(unsigned long long a, unsigned long long b, bool equal, const char *file,
                   int line)
{
    if ((a == b) == equal) return;
    cmocka__fail(file, line, "%#llx %s %#llx", a, equal ? "!=" : "==", b);
}

void cmocka__strings(const char *a, const char *b, bool equal, const char *file, int line)
{
    if ((strcmp(a, b) == 0) == equal) return;
    cmocka__fail(file, line, "\"%s\" %s \"%s\"", a, equal ? "!=" : "==", b);
}

void cmocka__memory(const void *a, const void *b, size_t size, const char *file, int line)
{
    const unsigned char *left = a, *right = b;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            cmocka__fail(file, line, "byte %llu is %#x, not %#x", (unsigned long long)i, left[i],
                         right[i]);
}

static enum outcome run(const struct CMUnitTest *test, void *group_state)
{
    void *state = test->initial_state ? test->initial_state : group_state;
    running = true;
    int outcome = setjmp(way_out);
    if (outcome == 0) {
        if (test->setup_func && test->setup_func(&state) != 0) outcome = FAILED;
        if (!outcome) test->test_func(&state);
        if (test->teardown_func && test->teardown_func(&state) != 0) outcome = FAILED;
    }
    running = false;
    return (enum outcome)outcome;
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static const char *const words[] = {"      OK", "  FAILED", " SKIPPED"};
    unsigned counts[3] = {0};
    void *state = NULL;
    if (setup && setup(&state) != 0) return (int)count;
    for (size_t i = 0; i < count; i++) {
        if (filter && !matches(filter, tests[i].name)) continue;
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        enum outcome outcome = run(&tests[i], state);
        counts[outcome]++;
        printf("[ %s ] %s\n", words[outcome], tests[i].name);
        fflush(stdout);
    }
    if (teardown && teardown(&state) != 0) counts[FAILED]++;
    printf("%s: %u passed, %u failed, %u skipped\n", name, counts[PASSED], counts[FAILED],
           counts[SKIPPED]);
    return (int)counts[FAILED];
}
