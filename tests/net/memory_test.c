/* Memory: what an idle connection costs, that it comes back, and that every allocation may fail:
 * once, or from some point on. The allocator is the test's and counts. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/support/accept_tools.h"

enum {
    SWEEP_MAX = 2000,
    SHORT_MS = 300,
    IDLE = 2000,
    IDLE_BYTES_MAX = 200,
    SLOTS_MORE = 256,           /* of a shard: its table grows by so many */
    BUFFERS_BYTES = 512 * 1024, /* receive buffers that a shard may keep between bursts */
};

/* ---- Failing ---- */

static bool enomem_or_good(int err)
{
    check(err == 0 || err == SALLY_ENOMEM);
    return err == 0;
}

/* A client that may be turned away, or never be answered. */
static void try_echo(const char *address)
{
    int fd = dial_try(address);
    if (fd < 0) return;
    (void)send(fd, "x", 1, MSG_NOSIGNAL);
    (void)hear_next(fd, SHORT_MS);
    hang_up(fd);
}

static void sweep_serve(struct rig *rig, struct tally *tally, struct tally *outgoing)
{
    char address[TEXT_MAX], v6[TEXT_MAX], path[TEXT_MAX];
    sally_handler handler = tally_handler(tally), out = tally_handler(outgoing);
    sally_server *server = NULL;
    snprintf(path, sizeof path, "unix:/tmp/sally-sweep-%d", (int)getpid());
    if (!enomem_or_good(sally_listen(rig->engine, "127.0.0.1:0", &handler, NULL, &server))) return;
    check(sally_server_address(server, 0, address, sizeof address) == address);
    bool by_v6 = enomem_or_good(sally_server_add(server, "[::1]:0"));
    if (by_v6) check(sally_server_address(server, 1, v6, sizeof v6) == v6);
    bool by_path = enomem_or_good(sally_server_add(server, path));
    check(by_path == (access(path + 5, F_OK) == 0));
    rig_start(rig);
    try_echo(address);
    if (by_v6) try_echo(v6);
    unsigned asked = enomem_or_good(sally_connect(rig->engine, address, &out, NULL, NULL));
    if (by_v6) asked += enomem_or_good(sally_connect(rig->engine, v6, &out, NULL, NULL));
    until(atomic_load(&outgoing->opened) + atomic_load(&outgoing->closed_alone) == asked);
    /* with memory again everybody is served */
    atomic_store(&rig->ledger.fail_at, 0);
    check_echo(address);
    if (by_v6) check_echo(v6);
    if (by_path) check_echo(path);
}

/* One run in which the n-th allocation fails, and all after it if so asked; false when it came to
 * its end without. */
static bool sweep_run(const struct setting *setting, uint64_t n, bool and_on)
{
    struct rig rig;
    struct tally tally, outgoing;
    tally_init(&tally);
    tally_init(&outgoing);
    rig_prepare(&rig, setting);
    rig.options.conns_max = 64;
    atomic_store(&rig.ledger.fail_on, and_on);
    atomic_store(&rig.ledger.fail_at, n);
    rig.options.log_level = SALLY_LOG_ERROR;
    if (enomem_or_good(sally_engine_create(&rig.engine, &rig.options)))
        sweep_serve(&rig, &tally, &outgoing);
    else
        check(rig.engine == NULL);
    bool failed = atomic_load(&rig.ledger.failed);
    check_error(sally_engine_destroy(rig.engine), 0);
    rig_check_clean(&rig);
    tally_check(&tally);
    tally_check(&outgoing);
    return failed;
}

static void every_allocation_may_fail(const struct setting *setting)
{
    for (int and_on = 0; and_on < 2; and_on++) {
        uint64_t n = 1;
        while (sweep_run(setting, n, and_on)) check(++n < SWEEP_MAX);
        printf("%llu allocations failed in turn%s\n", (unsigned long long)n - 1,
               and_on ? ", with all after them" : "");
        check(n > 5);
    }
}

/* ---- The cold part ---- */

/* What a handler is told in on_close, on both sides: [0] accepted, [1] outgoing. */
struct ends {
    char peers[2][TEXT_MAX];
    atomic_uint closed;
};

