/* Accepting: bursts, peers that are gone on arrival, limits, pauses, socket options, and how
 * connections are shared out. The engine's threads, the test's, and in two tests threads that
 * connect. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/support/accept_load.h"
#include "net/support/accept_tools.h"

enum {
    BURST = 2000,
    STORM = SANITIZED ? 5000 : 20000,
    GOOD_EVERY = 50,
    CROWD = 300,
    PLACES = 100,
    QUIET_MS = 100,
};

static void crowd_dial(const char *address, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) fds[i] = dial_start(address);
    for (unsigned i = 0; i < count; i++) {
        struct pollfd poll_fd = {.fd = fds[i], .events = POLLOUT};
        check(poll(&poll_fd, 1, LIMIT_S * 1000) == 1);
    }
}

/* How many of them have heard something; those that have are marked. */
static unsigned crowd_heard(const int *fds, bool *heard, unsigned count)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!heard[i] && fds[i] >= 0) heard[i] = hear_next(fds[i], 0) == HEARD_BYTES;
        sum += heard[i];
    }
    return sum;
}

/* ---- Bursts and storms ---- */

static void a_burst_of_two_thousand_is_served(const struct setting *setting)
{
    static int fds[BURST];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    crowd_dial(address, fds, BURST);
    for (unsigned i = 0; i < BURST; i++) say(fds[i], "x", 1);
    for (unsigned i = 0; i < BURST; i++) check(hear_next(fds[i], LIMIT_S * 1000) == HEARD_BYTES);
    check_equal(sally_server_conns(server), BURST);
    check_equal(server_stats(server).accepted, BURST);
    check_equal(atomic_load(&tally.opened), BURST);
    hang_up_all(fds, BURST);
    until(sally_server_conns(server) == 0);
    check_equal(server_stats(server).armed, 1);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_backlog_from_before_the_start_is_served(const struct setting *setting)
{
    enum { EARLY = 500 };
    static int fds[EARLY];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    tally.greeting = "welcome";
    rig_open(&rig, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    crowd_dial(address, fds, EARLY);
    rig_start(&rig);
    for (unsigned i = 0; i < EARLY; i++) check(hear_next(fds[i], LIMIT_S * 1000) == HEARD_BYTES);
    hang_up_all(fds, EARLY);
    until(sally_server_conns(server) == 0);
    rig_end(&rig);
    tally_check(&tally);
}

static void peers_gone_on_arrival_never_stop_accepting(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check_error(sally_server_add(server, "127.0.0.1:0"), 0);
    for (int i = 0; i < STORM; i++) {
        hang_up_reset(dial(address));
        if (i % GOOD_EVERY == 0) check_echo(address);
    }
    until(sally_server_conns(server) == 0);
    until(server_stats(server).accepted == STORM + STORM / GOOD_EVERY);
    /* counted as accepted a moment before it is told */
    until(atomic_load(&tally.opened) + server_stats(server).dead_on_arrival ==
          STORM + STORM / GOOD_EVERY);
    sally_server_stats stats = server_stats(server);
    check_equal(stats.armed, stats.listeners);
    check_equal(stats.listeners, 2);
    check_equal(stats.stalled_times, 0);
    check_equal(stats.refused, 0);
    check_equal(atomic_load(&tally.opened) + stats.dead_on_arrival, stats.accepted);
    check_echo(address);
    rig_end(&rig);
    tally_check(&tally);
}

static void the_server_may_speak_first(const struct setting *setting)
{
    char address[TEXT_MAX], text[8] = {0};
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    tally.greeting = "hello";
    rig_open(&rig, setting);
    rig_start(&rig);
    serve(&rig, &tally, NULL, address);
    int fd = dial(address);
    check(hear(fd, text, 5) && strcmp(text, "hello") == 0);
    hang_up(fd);
    rig_end(&rig);
    tally_check(&tally);
}

static void on_accept_refuses_with_a_reset(const struct setting *setting)
{
    enum { TRIES = 50 };
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    atomic_store(&tally.refuse, true);
    rig_open(&rig, setting);
    rig_start(&rig);
    sally_server *server = serve(&rig, &tally, NULL, address);
    for (int i = 0; i < TRIES; i++) {
        int fd = dial(address);
        check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_RESET);
        hang_up(fd);
    }
    check_equal(atomic_load(&tally.judged), TRIES);
    check_equal(atomic_load(&tally.opened), 0);
    check_equal(server_stats(server).refused, TRIES);
    check_equal(sally_server_conns(server), 0);
    atomic_store(&tally.refuse, false);
    check_echo(address);
    rig_end(&rig);
    check_equal(atomic_load(&tally.opened), 1);
    tally_check(&tally);
}

/* ---- Limits ---- */

static void
newcomers_past_the_limit_wait_and_get_in_as_places_go_free(const struct setting *setting)
{
    enum { LEAVE = 5 }; /* fewer than an eighth of the places: the limit is never left meanwhile */
    static const sally_server_options options = {.conns_max = PLACES};
    int fds[CROWD];
    bool heard[CROWD] = {false};
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, &options, address);
    crowd_dial(address, fds, CROWD);
    for (unsigned i = 0; i < CROWD; i++) say(fds[i], "x", 1);
    unsigned served = PLACES;
    until(crowd_heard(fds, heard, CROWD) == served);
    tools_nap_ms(QUIET_MS);
    check_equal(crowd_heard(fds, heard, CROWD), served);
    check_equal(sally_server_conns(server), PLACES);
    unsigned next = 0;
    while (served < CROWD) {
        for (unsigned left = 0; left < LEAVE; next++) {
            if (!heard[next % CROWD] || fds[next % CROWD] < 0) continue;
            hang_up_all(&fds[next % CROWD], 1);
            left++;
        }
        served += LEAVE;
        until(crowd_heard(fds, heard, CROWD) == served);
    }
    check_equal(atomic_load(&tally.peak), PLACES);
    until(tally_events(&tally, SALLY_SERVER_AT_LIMIT) == 1);
    check_equal(tally_events(&tally, SALLY_SERVER_BELOW_LIMIT), 0);
    hang_up_all(fds, CROWD);
    until(sally_server_conns(server) == 0);
    until(tally_events(&tally, SALLY_SERVER_BELOW_LIMIT) == 1);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 1);
    check_equal(server_stats(server).refused, 0);
    check_echo(address);
    rig_end(&rig);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 1);
    check_equal(tally_events(&tally, SALLY_SERVER_BELOW_LIMIT), 1);
    tally_check(&tally);
}

