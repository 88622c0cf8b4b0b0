/* All that changes how a connection reads, sends and ends, at once, as the seed draws it: limits
 * for bytes, own and shared; reading on demand; proxies, before us and on the way out; jobs;
 * groups; memory budgets; time limits; corks; half-closes; drains; filters; WebSockets; faults.
 * Each has tests of its own; here it is that together they leave every account as it was, keep
 * nothing back that nobody will bring, tell each on_drain that is owed, and end every connection.
 * SALLY_SEEDS says how many seeds (a tenth of them run here), SALLY_SEED runs one alone, with
 * SALLY_TRACE=1 told. */
#include <limits.h>
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
#include "sim/support/mixture.h"
#include "sim/support/storm.h"
#include "support/filter_lazy.h"

#define SERVER "127.0.0.1:5002"
#define AWAY   "203.0.113.5:80"
#define TARGET "target.example:80"
#define AGREED "HTTP/1.1 200 Fine\r\n\r\n"
#define PROXY  "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"

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
    /* a WebSocket's pings keep it from being idle */
    if (conn->limits.heartbeat_ms) conn->limits.heartbeat_dead_ms = IDLE_MS + draw(4000);
    conn->limits.rate_window_ms = 1000;
    conn->no_auto_pause = draw(4) == 0;
    if (draw(2)) conn->rates = &mixture.rates;
    if (conn->at_full == SALLY_FULL_DROP_OLDEST) return; /* would tear what filters make */
    conn->filters = mixture.filters;
    conn->filter_count = draw(2) ? 1 + draw(SALLY_FILTERS_MAX) : 0;
    for (uint32_t i = 0; i < conn->filter_count; i++)
        mixture.filters[i] = filter_lazy(draw(4) == 0);
}

static void server_options(void)
{
    sally_server_options *options = &mixture.options;
    conn_options(&options->conn);
    mixture.ws = draw(3) == 0;
    mixture.framed = !mixture.ws && draw(2);
    mixture.fixed = !mixture.ws && !mixture.framed && draw(2);
    mixture.framing = (sally_framing){.kind = SALLY_FRAMING_ON_DEMAND, .message_bytes_max = MOST};
    if (mixture.fixed)
        mixture.framing = (sally_framing){.kind = SALLY_FRAMING_FIXED, .fixed_bytes = FIXED};
    if (mixture.framed || mixture.fixed) options->conn.framing = &mixture.framing;
    mixture.proxied = draw(2);
    mixture.proxy = (sally_proxy_options){
        .trusted = "0.0.0.0/0", .header_ms = 300 + draw(2000), .waiting_max = 1 + draw(8)};
    if (mixture.proxied) options->proxy = &mixture.proxy;
    mixture.admission = (sally_admission){.farewell = "full\n",
                                          .farewell_bytes = 5,
                                          .delay_ms = 100,
                                          .delay_max_ms = 300,
                                          .delayed_max = 3};
    mixture.admission.limits.conns_per_address = draw(6);
    if (draw(2)) options->admission = &mixture.admission;
    options->memory_max = draw(2) ? 20000 + draw(100000) : 0;
    options->at_limit = (sally_at_limit)draw(3);
    options->accept_with_data = draw(5) == 0;
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
    assert_int_equal(sally_sim_create(&mixture.sim, seed, &sim), 0);
    sally_engine_options options = {.shards = 1 + draw(3), .conns_max = 64};
    if (draw(2)) options.mailbox_letters_max = 6 + draw(60);
    if (draw(2)) options.send_chunk_bytes = 256;
    if (draw(4) == 0) options.memory_max = 2000000 + draw(4000000);
    mixture.starves = options.memory_max;
    if (draw(2)) options.recv_buf_bytes = 32 + draw(1000);
    HOLDS(sally_sim_engine(mixture.sim, &options, &mixture.engine) == 0);
    HOLDS(sally_pool_create(&mixture.pool, mixture.engine, NULL) == 0);
    HOLDS(sally_group_create(&mixture.group, mixture.engine) == 0);
    for (unsigned i = 0; i < BANDWIDTHS; i++) {
        sally_rate recv = {.bytes_s = draw(3) ? 100 + draw(30000) : 0};
        sally_rate send = {.bytes_s = draw(3) ? 100 + draw(30000) : 0};
        HOLDS(sally_bandwidth_create(&mixture.bandwidths[i], mixture.engine, recv, send) == 0);
    }
    mixture.away = sally_sim_listen(mixture.sim, AWAY, 4);
    HOLDS(mixture.away);
}

