/* Servers that read the PROXY header, with real clients: who the client is, whom the server
 * believes, and whom its rules are for. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/support/proxy_house.h"

/* ---- Who it is ---- */

static void the_client_is_who_the_header_names(const struct setting *setting)
{
    static const char v2[] = HEADER_V2;
    static const char mapped[] = "PROXY TCP6 ::ffff:203.0.113.9 2001:db8::9 1 2\r\n";
    house_prepare();
    house_open(setting);
    int fd = client_of(PROXY, 7);
    check_who(fd, "203.0.113.7:4711", "198.51.100.1:443");
    check_equal(strcmp(house_judged().peer, "203.0.113.7:4711"), 0);
    hang_up(fd);
    fd = client_via(PROXY, "PROXY TCP6 2001:db8::7 2001:db8::9 4711 443\r\n");
    check_who(fd, "[2001:db8::7]:4711", "[2001:db8::9]:443");
    hang_up(fd);
    fd = client_via(PROXY, mapped);
    check_who(fd, "203.0.113.9:1", "[2001:db8::9]:2");
    hang_up(fd);
    fd = dial_from(PROXY, house.address);
    say(fd, v2, sizeof v2 - 1);
    check_who(fd, "192.0.2.7:4711", "198.51.100.9:443");
    say(fd, "why\n", 4);
    char why[64] = "";
    snprintf(why, sizeof why, "; by the proxy %s", own_address(fd));
    char heard[1100] = "";
    for (size_t len = 0; !strchr(heard, '\n'); len++) check(hear(fd, heard + len, 1));
    check(strstr(heard, why) != NULL);
    hang_up(fd);
    house_end();
}

static void who_is_not_named_has_the_sockets_address(const struct setting *setting)
{
    static const char local[] = HEADER_LOCAL;
    house_prepare();
    house.admission.limits.conns_per_address = 1;
    house.admission.strikes.max = 1;
    check_error(sally_bans_add(house.bans, TRUSTED, SALLY_FOREVER, NULL), 0);
    house_open(setting);
    int fds[6];
    for (int i = 0; i < 6; i++) { /* health checks: neither counted nor banned */
        fds[i] = dial_from(PROXY, house.address);
        if (i % 2)
            say(fds[i], local, sizeof local - 1);
        else
            say(fds[i], "PROXY UNKNOWN\r\n", 15);
        check_who(fds[i], own_address(fds[i]), "-");
        say(fds[i], "strike\n", 7);
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d\n", SALLY_ESTATE);
        check_heard(fds[i], wanted);
    }
    check_equal(house_judged().address_conns, 0);
    check_equal(atomic_load(&house.tally.judged), 6);
    check_error(sally_server_cut_banned(house.server), 0);
    for (int i = 0; i < 6; i++) check(echoes(fds[i])); /* the ban is of the proxy's address */
    hang_up_all(fds, 6);
    house_end();
}

static void what_comes_behind_the_header_is_the_clients(const struct setting *setting)
{
    enum { MUCH = 300000 };
    static char much[MUCH], back[MUCH];
    char first[ANSWER_MAX * 2];
    house_prepare();
    house_open(setting);
    /* a second header is data, like everything behind the first */
    snprintf(first, sizeof first, "%sPROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\nx", line_of(7));
    int fd = client_via(PROXY, first);
    check_heard(fd, "PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\nx");
    check_who(fd, "203.0.113.7:4711", "198.51.100.1:443");
    hang_up(fd);
    for (size_t i = 0; i < MUCH; i++) much[i] = (char)(i * 7 + i / 251);
    size_t head = strlen(line_of(8));
    memcpy(much, line_of(8), head);
    fd = dial_from(PROXY, house.address);
    say(fd, much, MUCH);
    check(hear(fd, back, MUCH - head));
    check(memcmp(back, much + head, MUCH - head) == 0);
    hang_up(fd);
    until(atomic_load(&house.tally.closed) == 2);
    /* the header is not the client's: its bytes are not among those it has sent */
    check_equal(rig_stats(&house.rig).bytes_in,
                strlen(first) - strlen(line_of(7)) + 4 + MUCH - head);
    house_end();
}

static void a_header_comes_byte_by_byte(const struct setting *setting)
{
    static const char v2[] = HEADER_V2;
    const char *headers[] = {line_of(7), v2};
    size_t lens[] = {strlen(headers[0]), sizeof v2 - 1};
    int on = 1;
    house_prepare();
    house_open(setting);
    for (unsigned i = 0; i < 2; i++) {
        int fd = dial_from(PROXY, house.address);
        check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
        for (size_t at = 0; at < lens[i]; at++) {
            check_equal(atomic_load(&house.tally.opened), i);
            say(fd, headers[i] + at, 1);
            if (at % 8 == 0) tools_nap_ms(1); /* most of them alone */
        }
        check_who(fd, i ? "192.0.2.7:4711" : "203.0.113.7:4711",
                  i ? "198.51.100.9:443" : "198.51.100.1:443");
        hang_up(fd);
    }
    house_end();
}

