/* Handshakes, ends and errors of filters (P-54). */
#include <stdlib.h>
#include <string.h>

#include "net/server.h"
#include "net/support/mill.h"
#include "sallyport/admission.h"
#include "sallyport/flow.h"
#include "sallyport/proxy.h"
#include "sallyport/work.h"
#include "support/filter_shake.h"

enum { KB = 1024, MB = 1024 * KB };

static unsigned char key = 0x44;

static void close_it(sally_conn *conn) { sally_conn_close(conn); }

static struct stage *begin(const struct stage_way *way, const sally_filter *filters, uint32_t count,
                           sally_handler handler)
{
    return stage_begin(
        way, &(struct stage_options){.handler = handler,
                                     .server.conn = {.filters = filters, .filter_count = count},
                                     .grows = true});
}

static void check_read(int fd, const char *text, size_t len)
{
    char got[64];
    assert_true(len <= sizeof got && raw_read(fd, got, len));
    assert_memory_equal(got, text, len);
}

static void check_fin(int fd)
{
    uint64_t more = 0;
    assert_string_equal(raw_end_name(raw_read_to_end(fd, &more)), "FIN");
    assert_int_equal(more, 0);
    raw_close(fd);
}

/* ---- Handshakes ---- */

static void count_sent(sally_conn *conn, size_t bytes)
{
    STAGE_CHECK(actor_of(conn)->stage, bytes > 0); /* and the stage, that it is open */
}

static void greet(sally_conn *conn) { (void)sally_conn_send(conn, "open", 4); }

/* on_open comes when the filter is ready; bytes behind the greeting in the same segment come after.
 */
static void on_open_waits_for_the_handshake(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_shake()};
    struct stage *stage = begin(
        way, filters, 1,
        (sally_handler){
            .on_open = greet, .on_data = stage_echo, .on_sent = count_sent, .on_eof = close_it});
    int fd = raw_connect(stage->address, 0);
    assert_true(fd >= 0);
    STAGE_WAIT(sally_server_conns(stage->server) == 1);
    assert_true(raw_send(fd, "hel", 3));
    for (int i = 0; i < 20; i++) stage_nap();
    assert_int_equal(atomic_load(&stage->opened), 0);
    assert_true(raw_send(fd, "lo\3you\xff", 7));
    check_read(fd, "welcome\4open", 12);
    char back[5];
    assert_true(raw_read(fd, back, 5)); /* the record and the pong, in either order */
    assert_true(!memcmp(back, "\3you\xfe", 5) || !memcmp(back, "\xfe\3you", 5));
    assert_true(raw_send(fd, "", 1)); /* the end, and no FIN */
    check_read(fd, "", 1);
    check_fin(fd);
    struct actor *actor = stage_actor(stage, 0);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    assert_int_equal(actor->info.bytes_in, 5 + 5 + 1);
    assert_int_equal(actor->info.bytes_out, 7 + 5 + 4 + 1 + 1);
    assert_true(atomic_load(&actor->sent) <= actor->info.bytes_out);
    stage_end(stage);
}

static struct stage *begin_struck(const struct stage_way *way, uint32_t first_byte_ms,
                                  sally_strike_options strikes)
{
    const sally_filter filters[] = {filter_shake()};
    sally_bans *bans;
    assert_int_equal(sally_bans_create(&bans, NULL), 0);
    sally_admission admission = {.bans = bans, .strikes = strikes};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_echo,
                                                 .server.conn = {.filters = filters,
                                                                 .filter_count = 1,
                                                                 .first_byte_ms = first_byte_ms},
                                                 .server.admission = &admission});
    sally_bans_destroy(bans);
    return stage;
}

static void end_struck(struct stage *stage)
{
    STAGE_WAIT(sally_server_conns(stage->server) == 0);
    assert_int_equal(atomic_load(&stage->actor_count), 0);
    stage_destroy_engine(stage); /* the bytes of those nobody was told of are in its statistics */
    stage_end(stage);
}

static uint64_t strike_bans(const struct stage *stage)
{
    sally_admission_stats stats;
    assert_int_equal(sally_server_admission_stats(stage->server, &stats), 0);
    return stats.strike_bans;
}

