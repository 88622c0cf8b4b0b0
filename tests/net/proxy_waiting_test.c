/* Connections of proxies before they are any: on_accept's verdicts, silence, the end of server and
 * engine, and what other options make of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/proxy_house.h"
#include "sallyport/look.h"
#include "support/long.h"

/* ---- on_accept ---- */

static void on_accept_judges_the_client(const struct setting *setting)
{
    static const char bye[] = "not today\n";
    house_prepare();
    house.admission.farewell = bye;
    house.admission.farewell_bytes = sizeof bye - 1;
    house.admission.delay_ms = 20;
    atomic_store(&house.verdict, SALLY_RESET);
    house_open(setting);
    check_reset(client_of(PROXY, 7));
    check_equal(refused(house.server, SALLY_REFUSED_BY_HANDLER), 1);
    atomic_store(&house.verdict, SALLY_FAREWELL);
    int fd = client_of(PROXY, 7);
    check_heard(fd, bye);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
    hang_up(fd);
    check_equal(refused(house.server, SALLY_REFUSED_BY_HANDLER), 2);
    check_equal(admission_stats(house.server).farewells, 1);
    check_equal(atomic_load(&house.tally.opened), 0);
    atomic_store(&house.verdict, SALLY_ALLOW);
    atomic_store(&house.patience, 3);
    char first[TEXT_MAX + 8];
    snprintf(first, sizeof first, "%swho", line_of(9)); /* kept while it is delayed */
    fd = client_via(PROXY, first);
    check_heard(fd, "who");
    check_equal(admission_stats(house.server).delayed_times, 3);
    check_equal(admission_stats(house.server).delayed, 0);
    hang_up(fd);
    atomic_store(&house.patience, 1000); /* never within delay_max_ms: here it goes by itself */
    house_end();
}

static void a_delayed_one_keeps_what_it_said_and_its_end(const struct setting *setting)
{
    char first[TEXT_MAX + 8];
    house_prepare();
    house.admission.delay_ms = 60;
    atomic_store(&house.patience, 1);
    house_open(setting);
    snprintf(first, sizeof first, "%sabc", line_of(9));
    int fd = client_via(PROXY, first);
    until(admission_stats(house.server).delayed_times == 1);
    say(fd, "def", 3);
    shutdown(fd, SHUT_WR);
    check_heard(fd, "abcdef");
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
    hang_up(fd);
    atomic_store(&house.patience, 1000); /* one resets while it is held, which may be seen or not */
    fd = client_of(PROXY, 9);
    until(admission_stats(house.server).delayed == 1);
    hang_up_reset(fd);
    fd = client_of(PROXY, 9);
    until(admission_stats(house.server).delayed + refused(house.server, SALLY_REFUSED_DELAY) == 2);
    check_error(sally_engine_stop(house.rig.engine), 0);
    until(refused(house.server, SALLY_REFUSED_CLOSING) +
              refused(house.server, SALLY_REFUSED_DELAY) ==
          2);
    check(refused(house.server, SALLY_REFUSED_CLOSING) > 0);
    hang_up(fd);
    house_end();
}

static void a_limit_of_the_clients_address_may_say_farewell(const struct setting *setting)
{
    static const char bye[] = "full\n";
    house_prepare();
    house.admission.limits.conns_per_address = 1;
    house.admission.farewell = bye;
    house.admission.farewell_bytes = sizeof bye - 1;
    house.options.at_limit = SALLY_AT_LIMIT_FAREWELL;
    house_open(setting);
    int in = client_of(PROXY, 7);
    check(echoes(in));
    for (int i = 0; i < 3; i++) {
        int fd = client_of(PROXY, 7);
        check_heard(fd, bye);
        check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
        hang_up(fd);
    }
    check_equal(refused(house.server, SALLY_REFUSED_ADDRESS_LIMIT), 3);
    check_equal(sally_server_conns_from(house.server, "203.0.113.7"), 1);
    until(sally_server_conns(house.server) == 1);
    hang_up(in);
    house_end();
}

/* ---- Those who say nothing ---- */

static bool count_one(const sally_conn_info *info, void *arg)
{
    (void)info;
    ++*(unsigned *)arg;
    return true;
}

