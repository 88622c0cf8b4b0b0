/* Why did it close: cause, who, and what the flight recorder kept, for each way to end. */
#include <stdio.h>
#include <string.h>

#include "sallyport/flow.h"
#include "sallyport/why.h"
#include "support/raw.h"
#include "support/stage.h"

enum { MB = 1 << 20, QUEUE_MAX = 64 * 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char told_line[1024]; /* under the lock: the shard's */
static char last_line[1024]; /* the test's copy */
static _Atomic(sally_initiator) last_who;

static void keep_line(sally_conn *conn, const sally_close_info *info)
{
    char cut[8];
    STAGE_CHECK(actor_of(conn)->stage, info != NULL);
    pthread_mutex_lock(&lock);
    sally_conn_why(conn, told_line, sizeof told_line);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_why(conn, cut, sizeof cut) == cut);
    STAGE_CHECK(actor_of(conn)->stage, strlen(cut) == 7 && strncmp(cut, told_line, 7) == 0);
    pthread_mutex_unlock(&lock);
    atomic_store(&last_who, sally_conn_initiator(conn));
}

static const char *look(void)
{
    pthread_mutex_lock(&lock);
    memcpy(last_line, told_line, sizeof last_line);
    pthread_mutex_unlock(&lock);
    return last_line;
}

static void has(const char *part)
{
    (void)look();
    if (!strstr(last_line, part)) fail_msg("\"%s\" is not in: %s", part, last_line);
}

static void has_not(const char *part)
{
    (void)look();
    if (strstr(last_line, part)) fail_msg("\"%s\" is in: %s", part, last_line);
}

/* The parts in this order. */
static void has_in_order(const char *const *parts)
{
    const char *at = look();
    for (; *parts; parts++) {
        at = strstr(at, *parts);
        if (!at) fail_msg("\"%s\" is not there, or too early: %s", *parts, last_line);
    }
}

static void by_letter(sally_conn *conn, const void *data, size_t len)
{
    static const char many[QUEUE_MAX];
    struct stage *stage = actor_of(conn)->stage;
    for (const char *at = data; len--; at++) {
        switch (*at) {
        case 'c': sally_conn_close(conn); break;
        case 'a': sally_conn_abort(conn); break;
        case 'p':
            sally_conn_pause(conn);
            sally_conn_timer(conn, 5);
            break;
        case 'm': STAGE_CHECK(stage, sally_conn_send(conn, many, sizeof many) == 0); break;
        case 'f': STAGE_CHECK(stage, sally_conn_send(conn, many, QUEUE_MAX) == SALLY_EFULL); break;
        case 'F':
            STAGE_CHECK(stage, sally_conn_send(conn, many, QUEUE_MAX) == SALLY_ECLOSED);
            break;
        case 'i': sally_close(stage->engine, actor_of(conn)->id); break;
        default: break;
        }
    }
}

static void resume_it(sally_conn *conn) { sally_conn_resume(conn); }
static void stay_open(sally_conn *conn) { (void)conn; }

static struct stage *why_stage(const struct stage_way *way, const sally_conn_options *options,
                               bool (*on_timeout)(sally_conn *conn, sally_timeout which))
{
    return stage_begin(way, &(struct stage_options){.handler = {.on_data = by_letter,
                                                                .on_close = keep_line,
                                                                .on_timer = resume_it,
                                                                .on_eof = stay_open,
                                                                .on_timeout = on_timeout},
                                                    .server.conn = *options});
}

static void say_and_wait(struct stage *stage, const char *letters, sally_initiator who)
{
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    assert_true(raw_send(fd, letters, strlen(letters)));
    raw_finish(fd);
    (void)raw_read_to_end(fd, NULL);
    actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&last_who), who);
    has(sally_initiator_text(who));
}

static void it_says_who_asked(const struct stage_way *way)
{
    struct stage *stage = why_stage(way, &(sally_conn_options){0}, NULL);
    say_and_wait(stage, "xc", SALLY_INITIATOR_HANDLER);
    has("closed by us (its handler) after 0.");
    has("in 2, out 0, unsent 0 bytes");
    has_not("before:"); /* nothing out of the ordinary */
    say_and_wait(stage, "a", SALLY_INITIATOR_HANDLER);
    has("aborted by us");
    say_and_wait(stage, "i", SALLY_INITIATOR_BY_ID);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_abort(stage->engine, actor->id), 0);
    actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&last_who), SALLY_INITIATOR_BY_ID);
    fd = stage_client(stage, 0, &actor);
    raw_reset(fd);
    actor_wait_closed(actor);
    assert_int_equal(atomic_load(&last_who), SALLY_INITIATOR_PEER);
    has("SALLY_ERESET, system error ");
    fd = stage_client(stage, 0, &actor);
    sally_engine_stop(stage->engine);
    actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&last_who), SALLY_INITIATOR_ENGINE);
    stage_end(stage);
}