static void newcomers_past_the_limit_are_reset_where_asked_for(const struct setting *setting)
{
    static const sally_server_options options = {.conns_max = PLACES,
                                                 .at_limit = SALLY_AT_LIMIT_RESET};
    int fds[CROWD];
    unsigned served = 0, reset = 0;
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    tally.greeting = "x";
    rig_open(&rig, setting);
    rig_start(&rig);
    sally_server *server = serve(&rig, &tally, &options, address);
    crowd_dial(address, fds, CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        enum heard heard = hear_next(fds[i], LIMIT_S * 1000);
        served += heard == HEARD_BYTES;
        reset += heard == HEARD_RESET;
    }
    check_equal(served, PLACES);
    check_equal(reset, CROWD - PLACES);
    check_equal(server_stats(server).refused, CROWD - PLACES);
    check_equal(sally_server_conns(server), PLACES);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 1);
    hang_up_all(fds, CROWD);
    until(sally_server_conns(server) == 0);
    until(tally_events(&tally, SALLY_SERVER_BELOW_LIMIT) == 1);
    crowd_dial(address, fds, PLACES);
    for (unsigned i = 0; i < PLACES; i++) check(hear_next(fds[i], LIMIT_S * 1000) == HEARD_BYTES);
    hang_up_all(fds, PLACES);
    rig_end(&rig);
    check_equal(atomic_load(&tally.peak), PLACES);
    tally_check(&tally);
}

