/* Filters to test with: xor (a stream cipher of a kind: each byte depends on its place) and runs
 * (five bytes become up to MILLIONS: small input, much output). Others are filter_shake.h and
 * filter_lazy.h. None needs more than one byte of room or of input at a time. */
#ifndef TESTS_SUPPORT_FILTERS_H
#define TESTS_SUPPORT_FILTERS_H

#include <string.h>

#include "sallyport/filter.h"

/* What is used and made in a call so far. */
#define IO_LEFT(io) ((io)->len - (io)->used)
#define IO_ROOM(io) ((io)->room_bytes - (io)->made)
static inline unsigned char io_next(sally_filter_io *io)
{
    return ((const unsigned char *)io->input)[io->used++];
}
static inline void io_make(sally_filter_io *io, unsigned char byte)
{
    ((unsigned char *)io->room)[io->made++] = byte;
}

/* ---- xor: `user` is its key, or NULL ---- */

struct xor_state {
    uint64_t in_at, out_at;
    unsigned char key;
};

static inline int xor_open(void *state, void *user, sally_conn *conn)
{
    (void)conn;
    ((struct xor_state *)state)->key = user ? *(unsigned char *)user : 0x5a;
    return 0;
}

static inline int xor_pass(unsigned char key, uint64_t *at, sally_filter_io *io)
{
    for (; IO_LEFT(io) && IO_ROOM(io); (*at)++)
        io_make(io, (unsigned char)(io_next(io) ^ key ^ (*at * 29 + *at / 255)));
    return SALLY_FILTERED_ALL;
}

static inline int xor_in(void *state, sally_filter_io *io)
{
    struct xor_state *own = state;
    return xor_pass(own->key, &own->in_at, io);
}

static inline int xor_out(void *state, sally_filter_io *io)
{
    struct xor_state *own = state;
    return xor_pass(own->key, &own->out_at, io);
}

static inline sally_filter filter_xor(unsigned char *key)
{
    return (sally_filter){.name = "xor",
                          .state_bytes = sizeof(struct xor_state),
                          .user = key,
                          .open = xor_open,
                          .in = xor_in,
                          .out = xor_out};
}

/* ---- runs: a count of four bytes, lowest first, and the byte; a count of 0 is no run; one of
 * RUNS_END ends the stream. The last run is kept back unless there is a flush ---- */

#define RUNS_END UINT32_MAX
enum { RUN_BYTES = 5 };

struct runs_state {
    unsigned char head[RUN_BYTES];
    uint32_t head_bytes, left; /* in: of the run that is being made */
    uint32_t count;            /* out: of the run that may go on */
    unsigned char byte;
    unsigned char ready[RUN_BYTES];
    uint32_t ready_at, ready_bytes; /* out: of a record that found no room */
    bool bad, ended;
};

static inline uint32_t run_count(const unsigned char *head)
{
    return head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
}

static inline void run_write(unsigned char *head, uint32_t count, unsigned char byte)
{
    for (int i = 0; i < 4; i++) head[i] = (unsigned char)(count >> 8 * i);
    head[4] = byte;
}

static inline int runs_in(void *state, sally_filter_io *io)
{
    struct runs_state *runs = state;
    while (!runs->bad) {
        while (runs->left && IO_ROOM(io)) {
            io_make(io, runs->head[4]);
            runs->left--;
        }
        if (runs->left) return SALLY_FILTERED_MORE;
        while (runs->head_bytes < RUN_BYTES && IO_LEFT(io))
            runs->head[runs->head_bytes++] = io_next(io);
        if (runs->head_bytes < RUN_BYTES) break;
        runs->head_bytes = 0;
        runs->left = run_count(runs->head);
        runs->bad = !runs->left;
        if (runs->bad) break;
        if (runs->left != RUNS_END) continue;
        runs->left = 0;
        return SALLY_FILTERED_END;
    }
    if (io->finish && runs->head_bytes) runs->bad = true;
    if (!runs->bad) return SALLY_FILTERED_ALL;
    return io->made ? SALLY_FILTERED_MORE : SALLY_EMALFORMED; /* what was good comes first */
}

static inline bool runs_write(struct runs_state *runs, sally_filter_io *io)
{
    while (runs->ready_at < runs->ready_bytes && IO_ROOM(io))
        io_make(io, runs->ready[runs->ready_at++]);
    return runs->ready_at == runs->ready_bytes;
}

static inline void runs_record(struct runs_state *runs, uint32_t count, unsigned char byte)
{
    run_write(runs->ready, count, byte);
    runs->ready_at = 0;
    runs->ready_bytes = RUN_BYTES;
}

/* False when there is nothing to write. */
static inline bool runs_next(struct runs_state *runs, sally_filter_io *io)
{
    while (IO_LEFT(io)) {
        unsigned char byte = *((const unsigned char *)io->input + io->used);
        if (runs->count && byte != runs->byte) break;
        runs->byte = byte;
        runs->count++;
        io->used++;
    }
    bool flush = IO_LEFT(io) || io->flush || io->finish;
    if (runs->count && flush) {
        runs_record(runs, runs->count, runs->byte);
        runs->count = 0;
        return true;
    }
    if (!io->finish || IO_LEFT(io) || runs->ended) return false;
    runs->ended = true;
    runs_record(runs, RUNS_END, 0);
    return true;
}

static inline int runs_out(void *state, sally_filter_io *io)
{
    struct runs_state *runs = state;
    do {
        if (!runs_write(runs, io)) return SALLY_FILTERED_MORE;
    } while (runs_next(runs, io));
    return SALLY_FILTERED_ALL;
}

static inline size_t runs_out_max(const void *state, size_t len)
{
    (void)state;
    return RUN_BYTES * (len + 2); /* one was kept back, and one may be the end */
}

static inline sally_filter filter_runs(void)
{
    return (sally_filter){.name = "runs",
                          .state_bytes = sizeof(struct runs_state),
                          .in = runs_in,
                          .out = runs_out,
                          .out_max = runs_out_max};
}

/* ---- unpack: what comes is in runs, what goes goes as it is ---- */

static inline int pass_on(void *state, sally_filter_io *io)
{
    (void)state;
    while (IO_LEFT(io) && IO_ROOM(io)) io_make(io, io_next(io));
    return SALLY_FILTERED_ALL;
}

static inline sally_filter filter_unpack(void)
{
    sally_filter filter = filter_runs();
    filter.out = pass_on;
    filter.out_max = NULL;
    return filter;
}

#endif
