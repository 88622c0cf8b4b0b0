/* A filter to test with, a TLS of a kind: a handshake, records, pings that are answered, an end
 * within the stream. The client (no server) begins with "hello", the server answers "welcome", or
 * "sorry" and fails. Then records: a byte that says how many follow; 0 is the end, SHAKE_PING is
 * answered by SHAKE_PONG, and SHAKE_BAD fails with a SHAKE_PONG as its last word. */
#ifndef TESTS_SUPPORT_FILTER_SHAKE_H
#define TESTS_SUPPORT_FILTER_SHAKE_H

#include <string.h>

#include "support/filters.h"

enum { SHAKE_MOST = 250, SHAKE_PING = 255, SHAKE_PONG = 254, SHAKE_BAD = 253 };
#define SHAKE_HELLO   "hello"
#define SHAKE_WELCOME "welcome"
#define SHAKE_SORRY   "sorry"

struct shake_state {
    bool server, ready, wrong, ended;
    uint32_t got;  /* in: of the other's greeting */
    uint32_t left; /* in: of a record */
    uint32_t pongs;
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
    shake->ready = !shake->wrong;
    return shake->wrong ? SALLY_EMALFORMED : SALLY_FILTERED_ALL;
}

static inline int shake_in(void *state, sally_filter_io *io)
{
    struct shake_state *shake = state;
    if (!shake->ready) return shake_greet(shake, io);
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

#endif