static void small_limits_are_exact(const struct setting *setting)
{
    static const uint32_t limits[] = {1, 7};
    for (int n = 0; n < 2; n++) {
        sally_server_options options = {.conns_max = limits[n]};
        int fds[20];
        bool heard[20] = {false};
        char address[TEXT_MAX];
        struct rig rig;
        struct tally tally;
        tally_init(&tally);
        tally.greeting = "x";
        rig_open(&rig, setting);
        rig_start(&rig);
        serve(&rig, &tally, &options, address);
        crowd_dial(address, fds, 20);
        for (unsigned served = limits[n], next = 0; served <= 20; served++) {
            until(crowd_heard(fds, heard, 20) == served);
            for (bool left = false; !left; next++) {
                if (!heard[next % 20] || fds[next % 20] < 0) continue;
                hang_up_all(&fds[next % 20], 1);
                left = true;
            }
        }
        hang_up_all(fds, 20);
        rig_end(&rig);
        check_equal(atomic_load(&tally.peak), limits[n]);
        tally_check(&tally);
    }
}

static void the_servers_and_the_engines_limit_hold_together(const struct setting *setting)
{
    enum { ALL = 50, OF_ONE = 30, TRIES = 60 };
    static const sally_server_options limited = {.conns_max = OF_ONE};
    int first[TRIES], second[TRIES];
    bool heard[TRIES] = {false}, heard_too[TRIES] = {false};
    char address[TEXT_MAX], other[TEXT_MAX];
    struct rig rig;
    struct tally one, two;
    tally_init(&one);
    tally_init(&two);
    one.greeting = two.greeting = "x";
    rig_prepare(&rig, setting);
    rig.options.conns_max = ALL;
    rig_create(&rig);
    rig_start(&rig);
    sally_server *server = serve(&rig, &one, &limited, address);
    serve(&rig, &two, NULL, other);
    crowd_dial(address, first, TRIES);
    until(crowd_heard(first, heard, TRIES) == OF_ONE);
    crowd_dial(other, second, TRIES);
    until(crowd_heard(second, heard_too, TRIES) == ALL - OF_ONE);
    tools_nap_ms(QUIET_MS);
    check_equal(crowd_heard(first, heard, TRIES), OF_ONE);
    check_equal(crowd_heard(second, heard_too, TRIES), ALL - OF_ONE);
    check_equal(rig_stats(&rig).conns, ALL);
    check_equal(rig_stats(&rig).conns_max, ALL);
    for (unsigned i = 0; i < TRIES; i++)
        if (heard[i]) hang_up_all(&first[i], 1);
    /* the places are the engine's: those who wait at either server take them */
    until(crowd_heard(first, heard, TRIES) + crowd_heard(second, heard_too, TRIES) == ALL + OF_ONE);
    check(sally_server_conns(server) <= OF_ONE);
    hang_up_all(first, TRIES);
    until(crowd_heard(second, heard_too, TRIES) >= ALL);
    hang_up_all(second, TRIES);
    until(rig_stats(&rig).conns == 0);
    rig_end(&rig);
    check(atomic_load(&one.peak) <= OF_ONE);
    tally_check(&one);
    tally_check(&two);
}

/* ---- Pauses ---- */

