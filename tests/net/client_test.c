/* Clients that connect again (P-37, P-39, S2-2, S2-17): what they say, when they try, how they end.
 * In the simulator, where delays are exact and a seed replays, and on real engines. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/accept_tools.h"
#include "sallyport/client.h"
#include "sallyport/sim.h"

#define SERVER "127.0.0.1:5002"
enum { EVENTS = 64, CROWD = 1000, MANY = SANITIZED ? 1000 : 10000, SEEDS = 60, RACERS = 60 };

/* One client and all it said. */
struct log {
    sally_engine *engine;
    sally_sim *sim;
    sally_client *client;
    char story[EVENTS]; /* W C U E, o d c */
    sally_client_event event[EVENTS];
    uint64_t at_ms[EVENTS];
    atomic_uint events, opens, closes, ends;
    sally_client_event last;
    _Atomic sally_id id;
    char stop_at; /* stops the client when this is said */
    bool destroys, wrong;
};

static void say_it(struct log *log, char what, const sally_client_event *event)
{
    unsigned n = atomic_load(&log->events);
    if (atomic_load(&log->ends)) log->wrong = true; /* nothing comes after the end */
    if (n < EVENTS - 1) {
        log->story[n] = what;
        if (event) log->event[n] = *event;
        if (log->sim) log->at_ms[n] = sally_sim_now_ms(log->sim);
    }
    atomic_store(&log->events, n + 1);
    if (what != log->stop_at) return;
    log->stop_at = 0;
    if (log->destroys)
        check_error(sally_client_destroy(log->client), 0);
    else
        check_error(sally_client_stop(log->client), 0);
}

static void on_state(sally_client *client, const sally_client_event *event)
{
    struct log *log = sally_client_user(client);
    if (client != log->client) log->wrong = true; /* set before the first callback */
    if (sally_client_get_state(client) != event->state) log->wrong = true;
    if (event->state == SALLY_CLIENT_UP && sally_client_id(client) != event->id) log->wrong = true;
    if (event->state != SALLY_CLIENT_UP && sally_client_id(client)) log->wrong = true;
    log->last = *event;
    say_it(log, "WCUE"[event->state], event);
    if (event->state == SALLY_CLIENT_ENDED) atomic_fetch_add(&log->ends, 1);
}

static void on_open(sally_conn *conn)
{
    struct log *log = sally_conn_user(conn);
    if (sally_conn_client(conn) != log->client || sally_conn_server(conn)) log->wrong = true;
    if (sally_client_id(log->client) != sally_conn_id(conn)) log->wrong = true;
    atomic_store(&log->id, sally_conn_id(conn));
    atomic_fetch_add(&log->opens, 1);
    say_it(log, 'o', NULL);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    say_it(sally_conn_user(conn), 'd', NULL);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct log *log = sally_conn_user(conn);
    (void)info;
    if (sally_client_id(log->client)) log->wrong = true;
    atomic_fetch_add(&log->closes, 1);
    say_it(log, 'c', NULL);
}

static int create(struct log *log, const char *address, const sally_client_options *given)
{
    sally_client_options options = given ? *given : (sally_client_options){0};
    sally_handler handler = {
        .user = log, .on_open = on_open, .on_data = on_data, .on_close = on_close};
    options.on_state = on_state;
    return sally_client_create(log->engine, address, &handler, &options, &log->client);
}

static sally_sim *sim_new(uint64_t seed, uint32_t conns, sally_engine **engine)
{
    sally_sim *sim;
    sally_sim_options world = {.descriptors_max = 3 * MANY, .latency_max_us = 1000};
    sally_engine_options options = {.shards = 1 + (uint32_t)(seed % 3), .conns_max = conns};
    check_error(sally_sim_create(&sim, seed, &world), 0);
    check_error(sally_sim_engine(sim, &options, engine), 0);
    return sim;
}

static void sim_end(sally_sim *sim, sally_engine *engine)
{
    check_error(sally_engine_destroy(engine), 0);
    check_equal(sally_sim_sockets(sim), 0);
    check_equal(sally_sim_memory_bytes(sim), 0);
    sally_sim_destroy(sim);
}