/* The handler and the framing of one side. */
static sally_handler handler_of(bool server, sally_conn_options *conn, sally_framing *framing)
{
    if (server ? !mixture.ws : !mixture.away_ws) return mixture_handler(server);
    sally_ws *ws = NULL;
    sally_ws_handler handler = mixture_ws_handler(server);
    sally_ws_options options = {.client = !server, .message_bytes_max = 20000};
    HOLDS(sally_ws_create(mixture.engine, &handler, &options, &ws) == 0);
    *framing = sally_ws_framing(ws);
    conn->framing = framing;
    return sally_ws_base(ws);
}

static void make_client(void)
{
    static sally_framing framing;
    sally_client_options client = {.delay_min_ms = 50, .delay_max_ms = 400};
    sally_connect_options *connect = &client.connect;
    conn_options(&connect->conn);
    mixture.away_ws = draw(3) == 0;
    sally_handler outgoing = handler_of(false, &connect->conn, &framing);
    mixture.routed = draw(2);
    mixture.upstream = (sally_upstream){.kind = SALLY_UPSTREAM_HTTP, .address = AWAY};
    if (mixture.routed) connect->upstream = &mixture.upstream;
    if (draw(2)) connect->connect_ms = 500 + draw(2000);
    HOLDS(sally_client_create(mixture.engine, mixture.routed ? TARGET : AWAY, &outgoing, &client,
                              &mixture.client) == 0);
}

static void make(uint64_t seed)
{
    memset(&mixture, 0, sizeof mixture);
    make_engine(seed);
    mixture_draw_rates(&mixture.rates);
    server_options();
    sally_handler handler = handler_of(true, &mixture.options.conn, &mixture.framing);
    HOLDS(sally_listen(mixture.engine, SERVER, &handler, &mixture.options, &mixture.server) == 0);
    make_client();
}

/* ---- Peers ---- */

static void peer_reads(sally_sim_peer *peer)
{
    size_t len;
    (void)sally_sim_peer_received(peer, &len);
    sally_sim_peer_consume(peer, len);
}

static void peer_dials(unsigned i)
{
    mixture.peers[i] = sally_sim_dial(mixture.sim, SERVER);
    HOLDS(mixture.peers[i]);
    speech_begin(&mixture.speech[i], mixture.ws, true);
    if (mixture.proxied && (mixture.calm || draw(8)))
        speech_words(&mixture.speech[i], mixture.peers[i], PROXY, sizeof PROXY - 1);
    if (mixture.ws) speech_ask(&mixture.speech[i], mixture.peers[i]);
}

static void peer_acts(unsigned i)
{
    sally_sim_peer *peer = mixture.peers[i];
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
    default: speech_go_on(&mixture.speech[i], peer); break;
    }
    if (draw(3)) peer_reads(peer);
}

/* How many heads the client's other side has to hear before the stream: of a proxy, of a WebSocket.
 */
static unsigned far_heads(void) { return (unsigned)mixture.routed + mixture.away_ws; }

static void the_far_end_answers(struct speech *speech)
{
    size_t len, head;
    const void *bytes = sally_sim_peer_received(mixture.far, &len);
    if (!(head = sally_http_head_bytes(bytes, len))) return;
    bool of_proxy = mixture.routed && mixture.far_heads == 0;
    bool good = draw(12) && (of_proxy || speech_answer(speech, mixture.far, bytes, head));
    if (good && of_proxy) speech_words(speech, mixture.far, AGREED, sizeof AGREED - 1);
    if (!good) (void)sally_sim_peer_write(mixture.far, "HTTP/1.1 403 No\r\n\r\n", 19);
    if (!good || draw(20) == 0) sally_sim_peer_finish(mixture.far);
    sally_sim_peer_consume(mixture.far, head);
    mixture.far_heads = good ? mixture.far_heads + 1 : UINT_MAX;
}

/* The client's. */
static void the_far_end_acts(void)
{
    struct speech *speech = &mixture.speech[PEERS];
    sally_sim_peer *next = sally_sim_listener_accept(mixture.away);
    if (next) {
        mixture.far = next;
        mixture.far_heads = 0;
        speech_begin(speech, mixture.away_ws, false);
    }
    if (!mixture.far) return;
    if (mixture.far_heads < far_heads()) the_far_end_answers(speech);
    if (mixture.far_heads < far_heads()) return;
    if (!mixture.calm && draw(2) && mixture.far_heads == far_heads())
        speech_go_on(speech, mixture.far);
    peer_reads(mixture.far);
    if (!mixture.calm && draw(20) == 0) sally_sim_peer_finish(mixture.far);
}

