/* The 64-byte message of the load in which threads send: it says who sent it and in which order, and
 * a torn or mixed one is seen. Servers make it, the generator checks it. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MESSAGE_BYTES = 64, MESSAGE_WORDS = 8, MESSAGE_THREADS = 100 };

static inline void message_make(void *bytes, uint64_t thread, uint64_t number)
{
    uint64_t words[MESSAGE_WORDS] = {thread, number};
    for (uint64_t n = 2; n < MESSAGE_WORDS; n++)
        words[n] = (number * MESSAGE_THREADS + thread) * 0x9e3779b97f4a7c15u + n;
    memcpy(bytes, words, sizeof words);
}

/* False when it is not one that message_make has made. */
static inline bool message_read(const void *bytes, uint64_t *thread, uint64_t *number)
{
    uint64_t words[MESSAGE_WORDS], made[MESSAGE_WORDS];
    memcpy(words, bytes, sizeof words);
    *thread = words[0];
    *number = words[1];
    message_make(made, *thread, *number);
    return *thread < MESSAGE_THREADS && !memcmp(words, made, sizeof words);
}

#endif
