/* The course of a storm; see storm.h. */
#include "sim/support/storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/support/guard.h"
#include "sim/support/record.h"

enum { CALM_LIMIT_MS = 60000, END_LIMIT_MS = 60000, ROUNDS_MAX = 60 };

void storm_fail(struct storm *storm, const char *what, const char *file, int line)
{
    guard_tell();
    fail_msg("%s:%d: at %llu ms: not true: %s", file, line,
             (unsigned long long)sally_sim_now_ms(storm->sim), what);
}

static void print_line(void *user, const char *line)
{
    (void)user;
    puts(line);
    fflush(stdout); /* the run may end by a signal */
}

/* ---- Making ---- */

static void engine_options(struct storm *storm, sally_engine_options *options)
{
    *options = (sally_engine_options){.shards = 1 + one_of(storm, 3), .conns_max = 64};
    if (one_of(storm, 2)) return;
    options->turn_events_max = 1 + one_of(storm, 8);
    options->recv_buf_bytes = 16 + one_of(storm, 2000);
    options->recv_bufs = 2 + one_of(storm, 30);
    options->send_chunk_bytes = 256 << one_of(storm, 4);
    options->send_chunks_max = 16 + one_of(storm, 200);
    options->mailbox_letters_max = 4 + one_of(storm, 60);
}

/* Limits are short, so that the dead are gone before the patience of the calm is over. */
static void server_options(struct storm *storm, sally_server_options *options)
{
    *options = (sally_server_options){
        .conn = {.first_byte_ms = 3000, .idle_ms = 5000, .write_stall_ms = 3000, .linger_ms = 1000},
        .conns_max = CONNS_MAX,
        .at_limit = one_of(storm, 2) ? SALLY_AT_LIMIT_WAIT : SALLY_AT_LIMIT_RESET,
    };
    if (one_of(storm, 4) == 0) options->conn.send_bytes_max = 512 + one_of(storm, 8192);
    if (one_of(storm, 4) == 0) options->conns_max = 2 + one_of(storm, 8);
    options->conn.no_auto_pause = one_of(storm, 8) == 0;
    options->accept_with_data = one_of(storm, 4) == 0;
    options->accept_data_ms = 3000;
    options->accept_held_max = 64 + one_of(storm, 64);
}

static int make_server(struct storm *storm)
{
    sally_engine_options engine;
    sally_server_options server;
    sally_handler handler;
    engine_options(storm, &engine);
    server_options(storm, &server);
    storm->with_eof = one_of(storm, 2);
    record_server_handler(storm, &handler);
    int err = sally_sim_engine(storm->sim, &engine, &storm->engine);
    if (err) return err;
    storm->depth++;
    err = sally_listen(storm->engine, "127.0.0.1:5002", &handler, &server, &storm->server);
    if (!err) err = sally_server_add(storm->server, "[::1]:5003");
    storm->depth--;
    return err;
}

static void make_surroundings(struct storm *storm)
{
    sally_sim *sim = storm->sim;
    storm->elsewhere = sally_sim_listen(sim, "203.0.113.5:80", 1 + one_of(storm, 8));
    CHECK(storm, storm->elsewhere);
    CHECK(storm, sally_sim_black_hole(sim, "203.0.113.6:80") == 0);
    CHECK(storm, sally_sim_name(sim, "one.example", "203.0.113.6") == 0);
    CHECK(storm, sally_sim_name(sim, "one.example", "203.0.113.7") == 0);
    CHECK(storm, sally_sim_name(sim, "one.example", "203.0.113.5") == 0);
}

/* ---- The storm ---- */

static bool count_conn(const sally_conn_info *info, void *arg)
{
    unsigned *count = arg;
    *count += info->id != 0;
    return true;
}

