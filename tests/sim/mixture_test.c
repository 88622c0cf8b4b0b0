/* All that changes how a connection reads, sends and ends, at once, as the seed draws it: limits
 * for bytes, own and shared; reading on demand; proxies; jobs; groups; memory budgets; time limits;
 * corks; half-closes; drains; faults. Each has tests of its own; here it is that together they
 * leave every account as it was, tell each on_drain that is owed, and end every connection.
 * SALLY_SEEDS says how many seeds, SALLY_SEED runs one alone, with SALLY_TRACE=1 told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/conn.h"
#include "net/flow.h"
#include "net/server.h"
#include "sallyport/admission.h"
#include "sallyport/client.h"
#include "sallyport/flow.h"
#include "sallyport/framing.h"
#include "sallyport/group.h"
#include "sallyport/proxy.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sallyport/why.h"
#include "sallyport/work.h"
#include "sim/support/storm.h"

#define SERVER "127.0.0.1:5002"
#define AWAY   "203.0.113.5:80"
#define PROXY  "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
enum {
    PEERS = 12,
    CONNS = 600,
    BANDWIDTHS = 2,
    MOST = 900,
    ROUNDS = 60,
    IDLE_MS = 4000,
    FIXED = 37
};

/* One connection's; lives as long as the world. */
struct one {
    sally_id id;
    bool closed, eof, ending;
    bool owed;      /* a send found no room, and on_drain has not come since */
    bool frames;    /* on_message, on demand */
    uint64_t in;    /* handed out */
    bool paused;    /* by its handler */
    uint32_t wants; /* 0: nothing */
    unsigned notes, jobs;
};

static struct world {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_client *client;
    sally_pool *pool;
    sally_bandwidth *bandwidths[BANDWIDTHS];
    sally_group *group;
    sally_sim_listener *away;
    sally_sim_peer *peers[PEERS];
    sally_sim_peer *far;
    uint64_t wrote[PEERS + 1]; /* the last is the far end's */
    bool calm, framed, fixed, proxied;
    unsigned depth; /* callbacks running */
    unsigned count, opened, closed, notes, jobs, casts;
    sally_framing framing;
    sally_rates rates;
    sally_admission admission;
    sally_proxy_options proxy;
    sally_server_options options;
    sally_conn_options outgoing;
    struct one one[CONNS];
} world;

static uint64_t total_opened, total_jobs, total_notes, total_owed;

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu at %llu ms, line %d: not true: %s",                                \
                     (unsigned long long)sally_sim_seed(world.sim),                                \
                     (unsigned long long)sally_sim_now_ms(world.sim), __LINE__, #condition);       \
    } while (0)

/* What a peer sends: so nothing is lost, doubled or out of order unseen. */
static unsigned char stream_byte(uint64_t at) { return (unsigned char)(at * 41 + at / 253); }

static uint32_t draw(uint32_t n) { return sally_sim_random(world.sim, n); }

/* ---- What a handler does ---- */

static struct one *enter(sally_conn *conn)
{
    struct one *one = sally_conn_user(conn);
    HOLDS(world.depth == 0);
    HOLDS(one->id == sally_conn_id(conn) && !one->closed);
    world.depth++;
    return one;
}

static void leave(void) { world.depth--; }

static void sent(struct one *one, int err)
{
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED ||
          err == SALLY_ELIMIT || err == SALLY_ENOCONN);
    if (err == SALLY_EFULL) one->owed = true;
    total_owed += err == SALLY_EFULL;
}

static void on_note(sally_conn *conn, void *arg, bool went)
{
    struct one *one = arg;
    (void)went;
    HOLDS(world.depth == 0 && !one->closed && one->id == sally_conn_id(conn));
    one->notes--;
    world.notes--;
    total_notes++;
}

static void note(sally_conn *conn, struct one *one)
{
    static const unsigned char bytes[MOST];
    int err = draw(2) ? sally_conn_when_sent(conn, on_note, one)
                      : sally_conn_send_owned(conn, bytes, 1 + draw(MOST), on_note, one);
    if (err != SALLY_EFULL || one->notes < 4096) sent(one, err);
    one->notes += err == 0;
    world.notes += err == 0;
}

