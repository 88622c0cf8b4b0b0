/* Content that is made while it is sent (P-70) in the simulator, with faults, rates, budgets and
 * readers that stop, seed by seed: whatever happens, what comes is the content in order, whole when
 * its end comes; each producer is told its end once, and one seed is one run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/flow.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sim/support/audience.h"

#define SERVER "127.0.0.1:5002"
enum { MOST = 60000, LOW = 4096, CHUNK = 512 };

static struct {
    sally_sim *sim;
    unsigned begun, done, whole, cut, slept;
    uint64_t finished; /* peers that read to the end */
    struct audience audience;
} seen;

/* One connection's: contents of one stream, one after the other; then it is closed. */
struct maker {
    uint64_t made, end; /* of the stream */
    bool runs, asleep;
};

static uint32_t draw(uint32_t below) { return sally_sim_random(seen.sim, below); }

static int64_t make(sally_conn *conn, void *arg, void *into, size_t room)
{
    struct maker *maker = arg;
    unsigned char *bytes = into;
    assert_true(maker->runs && !maker->asleep);
    assert_true(room > 0 && room <= CHUNK);
    assert_true(sally_conn_queued(conn) <= LOW);
    if (maker->made == maker->end) return SALLY_PRODUCED_END;
    switch (draw(300)) {
    case 0: sally_conn_close(conn); break; /* it goes on */
    case 1: sally_conn_abort(conn); break;
    case 2: return draw(10) ? 1 + (int64_t)room : SALLY_EFILE;
    case 3: assert_true(sally_conn_send(conn, "x", 1) < 0); break;
    case 4: (void)sally_conn_shutdown(conn); break;
    default: break;
    }
    if (!draw(20) && sally_conn_timer(conn, 1 + draw(300)) == 0) {
        maker->asleep = true;
        seen.slept++;
        return 0;
    }
    size_t len = draw(3) ? 1 + draw((uint32_t)room) : room;
    if (len > maker->end - maker->made) len = maker->end - maker->made;
    for (size_t i = 0; i < len; i++) bytes[i] = audience_byte(maker->made++);
    return (int64_t)len;
}

static void begin(sally_conn *conn);

static void made(sally_conn *conn, void *arg, int error)
{
    struct maker *maker = arg;
    assert_true(maker->runs);
    maker->runs = false;
    seen.done++;
    if (error) {
        seen.cut++;
        audience_cut(&seen.audience, conn);
        return;
    }
    assert_true(maker->made == maker->end);
    seen.whole++;
    if (draw(2))
        begin(conn);
    else
        sally_conn_close(conn);
}

static void begin(sally_conn *conn)
{
    struct maker *maker = sally_conn_user(conn);
    sally_producer producer = {make, made, maker, draw(4) ? 0 : 1 + draw(2000)};
    uint64_t end = maker->made + draw(draw(3) ? 3000 : MOST);
    int err = sally_conn_produce(conn, &producer);
    if (err == SALLY_ENOMEM) sally_conn_abort(conn);
    assert_true(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
    if (err) return;
    maker->end = end;
    maker->runs = true;
    maker->asleep = false;
    seen.begun++;
}

static void on_open(sally_conn *conn)
{
    struct maker *maker = calloc(1, sizeof *maker);
    assert_non_null(maker);
    sally_conn_set_user(conn, maker);
    sally_rates rates = {.send = {.bytes_s = 1000 + draw(100000)}};
    if (!draw(3)) (void)sally_conn_set_rates(conn, &rates);
    begin(conn);
}

static void on_timer(sally_conn *conn)
{
    struct maker *maker = sally_conn_user(conn);
    if (!maker->asleep || !maker->runs) return;
    maker->asleep = false;
    assert_int_equal(sally_conn_produce_more(conn), 0);
}

static void on_eof(sally_conn *conn) { (void)conn; }

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct maker *maker = sally_conn_user(conn);
    assert_false(maker->runs);
    assert_true(info->bytes_out + info->bytes_unsent == maker->made ||
                info->reason == SALLY_CLOSE_ABORTED || info->reason == SALLY_CLOSE_PRODUCER);
    free(maker);
}