static void look(struct storm *storm)
{
    sally_engine_stats stats;
    unsigned count = 0;
    int err = sally_engine_each_conn(storm->engine, count_conn, &count);
    CHECK(storm, err == 0 || err == SALLY_ENOMEM);
    CHECK(storm, sally_engine_get_stats(storm->engine, &stats) == 0);
    CHECK(storm, stats.conns <= stats.conns_max);
    CHECK(storm, count <= stats.conns);
    CHECK(storm, stats.ops_started >= stats.ops_completed + stats.ops_cancelled + stats.ops_failed);
    CHECK(storm,
          stats.memory_bytes == 0 || stats.memory_bytes <= sally_sim_memory_bytes(storm->sim));
}

static void new_visitor(struct storm *storm)
{
    struct visitor *visitor = storm->visitors < PEERS - 2 ? visitor_new(storm) : NULL;
    enum role role = one_of(storm, 2) ? ROLE_GOOD : (enum role)one_of(storm, ROLE_ECHO);
    if (visitor) visitor_dial(storm, visitor, role);
}

static void something_happens(struct storm *storm)
{
    static const char *const places[] = {"127.0.0.1:5002", "[::1]:5003",     "203.0.113.5:80",
                                         "203.0.113.6:80", "203.0.113.9:80", "one.example:80",
                                         "two.example:80", "203.0.113.5:80"};
    switch (one_of(storm, 16)) {
    case 0: CHECK(storm, sally_server_pause(storm->server) == 0); break;
    case 1:
    case 2: CHECK(storm, sally_server_resume(storm->server) == 0); break;
    case 3: sally_sim_take_descriptors(storm->sim, one_of(storm, 2) ? UINT32_MAX : 4080); break;
    case 4: sally_sim_give_descriptors(storm->sim); break;
    case 5:
    case 6: record_connect(storm, places[one_of(storm, sizeof places / sizeof places[0])]); break;
    case 7:
    case 8: record_meddle(storm); break;
    case 9: look(storm); break;
    default: new_visitor(storm);
    }
}

static void blow(struct storm *storm)
{
    unsigned rounds = 1 + one_of(storm, ROUNDS_MAX);
    for (unsigned i = 0; i < rounds; i++) {
        something_happens(storm);
        visitors_act(storm);
        sally_sim_run(storm->sim, one_of(storm, 4) ? one_of(storm, 20) : one_of(storm, 500));
    }
}

/* ---- The calm: whoever comes now is served, in bounded time ---- */

static void serve_newcomer(struct storm *storm)
{
    struct visitor *last = visitor_new(storm);
    if (!last) last = &storm->visitor[0]; /* its peer belongs to the sim */
    visitor_dial(storm, last, ROLE_GOOD);
    storm->cut_by_us = 0;
    uint64_t limit_ms = sally_sim_now_ms(storm->sim) + CALM_LIMIT_MS;
    while (!visitor_is_served(last)) {
        visitors_act(storm);
        sally_sim_run(storm->sim, 20);
        CHECK(storm, sally_sim_now_ms(storm->sim) < limit_ms);
        if (sally_sim_peer_get_state(last->peer) != SALLY_SIM_RESET) continue;
        if (last->got == last->want) continue;
        /* turned away at the limit by those that are not gone yet: it comes again */
        CHECK(storm, last->got == 0 || storm->cut_by_us);
        storm->cut_by_us = 0;
        visitor_dial(storm, last, ROLE_GOOD);
    }
}

static void calm_down(struct storm *storm)
{
    storm->calm = true;
    sally_sim_set_faults(storm->sim, NULL);
    sally_sim_fail_alloc_at(storm->sim, 0, false);
    sally_sim_give_descriptors(storm->sim);
    CHECK(storm, sally_server_resume(storm->server) == 0);
    serve_newcomer(storm);
    serve_newcomer(storm);
    sally_server_stats stats;
    CHECK(storm, sally_server_get_stats(storm->server, &stats) == 0);
    CHECK(storm, stats.listeners == 2);
    CHECK(storm, stats.exhausted == 0);
    CHECK(storm, stats.conns <= CONNS_MAX);
}

/* ---- The end: everything is accounted for ---- */

