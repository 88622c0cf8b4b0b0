/* An engine opens no socket that nobody asked for (L5, R19). Each descriptor of the process that
 * is a socket is asked what it is: what listens, what is connected, and anything else, which is one
 * too many. (From outside, by the tables of /proc/net: tests/scenario/own_sockets_scenario.py.) */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/support/accept_tools.h"
#include "sallyport/admission.h"
#include "sallyport/client.h"
#include "sallyport/sim.h"
#include "sallyport/timer.h"
#include "sallyport/work.h"
#include "support/folder.h"

enum { OWN_MAX = 64, ADDRESSES_MAX = 4 };

/* ---- What the system says ---- */

struct own {
    enum { OWN_OTHER, OWN_LISTENS, OWN_CONNECTED } kind;
    char what[TEXT_MAX * 2]; /* its address, as sally_server_address has it */
};

struct look {
    struct own own[OWN_MAX];
    unsigned count;
};

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    check(getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0);
    return value;
}

static void own_name(int fd, char *text, size_t size)
{
    struct sockaddr_storage at = {0};
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&at;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&at;
    const struct sockaddr_un *name = (const struct sockaddr_un *)&at;
    char ip[INET6_ADDRSTRLEN];
    socklen_t len = sizeof at;
    check(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    if (at.ss_family == AF_INET)
        snprintf(text, size, "%s:%u", inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip),
                 ntohs(v4->sin_port));
    else if (at.ss_family == AF_INET6)
        snprintf(text, size, "[%s]:%u", inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip),
                 ntohs(v6->sin6_port));
    else if (at.ss_family == AF_UNIX && len > sizeof at.ss_family)
        snprintf(text, size, name->sun_path[0] ? "unix:%s" : "unix:@%s",
                 name->sun_path + !name->sun_path[0]);
    else
        snprintf(text, size, "a socket of family %d without a name", at.ss_family);
}

/* Servers and connections here are streams; anything else is "other", also one that is bound or
 * half-way between. */
static struct own own_ask(int fd)
{
    struct own own = {OWN_OTHER, ""};
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    bool stream = option_of(fd, SO_TYPE) == SOCK_STREAM && option_of(fd, SO_DOMAIN) != AF_UNIX;
    if (option_of(fd, SO_ACCEPTCONN))
        own.kind = OWN_LISTENS;
    else if (stream && getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        own.kind = OWN_CONNECTED;
    own_name(fd, own.what, sizeof own.what);
    return own;
}

/* Shards close and open descriptors meanwhile; a copy stays what it is. */
static void look_around(struct look *look)
{
    DIR *folder = folder_open("/proc/self/fd");
    look->count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char target[TEXT_MAX] = "";
        int fd = (int)strtol(entry->d_name, NULL, 10), copy;
        if (readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1) < 0) continue;
        if (strncmp(target, "socket:", 7) != 0 || (copy = dup(fd)) < 0) continue;
        struct stat stat;
        check(fstat(copy, &stat) == 0); /* the number may be something else by now */
        check(look->count < OWN_MAX);
        if (S_ISSOCK(stat.st_mode)) look->own[look->count++] = own_ask(copy);
        close(copy);
    }
    closedir(folder);
}

/* ---- What it should say ---- */

/* Exactly these addresses listen, so many are connected, and there is nothing else. */
struct wanted {
    char listen[ADDRESSES_MAX][TEXT_MAX];
    unsigned listens, connected;
};

static bool is_wanted(const struct look *look, const struct wanted *wanted)
{
    unsigned connected = 0, found = 0;
    for (unsigned i = 0; i < look->count; i++) {
        const struct own *own = &look->own[i];
        connected += own->kind == OWN_CONNECTED;
        if (own->kind == OWN_OTHER) return false;
        for (unsigned n = 0; own->kind == OWN_LISTENS && n < wanted->listens; n++)
            found += strcmp(own->what, wanted->listen[n]) == 0;
    }
    return found == wanted->listens && connected == wanted->connected &&
           look->count == found + connected;
}

/* It may take a moment until what was closed has gone, and what comes has come. */
static void has_exactly(const struct wanted *wanted, const char *when)
{
    static struct look look;
    uint64_t end_ms = tools_now_ms() + LIMIT_S * 1000;
    for (;;) {
        look_around(&look);
        if (is_wanted(&look, wanted)) return;
        if (tools_now_ms() > end_ms) break;
        tools_nap_ms(5);
    }
    static const char *const kinds[] = {"other", "listens", "connected"};
    fprintf(stderr, "%s: wanted %u that listen, %u connected; there are\n", when, wanted->listens,
            wanted->connected);
    for (unsigned i = 0; i < look.count; i++)
        fprintf(stderr, "  %s: %s\n", kinds[look.own[i].kind], look.own[i].what);
    check_at(false, when, __FILE__, __LINE__);
}

