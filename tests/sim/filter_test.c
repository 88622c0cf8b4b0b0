/* Filters (P-54) in the simulator: two ends with the same stack, drawn by the seed, send streams to
 * each other, pause, cork and end as they like, under faults of the network, and with each
 * allocation failing once and with all after it. Whatever happens, what an end was given is the
 * beginning of what the other's send calls took, and who is told of its end was given all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/filter.h"
#include "sallyport/flow.h"
#include "sallyport/sim.h"
#include "support/filter_lazy.h"
#include "support/filter_shake.h"
#include "support/long.h"

enum { PAIRS = 3, STREAM_MAX = 30000, PIECE_MAX = 5000, SWEEP_MAX = 3000 };

struct end {
    struct end *other;
    bool opened, closed, eof, ended, paused;
    uint64_t sent, sent_max, got;
};

struct pair {
    struct end ends[2]; /* the server's, the client's */
};

static struct {
    sally_sim *sim;
    struct pair pairs[PAIRS];
    uint32_t stream_max;
    uint64_t got, whole, failed;
} world;

static uint32_t draw(uint32_t n) { return sally_sim_random(world.sim, n); }

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu at %llu ms, line %d: not true: %s",                                \
                     (unsigned long long)sally_sim_seed(world.sim),                                \
                     (unsigned long long)sally_sim_now_ms(world.sim), __LINE__, #condition);       \
    } while (0)

/* Runs of twenty equal bytes, so that runs makes less of them. */
static unsigned char stream_byte(uint64_t at) { return (unsigned char)(at / 20 * 41 + at / 5000); }

static struct end *end_of(const sally_conn *conn)
{
    struct pair *pair = sally_conn_user(conn);
    return &pair->ends[sally_conn_server(conn) ? 0 : 1];
}

/* ---- What an end does ---- */

static int64_t send_some_way(sally_conn *conn, const unsigned char *bytes, size_t len)
{
    const sally_bytes pieces[] = {{bytes, len / 2}, {bytes + len / 2, len - len / 2}};
    switch (draw(4)) {
    case 0: return sally_conn_send_some(conn, bytes, len);
    case 1: {
        int err = sally_conn_sendv(conn, pieces, 2);
        return err ? err : (int64_t)len;
    }
    default: {
        int err = sally_conn_send(conn, bytes, len);
        return err ? err : (int64_t)len;
    }
    }
}

static void end_it(sally_conn *conn, struct end *end)
{
    end->ended = true;
    if (draw(2))
        (void)sally_conn_shutdown(conn);
    else if (end->eof || draw(2))
        (void)sally_conn_close(conn); /* what the other still sends is dropped */
    else
        (void)sally_conn_shutdown(conn);
}

static void say_more(sally_conn *conn)
{
    static unsigned char bytes[PIECE_MAX];
    struct end *end = end_of(conn);
    for (unsigned n = 1 + draw(4); n && !end->ended; n--) {
        size_t len = 1 + draw(draw(2) ? 50 : PIECE_MAX);
        if (len > end->sent_max - end->sent) len = (size_t)(end->sent_max - end->sent);
        for (size_t i = 0; i < len; i++) bytes[i] = stream_byte(end->sent + i);
        int64_t took = len ? send_some_way(conn, bytes, len) : 0;
        HOLDS(took >= 0 || took == SALLY_EFULL || took == SALLY_ENOMEM || took == SALLY_ECLOSED ||
              (took == SALLY_ELIMIT && len > 5000));
        if (took > 0) end->sent += (uint64_t)took;
        if (took < 0) break;
        if (end->sent == end->sent_max) end_it(conn, end);
    }
    (void)sally_conn_timer(conn, 1 + draw(50));
}

static void on_open(sally_conn *conn)
{
    struct end *end = end_of(conn);
    HOLDS(!end->opened && !end->closed);
    end->opened = true;
    say_more(conn);
}

static void on_timer(sally_conn *conn)
{
    struct end *end = end_of(conn);
    if (end->paused) (void)sally_conn_resume(conn);
    end->paused = false;
    say_more(conn);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct end *end = end_of(conn);
    const unsigned char *bytes = data;
    HOLDS(end->opened && !end->closed && !end->paused && !end->eof);
    HOLDS(end->got + len <= end->other->sent);
    for (size_t i = 0; i < len; i++) HOLDS(bytes[i] == stream_byte(end->got + i));
    end->got += len;
    world.got += len;
    if (draw(8) == 0) end->paused = sally_conn_pause(conn) == 0;
    if (draw(4000) == 0) (void)sally_conn_abort(conn);
    if (draw(3) == 0 && !end->ended) say_more(conn);
}