/* What is wrong is answered, refused, counted, and struck; the handler hears nothing of it. */
static void a_failed_handshake_is_refused_and_struck(const struct stage_way *way)
{
    struct stage *stage = begin_struck(way, 0, (sally_strike_options){.max = 2});
    int fd = raw_connect(stage->address, 0);
    assert_true(raw_send(fd, "help", 4));
    check_read(fd, SHAKE_SORRY, 5);
    check_fin(fd);
    STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_HANDSHAKE) == 1);
    fd = raw_connect(stage->address, 0); /* gone before it said anything: nobody's fault */
    STAGE_WAIT(sally_server_conns(stage->server) == 1);
    raw_close(fd);
    STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_HANDSHAKE) == 2);
    assert_int_equal(strike_bans(stage), 0);
    fd = raw_connect(stage->address, 0); /* the second strike */
    assert_true(raw_send(fd, "h", 1));
    STAGE_WAIT(stage_engine_stats(stage).bytes_in == 4 + 1);
    raw_reset(fd);
    STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_HANDSHAKE) == 3);
    assert_int_equal(strike_bans(stage), 1);
    end_struck(stage);
}

/* On a machine that takes longer than that to say the beginning, again: that was silence. */
static void a_handshake_that_is_late_is_refused_and_struck(const struct stage_way *way)
{
    const sally_strike_options strikes = {.max = 1, .off = 1 << SALLY_STRIKE_SILENCE};
    struct stage *stage = begin_struck(way, 100, strikes);
    enum raw_end end = RAW_SILENT;
    uint64_t more = 0;
    for (unsigned tries = 1; tries <= 20 && !strike_bans(stage); tries++) {
        int fd = raw_connect(stage->address, 0);
        (void)raw_send(fd, "hel", 3);
        end = raw_read_to_end(fd, &more);
        raw_close(fd);
        STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_HANDSHAKE) == tries);
    }
    assert_int_equal(strike_bans(stage), 1);
    assert_string_equal(raw_end_name(end), "FIN");
    assert_int_equal(more, 0);
    end_struck(stage);
}

/* An outgoing one has on_close alone. */
static void an_outgoing_handshake_that_fails_has_on_close_alone(const struct stage_way *way)
{
    static const struct {
        const char *says;
        int error;
    } cases[] = {{"welfare", SALLY_EMALFORMED}, {"wel", SALLY_EMALFORMED}, {"", SALLY_ETIMEDOUT}};
    const sally_filter filters[] = {filter_shake()};
    for (int i = 0; i < 3; i++) {
        struct stage *stage =
            stage_begin(way, &(struct stage_options){.handler.on_sent = count_sent,
                                                     .handler.on_data = stage_ignore,
                                                     .no_server = true});
        char address[64];
        sally_connect_options options = {
            .conn = {.filters = filters, .filter_count = 1, .first_byte_ms = i == 2 ? 50 : 30000}};
        int listener = raw_listen(address, sizeof address, 5);
        sally_id id;
        assert_int_equal(stage_connect(stage, address, &options, &id), 0);
        int fd = raw_accept(listener);
        check_read(fd, SHAKE_HELLO, 5);
        bool hurried = i == 2; /* its time may be over at any moment */
        int err = sally_send(stage->engine, id, "early", 5);
        assert_true(err == 0 || (hurried && err == SALLY_ENOCONN));
        if (!hurried) stage_letters_came(stage, id);
        if (*cases[i].says) assert_true(raw_send(fd, cases[i].says, strlen(cases[i].says)));
        if (*cases[i].says) raw_finish(fd);
        STAGE_WAIT(atomic_load(&stage->closed) == 1);
        const sally_close_info *info = &stage->actors[0]->info;
        assert_int_equal(info->reason, SALLY_CLOSE_HANDSHAKE);
        assert_int_equal(info->error, cases[i].error);
        assert_int_equal(info->bytes_out, 5);
        assert_true(info->bytes_unsent == 5 || hurried);
        assert_int_equal(atomic_load(&stage->opened), 0);
        raw_close(fd);
        raw_close(listener);
        const sally_engine_stats stats = stage_engine_stats(stage);
        assert_int_equal(stats.connected, 0);
        assert_int_equal(stats.connect_failures, 1);
        stage_end(stage);
    }
}

