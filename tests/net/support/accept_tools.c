/* Checks, behaviours, the counting allocator, rigs, tallies and servers; see accept_tools.h. The
 * clients are in accept_clients.c. */
#include "net/support/accept_tools.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/folder.h"

enum {
    MARK_TALLY = 0x7a11,
    MARK_CELL = 0xce11,
    HEADER_BYTES = 16,
    NAME_MAX_BYTES = 120,
    EXIT_SKIPPED = 77
};

static const char *running = "";

/* A ring hands out descriptors without a call that ThreadSanitizer sees. So it takes a newcomer's
 * for the one that another shard had under that number and has closed. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:linux_refuse\n"; }

/* ---- Checks ---- */

static _Noreturn void fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static _Noreturn void fail_at(const char *file, int line, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dprintf(STDERR_FILENO, "%s: %s:%d: %s\n", running, file, line, text);
    _exit(EXIT_FAILURE);
}

void behaviour_skip(const char *cause)
{
    dprintf(STDERR_FILENO, "%s: skipped: %s\n", running, cause);
    _exit(EXIT_SKIPPED);
}

void check_at(bool holds, const char *what, const char *file, int line)
{
    if (!holds) fail_at(file, line, "not so: %s (errno %d)", what, errno);
}

void check_equal_at(int64_t value, int64_t wanted, const char *what, const char *file, int line)
{
    if (value != wanted)
        fail_at(file, line, "%s is %lld, not %lld", what, (long long)value, (long long)wanted);
}

void check_error_at(int value, int wanted, const char *what, const char *file, int line)
{
    if (value != wanted)
        fail_at(file, line, "%s gave %s, not %s", what, sally_err_name(value),
                sally_err_name(wanted));
}

uint64_t tools_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void tools_nap_ms(unsigned ms)
{
    struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&nap, &nap) != 0 && errno == EINTR) {
    }
}

struct patience patience_begin(const char *what, const char *file, int line)
{
    return (struct patience){
        .end_ms = tools_now_ms() + LIMIT_S * 1000, .what = what, .file = file, .line = line};
}

void patience_wait(struct patience *patience)
{
    if (tools_now_ms() >= patience->end_ms)
        fail_at(patience->file, patience->line, "not within %d s: %s", LIMIT_S, patience->what);
    tools_nap_ms(1);
}

int descriptors_open(void) { return (int)folder_entries("/proc/self/fd") - 1; }

int threads_running(void) { return (int)folder_entries("/proc/self/task"); }

/* ---- Behaviours ---- */

struct run {
    const struct behaviour *behaviour;
    struct setting setting;
    char name[NAME_MAX_BYTES];
};

static const char *port_name(sally_port_kind port)
{
    return port == SALLY_PORT_URING ? "uring" : "epoll";
}

/* A kind that this machine refuses is skipped; any other refusal fails in the test itself. */
static bool port_works(sally_port_kind port)
{
    sally_engine *engine = NULL;
    sally_engine_options options = {.port = port, .shards = 1};
    int err = sally_engine_create(&engine, &options);
    sally_engine_destroy(engine);
    return err != SALLY_ENOPORT;
}

