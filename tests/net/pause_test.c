/* The door shut and opened again: newcomers are refused at once, those who are in live on, and the
 * address is had again, at once or when whoever took it has gone. Servers and engines made and
 * ended again and again on one address. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/support/accept_load.h"
#include "net/support/admission_tools.h"
#include "support/long.h"

static bool is_refused(const char *address)
{
    int fd = dial_try(address);
    if (fd >= 0) hang_up(fd);
    return fd < 0 && errno == ECONNREFUSED;
}

/* ---- Shut and open ---- */

static void shut_it_refuses_and_open_it_serves(const struct setting *setting)
{
    char address[TEXT_MAX], again[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    int old = dial(address);
    check(echoes(old));
    for (int i = 0; i < 20; i++) {
        check_error(sally_server_pause_closed(server), 0);
        check_error(sally_server_pause_closed(server), 0);
        until(is_refused(address));
        check(echoes(old));
        check_equal(server_stats(server).armed, 0);
        check_equal(server_stats(server).listeners, 1);
        if (i % 2) check_error(sally_server_pause(server), 0); /* changes nothing */
        if (i % 2) check(is_refused(address));
        check_error(sally_server_resume(server), 0);
        until(!is_refused(address));
        check_echo(address);
    }
    check(sally_server_address(server, 0, again, sizeof again) != NULL);
    check(strcmp(address, again) == 0);
    check(echoes(old));
    hang_up(old);
    check_equal(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED), 0);
    rig_end(&rig);
    check_equal(tally_events(&tally, SALLY_SERVER_CLOSED), 1);
    tally_check(&tally);
}

static void from_a_plain_pause_the_door_can_be_shut(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check_error(sally_server_pause(server), 0);
    until(server_stats(server).armed == 0);
    int waits = dial(address); /* in the backlog */
    check_error(sally_server_pause_closed(server), 0);
    check_equal(hear_next(waits, LIMIT_S * 1000), HEARD_RESET);
    hang_up(waits);
    check(is_refused(address));
    check_error(sally_server_resume(server), 0);
    until(!is_refused(address));
    check_echo(address);
    rig_end(&rig);
    tally_check(&tally);
}

static void those_who_waited_for_a_place_are_reset(const struct setting *setting)
{
    enum { WAITING = 30 };
    static const sally_server_options options = {.conns_max = 1};
    int fds[WAITING];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_open(&rig, setting);
    sally_server *server = serve(&rig, &tally, &options, address);
    int in = dial(address);
    dial_many(address, fds, WAITING); /* they come all at once, some past the limit */
    rig_start(&rig);
    check(echoes(in));
    check_error(sally_server_pause_closed(server), 0);
    for (int i = 0; i < WAITING; i++) check_equal(hear_next(fds[i], LIMIT_S * 1000), HEARD_RESET);
    check(echoes(in));
    check_error(sally_server_resume(server), 0);
    hang_up(in);
    hang_up_all(fds, WAITING);
    until(!is_refused(address));
    until(sally_server_conns(server) == 0);
    check_echo(address);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- Taken meanwhile ---- */

static int take_address(const char *address)
{
    struct sockaddr_storage at;
    socklen_t len = address_of(address, &at);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0);
    check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    check(bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 16) == 0);
    return fd;
}

static void an_address_taken_meanwhile_is_had_again_when_it_is_free(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    for (unsigned round = 1; round <= 2; round++) {
        check_error(sally_server_pause_closed(server), 0);
        until(is_refused(address));
        int other = take_address(address);
        check_error(sally_server_resume(server), 0);
        until(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED) == round);
        tools_nap_ms(100); /* some more attempts: told once all the same */
        check_equal(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED), round);
        check_equal(tally_events(&tally, SALLY_SERVER_LISTENING), round - 1);
        close(other);
        until(tally_events(&tally, SALLY_SERVER_LISTENING) == round);
        check_echo(address);
    }
    rig_end(&rig);
    tally_check(&tally);
}

static void it_ends_well_while_the_address_is_somebody_elses(const struct setting *setting)
{
    for (int how = 0; how < 2; how++) {
        char address[TEXT_MAX];
        struct rig rig;
        struct tally tally;
        rig_run(&rig, &tally, setting);
        sally_server *server = serve(&rig, &tally, NULL, address);
        check_error(sally_server_pause_closed(server), 0);
        until(is_refused(address));
        int other = take_address(address);
        check_error(sally_server_resume(server), 0);
        until(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED) == 1);
        if (how) {
            check_error(sally_server_close(server), 0);
            until(tally_events(&tally, SALLY_SERVER_CLOSED) == 1);
            check_error(sally_server_pause_closed(server), SALLY_ESTATE);
            check_error(sally_server_resume(server), SALLY_ESTATE);
        }
        close(other);
        rig_end(&rig);
        check_equal(tally_events(&tally, SALLY_SERVER_CLOSED), 1);
        tally_check(&tally);
    }
}

/* ---- Unix sockets and given ones ---- */

