/* Outgoing connections until they are open, or are not: every kind of address, refusals, names,
 * time limits, cancelling. The resolver is the test's own for names that end in ".test"; a black
 * hole is a listening socket with a full backlog. The engine's threads and the test's. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/support/accept_tools.h"
#include "support/own_ip.h"

enum { REFUSED = SANITIZED ? 2000 : 10000, AT_ONCE = 200, MANY = 1000, FILLERS = 8, OURS = 0x5a11 };

/* ---- A resolver ---- */

static atomic_bool slow_goes_on;
static atomic_uint slow_asked;

/* Its own memory for each answer: several threads ask at once. */
struct answer {
    struct addrinfo infos[2]; /* first: what freeaddrinfo is given */
    struct sockaddr_storage at[2];
};

static int answer(const char *first, const char *second, struct addrinfo **out)
{
    const char *texts[] = {first, second};
    struct answer *found = calloc(1, sizeof *found);
    if (!found) return EAI_MEMORY;
    for (int i = 0; i < 2; i++) {
        char text[TEXT_MAX];
        struct sockaddr_in *in = (void *)&found->at[i];
        bool v6 = strchr(texts[i], ':') != NULL;
        snprintf(text, sizeof text, v6 ? "[%s]:0" : "%s:0", texts[i]);
        socklen_t len = address_of(text, &found->at[i]);
        if (!v6) inet_pton(AF_INET, texts[i], &in->sin_addr);
        found->infos[i] = (struct addrinfo){.ai_family = found->at[i].ss_family,
                                            .ai_flags = OURS,
                                            .ai_socktype = SOCK_STREAM,
                                            .ai_addrlen = len,
                                            .ai_addr = (struct sockaddr *)&found->at[i],
                                            .ai_next = i == 0 ? &found->infos[1] : NULL};
    }
    *out = found->infos;
    return 0;
}

/* In place of the C library's for the whole program. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (strcmp(name, "two.test") == 0) return answer("::1", "127.0.0.1", out);
    if (strcmp(name, "hole.test") == 0) return answer(own_ip(), "127.0.0.1", out);
    if (strcmp(name, "slow.test") == 0) {
        atomic_fetch_add(&slow_asked, 1);
        while (!atomic_load(&slow_goes_on)) tools_nap_ms(1);
        return answer("127.0.0.1", "127.0.0.1", out);
    }
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    return real(name, service, hints, out);
}

void freeaddrinfo(struct addrinfo *list)
{
    void (*real)(struct addrinfo *);
    if (list->ai_flags == OURS) {
        free(list);
        return;
    }
    void *symbol = dlsym(RTLD_NEXT, "freeaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    real(list);
}

/* ---- The other side ---- */

struct hole {
    int fds[FILLERS + 1];
    char address[TEXT_MAX];
};