/* 0 or the exit status; a signal that ended it is 128 and more. */
static int forked(void (*body)(const struct setting *setting), const struct setting *setting)
{
    fflush(NULL);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(TEST_LIMIT_S);
        body(setting);
        exit(0); /* so that a leak checker has its say */
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Each run has a process of its own: one that hangs, asserts or leaves threads behind fails alone.
 */
static void run_one(void **state)
{
    const struct run *run = *state;
    running = run->name;
    if (run->behaviour->where != ANYWHERE && !port_works(run->setting.port)) {
        print_message("%s can't be used here\n", port_name(run->setting.port));
        skip();
    }
    int status = forked(run->behaviour->body, &run->setting);
    if (status == EXIT_SKIPPED) skip();
    if (status == 128 + SIGALRM) fail_msg("it hangs");
    if (status) fail_msg("exit status %d", status);
}

static size_t runs_of(const struct behaviour *behaviour, struct run *runs)
{
    static const sally_port_kind ports[] = {SALLY_PORT_EPOLL, SALLY_PORT_URING};
    size_t count = 0;
    for (int p = 0; p < 2; p++) {
        for (uint32_t shards = 1; shards <= 3; shards += 2) {
            unsigned wanted = shards == 1 ? ON_ONE : ON_THREE;
            if (!(behaviour->where & wanted)) continue;
            struct run *run = &runs[count++];
            run->behaviour = behaviour;
            run->setting = (struct setting){.port = ports[p], .shards = shards};
            snprintf(run->name, sizeof run->name, "%s [%s, %u shard%s]", behaviour->name,
                     port_name(ports[p]), shards, shards == 1 ? "" : "s");
        }
    }
    if (behaviour->where == ANYWHERE) {
        runs->behaviour = behaviour;
        snprintf(runs->name, sizeof runs->name, "%s", behaviour->name);
        count = 1;
    }
    return count;
}

int behaviours_run(const struct behaviour *list, size_t count)
{
    const char *only = getenv("SALLY_ONLY");
    struct run *runs = calloc(count * SETTINGS_MAX, sizeof *runs);
    struct CMUnitTest *tests = calloc(count * SETTINGS_MAX, sizeof *tests);
    if (!runs || !tests) return 1;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) total += runs_of(&list[i], &runs[total]);
    size_t kept = 0;
    for (size_t i = 0; i < total; i++) {
        if (only && strncmp(runs[i].name, only, strlen(only)) != 0) continue;
        tests[kept++] = (struct CMUnitTest){
            .name = runs[i].name, .test_func = run_one, .initial_state = &runs[i]};
    }
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    int failed = _cmocka_run_group_tests("net", tests, kept, NULL, NULL);
    free(tests);
    free(runs);
    return failed != 0;
}

void in_child(void (*body)(const struct setting *setting), const struct setting *setting)
{
    int status = forked(body, setting);
    if (status == EXIT_SKIPPED) _exit(EXIT_SKIPPED);
    check_equal(status, 0);
}

/* ---- The allocator ---- */

/* The size is kept before each block, so that one freed with another size is found. */
static void *ledger_alloc(void *user, size_t bytes)
{
    struct ledger *ledger = user;
    uint64_t number = atomic_fetch_add(&ledger->asked, 1) + 1;
    uint64_t fail_at_number = atomic_load(&ledger->fail_at);
    if (fail_at_number &&
        (number == fail_at_number || (number > fail_at_number && atomic_load(&ledger->fail_on)))) {
        atomic_store(&ledger->failed, true);
        return NULL;
    }
    unsigned char *raw = malloc(HEADER_BYTES + bytes);
    if (!raw) return NULL;
    memcpy(raw, &bytes, sizeof bytes);
    memset(raw + HEADER_BYTES, 0xa5, bytes);
    atomic_fetch_add(&ledger->bytes, bytes);
    atomic_fetch_add(&ledger->blocks, 1);
    return raw + HEADER_BYTES;
}

static void ledger_free(void *user, void *block, size_t bytes)
{
    struct ledger *ledger = user;
    if (!block) return;
    unsigned char *raw = (unsigned char *)block - HEADER_BYTES;
    size_t given;
    memcpy(&given, raw, sizeof given);
    if (given != bytes) {
        fprintf(stderr, "%s: a block of %zu bytes was freed as %zu\n", running, given, bytes);
        abort();
    }
    memset(raw, 0x5a, HEADER_BYTES + bytes);
    atomic_fetch_sub(&ledger->bytes, bytes);
    atomic_fetch_sub(&ledger->blocks, 1);
    free(raw);
}

sally_allocator ledger_allocator(struct ledger *ledger)
{
    return (sally_allocator){.alloc = ledger_alloc, .free = ledger_free, .user = ledger};
}

