/* The engine under test; see stage.h. */
#include "net/support/stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/support/raw.h"
#include "support/long.h"

enum { KIND_STAGE = 0x57a6e, KIND_ACTOR = 0xac702, BIG_BLOCK_BYTES = 512 * 1024, WAYS_MAX = 6 };

/* The connection whose callback runs on this thread. */
static _Thread_local const struct actor *on_stage;

/* ---- Small things ---- */

uint64_t stage_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void stage_nap(void) { usleep(1000); }

uint64_t stage_seed(void) { return run_seed(stage_now_us() * 0x9e3779b97f4a7c15u >> 16); }

pthread_t stage_thread(void *(*body)(void *arg), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

void stage_wrong(struct stage *stage, const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (atomic_fetch_add(&stage->wrongs, 1) < 20) fprintf(stderr, "wrong: %s\n", line);
}

#if defined(_WIN32)
/* Wine opens and closes descriptors of its own as it likes; the conformance suite counts there. */
static unsigned fds_open(void) { return 0; }
#else
#include "support/folder.h"

static unsigned fds_open(void) { return folder_entries("/proc/self/fd"); }
#endif

/* ---- Memory: bytes balance, and nothing is freed by another size than it was asked for ---- */

static void *stage_alloc(void *user, size_t bytes)
{
    struct stage *stage = user;
    size_t *block = malloc(bytes + 16);
    if (!block) return NULL;
    *block = bytes;
    uint64_t now = atomic_fetch_add(&stage->memory_bytes, bytes) + bytes;
    uint64_t high = atomic_load(&stage->memory_high_bytes);
    while (now > high && !atomic_compare_exchange_weak(&stage->memory_high_bytes, &high, now)) {
    }
    if (bytes >= BIG_BLOCK_BYTES) atomic_fetch_add(&stage->big_blocks, 1);
    return block + 2;
}

static void stage_free(void *user, void *data, size_t bytes)
{
    struct stage *stage = user;
    size_t *block = (size_t *)data - 2;
    if (*block != bytes) stage_wrong(stage, "freed %zu bytes of a block of %zu", bytes, *block);
    atomic_fetch_sub(&stage->memory_bytes, bytes);
    if (bytes >= BIG_BLOCK_BYTES) atomic_fetch_sub(&stage->big_blocks, 1);
    free(block);
}

/* ---- Actors ---- */

static struct actor *actor_make(struct stage *stage, sally_conn *conn)
{
    struct actor *actor = calloc(1, sizeof *actor);
    if (!actor) abort();
    actor->kind = KIND_ACTOR;
    actor->stage = stage;
    actor->conn = conn;
    actor->id = sally_conn_id(conn);
    actor->thread = pthread_self();
    sally_conn_peer(conn, actor->peer, sizeof actor->peer);
    actor->index = atomic_fetch_add(&stage->actor_count, 1);
    if (actor->index >= STAGE_ACTORS_MAX) abort();
    sally_conn_set_user(conn, actor);
    atomic_store(&stage->actors[actor->index], actor);
    return actor;
}

struct actor *actor_of(const sally_conn *conn)
{
    struct actor *actor = sally_conn_user(conn);
    return actor && actor->kind == KIND_ACTOR ? actor : NULL;
}

static void enter(struct actor *actor, sally_conn *conn, char letter)
{
    struct stage *stage = actor->stage;
    if (actor->calls + 1 < STAGE_STORY_MAX) actor->story[actor->calls] = letter;
    actor->calls++;
    if (on_stage) stage_wrong(stage, "'%c' of conn %u inside a callback", letter, actor->index);
    if (actor->conn != conn)
        stage_wrong(stage, "'%c' of conn %u: wrong conn", letter, actor->index);
    if (!pthread_equal(actor->thread, pthread_self()))
        stage_wrong(stage, "'%c' of conn %u on another thread", letter, actor->index);
    if (atomic_load(&actor->closes))
        stage_wrong(stage, "'%c' of conn %u after on_close: %s", letter, actor->index,
                    actor->story);
    on_stage = actor;
}

static void leave(void) { on_stage = NULL; }

/* A callback that came for a connection that has not been opened has no actor. */
static struct actor *begin(sally_conn *conn, char letter)
{
    struct actor *actor = actor_of(conn);
    if (actor) {
        enter(actor, conn, letter);
        return actor;
    }
    struct stage *stage = sally_conn_user(conn);
    stage_wrong(stage, "'%c' before on_open", letter);
    return actor_make(stage, conn);
}

static void stage_on_open(sally_conn *conn)
{
    struct actor *known = actor_of(conn);
    if (known) {
        stage_wrong(known->stage, "on_open twice: %s", known->story);
        return;
    }
    struct stage *stage = sally_conn_user(conn);
    struct actor *actor = actor_make(stage, conn);
    enter(actor, conn, 'o');
    if (stage->handler.on_open) stage->handler.on_open(conn);
    atomic_fetch_add(&actor->opens, 1);
    atomic_fetch_add(&stage->opened, 1);
    leave();
}

static void stage_on_data(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = begin(conn, 'd');
    STAGE_CHECK(actor->stage, len > 0 && data);
    actor->stage->handler.on_data(conn, data, len);
    atomic_fetch_add(&actor->bytes_in, len);
    atomic_fetch_add(&actor->datas, 1);
    leave();
}

static void stage_on_message(sally_conn *conn, const void *data, size_t len)
{
    struct actor *actor = begin(conn, 'm');
    STAGE_CHECK(actor->stage, data);
    actor->stage->handler.on_message(conn, data, len);
    atomic_fetch_add(&actor->bytes_in, len);
    atomic_fetch_add(&actor->messages, 1);
    leave();
}

static void stage_on_sent(sally_conn *conn, size_t bytes)
{
    struct actor *actor = begin(conn, 's');
    STAGE_CHECK(actor->stage, bytes > 0);
    atomic_fetch_add(&actor->sent, bytes);
    actor->stage->handler.on_sent(conn, bytes);
    atomic_fetch_add(&actor->sents, 1);
    leave();
}

static void stage_on_drain(sally_conn *conn)
{
    struct actor *actor = begin(conn, 'r');
    actor->stage->handler.on_drain(conn);
    atomic_fetch_add(&actor->drains, 1);
    leave();
}

static void stage_on_eof(sally_conn *conn)
{
    struct actor *actor = begin(conn, 'e');
    if (atomic_load(&actor->eofs)) stage_wrong(actor->stage, "on_eof twice: %s", actor->story);
    actor->stage->handler.on_eof(conn);
    atomic_fetch_add(&actor->eofs, 1);
    leave();
}

static void stage_on_timer(sally_conn *conn)
{
    struct actor *actor = begin(conn, 't');
    actor->stage->handler.on_timer(conn);
    atomic_fetch_add(&actor->timers, 1);
    leave();
}

static bool stage_on_timeout(sally_conn *conn, sally_timeout which)
{
    struct actor *actor = begin(conn, 'l');
    bool close = actor->stage->handler.on_timeout(conn, which);
    atomic_fetch_add(&actor->limits, 1);
    leave();
    return close;
}

static void stage_on_close(sally_conn *conn, const sally_close_info *info)
{
    struct actor *actor = actor_of(conn);
    if (!actor) { /* it could not be made: on_close alone */
        struct stage *stage = sally_conn_user(conn);
        actor = actor_make(stage, conn);
        if (sally_conn_server(conn)) stage_wrong(stage, "on_close before on_open");
    }
    enter(actor, conn, 'c');
    struct stage *stage = actor->stage;
    actor->info = *info;
    actor->closed_us = stage_now_us();
    if (stage->handler.on_close) stage->handler.on_close(conn, info);
    atomic_fetch_add(&actor->closes, 1);
    atomic_store(&actor->closed, true);
    atomic_fetch_add(&stage->closed, 1);
    leave();
}

sally_handler stage_handler(struct stage *stage)
{
    const sally_handler *given = &stage->handler;
    return (sally_handler){
        .user = stage,
        .on_accept = given->on_accept,
        .on_open = stage_on_open,
        .on_data = given->on_data ? stage_on_data : NULL,
        .on_message = given->on_message ? stage_on_message : NULL,
        .on_sent = given->on_sent ? stage_on_sent : NULL,
        .on_drain = given->on_drain ? stage_on_drain : NULL,
        .on_eof = given->on_eof ? stage_on_eof : NULL,
        .on_timer = given->on_timer ? stage_on_timer : NULL,
        .on_timeout = given->on_timeout ? stage_on_timeout : NULL,
        .on_close = stage_on_close,
        .on_error = given->on_error,
    };
}

/* ---- Begin ---- */

static void no_log(void *user, sally_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

struct stage *stage_begin(const struct stage_way *way, const struct stage_options *options)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    stage->actors = calloc(STAGE_ACTORS_MAX, sizeof *stage->actors);
    assert_non_null(stage->actors);
    stage->kind = KIND_STAGE;
    stage->way = *way;
    stage->handler = options->handler;
    stage->user = options->user;
    stage->grows = options->grows;
    stage->fds_before = fds_open();
    sally_engine_options engine = options->engine;
    engine.port = way->port;
    engine.shards = way->shards;
    if (!engine.conns_max) engine.conns_max = 4096;
    engine.allocator = (sally_allocator){.alloc = stage_alloc, .free = stage_free, .user = stage};
    engine.log = no_log;
    assert_int_equal(sally_engine_create(&stage->engine, &engine), 0);
    if (!options->no_server)
        stage->server =
            stage_listen(stage, &options->server, stage->address, sizeof stage->address);
    assert_int_equal(sally_engine_start(stage->engine), 0);
    return stage;
}

sally_server *stage_listen(struct stage *stage, const sally_server_options *options, char *buf,
                           size_t size)
{
    sally_handler handler = stage_handler(stage);
    sally_server *server = NULL;
    assert_int_equal(sally_listen(stage->engine, "127.0.0.1:0", &handler, options, &server), 0);
    assert_non_null(sally_server_address(server, 0, buf, size));
    return server;
}

int stage_connect(struct stage *stage, const char *address, const sally_connect_options *options,
                  sally_id *id)
{
    sally_handler handler = stage_handler(stage);
    return sally_connect(stage->engine, address, &handler, options, id);
}

/* ---- Middle ---- */

struct actor *stage_actor(struct stage *stage, unsigned n)
{
    STAGE_WAIT(atomic_load(&stage->actors[n]) && atomic_load(&stage->actors[n]->opens));
    return atomic_load(&stage->actors[n]);
}

/* `from`: a client's port may have been another's before. */
static struct actor *actor_find(struct stage *stage, const char *peer, unsigned from)
{
    for (unsigned i = from; i < atomic_load(&stage->actor_count); i++) {
        struct actor *actor = atomic_load(&stage->actors[i]);
        if (actor && atomic_load(&actor->opens) && strcmp(actor->peer, peer) == 0) return actor;
    }
    return NULL;
}

int stage_client(struct stage *stage, int recv_buf_bytes, struct actor **actor)
{
    unsigned from = atomic_load(&stage->actor_count);
    char peer[64];
    struct actor *found = NULL;
    uint64_t dialled_us = stage_now_us();
    int fd = raw_connect(stage->address, recv_buf_bytes);
    assert_true(fd >= 0);
    raw_address(fd, peer, sizeof peer);
    STAGE_WAIT((found = actor_find(stage, peer, from)) != NULL);
    found->dialled_us = dialled_us;
    if (actor) *actor = found;
    return fd;
}

const sally_close_info *actor_wait_closed(struct actor *actor)
{
    if (!STAGE_POLL(atomic_load(&actor->closed), STAGE_LIMIT_MS))
        fail_msg("on_close didn't come; the story: %s", actor->story);
    return &actor->info;
}

sally_server_stats stage_server_stats(const struct stage *stage)
{
    sally_server_stats stats;
    assert_int_equal(sally_server_get_stats(stage->server, &stats), 0);
    return stats;
}

sally_engine_stats stage_engine_stats(const struct stage *stage)
{
    sally_engine_stats stats;
    assert_int_equal(sally_engine_get_stats(stage->engine, &stats), 0);
    return stats;
}

uint64_t stage_refused(const struct stage *stage, sally_refusal why)
{
    sally_admission_stats stats;
    assert_int_equal(sally_server_admission_stats(stage->server, &stats), 0);
    return stats.refused_for[why];
}

void stage_echo(sally_conn *conn, const void *data, size_t len)
{
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, data, len) == 0);
}