static void work(void *arg) { (void)arg; }

static void draw_rates(sally_rates *rates)
{
    *rates = (sally_rates){.shared = NULL};
    if (draw(2)) rates->recv.bytes_s = 200 + draw(20000);
    if (draw(2)) rates->send.bytes_s = 200 + draw(20000);
    if (draw(2)) rates->shared = world.bandwidths[draw(BANDWIDTHS)];
}

static void act(sally_conn *conn, struct one *one);

static void on_job(sally_conn *conn, void *arg, int status)
{
    struct one *one = arg;
    HOLDS(world.depth == 0);
    HOLDS((conn == NULL) == (status == SALLY_ENOCONN));
    one->jobs--;
    world.jobs--;
    total_jobs++;
    if (!conn) return;
    world.depth++;
    act(conn, one);
    leave();
}

static void submit(sally_conn *conn, struct one *one)
{
    int err = sally_work(conn, world.pool, work, on_job, one, NULL, NULL);
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
    one->jobs += err == 0;
    world.jobs += err == 0;
}

static void want(sally_conn *conn, struct one *one)
{
    if (!one->frames) return;
    uint32_t bytes = 1 + draw(draw(4) ? 40 : MOST);
    int err = sally_conn_want(conn, bytes);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED || err == SALLY_ESTATE);
    HOLDS((err == SALLY_ESTATE) == (one->wants && err != SALLY_ECLOSED && err != SALLY_ENOMEM));
    if (err == 0) one->wants = bytes;
    if (err == SALLY_ENOMEM) (void)sally_conn_abort(conn);
}

static void send_here(sally_conn *conn, struct one *one)
{
    static const unsigned char bytes[MOST * 8];
    sent(one, sally_conn_send(conn, bytes, 1 + draw(draw(6) ? MOST : MOST * 8)));
}

static void end_it(sally_conn *conn, struct one *one)
{
    one->ending = true;
    if (draw(3))
        HOLDS(sally_conn_close(conn) == 0);
    else
        HOLDS(sally_conn_abort(conn) == 0);
}

static void pause_it(sally_conn *conn, struct one *one)
{
    if (sally_conn_pause(conn)) return;
    one->paused = draw(3) && sally_conn_timer(conn, 1 + draw(600)) == 0;
    if (!one->paused) HOLDS(sally_conn_resume(conn) == 0);
}

static void limit_it(sally_conn *conn)
{
    sally_rates rates;
    draw_rates(&rates);
    int err = sally_conn_set_rates(conn, draw(4) ? &rates : NULL);
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED);
}

static void gather(sally_conn *conn)
{
    int err = draw(4) ? sally_group_join(world.group, sally_conn_id(conn)) : 0;
    HOLDS(err == 0 || err == SALLY_ENOMEM || err == SALLY_ECLOSED || err == SALLY_ELIMIT);
    if (draw(4) == 0) (void)sally_group_leave(world.group, sally_conn_id(conn));
}

/* One of all the things that a handler may do. */
static void act(sally_conn *conn, struct one *one)
{
    switch (world.calm ? 13 : draw(20)) {
    case 0:
    case 1: send_here(conn, one); break;
    case 2: note(conn, one); break;
    case 3: limit_it(conn); break;
    case 4:
        if (!one->paused) (void)sally_conn_timer(conn, 1 + draw(800));
        break;
    case 5: want(conn, one); break;
    case 6: pause_it(conn, one); break;
    case 7: submit(conn, one); break;
    case 8: gather(conn); break;
    case 9:
        if (sally_conn_cork(conn) == 0) (void)sally_conn_timer(conn, 1 + draw(200));
        break;
    case 10: (void)sally_conn_uncork(conn); break;
    case 11:
        if (draw(6) == 0) (void)sally_conn_shutdown(conn);
        break;
    case 12:
        if (draw(8) == 0) end_it(conn, one);
        break;
    default: want(conn, one); break;
    }
}

