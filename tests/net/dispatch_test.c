/* One dispatch table used by the connections of several shards at the same time (P-55), on the
 * system's sockets. What a table finds and refuses is tests/sim/dispatch_test.c. */
#include <pthread.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/dispatch.h"
#include "sallyport/framing.h"

enum { CLIENTS = 6, ROUNDS = 2000, COMMANDS = 26 };

static const sally_framing line = {.kind = SALLY_FRAMING_LINE};
static sally_dispatch *table;
static atomic_uint before, after, strangers;

/* Answers with its own name and what it got. */
static void run_letter(sally_conn *conn, const void *data, size_t len, void *user)
{
    char answer[16];
    int said = snprintf(answer, sizeof answer, "%s:%.*s\n", (const char *)user, (int)len,
                        (const char *)data);
    if (sally_conn_send(conn, answer, (size_t)said)) sally_conn_abort(conn);
}

static int count_before(sally_conn *conn, const sally_command_call *call, void *user)
{
    (void)conn;
    if (!call->command || strcmp(call->command->word, call->command->user) != 0)
        atomic_fetch_add((atomic_uint *)user, 1);
    atomic_fetch_add(&before, 1);
    return 0;
}

static void count_after(sally_conn *conn, const sally_command_call *call, void *user)
{
    (void)conn;
    (void)user;
    if (!call->refused) atomic_fetch_add(&after, 1);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    int err = sally_dispatch_message(table, conn, data, len);
    STAGE_CHECK(actor_of(conn)->stage, err == 0 || (err == SALLY_EMALFORMED && len == 5));
}

static void table_make(void)
{
    static char names[COMMANDS][2];
    static sally_command commands[COMMANDS];
    static const sally_command_filter filter = {count_before, count_after, &strangers};
    for (int i = 0; i < COMMANDS; i++) {
        names[i][0] = (char)('Z' - i);
        commands[i] = (sally_command){.word = names[i], .run = run_letter, .user = names[i]};
    }
    sally_dispatch_options options = {.key = SALLY_KEY_WORD,
                                      .any_case = true,
                                      .commands = commands,
                                      .count = COMMANDS,
                                      .filters = &filter,
                                      .filter_count = 1};
    assert_int_equal(sally_dispatch_create(&table, &options), 0);
    atomic_store(&before, 0);
    atomic_store(&after, 0);
    atomic_store(&strangers, 0);
}

/* Each client asks for every letter in turn, some in capitals. */
static void *ask(void *arg)
{
    int fd = *(int *)arg;
    bool good = true;
    for (uint64_t i = 0; good && i < stage_scaled(ROUNDS); i++) {
        char asked[16], wanted[16], got[16];
        char small = (char)('a' + i % COMMANDS), large = (char)('A' + i % COMMANDS);
        int len = snprintf(asked, sizeof asked, "%c %u\n", i % 3 ? small : large, (unsigned)i);
        int back = snprintf(wanted, sizeof wanted, "%c:%u\n", large, (unsigned)i);
        good = raw_send(fd, asked, (size_t)len) && raw_read(fd, got, (size_t)back) &&
               memcmp(got, wanted, (size_t)back) == 0;
    }
    return good ? arg : NULL;
}

static void shards_share_a_table(const struct stage_way *way)
{
    table_make();
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_message = on_message,
                                                                   .server.conn.framing = &line});
    struct actor *actors[CLIENTS];
    pthread_t threads[CLIENTS];
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = stage_client(stage, 0, &actors[i]);
        threads[i] = stage_thread(ask, &fds[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
        raw_finish(fds[i]);
        assert_int_equal(actor_wait_closed(actors[i])->reason, SALLY_CLOSE_PEER_CLOSED);
        raw_close(fds[i]);
    }
    stage_end(stage);
    assert_int_equal(atomic_load(&before), CLIENTS * stage_scaled(ROUNDS));
    assert_int_equal(atomic_load(&after), atomic_load(&before));
    assert_int_equal(atomic_load(&strangers), 0);
    sally_dispatch_destroy(table);
}

/* The answer to what came before still goes out, and then there is an end, not a reset. */
static void an_unknown_key_ends_its_connection_alone(const struct stage_way *way)
{
    table_make();
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_message = on_message,
                                                                   .server.conn.framing = &line});
    struct actor *wrong, *good;
    char answer[4];
    int bad_fd = stage_client(stage, 0, &wrong), fd = stage_client(stage, 0, &good);
    assert_true(raw_send(bad_fd, "q 1\nquit?\nq 2\n", 14));
    assert_true(raw_read(bad_fd, answer, 4) && memcmp(answer, "Q:1\n", 4) == 0);
    uint64_t more = 0;
    assert_int_equal(raw_read_to_end(bad_fd, &more), RAW_FIN);
    assert_int_equal(more, 0);
    raw_close(bad_fd);
    const sally_close_info *info = actor_wait_closed(wrong);
    assert_int_equal(info->reason, SALLY_CLOSE_MALFORMED);
    assert_int_equal(info->error, SALLY_EMALFORMED);
    assert_true(raw_send(fd, "R 3\n", 4) && raw_read(fd, answer, 4));
    assert_memory_equal(answer, "R:3\n", 4);
    raw_close(fd);
    stage_end(stage);
    sally_dispatch_destroy(table);
}

static const struct stage_test tests[] = {
    STAGE_TEST(shards_share_a_table),
    STAGE_TEST_ON(an_unknown_key_ends_its_connection_alone, 1),
};

int main(int argc, char **argv)
{
    return stage_run("dispatch", tests, sizeof tests / sizeof *tests, argc, argv);
}