void stage_ignore(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    (void)len;
}

static void note_unopened(sally_conn *conn, void *arg)
{
    if (!conn) atomic_store((atomic_bool *)arg, true);
}

void stage_letters_came(struct stage *stage, sally_id id)
{
    atomic_bool came = false;
    assert_int_equal(sally_post(stage->engine, id, note_unopened, &came), 0);
    STAGE_WAIT(atomic_load(&came));
}

/* ---- End ---- */

static void judge_stats(struct stage *stage)
{
    const sally_engine_stats stats = stage_engine_stats(stage);
    assert_int_equal(stats.conns, 0);
    assert_int_equal(stats.ops_started,
                     stats.ops_completed + stats.ops_cancelled + stats.ops_failed);
    assert_int_equal(stats.closed, atomic_load(&stage->closed));
    uint64_t bytes_in = 0, bytes_out = 0;
    for (unsigned i = 0; i < atomic_load(&stage->actor_count); i++) {
        bytes_in += atomic_load(&stage->actors[i])->info.bytes_in;
        bytes_out += atomic_load(&stage->actors[i])->info.bytes_out;
    }
    assert_int_equal(stats.bytes_in, bytes_in);
    assert_int_equal(stats.bytes_out, bytes_out);
}

static void judge_actors(struct stage *stage)
{
    for (unsigned i = 0; i < atomic_load(&stage->actor_count); i++) {
        struct actor *actor = atomic_load(&stage->actors[i]);
        if (atomic_load(&actor->closes) != 1)
            stage_wrong(stage, "conn %u: on_close %u times: %s", i, atomic_load(&actor->closes),
                        actor->story);
        bool told_all = !stage->grows && stage->handler.on_data &&
                        atomic_load(&actor->bytes_in) > actor->info.bytes_in;
        if (told_all) stage_wrong(stage, "conn %u: more bytes told than came", i);
        if (atomic_load(&actor->sent) > actor->info.bytes_out)
            stage_wrong(stage, "conn %u: more bytes told as sent than went", i);
    }
}