static void check_over(const struct log *log)
{
    check(!log->wrong);
    check_equal(atomic_load(&log->ends), 1);
    check_equal(atomic_load(&log->opens), atomic_load(&log->closes));
}

/* ---- What it says ---- */

static void it_connects_again_when_its_connection_ends(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    log.sim = sim_new(1, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, SERVER, 0);
    check_error(create(&log, SERVER, NULL), 0);
    check_equal(sally_client_get_state(log.client), SALLY_CLIENT_CONNECTING);
    check(sally_client_engine(log.client) == log.engine);
    for (int i = 0; i < 3; i++) {
        sally_sim_run(log.sim, 1000);
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        check(peer != NULL);
        check_error(sally_send(log.engine, sally_client_id(log.client), "hello", 5), 0);
        sally_sim_run(log.sim, 10);
        check_equal(sally_sim_peer_bytes(peer), 5);
        check_equal(sally_sim_peer_write(peer, "x", 1), 1);
        sally_sim_run(log.sim, 10);
        if (i == 1)
            sally_sim_peer_reset(peer);
        else
            sally_sim_peer_close(peer);
    }
    sally_sim_run(log.sim, 1000);
    sim_end(log.sim, log.engine);
    check(strcmp(log.story, "CUodcWCUodcWCUodcWCUocE") == 0);
    check_equal(log.event[5].reason, SALLY_CLOSE_PEER_CLOSED);
    check_equal(log.event[11].reason, SALLY_CLOSE_PEER_RESET);
    check_equal(log.last.end, SALLY_CLIENT_SHUTDOWN);
    check_over(&log);
}

/* The same handler on both ends: an accepted connection and a client's can't be told apart. */
static char both_ways[2][16];

static void trace(sally_conn *conn, char what)
{
    char *story = both_ways[sally_conn_server(conn) != NULL];
    size_t len = strlen(story);
    if (len < 15) story[len] = what;
}

static void trace_open(sally_conn *conn)
{
    trace(conn, 'o');
    check_error(sally_conn_send(conn, "hello", 5), 0);
}

static void trace_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    trace(conn, 'd');
    check_equal(len, 5);
    check_error(sally_conn_shutdown(conn), 0);
}

static void trace_eof(sally_conn *conn)
{
    trace(conn, 'e');
    check_error(sally_conn_close(conn), 0);
}

static void trace_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    trace(conn, 'c');
}

static void its_callbacks_are_those_of_an_accepted_one(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_sim *sim = sim_new(2, 0, &engine);
    sally_handler handler = {
        .on_open = trace_open, .on_data = trace_data, .on_eof = trace_eof, .on_close = trace_close};
    sally_client_options options = {.delay_min_ms = 60000, .delay_max_ms = 60000};
    sally_client *client;
    memset(both_ways, 0, sizeof both_ways);
    check_error(sally_listen(engine, SERVER, &handler, NULL, NULL), 0);
    check_error(sally_client_create(engine, SERVER, &handler, &options, &client), 0);
    sally_sim_run(sim, 1000);
    check(strcmp(both_ways[0], "odec") == 0);
    check(strcmp(both_ways[0], both_ways[1]) == 0);
    check_equal(sally_client_get_state(client), SALLY_CLIENT_WAITING);
    sim_end(sim, engine);
}

static void a_name_is_looked_up_at_each_attempt(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    log.sim = sim_new(3, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, "192.0.2.7:80", 0);
    check_error(create(&log, "moved.test:80", NULL), 0);
    sally_sim_run(log.sim, 1000);
    check_error(log.last.error, SALLY_ENONAME);
    check_error(sally_sim_name(log.sim, "moved.test", "192.0.2.7"), 0);
    sally_sim_run(log.sim, 60000);
    check_equal(sally_client_get_state(log.client), SALLY_CLIENT_UP);
    check(sally_sim_listener_accept(door) != NULL);
    sim_end(log.sim, log.engine);
    check_over(&log);
}

/* ---- When it tries ---- */

