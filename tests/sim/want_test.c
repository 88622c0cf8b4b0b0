/* Reading on demand (P-52) and limits for bytes (P-73) in the simulator, with faults, seed by seed:
 * whatever the network does, what is handed out is what was wanted, in order, and one seed is one
 * run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/framing.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "support/long.h"

#define SERVER "127.0.0.1:5002"
enum { PEERS = 4, MOST = 3000 };

static const sally_framing demand = {.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = MOST};

static struct {
    sally_sim *sim;
    unsigned opened, closed;
    uint64_t messages;
} seen;

/* One connection's. */
struct reader {
    uint32_t wanted; /* 0: nothing */
    uint64_t offset;
};

static unsigned char stream_byte(uint64_t at) { return (unsigned char)(at * 41 + at / 253); }

static void want(sally_conn *conn)
{
    struct reader *reader = sally_conn_user(conn);
    uint32_t bytes = 1 + sally_sim_random(seen.sim, sally_sim_random(seen.sim, 4) ? 30 : MOST);
    int err = sally_conn_want(conn, bytes);
    if (err == 0) reader->wanted = bytes;
    assert_true(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
    if (err == SALLY_ENOMEM) sally_conn_abort(conn);
}

/* Sometimes nothing is wanted for a while, and a timer asks. */
static void maybe_want(sally_conn *conn)
{
    if (sally_sim_random(seen.sim, 3))
        want(conn);
    else
        (void)sally_conn_timer(conn, 1 + sally_sim_random(seen.sim, 300));
}

static void on_open(sally_conn *conn)
{
    struct reader *reader = calloc(1, sizeof *reader);
    assert_non_null(reader);
    sally_conn_set_user(conn, reader);
    seen.opened++;
    sally_rates rates = {.recv = {.bytes_s = 100 + sally_sim_random(seen.sim, 30000)}};
    if (sally_sim_random(seen.sim, 2)) sally_conn_set_rates(conn, &rates);
    maybe_want(conn);
}

static void on_timer(sally_conn *conn)
{
    struct reader *reader = sally_conn_user(conn);
    assert_int_equal(reader->wanted, 0);
    want(conn);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    struct reader *reader = sally_conn_user(conn);
    const unsigned char *bytes = data;
    assert_int_equal(len, reader->wanted);
    for (size_t i = 0; i < len; i++) assert_int_equal(bytes[i], stream_byte(reader->offset + i));
    reader->offset += len;
    reader->wanted = 0;
    seen.messages++;
    switch (sally_sim_random(seen.sim, 200)) {
    case 0: sally_conn_close(conn); break;
    case 1: sally_conn_abort(conn); break;
    default: maybe_want(conn); break;
    }
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct reader *reader = sally_conn_user(conn);
    seen.closed++;
    if (info->bytes_truncated) assert_true(info->bytes_truncated < MOST);
    assert_true(reader->offset + info->bytes_truncated <= info->bytes_in);
    free(reader);
}

static uint64_t one_life(uint64_t seed)
{
    static const sally_handler handler = {
        .on_open = on_open, .on_message = on_message, .on_timer = on_timer, .on_close = on_close};
    sally_server_options options = {.conn.framing = &demand};
    sally_engine_options shards = {.shards = 1 + (uint32_t)(seed % 2)};
    sally_engine *engine;
    sally_sim_faults faults;
    sally_sim_peer *peers[PEERS];
    uint64_t written[PEERS] = {0};
    assert_int_equal(sally_sim_create(&seen.sim, seed, NULL), 0);
    assert_int_equal(sally_sim_engine(seen.sim, &shards, &engine), 0);
    assert_int_equal(sally_listen(engine, SERVER, &handler, &options, NULL), 0);
    for (int i = 0; i < PEERS; i++) peers[i] = sally_sim_dial(seen.sim, SERVER);
    sally_sim_draw_faults(seen.sim, &faults);
    if (seed % 2) sally_sim_set_faults(seen.sim, &faults);
    for (int round = 0; round < 200; round++) {
        int i = (int)sally_sim_random(seen.sim, PEERS);
        unsigned char bytes[512];
        size_t len = 1 + sally_sim_random(seen.sim, sizeof bytes);
        for (size_t at = 0; at < len; at++) bytes[at] = stream_byte(written[i] + at);
        written[i] += sally_sim_peer_write(peers[i], bytes, len);
        if (!sally_sim_random(seen.sim, 100)) sally_sim_peer_finish(peers[i]);
        sally_sim_run(seen.sim, sally_sim_random(seen.sim, 50));
    }
    sally_sim_set_faults(seen.sim, NULL);
    sally_sim_run(seen.sim, 5000);
    uint64_t hash = sally_sim_hash(seen.sim);
    assert_int_equal(sally_engine_destroy(engine), 0);
    assert_int_equal(sally_sim_memory_bytes(seen.sim), 0);
    sally_sim_destroy(seen.sim);
    assert_int_equal(seen.opened, seen.closed);
    return hash;
}

static void what_is_handed_out_is_what_was_wanted(void **state)
{
    (void)state;
    uint64_t seeds = long_form() ? 20000 : 150;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t first = one_life(seed);
        if (seed % 10 == 0) assert_true(one_life(seed) == first);
    }
    assert_true(seen.messages > seeds * 20);
    printf("seeds 1 to %llu, %llu messages\n", (unsigned long long)seeds,
           (unsigned long long)seen.messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_handed_out_is_what_was_wanted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