void stage_destroy_engine(struct stage *stage)
{
    assert_int_equal(sally_engine_destroy(stage->engine), 0);
    stage->engine = NULL;
    stage->dead = true;
}

void stage_end(struct stage *stage)
{
    if (!stage->dead) {
        assert_int_equal(sally_engine_stop(stage->engine), 0);
        assert_int_equal(sally_engine_wait(stage->engine), 0);
        judge_stats(stage);
        stage_destroy_engine(stage);
    }
    judge_actors(stage);
    assert_int_equal(atomic_load(&stage->memory_bytes), 0);
    assert_int_equal(fds_open(), stage->fds_before);
    assert_int_equal(atomic_load(&stage->wrongs), 0);
    for (unsigned i = 0; i < atomic_load(&stage->actor_count); i++) free(stage->actors[i]);
    free((void *)stage->actors);
    free(stage);
}

/* ---- Running ---- */

struct stage_case {
    char name[120];
    const struct stage_test *test;
    struct stage_way way;
};

/* "" when it can be used here. */
static const char *port_missing(sally_port_kind port)
{
    static const char *missing[3];
    if (missing[port]) return missing[port];
    sally_engine *engine = NULL;
    sally_engine_options options = {.port = port, .shards = 1, .conns_max = 8, .log = no_log};
    int err = sally_engine_create(&engine, &options);
    sally_engine_destroy(engine);
    missing[port] = err == SALLY_ENOPORT ? sally_err_name(err) : "";
    return missing[port];
}