/* Nobody listens. Each wait is as long as it was told, within its range. */
static void refused_for(const sally_client_options *options, const uint32_t *base_ms,
                        uint32_t jitter_percent)
{
    struct log log = {0};
    log.sim = sim_new(4, 0, &log.engine);
    check_error(create(&log, SERVER, options), 0);
    sally_sim_run(log.sim, 300000);
    unsigned waits = 0;
    for (unsigned n = 0; n + 1 < EVENTS && log.story[n + 1]; n++) {
        if (log.story[n] != 'W') continue;
        uint32_t base = base_ms[waits < 9 ? waits : 9], ms = log.event[n].wait_ms;
        waits++;
        check(ms >= base && ms <= base + base * jitter_percent / 100);
        check_equal(log.event[n].failures, waits);
        check_equal(log.event[n].reason, SALLY_CLOSE_CONNECT_FAILED);
        check_error(log.event[n].error, SALLY_EREFUSED);
        check_equal(log.story[n + 1], 'C');
        check(log.at_ms[n + 1] - log.at_ms[n] >= ms && log.at_ms[n + 1] - log.at_ms[n] <= ms + 1);
    }
    check(waits >= 9);
    sim_end(log.sim, log.engine);
    check_over(&log);
}

static void delays_grow_as_asked(const struct setting *setting)
{
    (void)setting;
    static const uint32_t doubled[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000};
    static const uint32_t exact[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000};
    static const uint32_t linear[] = {1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 8000, 8000};
    static const uint32_t fixed[] = {3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000};
    refused_for(NULL, doubled, 100);
    refused_for(&(sally_client_options){.delay_max_ms = 5000, .no_jitter = true}, exact, 0);
    refused_for(&(sally_client_options){.backoff = SALLY_BACKOFF_LINEAR,
                                        .delay_min_ms = 1000,
                                        .delay_max_ms = 10000,
                                        .jitter_percent = 25},
                linear, 25);
    refused_for(&(sally_client_options){.backoff = SALLY_BACKOFF_FIXED,
                                        .delay_min_ms = 3000,
                                        .jitter_percent = 10},
                fixed, 10);
}

static void it_gives_up_after_so_many_failures(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.attempts_max = 3};
    log.sim = sim_new(5, 0, &log.engine);
    check_error(create(&log, SERVER, &options), 0);
    sally_sim_run(log.sim, 100000);
    check(strcmp(log.story, "CWCWCE") == 0);
    check_equal(log.last.end, SALLY_CLIENT_GAVE_UP);
    check_equal(log.last.failures, 3);
    check_error(log.last.error, SALLY_EREFUSED);
    check_equal(sally_client_get_state(log.client), SALLY_CLIENT_ENDED);
    check_error(sally_client_stop(log.client), 0); /* changes nothing */
    check_error(sally_client_destroy(log.client), 0);
    sally_sim_run(log.sim, 100);
    sim_end(log.sim, log.engine);
    check_over(&log);
}

static void a_connection_that_lasts_is_a_success(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.up_ms = 1000, .attempts_max = 2};
    log.sim = sim_new(6, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, SERVER, 0);
    check_error(create(&log, SERVER, &options), 0);
    for (int i = 0; i < 9; i++) {
        sally_sim_run(log.sim, 1300);
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        check(peer != NULL);
        sally_sim_peer_close(peer);
        sally_sim_run(log.sim, 5);
        check_equal(sally_client_get_state(log.client), SALLY_CLIENT_WAITING);
        check_equal(log.last.failures, 0);
        check(log.last.wait_ms >= 100 && log.last.wait_ms <= 200);
    }
    sim_end(log.sim, log.engine);
    check_over(&log);
}

