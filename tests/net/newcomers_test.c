/* What becomes of those who are not let in at once: farewells, delays, strikes. Clients come from
 * any address of 127.0.0.0/8, which all are this machine's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/support/admission_tools.h"
#include "sallyport/framing.h"

/* ---- Farewells ---- */

static const char farewell[] = "full, come back later\n";

/* All of it, then the end; the client sent something that nobody read, which would make a plain
 * close a reset. */
static void check_farewell(int fd)
{
    char text[sizeof farewell] = "";
    (void)send(fd, "hello", 5, MSG_NOSIGNAL);
    check(hear(fd, text, sizeof farewell - 1));
    check(strcmp(text, farewell) == 0);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
}

static void newcomers_past_the_limit_get_the_farewell(const struct setting *setting)
{
    enum { MAX = 3, MORE = 10 };
    int fds[MAX], more[MORE];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.farewell = farewell, .farewell_bytes = sizeof farewell - 1};
    sally_server_options options = {
        .conns_max = MAX, .at_limit = SALLY_AT_LIMIT_FAREWELL, .admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    for (int i = 0; i < MAX; i++) {
        fds[i] = dial(address);
        check(echoes(fds[i]));
    }
    dial_many(address, more, MORE);
    for (int i = 0; i < MORE; i++) check_farewell(more[i]);
    check_equal(refused(server, SALLY_REFUSED_LIMIT), MORE);
    check_equal(admission_stats(server).farewells, MORE);
    check_equal(sally_server_conns(server), MAX);
    check_equal(rig_stats(&rig).conns, MAX);
    hang_up(fds[0]);
    until(sally_server_conns(server) == MAX - 1);
    fds[0] = dial(address);
    check(echoes(fds[0]));
    hang_up_all(fds, MAX);
    hang_up_all(more, MORE);
    rig_end(&rig);
    check_equal(atomic_load(&tally.opened), MAX + 1);
    tally_check(&tally);
}

/* Whoever takes the farewell and never leaves holds one of 64, and nobody else up. That it holds it
 * for 2 s only is shown in tests/sim. */
static void those_who_dont_leave_after_the_farewell_are_bounded(const struct setting *setting)
{
    enum { CROWD = 150, GUESTS = 64 };
    int fds[CROWD], in;
    unsigned farewells = 0, resets = 0;
    char address[TEXT_MAX], text[sizeof farewell];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.farewell = farewell, .farewell_bytes = sizeof farewell - 1};
    sally_server_options options = {
        .conns_max = 1, .at_limit = SALLY_AT_LIMIT_FAREWELL, .admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    in = dial(address);
    check(echoes(in));
    for (int i = 0; i < CROWD; i++) fds[i] = dial_from(1, address);
    for (int i = 0; i < CROWD; i++) {
        if (fds[i] >= 0 && hear(fds[i], text, sizeof farewell - 1))
            farewells++;
        else
            resets++;
    }
    check(farewells >= GUESTS);
    check(resets >= 1 && farewells + resets == CROWD);
    check_equal(refused(server, SALLY_REFUSED_LIMIT), CROWD);
    check_equal(admission_stats(server).farewells, farewells);
    check(echoes(in));
    hang_up(in);
    hang_up_all(fds, CROWD);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- What on_accept says ---- */

static atomic_int verdict; /* sally_verdict */
static atomic_uint asked, delays_seen, address_conns_seen;

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    atomic_fetch_add(&asked, 1);
    atomic_store(&delays_seen, info->delays);
    atomic_store(&address_conns_seen, info->address_conns);
    return (sally_verdict)atomic_load(&verdict);
}

static sally_server *serve_asking(struct rig *rig, struct tally *tally,
                                  const struct setting *setting, const sally_admission *admission,
                                  char *address)
{
    sally_server_options options = {.admission = admission};
    atomic_store(&verdict, SALLY_ALLOW);
    atomic_store(&asked, 0);
    rig_run(rig, tally, setting);
    sally_handler handler = tally_handler(tally);
    handler.on_accept = on_accept;
    return serve_handler(rig, "127.0.0.1:0", &handler, &options, address);
}