/* ---- Rigs ---- */

void rig_prepare(struct rig *rig, const struct setting *setting)
{
    memset(rig, 0, sizeof *rig);
    rig->setting = setting;
    rig->descriptors = descriptors_open();
    rig->options.port = setting->port;
    rig->options.shards = setting->shards;
    rig->options.conns_max = 8192;
    rig->options.allocator = ledger_allocator(&rig->ledger);
}

void rig_create(struct rig *rig)
{
    check_error(sally_engine_create(&rig->engine, &rig->options), 0);
    const char *name = sally_engine_port(rig->engine);
    check(strcmp(name, port_name(rig->setting->port)) == 0);
}

void rig_open(struct rig *rig, const struct setting *setting)
{
    rig_prepare(rig, setting);
    rig_create(rig);
}

void rig_start(struct rig *rig) { check_error(sally_engine_start(rig->engine), 0); }

sally_engine_stats rig_stats(struct rig *rig)
{
    sally_engine_stats stats;
    check_error(sally_engine_get_stats(rig->engine, &stats), 0);
    return stats;
}

void rig_check_clean(struct rig *rig)
{
    check_equal(atomic_load(&rig->ledger.bytes), 0);
    check_equal(atomic_load(&rig->ledger.blocks), 0);
    until(descriptors_open() <= rig->descriptors);
    check_equal(descriptors_open(), rig->descriptors);
}

void rig_end(struct rig *rig)
{
    if (sally_engine_get_state(rig->engine) != SALLY_ENGINE_CREATED) {
        check_error(sally_engine_stop(rig->engine), 0);
        check_error(sally_engine_wait(rig->engine), 0);
        check_equal(sally_engine_get_state(rig->engine), SALLY_ENGINE_STOPPED);
        sally_engine_stats stats = rig_stats(rig);
        check_equal(stats.conns, 0);
        check_equal(stats.ops_started,
                    stats.ops_completed + stats.ops_cancelled + stats.ops_failed);
    }
    check_error(sally_engine_destroy(rig->engine), 0);
    rig->engine = NULL;
    rig_check_clean(rig);
}

/* ---- Tallies ---- */

void rig_run(struct rig *rig, struct tally *tally, const struct setting *setting)
{
    tally_init(tally);
    rig_open(rig, setting);
    rig_start(rig);
}

/* What a connection's user pointer is from on_open on. */
struct cell {
    uint32_t mark;
    struct tally *tally;
};

void tally_init(struct tally *tally)
{
    memset(tally, 0, sizeof *tally);
    tally->mark = MARK_TALLY;
}

struct tally *tally_of(sally_conn *conn)
{
    uint32_t *mark = sally_conn_user(conn);
    if (*mark == MARK_TALLY) return (struct tally *)(void *)mark;
    return ((struct cell *)(void *)mark)->tally;
}

static bool conn_opened(sally_conn *conn)
{
    return *(uint32_t *)sally_conn_user(conn) == MARK_CELL;
}

static sally_verdict tally_on_accept(sally_server *server, const sally_accept_info *info)
{
    struct tally *tally = sally_server_user(server);
    atomic_fetch_add(&tally->judged, 1);
    if (!info->peer || !info->address) atomic_fetch_add(&tally->disorders, 1);
    return atomic_load(&tally->refuse) ? SALLY_RESET : SALLY_ALLOW;
}

static void tally_on_open(sally_conn *conn)
{
    struct tally *tally = tally_of(conn);
    if (conn_opened(conn)) atomic_fetch_add(&tally->disorders, 1);
    struct cell *cell = malloc(sizeof *cell);
    if (!cell) abort();
    *cell = (struct cell){.mark = MARK_CELL, .tally = tally};
    sally_conn_set_user(conn, cell);
    if (tally->greeting) (void)sally_conn_send(conn, tally->greeting, strlen(tally->greeting));
    unsigned live = atomic_fetch_add(&tally->opened, 1) + 1 - atomic_load(&tally->closed);
    unsigned peak = atomic_load(&tally->peak);
    while (live > peak && !atomic_compare_exchange_weak(&tally->peak, &peak, live)) {
    }
}

