/* A filter to test with: bytes as they are, but late and in pieces. With `user` it is ready when
 * the first byte has come, and says a word of its own now and then, which who reads it takes for
 * data. */
#ifndef TESTS_SUPPORT_FILTER_LAZY_H
#define TESTS_SUPPORT_FILTER_LAZY_H

#include <string.h>

#include "support/filters.h"
#include "support/lot.h"

enum { LAZY_BYTES = 24 };

struct lazy_lane {
    unsigned char bytes[LAZY_BYTES];
    uint32_t count;
};

struct lazy_state {
    struct lazy_lane in, out;
    struct lot lot;
    uint32_t words; /* to be said */
    bool ready, talks;
};

static inline int lazy_open(void *state, void *user, sally_conn *conn)
{
    struct lazy_state *lazy = state;
    (void)conn;
    lazy->lot.state = 5;
    lazy->ready = !user;
    lazy->talks = user;
    return 0;
}

static inline bool lazy_ready(const void *state)
{
    return ((const struct lazy_state *)state)->ready;
}

static inline void lazy_take(struct lazy_lane *lane, sally_filter_io *io, uint32_t most)
{
    for (; most && IO_LEFT(io) && lane->count < LAZY_BYTES; most--)
        lane->bytes[lane->count++] = io_next(io);
}

static inline void lazy_give(struct lazy_lane *lane, sally_filter_io *io, uint32_t most)
{
    uint32_t given = 0;
    for (; given < most && given < lane->count && IO_ROOM(io); given++)
        io_make(io, lane->bytes[given]);
    lane->count -= given;
    memmove(lane->bytes, lane->bytes + given, lane->count);
}

static inline int lazy_in(void *state, sally_filter_io *io)
{
    struct lazy_state *lazy = state;
    lazy_take(&lazy->in, io, 1 + lot_below(&lazy->lot, LAZY_BYTES));
    io->reply = lazy->talks && lot_below(&lazy->lot, 10) == 0;
    if (io->reply) lazy->words++;
    if (!lazy->ready) {
        lazy->ready = lazy->in.count > 0;
        if (lazy->ready) return SALLY_FILTERED_MORE;
        return io->finish ? SALLY_EMALFORMED : SALLY_FILTERED_ALL;
    }
    lazy_give(&lazy->in, io, 1 + lot_below(&lazy->lot, LAZY_BYTES));
    return lazy->in.count ? SALLY_FILTERED_MORE : SALLY_FILTERED_ALL;
}

static inline int lazy_out(void *state, sally_filter_io *io)
{
    struct lazy_state *lazy = state;
    for (; lazy->words && IO_ROOM(io); lazy->words--) io_make(io, '!');
    lazy_take(&lazy->out, io, 1 + lot_below(&lazy->lot, LAZY_BYTES));
    if (lazy->out.count == LAZY_BYTES || !IO_LEFT(io) || lot_below(&lazy->lot, 2))
        lazy_give(&lazy->out, io, io->flush ? LAZY_BYTES : 1 + lot_below(&lazy->lot, LAZY_BYTES));
    bool all = lazy->out.count == 0 || (!io->flush && !IO_LEFT(io));
    return all && !lazy->words ? SALLY_FILTERED_ALL : SALLY_FILTERED_MORE;
}

static inline size_t lazy_out_max(const void *state, size_t len)
{
    const struct lazy_state *lazy = state;
    return len + lazy->out.count + lazy->words;
}

static inline sally_filter filter_lazy(bool talks)
{
    static char yes;
    return (sally_filter){.name = "lazy",
                          .state_bytes = sizeof(struct lazy_state),
                          .user = talks ? &yes : NULL,
                          .open = lazy_open,
                          .ready = lazy_ready,
                          .in = lazy_in,
                          .out = lazy_out,
                          .out_max = lazy_out_max};
}

#endif
