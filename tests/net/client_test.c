/* Clients that connect again (P-37, S2-2, S2-17): what they say and when they try. In the
 * simulator, where delays are exact and a seed replays. How they end is in client_end_test.c. */
#include <stdlib.h>
#include <string.h>

#include "net/support/client_log.h"

enum { CROWD = 1000, MANY = SANITIZED ? 1000 : 10000 };

/* ---- What it says ---- */

static void it_connects_again_when_its_connection_ends(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    log.sim = log_sim(1, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, LOG_SERVER, 0);
    check_error(log_create(&log, LOG_SERVER, NULL), 0);
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
    log_sim_end(log.sim, log.engine);
    check(strcmp(log.story, "CUodcWCUodcWCUodcWCUocE") == 0);
    check_equal(log.event[5].reason, SALLY_CLOSE_PEER_CLOSED);
    check_equal(log.event[11].reason, SALLY_CLOSE_PEER_RESET);
    check_equal(log.last.end, SALLY_CLIENT_SHUTDOWN);
    log_check(&log);
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
    sally_sim *sim = log_sim(2, 0, &engine);
    sally_handler handler = {
        .on_open = trace_open, .on_data = trace_data, .on_eof = trace_eof, .on_close = trace_close};
    sally_client_options options = {.delay_min_ms = 60000, .delay_max_ms = 60000};
    sally_client *client;
    memset(both_ways, 0, sizeof both_ways);
    check_error(sally_listen(engine, LOG_SERVER, &handler, NULL, NULL), 0);
    check_error(sally_client_create(engine, LOG_SERVER, &handler, &options, &client), 0);
    sally_sim_run(sim, 1000);
    check(strcmp(both_ways[0], "odec") == 0);
    check(strcmp(both_ways[0], both_ways[1]) == 0);
    check_equal(sally_client_get_state(client), SALLY_CLIENT_WAITING);
    log_sim_end(sim, engine);
}

static void a_name_is_looked_up_at_each_attempt(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    log.sim = log_sim(3, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, "192.0.2.7:80", 0);
    check_error(log_create(&log, "moved.test:80", NULL), 0);
    sally_sim_run(log.sim, 1000);
    check_error(log.last.error, SALLY_ENONAME);
    check_error(sally_sim_name(log.sim, "moved.test", "192.0.2.7"), 0);
    sally_sim_run(log.sim, 60000);
    check_equal(sally_client_get_state(log.client), SALLY_CLIENT_UP);
    check(sally_sim_listener_accept(door) != NULL);
    log_sim_end(log.sim, log.engine);
    log_check(&log);
}

/* Nothing tells of a machine that is off but its silence; the limits of outgoing connections. */
static void a_server_that_vanished_is_left(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.connect.conn.limits.heartbeat_dead_ms = 500};
    log.sim = log_sim(14, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, LOG_SERVER, 0);
    check_error(log_create(&log, LOG_SERVER, &options), 0);
    sally_sim_run(log.sim, 100);
    sally_sim_peer_vanish(sally_sim_listener_accept(door));
    sally_sim_run(log.sim, 900);
    check(strcmp(log.story, "CUocWCUo") == 0);
    check_equal(log.event[4].reason, SALLY_CLOSE_HEARTBEAT_TIMEOUT);
    check_error(log.event[4].error, SALLY_ETIMEDOUT);
    log_sim_end(log.sim, log.engine);
    log_check(&log);
}

/* ---- When it tries ---- */

/* Nobody listens. Each wait is as long as it was told, within its range. */
static void refused_for(const sally_client_options *options, const uint32_t *base_ms,
                        uint32_t jitter_percent)
{
    struct log log = {0};
    log.sim = log_sim(4, 0, &log.engine);
    check_error(log_create(&log, LOG_SERVER, options), 0);
    sally_sim_run(log.sim, 300000);
    unsigned waits = 0;
    for (unsigned n = 0; n + 1 < LOG_EVENTS && log.story[n + 1]; n++) {
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
    log_sim_end(log.sim, log.engine);
    log_check(&log);
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
    log.sim = log_sim(5, 0, &log.engine);
    check_error(log_create(&log, LOG_SERVER, &options), 0);
    sally_sim_run(log.sim, 100000);
    check(strcmp(log.story, "CWCWCE") == 0);
    check_equal(log.last.end, SALLY_CLIENT_GAVE_UP);
    check_equal(log.last.failures, 3);
    check_error(log.last.error, SALLY_EREFUSED);
    check_equal(sally_client_get_state(log.client), SALLY_CLIENT_ENDED);
    check_error(sally_client_stop(log.client), 0); /* changes nothing */
    check_error(sally_client_destroy(log.client), 0);
    sally_sim_run(log.sim, 100);
    log_sim_end(log.sim, log.engine);
    log_check(&log);
}

static void a_connection_that_lasts_is_a_success(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.up_ms = 1000};
    log.sim = log_sim(6, 0, &log.engine);
    options.attempts_max = 100;
    check_error(log_create(&log, LOG_SERVER, &options), 0);
    sally_sim_run(log.sim, 3000);
    check(log.last.failures > 3); /* nobody is there at first */
    sally_sim_listener *door = sally_sim_listen(log.sim, LOG_SERVER, 0);
    sally_sim_run(log.sim, 30000);
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
    log_sim_end(log.sim, log.engine);
    log_check(&log);
}