static void tally_on_data(sally_conn *conn, const void *data, size_t len)
{
    struct tally *tally = tally_of(conn);
    if (!conn_opened(conn) || len == 0) atomic_fetch_add(&tally->disorders, 1);
    atomic_fetch_add(&tally->bytes, len);
    if (!tally->mute) (void)sally_conn_send(conn, data, len);
}

static void tally_on_drain(sally_conn *conn)
{
    atomic_fetch_add(&tally_of(conn)->drained, 1);
    if (!conn_opened(conn)) atomic_fetch_add(&tally_of(conn)->disorders, 1);
}

static void tally_on_timer(sally_conn *conn)
{
    atomic_fetch_add(&tally_of(conn)->timers, 1);
    if (!conn_opened(conn)) atomic_fetch_add(&tally_of(conn)->disorders, 1);
}

static void tally_on_close(sally_conn *conn, const sally_close_info *info)
{
    struct tally *tally = tally_of(conn);
    bool opened = conn_opened(conn);
    if (opened) {
        struct cell *cell = sally_conn_user(conn);
        cell->mark = 0;
        free(cell);
        sally_conn_set_user(conn, tally);
    }
    atomic_fetch_add(&tally->bytes_unsent, info->bytes_unsent);
    atomic_fetch_add(&tally->reasons[info->reason], 1);
    atomic_store(&tally->last_error, info->error);
    atomic_store(&tally->last_reason, (int)info->reason);
    atomic_fetch_add(opened ? &tally->closed : &tally->closed_alone,
                     1); /* last: tests wait for it */
}

static void tally_on_error(sally_server *server, const sally_server_event *event)
{
    struct tally *tally = sally_server_user(server);
    atomic_fetch_add(&tally->events[event->kind], 1);
}

sally_handler tally_handler(struct tally *tally)
{
    return (sally_handler){
        .user = tally,
        .on_accept = tally_on_accept,
        .on_open = tally_on_open,
        .on_data = tally_on_data,
        .on_drain = tally_on_drain,
        .on_timer = tally_on_timer,
        .on_close = tally_on_close,
        .on_error = tally_on_error,
    };
}

unsigned tally_live(const struct tally *tally)
{
    unsigned closed = atomic_load(&tally->closed);
    return atomic_load(&tally->opened) - closed;
}

unsigned tally_events(const struct tally *tally, sally_server_event_kind kind)
{
    return atomic_load(&tally->events[kind]);
}

unsigned tally_reasons(const struct tally *tally, sally_close_reason reason)
{
    return atomic_load(&tally->reasons[reason]);
}

void tally_check(const struct tally *tally)
{
    check_equal(atomic_load(&tally->disorders), 0);
    check_equal(atomic_load(&tally->closed), atomic_load(&tally->opened));
}

/* ---- Servers ---- */

sally_server *serve_handler(struct rig *rig, const char *where, const sally_handler *handler,
                            const sally_server_options *options, char *address)
{
    sally_server *server = NULL;
    check_error(sally_listen(rig->engine, where, handler, options, &server), 0);
    if (address) check(sally_server_address(server, 0, address, TEXT_MAX) == address);
    return server;
}

sally_server *serve_at(struct rig *rig, const char *where, struct tally *tally,
                       const sally_server_options *options, char *address)
{
    sally_handler handler = tally_handler(tally);
    return serve_handler(rig, where, &handler, options, address);
}

sally_server *serve(struct rig *rig, struct tally *tally, const sally_server_options *options,
                    char *address)
{
    return serve_at(rig, "127.0.0.1:0", tally, options, address);
}

sally_server_stats server_stats(sally_server *server)
{
    sally_server_stats stats;
    check_error(sally_server_get_stats(server, &stats), 0);
    return stats;
}
