/* What a turn that found only events has to see to before it ends. Virtual time stands still while
 * nothing is due, so a turn that leaves it to the next timer is seen to be late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/sim.h"

#define SERVER "127.0.0.1:5002"

enum {
    BUDGET = 10 * 1000 * 1000,
    MANY = BUDGET / 100 * 99,
    QUIET_MS = 5000, /* until the engine's own timers are over */
    SOON_MS = 100,   /* below every limit here */
};

/* What the handler saw. */
struct seen {
    unsigned closed;
    sally_close_reason reason;
    int sent;
};

static struct seen seen;
static char many[MANY];

static void queue_many(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    seen.sent = sally_conn_send(conn, many, sizeof many);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    seen.closed++;
    seen.reason = info->reason;
}

static void budget_is_looked_at(uint64_t seed)
{
    sally_sim *sim = NULL;
    sally_engine *engine = NULL;
    sally_handler handler = {.on_data = queue_many, .on_close = on_close};
    sally_server_options options = {
        .memory_max = BUDGET,
        .watchdog_ms = SALLY_FOREVER,
        .conn = {.send_bytes_max = BUDGET, .send_high_bytes = BUDGET, .send_low_bytes = BUDGET}};
    seen = (struct seen){.sent = -1};
    assert_int_equal(sally_sim_create(&sim, seed, NULL), 0);
    assert_int_equal(sally_sim_engine(sim, &(sally_engine_options){.shards = 1}, &engine), 0);
    assert_int_equal(sally_listen(engine, SERVER, &handler, &options, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(sim, SERVER);
    assert_non_null(peer);
    sally_sim_peer_stop_reading(peer);
    (void)sally_sim_run(sim, QUIET_MS);
    assert_int_equal(sally_sim_peer_write(peer, "g", 1), 1);
    (void)sally_sim_run(sim, SOON_MS);
    assert_int_equal(seen.sent, 0);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_MEMORY);
    assert_int_equal(sally_engine_destroy(engine), 0);
    sally_sim_destroy(sim);
}

static void the_turn_that_passes_a_servers_budget_closes_the_worst(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) budget_is_looked_at(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_turn_that_passes_a_servers_budget_closes_the_worst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