static bool has_stopped(void *arg)
{
    struct storm *storm = arg;
    return sally_engine_get_state(storm->engine) == SALLY_ENGINE_STOPPED;
}

static void stop(struct storm *storm)
{
    uint32_t drain_ms = one_of(storm, 3000);
    storm->depth++;
    if (one_of(storm, 2))
        CHECK(storm, sally_engine_drain(storm->engine, drain_ms) == 0);
    else
        CHECK(storm, sally_engine_stop(storm->engine) == 0);
    storm->depth--;
    visitors_act(storm);
    CHECK(storm, sally_sim_run_until(storm->sim, has_stopped, storm, END_LIMIT_MS) == 0);
    sally_stop_report report;
    CHECK(storm, sally_engine_stop_report(storm->engine, &report) == 0);
    CHECK(storm, report.conns == report.finished + report.cut);
    CHECK(storm, report.took_ms <= END_LIMIT_MS);
    sally_engine_stats stats;
    CHECK(storm, sally_engine_get_stats(storm->engine, &stats) == 0);
    CHECK(storm, stats.conns == 0);
    CHECK(storm, sally_server_conns(storm->server) == 0);
    CHECK(storm, stats.ops_started == stats.ops_completed + stats.ops_cancelled + stats.ops_failed);
    CHECK(storm, sally_sim_sockets(storm->sim) == 0);
}

static void end(struct storm *storm, struct storm_result *result)
{
    if (one_of(storm, 4)) stop(storm);
    CHECK(storm, sally_engine_destroy(storm->engine) == 0);
    CHECK(storm, storm->depth == 0);
    CHECK(storm, storm->posts == storm->posts_done);
    CHECK(storm, sally_sim_sockets(storm->sim) == 0);
    CHECK(storm, sally_sim_memory_bytes(storm->sim) == 0);
    for (unsigned i = 0; i < storm->records; i++) {
        const struct record *record = &storm->record[i];
        CHECK(storm, record->closed == (record->opened || record->begun));
    }
    for (unsigned i = 0; i < storm->visitors; i++)
        result->served += visitor_is_served(&storm->visitor[i]);
}

static void weather(struct storm *storm, const struct storm_config *config)
{
    sally_sim_faults faults;
    sally_sim_draw_faults(storm->sim, &faults);
    if (!config->no_faults) sally_sim_set_faults(storm->sim, &faults);
}

static void run_server(struct storm *storm, const struct storm_config *config,
                       struct storm_result *result)
{
    make_surroundings(storm);
    if (config->fail_alloc)
        sally_sim_fail_alloc_at(storm->sim, config->fail_alloc, config->fail_on);
    int err = make_server(storm);
    result->made = err == 0;
    if (err) {
        CHECK(storm, err == SALLY_ENOMEM);
        CHECK(storm, sally_engine_destroy(storm->engine) == 0);
    } else {
        weather(storm, config);
        blow(storm);
        result->alloc_failed = sally_sim_alloc_failed(storm->sim);
        calm_down(storm);
        end(storm, result);
    }
    if (err) result->alloc_failed = sally_sim_alloc_failed(storm->sim);
    CHECK(storm, sally_sim_memory_bytes(storm->sim) == 0);
}

void storm_run(const struct storm_config *config, struct storm_result *result)
{
    static struct storm storm;
    memset(&storm, 0, sizeof storm);
    memset(result, 0, sizeof *result);
    char more[80] = "";
    if (config->fail_alloc)
        snprintf(more, sizeof more, "fail_alloc=%llu%s", (unsigned long long)config->fail_alloc,
                 config->fail_on ? " and on" : "");
    guard_seed(config->seed, more);
    sally_sim_options options = {.trace = getenv("SALLY_TRACE") ? print_line : NULL};
    assert_int_equal(sally_sim_create(&storm.sim, config->seed, &options), 0);
    storm.seed = config->seed;
    run_server(&storm, config, result);
    result->hash = sally_sim_hash(storm.sim);
    result->closed = storm.closed;
    sally_sim_destroy(storm.sim);
}