static int listener_at(const char *address, const char *ip, int backlog)
{
    struct sockaddr_storage at;
    socklen_t len = address_of(address, &at);
    if (ip) check(inet_pton(AF_INET, ip, &((struct sockaddr_in *)(void *)&at)->sin_addr) == 1);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    struct timeval wait = {.tv_sec = LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (at.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    check(bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, backlog) == 0);
    return fd;
}

/* Takes what fits into its backlog and then answers nobody. */
static void hole_open(struct hole *hole, const char *like)
{
    struct sockaddr_storage at;
    socklen_t len = address_of(like, &at);
    struct sockaddr_in *in = (void *)&at;
    check(inet_pton(AF_INET, own_ip(), &in->sin_addr) == 1);
    snprintf(hole->address, sizeof hole->address, "%s:%u", own_ip(), ntohs(in->sin_port));
    memset(hole->fds, -1, sizeof hole->fds);
    hole->fds[0] = listener_at(like, own_ip(), 0);
    for (int i = 1; i <= FILLERS; i++) {
        hole->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        check(connect(hole->fds[i], (struct sockaddr *)&at, len) == 0 || errno == EINPROGRESS);
        struct pollfd poll_fd = {.fd = hole->fds[i], .events = POLLOUT};
        if (poll(&poll_fd, 1, 200) == 0) return;
    }
    check(false && "its backlog fills");
}

static void hole_close(struct hole *hole) { hang_up_all(hole->fds, FILLERS + 1); }

static sally_id begin(struct rig *rig, const char *to, struct tally *tally,
                      const sally_connect_options *options)
{
    sally_handler handler = tally_handler(tally);
    sally_id id = 0;
    check_error(sally_connect(rig->engine, to, &handler, options, &id), 0);
    check(id != 0);
    return id;
}

static void check_failed(const struct tally *tally, sally_close_reason reason, int error)
{
    check_equal(atomic_load(&tally->opened), 0);
    check_equal(atomic_load(&tally->closed_alone), 1);
    check_equal(atomic_load(&tally->last_reason), reason);
    check_error(atomic_load(&tally->last_error), error);
}

static void fails_with(const struct setting *setting, const char *to,
                       const sally_connect_options *options, sally_close_reason reason, int error)
{
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_id id = begin(&rig, to, &tally, options);
    until(atomic_load(&tally.closed_alone) == 1);
    until(sally_abort(rig.engine, id) == SALLY_ENOCONN);
    until(rig_stats(&rig).conns == 0);
    check_equal(rig_stats(&rig).connect_failures, 1);
    check_equal(rig_stats(&rig).connected, 0);
    rig_end(&rig);
    check_failed(&tally, reason, error);
}

/* ---- What opens ---- */

static void serves_through(struct rig *rig, int door, const char *to)
{
    char text[4] = {0};
    struct tally tally;
    tally_init(&tally);
    tally.greeting = "hi";
    begin(rig, to, &tally, NULL);
    int peer = let_in(door);
    check(peer >= 0);
    check(hear(peer, text, 2) && strcmp(text, "hi") == 0);
    check(echoes(peer));
    hang_up(peer);
    until(atomic_load(&tally.closed) == 1);
    check_equal(atomic_load(&tally.last_reason), SALLY_CLOSE_PEER_CLOSED);
    tally_check(&tally);
}

static void every_kind_of_address_connects(const struct setting *setting)
{
    char address[TEXT_MAX], text[TEXT_MAX];
    struct rig rig;
    int descriptors = descriptors_open();
    rig_open(&rig, setting);
    rig_start(&rig);
    int door = doorway(16, address);
    serves_through(&rig, door, address);
    snprintf(text, sizeof text, "localhost:%u", address_port(address));
    serves_through(&rig, door, text);
    snprintf(text, sizeof text, "[::1]:%u", address_port(address));
    int door6 = listener_at(text, NULL, 16);
    serves_through(&rig, door6, text);
    snprintf(text, sizeof text, "unix:/tmp/sally-connect-%d", (int)getpid());
    int door_unix = listener_at(text, NULL, 16);
    serves_through(&rig, door_unix, text);
    unlink(text + 5);
    snprintf(text, sizeof text, "unix:@sally-connect-%d", (int)getpid());
    int door_abstract = listener_at(text, NULL, 16);
    serves_through(&rig, door_abstract, text);
    check_equal(rig_stats(&rig).connected, 5);
    hang_up(door);
    hang_up(door6);
    hang_up(door_unix);
    hang_up(door_abstract);
    rig_end(&rig);
    check_equal(descriptors_open(), descriptors);
}

static void a_connection_asked_for_before_the_start_opens_after_it(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_open(&rig, setting);
    int door = doorway(16, address);
    begin(&rig, address, &tally, NULL);
    rig_start(&rig);
    int peer = let_in(door);
    check(peer >= 0 && echoes(peer));
    hang_up(peer);
    hang_up(door);
    until(tally_live(&tally) == 0);
    rig_end(&rig);
    tally_check(&tally);
}

static void a_thousand_go_out_without_a_server(const struct setting *setting)
{
    static int peers[MANY];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int door = doorway(MANY, address);
    for (int i = 0; i < MANY; i++) begin(&rig, address, &tally, NULL);
    for (int i = 0; i < MANY; i++) check((peers[i] = let_in(door)) >= 0);
    for (int i = 0; i < MANY; i++) say(peers[i], "x", 1);
    for (int i = 0; i < MANY; i++) check(hear_next(peers[i], LIMIT_S * 1000) == HEARD_BYTES);
    check_equal(rig_stats(&rig).connected, MANY);
    check_equal(rig_stats(&rig).conns, MANY);
    hang_up_all(peers, MANY);
    hang_up(door);
    until(rig_stats(&rig).conns == 0);
    rig_end(&rig);
    check_equal(atomic_load(&tally.opened), MANY);
    tally_check(&tally);
}

static void the_peer_sees_the_address_it_was_bound_to(const struct setting *setting)
{
    static const sally_connect_options options = {.from = "127.0.0.3:0"};
    char address[TEXT_MAX], ip[INET_ADDRSTRLEN];
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int door = doorway(16, address);
    begin(&rig, address, &tally, &options);
    int peer = let_in(door);
    check(getpeername(peer, (struct sockaddr *)&in, &len) == 0);
    check(strcmp(inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip), "127.0.0.3") == 0);
    check(echoes(peer));
    hang_up(peer);
    hang_up(door);
    until(tally_live(&tally) == 0);
    rig_end(&rig);
    tally_check(&tally);
}

