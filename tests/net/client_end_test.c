/* Clients that connect again (P-37, P-39): how they end, under faults, and on real engines, where
 * other threads stop them. What they say and when is in client_test.c. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "net/support/client_log.h"
#include "support/long.h"

enum { SEEDS = 60, RACERS = 60 };

/* ---- How it ends ---- */

/* Stopped at each thing it says. */
static void stopped_at(char what, bool destroys)
{
    struct log log = {.stop_at = what, .destroys = destroys};
    log.sim = log_sim(10, 0, &log.engine);
    sally_sim_listener *door = NULL;
    if (what != 'W') door = sally_sim_listen(log.sim, LOG_SERVER, 0);
    check_error(log_create(&log, LOG_SERVER, NULL), 0);
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
    log_sim_end(log.sim, log.engine);
    log_check(&log);
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

/* The shard is busy meanwhile, and finds the connection made when it learns of the stop. */
static void none_opens_once_it_is_stopped(const struct setting *setting)
{
    (void)setting;
    unsigned none = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct log log = {0};
        sally_sim_faults faults = {.stall = 300000};
        log.sim = log_sim(seed, 0, &log.engine);
        check(sally_sim_listen(log.sim, LOG_SERVER, 0) != NULL);
        sally_sim_set_faults(log.sim, &faults);
        check_error(log_create(&log, LOG_SERVER, NULL), 0);
        sally_sim_run(log.sim, 1 + sally_sim_random(log.sim, 300));
        unsigned opens = atomic_load(&log.opens);
        check_error(sally_client_stop(log.client), 0);
        sally_sim_run(log.sim, 20000);
        check_equal(atomic_load(&log.opens), opens);
        none += opens == 0;
        log_sim_end(log.sim, log.engine);
        log_check(&log);
    }
    check(none > 0 && none < SEEDS);
}

enum place { UNSEEN, WAITING, DIALING, UP, PLACES };