static void newcomers_wait_while_the_server_pauses(const struct setting *setting)
{
    enum { WAITING = 40 };
    int fds[WAITING];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    int old = dial(address);
    check(echoes(old));
    check_error(sally_server_pause(server), 0);
    check_error(sally_server_pause(server), 0);
    until(server_stats(server).armed == 0);
    crowd_dial(address, fds, WAITING);
    for (unsigned i = 0; i < WAITING; i++) say(fds[i], "x", 1);
    check_equal(hear_next(fds[WAITING - 1], QUIET_MS), HEARD_NOTHING);
    check_equal(atomic_load(&tally.opened), 1);
    check(echoes(old));
    check_error(sally_server_resume(server), 0);
    check_error(sally_server_resume(server), 0);
    for (unsigned i = 0; i < WAITING; i++) check(hear_next(fds[i], LIMIT_S * 1000) == HEARD_BYTES);
    hang_up_all(fds, WAITING);
    hang_up(old);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_hundred_pauses_under_load_lose_nobody(const struct setting *setting)
{
    enum { THREADS = 3, CYCLES = 100 };
    char address[TEXT_MAX];
    struct load load;
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    load_begin(&load, address, THREADS);
    for (int i = 0; i < CYCLES; i++) {
        unsigned before = atomic_load(&load.served);
        check_error(sally_server_pause(server), 0);
        if (i % 2) until(server_stats(server).armed == 0);
        check_error(sally_server_resume(server), 0);
        if (i % 3) until(atomic_load(&load.served) > before);
    }
    unsigned before = atomic_load(&load.served);
    until(atomic_load(&load.served) > before + THREADS);
    load_end(&load);
    check_equal(atomic_load(&load.failed), 0);
    until(sally_server_conns(server) == 0);
    check_equal(server_stats(server).armed, 1);
    check_equal(server_stats(server).refused, 0);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 0); /* there is none */
    check_equal(tally_events(&tally, SALLY_SERVER_STALLED), 0);
    rig_end(&rig);
    tally_check(&tally);
}

static void the_count_is_true_after_churn(const struct setting *setting)
{
    enum { THREADS = 4, SERVED = 400 };
    char address[TEXT_MAX];
    struct load load;
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    load_begin(&load, address, THREADS);
    until(atomic_load(&load.served) >= SERVED);
    load_end(&load);
    until(sally_server_conns(server) == 0);
    sally_engine_stats stats = rig_stats(&rig);
    check_equal(stats.conns, 0);
    check_equal(stats.accepted, atomic_load(&load.served));
    check_equal(stats.closed, stats.accepted);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- Options ---- */

/* The engine's own descriptor of the connection whose other end is `client`, or of the listening
 * socket at its peer's address: both ends are in this process. */
static int engine_end(int client, bool listening)
{
    struct sockaddr_storage want = {0}, is;
    socklen_t want_len = sizeof want;
    if (listening)
        check(getpeername(client, (struct sockaddr *)&want, &want_len) == 0);
    else
        check(getsockname(client, (struct sockaddr *)&want, &want_len) == 0);
    for (int fd = 3; fd < 1000; fd++) {
        int accepts = 0;
        socklen_t len = sizeof accepts;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) != 0) continue;
        if ((accepts != 0) != listening) continue;
        memset(&is, 0, sizeof is);
        len = sizeof is;
        int err = listening ? getsockname(fd, (struct sockaddr *)&is, &len)
                            : getpeername(fd, (struct sockaddr *)&is, &len);
        if (err == 0 && len == want_len && memcmp(&is, &want, len) == 0) return fd;
    }
    return -1;
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    check(getsockopt(fd, level, name, &value, &len) == 0);
    return value;
}

static void connection_options_reach_the_socket(const struct setting *setting)
{
    static const sally_server_options options = {
        .conn = {.keepalive_s = 77, .send_buf_bytes = 20000, .recv_buf_bytes = 30000}};
    static const sally_server_options delayed = {.conn = {.delay = true}};
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    serve(&rig, &tally, &options, address);
    int client = dial(address);
    check(echoes(client));
    int fd = engine_end(client, false);
    check(fd >= 0);
    check_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    check_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    check_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    check_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 40000); /* the system doubles it */
    check_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), 60000);
    check(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    hang_up(client);
    serve(&rig, &tally, &delayed, address);
    client = dial(address);
    check(echoes(client));
    fd = engine_end(client, false);
    check_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    check_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    hang_up(client);
    rig_end(&rig);
    tally_check(&tally);
}

/* It was listening before we could say what its connections begin with. */
static void options_reach_the_connections_of_a_given_socket(const struct setting *setting)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char address[TEXT_MAX], name[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int given = socket(AF_INET, SOCK_STREAM, 0);
    check(given >= 0 && bind(given, (struct sockaddr *)&at, sizeof at) == 0);
    check(!listen(given, 9) && !getsockname(given, (void *)&at, &(socklen_t){sizeof at}));
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
    int client = dial(address);
    sally_handler handler = tally_handler(&tally);
    snprintf(name, sizeof name, "fd:%d", given);
    check_error(sally_listen(rig.engine, name, &handler, NULL, NULL), 0);
    check(echoes(client));
    check_equal(option_of(engine_end(client, false), IPPROTO_TCP, TCP_NODELAY), 1);
    hang_up(client);
    rig_end(&rig);
    tally_check(&tally);
}