/* A server that takes connections and drops them must not be asked for more at full speed. */
static void one_that_does_not_last_is_a_failure(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.up_ms = 1000, .attempts_max = 5};
    log.sim = sim_new(6, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, SERVER, 0);
    check_error(create(&log, SERVER, &options), 0);
    for (int i = 0; i < 60000 && !atomic_load(&log.ends); i++) {
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        if (peer) sally_sim_peer_close(peer);
        sally_sim_run(log.sim, 1);
    }
    sim_end(log.sim, log.engine);
    check(strcmp(log.story, "CUocWCUocWCUocWCUocWCUocE") == 0);
    check_equal(log.last.end, SALLY_CLIENT_GAVE_UP);
    check_equal(log.last.reason, SALLY_CLOSE_PEER_CLOSED);
    check(log.event[19].wait_ms >= 800); /* the fourth */
    check_over(&log);
}

/* ---- A crowd ---- */

static uint64_t crowd_attempts[400]; /* in each 10 ms since the server went */
static uint64_t crowd_went_ms;
static sally_sim *crowd_sim;

static void crowd_state(sally_client *client, const sally_client_event *event)
{
    (void)client;
    if (event->state != SALLY_CLIENT_CONNECTING || !crowd_went_ms) return;
    uint64_t slot = (sally_sim_now_ms(crowd_sim) - crowd_went_ms) / 10;
    if (slot < 400) crowd_attempts[slot]++;
}

static uint64_t crowd_returns(uint64_t seed, uint64_t *most)
{
    sally_engine *engine;
    sally_handler handler = {0};
    sally_client_options options = {.on_state = crowd_state, .up_ms = 1000};
    sally_sim_peer *peers[CROWD];
    crowd_went_ms = 0;
    memset(crowd_attempts, 0, sizeof crowd_attempts);
    crowd_sim = sim_new(seed, 2 * CROWD, &engine);
    sally_sim_listener *door = sally_sim_listen(crowd_sim, SERVER, CROWD);
    for (int i = 0; i < CROWD; i++)
        check_error(sally_client_create(engine, SERVER, &handler, &options, NULL), 0);
    sally_sim_run(crowd_sim, 2000);
    for (int i = 0; i < CROWD; i++) check((peers[i] = sally_sim_listener_accept(door)) != NULL);
    crowd_went_ms = sally_sim_now_ms(crowd_sim);
    sally_sim_listener_close(door);
    for (int i = 0; i < CROWD; i++) sally_sim_peer_reset(peers[i]);
    sally_sim_run(crowd_sim, 2000);
    door = sally_sim_listen(crowd_sim, SERVER, CROWD); /* it is back */
    sally_sim_run(crowd_sim, 10000);
    for (int i = 0; i < CROWD; i++) check(sally_sim_listener_accept(door) != NULL);
    *most = 0;
    for (int i = 0; i < 400; i++)
        if (crowd_attempts[i] > *most) *most = crowd_attempts[i];
    uint64_t hash = sally_sim_hash(crowd_sim);
    sim_end(crowd_sim, engine);
    return hash;
}

/* Without jitter all would come in one of those 10 ms; the first delay alone is spread over 100. */
static void a_server_that_returns_does_not_meet_all_at_once(const struct setting *setting)
{
    (void)setting;
    uint64_t most;
    uint64_t first = crowd_returns(7, &most);
    check(most < CROWD / 5);
    check(crowd_returns(7, &most) == first);
    check(crowd_returns(8, &most) != first);
    check(most < CROWD / 5);
}

static void ten_thousand_in_one_engine_are_cheap(const struct setting *setting)
{
    (void)setting;
    sally_engine *engine;
    sally_handler handler = {0};
    sally_sim *sim = sim_new(9, MANY, &engine);
    sally_client **clients = calloc(MANY, sizeof(sally_client *)), *more;
    check(clients != NULL);
    for (int i = 0; i < MANY; i++)
        check_error(sally_client_create(engine, SERVER, &handler, NULL, &clients[i]), 0);
    check_error(sally_client_create(engine, SERVER, &handler, NULL, &more), SALLY_ELIMIT);
    sally_sim_run(sim, 20000);
    uint64_t with = sally_sim_memory_bytes(sim);
    for (int i = 0; i < MANY; i++) check_error(sally_client_destroy(clients[i]), 0);
    sally_sim_run(sim, 1000);
    check(with - sally_sim_memory_bytes(sim) < (uint64_t)MANY * 1400);
    check_error(sally_client_create(engine, SERVER, &handler, NULL, &more), 0);
    sim_end(sim, engine);
    free(clients);
}