/* Brought to a place, then ended there in some way. */
static void ended_at(enum place place, int how)
{
    struct log log = {0};
    log.sim = log_sim(11, 0, &log.engine);
    if (place == DIALING) check_error(sally_sim_black_hole(log.sim, LOG_SERVER), 0);
    if (place == UP) check(sally_sim_listen(log.sim, LOG_SERVER, 0) != NULL);
    check_error(log_create(&log, LOG_SERVER, &(sally_client_options){.delay_min_ms = 5000}), 0);
    if (place != UNSEEN) sally_sim_run(log.sim, 500);
    static const int states[] = {SALLY_CLIENT_CONNECTING, SALLY_CLIENT_WAITING,
                                 SALLY_CLIENT_CONNECTING, SALLY_CLIENT_UP};
    check_equal(sally_client_get_state(log.client), states[place]);
    if (how == 0) check_error(sally_client_stop(log.client), 0);
    if (how == 0) check_error(sally_client_stop(log.client), 0);
    if (how == 1) check_error(sally_client_destroy(log.client), 0);
    if (how == 2) check_error(sally_engine_drain(log.engine, 1000), 0);
    if (how == 3) check_error(sally_engine_stop(log.engine), 0);
    sally_sim_run(log.sim, 100);
    if (place == WAITING || place == DIALING) /* nothing keeps it */
        check_equal(atomic_load(&log.ends), how == 4 ? 0 : 1);
    sally_sim_run(log.sim, 15000);
    check_equal(atomic_load(&log.ends), how == 4 ? 0 : 1);
    log_sim_end(log.sim, log.engine);
    log_check(&log);
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
        log.sim = log_sim(12, 0, &log.engine);
        check(sally_sim_listen(log.sim, LOG_SERVER, 0) != NULL);
        sally_sim_fail_alloc_at(log.sim, nth, false);
        int err = log_create(&log, LOG_SERVER, NULL);
        sally_sim_run(log.sim, 5000);
        all = !sally_sim_alloc_failed(log.sim);
        if (err) check_error(err, SALLY_ENOMEM);
        if (!err) check_equal(sally_client_get_state(log.client), SALLY_CLIENT_UP);
        log_sim_end(log.sim, log.engine);
        if (!err) log_check(&log);
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
    sally_sim *sim = log_sim(13, 0, &engine);
    sally_handler handler = {0};
    sally_client *client = NULL;
    for (int i = 0; i < 4; i++)
        check_error(sally_client_create(engine, LOG_SERVER, &handler, &wrong[i], &client),
                    SALLY_EINVAL);
    check_error(sally_client_create(engine, "*:80", &handler, NULL, &client), SALLY_EADDRESS);
    check_error(sally_client_create(NULL, LOG_SERVER, &handler, NULL, &client), SALLY_EINVAL);
    check_error(sally_client_create(engine, LOG_SERVER, NULL, NULL, &client), SALLY_EINVAL);
    check_error(sally_client_stop(NULL), SALLY_EINVAL);
    check_error(sally_client_destroy(NULL), 0);
    check_equal(sally_client_id(NULL), 0);
    check_error(sally_connect(engine, LOG_SERVER, &handler,
                              &(sally_connect_options){.same_shard = true}, NULL),
                SALLY_ESTATE);
    check_error(sally_engine_stop(engine), 0);
    check_error(sally_client_create(engine, LOG_SERVER, &handler, NULL, &client), SALLY_ESTATE);
    log_sim_end(sim, engine);
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
    sally_sim *sim = log_sim(seed, 0, &engine);
    check_error(sally_sim_name(sim, "server.test", "127.0.0.1"), 0);
    sally_sim_draw_faults(sim, &faults);
    sally_sim_set_faults(sim, &faults);
    sally_sim_listener *door = NULL;
    for (unsigned i = 0; i < STORM; i++) {
        logs[i].engine = engine;
        logs[i].sim = sim;
        sally_client_options options = {.delay_max_ms = 2000, .up_ms = 100};
        options.connect.connect_ms = 3000;
        while (log_create(&logs[i], i % 2 ? LOG_SERVER : "server.test:5002", &options)) continue;
    }
    bool stopped[STORM] = {false};
    for (int step = 0; step < 60; step++) {
        sally_sim_run(sim, 1 + sally_sim_random(sim, 400));
        sally_sim_peer *peer = door ? sally_sim_listener_accept(door) : NULL;
        if (peer && sally_sim_random(sim, 2)) sally_sim_peer_reset(peer);
        if (!door && sally_sim_random(sim, 3) == 0) door = sally_sim_listen(sim, LOG_SERVER, 0);
        unsigned i = sally_sim_random(sim, 10 * STORM);
        if (door && i == STORM) sally_sim_listener_close(door), door = NULL;
        if (i < STORM / 2) stopped[i] = sally_client_stop(logs[i].client) == 0;
    }
    sally_sim_set_faults(sim, NULL);
    if (!door) door = sally_sim_listen(sim, LOG_SERVER, 0);
    sally_sim_run(sim, 700000); /* the idle limit, for those that have vanished */
    for (unsigned i = 0; i < STORM; i++) {
        check_equal(atomic_load(&logs[i].ends), stopped[i]);
        while (sally_sim_listener_accept(door)) continue;
    }
    sally_sim_run(sim, 10000);
    uint64_t hash = sally_sim_hash(sim);
    log_sim_end(sim, engine);
    for (unsigned i = 0; i < STORM; i++) {
        log_check(&logs[i]);
        check_equal(logs[i].last.end, stopped[i] ? SALLY_CLIENT_STOPPED : SALLY_CLIENT_SHUTDOWN);
        check(atomic_load(&logs[i].opens) > 0 || stopped[i]);
    }
    return hash;
}

static void any_mix_of_faults_ends_well_and_replays(const struct setting *setting)
{
    (void)setting;
    uint64_t seeds = long_form() ? 50 * SEEDS : SEEDS;
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
    check_error(log_create(&log, address, &options), 0);
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
    log_check(&log);
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
        check_error(log_create(&racer->logs[i], racer->address, &options), 0);
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
        for (unsigned i = 0; i < RACERS; i++) log_check(&racers[r].logs[i]);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(it_may_be_stopped_in_every_callback, ANYWHERE),
        BEHAVIOUR(none_opens_once_it_is_stopped, ANYWHERE),
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