static void act_twice(sally_conn *conn, struct one *one)
{
    act(conn, one);
    if (!one->ending && draw(2)) act(conn, one);
}

/* ---- Callbacks ---- */

static void take_in(struct one *one, const unsigned char *bytes, size_t len)
{
    HOLDS(!one->eof && !one->ending && !one->paused);
    for (size_t i = 0; i < len; i++) HOLDS(bytes[i] == stream_byte(one->in + i));
    one->in += len;
}

static void on_open(sally_conn *conn)
{
    HOLDS(world.depth == 0 && world.count < CONNS);
    world.depth++;
    struct one *one = &world.one[world.count++];
    one->id = sally_conn_id(conn);
    one->frames = world.framed && sally_conn_server(conn);
    sally_conn_set_user(conn, one);
    world.opened++;
    want(conn, one);
    if (!one->ending) act_twice(conn, one);
    leave();
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct one *one = enter(conn);
    HOLDS(len > 0 && !one->frames);
    take_in(one, data, len);
    act_twice(conn, one);
    leave();
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    struct one *one = enter(conn);
    HOLDS(len == (one->frames ? one->wants : FIXED));
    take_in(one, data, len);
    one->wants = 0;
    act_twice(conn, one);
    if (!one->ending && draw(8)) want(conn, one);
    leave();
}

static void on_sent(sally_conn *conn, size_t bytes)
{
    struct one *one = enter(conn);
    HOLDS(bytes > 0);
    if (draw(4) == 0 && !one->ending) act(conn, one);
    leave();
}

static void on_drain(sally_conn *conn)
{
    struct one *one = enter(conn);
    one->owed = false;
    if (draw(2) && !one->ending) act(conn, one);
    leave();
}

static void on_eof(sally_conn *conn)
{
    struct one *one = enter(conn);
    HOLDS(!one->eof && !one->paused && !one->ending);
    one->eof = true;
    if (draw(4))
        end_it(conn, one);
    else
        act(conn, one);
    leave();
}

static void on_timer(sally_conn *conn)
{
    struct one *one = enter(conn);
    one->paused = false;
    (void)sally_conn_resume(conn);
    (void)sally_conn_uncork(conn);
    act(conn, one);
    leave();
}

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    (void)which;
    (void)enter(conn);
    bool ends = world.calm || draw(4);
    leave();
    return ends;
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct one *one = enter(conn);
    HOLDS(one->notes == 0);
    HOLDS(one->in + info->bytes_truncated <= info->bytes_in);
    HOLDS(!one->eof || one->in + info->bytes_truncated == info->bytes_in);
    HOLDS(info->bytes_truncated <= MOST);
    /* nothing was queued for long enough to be told */
    HOLDS(!one->owed || info->reason != SALLY_CLOSE_IDLE_TIMEOUT || info->bytes_unsent);
    one->closed = true;
    world.closed++;
    HOLDS(sally_conn_send(conn, "x", 1) == SALLY_ECLOSED);
    HOLDS(sally_conn_set_rates(conn, &world.rates) == SALLY_ECLOSED);
    leave();
}

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    HOLDS(world.depth == 0);
    return world.calm || draw(4) ? SALLY_ALLOW : (sally_verdict)draw(4);
}

/* ---- Making ---- */

static void conn_options(sally_conn_options *conn)
{
    *conn = (sally_conn_options){.first_byte_ms = 2000,
                                 .idle_ms = IDLE_MS,
                                 .write_stall_ms = 3000,
                                 .message_ms = 3000,
                                 .linger_ms = 500 + draw(2000)};
    if (draw(2)) conn->send_bytes_max = 1000 + draw(20000);
    if (draw(2)) conn->at_full = (sally_at_full)draw(3);
    if (draw(3) == 0) conn->memory_max = 2000 + draw(8000);
    if (draw(3) == 0) conn->limits.max_age_ms = 500 + draw(8000);
    if (draw(3) == 0) conn->limits.idle_read_ms = 500 + draw(4000);
    if (draw(4) == 0) conn->limits.min_send_bytes_s = 1 + draw(50);
    if (draw(4) == 0) conn->limits.heartbeat_ms = 300 + draw(1000);
    conn->limits.rate_window_ms = 1000;
    conn->no_auto_pause = draw(4) == 0;
    if (draw(2)) conn->rates = &world.rates;
}