static void case_run(void **state)
{
    const struct stage_case *one = *state;
    const char *missing = port_missing(one->way.port);
    if (*missing) {
        printf("skipped, %s: %s\n", missing, one->name);
        skip();
    }
    one->test->body(&one->way);
}

static unsigned cases_of(const struct stage_test *test, struct stage_case *cases)
{
    static const struct {
        sally_port_kind kind;
        const char *name;
    } ports[] = {
#if defined(_WIN32)
        {SALLY_PORT_AUTO, "iocp"},
#else
        {SALLY_PORT_EPOLL, "epoll"},
        {SALLY_PORT_URING, "uring"},
#endif
    };
    unsigned count = 0;
    for (unsigned p = 0; p < sizeof ports / sizeof ports[0]; p++) {
        for (unsigned s = 0; s < 3 && test->shards[s]; s++) {
            unsigned shards = test->shards[s];
            struct stage_case *one = &cases[count++];
            one->test = test;
            one->way = (struct stage_way){.port = ports[p].kind, .shards = shards};
            snprintf(one->name, sizeof one->name, "%s [%s, %u shard%s]", test->name, ports[p].name,
                     shards, shards == 1 ? "" : "s");
        }
    }
    return count;
}

int stage_run(const char *group, const struct stage_test *tests, size_t count, int argc,
              char **argv)
{
    struct stage_case *cases = calloc(count * WAYS_MAX, sizeof *cases);
    struct CMUnitTest *units = calloc(count * WAYS_MAX, sizeof *units);
    if (!cases || !units) return 1;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) total += cases_of(&tests[i], &cases[total]);
    for (size_t i = 0; i < total; i++)
        units[i] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = case_run, .initial_state = &cases[i]};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = _cmocka_run_group_tests(group, units, total, NULL, NULL);
    free(units);
    free(cases);
    return failed;
}