/* ---- How it ends ---- */

/* Stopped at each thing it says. */
static void stopped_at(char what, bool destroys)
{
    struct log log = {.stop_at = what, .destroys = destroys};
    log.sim = sim_new(10, 0, &log.engine);
    sally_sim_listener *door = NULL;
    if (what != 'W') door = sally_sim_listen(log.sim, SERVER, 0);
    check_error(create(&log, SERVER, NULL), 0);
    sally_sim_run(log.sim, 100);
    sally_sim_peer *peer = door ? sally_sim_listener_accept(door) : NULL;
    check((peer != NULL) == (what == 'U' || what == 'o' || what == 'd' || what == 'c'));
    if (peer) (void)sally_sim_peer_write(peer, "x", 1);
    sally_sim_run(log.sim, 100);
    if (peer) sally_sim_peer_close(peer);
    sally_sim_run(log.sim, 20000);
    check_equal(atomic_load(&log.ends), 1);
    check_equal(log.last.end, SALLY_CLIENT_STOPPED);
    check_equal(log.stop_at, 0);
    if (!destroys) check_error(sally_client_destroy(log.client), 0);
    sally_sim_run(log.sim, 100);
    sim_end(log.sim, log.engine);
    check_over(&log);
    if (what == 'C') check(strcmp(log.story, "CE") == 0);
    if (what == 'W') check(strcmp(log.story, "CWE") == 0);
    if (what == 'c') check(strcmp(log.story, "CUodcE") == 0);
}

static void it_may_be_stopped_in_every_callback(const struct setting *setting)
{
    (void)setting;
    for (const char *what = "CUodcW"; *what; what++) {
        stopped_at(*what, false);
        stopped_at(*what, true);
    }
}

enum place { UNSEEN, WAITING, DIALING, UP, PLACES };

/* Brought to a place, then ended there in some way. */
static void ended_at(enum place place, int how)
{
    struct log log = {0};
    log.sim = sim_new(11, 0, &log.engine);
    if (place == DIALING) check_error(sally_sim_black_hole(log.sim, SERVER), 0);
    if (place == UP) check(sally_sim_listen(log.sim, SERVER, 0) != NULL);
    check_error(create(&log, SERVER, &(sally_client_options){.delay_min_ms = 5000}), 0);
    if (place != UNSEEN) sally_sim_run(log.sim, 500);
    static const int states[] = {SALLY_CLIENT_CONNECTING, SALLY_CLIENT_WAITING,
                                 SALLY_CLIENT_CONNECTING, SALLY_CLIENT_UP};
    check_equal(sally_client_get_state(log.client), states[place]);
    if (how == 0) check_error(sally_client_stop(log.client), 0);
    if (how == 0) check_error(sally_client_stop(log.client), 0);
    if (how == 1) check_error(sally_client_destroy(log.client), 0);
    if (how == 2) check_error(sally_engine_drain(log.engine, 1000), 0);
    if (how == 3) check_error(sally_engine_stop(log.engine), 0);
    sally_sim_run(log.sim, 15000);
    check_equal(atomic_load(&log.ends), how == 4 ? 0 : 1);
    sim_end(log.sim, log.engine);
    check_over(&log);
    check_equal(log.last.end, how < 2 ? SALLY_CLIENT_STOPPED : SALLY_CLIENT_SHUTDOWN);
}

static void it_may_be_ended_in_every_state(const struct setting *setting)
{
    (void)setting;
    for (int place = 0; place < PLACES; place++)
        for (int how = 0; how <= 4; how++) ended_at((enum place)place, how);
}

static void without_memory_nothing_is_left_behind(const struct setting *setting)
{
    (void)setting;
    bool all = false;
    for (uint64_t nth = 1; !all; nth++) {
        struct log log = {0};
        log.sim = sim_new(12, 0, &log.engine);
        check(sally_sim_listen(log.sim, SERVER, 0) != NULL);
        sally_sim_fail_alloc_at(log.sim, nth, false);
        int err = create(&log, SERVER, NULL);
        sally_sim_run(log.sim, 5000);
        all = !sally_sim_alloc_failed(log.sim);
        if (err) check_error(err, SALLY_ENOMEM);
        if (!err) check_equal(sally_client_get_state(log.client), SALLY_CLIENT_UP);
        sim_end(log.sim, log.engine);
        if (!err) check_over(&log);
    }
}