/* ---- What does not ---- */

static void a_refusal_is_told_by_on_close_alone(const struct setting *setting)
{
    char address[TEXT_MAX];
    int nobody = nobody_home(address);
    fails_with(setting, address, NULL, SALLY_CLOSE_CONNECT_FAILED, SALLY_EREFUSED);
    hang_up(nobody);
}

static void a_name_nobody_knows_fails(const struct setting *setting)
{
    fails_with(setting, "nobody.invalid:80", NULL, SALLY_CLOSE_CONNECT_FAILED, SALLY_ENONAME);
}

static void a_local_address_that_is_not_ours_fails(const struct setting *setting)
{
    static const sally_connect_options options = {.from = "192.0.2.1:0"};
    fails_with(setting, "127.0.0.1:80", &options, SALLY_CLOSE_CONNECT_FAILED, SALLY_EADDRNOTAVAIL);
}

static void a_connection_to_itself_is_refused(const struct setting *setting)
{
    char address[TEXT_MAX];
    sally_connect_options options = {.from = address};
    int fd = nobody_home(address);
    hang_up(fd);
    fails_with(setting, address, &options, SALLY_CLOSE_CONNECT_FAILED, SALLY_EADDRNOTAVAIL);
}

static void refusals_leave_no_descriptor(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    int nobody = nobody_home(address);
    rig_open(&rig, setting);
    rig_start(&rig);
    int descriptors = descriptors_open();
    for (unsigned done = 0; done < REFUSED; done += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) begin(&rig, address, &tally, NULL);
        until(atomic_load(&tally.closed_alone) == done + AT_ONCE);
    }
    until(rig_stats(&rig).conns == 0);
    until(descriptors_open() <= descriptors);
    check_equal(rig_stats(&rig).connect_failures, REFUSED);
    check_equal(rig_stats(&rig).closed, REFUSED);
    rig_end(&rig);
    hang_up(nobody);
    check_equal(tally_reasons(&tally, SALLY_CLOSE_CONNECT_FAILED), REFUSED);
}

static void a_black_hole_ends_at_the_time_limit(const struct setting *setting)
{
    static const sally_connect_options options = {.connect_ms = 300};
    char address[TEXT_MAX];
    struct hole hole;
    int door = doorway(1, address);
    hole_open(&hole, address);
    uint64_t began = tools_now_ms();
    fails_with(setting, hole.address, &options, SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT);
    check(tools_now_ms() - began >= 299);
    hole_close(&hole);
    hang_up(door);
}