static void server_options(void)
{
    sally_server_options *options = &world.options;
    conn_options(&options->conn);
    world.framed = draw(2);
    world.fixed = !world.framed && draw(2);
    world.framing = (sally_framing){.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = MOST};
    if (world.fixed)
        world.framing = (sally_framing){.kind = SALLY_FRAMING_FIXED, .fixed_bytes = FIXED};
    if (world.framed || world.fixed) options->conn.framing = &world.framing;
    world.proxied = draw(2);
    world.proxy = (sally_proxy_options){
        .trusted = "0.0.0.0/0", .header_ms = 300 + draw(2000), .waiting_max = 1 + draw(8)};
    if (world.proxied) options->proxy = &world.proxy;
    world.admission = (sally_admission){.farewell = "full\n",
                                        .farewell_bytes = 5,
                                        .delay_ms = 100,
                                        .delay_max_ms = 300,
                                        .delayed_max = 3};
    world.admission.limits.conns_per_address = draw(6);
    if (draw(2)) options->admission = &world.admission;
    options->memory_max = draw(2) ? 20000 + draw(100000) : 0;
    options->at_limit = (sally_at_limit)draw(3);
    options->accept_with_data = draw(5) == 0;
}

static sally_handler handler_of(bool server)
{
    sally_handler handler = {.on_open = on_open,
                             .on_timer = on_timer,
                             .on_timeout = on_timeout,
                             .on_drain = on_drain,
                             .on_close = on_close};
    if (server) handler.on_accept = on_accept;
    if (server && (world.framed || world.fixed))
        handler.on_message = on_message;
    else
        handler.on_data = on_data;
    if (draw(2)) handler.on_sent = on_sent;
    if (draw(2)) handler.on_eof = on_eof;
    return handler;
}

static void print_line(void *user, const char *line)
{
    (void)user;
    puts(line);
    fflush(stdout); /* the run may end by a signal */
}

static void make_engine(uint64_t seed)
{
    sally_sim_options sim = {.trace = getenv("SALLY_TRACE") ? print_line : NULL};
    assert_int_equal(sally_sim_create(&world.sim, seed, &sim), 0);
    sally_engine_options options = {.shards = 1 + draw(3), .conns_max = 64};
    if (draw(2)) options.mailbox_letters_max = 6 + draw(60);
    if (draw(2)) options.send_chunk_bytes = 256;
    if (draw(4) == 0) options.memory_max = 2000000 + draw(4000000);
    if (draw(2)) options.recv_buf_bytes = 32 + draw(1000);
    HOLDS(sally_sim_engine(world.sim, &options, &world.engine) == 0);
    HOLDS(sally_pool_create(&world.pool, world.engine, NULL) == 0);
    HOLDS(sally_group_create(&world.group, world.engine) == 0);
    for (unsigned i = 0; i < BANDWIDTHS; i++) {
        sally_rate recv = {.bytes_s = draw(3) ? 100 + draw(30000) : 0};
        sally_rate send = {.bytes_s = draw(3) ? 100 + draw(30000) : 0};
        HOLDS(sally_bandwidth_create(&world.bandwidths[i], world.engine, recv, send) == 0);
    }
    world.away = sally_sim_listen(world.sim, AWAY, 4);
    HOLDS(world.away);
}

static void make(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    make_engine(seed);
    draw_rates(&world.rates);
    server_options();
    sally_handler handler = handler_of(true), outgoing = handler_of(false);
    HOLDS(sally_listen(world.engine, SERVER, &handler, &world.options, &world.server) == 0);
    sally_client_options client = {.delay_min_ms = 50, .delay_max_ms = 400};
    conn_options(&client.connect.conn);
    HOLDS(sally_client_create(world.engine, AWAY, &outgoing, &client, &world.client) == 0);
}

/* ---- Peers ---- */