static void add_listening(struct wanted *wanted, sally_server *server)
{
    char address[TEXT_MAX];
    for (unsigned n = 0; sally_server_address(server, n, address, sizeof address); n++) {
        check(wanted->listens < ADDRESSES_MAX);
        snprintf(wanted->listen[wanted->listens++], TEXT_MAX, "%s", address);
    }
}

/* ---- The look itself ---- */

static bool sees(const char *what, int kind)
{
    static struct look look;
    look_around(&look);
    for (unsigned i = 0; i < look.count; i++)
        if (strcmp(look.own[i].what, what) == 0) return (int)look.own[i].kind == kind;
    return false;
}

static void bind_anywhere(int fd, char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    check(bind(fd, (struct sockaddr *)&at, len) == 0);
    check(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    snprintf(address, TEXT_MAX, "127.0.0.1:%u", ntohs(at.sin_port));
}

/* Else the tests below would hold for any engine. */
static void what_is_open_is_seen(const struct setting *setting)
{
    (void)setting;
    char address[TEXT_MAX];
    const struct wanted nothing = {0};
    has_exactly(&nothing, "before");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(sees("0.0.0.0:0", OWN_OTHER));
    bind_anywhere(fd, address);
    check(listen(fd, 1) == 0 && sees(address, OWN_LISTENS));
    close(fd);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    bind_anywhere(fd, address);
    check(sees(address, OWN_OTHER));
    close(fd);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "sallyport-own-%d", getpid());
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    check(bind(fd, (struct sockaddr *)&name, bytes) == 0 && listen(fd, 1) == 0);
    snprintf(address, sizeof address, "unix:@%s", name.sun_path + 1);
    check(sees(address, OWN_LISTENS));
    close(fd);
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 &&
          sees("a socket of family 1 without a name", OWN_OTHER));
    close(pair[0]);
    close(pair[1]);
    has_exactly(&nothing, "after");
}

/* ---- Engines ---- */

static atomic_uint ticks, jobs;

static void on_tick(const sally_timer_tick *tick, void *user)
{
    (void)tick;
    (void)user;
    atomic_fetch_add(&ticks, 1);
}

static void work(void *arg) { (void)arg; }

static void worked(sally_conn *conn, void *arg, int status)
{
    (void)conn;
    (void)arg;
    check_error(status, 0);
    atomic_fetch_add(&jobs, 1);
}

/* Timers, jobs and another thread's letters are no reason for a socket. */
static void work_a_little(struct rig *rig, sally_pool *pool, sally_id conn)
{
    sally_timer_options timer = {.on_tick = on_tick};
    unsigned ticks_before = atomic_load(&ticks), jobs_before = atomic_load(&jobs);
    for (int i = 0; i < 10; i++) {
        check_error(sally_timer_start(rig->engine, &timer, NULL), 0);
        check_error(sally_pool_run(pool, work, worked, NULL, NULL, NULL), 0);
        if (conn) check_error(sally_send(rig->engine, conn, "?", 1), 0);
    }
    until(atomic_load(&ticks) == ticks_before + 10 && atomic_load(&jobs) == jobs_before + 10);
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0) close(fd);
    return has;
}

static sally_server *serve_everywhere(struct rig *rig, struct tally *tally, char *address)
{
    char name[TEXT_MAX];
    sally_server *server = serve(rig, tally, NULL, address);
    snprintf(name, sizeof name, "unix:@sallyport-own-%d", getpid());
    check_error(sally_server_add(server, name), 0);
    if (has_ipv6()) check_error(sally_server_add(server, "[::1]:0"), 0);
    return server;
}

/* Both ends of every connection are here. */
struct party {
    sally_id by_id;
    sally_client *client;
};

static void party_begin(struct party *party, struct rig *rig, struct tally *tally,
                        const char *address)
{
    char by_name[TEXT_MAX];
    const sally_handler handler = tally_handler(tally);
    tally->mute = true; /* two that echo each other would never end */
    snprintf(by_name, sizeof by_name, "localhost:%u", address_port(address));
    check_error(sally_connect(rig->engine, by_name, &handler, NULL, &party->by_id), 0);
    check_error(sally_client_create(rig->engine, address, &handler, NULL, &party->client), 0);
    until(tally_live(tally) == 4);
}