static void a_slow_resolver_ends_at_the_time_limit(const struct setting *setting)
{
    static const sally_connect_options options = {.connect_ms = 200};
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    begin(&rig, "slow.test:80", &tally, &options);
    until(atomic_load(&tally.closed_alone) == 1);
    check_failed(&tally, SALLY_CLOSE_CONNECT_TIMEOUT, SALLY_ETIMEDOUT);
    check_equal(atomic_load(&slow_asked), 1);
    atomic_store(&slow_goes_on, true);
    rig_end(&rig);
}

/* ---- Names with several addresses ---- */

static void a_name_falls_back_to_its_second_address(const struct setting *setting)
{
    char address[TEXT_MAX], text[TEXT_MAX];
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    int door = doorway(16, address); /* on 127.0.0.1 only: [::1] refuses */
    snprintf(text, sizeof text, "two.test:%u", address_port(address));
    serves_through(&rig, door, text);
    check_equal(rig_stats(&rig).connect_failures, 0);
    hang_up(door);
    rig_end(&rig);
}

static void a_name_takes_its_first_address_when_it_lives(const struct setting *setting)
{
    char address[TEXT_MAX], text[TEXT_MAX];
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    int door = doorway(16, address);
    snprintf(text, sizeof text, "[::1]:%u", address_port(address));
    int door6 = listener_at(text, NULL, 16);
    snprintf(text, sizeof text, "two.test:%u", address_port(address));
    serves_through(&rig, door6, text);
    check_equal(hear_next(door, 0), HEARD_NOTHING);
    hang_up(door6);
    hang_up(door);
    rig_end(&rig);
}

static void a_name_whose_addresses_all_refuse_fails_once(const struct setting *setting)
{
    char address[TEXT_MAX], text[TEXT_MAX];
    int nobody = nobody_home(address);
    snprintf(text, sizeof text, "two.test:%u", address_port(address));
    fails_with(setting, text, NULL, SALLY_CLOSE_CONNECT_FAILED, SALLY_EREFUSED);
    hang_up(nobody);
}

static void an_attempt_that_takes_too_long_gives_way_to_the_next(const struct setting *setting)
{
    static const sally_connect_options options = {.attempt_ms = 150};
    char address[TEXT_MAX], text[TEXT_MAX];
    struct hole hole;
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    int door = doorway(16, address);
    hole_open(&hole, address);
    snprintf(text, sizeof text, "hole.test:%u", address_port(address));
    uint64_t began = tools_now_ms();
    begin(&rig, text, &tally, &options);
    int peer = let_in(door);
    check(peer >= 0 && echoes(peer));
    check(tools_now_ms() - began >= 149);
    hang_up(peer);
    hang_up(door);
    hole_close(&hole);
    until(tally_live(&tally) == 0);
    rig_end(&rig);
    check_equal(atomic_load(&tally.opened), 1);
    tally_check(&tally);
}

/* ---- Cancelling ---- */

static void cancelled(const struct setting *setting, const char *to,
                      int (*cancel)(sally_engine *engine, sally_id id), sally_close_reason reason,
                      bool at_once)
{
    struct rig rig;
    struct tally tally;
    rig_run(&rig, &tally, setting);
    sally_id id = begin(&rig, to, &tally, NULL);
    if (!at_once) tools_nap_ms(50); /* so that the attempt has begun */
    check_error(cancel(rig.engine, id), 0);
    until(atomic_load(&tally.closed_alone) == 1);
    until(cancel(rig.engine, id) == SALLY_ENOCONN);
    until(rig_stats(&rig).conns == 0);
    atomic_store(&slow_goes_on, true);
    rig_end(&rig);
    check_equal(atomic_load(&tally.opened), 0);
    check_equal(atomic_load(&tally.last_reason), reason);
    atomic_store(&slow_goes_on, false);
}