static void on_accept_knows_how_many_come_from_there(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_admission admission = {.limits = {.conns_per_address = 5}};
    serve_asking(&rig, &tally, setting, &admission, address);
    int one = dial_from(1, address);
    check(echoes(one));
    check_equal(atomic_load(&address_conns_seen), 0);
    int two = dial_from(1, address);
    check(echoes(two));
    check_equal(atomic_load(&address_conns_seen), 1);
    int other = dial_from(2, address);
    check(echoes(other));
    check_equal(atomic_load(&address_conns_seen), 0);
    hang_up(one);
    hang_up(two);
    hang_up(other);
    rig_end(&rig);
    tally_check(&tally);
}

static void on_accept_may_send_off_with_the_farewell(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_admission admission = {.farewell = farewell, .farewell_bytes = sizeof farewell - 1};
    sally_server *server = serve_asking(&rig, &tally, setting, &admission, address);
    atomic_store(&verdict, SALLY_FAREWELL);
    int fd = dial(address);
    check_farewell(fd);
    hang_up(fd);
    check_equal(refused(server, SALLY_REFUSED_BY_HANDLER), 1);
    check_equal(admission_stats(server).farewells, 1);
    atomic_store(&verdict, SALLY_RESET);
    check_reset_from(1, address);
    check_equal(refused(server, SALLY_REFUSED_BY_HANDLER), 2);
    rig_end(&rig);
    /* without admission it is a gentle end and nothing more */
    server = serve_asking(&rig, &tally, setting, NULL, address);
    atomic_store(&verdict, SALLY_FAREWELL);
    fd = dial(address);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
    hang_up(fd);
    check_equal(atomic_load(&tally.opened), 0);
    rig_end(&rig);
}

static void a_delayed_one_is_asked_for_again_and_let_in(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_admission admission = {.delay_ms = 10, .delay_max_ms = 1000 * LIMIT_S};
    sally_server *server = serve_asking(&rig, &tally, setting, &admission, address);
    atomic_store(&verdict, SALLY_DELAY);
    int fd = dial(address);
    say(fd, "early", 5);
    until(atomic_load(&delays_seen) >= 3);
    check_equal(admission_stats(server).delayed, 1);
    check_equal(hear_next(fd, 30), HEARD_NOTHING);
    check_equal(sally_server_conns(server), 0);
    atomic_store(&verdict, SALLY_ALLOW);
    char text[5];
    check(hear(fd, text, 5) && memcmp(text, "early", 5) == 0);
    check_equal(admission_stats(server).delayed, 0);
    check(admission_stats(server).delayed_times >= 3);
    check_equal(server_stats(server).refused, 0);
    hang_up(fd);
    rig_end(&rig);
    tally_check(&tally);
}

static void delays_are_bounded_in_number_and_time(const struct setting *setting)
{
    enum { HELD = 4, CROWD = 12 };
    int fds[CROWD];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_admission admission = {.delay_ms = 100, .delay_max_ms = 350, .delayed_max = HELD};
    sally_server *server = serve_asking(&rig, &tally, setting, &admission, address);
    atomic_store(&verdict, SALLY_DELAY);
    uint64_t began = tools_now_ms();
    for (int i = 0; i < CROWD; i++) fds[i] = dial_from(1, address);
    until(refused(server, SALLY_REFUSED_DELAY) >= CROWD - HELD);
    check(admission_stats(server).delayed <= HELD);
    for (int i = 0; i < CROWD; i++) check_equal(hear_from(fds[i], LIMIT_S * 1000), HEARD_RESET);
    check(tools_now_ms() - began >= 3 * 100); /* three delays fit */
    check_equal(refused(server, SALLY_REFUSED_DELAY), CROWD);
    check_equal(admission_stats(server).delayed, 0);
    check_equal(atomic_load(&tally.opened), 0);
    hang_up_all(fds, CROWD);
    atomic_store(&verdict, SALLY_ALLOW);
    check_echo(address);
    rig_end(&rig);
}