static bool keep_once(sally_conn *conn, sally_timeout which)
{
    (void)which;
    return atomic_fetch_add(&actor_of(conn)->number[0], 1) > 0;
}

static void limits_are_told_with_what_came_before(const struct stage_way *way)
{
    struct stage *stage = why_stage(way, &(sally_conn_options){.first_byte_ms = 40}, keep_once);
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&last_who), SALLY_INITIATOR_LIMIT);
    has_in_order((const char *const[]){"the peer sent nothing in time", "SALLY_ETIMEDOUT",
                                       "before: +0.",
                                       "the first-byte limit was over and the "
                                       "handler kept it",
                                       NULL});
    stage_end(stage);

    stage = why_stage(way,
                      &(sally_conn_options){
                          .write_stall_ms = 60, .send_bytes_max = QUEUE_MAX, .send_buf_bytes = 1},
                      NULL);
    fd = stage_client(stage, 1, &actor);
    assert_true(raw_send(fd, "pmf", 3));
    actor_wait_closed(actor);
    raw_close(fd);
    has_in_order((const char *const[]){"the peer took no byte for too long",
                                       "before: ", "reading was paused", "above its high mark",
                                       "found the queue full", "reading went on", NULL});
    stage_end(stage);
}

static void a_full_queue_names_itself(const struct stage_way *way)
{
    struct stage *stage = why_stage(
        way, &(sally_conn_options){.at_full = SALLY_FULL_CLOSE, .send_bytes_max = QUEUE_MAX}, NULL);
    struct actor *actor;
    int fd = stage_client(stage, 4096, &actor);
    assert_true(raw_send(fd, "mF", 2)); /* within a callback nothing goes */
    actor_wait_closed(actor);
    raw_close(fd);
    assert_int_equal(atomic_load(&last_who), SALLY_INITIATOR_LIMIT);
    has_in_order((const char *const[]){"the send queue was full", "SALLY_EFULL", "unsent 65536",
                                       "before: ", "found the queue full", NULL});
    stage_end(stage);
}

static void pause_often(sally_conn *conn)
{
    for (int i = 0; i < 100; i++) {
        sally_conn_pause(conn);
        sally_conn_resume(conn);
    }
    sally_conn_close(conn);
}

static void the_recorder_is_bounded_and_can_be_off(const struct stage_way *way)
{
    for (int off = 0; off < 2; off++) {
        struct stage *stage = stage_begin(
            way, &(struct stage_options){.handler = {.on_open = pause_often, .on_close = keep_line},
                                         .server.conn.no_recorder = off});
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        raw_close(fd);
        actor_wait_closed(actor);
        unsigned events = 0;
        for (const char *at = look(); (at = strstr(at, " +0.")); at++) events++;
        assert_int_equal(events, off ? 0 : 22);
        if (off)
            has_not("before");
        else
            has("closing began");
        stage_end(stage);
    }
}

static void the_same_again_is_not_repeated(const struct stage_way *way)
{
    struct stage *stage = why_stage(way, &(sally_conn_options){0}, NULL);
    say_and_wait(stage, "pppc", SALLY_INITIATOR_HANDLER);
    const char *first = strstr(look(), "reading was paused");
    assert_non_null(first);
    assert_null(strstr(first + 1, "reading was paused"));
    stage_end(stage);
}

static void every_initiator_has_a_text(const struct stage_way *way)
{
    (void)way;
    for (int i = SALLY_INITIATOR_HANDLER; i <= SALLY_INITIATOR_SYSTEM; i++)
        assert_true(strlen(sally_initiator_text((sally_initiator)i)) > 1);
    assert_string_equal(sally_initiator_text((sally_initiator)99), "?");
    char buf[4] = "abc";
    assert_string_equal(sally_conn_why(NULL, buf, sizeof buf), "");
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(it_says_who_asked, 1),
    STAGE_TEST_ON(limits_are_told_with_what_came_before, 1),
    STAGE_TEST_ON(a_full_queue_names_itself, 1),
    STAGE_TEST_ON(the_recorder_is_bounded_and_can_be_off, 1),
    STAGE_TEST_ON(the_same_again_is_not_repeated, 1),
    STAGE_TEST_ON(every_initiator_has_a_text, 1),
};

int main(int argc, char **argv)
{
    return stage_run("why", tests, sizeof tests / sizeof *tests, argc, argv);
}