static void a_connection_can_be_cancelled_before_it_opens(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct hole hole;
    int door = doorway(1, address);
    hole_open(&hole, address);
    for (int at_once = 0; at_once < 2; at_once++) {
        cancelled(setting, hole.address, sally_abort, SALLY_CLOSE_ABORTED, at_once);
        cancelled(setting, hole.address, sally_close, SALLY_CLOSE_LOCAL, at_once);
        cancelled(setting, "slow.test:80", sally_abort, SALLY_CLOSE_ABORTED, at_once);
        cancelled(setting, "slow.test:80", sally_close, SALLY_CLOSE_LOCAL, at_once);
    }
    hole_close(&hole);
    hang_up(door);
}

static void an_engine_ends_while_connections_are_being_made(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct hole hole;
    struct rig rig;
    struct tally tally;
    int door = doorway(1, address);
    hole_open(&hole, address);
    rig_run(&rig, &tally, setting);
    for (int i = 0; i < 20; i++) begin(&rig, hole.address, &tally, NULL);
    for (int i = 0; i < 20; i++) begin(&rig, "slow.test:80", &tally, NULL);
    until(atomic_load(&slow_asked) > 0);
    check_error(sally_engine_stop(rig.engine), 0);
    check_error(sally_engine_wait(rig.engine), 0);
    check_equal(atomic_load(&tally.closed_alone), 40);
    check_equal(tally_reasons(&tally, SALLY_CLOSE_SHUTDOWN), 40);
    atomic_store(&slow_goes_on, true);
    rig_end(&rig);
    check_equal(atomic_load(&tally.closed_alone), 40);
    hole_close(&hole);
    hang_up(door);
}

/* ---- Calls ---- */

static void what_cant_be_a_target_is_refused_at_once(const struct setting *setting)
{
    static const char *const targets[] = {"",     "*:80",  "fd:3",   "127.0.0.1",
                                          "host", "unix:", "[::1]:x"};
    static const sally_connect_options wrong_from[] = {
        {.from = "nonsense"}, {.from = "unix:/x"}, {.from = "*:0"}, {.from = "localhost:0"}};
    static const sally_connect_options wrong = {
        .conn = {.send_bytes_max = 10, .send_high_bytes = 11}};
    struct rig rig;
    sally_handler handler = {0};
    sally_id id = 7;
    rig_open(&rig, setting);
    size_t bytes = atomic_load(&rig.ledger.bytes);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        check_error(sally_connect(rig.engine, targets[i], &handler, NULL, &id), SALLY_EADDRESS);
    for (int i = 0; i < 4; i++)
        check_error(sally_connect(rig.engine, "127.0.0.1:80", &handler, &wrong_from[i], &id),
                    SALLY_EADDRESS);
    check_error(sally_connect(rig.engine, "127.0.0.1:80", &handler, &wrong, &id), SALLY_EINVAL);
    check_error(sally_connect(NULL, "127.0.0.1:80", &handler, NULL, &id), SALLY_EINVAL);
    check_error(sally_connect(rig.engine, NULL, &handler, NULL, &id), SALLY_EINVAL);
    check_error(sally_connect(rig.engine, "127.0.0.1:80", NULL, NULL, &id), SALLY_EINVAL);
    check_equal(id, 7);
    check_equal(atomic_load(&rig.ledger.bytes), bytes);
    check_equal(rig_stats(&rig).conns, 0);
    check_error(sally_engine_stop(rig.engine), 0);
    check_error(sally_connect(rig.engine, "127.0.0.1:80", &handler, NULL, &id), SALLY_ESTATE);
    rig_end(&rig);
}

