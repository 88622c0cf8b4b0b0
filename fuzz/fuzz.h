/* What the fuzzers have in common: one entry each, which libFuzzer or replay.c calls with memory of
 * just the input's size; what has to hold; and pieces of an input in memory of their own. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: it must hold in every build. */
#define HOLD(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) __builtin_trap();                                                        \
    } while (0)

/* A copy in memory of just that size, so that a sanitizer sees who looks behind it; to be freed,
 * never NULL. */
static inline uint8_t *fuzz_copy(const void *data, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    if (!copy) abort();
    if (size) memcpy(copy, data, size);
    return copy;
}

#endif