static void a_unix_sockets_file_goes_and_comes_and_is_never_anothers(const struct setting *setting)
{
    char path[64], where[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    snprintf(path, sizeof path, "/tmp/sally-pause-%d", (int)getpid());
    snprintf(where, sizeof where, "unix:%s", path);
    rig_run(&rig, &tally, setting);
    sally_server *server = serve_at(&rig, where, &tally, NULL, NULL);
    check_echo(where);
    check_error(sally_server_pause_closed(server), 0);
    until(access(path, F_OK) != 0);
    check_error(sally_server_resume(server), 0);
    until(server_stats(server).armed > 0); /* the file is there between bind and listen, too */
    check(access(path, F_OK) == 0);
    check_echo(where);
    check_error(sally_server_pause_closed(server), 0);
    until(access(path, F_OK) != 0);
    struct sockaddr_storage at;
    socklen_t len = address_of(where, &at);
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* somebody else's now */
    check(bind(other, (struct sockaddr *)&at, len) == 0 && listen(other, 1) == 0);
    check_error(sally_server_resume(server), 0);
    until(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED) == 1);
    check_error(sally_server_close(server), 0);
    until(tally_events(&tally, SALLY_SERVER_CLOSED) == 1);
    close(other);
    rig_end(&rig);
    check(unlink(path) == 0);
    tally_check(&tally);
}

static void a_given_socket_cant_be_shut(const struct setting *setting)
{
    char address[TEXT_MAX], where[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int door = doorway(16, address);
    snprintf(where, sizeof where, "fd:%d", door);
    sally_server *server = serve_at(&rig, where, &tally, NULL, NULL);
    check_error(sally_server_pause_closed(server), SALLY_ENOTSUP);
    check_echo(address);
    check_error(sally_server_pause_closed(NULL), SALLY_EINVAL);
    /* the descriptor is the engine's */
    check_error(sally_engine_destroy(rig.engine), 0);
    tally_check(&tally);
}

/* ---- Again and again ---- */

static void cycles_under_load_lose_no_listener(const struct setting *setting)
{
    enum { THREADS = 2 };
    char address[TEXT_MAX];
    struct load load;
    unsigned cycles = long_form() ? 1000 : 40;
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_server *server = serve(&rig, &tally, NULL, address);
    check_error(sally_server_add(server, "127.0.0.1:0"), 0);
    load_begin(&load, address, THREADS);
    for (unsigned i = 0; i < cycles; i++) {
        unsigned before = atomic_load(&load.served);
        check_error(i % 3 ? sally_server_pause_closed(server) : sally_server_pause(server), 0);
        if (i % 2) until(server_stats(server).armed == 0);
        check_error(sally_server_resume(server), 0);
        if (i % 5 == 0) until(atomic_load(&load.served) > before);
    }
    unsigned before = atomic_load(&load.served);
    until(atomic_load(&load.served) > before + THREADS);
    load_end(&load);
    until(server_stats(server).armed == 2);
    check_equal(server_stats(server).listeners, 2);
    until(sally_server_conns(server) == 0);
    check_equal(tally_events(&tally, SALLY_SERVER_LISTEN_FAILED), 0);
    check_equal(tally_events(&tally, SALLY_SERVER_STALLED), 0);
    rig_end(&rig);
    tally_check(&tally);
}

static void engines_start_and_stop_on_one_address(const struct setting *setting)
{
    enum { CLIENTS = 4 };
    unsigned cycles = long_form() ? 500 : 25;
    char address[TEXT_MAX] = "127.0.0.1:0", where[TEXT_MAX];
    for (unsigned i = 0; i < cycles; i++) {
        int fds[CLIENTS];
        struct rig rig;
        struct tally tally;
        rig_run(&rig, &tally, setting);
        snprintf(where, sizeof where, "%s", address);
        serve_at(&rig, where, &tally, NULL, address); /* the same from the second on */
        check(i == 0 || strcmp(where, address) == 0);
        dial_many(address, fds, CLIENTS);
        for (int n = 0; n < CLIENTS; n++) check(echoes(fds[n]));
        check_error(sally_engine_stop(rig.engine), 0);
        for (int n = 0; n < CLIENTS; n++) check(hear_end(fds[n], LIMIT_S * 1000) != HEARD_NOTHING);
        hang_up_all(fds, CLIENTS);
        rig_end(&rig);
        check_equal(atomic_load(&tally.opened), CLIENTS);
        tally_check(&tally);
    }
}

static void servers_close_and_others_open_on_one_address(const struct setting *setting)
{
    unsigned cycles = long_form() ? 500 : 25;
    char address[TEXT_MAX] = "127.0.0.1:0", where[TEXT_MAX];
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    for (unsigned i = 0; i < cycles; i++) {
        struct tally *tally = calloc(1, sizeof *tally);
        tally_init(tally);
        snprintf(where, sizeof where, "%s", address);
        sally_server *server = serve_at(&rig, where, tally, NULL, address);
        check_echo(address);
        until(tally_live(tally) == 0);
        check_error(sally_server_close(server), 0);
        until(tally_events(tally, SALLY_SERVER_CLOSED) == 1); /* the address is free from here on */
        tally_check(tally);
        free(tally);
    }
    rig_end(&rig);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(shut_it_refuses_and_open_it_serves, ON_BOTH),
        BEHAVIOUR(from_a_plain_pause_the_door_can_be_shut, ON_BOTH),
        BEHAVIOUR(those_who_waited_for_a_place_are_reset, ON_BOTH),
        BEHAVIOUR(an_address_taken_meanwhile_is_had_again_when_it_is_free, ON_BOTH),
        BEHAVIOUR(it_ends_well_while_the_address_is_somebody_elses, ON_BOTH),
        BEHAVIOUR(a_unix_sockets_file_goes_and_comes_and_is_never_anothers, ON_ONE),
        BEHAVIOUR(a_given_socket_cant_be_shut, ON_ONE),
        BEHAVIOUR(cycles_under_load_lose_no_listener, ON_BOTH),
        BEHAVIOUR(engines_start_and_stop_on_one_address, ON_ONE),
        BEHAVIOUR(servers_close_and_others_open_on_one_address, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