/* ---- From outside ---- */

static void cast_done(const sally_broadcast_report *report, void *arg)
{
    (void)report;
    (void)arg;
    mixture.casts--;
}

static void cast(void)
{
    sally_buf *buf = sally_buf_create(mixture.engine, 1 + draw(MOST));
    if (!buf) return;
    sally_broadcast_options options = {.slow = (sally_slow)draw(2), .done = cast_done};
    int err = draw(2) ? sally_broadcast(mixture.server, buf, &options)
                      : sally_group_send(mixture.group, buf, &options);
    HOLDS(err == 0 || err == SALLY_EFULL || err == SALLY_ENOMEM);
    mixture.casts += err == 0;
    sally_buf_release(buf);
}

static void meddle(void)
{
    static const unsigned char bytes[MOST];
    struct one *one = mixture.count ? &mixture.one[draw(mixture.count)] : NULL;
    sally_rate rate = {.bytes_s = draw(4) ? 100 + draw(30000) : 0};
    switch (draw(10)) {
    case 0: cast(); break;
    case 1:
        HOLDS(sally_bandwidth_set(mixture.bandwidths[draw(BANDWIDTHS)], rate, rate) == 0);
        break;
    case 2:
        if (one && draw(6) == 0) (void)sally_close(mixture.engine, one->id);
        break;
    case 3: (void)(draw(2) ? sally_server_pause(mixture.server) : 0); break;
    case 4: (void)sally_server_resume(mixture.server); break;
    default:
        for (unsigned n = draw(20); one && n; n--)
            mixture_sent(one, sally_send(mixture.engine, one->id, bytes, 1 + draw(MOST)));
    }
}

/* ---- The course ---- */

/* What came and was not handed out has somebody who brings it, and nothing is read behind it; who
 * reads nothing waits for something. */
static void check_reading(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn_alive(conn)) return;
    bool held = conn_has(conn, CONN_HELD | CONN_EOF_HELD), stops = conn_has(conn, CONN_STOPS);
    bool reads = conn_in_flight(conn, PORT_RECV) && !conn_has(conn, CONN_RECV_STOPPING);
    HOLDS(!conn_has(conn, CONN_HELD) || (conn_takes_in(conn) && conn->extra->held));
    HOLDS(!conn_has(conn, CONN_AUTO_PAUSED) || conn->out.bytes);
    if (conn_has(conn, CONN_DIRTY)) return;
    HOLDS(!held || !conn_takes_in(conn) || stops);
    HOLDS(!reads || !held || conn->state != CONN_OPEN);
    HOLDS(!reads || !stops || conn->state != CONN_OPEN);
    HOLDS(conn_in_flight(conn, PORT_RECV) || stops || conn_has(conn, CONN_EOF | CONN_EOF_HELD));
}

static void check_charge(sally_conn *conn, void *arg)
{
    (void)arg;
    if (!conn_alive(conn) || conn->policy->server != mixture.server) return;
    const struct flow *flow = conn_flow(conn);
    uint32_t charged = flow ? flow->charged : 0;
    /* 0: there was no memory for that account, until the connection does something more */
    if (charged || !mixture.starves) HOLDS(conn_holds(conn) == charged);
}

/* The server's account has what each of its connections holds, and no more. */
static void check_conns(void)
{
    for (unsigned i = 0; i < mixture.engine->shard_count; i++) {
        struct shard *shard = mixture.engine->shards[i];
        if (mixture.options.memory_max) shard_each_conn(shard, check_charge, NULL);
        shard_each_conn(shard, check_reading, NULL);
    }
}

static void blow(void)
{
    sally_sim_faults faults;
    sally_sim_draw_faults(mixture.sim, &faults);
    if (draw(2)) {
        sally_sim_set_faults(mixture.sim, &faults);
        mixture.starves = mixture.starves || faults.no_memory;
    }
    for (unsigned round = 10 + draw(ROUNDS); round; round--) {
        for (unsigned n = draw(4); n; n--) peer_acts(draw(PEERS));
        the_far_end_acts();
        meddle();
        (void)sally_sim_run(mixture.sim, draw(3) ? draw(40) : draw(600));
        check_conns();
    }
    sally_sim_set_faults(mixture.sim, NULL);
}