static void what_makes_no_sense_is_refused(const struct setting *setting)
{
    (void)setting;
    static const sally_client_options wrong[] = {
        {.delay_min_ms = 10, .delay_max_ms = 9},
        {.backoff = (sally_backoff)3},
        {.delay_min_ms = SALLY_FOREVER},
        {.connect = {.conn = {.send_bytes_max = 1, .send_high_bytes = 2}}}};
    sally_engine *engine;
    sally_sim *sim = sim_new(13, 0, &engine);
    sally_handler handler = {0};
    sally_client *client = NULL;
    for (int i = 0; i < 4; i++)
        check_error(sally_client_create(engine, SERVER, &handler, &wrong[i], &client),
                    SALLY_EINVAL);
    check_error(sally_client_create(engine, "*:80", &handler, NULL, &client), SALLY_EADDRESS);
    check_error(sally_client_create(NULL, SERVER, &handler, NULL, &client), SALLY_EINVAL);
    check_error(sally_client_create(engine, SERVER, NULL, NULL, &client), SALLY_EINVAL);
    check_error(sally_client_stop(NULL), SALLY_EINVAL);
    check_error(sally_client_destroy(NULL), 0);
    check_equal(sally_client_id(NULL), 0);
    check_error(
        sally_connect(engine, SERVER, &handler, &(sally_connect_options){.same_shard = true}, NULL),
        SALLY_ESTATE);
    check_error(sally_engine_stop(engine), 0);
    check_error(sally_client_create(engine, SERVER, &handler, NULL, &client), SALLY_ESTATE);
    sim_end(sim, engine);
}

/* ---- Faults ---- */

enum { STORM = 12 };

/* A server that comes and goes, a network that fails, clients stopped at random; then calm, in
 * which every client that is left has to come up. */
static uint64_t storm(uint64_t seed)
{
    static struct log logs[STORM];
    sally_engine *engine;
    sally_sim_faults faults;
    memset(logs, 0, sizeof logs);
    sally_sim *sim = sim_new(seed, 0, &engine);
    check_error(sally_sim_name(sim, "server.test", "127.0.0.1"), 0);
    sally_sim_draw_faults(sim, &faults);
    sally_sim_set_faults(sim, &faults);
    sally_sim_listener *door = NULL;
    for (unsigned i = 0; i < STORM; i++) {
        logs[i].engine = engine;
        logs[i].sim = sim;
        sally_client_options options = {.delay_max_ms = 2000, .up_ms = 100};
        options.connect.connect_ms = 3000;
        while (create(&logs[i], i % 2 ? SERVER : "server.test:5002", &options)) continue;
    }
    bool stopped[STORM] = {false};
    for (int step = 0; step < 60; step++) {
        sally_sim_run(sim, 1 + sally_sim_random(sim, 400));
        sally_sim_peer *peer = door ? sally_sim_listener_accept(door) : NULL;
        if (peer && sally_sim_random(sim, 2)) sally_sim_peer_reset(peer);
        if (!door && sally_sim_random(sim, 3) == 0) door = sally_sim_listen(sim, SERVER, 0);
        unsigned i = sally_sim_random(sim, 10 * STORM);
        if (door && i == STORM) sally_sim_listener_close(door), door = NULL;
        if (i < STORM / 2) stopped[i] = sally_client_stop(logs[i].client) == 0;
    }
    sally_sim_set_faults(sim, NULL);
    if (!door) door = sally_sim_listen(sim, SERVER, 0);
    sally_sim_run(sim, 700000); /* the idle limit, for those that have vanished */
    for (unsigned i = 0; i < STORM; i++) {
        check_equal(atomic_load(&logs[i].ends), stopped[i]);
        while (sally_sim_listener_accept(door)) continue;
    }
    sally_sim_run(sim, 10000);
    uint64_t hash = sally_sim_hash(sim);
    sim_end(sim, engine);
    for (unsigned i = 0; i < STORM; i++) {
        check_over(&logs[i]);
        check_equal(logs[i].last.end, stopped[i] ? SALLY_CLIENT_STOPPED : SALLY_CLIENT_SHUTDOWN);
        check(atomic_load(&logs[i].opens) > 0 || stopped[i]);
    }
    return hash;
}