static void peer_writes(sally_sim_peer *peer, uint64_t *wrote)
{
    static unsigned char bytes[MOST * 4];
    size_t len = 1 + draw(draw(3) ? 50 : sizeof bytes);
    for (size_t i = 0; i < len; i++) bytes[i] = stream_byte(*wrote + i);
    *wrote += sally_sim_peer_write(peer, bytes, len);
}

static void peer_reads(sally_sim_peer *peer)
{
    size_t len;
    (void)sally_sim_peer_received(peer, &len);
    sally_sim_peer_consume(peer, len);
}

static void peer_dials(unsigned i)
{
    world.peers[i] = sally_sim_dial(world.sim, SERVER);
    HOLDS(world.peers[i]);
    world.wrote[i] = 0;
    if (world.proxied && (world.calm || draw(8)))
        (void)sally_sim_peer_write(world.peers[i], PROXY, sizeof PROXY - 1);
}

static void peer_acts(unsigned i)
{
    sally_sim_peer *peer = world.peers[i];
    sally_sim_peer_state state = peer ? sally_sim_peer_get_state(peer) : SALLY_SIM_RESET;
    if (state == SALLY_SIM_RESET || (state == SALLY_SIM_FINISHED && draw(4) == 0)) {
        if (peer) sally_sim_peer_close(peer);
        peer_dials(i);
        return;
    }
    switch (draw(24)) {
    case 0: sally_sim_peer_finish(peer); break;
    case 1: sally_sim_peer_reset(peer); break;
    case 2: sally_sim_peer_stop_reading(peer); break;
    case 3: sally_sim_peer_read(peer); break;
    case 4:
    case 5:
    case 6: break;
    default: peer_writes(peer, &world.wrote[i]); break;
    }
    if (draw(3)) peer_reads(peer);
}

/* The client's. */
static void the_far_end_acts(void)
{
    sally_sim_peer *next = sally_sim_listener_accept(world.away);
    if (next) world.far = next;
    if (next) world.wrote[PEERS] = 0;
    if (!world.far) return;
    peer_reads(world.far);
    if (world.calm) return;
    if (draw(2)) peer_writes(world.far, &world.wrote[PEERS]);
    if (draw(20) == 0) sally_sim_peer_finish(world.far);
}

/* ---- From outside ---- */

static void cast_done(const sally_broadcast_report *report, void *arg)
{
    (void)report;
    (void)arg;
    world.casts--;
}

static void cast(void)
{
    sally_buf *buf = sally_buf_create(world.engine, 1 + draw(MOST));
    if (!buf) return;
    sally_broadcast_options options = {.slow = (sally_slow)draw(2), .done = cast_done};
    int err = draw(2) ? sally_broadcast(world.server, buf, &options)
                      : sally_group_send(world.group, buf, &options);
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM);
    world.casts += err == 0;
    sally_buf_release(buf);
}

static void meddle(void)
{
    static const unsigned char bytes[MOST];
    struct one *one = world.count ? &world.one[draw(world.count)] : NULL;
    sally_rate rate = {.bytes_s = draw(4) ? 100 + draw(30000) : 0};
    switch (draw(10)) {
    case 0: cast(); break;
    case 1: HOLDS(sally_bandwidth_set(world.bandwidths[draw(BANDWIDTHS)], rate, rate) == 0); break;
    case 2:
        if (one && draw(6) == 0) (void)sally_close(world.engine, one->id);
        break;
    case 3: (void)(draw(2) ? sally_server_pause(world.server) : 0); break;
    case 4: (void)sally_server_resume(world.server); break;
    default:
        for (unsigned n = draw(20); one && n; n--)
            sent(one, sally_send(world.engine, one->id, bytes, 1 + draw(MOST)));
    }
}

/* ---- The course ---- */

static void check_charge(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn_alive(conn) || conn->policy->server != world.server) return;
    const struct flow *flow = conn_flow(conn);
    HOLDS(conn_holds(conn) == (flow ? flow->charged : 0));
}

/* The server's account has what each of its connections holds, and no more. */
static void check_charges(void)
{
    if (!world.options.memory_max) return;
    for (unsigned i = 0; i < world.engine->shard_count; i++)
        shard_each_conn(world.engine->shards[i], check_charge, NULL);
}