static void note_peer(sally_conn *conn, const sally_close_info *info)
{
    struct ends *ends = sally_conn_user(conn);
    bool outgoing = !sally_conn_server(conn);
    (void)info;
    (void)sally_conn_peer(conn, ends->peers[outgoing], TEXT_MAX);
    atomic_fetch_add(&ends->closed, 1);
}

static void close_now(sally_conn *conn) { (void)sally_conn_close(conn); }

/* An address of IPv6 is not in the connection itself. */
static void a_peer_of_either_family_is_known_to_the_end(const struct setting *setting)
{
    static const char *const listening[] = {"127.0.0.1:0", "[::1]:0"};
    struct rig rig;
    rig_open(&rig, setting);
    rig_start(&rig);
    for (int i = 0; i < 2; i++) {
        char address[TEXT_MAX];
        struct ends ends = {.closed = 0};
        sally_handler handler = {.user = &ends, .on_close = note_peer};
        sally_server *server;
        check_error(sally_listen(rig.engine, listening[i], &handler, NULL, &server), 0);
        check(sally_server_address(server, 0, address, sizeof address) == address);
        handler.on_open = close_now;
        check_error(sally_connect(rig.engine, address, &handler, NULL, NULL), 0);
        until(atomic_load(&ends.closed) == 2);
        check(strcmp(ends.peers[1], address) == 0);
        check(strncmp(ends.peers[0], i ? "[::1]:" : "127.0.0.1:", i ? 6 : 10) == 0);
        /* none can be made: the one that was tried is told */
        check_error(sally_server_close(server), 0);
        sally_server_stats stats;
        until(sally_server_get_stats(server, &stats) == 0 && stats.listeners == 0);
        check_error(sally_connect(rig.engine, address, &handler, NULL, NULL), 0);
        until(atomic_load(&ends.closed) == 3);
        check(strcmp(ends.peers[1], address) == 0);
    }
    rig_end(&rig);
}

/* ---- Idle connections ---- */

static void idle_round(const char *address, struct tally *tally, int *fds)
{
    unsigned before = atomic_load(&tally->opened);
    dial_many(address, fds, IDLE);
    for (int i = 0; i < IDLE; i++) check(echoes(fds[i]));
    check_equal(atomic_load(&tally->opened), before + IDLE);
}

static void idle_end(struct rig *rig, int *fds)
{
    hang_up_all(fds, IDLE);
    until(rig_stats(rig).conns == 0);
}

static void an_idle_connection_costs_little_and_gives_it_back(const struct setting *setting)
{
    static int fds[IDLE];
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_open(&rig, setting);
    serve(&rig, &tally, NULL, address);
    rig_start(&rig);
    check_echo(address); /* what the first connection makes for all */
    until(rig_stats(&rig).conns == 0);
    size_t empty = atomic_load(&rig.ledger.bytes);
    idle_round(address, &tally, fds);
    size_t full = atomic_load(&rig.ledger.bytes);
    check(rig_stats(&rig).memory_bytes <= full); /* all but the engine itself */
    printf("%zu bytes an idle connection\n", (full - empty) / IDLE);
    size_t slots = IDLE + setting->shards * SLOTS_MORE; /* and the other shards' buffers */
    check(full - empty <= slots * IDLE_BYTES_MAX + (setting->shards - 1) * BUFFERS_BYTES);
    idle_end(&rig, fds);
    size_t after = atomic_load(&rig.ledger.bytes);
    /* slots stay with their table, but nothing else does, and the next round takes no more */
    check(after <= full);
    idle_round(address, &tally, fds);
    check(atomic_load(&rig.ledger.bytes) <= full + setting->shards * BUFFERS_BYTES);
    idle_end(&rig, fds);
    check(atomic_load(&rig.ledger.bytes) <= after + setting->shards * BUFFERS_BYTES);
    rig_end(&rig);
    tally_check(&tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(every_allocation_may_fail, ON_BOTH),
        BEHAVIOUR(a_peer_of_either_family_is_known_to_the_end, ON_BOTH),
        BEHAVIOUR(an_idle_connection_costs_little_and_gives_it_back, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
