/* Connections whose filters aren't ready yet, among all that may happen to them meanwhile: sends by
 * id and for many, drains, stops, bans, and the books that are kept of them (P-54). */
#include <stdlib.h>
#include <string.h>

#include "net/support/mill.h"
#include "sallyport/admission.h"
#include "sallyport/group.h"
#include "sallyport/upstream.h"
#include "support/filter_shake.h"

enum { EARLY = 1000 };

#define ASKS   "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
#define AGREES "HTTP/1.1 200 Connection established\r\n\r\n"

/* ---- wait: nothing is said before the peer's first byte, and then all goes as it is ---- */

static bool wait_ready(const void *state) { return *(const bool *)state; }

static int wait_in(void *state, sally_filter_io *io)
{
    if (*(bool *)state) return pass_on(state, io);
    io->used = io->len > 0;
    *(bool *)state = io->used;
    return SALLY_FILTERED_ALL;
}

static const sally_filter wait_filter = {.name = "wait",
                                         .state_bytes = sizeof(bool),
                                         .ready = wait_ready,
                                         .in = wait_in,
                                         .out = pass_on};

/* ---- Sends ---- */

/* What is sent by id before the proxy has agreed is more than the high mark: that pauses reading
 * once it is on its way, and not the handshake that it waits for. */
static void what_waits_for_a_handshake_does_not_hold_it_up(const struct stage_way *way)
{
    char sent[EARLY], got[EARLY], address[64];
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_ignore, .no_server = true});
    int door = raw_listen(address, sizeof address, 5);
    const sally_upstream upstream = {.kind = SALLY_UPSTREAM_HTTP, .address = address};
    const sally_connect_options options = {.upstream = &upstream,
                                           .conn = {.filters = &wait_filter,
                                                    .filter_count = 1,
                                                    .first_byte_ms = 3000,
                                                    .send_bytes_max = 2 * EARLY,
                                                    .send_high_bytes = EARLY / 2}};
    sally_id id;
    assert_int_equal(stage_connect(stage, "a.example:443", &options, &id), 0);
    int fd = raw_accept(door);
    assert_true(raw_read(fd, got, sizeof ASKS - 1));
    memset(sent, 'e', sizeof sent);
    assert_int_equal(sally_send(stage->engine, id, sent, sizeof sent), 0);
    stage_letters_came(stage, id);
    assert_true(raw_send(fd, AGREES, sizeof AGREES - 1));
    assert_true(raw_send(fd, "!", 1));
    assert_true(raw_read(fd, got, sizeof got));
    assert_memory_equal(got, sent, sizeof sent);
    assert_true(raw_send(fd, "and on", 6));
    struct actor *actor = stage_actor(stage, 0);
    STAGE_WAIT(atomic_load(&actor->bytes_in) == 6);
    raw_close(fd);
    (void)actor_wait_closed(actor);
    raw_close(door);
    stage_end(stage);
}

static atomic_uint reports, reached;

static void note_report(const sally_broadcast_report *report, void *arg)
{
    (void)arg;
    atomic_store(&reached, (unsigned)(report->sent + report->failed + report->skipped));
    atomic_fetch_add(&reports, 1);
}

/* Whose handshake isn't over hears nothing of a broadcast; the others do. */
static void a_broadcast_waits_for_no_handshake(const struct stage_way *way)
{
    char got[4];
    struct stage *stage = stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_echo,
                                     .server.conn = {.filters = &wait_filter, .filter_count = 1}});
    int shaking = raw_connect(stage->address, 0), open = raw_connect(stage->address, 0);
    assert_true(raw_send(open, "!", 1));
    STAGE_WAIT(atomic_load(&stage->opened) == 1 && sally_server_conns(stage->server) == 2);
    atomic_store(&reports, 0);
    sally_buf *buf = sally_buf_create(stage->engine, 4);
    memcpy(sally_buf_data(buf), "many", 4);
    sally_broadcast_options options = {.done = note_report};
    assert_int_equal(sally_broadcast(stage->server, buf, &options), 0);
    sally_buf_release(buf);
    STAGE_WAIT(atomic_load(&reports) == 1);
    assert_int_equal(atomic_load(&reached), 1);
    assert_true(raw_read(open, got, 4));
    assert_memory_equal(got, "many", 4);
    assert_true(raw_send(shaking, "!echo", 5));
    assert_true(raw_read(shaking, got, 4));
    assert_memory_equal(got, "echo", 4);
    raw_close(shaking);
    raw_close(open);
    STAGE_WAIT(atomic_load(&stage->closed) == 2);
    stage_end(stage);
}