/* A server that takes connections and drops them must not be asked for more at full speed. */
static void one_that_does_not_last_is_a_failure(const struct setting *setting)
{
    (void)setting;
    struct log log = {0};
    sally_client_options options = {.up_ms = 1000, .attempts_max = 5};
    log.sim = log_sim(6, 0, &log.engine);
    sally_sim_listener *door = sally_sim_listen(log.sim, LOG_SERVER, 0);
    check_error(log_create(&log, LOG_SERVER, &options), 0);
    for (int i = 0; i < 60000 && !atomic_load(&log.ends); i++) {
        sally_sim_peer *peer = sally_sim_listener_accept(door);
        if (peer) sally_sim_peer_close(peer);
        sally_sim_run(log.sim, 1);
    }
    log_sim_end(log.sim, log.engine);
    check(strcmp(log.story, "CUocWCUocWCUocWCUocWCUocE") == 0);
    check_equal(log.last.end, SALLY_CLIENT_GAVE_UP);
    check_equal(log.last.reason, SALLY_CLOSE_PEER_CLOSED);
    check(log.event[19].wait_ms >= 800); /* the fourth */
    log_check(&log);
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
    crowd_sim = log_sim(seed, 2 * CROWD, &engine);
    sally_sim_listener *door = sally_sim_listen(crowd_sim, LOG_SERVER, CROWD);
    for (int i = 0; i < CROWD; i++)
        check_error(sally_client_create(engine, LOG_SERVER, &handler, &options, NULL), 0);
    sally_sim_run(crowd_sim, 2000);
    for (int i = 0; i < CROWD; i++) check((peers[i] = sally_sim_listener_accept(door)) != NULL);
    crowd_went_ms = sally_sim_now_ms(crowd_sim);
    sally_sim_listener_close(door);
    for (int i = 0; i < CROWD; i++) sally_sim_peer_reset(peers[i]);
    sally_sim_run(crowd_sim, 2000);
    door = sally_sim_listen(crowd_sim, LOG_SERVER, CROWD); /* it is back */
    sally_sim_run(crowd_sim, 10000);
    for (int i = 0; i < CROWD; i++) check(sally_sim_listener_accept(door) != NULL);
    *most = 0;
    for (int i = 0; i < 400; i++)
        if (crowd_attempts[i] > *most) *most = crowd_attempts[i];
    uint64_t hash = sally_sim_hash(crowd_sim);
    log_sim_end(crowd_sim, engine);
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
    sally_sim *sim = log_sim(9, MANY, &engine);
    sally_client **clients = calloc(MANY, sizeof(sally_client *)), *more;
    check(clients != NULL);
    for (int i = 0; i < MANY; i++)
        check_error(sally_client_create(engine, LOG_SERVER, &handler, NULL, &clients[i]), 0);
    check_error(sally_client_create(engine, LOG_SERVER, &handler, NULL, &more), SALLY_ELIMIT);
    sally_sim_run(sim, 20000);
    uint64_t with = sally_sim_memory_bytes(sim);
    for (int i = 0; i < MANY; i++) check_error(sally_client_destroy(clients[i]), 0);
    sally_sim_run(sim, 1000);
    check(with - sally_sim_memory_bytes(sim) < (uint64_t)MANY * 1400);
    check_error(sally_client_create(engine, LOG_SERVER, &handler, NULL, &more), 0);
    log_sim_end(sim, engine);
    free(clients);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(it_connects_again_when_its_connection_ends, ANYWHERE),
        BEHAVIOUR(its_callbacks_are_those_of_an_accepted_one, ANYWHERE),
        BEHAVIOUR(a_name_is_looked_up_at_each_attempt, ANYWHERE),
        BEHAVIOUR(a_server_that_vanished_is_left, ANYWHERE),
        BEHAVIOUR(delays_grow_as_asked, ANYWHERE),
        BEHAVIOUR(it_gives_up_after_so_many_failures, ANYWHERE),
        BEHAVIOUR(a_connection_that_lasts_is_a_success, ANYWHERE),
        BEHAVIOUR(one_that_does_not_last_is_a_failure, ANYWHERE),
        BEHAVIOUR(a_server_that_returns_does_not_meet_all_at_once, ANYWHERE),
        BEHAVIOUR(ten_thousand_in_one_engine_are_cheap, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