static sally_engine *serve(uint64_t seed)
{
    static const sally_handler handler = {
        .on_open = on_open, .on_timer = on_timer, .on_eof = on_eof, .on_close = on_close};
    sally_server_options options = {.conn.send_bytes_max = 16 * LOW};
    sally_engine_options engine_options = {.shards = 1 + (uint32_t)(seed % 2),
                                           .send_chunk_bytes = CHUNK};
    sally_engine *engine;
    if (!draw(3)) options.conn.idle_ms = 50 + draw(1000);
    if (!draw(3)) options.conn.memory_max = 1 + draw(8000);
    if (!draw(3)) options.memory_max = 2000 + draw(20000);
    assert_int_equal(sally_sim_engine(seen.sim, &engine_options, &engine), 0);
    assert_int_equal(sally_listen(engine, SERVER, &handler, &options, NULL), 0);
    return engine;
}

static uint64_t one_life(uint64_t seed)
{
    assert_int_equal(sally_sim_create(&seen.sim, seed, NULL), 0);
    sally_engine *engine = serve(seed);
    audience_come(&seen.audience, seen.sim, SERVER);
    for (int round = 0; round < 150; round++) audience_act(&seen.audience);
    audience_calm(&seen.audience);
    if (seed % 3 == 0) assert_int_equal(sally_engine_drain(engine, 20000), 0);
    seen.finished += audience_read_to_end(&seen.audience);
    uint64_t hash = sally_sim_hash(seen.sim);
    assert_int_equal(sally_engine_destroy(engine), 0);
    assert_int_equal(sally_sim_memory_bytes(seen.sim), 0);
    sally_sim_destroy(seen.sim);
    assert_int_equal(seen.begun, seen.done);
    return hash;
}

static void what_comes_is_the_content_and_its_end_is_told_once(void **state)
{
    (void)state;
    const char *wanted = getenv("SALLY_LONG");
    uint64_t seeds = wanted && *wanted && *wanted != '0' ? 10000 : 150;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t first = one_life(seed);
        if (seed % 10 == 0) assert_true(one_life(seed) == first);
    }
    printf(
        "seeds 1 to %llu: %u contents, %u whole, %u cut, %u times asleep, %llu peers to the end\n",
        (unsigned long long)seeds, seen.begun, seen.whole, seen.cut, seen.slept,
        (unsigned long long)seen.finished);
    assert_true(seen.whole > seeds && seen.cut > seeds / 4 && seen.slept > seeds);
    assert_true(seen.finished > seeds / 2);
}

/* ---- Without memory ---- */

static struct {
    unsigned asked, done;
} starved;

static int64_t make_one(sally_conn *conn, void *arg, void *into, size_t room)
{
    (void)conn;
    (void)arg;
    assert_true(room > 0);
    if (starved.asked++) return SALLY_PRODUCED_END;
    memset(into, 'x', 1);
    return 1;
}

static void one_made(sally_conn *conn, void *arg, int error)
{
    (void)arg;
    assert_int_equal(error, 0);
    starved.done++;
    sally_conn_close(conn);
}

/* The producer is taken, but there is no chunk for what it makes. */
static void open_starved(sally_conn *conn)
{
    sally_producer producer = {.produce = make_one, .done = one_made};
    assert_int_equal(sally_conn_produce(conn, &producer), 0);
    sally_sim_fail_alloc_at(seen.sim, 1, true);
}

/* No event says that there is memory again, and turning in circles is a violation. */
static void memory_is_waited_for(void **state)
{
    static const sally_handler handler = {.on_open = open_starved};
    sally_engine *engine;
    (void)state;
    assert_int_equal(sally_sim_create(&seen.sim, 1, NULL), 0);
    assert_int_equal(sally_sim_engine(seen.sim, NULL, &engine), 0);
    assert_int_equal(sally_listen(engine, SERVER, &handler, NULL, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(seen.sim, SERVER);
    sally_sim_run(seen.sim, 1000);
    assert_true(sally_sim_alloc_failed(seen.sim));
    assert_int_equal(starved.asked, 0);
    sally_sim_fail_alloc_at(seen.sim, 0, false);
    sally_sim_run(seen.sim, 1000);
    assert_int_equal(starved.asked, 2);
    assert_int_equal(starved.done, 1);
    assert_int_equal(sally_sim_peer_bytes(peer), 1);
    assert_true(sally_sim_peer_finished(peer));
    assert_int_equal(sally_engine_destroy(engine), 0);
    sally_sim_destroy(seen.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_is_the_content_and_its_end_is_told_once),
        cmocka_unit_test(memory_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