static void the_engines_limit_holds_for_outgoing_ones_too(const struct setting *setting)
{
    enum { LIMIT = 10 };
    char address[TEXT_MAX];
    struct hole hole;
    struct rig rig;
    struct tally tally;
    sally_id ids[LIMIT], more;
    int door = doorway(1, address);
    hole_open(&hole, address);
    tally_init(&tally);
    sally_handler handler = tally_handler(&tally);
    rig_prepare(&rig, setting);
    rig.options.conns_max = LIMIT;
    rig_create(&rig);
    rig_start(&rig);
    for (int i = 0; i < LIMIT; i++) ids[i] = begin(&rig, hole.address, &tally, NULL);
    check_error(sally_connect(rig.engine, hole.address, &handler, NULL, &more), SALLY_ELIMIT);
    check_error(sally_abort(rig.engine, ids[3]), 0);
    until(atomic_load(&tally.closed_alone) == 1);
    until(rig_stats(&rig).conns == LIMIT - 1);
    check_error(sally_connect(rig.engine, hole.address, &handler, NULL, &more), 0);
    rig_end(&rig);
    check_equal(atomic_load(&tally.closed_alone), LIMIT + 1);
    hole_close(&hole);
    hang_up(door);
}

static void count_post(sally_conn *conn, void *arg)
{
    (void)conn;
    atomic_fetch_add((atomic_uint *)arg, 1);
}

/* A send that was taken before the connection is open arrives, or the connection fails: a stream
 * with a hole at its beginning would be worse than either. */
static void the_id_is_good_at_once(const struct setting *setting)
{
    char address[TEXT_MAX], text[8] = {0};
    struct rig rig;
    struct tally tally;
    atomic_uint posted = 0;
    rig_run(&rig, &tally, setting);
    int door = doorway(16, address);
    sally_id id = begin(&rig, address, &tally, NULL);
    int sent = sally_send(rig.engine, id, "first", 5);
    check_error(sally_post(rig.engine, id, count_post, &posted), 0);
    int peer = let_in(door);
    check(peer >= 0);
    until(atomic_load(&posted) == 1);
    until(atomic_load(&tally.opened) == 1);
    check_error(sally_send(rig.engine, id, "later", 5), 0);
    if (sent == 0) check(hear(peer, text, 5) && strcmp(text, "first") == 0);
    check(hear(peer, text, 5) && strcmp(text, "later") == 0);
    hang_up(peer);
    hang_up(door);
    until(tally_live(&tally) == 0);
    rig_end(&rig);
    check_equal(atomic_load(&posted), 1);
    tally_check(&tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(every_kind_of_address_connects, ON_BOTH),
        BEHAVIOUR(a_connection_asked_for_before_the_start_opens_after_it, ON_BOTH),
        BEHAVIOUR(a_thousand_go_out_without_a_server, ON_BOTH),
        BEHAVIOUR(the_peer_sees_the_address_it_was_bound_to, ON_ONE),
        BEHAVIOUR(a_refusal_is_told_by_on_close_alone, ON_BOTH),
        BEHAVIOUR(a_name_nobody_knows_fails, ON_BOTH),
        BEHAVIOUR(a_local_address_that_is_not_ours_fails, ON_ONE),
        BEHAVIOUR(a_connection_to_itself_is_refused, ON_ONE),
        BEHAVIOUR(refusals_leave_no_descriptor, ON_BOTH),
        BEHAVIOUR(a_black_hole_ends_at_the_time_limit, ON_ONE),
        BEHAVIOUR(a_slow_resolver_ends_at_the_time_limit, ON_ONE),
        BEHAVIOUR(a_name_falls_back_to_its_second_address, ON_ONE),
        BEHAVIOUR(a_name_takes_its_first_address_when_it_lives, ON_ONE),
        BEHAVIOUR(a_name_whose_addresses_all_refuse_fails_once, ON_ONE),
        BEHAVIOUR(an_attempt_that_takes_too_long_gives_way_to_the_next, ON_ONE),
        BEHAVIOUR(a_connection_can_be_cancelled_before_it_opens, ON_BOTH),
        BEHAVIOUR(an_engine_ends_while_connections_are_being_made, ON_BOTH),
        BEHAVIOUR(what_cant_be_a_target_is_refused_at_once, ON_ONE),
        BEHAVIOUR(the_engines_limit_holds_for_outgoing_ones_too, ON_ONE),
        BEHAVIOUR(the_id_is_good_at_once, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