static void any_mix_of_faults_ends_well_and_replays(const struct setting *setting)
{
    (void)setting;
    uint64_t seeds = getenv("SALLY_LONG") ? 50 * SEEDS : SEEDS;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        uint64_t first = storm(seed);
        if (seed % 8 == 0) check(storm(seed) == first);
    }
}

/* ---- Real engines ---- */

/* As doorway, and again at the same place: port 0 takes any and fills `address`. */
static int doorway_at(char *address)
{
    struct sockaddr_storage at;
    socklen_t len = address_of(address, &at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct timeval limit = {.tv_sec = LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    check(bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 16) == 0);
    check(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    unsigned port = ntohs(((struct sockaddr_in *)(void *)&at)->sin_port);
    snprintf(address, TEXT_MAX, "127.0.0.1:%u", port);
    return fd;
}

static void a_real_server_goes_and_returns(const struct setting *setting)
{
    char address[TEXT_MAX], ip[INET_ADDRSTRLEN], text[5];
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    struct log log = {0};
    struct rig rig;
    sally_client_options options = {
        .delay_min_ms = 1, .delay_max_ms = 20, .connect = {.from = "127.0.0.3:0"}};
    rig_open(&rig, setting);
    log.engine = rig.engine;
    rig_start(&rig);
    snprintf(address, sizeof address, "127.0.0.1:0");
    int door = doorway_at(address);
    check_error(create(&log, address, &options), 0);
    for (int i = 0; i < 3; i++) {
        int peer = let_in(door);
        check(getpeername(peer, (struct sockaddr *)&in, &len) == 0);
        check(strcmp(inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip), "127.0.0.3") == 0);
        until(sally_client_id(log.client) != 0);
        check_error(sally_send(rig.engine, sally_client_id(log.client), "hello", 5), 0);
        check(hear(peer, text, 5) && memcmp(text, "hello", 5) == 0);
        hang_up(door);
        hang_up(peer);
        until(atomic_load(&log.closes) == (unsigned)i + 1);
        until(rig_stats(&rig).connect_failures > (uint64_t)i); /* nobody is there */
        door = doorway_at(address);
    }
    int peer = let_in(door);
    until(atomic_load(&log.opens) == 4);
    check_error(sally_client_destroy(log.client), 0);
    check_equal(hear_end(peer, LIMIT_S * 1000), HEARD_END);
    hang_up(peer);
    hang_up(door);
    until(atomic_load(&log.ends) == 1);
    rig_end(&rig);
    check_over(&log);
    check_equal(log.last.end, SALLY_CLIENT_STOPPED);
}

/* As a proxy does it. */
struct visit {
    const char *upstream;
    pthread_t thread;
    atomic_uint met, apart, closed;
};

static void second_open(sally_conn *conn)
{
    struct visit *visit = sally_conn_user(conn);
    bool same = pthread_equal(visit->thread, pthread_self());
    atomic_fetch_add(same ? &visit->met : &visit->apart, 1);
    check_error(sally_conn_abort(conn), 0);
}

static void visit_close(sally_conn *conn, const sally_close_info *info)
{
    struct visit *visit = sally_conn_user(conn);
    (void)info;
    atomic_fetch_add(&visit->closed, 1);
}

static void first_open(sally_conn *conn)
{
    struct visit *visit = sally_conn_user(conn);
    sally_handler handler = {.user = visit, .on_open = second_open, .on_close = visit_close};
    sally_connect_options options = {.same_shard = true};
    visit->thread = pthread_self();
    check_error(sally_connect(sally_conn_engine(conn), visit->upstream, &handler, &options, NULL),
                0);
}

static void a_connection_may_stay_on_the_shard_that_asks(const struct setting *setting)
{
    static struct visit visits[12];
    char address[TEXT_MAX];
    struct rig rig;
    memset(visits, 0, sizeof visits);
    rig_open(&rig, setting);
    rig_start(&rig);
    int door = doorway(64, address);
    for (int i = 0; i < 12; i++) {
        sally_handler handler = {
            .user = &visits[i], .on_open = first_open, .on_close = visit_close};
        visits[i].upstream = address;
        check_error(sally_connect(rig.engine, address, &handler, NULL, NULL), 0);
        until(atomic_load(&visits[i].closed) == 1);
        check_equal(atomic_load(&visits[i].met), 1);
    }
    hang_up(door);
    rig_end(&rig);
}

/* Clients of a server that hangs up at once, stopped by other threads at any moment. */
struct racer {
    pthread_t thread;
    unsigned number;
    struct log logs[RACERS];
    const char *address;
    sally_engine *engine;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    sally_client_options options = {.delay_min_ms = 1, .delay_max_ms = 2};
    for (unsigned i = 0; i < RACERS; i++) {
        racer->logs[i].engine = racer->engine;
        check_error(create(&racer->logs[i], racer->address, &options), 0);
        if (i % 4 == racer->number) tools_nap_ms(1);
        if (i < 10) continue;
        struct log *log = &racer->logs[i - 10];
        check_error(i % 2 ? sally_client_stop(log->client) : sally_client_destroy(log->client), 0);
    }
    return NULL;
}

static void other_threads_may_stop_it_at_any_moment(const struct setting *setting)
{
    static struct racer racers[3];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    memset(racers, 0, sizeof racers);
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check(server != NULL);
    for (unsigned r = 0; r < 3; r++) {
        racers[r].number = r;
        racers[r].address = address;
        racers[r].engine = rig.engine;
        check(pthread_create(&racers[r].thread, NULL, race, &racers[r]) == 0);
    }
    for (unsigned r = 0; r < 3; r++) pthread_join(racers[r].thread, NULL);
    for (unsigned r = 0; r < 3; r++)
        for (unsigned i = 0; i < RACERS - 10; i++) until(atomic_load(&racers[r].logs[i].ends));
    rig_end(&rig); /* the last ten of each end with it */
    for (unsigned r = 0; r < 3; r++)
        for (unsigned i = 0; i < RACERS; i++) check_over(&racers[r].logs[i]);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(it_connects_again_when_its_connection_ends, ANYWHERE),
        BEHAVIOUR(its_callbacks_are_those_of_an_accepted_one, ANYWHERE),
        BEHAVIOUR(a_name_is_looked_up_at_each_attempt, ANYWHERE),
        BEHAVIOUR(delays_grow_as_asked, ANYWHERE),
        BEHAVIOUR(it_gives_up_after_so_many_failures, ANYWHERE),
        BEHAVIOUR(a_connection_that_lasts_is_a_success, ANYWHERE),
        BEHAVIOUR(one_that_does_not_last_is_a_failure, ANYWHERE),
        BEHAVIOUR(a_server_that_returns_does_not_meet_all_at_once, ANYWHERE),
        BEHAVIOUR(ten_thousand_in_one_engine_are_cheap, ANYWHERE),
        BEHAVIOUR(it_may_be_stopped_in_every_callback, ANYWHERE),
        BEHAVIOUR(it_may_be_ended_in_every_state, ANYWHERE),
        BEHAVIOUR(without_memory_nothing_is_left_behind, ANYWHERE),
        BEHAVIOUR(what_makes_no_sense_is_refused, ANYWHERE),
        BEHAVIOUR(any_mix_of_faults_ends_well_and_replays, ANYWHERE),
        BEHAVIOUR(a_real_server_goes_and_returns, ON_BOTH),
        BEHAVIOUR(a_connection_may_stay_on_the_shard_that_asks, ON_BOTH),
        BEHAVIOUR(other_threads_may_stop_it_at_any_moment, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
