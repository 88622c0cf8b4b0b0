/* How much a test does: little in every run of the suite, more where somebody asks for it. */
#ifndef TESTS_SUPPORT_LONG_H
#define TESTS_SUPPORT_LONG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* SALLY_LONG=1 asks for the longer form. */
static inline bool long_form(void)
{
    const char *wanted = getenv("SALLY_LONG");
    return wanted && *wanted && *wanted != '0';
}

/* The seed of a run that has one: SALLY_TEST_SEED, or this one; printed. */
static inline uint64_t run_seed(uint64_t otherwise)
{
    const char *given = getenv("SALLY_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : otherwise;
    printf("SALLY_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* Seeds from 1 on, `more` times as many in the longer form; SALLY_SEED names one to run alone. They
 * are printed first, for whoever dies on the way. */
static inline void seeds_run(uint64_t count, unsigned more, void (*run)(uint64_t seed))
{
    const char *only = getenv("SALLY_SEED");
    uint64_t first = only ? strtoull(only, NULL, 0) : 1;
    uint64_t last = only ? first : long_form() ? count * more : count;
    printf("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)last);
    fflush(stdout);
    for (uint64_t seed = first; seed <= last; seed++) run(seed);
}

#endif