static void on_eof(sally_conn *conn)
{
    struct end *end = end_of(conn);
    HOLDS(!end->eof && !end->paused);
    HOLDS(end->got == end->other->sent && end->other->ended);
    end->eof = true;
    world.whole++;
    if (end->ended) (void)sally_conn_close(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct end *end = end_of(conn);
    HOLDS(!end->closed);
    end->closed = true;
    world.failed += info->reason == SALLY_CLOSE_HANDSHAKE;
    HOLDS(info->reason != SALLY_CLOSE_FILTER || info->error == SALLY_EMALFORMED);
}

/* ---- A life ---- */

static uint32_t draw_filters(sally_filter *list)
{
    uint32_t count = 1 + draw(SALLY_FILTERS_MAX), runs = 0; /* of which each may make five times
                                                               as much */
    for (uint32_t i = 0; i < count; i++) {
        const sally_filter choice[] = {filter_xor(NULL), filter_runs(), filter_shake(),
                                       filter_lazy(false)};
        uint32_t which = draw(4);
        if (which == 1 && runs++) which = 0;
        list[i] = choice[which];
    }
    return count;
}

static void begin_pair(sally_engine *engine, unsigned i)
{
    static const sally_handler handlers = {.on_open = on_open,
                                           .on_data = on_data,
                                           .on_eof = on_eof,
                                           .on_timer = on_timer,
                                           .on_close = on_close};
    struct pair *pair = &world.pairs[i];
    sally_filter list[SALLY_FILTERS_MAX];
    sally_conn_options conn = {.filters = list,
                               .filter_count = draw_filters(list),
                               .first_byte_ms = 5000,
                               .idle_ms = SALLY_FOREVER,
                               .send_bytes_max = draw(2) ? 0 : 40000 + draw(40000)};
    sally_handler handler = handlers;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", 5000 + i);
    handler.user = pair;
    for (int k = 0; k < 2; k++)
        pair->ends[k] =
            (struct end){.other = &pair->ends[!k], .sent_max = 1 + draw(world.stream_max)};
    int err = sally_listen(engine, address, &handler, &(sally_server_options){.conn = conn}, NULL);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_EEXHAUSTED);
    if (err) return;
    err = sally_connect(engine, address, &handler, &(sally_connect_options){.conn = conn}, NULL);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_EEXHAUSTED);
}

static void live(sally_engine *engine, uint64_t fail_at)
{
    sally_sim_faults faults;
    sally_sim_draw_faults(world.sim, &faults);
    if (!fail_at && draw(2)) sally_sim_set_faults(world.sim, &faults);
    world.stream_max = fail_at ? STREAM_MAX / 10 : STREAM_MAX;
    for (unsigned i = 0; i < (fail_at ? 1 : PAIRS); i++) begin_pair(engine, i);
    sally_sim_run(world.sim, fail_at ? 1000 : 20000);
}

/* Whether the allocation that was to fail was reached. */
static bool one_life(uint64_t seed, uint64_t fail_at, bool and_on)
{
    sally_engine_options options = {.shards = 1 + (uint32_t)(seed % 2)};
    sally_engine *engine = NULL;
    memset(world.pairs, 0, sizeof world.pairs);
    assert_int_equal(sally_sim_create(&world.sim, seed, NULL), 0);
    if (draw(2)) options.send_chunk_bytes = 256 + draw(600);
    if (draw(2)) options.recv_buf_bytes = 32 + draw(1000);
    if (fail_at) sally_sim_fail_alloc_at(world.sim, fail_at, and_on);
    bool made = sally_sim_engine(world.sim, &options, &engine) == 0;
    if (made) live(engine, fail_at);
    bool failed = sally_sim_alloc_failed(world.sim);
    HOLDS(made || failed);
    if (made) assert_int_equal(sally_engine_destroy(engine), 0);
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        HOLDS(world.pairs[i / 2].ends[i % 2].opened <= world.pairs[i / 2].ends[i % 2].closed);
    HOLDS(sally_sim_memory_bytes(world.sim) == 0);
    sally_sim_destroy(world.sim);
    return failed;
}

static void life_with_memory(uint64_t seed) { (void)one_life(seed, 0, false); }

static void whole_or_not_at_all(void **state)
{
    (void)state;
    enum { SEEDS = 100, MORE = 200 };
    const uint64_t seeds = long_form() ? SEEDS * MORE : SEEDS;
    seeds_run(SEEDS, MORE, life_with_memory);
    printf("%llu bytes, %llu whole streams, %llu handshakes failed\n",
           (unsigned long long)world.got, (unsigned long long)world.whole,
           (unsigned long long)world.failed);
    if (getenv("SALLY_SEED")) return;
    assert_true(world.whole > seeds && world.got > seeds * STREAM_MAX);
}

static void sweep(bool and_on)
{
    uint64_t failures = 0;
    const uint64_t seeds = long_form() ? 200 : 3;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t n = 1;
        while (one_life(seed, n, and_on)) assert_true(++n < SWEEP_MAX);
        failures += n - 1;
    }
    printf("%llu allocations failed\n", (unsigned long long)failures);
    assert_true(failures > seeds * 30);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    sweep(false);
    sweep(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_or_not_at_all),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("sim/filter", tests, NULL, NULL);
}
