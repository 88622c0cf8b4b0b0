/* Filters to test with: xor (a stream cipher of a kind: each byte depends on its place), runs (five
 * bytes become up to MILLIONS: small input, much output), and shake (a TLS of a kind: a handshake,
 * records, pings that are answered, an end within the stream). None needs more than one byte of
 * room or of input at a time. */
#ifndef TESTS_SUPPORT_FILTERS_H
#define TESTS_SUPPORT_FILTERS_H

#include <string.h>

#include "sallyport/filter.h"

#include "support/lot.h"

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
    struct xor_state * xor = state;
    return xor_pass(xor->key, &xor->in_at, io);
}

static inline int xor_out(void *state, sally_filter_io *io)
{
    struct xor_state * xor = state;
    return xor_pass(xor->key, &xor->out_at, io);
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

/* ---- shake: the client (no server) begins with "hello", the server answers "welcome", or "sorry"
 * and fails. Then records: a byte that says how many follow; 0 is the end, SHAKE_PING is answered
 * by SHAKE_PONG, and SHAKE_BAD fails with a SHAKE_PONG as its last word ---- */

enum { SHAKE_MOST = 250, SHAKE_PING = 255, SHAKE_PONG = 254, SHAKE_BAD = 253 };
#define SHAKE_HELLO   "hello"
#define SHAKE_WELCOME "welcome"
#define SHAKE_SORRY   "sorry"

struct shake_state {
    bool server, ready, greeted, wrong, ended;
    uint32_t got;  /* in: of the other's greeting */
    uint32_t left; /* in: of a record */
    uint32_t pongs;
    uint32_t head; /* out: bytes to go of what was begun; of greetings: from the end */
    const char *say;
    uint32_t record; /* out: bytes left of the record that was begun */
};

static inline int shake_open(void *state, void *user, sally_conn *conn)
{
    struct shake_state *shake = state;
    (void)user;
    shake->server = conn && sally_conn_server(conn);
    if (!shake->server) shake->say = SHAKE_HELLO;
    return 0;
}

static inline bool shake_ready(const void *state)
{
    return ((const struct shake_state *)state)->ready;
}

static inline int shake_greet(struct shake_state *shake, sally_filter_io *io)
{
    const char *other = shake->server ? SHAKE_HELLO : SHAKE_WELCOME;
    while (IO_LEFT(io) && other[shake->got] && !shake->wrong)
        shake->wrong = io_next(io) != (unsigned char)other[shake->got++];
    if (!shake->wrong && other[shake->got]) return io->finish ? SALLY_EMALFORMED : 0;
    io->reply = shake->server;
    if (shake->server) shake->say = shake->wrong ? SHAKE_SORRY : SHAKE_WELCOME;
    shake->ready = shake->greeted = !shake->wrong;
    return shake->wrong ? SALLY_EMALFORMED : SALLY_FILTERED_ALL;
}

static inline int shake_in(void *state, sally_filter_io *io)
{
    struct shake_state *shake = state;
    if (!shake->greeted) return shake_greet(shake, io);
    while (IO_LEFT(io)) {
        if (shake->left) {
            if (!IO_ROOM(io)) return SALLY_FILTERED_MORE;
            io_make(io, io_next(io));
            shake->left--;
            continue;
        }
        unsigned head = io_next(io);
        if (head == 0) return SALLY_FILTERED_END;
        if (head == SHAKE_PING || head == SHAKE_BAD) {
            shake->pongs++;
            io->reply = true;
        }
        if (head == SHAKE_BAD) return SALLY_EMALFORMED;
        if (head <= SHAKE_MOST) shake->left = head;
    }
    return io->finish ? SALLY_EMALFORMED : SALLY_FILTERED_ALL; /* there was no end */
}

/* False: there was no room for it. */
static inline bool shake_say(struct shake_state *shake, sally_filter_io *io)
{
    while (shake->say && *shake->say) {
        if (!IO_ROOM(io)) return false;
        io_make(io, (unsigned char)*shake->say++);
    }
    while (shake->pongs && !shake->record) {
        if (!IO_ROOM(io)) return false;
        io_make(io, SHAKE_PONG);
        shake->pongs--;
    }
    return true;
}

static inline int shake_out(void *state, sally_filter_io *io)
{
    struct shake_state *shake = state;
    if (io->len && !shake->ready) return SALLY_ESTATE;
    if (!shake_say(shake, io)) return SALLY_FILTERED_MORE;
    while (IO_LEFT(io) && IO_ROOM(io)) {
        if (shake->record) {
            io_make(io, io_next(io));
            shake->record--;
            continue;
        }
        shake->record = IO_LEFT(io) < SHAKE_MOST ? (uint32_t)IO_LEFT(io) : SHAKE_MOST;
        io_make(io, (unsigned char)shake->record);
    }
    if (IO_LEFT(io)) return SALLY_FILTERED_MORE;
    if (!io->finish || shake->ended) return SALLY_FILTERED_ALL;
    if (!IO_ROOM(io)) return SALLY_FILTERED_MORE;
    io_make(io, 0);
    shake->ended = true;
    return SALLY_FILTERED_ALL;
}

static inline size_t shake_out_max(const void *state, size_t len)
{
    const struct shake_state *shake = state;
    size_t says = shake->say ? strlen(shake->say) : 0;
    return len + len / SHAKE_MOST + 2 + shake->pongs + says;
}

static inline sally_filter filter_shake(void)
{
    return (sally_filter){.name = "shake",
                          .state_bytes = sizeof(struct shake_state),
                          .open = shake_open,
                          .ready = shake_ready,
                          .in = shake_in,
                          .out = shake_out,
                          .out_max = shake_out_max};
}

/* ---- lazy: bytes as they are, but late and in pieces. With `user` it is ready when the first byte
 * has come, and says a word of its own now and then, which who reads it takes for data ---- */

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