static void a_delayed_one_counts_for_its_address_and_may_be_banned(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_bans *bans = bans_new();
    sally_admission admission = {.bans = bans,
                                 .limits = {.conns_per_address = 2},
                                 .delay_ms = 50,
                                 .delay_max_ms = 3600 * 1000};
    sally_server *server = serve_asking(&rig, &tally, setting, &admission, address);
    atomic_store(&verdict, SALLY_DELAY);
    int one = dial_from(5, address), two = dial_from(5, address);
    until(admission_stats(server).delayed == 2);
    check_reset_from(5, address);
    check_equal(refused(server, SALLY_REFUSED_ADDRESS_LIMIT), 1);
    check_error(sally_bans_add(bans, "127.0.0.5", SALLY_FOREVER, NULL), 0);
    check_equal(hear_next(one, LIMIT_S * 1000), HEARD_RESET);
    check_equal(hear_next(two, LIMIT_S * 1000), HEARD_RESET);
    until(sally_server_conns_from(server, "127.0.0.5") == 0);
    check_equal(refused(server, SALLY_REFUSED_BANNED), 2);
    hang_up(one);
    hang_up(two);
    int three = dial_from(6, address);
    until(admission_stats(server).delayed == 1); /* the engine ends with one held */
    hang_up(three);
    rig_end(&rig);
    sally_bans_destroy(bans);
}

/* ---- Strikes ---- */