/* ---- Whom it believes ---- */

static void an_untrusted_header_is_never_read(const struct setting *setting)
{
    house_prepare();
    house_open(setting);
    for (unsigned i = 0; i < 4; i++) check_reset(client_of(STRANGER, 7));
    check_equal(refused(house.server, SALLY_REFUSED_PROXY_UNTRUSTED), 4);
    check_equal(atomic_load(&house.tally.judged), 0);
    check_equal(atomic_load(&house.tally.opened), 0);
    int fd = client_of(PROXY, 7);
    check(echoes(fd));
    hang_up(fd);
    house_end();
}

static void an_untrusted_peer_is_served_plainly_where_asked_for(const struct setting *setting)
{
    house_prepare();
    house.proxy.untrusted = SALLY_UNTRUSTED_PLAIN;
    house_open(setting);
    check_error(sally_bans_add(house.bans, "203.0.113.7", SALLY_FOREVER, NULL), 0);
    int fd = client_of(STRANGER, 7); /* it can't make itself another, nor be taken for one */
    check_heard(fd, line_of(7));
    check_who(fd, own_address(fd), "-");
    hang_up(fd);
    check_reset(client_of(PROXY, 7));
    check_equal(refused(house.server, SALLY_REFUSED_BANNED), 1);
    check_error(sally_bans_add(house.bans, "127.0.0.77", SALLY_FOREVER, NULL), 0);
    check_reset_from(STRANGER, house.address);
    check_equal(refused(house.server, SALLY_REFUSED_BANNED), 2);
    check_equal(refused(house.server, SALLY_REFUSED_PROXY_UNTRUSTED), 0);
    house_end();
}

static void a_trusted_peer_has_to_begin_with_a_header(const struct setting *setting)
{
    static const char *const bad[] = {"GET / HTTP/1.0\r\n\r\n", "who\n",
                                      "PROXY TCP4 203.0.113.7 198.51.100.1 4711 99999\r\n",
                                      "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\n"};
    house_prepare();
    house.proxy.untrusted = SALLY_UNTRUSTED_PLAIN;
    house_open(setting);
    for (unsigned i = 0; i < 4; i++) check_reset(client_via(PROXY, bad[i]));
    check_equal(refused(house.server, SALLY_REFUSED_PROXY_MALFORMED), 4);
    int fd = client_via(PROXY, "PROXY TCP4 203.0.113.7 198.51.100.1 47"); /* and goes */
    hang_up(fd);
    until(refused(house.server, SALLY_REFUSED_PROXY_MALFORMED) == 5);
    check_equal(atomic_load(&house.tally.judged), 0);
    check_equal(atomic_load(&house.tally.opened), 0);
    house_end();
}

static void who_looks_and_goes_is_no_offence(const struct setting *setting)
{
    enum { LOOKS = 10 };
    house_prepare();
    house_open(setting);
    for (unsigned i = 0; i < LOOKS; i++) {
        int fd = dial_from(PROXY, house.address);
        until(server_stats(house.server).accepted == i + 1);
        if (i % 2)
            hang_up_reset(fd);
        else
            hang_up(fd);
    }
    until(server_stats(house.server).silent == LOOKS);
    check_equal(server_stats(house.server).refused, 0);
    check_equal(atomic_load(&house.tally.opened), 0);
    until(server_stats(house.server).conns == 0);
    house_end();
}

static void peers_of_a_unix_socket_are_trusted_where_asked_for(const struct setting *setting)
{
    char where[TEXT_MAX];
    snprintf(where, sizeof where, "unix:@sally-proxy-%d", (int)getpid());
    for (unsigned trusted = 0; trusted < 2; trusted++) {
        house_prepare();
        house.where = where;
        if (trusted) house.proxy.trusted = "unix";
        house_open(setting);
        int fd = dial(where);
        (void)!send(fd, line_of(7), strlen(line_of(7)), MSG_NOSIGNAL);
        if (trusted) {
            say(fd, "who\n", 4);
            check_heard(fd, "203.0.113.7:4711 unix: 198.51.100.1:443\n");
        } else {
            check(hear_next(fd, LIMIT_S * 1000) != HEARD_BYTES);
            check_equal(refused(house.server, SALLY_REFUSED_PROXY_UNTRUSTED), 1);
        }
        hang_up(fd);
        house_end();
    }
}

/* ---- Rules of addresses ---- */

static void a_ban_is_of_the_client_and_not_of_its_proxy(const struct setting *setting)
{
    house_prepare();
    house_open(setting);
    int bad = client_of(PROXY, 7), good = client_of(PROXY, 8);
    check(echoes(bad) && echoes(good));
    check_error(sally_bans_add(house.bans, "203.0.113.7", SALLY_FOREVER, NULL), 0);
    check_error(sally_bans_add(house.bans, "127.0.0.5", SALLY_FOREVER, NULL), 0);
    check_reset(client_of(PROXY, 7));
    check_reset(client_of(OTHER_PROXY, 7)); /* whichever way it comes */
    check_equal(refused(house.server, SALLY_REFUSED_BANNED), 2);
    int later = client_of(PROXY, 9);
    check(echoes(later));
    check_error(sally_server_cut_banned(house.server), 0);
    check_reset(bad);
    check(echoes(good) && echoes(later));
    hang_up(good);
    hang_up(later);
    house_end();
}