static void blow(void)
{
    sally_sim_faults faults;
    sally_sim_draw_faults(world.sim, &faults);
    if (draw(2)) sally_sim_set_faults(world.sim, &faults);
    for (unsigned round = 10 + draw(ROUNDS); round; round--) {
        for (unsigned n = draw(4); n; n--) peer_acts(draw(PEERS));
        the_far_end_acts();
        meddle();
        (void)sally_sim_run(world.sim, draw(3) ? draw(40) : draw(600));
        check_charges();
    }
    sally_sim_set_faults(world.sim, NULL);
}

static void check_accounts(void)
{
    sally_server_stats stats;
    HOLDS(sally_server_get_stats(world.server, &stats) == 0);
    HOLDS(stats.conns == 0);
    HOLDS(atomic_load(&world.server->held) == 0);
    HOLDS(sally_server_proxy_waiting(world.server) == 0);
    HOLDS(world.opened == world.closed && world.notes == 0 && world.jobs == 0 && world.casts == 0);
    for (unsigned i = 0; i < BANDWIDTHS; i++) {
        sally_bandwidth_stats now;
        HOLDS(sally_bandwidth_get_stats(world.bandwidths[i], &now) == 0);
        HOLDS(now.conns == 0 && now.recv_waiting == 0 && now.send_waiting == 0);
        HOLDS(now.recv_bytes < 1u << 30 && now.send_bytes < 1u << 30);
    }
}

/* Peers take all that comes and say nothing more: each connection has its limits, and ends. */
static void calm_down(void)
{
    world.calm = true;
    (void)sally_client_stop(world.client);
    HOLDS(sally_server_pause(world.server) == 0);
    for (unsigned i = 0; i < PEERS; i++)
        if (world.peers[i]) sally_sim_peer_read(world.peers[i]);
    for (unsigned round = 0; round < 3000; round++) {
        for (unsigned i = 0; i < PEERS; i++)
            if (world.peers[i]) peer_reads(world.peers[i]);
        the_far_end_acts();
        (void)sally_sim_run(world.sim, 100);
        if (world.opened == world.closed) break;
    }
    (void)sally_sim_run(world.sim, 20000);
    check_accounts();
}

static void end(void)
{
    bool calm = draw(2);
    if (calm) calm_down();
    if (draw(2)) {
        HOLDS(sally_engine_drain(world.engine, draw(3000)) == 0);
        (void)sally_sim_run(world.sim, 10000);
        HOLDS(sally_engine_get_state(world.engine) == SALLY_ENGINE_STOPPED);
        HOLDS(world.opened == world.closed);
    }
    sally_client_destroy(world.client);
    HOLDS(sally_engine_destroy(world.engine) == 0);
    HOLDS(sally_pool_destroy(world.pool) == 0);
    HOLDS(world.opened == world.closed && world.notes == 0 && world.jobs == 0);
    HOLDS(sally_sim_sockets(world.sim) == 0);
    HOLDS(sally_sim_memory_bytes(world.sim) == 0);
    sally_sim_destroy(world.sim);
}

static void together_they_leave_nothing_behind(void **state)
{
    (void)state;
    uint64_t only = storm_only_seed(), seeds = only ? 1 : storm_seeds(400);
    for (uint64_t i = 0; i < seeds; i++) {
        make(only ? only : i + 1);
        blow();
        total_opened += world.opened;
        end();
    }
    printf("seeds 1 to %llu: %llu connections, %llu jobs, %llu notes, %llu sends without room\n",
           (unsigned long long)seeds, (unsigned long long)total_opened,
           (unsigned long long)total_jobs, (unsigned long long)total_notes,
           (unsigned long long)total_owed);
    if (only) return;
    assert_true(total_opened > seeds && total_jobs > seeds / 2);
    assert_true(total_notes > seeds && total_owed > seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(together_they_leave_nothing_behind)};
    return cmocka_run_group_tests_name("sim/mixture", tests, NULL, NULL);
}
