/* The guarded allocator itself: what may be done goes well, and a byte too far or too late ends the
 * program. Each death is a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/support/guard_pages.h"
#include "port/support/trial.h"

enum { LIMIT_S = 30 };

static const size_t sizes[] = {1, 15, 16, 17, 100, 4080, 4096, 4097, 100000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void put(unsigned char *at)
{
    guard_die_of_faults();
    *(volatile unsigned char *)at = 1;
}

static void all_of_it_can_be_used(void *arg)
{
    (void)arg;
    for (unsigned round = 0; round < 2 * GUARD_KEPT; round++) {
        size_t bytes = sizes[round % SIZES];
        unsigned char *block = guard_alloc(bytes);
        CHECK(block && (uintptr_t)block % GUARD_ALIGN == 0);
        memset(block, 0x11, bytes);
        CHECK(block[bytes - 1] == 0x11);
        guard_free(block, bytes);
    }
}

static void a_byte_past_the_end(void *arg)
{
    (void)arg;
    put((unsigned char *)guard_alloc(4096) + 4096);
}

static void a_byte_past_the_end_of_an_odd_one(void *arg)
{
    (void)arg;
    unsigned char *block = guard_alloc(100);
    put(block + 100); /* within the alignment: told when it is freed */
    guard_free(block, 100);
}

static void a_byte_before_the_beginning(void *arg)
{
    (void)arg;
    put((unsigned char *)guard_alloc(4096) - 1);
}

static void a_byte_after_the_release(void *arg)
{
    (void)arg;
    unsigned char *block = guard_alloc(200);
    guard_free(block, 200);
    put(block);
}

static void a_byte_long_after_the_release(void *arg)
{
    (void)arg;
    unsigned char *block = guard_alloc(200);
    guard_free(block, 200);
    for (unsigned i = 0; i < GUARD_KEPT - 1; i++) guard_free(guard_alloc(200), 200);
    put(block);
}

static void twice_released(void *arg)
{
    (void)arg;
    unsigned char *block = guard_alloc(201);
    guard_free(block, 201);
    guard_die_of_faults();
    guard_free(block, 201);
}

struct death {
    const char *name;
    void (*body)(void *arg);
    bool lives;
};

static const struct death deaths[] = {
    {"all_of_it_can_be_used", all_of_it_can_be_used, true},
    {"a_byte_past_the_end", a_byte_past_the_end, false},
    {"a_byte_past_the_end_of_an_odd_one", a_byte_past_the_end_of_an_odd_one, false},
    {"a_byte_before_the_beginning", a_byte_before_the_beginning, false},
    {"a_byte_after_the_release", a_byte_after_the_release, false},
    {"a_byte_long_after_the_release", a_byte_long_after_the_release, false},
    {"twice_released", twice_released, false},
};
enum { DEATHS = sizeof deaths / sizeof deaths[0] };

static void try_death(void **state)
{
    const struct death *death = *state;
    struct trial trial;
    trial_name(death->name);
    trial_again(death->name);
    trial_run(&trial, death->body, NULL, LIMIT_S, !death->lives);
    if (death->lives && trial.verdict != VERDICT_OK) fail_msg("%s", trial.text);
    if (!death->lives && trial.verdict != VERDICT_FAIL) fail_msg("it lives");
    if (!death->lives && strstr(trial.text, "time")) fail_msg("it hangs: %s", trial.text);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[DEATHS];
    if (argc == 3 && strcmp(argv[1], "--trial") == 0)
        for (unsigned i = 0; i < DEATHS; i++)
            if (strcmp(deaths[i].name, argv[2]) == 0) trial_child(deaths[i].body, NULL, LIMIT_S);
    for (unsigned i = 0; i < DEATHS; i++)
        tests[i] = (struct CMUnitTest){deaths[i].name, try_death, NULL, NULL,
                                       (void *)(uintptr_t)&deaths[i]};
    setvbuf(stdout, NULL, _IOLBF, 0);
    return _cmocka_run_group_tests("port_guard_pages", tests, DEATHS, NULL, NULL) != 0;
}