static void party_end(struct party *party, struct rig *rig, struct tally *tally)
{
    check_error(sally_client_destroy(party->client), 0);
    check_error(sally_abort(rig->engine, party->by_id), 0);
    until(tally_live(tally) == 0);
}

static void an_engine_has_the_sockets_that_were_asked_for(const struct setting *setting)
{
    const struct wanted nothing = {0}, shut = {.connected = 4};
    struct wanted wanted = {0};
    struct rig rig;
    struct tally tally;
    struct party party;
    char address[TEXT_MAX];
    sally_pool *pool;
    rig_prepare(&rig, setting);
    rig_create(&rig);
    has_exactly(&nothing, "an engine");
    rig_start(&rig);
    check_error(sally_pool_create(&pool, rig.engine, &(sally_pool_options){.threads = 2}), 0);
    work_a_little(&rig, pool, 0);
    has_exactly(&nothing, "an engine that runs, with jobs and timers");

    tally_init(&tally);
    sally_server *server = serve_everywhere(&rig, &tally, address);
    add_listening(&wanted, server);
    check_equal(wanted.listens, has_ipv6() ? 3 : 2);
    has_exactly(&wanted, "a server with every kind of address");

    party_begin(&party, &rig, &tally, address);
    work_a_little(&rig, pool, party.by_id);
    wanted.connected = 4;
    has_exactly(&wanted, "two that connect");
    check_error(sally_server_pause(server), 0);
    has_exactly(&wanted, "a pause");
    check_error(sally_server_pause_closed(server), 0);
    has_exactly(&shut, "a pause with the door shut");
    check_error(sally_server_resume(server), 0);
    has_exactly(&wanted, "open again");
    party_end(&party, &rig, &tally);
    wanted.connected = 0;
    has_exactly(&wanted, "alone again");

    check_error(sally_server_close(server), 0);
    has_exactly(&nothing, "a closed server");
    check_error(sally_pool_destroy(pool), 0);
    rig_end(&rig);
    has_exactly(&nothing, "the end");
}

/* Made, and ended without ever having run. */
static void a_server_that_never_ran_leaves_no_socket(const struct setting *setting)
{
    struct rig rig;
    struct tally tally;
    struct wanted wanted = {0}, nothing = {0};
    char address[TEXT_MAX];
    rig_prepare(&rig, setting);
    rig_create(&rig);
    tally_init(&tally);
    add_listening(&wanted, serve_everywhere(&rig, &tally, address));
    has_exactly(&wanted, "a server before it runs");
    check_error(sally_listen(rig.engine, address, &(sally_handler){0}, NULL, NULL),
                SALLY_EADDRINUSE);
    check_error(sally_listen(rig.engine, "192.0.2.1:1", &(sally_handler){0}, NULL, NULL),
                SALLY_EADDRNOTAVAIL);
    has_exactly(&wanted, "and two that could not listen");
    rig_end(&rig);
    has_exactly(&nothing, "the end");
}

static void a_simulated_engine_has_none_at_all(const struct setting *setting)
{
    (void)setting;
    const struct wanted nothing = {0};
    sally_sim *sim;
    sally_engine *engine;
    sally_engine_options options = {.shards = 2};
    check_error(sally_sim_create(&sim, 1, NULL), 0);
    check_error(sally_sim_engine(sim, &options, &engine), 0);
    check_error(sally_listen(engine, "127.0.0.1:5002", &(sally_handler){0}, NULL, NULL), 0);
    sally_sim_peer *peer = sally_sim_dial(sim, "127.0.0.1:5002");
    check(sally_sim_run(sim, 1000) >= 0);
    check_equal(sally_sim_peer_get_state(peer), SALLY_SIM_OPEN);
    check_equal(sally_sim_sockets(sim), 2);
    has_exactly(&nothing, "a simulated server with a connection");
    check_error(sally_engine_destroy(engine), 0);
    sally_sim_destroy(sim);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(what_is_open_is_seen, ANYWHERE),
        BEHAVIOUR(an_engine_has_the_sockets_that_were_asked_for, ON_BOTH),
        BEHAVIOUR(a_server_that_never_ran_leaves_no_socket, ON_ONE),
        BEHAVIOUR(a_simulated_engine_has_none_at_all, ANYWHERE),
    };
    return BEHAVIOURS_RUN(list);
}