/* Each newcomer has opened or was refused. Not known are those that wait still, those that the
 * port closed itself, and WebSockets that were never one. */
static void check_accepted(const sally_server_stats *stats)
{
    const sally_server_options *options = &mixture.options;
    uint64_t known = stats->refused + stats->dead_on_arrival + stats->silent + mixture.opened_here;
    bool others = options->at_limit == SALLY_AT_LIMIT_WAIT || options->accept_with_data;
    HOLDS(mixture.ws || others || stats->accepted == known);
}

static void check_accounts(void)
{
    sally_server_stats stats;
    HOLDS(sally_server_get_stats(mixture.server, &stats) == 0);
    HOLDS(stats.conns == 0);
    check_accepted(&stats);
    HOLDS(atomic_load(&mixture.server->held) == 0);
    HOLDS(sally_server_proxy_waiting(mixture.server) == 0);
    HOLDS(mixture.opened == mixture.closed && mixture.notes == 0 && mixture.jobs == 0 &&
          mixture.casts == 0);
    for (unsigned i = 0; i < BANDWIDTHS; i++) {
        sally_bandwidth_stats now;
        HOLDS(sally_bandwidth_get_stats(mixture.bandwidths[i], &now) == 0);
        HOLDS(now.conns == 0 && now.recv_waiting == 0 && now.send_waiting == 0);
        HOLDS(now.recv_bytes < 1u << 30 && now.send_bytes < 1u << 30);
    }
}

/* Peers take all that comes and say nothing more: each connection has its limits, and ends. */
static void calm_down(void)
{
    mixture.calm = true;
    (void)sally_client_stop(mixture.client);
    HOLDS(sally_server_pause(mixture.server) == 0);
    for (unsigned i = 0; i < PEERS; i++)
        if (mixture.peers[i]) sally_sim_peer_read(mixture.peers[i]);
    for (unsigned round = 0; round < 3000; round++) {
        for (unsigned i = 0; i < PEERS; i++)
            if (mixture.peers[i]) peer_reads(mixture.peers[i]);
        the_far_end_acts();
        (void)sally_sim_run(mixture.sim, 100);
        if (mixture.opened == mixture.closed) break;
    }
    (void)sally_sim_run(mixture.sim, 20000);
    check_accounts();
}

static void end(void)
{
    bool calm = draw(2);
    if (calm) calm_down();
    if (draw(2)) {
        HOLDS(sally_engine_drain(mixture.engine, draw(3000)) == 0);
        (void)sally_sim_run(mixture.sim, 10000);
        HOLDS(sally_engine_get_state(mixture.engine) == SALLY_ENGINE_STOPPED);
        HOLDS(mixture.opened == mixture.closed);
    }
    sally_client_destroy(mixture.client);
    HOLDS(sally_engine_destroy(mixture.engine) == 0);
    HOLDS(sally_pool_destroy(mixture.pool) == 0);
    HOLDS(mixture.opened == mixture.closed && mixture.notes == 0 && mixture.jobs == 0);
    HOLDS(sally_sim_sockets(mixture.sim) == 0);
    HOLDS(sally_sim_memory_bytes(mixture.sim) == 0);
    sally_sim_destroy(mixture.sim);
}

static void together_they_leave_nothing_behind(void **state)
{
    (void)state;
    uint64_t only = storm_only_seed(), seeds = only ? 1 : (storm_seeds(4000) + 9) / 10;
    uint64_t opened = 0, jobs = 0, notes = 0, owed = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        make(only ? only : i + 1);
        blow();
        end();
        opened += mixture.opened;
        jobs += mixture.jobs_told;
        notes += mixture.notes_told;
        owed += mixture.refused;
    }
    printf("seeds 1 to %llu: %llu connections, %llu jobs, %llu notes, %llu sends without room\n",
           (unsigned long long)seeds, (unsigned long long)opened, (unsigned long long)jobs,
           (unsigned long long)notes, (unsigned long long)owed);
    if (only) return;
    assert_true(opened > seeds && jobs > seeds / 2 && notes > seeds && owed > seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(together_they_leave_nothing_behind)};
    return cmocka_run_group_tests_name("sim/mixture", tests, NULL, NULL);
}