/* What is sent by id meanwhile waits, through two handshakes one above the other. */
static void what_is_sent_by_id_early_goes_first(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_shake(), filter_xor(&key), filter_shake()};
    sally_conn_options conn = {.filters = filters, .filter_count = 3};
    struct stage *stage =
        begin(way, filters, 3, (sally_handler){.on_open = greet, .on_data = stage_ignore});
    for (int i = 0; i < 20; i++) {
        sally_id id;
        assert_int_equal(
            stage_connect(stage, stage->address, &(sally_connect_options){.conn = conn}, &id), 0);
        for (int k = 0; k < 100; k++)
            assert_int_equal(sally_send(stage->engine, id, "0123456789", 10), 0);
    }
    STAGE_WAIT(atomic_load(&stage->opened) == 40);
    for (unsigned i = 0; i < 40; i++) {
        struct actor *actor = stage_actor(stage, i);
        STAGE_WAIT(atomic_load(&actor->bytes_in) == 4 || atomic_load(&actor->bytes_in) == 1004);
    }
    stage_end(stage);
}

/* The PROXY header, then the handshake, then bytes: all in the first segment, which came with the
 * accept. */
static void a_handshake_may_come_behind_a_proxy_header(const struct stage_way *way)
{
    static const char first[] = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello\3one\3two";
    const sally_filter filters[] = {filter_shake()};
    const sally_proxy_options proxy = {.trusted = "127.0.0.1"};
    for (int with_data = 0; with_data < 2; with_data++) {
        struct stage *stage = stage_begin(
            way, &(struct stage_options){.handler = {.on_data = stage_echo, .on_eof = close_it},
                                         .server = {.conn = {.filters = filters, .filter_count = 1},
                                                    .proxy = with_data ? NULL : &proxy,
                                                    .accept_with_data = with_data}});
        int fd = raw_connect(stage->address, 0);
        const char *from = with_data ? strchr(first, '\n') + 1 : first;
        assert_true(raw_send(fd, from, strlen(from)));
        check_read(fd, "welcome\6onetwo", 14);
        raw_close(fd);
        struct actor *actor = stage_actor(stage, 0);
        (void)actor_wait_closed(actor);
        if (!with_data) assert_string_equal(actor->peer, "203.0.113.7:4711");
        stage_destroy_engine(stage); /* a header's bytes are none of the connection's */
        stage_end(stage);
    }
}

static sally_verdict send_off(sally_server *server, const sally_accept_info *info)
{
    (void)server;
    (void)info;
    return SALLY_FAREWELL;
}

/* A farewell goes as it is, and leaves nothing in the server's account, which had the states. */
static void a_farewell_is_not_filtered(const struct stage_way *way)
{
    static const char first[] = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello";
    const sally_filter filters[] = {filter_shake()};
    const sally_proxy_options proxy = {.trusted = "127.0.0.1"};
    const sally_admission admission = {.farewell = "full", .farewell_bytes = 4};
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler = {.on_data = stage_echo, .on_accept = send_off},
                                     .server = {.conn = {.filters = filters, .filter_count = 1},
                                                .proxy = &proxy,
                                                .admission = &admission,
                                                .memory_max = MB}});
    int fd = raw_connect(stage->address, 0);
    assert_true(raw_send(fd, first, strlen(first)));
    check_read(fd, "full", 4);
    check_fin(fd);
    STAGE_WAIT(sally_server_conns(stage->server) == 0);
    assert_int_equal(atomic_load(&stage->server->held), 0);
    assert_int_equal(atomic_load(&stage->actor_count), 0);
    stage_destroy_engine(stage);
    stage_end(stage);
}

/* ---- Replies ---- */

