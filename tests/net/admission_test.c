/* Admission with real clients: bans, limits and rates of addresses, a flood. Clients come from any
 * address of 127.0.0.0/8, which all are this machine's. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/support/admission_tools.h"
#include "support/long.h"

/* ---- Bans ---- */

static void a_banned_peer_gets_no_byte_and_no_callback(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_bans *bans = bans_new();
    sally_admission admission = {.bans = bans};
    sally_server_options options = {.admission = &admission};
    sally_ban ban;
    tally_init(&tally);
    tally.greeting = "x";
    serve_with(&rig, &tally, setting, &options, &server, address);
    check(sally_server_bans(server) == bans);
    check_error(sally_bans_add(bans, "127.0.0.16/28", SALLY_FOREVER, "loud"), 0);
    for (unsigned i = 16; i < 20; i++) check_reset_from(i, address);
    check_equal(refused(server, SALLY_REFUSED_BANNED), 4);
    check_equal(atomic_load(&tally.judged), 0); /* on_accept is not asked */
    check_equal(atomic_load(&tally.opened), 0);
    check_equal(sally_bans_check(bans, "127.0.0.17", &ban), 1);
    check_equal(ban.hits, 4);
    int fd = dial_from(32, address);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_BYTES);
    hang_up(fd);
    check_error(sally_bans_remove(bans, "127.0.0.16/28"), 0);
    fd = dial_from(16, address);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_BYTES);
    hang_up(fd);
    sally_bans_destroy(bans); /* the server has a reference of its own */
    check_error(sally_bans_add(sally_server_bans(server), "127.0.0.40", SALLY_FOREVER, NULL), 0);
    check_reset_from(40, address);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_mapped_peer_meets_the_ipv4_ban(const struct setting *setting)
{
    char address[TEXT_MAX], v4[TEXT_MAX], v6[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_bans *bans = bans_new();
    sally_admission admission = {.bans = bans};
    sally_server_options options = {.admission = &admission};
    check_error(sally_bans_add(bans, "::ffff:127.0.0.9", SALLY_FOREVER, NULL), 0);
    check_error(sally_bans_add(bans, "::/0", SALLY_FOREVER, NULL), 0);
    rig_run(&rig, &tally, setting);
    serve_at(&rig, "[::]:0", &tally, &options, address);
    snprintf(v4, sizeof v4, "127.0.0.1:%u", address_port(address));
    snprintf(v6, sizeof v6, "[::1]:%u", address_port(address));
    check_reset_from(9, v4);
    check_served_from(8, v4);
    int fd = dial(v6);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_RESET);
    hang_up(fd);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

static void who_is_in_is_cut_only_when_that_is_asked_for(const struct setting *setting)
{
    enum { EACH = 20 };
    int bad[EACH], good[EACH];
    char address[TEXT_MAX], other_address[TEXT_MAX];
    struct rig rig;
    struct tally tally, other;
    sally_server *server;
    sally_bans *bans = bans_new();
    sally_admission admission = {.bans = bans};
    sally_server_options options = {.admission = &admission};
    tally_init(&tally);
    tally_init(&other);
    serve_with(&rig, &tally, setting, &options, &server, address);
    serve(&rig, &other, &options, other_address);
    for (int i = 0; i < EACH; i++) {
        bad[i] = dial_from(77, address);
        good[i] = dial_from(78, address);
        check(echoes(bad[i]) && echoes(good[i]));
    }
    int elsewhere = dial_from(77, other_address);
    check(echoes(elsewhere));
    check_error(sally_bans_add(bans, "127.0.0.77", SALLY_FOREVER, NULL), 0);
    for (int i = 0; i < EACH; i++) check(echoes(bad[i]));
    check_error(sally_server_cut_banned(server), 0);
    for (int i = 0; i < EACH; i++) check_equal(hear_next(bad[i], LIMIT_S * 1000), HEARD_RESET);
    for (int i = 0; i < EACH; i++) check(echoes(good[i]));
    check(echoes(elsewhere));
    until(tally_reasons(&tally, SALLY_CLOSE_BANNED) == EACH);
    check_equal(sally_server_conns(server), EACH);
    hang_up_all(bad, EACH);
    hang_up_all(good, EACH);
    hang_up(elsewhere);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

/* ---- Limits of an address ---- */

static void so_many_of_an_address_and_one_more_when_one_left(const struct setting *setting)
{
    enum { MAX = 5, ADDRESSES = 6 };
    int fds[ADDRESSES][MAX];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.conns_per_address = MAX}};
    sally_server_options options = {.admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    for (int i = 0; i < MAX; i++)
        for (unsigned n = 0; n < ADDRESSES; n++) {
            fds[n][i] = dial_from(10 + n, address);
            check(echoes(fds[n][i]));
        }
    check_equal(admission_stats(server).addresses, ADDRESSES);
    for (unsigned n = 0; n < ADDRESSES; n++) check_reset_from(10 + n, address);
    check_equal(refused(server, SALLY_REFUSED_ADDRESS_LIMIT), ADDRESSES);
    check_equal(sally_server_conns_from(server, "127.0.0.12"), MAX);
    hang_up(fds[2][0]);
    until(sally_server_conns_from(server, "127.0.0.12:1") == MAX - 1);
    fds[2][0] = dial_from(12, address);
    check(echoes(fds[2][0]));
    check_reset_from(12, address);
    for (unsigned n = 0; n < ADDRESSES; n++) hang_up_all(fds[n], MAX);
    until(admission_stats(server).addresses == 0);
    check_equal(sally_server_conns_from(server, "127.0.0.12"), 0);
    rig_end(&rig);
    check(atomic_load(&tally.peak) <= MAX * ADDRESSES);
    tally_check(&tally);
}

static void a_half_closed_connection_still_counts(const struct setting *setting)
{
    enum { MAX = 3 };
    int fds[MAX];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.conns_per_address = MAX}};
    sally_server_options options = {.admission = &admission, .conn = {.send_buf_bytes = 8192}};
    static char much[1 << 20];
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    /* each has its FIN out and takes nothing of its echo, so the connection can't end */
    for (int i = 0; i < MAX; i++) {
        fds[i] = dial_small(address, 2048);
        check(send(fds[i], much, 200000, MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
        shutdown(fds[i], SHUT_WR);
    }
    until(sally_server_conns_from(server, "127.0.0.1") == MAX);
    check_reset_from(1, address);
    for (int i = 0; i < MAX; i++) hang_up_reset(fds[i]);
    until(sally_server_conns_from(server, "127.0.0.1") == 0);
    check_served_from(1, address);
    rig_end(&rig);
}

struct churn {
    const char *address;
    unsigned last;
    unsigned rounds;
    atomic_uint served;
    atomic_uint reset;
};

static void *churn(void *arg)
{
    struct churn *churn = arg;
    for (unsigned i = 0; i < churn->rounds; i++) {
        int fd = dial_from(churn->last, churn->address);
        bool good = fd >= 0 && (i % 4 == 3 || echoes(fd)); /* some leave without a word */
        atomic_fetch_add(good ? &churn->served : &churn->reset, 1);
        if (fd >= 0) hang_up_reset(fd);
    }
    return NULL;
}

static void fast_cycles_leave_no_count_behind(const struct setting *setting)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    char address[TEXT_MAX];
    struct churn churns[THREADS];
    unsigned rounds = long_form() ? 2500 : 150;
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.conns_per_address = 2}};
    sally_server_options options = {.admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    for (unsigned i = 0; i < THREADS; i++) {
        churns[i] = (struct churn){.address = address, .last = 20 + i / 2, .rounds = rounds};
        check(pthread_create(&threads[i], NULL, churn, &churns[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) check(pthread_join(threads[i], NULL) == 0);
    until(sally_server_conns(server) == 0);
    until(admission_stats(server).addresses == 0);
    /* whatever was lost on the way, both places of both addresses are free */
    for (unsigned last = 20; last < 22; last++) {
        int one = dial_from(last, address), two = dial_from(last, address);
        check(echoes(one) && echoes(two));
        check_reset_from(last, address);
        hang_up(one);
        hang_up(two);
    }
    rig_end(&rig);
    tally_check(&tally);
}

static void limits_change_while_it_runs(const struct setting *setting)
{
    int fds[3];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server, *plain;
    sally_admission admission = {.limits = {.conns_per_address = 1}};
    sally_server_options options = {.admission = &admission};
    sally_admission_limits limits = {.conns_per_address = 3};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    fds[0] = dial_from(1, address);
    check(echoes(fds[0]));
    check_reset_from(1, address);
    check_error(sally_server_set_limits(server, &limits), 0);
    for (int i = 1; i < 3; i++) {
        fds[i] = dial_from(1, address);
        check(echoes(fds[i]));
    }
    check_reset_from(1, address);
    limits.conns_per_address = 2;
    check_error(sally_server_set_limits(server, &limits), 0);
    check(echoes(fds[2])); /* who is in stays */
    hang_up(fds[0]);
    until(sally_server_conns_from(server, "127.0.0.1") == 2);
    check_reset_from(1, address);
    limits.conns_per_address = 0;
    check_error(sally_server_set_limits(server, &limits), 0);
    check_served_from(1, address);
    plain = serve(&rig, &tally, NULL, address);
    check_error(sally_server_set_limits(plain, &limits), SALLY_ESTATE);
    check_error(sally_server_conns_from(plain, "127.0.0.1"), SALLY_ESTATE);
    hang_up_all(fds + 1, 2);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- Rates ---- */

static void who_comes_too_fast_is_reset_and_others_are_not(const struct setting *setting)
{
    enum { BURST = 4 };
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {
        .limits = {.connects_per_s_address = 5, .connects_burst_address = BURST}};
    sally_server_options options = {.admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    unsigned served = 0;
    while (!refused(server, SALLY_REFUSED_ADDRESS_RATE)) served += is_served_from(1, address);
    check(served >= BURST);
    check_served_from(2, address);
    check_equal(server_stats(server).refused, refused(server, SALLY_REFUSED_ADDRESS_RATE));
    until(is_served_from(1, address)); /* when its time has come again */
    rig_end(&rig);
    tally_check(&tally);
}

/* All get in, and the last of them not before the rate allows: a lower bound, which no busy machine
 * breaks. */
static void newcomers_past_the_rate_of_all_wait_for_their_turn(const struct setting *setting)
{
    enum { COUNT = 30, PER_S = 50, BURST = 10 };
    int fds[COUNT];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.connects_per_s = PER_S, .connects_burst = BURST}};
    /* without help of the watchdog */
    sally_server_options options = {.watchdog_ms = 3600 * 1000, .admission = &admission};
    tally_init(&tally);
    tally.greeting = "x";
    serve_with(&rig, &tally, setting, &options, &server, address);
    uint64_t began = tools_now_ms();
    dial_many(address, fds, COUNT);
    for (int i = 0; i < COUNT; i++) check_equal(hear_next(fds[i], LIMIT_S * 1000), HEARD_BYTES);
    check(tools_now_ms() - began + 5 >= (COUNT - BURST) * 1000 / PER_S);
    check_equal(server_stats(server).refused, 0);
    check_equal(tally_events(&tally, SALLY_SERVER_STALLED), 0);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 0);
    hang_up_all(fds, COUNT);
    rig_end(&rig);
    tally_check(&tally);
}

static void newcomers_past_the_rate_of_all_are_reset_where_asked_for(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.connects_per_s = 5}};
    sally_server_options options = {.at_limit = SALLY_AT_LIMIT_RESET, .admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    unsigned served = 0;
    for (unsigned n = 0; !refused(server, SALLY_REFUSED_RATE); n++)
        served += is_served_from(1 + n % 200, address);
    check(served >= 5);
    until(is_served_from(1, address));
    check_equal(refused(server, SALLY_REFUSED_LIMIT), 0);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- A flood, and the options ---- */

static void a_silent_flood_from_few_addresses_leaves_room_for_others(const struct setting *setting)
{
    enum { MAX = 8, FLOOD = 150, PLACES = 40 };
    int fds[FLOOD], kept = 0;
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    sally_admission admission = {.limits = {.conns_per_address = MAX}};
    sally_server_options options = {.conns_max = PLACES, .admission = &admission};
    tally_init(&tally);
    serve_with(&rig, &tally, setting, &options, &server, address);
    for (unsigned i = 0; i < FLOOD; i++) fds[i] = dial_from(1 + i % 3, address);
    for (unsigned n = 10; n < 20; n++) check_served_from(n, address);
    until(refused(server, SALLY_REFUSED_ADDRESS_LIMIT) == FLOOD - 3 * MAX);
    until(sally_server_conns(server) == 3 * MAX);
    for (unsigned i = 0; i < FLOOD; i++) kept += hear_from(fds[i], 0) == HEARD_NOTHING;
    check_equal(kept, 3 * MAX);
    check_equal(tally_events(&tally, SALLY_SERVER_AT_LIMIT), 0);
    hang_up_all(fds, FLOOD);
    until(admission_stats(server).addresses == 0);
    rig_end(&rig);
    tally_check(&tally);
}

static void options_that_make_no_sense_are_refused(const struct setting *setting)
{
    static char much[513];
    sally_bans *bans = bans_new();
    const sally_admission wrong[] = {
        {.farewell = much, .farewell_bytes = sizeof much},
        {.farewell_bytes = 1},
        {.delayed_max = 4097},
        {.strikes = {.max = 1}},
        {.bans = bans, .strikes = {.max = 1, .off = 1u << SALLY_STRIKES}},
    };
    struct rig rig;
    rig_open(&rig, setting);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sally_handler handler = {0};
        sally_server_options options = {.admission = &wrong[i]};
        check_error(sally_listen(rig.engine, "127.0.0.1:0", &handler, &options, NULL),
                    SALLY_EINVAL);
    }
    check_error(sally_server_cut_banned(NULL), SALLY_EINVAL);
    rig_end(&rig);
    sally_bans_destroy(bans);
}

static void a_unix_peer_has_no_address_to_be_judged_by(const struct setting *setting)
{
    char where[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    sally_bans *bans = bans_new();
    sally_admission admission = {.bans = bans,
                                 .limits = {.conns_per_address = 1, .connects_per_s_address = 1},
                                 .strikes = {.max = 1}};
    sally_server_options options = {.admission = &admission};
    check_error(sally_bans_add(bans, "0.0.0.0/0", SALLY_FOREVER, NULL), 0);
    rig_run(&rig, &tally, setting);
    snprintf(where, sizeof where, "unix:@sally-admission-%d", (int)getpid());
    sally_server *server = serve_at(&rig, where, &tally, &options, NULL);
    int one = dial(where), two = dial(where);
    check(echoes(one) && echoes(two));
    check_equal(server_stats(server).refused, 0);
    hang_up(one);
    hang_up(two);
    rig_end(&rig);
    sally_bans_destroy(bans);
    tally_check(&tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(a_banned_peer_gets_no_byte_and_no_callback, ON_BOTH),
        BEHAVIOUR(a_mapped_peer_meets_the_ipv4_ban, ON_ONE),
        BEHAVIOUR(who_is_in_is_cut_only_when_that_is_asked_for, ON_BOTH),
        BEHAVIOUR(so_many_of_an_address_and_one_more_when_one_left, ON_BOTH),
        BEHAVIOUR(a_half_closed_connection_still_counts, ON_ONE),
        BEHAVIOUR(fast_cycles_leave_no_count_behind, ON_BOTH),
        BEHAVIOUR(limits_change_while_it_runs, ON_BOTH),
        BEHAVIOUR(who_comes_too_fast_is_reset_and_others_are_not, ON_ONE),
        BEHAVIOUR(newcomers_past_the_rate_of_all_wait_for_their_turn, ON_BOTH),
        BEHAVIOUR(newcomers_past_the_rate_of_all_are_reset_where_asked_for, ON_ONE),
        BEHAVIOUR(a_silent_flood_from_few_addresses_leaves_room_for_others, ON_BOTH),
        BEHAVIOUR(options_that_make_no_sense_are_refused, ON_ONE),
        BEHAVIOUR(a_unix_peer_has_no_address_to_be_judged_by, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
