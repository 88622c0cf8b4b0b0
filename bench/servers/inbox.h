/* Whole messages out of a stream of bytes, for the servers that hand messages on: the beginning of
 * one is kept until its end comes. One thread. */
#ifndef BENCH_SERVERS_INBOX_H
#define BENCH_SERVERS_INBOX_H

#include <stdint.h>
#include <string.h>

#include "server.h"

#if defined(__cplusplus)
extern "C" {
#endif

struct inbox {
    uint32_t len;
    char bytes[SERVER_MESSAGE_BYTES];
};

/* Is given one or more whole messages. */
typedef void (*inbox_fn)(void *context, const char *messages, uint64_t len);

static inline void inbox_take(struct inbox *inbox, const char *data, uint64_t len, inbox_fn fn,
                              void *context)
{
    if (inbox->len) {
        uint64_t rest = SERVER_MESSAGE_BYTES - inbox->len, part = len < rest ? len : rest;
        memcpy(inbox->bytes + inbox->len, data, part);
        inbox->len += (uint32_t)part;
        data += part;
        len -= part;
        if (inbox->len < SERVER_MESSAGE_BYTES) return;
        inbox->len = 0;
        fn(context, inbox->bytes, SERVER_MESSAGE_BYTES);
    }
    uint64_t whole = len - len % SERVER_MESSAGE_BYTES;
    if (whole) fn(context, data, whole);
    inbox->len = (uint32_t)(len - whole);
    memcpy(inbox->bytes, data + whole, inbox->len);
}

#if defined(__cplusplus)
}
#endif
#endif