static void clients_are_counted_and_not_their_proxy(const struct setting *setting)
{
    enum { MAX = 3, CLIENTS = 8 };
    int fds[CLIENTS][MAX];
    house_prepare();
    house.admission.limits.conns_per_address = MAX;
    house_open(setting);
    for (unsigned i = 0; i < MAX; i++)
        for (unsigned n = 0; n < CLIENTS; n++) {
            fds[n][i] = client_of(PROXY, n);
            check(echoes(fds[n][i]));
        }
    check_equal(house_judged().address_conns, MAX - 1);
    check_equal(house_judged().server_conns, CLIENTS * MAX - 1);
    check_reset(client_of(PROXY, 3));
    check_reset(client_of(OTHER_PROXY, 3));
    check_equal(refused(house.server, SALLY_REFUSED_ADDRESS_LIMIT), 2);
    check_equal(admission_stats(house.server).addresses, CLIENTS);
    check_equal(sally_server_conns_from(house.server, "203.0.113.3"), MAX);
    check_equal(sally_server_conns_from(house.server, "127.0.0.5"), 0);
    hang_up(fds[3][0]);
    until(sally_server_conns_from(house.server, "203.0.113.3") == MAX - 1);
    fds[3][0] = client_of(OTHER_PROXY, 3);
    check(echoes(fds[3][0]));
    for (unsigned n = 0; n < CLIENTS; n++) hang_up_all(fds[n], MAX);
    until(admission_stats(house.server).addresses == 0);
    house_end();
}

static void strikes_are_the_clients(const struct setting *setting)
{
    house_prepare();
    house.admission.strikes.max = 2;
    house_open(setting);
    int bad = client_of(PROXY, 7), good = client_of(PROXY, 8);
    say(good, "strike\n", 7);
    check_heard(good, "0\n");
    say(bad, "strike\n", 7);
    check_heard(bad, "0\n");
    say(bad, "strike\n", 7);
    check_heard(bad, "1\n");
    check_equal(sally_bans_check(house.bans, "203.0.113.7", NULL), 1);
    check_equal(sally_bans_check(house.bans, "127.0.0.5", NULL), 0);
    check_equal(sally_bans_count(house.bans), 1);
    check_reset(client_of(PROXY, 7));
    int more = client_of(PROXY, 8);
    check(echoes(more) && echoes(good));
    hang_up(bad);
    hang_up(good);
    hang_up(more);
    house_end();
}

static void silent_ones_strike_nobodys_proxy(const struct setting *setting)
{
    house_prepare();
    house.admission.strikes.max = 1;
    house.proxy.header_ms = 500;
    house.options.conn.first_byte_ms = 500;
    house_open(setting);
    check_reset(dial_from(PROXY, house.address)); /* no header */
    int fd = client_of(PROXY, 7);                 /* nothing behind it */
    check(hear_next(fd, LIMIT_S * 1000) != HEARD_BYTES);
    hang_up(fd);
    until(atomic_load(&house.tally.closed) == 1);
    fd = client_via(PROXY, "PROXY UNKNOWN\r\n"); /* nor does one that nobody is behind */
    check(hear_next(fd, LIMIT_S * 1000) != HEARD_BYTES);
    hang_up(fd);
    until(atomic_load(&house.tally.closed) == 2);
    check_equal(sally_bans_check(house.bans, "203.0.113.7", NULL), 1);
    check_equal(sally_bans_check(house.bans, "127.0.0.5", NULL), 0);
    check_equal(sally_bans_count(house.bans), 1);
    house_end();
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(the_client_is_who_the_header_names, ON_BOTH),
        BEHAVIOUR(who_is_not_named_has_the_sockets_address, ON_BOTH),
        BEHAVIOUR(what_comes_behind_the_header_is_the_clients, ON_BOTH),
        BEHAVIOUR(a_header_comes_byte_by_byte, ON_ONE),
        BEHAVIOUR(an_untrusted_header_is_never_read, ON_BOTH),
        BEHAVIOUR(an_untrusted_peer_is_served_plainly_where_asked_for, ON_ONE),
        BEHAVIOUR(a_trusted_peer_has_to_begin_with_a_header, ON_BOTH),
        BEHAVIOUR(who_looks_and_goes_is_no_offence, ON_BOTH),
        BEHAVIOUR(peers_of_a_unix_socket_are_trusted_where_asked_for, ON_ONE),
        BEHAVIOUR(a_ban_is_of_the_client_and_not_of_its_proxy, ON_BOTH),
        BEHAVIOUR(clients_are_counted_and_not_their_proxy, ON_BOTH),
        BEHAVIOUR(strikes_are_the_clients, ON_BOTH),
        BEHAVIOUR(silent_ones_strike_nobodys_proxy, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