/* Who asks on and on and reads nothing is cut, with a bounded queue. */
static void replies_have_a_bound(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_shake()};
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_data = stage_ignore,
                                                 .server.conn = {.filters = filters,
                                                                 .filter_count = 1,
                                                                 .send_bytes_max = 16 * KB,
                                                                 .no_auto_pause = true,
                                                                 .send_buf_bytes = 4 * KB}});
    static char pings[64 * KB];
    memset(pings, SHAKE_PING, sizeof pings);
    int fd = raw_connect(stage->address, 2 * KB);
    assert_true(raw_send(fd, "hello", 5));
    STAGE_WAIT(atomic_load(&stage->opened) == 1);
    struct actor *actor = stage_actor(stage, 0);
    for (int i = 0; i < 100 && !atomic_load(&actor->closed); i++)
        (void)raw_send_some(fd, pings, sizeof pings, 100);
    assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_SEND_LIMIT);
    assert_true(actor->info.bytes_unsent <= 16 * KB);
    raw_close(fd);
    stage_end(stage);
}

/* ---- Ends ---- */

static void finish_and_listen(sally_conn *conn)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "aaab", 4) == 0);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_shutdown(conn) == 0);
}

/* Each way ends by itself: ours with the filter's end and a FIN, the peer's with its end. */
static void both_ways_end_by_themselves(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs()};
    struct stage *stage = begin(
        way, filters, 1,
        (sally_handler){.on_open = finish_and_listen, .on_data = stage_ignore, .on_eof = close_it});
    struct actor *actor;
    unsigned char run[RUN_BYTES], wire[64];
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(raw_read_all(fd, wire, sizeof wire), 3 * RUN_BYTES);
    assert_int_equal(run_count(wire), 3);
    assert_int_equal(run_count(wire + RUN_BYTES), 1);
    assert_int_equal(run_count(wire + 2 * RUN_BYTES), RUNS_END);
    run_write(run, 5000, 'x');
    for (int i = 0; i < RUN_BYTES; i++) assert_true(raw_send(fd, run + i, 1));
    raw_finish(fd);
    (void)actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->bytes_in), 5000);
    assert_int_equal(atomic_load(&actor->eofs), 1);
    assert_int_equal(actor->info.reason, SALLY_CLOSE_PEER_CLOSED);
    raw_close(fd);
    stage_end(stage);
}

/* A stream that is cut, and one that is wrong: bytes before it are delivered, answers still go. */
static void a_cut_stream_and_a_wrong_one_are_errors(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_unpack()};
    struct stage *stage = begin(way, filters, 1, (sally_handler){.on_data = stage_echo});
    for (int cut = 0; cut < 2; cut++) {
        struct actor *actor;
        unsigned char runs[2 * RUN_BYTES];
        int fd = stage_client(stage, 0, &actor);
        run_write(runs, 4, 'x');
        run_write(runs + RUN_BYTES, 0, 'y');
        assert_true(raw_send(fd, runs, sizeof runs - (size_t)cut));
        if (cut) raw_finish(fd);
        check_read(fd, "xxxx", 4);
        check_fin(fd);
        const sally_close_info *info = actor_wait_closed(actor);
        assert_int_equal(info->reason, SALLY_CLOSE_FILTER);
        assert_int_equal(info->error, SALLY_EMALFORMED);
        assert_int_equal(atomic_load(&actor->bytes_in), 4);
        assert_int_equal(atomic_load(&actor->eofs), 0);
    }
    stage_end(stage);
}

/* A filter's last word, also when it fails. */
static void a_filter_that_fails_may_say_why(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_shake()};
    struct stage *stage = begin(way, filters, 1, (sally_handler){.on_data = stage_echo});
    int fd = raw_connect(stage->address, 0);
    assert_true(raw_send(fd, "hello\xfd", 6));
    check_read(fd, "welcome\xfe", 8);
    check_read(fd, "", 1); /* and its end */
    check_fin(fd);
    assert_int_equal(actor_wait_closed(stage_actor(stage, 0))->reason, SALLY_CLOSE_FILTER);
    stage_end(stage);
}