static void a_silent_proxy_is_cut_in_time(const struct setting *setting)
{
    enum { SILENT = 20 };
    static const char part[] = "PROXY TCP4 203.0.";
    int fds[SILENT];
    unsigned listed = 0;
    house_prepare();
    house.proxy.header_ms = 300;
    house_open(setting);
    for (int i = 0; i < SILENT; i++) {
        check((fds[i] = dial_from(PROXY, house.address)) >= 0);
        if (i % 2) (void)send(fds[i], part, sizeof part - 1, MSG_NOSIGNAL); /* or cut already */
    }
    check_error(sally_engine_each_conn(house.rig.engine, count_one, &listed), 0);
    check_equal(listed, 0);
    for (int i = 0; i < SILENT; i++) check_reset(fds[i]);
    check_equal(refused(house.server, SALLY_REFUSED_PROXY_LATE), SILENT);
    until(sally_server_proxy_waiting(house.server) == 0);
    check_equal(atomic_load(&house.tally.judged), 0);
    check_equal(atomic_load(&house.tally.opened), 0);
    check_equal(atomic_load(&house.tally.closed), 0);
    check_equal(rig_stats(&house.rig).closed, 0);
    house_end();
}

static void many_silent_ones_are_bounded(const struct setting *setting)
{
    enum { MAX = 32, SILENT = 3000 };
    int *fds = calloc(SILENT, sizeof *fds);
    unsigned many = long_form() ? SILENT : SILENT / 5;
    check(fds != NULL);
    house_prepare();
    house.proxy.waiting_max = MAX;
    house.proxy.header_ms = 600000;
    house_open(setting);
    for (unsigned i = 0; i < many; i++) {
        fds[i] = dial_from(PROXY, house.address);
        /* each shard's part is rounded up, and has one more for a moment */
        check(sally_server_proxy_waiting(house.server) <= MAX + 2 * setting->shards);
        if (i % 50) continue;
        int fd = client_of(OTHER_PROXY, i % 250);
        check(echoes(fd)); /* meanwhile others are served */
        hang_up(fd);
    }
    until(refused(house.server, SALLY_REFUSED_PROXY_LATE) +
              sally_server_proxy_waiting(house.server) ==
          many);
    check(sally_server_proxy_waiting(house.server) <= MAX + setting->shards);
    until(sally_server_conns(house.server) <= MAX + setting->shards);
    for (unsigned i = 0; i < many; i++)
        if (fds[i] >= 0) hang_up(fds[i]);
    until(sally_server_proxy_waiting(house.server) == 0);
    free(fds);
    house_end();
}

static void an_engine_ends_with_some_that_wait(const struct setting *setting)
{
    enum { SILENT = 10 };
    int fds[SILENT];
    sally_stop_report report;
    for (unsigned gently = 0; gently < 2; gently++) {
        house_prepare();
        house_open(setting);
        int in = client_of(PROXY, 7);
        check(echoes(in));
        for (int i = 0; i < SILENT; i++) fds[i] = dial_from(PROXY, house.address);
        until(sally_server_proxy_waiting(house.server) == SILENT);
        if (gently)
            check_error(sally_engine_drain(house.rig.engine, 10000), 0);
        else
            check_error(sally_engine_stop(house.rig.engine), 0);
        if (gently) hang_up(in);
        check_error(sally_engine_wait(house.rig.engine), 0);
        check_error(sally_engine_stop_report(house.rig.engine, &report), 0);
        check_equal(report.conns, 1);
        check_equal(report.cut, !gently);
        check_equal(refused(house.server, SALLY_REFUSED_CLOSING), SILENT);
        if (!gently) hang_up(in);
        hang_up_all(fds, SILENT);
        house_end();
    }
}

static void a_server_that_closes_lets_nobody_in_who_waits(const struct setting *setting)
{
    house_prepare();
    house_open(setting);
    int fd = dial_from(PROXY, house.address);
    until(sally_server_proxy_waiting(house.server) == 1);
    check_error(sally_server_close(house.server), 0);
    say(fd, line_of(7), strlen(line_of(7)));
    check_reset(fd);
    check_equal(refused(house.server, SALLY_REFUSED_CLOSING), 1);
    house_end();
}

/* ---- Beside other options ---- */