static void the_listening_socket_has_what_was_asked_for(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    for (int share = 0; share < 2; share++) {
        sally_server_options options = {.share_port = share};
        serve(&rig, &tally, &options, address);
        int client = dial(address);
        int fd = engine_end(client, true);
        check(fd >= 0);
        check_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        check_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), share);
        check(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        hang_up(client);
    }
    rig_end(&rig);
}

/* ---- Shards ---- */

enum { THREADS_MAX = 8 };
static pthread_mutex_t seats_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t seats[THREADS_MAX];
static unsigned seated[THREADS_MAX], seats_used;

static void note_thread(sally_conn *conn)
{
    (void)conn;
    pthread_mutex_lock(&seats_lock);
    unsigned i = 0;
    while (i < seats_used && !pthread_equal(seats[i], pthread_self())) i++;
    if (i == seats_used && i < THREADS_MAX) seats[seats_used++] = pthread_self();
    if (i < THREADS_MAX) seated[i]++;
    pthread_mutex_unlock(&seats_lock);
}

static unsigned all_seated(void)
{
    unsigned sum = 0;
    pthread_mutex_lock(&seats_lock);
    for (unsigned i = 0; i < seats_used; i++) sum += seated[i];
    pthread_mutex_unlock(&seats_lock);
    return sum;
}

static void connections_are_shared_out_evenly(const struct setting *setting)
{
    enum { COUNT = 301 };
    int fds[COUNT];
    char address[TEXT_MAX];
    struct rig rig;
    sally_handler handler = {.on_open = note_thread};
    sally_server *server;
    rig_open(&rig, setting);
    rig_start(&rig);
    check_error(sally_listen(rig.engine, "127.0.0.1:0", &handler, NULL, &server), 0);
    check(sally_server_address(server, 0, address, sizeof address) != NULL);
    crowd_dial(address, fds, COUNT);
    until(all_seated() == COUNT);
    check_equal(seats_used, setting->shards);
    for (unsigned i = 0; i < seats_used; i++) {
        check(seated[i] >= COUNT / setting->shards);
        check(seated[i] <= COUNT / setting->shards + 1);
    }
    hang_up_all(fds, COUNT);
    rig_end(&rig);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(a_burst_of_two_thousand_is_served, ON_BOTH),
        BEHAVIOUR(a_backlog_from_before_the_start_is_served, ON_BOTH),
        BEHAVIOUR(peers_gone_on_arrival_never_stop_accepting, ON_BOTH),
        BEHAVIOUR(the_server_may_speak_first, ON_ONE),
        BEHAVIOUR(on_accept_refuses_with_a_reset, ON_BOTH),
        BEHAVIOUR(newcomers_past_the_limit_wait_and_get_in_as_places_go_free, ON_BOTH),
        BEHAVIOUR(newcomers_past_the_limit_are_reset_where_asked_for, ON_BOTH),
        BEHAVIOUR(small_limits_are_exact, ON_BOTH),
        BEHAVIOUR(the_servers_and_the_engines_limit_hold_together, ON_BOTH),
        BEHAVIOUR(newcomers_wait_while_the_server_pauses, ON_BOTH),
        BEHAVIOUR(a_hundred_pauses_under_load_lose_nobody, ON_BOTH),
        BEHAVIOUR(the_count_is_true_after_churn, ON_BOTH),
        BEHAVIOUR(connection_options_reach_the_socket, ON_BOTH),
        BEHAVIOUR(options_reach_the_connections_of_a_given_socket, ON_BOTH),
        BEHAVIOUR(the_listening_socket_has_what_was_asked_for, ON_ONE),
        BEHAVIOUR(connections_are_shared_out_evenly, ON_THREE),
    };
    return BEHAVIOURS_RUN(list);
}