/* Bytes behind an end that comes before the wire's are not looked at. */
static void what_follows_an_end_is_not_looked_at(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_runs()};
    for (int later = 0; later < 2; later++) {
        struct stage *stage =
            begin(way, filters, 1,
                  (sally_handler){.on_data = stage_ignore,
                                  .on_eof = later ? finish_and_listen : close_it});
        struct actor *actor;
        unsigned char runs[3 * RUN_BYTES];
        int fd = stage_client(stage, 0, &actor);
        run_write(runs, 7, 'x');
        run_write(runs + RUN_BYTES, RUNS_END, 0);
        run_write(runs + 2 * RUN_BYTES, 9, 'y');
        assert_true(raw_send(fd, runs, sizeof runs));
        STAGE_WAIT(atomic_load(&actor->eofs) == 1);
        raw_finish(fd);
        if (later) assert_int_equal(sally_close(stage->engine, actor->id), 0);
        (void)actor_wait_closed(actor);
        assert_int_equal(atomic_load(&actor->bytes_in), 7);
        assert_int_equal(atomic_load(&actor->eofs), 1);
        raw_close(fd);
        stage_end(stage);
    }
}

/* ---- Our own filters' mistakes ---- */

/* `user` says where. */
enum where { AT_OPEN, AT_OUT, AT_FINISH, BEYOND_MAX };

static int trip_open(void *state, void *user, sally_conn *conn)
{
    char peer[64];
    *(int *)state = *(int *)user;
    return *(int *)user == AT_OPEN && *sally_conn_peer(conn, peer, sizeof peer) ? SALLY_EFILE : 0;
}

static int trip_out(void *state, sally_filter_io *io)
{
    int where = *(int *)state;
    if (where == AT_OUT && io->len) return SALLY_EFILE;
    if (where == AT_FINISH && io->finish) return SALLY_EFILE;
    if (where == BEYOND_MAX) {
        io->made = io->room_bytes;
        memset(io->room, '!', io->room_bytes);
        return SALLY_FILTERED_MORE;
    }
    return pass_on(state, io);
}

static void send_and_see(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    int *where = actor_of(conn)->stage->user;
    int err = sally_conn_send(conn, "some", 4);
    bool fails = *where == AT_OUT || *where == BEYOND_MAX;
    STAGE_CHECK(actor_of(conn)->stage, err == (fails ? SALLY_ECLOSED : 0));
    sally_conn_close(conn);
}

static void mistakes_of_ours_abort(const struct stage_way *way)
{
    for (int where = AT_OPEN; where <= BEYOND_MAX; where++) {
        const sally_filter filters[] = {{.name = "trip",
                                         .state_bytes = sizeof(int),
                                         .user = &where,
                                         .open = trip_open,
                                         .in = pass_on,
                                         .out = trip_out}};
        struct stage *stage = stage_begin(
            way, &(struct stage_options){.handler.on_data = send_and_see,
                                         .user = &where,
                                         .server.conn = {.filters = filters, .filter_count = 1}});
        int fd = raw_connect(stage->address, 0);
        if (where != AT_OPEN) assert_true(raw_send(fd, "x", 1));
        enum raw_end end = raw_read_to_end(fd, NULL);
        raw_close(fd);
        if (where == AT_OPEN) {
            assert_string_equal(raw_end_name(end), "FIN");
            STAGE_WAIT(stage_refused(stage, SALLY_REFUSED_HANDSHAKE) == 1);
        } else {
            assert_string_equal(raw_end_name(end), "RST");
            const sally_close_info *info = actor_wait_closed(stage_actor(stage, 0));
            assert_int_equal(info->reason, SALLY_CLOSE_FILTER);
            assert_int_equal(info->error, where == BEYOND_MAX ? SALLY_EINVAL : SALLY_EFILE);
        }
        stage_end(stage);
    }
}

/* Each open that worked has its close, once, whatever the end. */
static atomic_uint opens, closes;

static int count_open(void *state, void *user, sally_conn *conn)
{
    (void)state;
    (void)user;
    (void)conn;
    atomic_fetch_add(&opens, 1);
    return 0;
}

static void count_close(void *state)
{
    (void)state;
    atomic_fetch_add(&closes, 1);
}