static void with_accept_with_data_the_header_is_what_is_waited_for(const struct setting *setting)
{
    char first[TEXT_MAX + 8];
    house_prepare();
    house.options.accept_with_data = true;
    house_open(setting);
    int silent = dial_from(PROXY, house.address);
    int fd = client_of(PROXY, 7);
    check_who(fd, "203.0.113.7:4711", "198.51.100.1:443");
    hang_up(fd);
    snprintf(first, sizeof first, "%swho\n", line_of(8));
    fd = client_via(PROXY, first);
    snprintf(first, sizeof first, "203.0.113.8:4711 %s 198.51.100.1:443\n", own_address(fd));
    check_heard(fd, first);
    hang_up(fd);
    fd = client_via(PROXY, "PROXY TCP4 203.0.113.7");
    until(sally_server_proxy_waiting(house.server) == 1); /* not the silent one */
    hang_up(fd);
    hang_up(silent);
    house_end();
}

static void who_waits_has_a_place(const struct setting *setting)
{
    house_prepare();
    house.options.conns_max = 1;
    house.options.at_limit = SALLY_AT_LIMIT_RESET;
    house_open(setting);
    int silent = dial_from(PROXY, house.address);
    until(sally_server_proxy_waiting(house.server) == 1);
    check_reset(client_of(PROXY, 7));
    check_equal(refused(house.server, SALLY_REFUSED_LIMIT), 1);
    hang_up(silent);
    until(sally_server_conns(house.server) == 0);
    int fd = client_of(PROXY, 7);
    check(echoes(fd));
    hang_up(fd);
    house_end();
}

static int try_listen(sally_proxy_options proxy)
{
    sally_handler handler = {0};
    sally_server_options options = {.proxy = &proxy};
    return sally_listen(house.rig.engine, "127.0.0.1:0", &handler, &options, NULL);
}

static const char too_long[] =
    "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111";

static void options_that_make_no_sense_are_refused(const struct setting *setting)
{
    static const char *const bad[] = {"",           ",",           "here",
                                      "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8;127.0.0.1",
                                      "unix,x",     "*",           too_long};
    char many[SALLY_PROXY_NETWORKS_MAX * 8 + 16] = "";
    house_prepare();
    house_open(setting);
    check_error(try_listen((sally_proxy_options){.trusted = NULL}), SALLY_ENETWORK);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_error(try_listen((sally_proxy_options){.trusted = bad[i]}), SALLY_ENETWORK);
    check_error(try_listen((sally_proxy_options){.trusted = " 10.0.0.0/8,\n::1\tunix, "}), 0);
    for (size_t i = 0; i < SALLY_PROXY_NETWORKS_MAX; i++) memcpy(many + i * 8, "1.1.1.1,", 8);
    check_error(try_listen((sally_proxy_options){.trusted = many}), 0);
    memcpy(many + SALLY_PROXY_NETWORKS_MAX * 8, "1.1.1.1", 7);
    check_error(try_listen((sally_proxy_options){.trusted = many}), SALLY_ENETWORK);
    check_error(try_listen((sally_proxy_options){.trusted = "::1", .header_bytes_max = 231}),
                SALLY_EINVAL);
    check_error(try_listen((sally_proxy_options){.trusted = "::1", .header_bytes_max = 232}), 0);
    check_error(try_listen((sally_proxy_options){.trusted = "::1", .header_bytes_max = 65552}),
                SALLY_EINVAL);
    check_error(try_listen((sally_proxy_options){.trusted = "::1", .header_ms = SALLY_FOREVER}),
                SALLY_EINVAL);
    check_error(try_listen((sally_proxy_options){.trusted = "::1", .untrusted = 2}), SALLY_EINVAL);
    check_equal(sally_server_proxy_waiting(house.server), 0);
    house_end();
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(on_accept_judges_the_client, ON_BOTH),
        BEHAVIOUR(a_delayed_one_keeps_what_it_said_and_its_end, ON_BOTH),
        BEHAVIOUR(a_limit_of_the_clients_address_may_say_farewell, ON_BOTH),
        BEHAVIOUR(a_silent_proxy_is_cut_in_time, ON_BOTH),
        BEHAVIOUR(many_silent_ones_are_bounded, ON_BOTH),
        BEHAVIOUR(an_engine_ends_with_some_that_wait, ON_BOTH),
        BEHAVIOUR(a_server_that_closes_lets_nobody_in_who_waits, ON_BOTH),
        BEHAVIOUR(with_accept_with_data_the_header_is_what_is_waited_for, ON_BOTH),
        BEHAVIOUR(who_waits_has_a_place, ON_ONE),
        BEHAVIOUR(options_that_make_no_sense_are_refused, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