/* ---- Ends ---- */

/* Nobody was told of such a connection, so it ends as a newcomer that was refused, and is none of
 * those that a drain or a stop reports. */
static void check_books(struct stage *stage, sally_refusal why)
{
    sally_server_stats stats = stage_server_stats(stage);
    assert_int_equal(stats.accepted, 3);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stage_refused(stage, why), 2);
    assert_int_equal(atomic_load(&stage->opened), 1);
    assert_int_equal(stats.conns, 0);
}

static void check_report(struct stage *stage)
{
    sally_stop_report report;
    assert_int_equal(sally_engine_wait(stage->engine), 0);
    assert_int_equal(sally_engine_stop_report(stage->engine, &report), 0);
    assert_int_equal(report.conns, 1);
    assert_int_equal(report.finished + report.cut, 1);
}

/* One that is open, and two that have begun their handshakes. */
static void dial_three(struct stage *stage, int fds[3])
{
    for (int i = 0; i < 3; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    assert_true(raw_send(fds[0], "hello", 5) && raw_send(fds[1], "hel", 3) &&
                raw_send(fds[2], "h", 1)); /* so all have come to their shards */
    STAGE_WAIT(sally_server_conns(stage->server) == 3 && atomic_load(&stage->opened) == 1 &&
               stage_engine_stats(stage).bytes_in == 9);
}

static struct stage *begin_shaking(const struct stage_way *way, const sally_admission *admission)
{
    const sally_filter filter = filter_shake();
    return stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_ignore,
                                     .server = {.conn = {.filters = &filter, .filter_count = 1},
                                                .admission = admission},
                                     .grows = true});
}

static void who_is_stopped_in_its_handshake_is_counted(const struct stage_way *way)
{
    for (int drains = 0; drains < 2; drains++) {
        int fds[3];
        struct stage *stage = begin_shaking(way, NULL);
        dial_three(stage, fds);
        if (drains)
            assert_int_equal(sally_engine_drain(stage->engine, 10000), 0);
        else
            assert_int_equal(sally_engine_stop(stage->engine), 0);
        for (int i = 0; i < 3; i++) {
            (void)raw_read_to_end(fds[i], NULL);
            raw_close(fds[i]);
        }
        check_report(stage);
        check_books(stage, SALLY_REFUSED_CLOSING);
        stage_destroy_engine(stage);
        stage_end(stage);
    }
}

static void who_is_banned_in_its_handshake_is_counted(const struct stage_way *way)
{
    int fds[3];
    sally_bans *bans;
    assert_int_equal(sally_bans_create(&bans, NULL), 0);
    const sally_admission admission = {.bans = bans};
    struct stage *stage = begin_shaking(way, &admission);
    dial_three(stage, fds);
    assert_int_equal(sally_bans_add(bans, "127.0.0.1", 60, NULL), 0);
    assert_int_equal(sally_server_cut_banned(stage->server), 0);
    for (int i = 0; i < 3; i++) {
        (void)raw_read_to_end(fds[i], NULL);
        raw_close(fds[i]);
    }
    STAGE_WAIT(sally_server_conns(stage->server) == 0);
    check_books(stage, SALLY_REFUSED_BANNED);
    sally_bans_destroy(bans);
    stage_destroy_engine(stage);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(what_waits_for_a_handshake_does_not_hold_it_up, 1),
    STAGE_TEST(a_broadcast_waits_for_no_handshake),
    STAGE_TEST(who_is_stopped_in_its_handshake_is_counted),
    STAGE_TEST(who_is_banned_in_its_handshake_is_counted),
};

int main(int argc, char **argv)
{
    return stage_run("filter_handshake", tests, sizeof tests / sizeof *tests, argc, argv);
}