static void silence_becomes_a_ban(const struct setting *setting)
{
    enum { MAX = 3 };
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_bans *bans = bans_new();
    sally_ban ban;
    sally_admission admission = {.bans = bans, .strikes = {.max = MAX, .within_s = 3600}};
    sally_server_options options = {.admission = &admission, .conn = {.first_byte_ms = 60}};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    for (int i = 0; i < MAX; i++) {
        int fd = dial_from(9, address);
        check_equal(sally_bans_check(bans, "127.0.0.9", NULL), 0);
        check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
        hang_up(fd);
        check_served_from(8, address);
    }
    check_reset_from(9, address);
    check_served_from(8, address);
    check_equal(sally_bans_check(bans, "127.0.0.9", &ban), 1);
    check_equal(ban.left_s, 600);
    check(strstr(ban.reason, "silent") != NULL);
    check_equal(admission_stats(server).strike_bans, 1);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

static void coming_too_fast_becomes_a_ban_unless_that_is_off(const struct setting *setting)
{
    for (unsigned off = 0; off < 2; off++) {
        char address[TEXT_MAX];
        struct rig rig;
        struct tally tally;
        sally_server *server;
        sally_bans *bans = bans_new();
        sally_admission admission = {
            .bans = bans,
            .limits = {.connects_per_s_address = 1, .connects_burst_address = 1},
            .strikes = {.max = 10, .weight = {[SALLY_STRIKE_RATE] = 5}}};
        sally_server_options options = {.admission = &admission};
        if (off) admission.strikes.off = 1u << SALLY_STRIKE_RATE;
        tally_init(&tally);
        serve_with(&rig, &tally, setting, &options, &server, address);
        while (refused(server, SALLY_REFUSED_ADDRESS_RATE) < 2) (void)is_served_from(3, address);
        check_equal(sally_bans_check(bans, "127.0.0.3", NULL), !off);
        rig_end(&rig);
        sally_bans_destroy(bans);
        tally_check(&tally);
    }
}

static atomic_int struck;

static void on_data_strike(sally_conn *conn, const void *data, size_t len)
{
    const char *bytes = data;
    (void)len;
    atomic_store(&struck, sally_conn_strike(conn, (uint32_t)(bytes[0] - '0')));
    sally_conn_send(conn, "!", 1);
}

static int strike(int fd, const char *weight)
{
    char answer;
    say(fd, weight, 1);
    check(hear(fd, &answer, 1));
    return atomic_load(&struck);
}

static void a_programs_own_strikes_become_longer_bans(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_bans *bans = bans_new();
    sally_ban ban;
    sally_admission admission = {.bans = bans,
                                 .strikes = {.max = 5, .ban_s = 1000, .ban_max_s = 3000}};
    sally_server_options options = {.admission = &admission};
    static const uint32_t wanted_s[] = {1000, 2000, 3000, 3000};
    rig_run(&rig, &tally, setting);
    sally_handler handler = tally_handler(&tally);
    handler.on_data = on_data_strike;
    sally_server *server = serve_handler(&rig, "127.0.0.1:0", &handler, &options, address);
    int fd = dial_from(4, address);
    check_error(strike(fd, "0"), SALLY_EINVAL);
    for (int i = 0; i < 4; i++) {
        check_equal(strike(fd, "4"), 0);
        check_equal(strike(fd, "1"), 1);
        check_equal(sally_bans_check(bans, "127.0.0.4", &ban), 1);
        check_equal(ban.left_s, wanted_s[i]);
        check_reset_from(4, address);
        check_error(sally_bans_remove(bans, "127.0.0.4"), 0);
    }
    check_equal(admission_stats(server).strike_bans, 4);
    serve_handler(&rig, "127.0.0.1:0", &handler, NULL, address);
    int plain = dial(address);
    check_error(strike(plain, "1"), SALLY_ESTATE);
    hang_up(fd);
    hang_up(plain);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

/* A length that is past the limit, which its peer announces in four bytes. */
static void what_is_no_message_becomes_a_ban(const struct setting *setting)
{
    enum { MAX = 3 };
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_bans *bans = bans_new();
    sally_ban ban;
    sally_framing framing = {.kind = SALLY_FRAMING_LENGTH, .message_bytes_max = 64};
    sally_admission admission = {.bans = bans, .strikes = {.max = MAX, .within_s = 3600}};
    sally_server_options options = {.admission = &admission, .conn.framing = &framing};
    rig_run(&rig, &tally, setting);
    sally_handler handler = tally_handler(&tally);
    handler.on_data = NULL;
    sally_server *server = serve_handler(&rig, "127.0.0.1:0", &handler, &options, address);
    for (int i = 0; i < MAX; i++) {
        int fd = dial_from(9, address);
        check_equal(sally_bans_check(bans, "127.0.0.9", NULL), 0);
        check(send(fd, "\xff\xff\xff\xff", 4, MSG_NOSIGNAL) == 4);
        check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
        hang_up(fd);
    }
    check_reset_from(9, address);
    check_equal(sally_bans_check(bans, "127.0.0.9", &ban), 1);
    check(strstr(ban.reason, "malformed") != NULL);
    check_equal(sally_bans_check(bans, "127.0.0.8", NULL), 0);
    check_equal(admission_stats(server).strike_bans, 1);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(newcomers_past_the_limit_get_the_farewell, ON_BOTH),
        BEHAVIOUR(those_who_dont_leave_after_the_farewell_are_bounded, ON_ONE),
        BEHAVIOUR(on_accept_knows_how_many_come_from_there, ON_BOTH),
        BEHAVIOUR(on_accept_may_send_off_with_the_farewell, ON_ONE),
        BEHAVIOUR(a_delayed_one_is_asked_for_again_and_let_in, ON_BOTH),
        BEHAVIOUR(delays_are_bounded_in_number_and_time, ON_ONE),
        BEHAVIOUR(a_delayed_one_counts_for_its_address_and_may_be_banned, ON_BOTH),
        BEHAVIOUR(silence_becomes_a_ban, ON_ONE),
        BEHAVIOUR(what_is_no_message_becomes_a_ban, ON_ONE),
        BEHAVIOUR(coming_too_fast_becomes_a_ban_unless_that_is_off, ON_ONE),
        BEHAVIOUR(a_programs_own_strikes_become_longer_bans, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