static void each_open_has_its_close(const struct stage_way *way)
{
    sally_filter filters[] = {filter_shake(), filter_xor(NULL)};
    filters[1].open = count_open;
    filters[1].close = count_close;
    atomic_store(&opens, 0);
    atomic_store(&closes, 0);
    struct stage *stage = begin(way, filters, 2, (sally_handler){.on_data = stage_ignore});
    int fds[4];
    for (int i = 0; i < 4; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    assert_true(raw_send(fds[0], "hello", 5) && raw_send(fds[1], "jello", 5));
    STAGE_WAIT(atomic_load(&stage->opened) == 1 && atomic_load(&opens) == 4);
    raw_reset(fds[0]);
    (void)raw_read_to_end(fds[1], NULL);
    raw_close(fds[1]);
    STAGE_WAIT(atomic_load(&closes) == 2);
    stage_destroy_engine(stage); /* one in its handshake, one silent */
    assert_int_equal(atomic_load(&closes), 4);
    for (int i = 2; i < 4; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* ---- Drain and jobs ---- */

static _Atomic(sally_pool *) workers;

static void work(void *arg) { *(int *)arg = 1; }

static void send_result(sally_conn *conn, void *arg, int status)
{
    if (!conn || status) return;
    STAGE_CHECK(actor_of(conn)->stage, *(int *)arg == 1);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, "jjjj", 4) == 0);
}

/* The work is begun by a byte, and not before the drain has begun. */
static void begin_work(sally_conn *conn, const void *data, size_t len)
{
    static int result;
    struct actor *actor = actor_of(conn);
    (void)data;
    (void)len;
    int err = sally_work(conn, atomic_load(&workers), work, send_result, &result, NULL, NULL);
    STAGE_CHECK(actor->stage, err == 0);
    STAGE_CHECK(actor->stage, sally_engine_drain(actor->stage->engine, 20000) == 0);
}

static void a_drain_waits_for_jobs_and_ends_the_stream(const struct stage_way *way)
{
    const sally_filter filters[] = {filter_xor(&key), filter_runs()};
    struct stage *stage = begin(way, filters, 2, (sally_handler){.on_data = begin_work});
    sally_pool *pool;
    assert_int_equal(sally_pool_create(&pool, stage->engine, NULL), 0);
    atomic_store(&workers, pool);
    struct xor_state in = {.key = key}, out = {.key = key};
    unsigned char run[RUN_BYTES], wire[64], runs[64];
    int fd = stage_client(stage, 0, NULL);
    run_write(run, 1, 'x');
    assert_true(raw_send(fd, wire, mill(xor_out, &out, run, RUN_BYTES, false, wire, 64)));
    size_t len = raw_read_all(fd, wire, sizeof wire);
    len = mill(xor_in, &in, wire, len, true, runs, sizeof runs);
    assert_int_equal(len, 2 * RUN_BYTES);
    assert_int_equal(run_count(runs), 4);
    assert_int_equal(run_count(runs + RUN_BYTES), RUNS_END);
    raw_close(fd);
    assert_int_equal(sally_engine_wait(stage->engine), 0);
    assert_int_equal(sally_pool_destroy(pool), 0);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(on_open_waits_for_the_handshake, 1),
    STAGE_TEST_ON(a_failed_handshake_is_refused_and_struck, 1),
    STAGE_TEST_ON(a_handshake_that_is_late_is_refused_and_struck, 1),
    STAGE_TEST_ON(an_outgoing_handshake_that_fails_has_on_close_alone, 1),
    STAGE_TEST(what_is_sent_by_id_early_goes_first),
    STAGE_TEST_ON(a_handshake_may_come_behind_a_proxy_header, 1),
    STAGE_TEST_ON(a_farewell_is_not_filtered, 1),
    STAGE_TEST_ON(replies_have_a_bound, 1),
    STAGE_TEST_ON(both_ways_end_by_themselves, 1),
    STAGE_TEST_ON(a_cut_stream_and_a_wrong_one_are_errors, 1),
    STAGE_TEST_ON(a_filter_that_fails_may_say_why, 1),
    STAGE_TEST_ON(what_follows_an_end_is_not_looked_at, 1),
    STAGE_TEST_ON(mistakes_of_ours_abort, 1),
    STAGE_TEST_ON(each_open_has_its_close, 1),
    STAGE_TEST(a_drain_waits_for_jobs_and_ends_the_stream),
};

int main(int argc, char **argv)
{
    return stage_run("filter_end", tests, sizeof tests / sizeof *tests, argc, argv);
}
