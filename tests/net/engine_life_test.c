/* The engine's life: all or nothing at its beginning (memory is in memory_test.c); starting,
 * stopping and destroying in every order, from everywhere, under load; signals; the choice of the
 * port. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/support/accept_tools.h"

enum {
    CYCLES = SANITIZED ? 60 : 200,
    STREAMS = 300,
};

/* ---- Threads ---- */

/* So many threads still get their stack; those that end would leave it to the next, so each number
 * has a process of its own. */
static unsigned stacks;

static void child_without_threads(const struct setting *setting)
{
    enum { STACK = 8 << 20 };
    struct rig rig;
    struct tally tally;
    struct rlimit before, low;
    char text[64] = {0};
    tally_init(&tally);
    rig_open(&rig, setting);
    serve(&rig, &tally, NULL, NULL);
    FILE *file = fopen("/proc/self/statm", "r");
    check(file && fgets(text, sizeof text, file));
    fclose(file);
    check(getrlimit(RLIMIT_AS, &before) == 0);
    low = before;
    low.rlim_cur = strtoul(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) +
                   stacks * (STACK + (STACK >> 4)) + (STACK >> 1);
    check(setrlimit(RLIMIT_AS, &low) == 0);
    int err = sally_engine_start(rig.engine);
    check(setrlimit(RLIMIT_AS, &before) == 0);
    check_error(err, SALLY_EEXHAUSTED);
    check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_STOPPED);
    check_error(sally_engine_start(rig.engine), SALLY_ESTATE);
    rig_end(&rig);
}

static void no_threads_leave_an_engine_that_can_be_destroyed(const struct setting *setting)
{
    if (SANITIZED) behaviour_skip("sanitizers need the address space that is limited here");
    for (stacks = 0; stacks < setting->shards; stacks++) in_child(child_without_threads, setting);
}

/* ---- Again and again ---- */

static void a_port_can_be_served_again_at_once(const struct setting *setting)
{
    char address[TEXT_MAX] = "127.0.0.1:0";
    int descriptors = descriptors_open();
    for (int i = 0; i < CYCLES; i++) {
        struct rig rig;
        struct tally tally;
        char where[TEXT_MAX];
        memcpy(where, address, sizeof where);
        tally_init(&tally);
        rig_open(&rig, setting);
        serve_at(&rig, where, &tally, NULL, address);
        rig_start(&rig);
        int client = dial(address); /* it stays, so the engine closes first and has the TIME_WAIT */
        check(echoes(client));
        check_error(sally_engine_destroy(rig.engine), 0);
        check(dial_try(address) < 0 && errno == ECONNREFUSED);
        check(hear_end(client, LIMIT_S * 1000) != HEARD_NOTHING);
        hang_up(client);
        rig_check_clean(&rig);
        tally_check(&tally);
    }
    check_equal(descriptors_open(), descriptors);
}

static void two_engines_live_side_by_side(const struct setting *setting)
{
    char address[TEXT_MAX], other[TEXT_MAX];
    struct rig one, two;
    struct tally first, second, outgoing;
    tally_init(&first);
    tally_init(&second);
    tally_init(&outgoing);
    outgoing.mute = true;
    outgoing.greeting = "over to you";
    rig_open(&one, setting);
    rig_start(&one);
    serve(&one, &first, NULL, address);
    rig_open(&two, setting);
    rig_start(&two);
    serve(&two, &second, NULL, other);
    sally_handler handler = tally_handler(&outgoing);
    check_error(sally_connect(one.engine, other, &handler, NULL, NULL), 0);
    until(atomic_load(&outgoing.bytes) == strlen("over to you"));
    check_echo(address);
    check_echo(other);
    check_error(sally_engine_destroy(two.engine), 0);
    until(atomic_load(&outgoing.closed) == 1);
    check_echo(address);
    rig_end(&one);
    check_equal(atomic_load(&two.ledger.bytes), 0);
    tally_check(&first);
    tally_check(&second);
    tally_check(&outgoing);
}

/* ---- Ends ---- */

static char stream_bytes[16384];

static void stream_on_sent(sally_conn *conn, size_t bytes)
{
    (void)bytes;
    if (sally_conn_queued(conn) == 0)
        (void)sally_conn_send(conn, stream_bytes, sizeof stream_bytes);
}

struct streamers {
    int fds[STREAMS];
    atomic_bool stop;
    atomic_ullong bytes;
};

static void *streamers_body(void *arg)
{
    struct streamers *all = arg;
    char bytes[16384];
    memset(bytes, 'b', sizeof bytes);
    while (!atomic_load(&all->stop)) {
        for (int i = 0; i < STREAMS; i++) {
            ssize_t got = recv(all->fds[i], bytes, sizeof bytes, MSG_DONTWAIT);
            if (got > 0) atomic_fetch_add(&all->bytes, got);
            (void)send(all->fds[i], bytes, 512, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void destroying_under_load_ends_every_connection_once(const struct setting *setting)
{
    static struct streamers all;
    char address[TEXT_MAX];
    pthread_t thread;
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    tally.mute = true;
    tally.greeting = "go";
    sally_handler handler = tally_handler(&tally);
    handler.on_sent = stream_on_sent;
    rig_open(&rig, setting);
    rig_start(&rig);
    serve_handler(&rig, "127.0.0.1:0", &handler, NULL, address);
    rig.descriptors += STREAMS;
    dial_many(address, all.fds, STREAMS);
    check(pthread_create(&thread, NULL, streamers_body, &all) == 0);
    until(atomic_load(&tally.opened) == STREAMS);
    until(atomic_load(&all.bytes) > (8 << 20) && atomic_load(&tally.bytes) > (1 << 18));
    check_error(sally_engine_destroy(rig.engine), 0);
    check_equal(atomic_load(&tally.closed), STREAMS);
    check_equal(tally_reasons(&tally, SALLY_CLOSE_SHUTDOWN), STREAMS);
    atomic_store(&all.stop, true);
    check(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < STREAMS; i++) {
        enum heard heard = hear_end(all.fds[i], LIMIT_S * 1000);
        check(heard == HEARD_END || heard == HEARD_RESET);
    }
    rig_check_clean(&rig);
    hang_up_all(all.fds, STREAMS);
    tally_check(&tally);
}

static atomic_int inside[6];

static void calls_from_inside(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    sally_engine *engine = sally_conn_engine(conn);
    atomic_store(&inside[0], sally_engine_destroy(engine));
    atomic_store(&inside[1], sally_engine_start(engine));
    atomic_store(&inside[2], sally_engine_wait(engine));
    atomic_store(&inside[3], sally_engine_run(engine));
    atomic_store(&inside[4], sally_engine_stop(engine));
    atomic_store(&inside[5], sally_engine_stop(engine));
}

static void a_callback_may_stop_but_not_destroy(const struct setting *setting)
{
    char address[TEXT_MAX];
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    sally_handler handler = tally_handler(&tally);
    handler.on_data = calls_from_inside;
    rig_open(&rig, setting);
    rig_start(&rig);
    serve_handler(&rig, "127.0.0.1:0", &handler, NULL, address);
    int client = dial(address);
    say(client, "x", 1);
    check_error(sally_engine_wait(rig.engine), 0);
    check(hear_end(client, LIMIT_S * 1000) != HEARD_NOTHING);
    for (int i = 0; i < 4; i++) check_error(atomic_load(&inside[i]), SALLY_ETHREAD);
    check_error(atomic_load(&inside[4]), 0);
    check_error(atomic_load(&inside[5]), 0);
    hang_up(client);
    rig_end(&rig);
    check_equal(tally_reasons(&tally, SALLY_CLOSE_SHUTDOWN), 1);
    tally_check(&tally);
}

static void stopping_twice_and_too_early_is_fine(const struct setting *setting)
{
    for (int way = 0; way < 4; way++) {
        struct rig rig;
        struct tally tally;
        sally_stop_report report;
        tally_init(&tally);
        rig_open(&rig, setting);
        serve(&rig, &tally, NULL, NULL);
        check_error(sally_engine_stop_report(rig.engine, &report), SALLY_ESTATE);
        check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_CREATED);
        if (way >= 2) rig_start(&rig);
        if (way >= 2) check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_RUNNING);
        if (way >= 2) check_error(sally_engine_start(rig.engine), SALLY_ESTATE);
        if (way % 2) check_error(sally_engine_drain(rig.engine, 1000), 0);
        check_error(sally_engine_stop(rig.engine), 0);
        check_error(sally_engine_stop(rig.engine), 0);
        check_error(sally_engine_wait(rig.engine), 0);
        check_error(sally_engine_wait(rig.engine), 0);
        check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_STOPPED);
        check_error(sally_engine_start(rig.engine), SALLY_ESTATE);
        check_error(sally_engine_run(rig.engine), SALLY_ESTATE);
        check_error(sally_engine_drain(rig.engine, 1), 0);
        check_error(sally_engine_stop(rig.engine), 0);
        check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_STOPPED);
        check_error(sally_engine_stop_report(rig.engine, &report), 0);
        check_equal(report.conns + report.finished + report.cut, 0);
        check_error(sally_engine_destroy(rig.engine), 0);
        rig_check_clean(&rig);
    }
    check_error(sally_engine_destroy(NULL), 0);
}

static atomic_uint posts_run, posts_with_conn;

static void note_post(sally_conn *conn, void *arg)
{
    (void)arg;
    atomic_fetch_add(&posts_run, 1);
    if (conn) atomic_fetch_add(&posts_with_conn, 1);
}

static void an_engine_that_never_ran_pays_its_debts(const struct setting *setting)
{
    char nobody_at[TEXT_MAX], where[TEXT_MAX];
    struct rig rig;
    struct tally tally, outgoing;
    sally_id id;
    int nobody = nobody_home(nobody_at);
    tally_init(&tally);
    tally_init(&outgoing);
    rig_open(&rig, setting);
    serve(&rig, &tally, NULL, NULL);
    snprintf(where, sizeof where, "unix:/tmp/sally-never-%d", (int)getpid());
    serve_at(&rig, where, &tally, NULL, NULL);
    sally_handler handler = tally_handler(&outgoing);
    for (int i = 0; i < 3; i++) {
        check_error(sally_connect(rig.engine, nobody_at, &handler, NULL, &id), 0);
        check_error(sally_post(rig.engine, id, note_post, NULL), 0);
        check_error(sally_send(rig.engine, id, "x", 1), 0);
        check_error(sally_close(rig.engine, id), 0);
    }
    check_equal(atomic_load(&posts_run), 0);
    check_equal(atomic_load(&outgoing.closed_alone), 0);
    check_error(sally_engine_destroy(rig.engine), 0);
    check_equal(atomic_load(&posts_run), 3);
    check_equal(atomic_load(&posts_with_conn), 0);
    check_equal(atomic_load(&outgoing.closed_alone), 3);
    check(access(where + 5, F_OK) != 0);
    rig_check_clean(&rig);
    hang_up(nobody);
}

/* ---- Options and the port ---- */

static void *alloc_nothing(void *user, size_t bytes)
{
    (void)user;
    (void)bytes;
    return NULL;
}

static void options_out_of_range_are_refused(const struct setting *setting)
{
    const sally_engine_options wrong[] = {
        {.port = setting->port, .shards = 65},
        {.port = setting->port, .conns_max = 16000001},
        {.port = setting->port, .log_level = (sally_log_level)4},
        {.port = setting->port, .send_chunk_bytes = 1},
        {.port = setting->port, .allocator = {.alloc = alloc_nothing}},
        {.port = (sally_port_kind)4},
        {.port = (sally_port_kind)-1},
    };
    sally_engine *engine = NULL;
    int descriptors = descriptors_open();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        check_error(sally_engine_create(&engine, &wrong[i]), SALLY_EINVAL);
        check(engine == NULL);
        check_equal(descriptors_open(), descriptors);
    }
    check_error(sally_engine_create(NULL, NULL), SALLY_EINVAL);
    check_error(sally_engine_start(NULL), SALLY_EINVAL);
    check_error(sally_engine_run(NULL), SALLY_EINVAL);
    check_error(sally_engine_wait(NULL), SALLY_EINVAL);
    check_error(sally_engine_stop(NULL), SALLY_EINVAL);
    check_error(sally_engine_drain(NULL, 0), SALLY_EINVAL);
}

static atomic_uint lines, lines_on_port;
static char port_line[512];

static void note_line(void *user, sally_log_level level, const char *line)
{
    (void)user;
    (void)level;
    atomic_fetch_add(&lines, 1);
    if (!strstr(line, "io_uring")) return;
    atomic_fetch_add(&lines_on_port, 1);
    snprintf(port_line, sizeof port_line, "%s", line);
}

static int create_kind(sally_port_kind kind, char *name)
{
    sally_engine_options options = {
        .port = kind, .shards = 1, .log = note_line, .log_level = SALLY_LOG_INFO};
    sally_engine *engine = NULL;
    atomic_store(&lines, 0);
    atomic_store(&lines_on_port, 0);
    int err = sally_engine_create(&engine, &options);
    snprintf(name, 16, "%s", sally_engine_port(engine));
    if (!err) check(strlen(sally_engine_port_reason(engine)) > 0);
    check_error(sally_engine_destroy(engine), 0);
    return err;
}

static void the_environment_chooses_the_port_unless_the_program_does(const struct setting *setting)
{
    char name[16];
    (void)setting;
    check(setenv("SALLY_PORT", "epoll", 1) == 0);
    check_error(create_kind(SALLY_PORT_AUTO, name), 0);
    check(strcmp(name, "epoll") == 0);
    bool uring = create_kind(SALLY_PORT_URING, name) == 0;
    check(!uring || strcmp(name, "uring") == 0);
    check(setenv("SALLY_PORT", "uring", 1) == 0);
    check_error(create_kind(SALLY_PORT_AUTO, name), uring ? 0 : SALLY_ENOPORT);
    check(!uring || strcmp(name, "uring") == 0);
    check_error(create_kind(SALLY_PORT_EPOLL, name), 0);
    check(strcmp(name, "epoll") == 0);
    check(setenv("SALLY_PORT", "nonsense", 1) == 0);
    check_error(create_kind(SALLY_PORT_AUTO, name), SALLY_EINVAL);
    check_error(create_kind(SALLY_PORT_EPOLL, name), 0);
    check_error(create_kind(SALLY_PORT_IOCP, name), SALLY_ENOPORT);
    check(setenv("SALLY_PORT", "iocp", 1) == 0);
    check_error(create_kind(SALLY_PORT_AUTO, name), SALLY_ENOPORT);
    check(setenv("SALLY_PORT", "", 1) == 0);
    check_error(create_kind(SALLY_PORT_AUTO, name), 0);
    check(strcmp(name, uring ? "uring" : "epoll") == 0);
}

/* From here on io_uring_setup gives this errno in this process. */
static void forbid_uring(unsigned error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        behaviour_skip("no seccomp filters here");
}

static void without_uring(unsigned error)
{
    char name[16];
    unsetenv("SALLY_PORT");
    forbid_uring(error);
    int descriptors = descriptors_open();
    check_error(create_kind(SALLY_PORT_URING, name), SALLY_ENOPORT);
    check_equal(atomic_load(&lines_on_port), 1);
    check_error(create_kind(SALLY_PORT_AUTO, name), 0);
    check(strcmp(name, "epoll") == 0);
    check_equal(atomic_load(&lines_on_port), 1);
    check_equal(atomic_load(&lines), 1);
    printf("%s\n", port_line);
    check(strstr(port_line, "epoll") != NULL);
    check_equal(descriptors_open(), descriptors);
}

static void a_forbidden_uring_gives_way_to_epoll_with_one_line(const struct setting *setting)
{
    (void)setting;
    without_uring(EPERM);
}

static void a_missing_uring_gives_way_to_epoll_with_one_line(const struct setting *setting)
{
    (void)setting;
    without_uring(ENOSYS);
}

/* ---- Signals ---- */

struct sender {
    struct rig *rig;
    const char *address;
    int first;
    int second; /* 0: none */
    bool stays; /* the client never closes */
    bool left;  /* the signals are the program's */
};

static void (*action_of(int number))(int)
{
    struct sigaction action;
    check(sigaction(number, NULL, &action) == 0);
    return action.sa_handler;
}

static void *sender_body(void *arg)
{
    struct sender *sender = arg;
    int client = dial(sender->address);
    check(echoes(client));
    if (sender->left) {
        check(action_of(SIGINT) == SIG_DFL && action_of(SIGTERM) == SIG_DFL);
        check_error(sally_engine_stop(sender->rig->engine), 0);
    } else {
        until(action_of(sender->first) != SIG_DFL);
        check(kill(getpid(), sender->first) == 0);
    }
    check(hear_end(client, LIMIT_S * 1000) != HEARD_NOTHING);
    if (sender->second) {
        check_equal(sally_engine_get_state(sender->rig->engine), SALLY_ENGINE_DRAINING);
        check(kill(getpid(), sender->second) == 0);
    }
    if (sender->stays) check_error(sally_engine_wait(sender->rig->engine), 0);
    hang_up(client);
    return NULL;
}

static void run_with(const struct setting *setting, struct sender *sender,
                     sally_close_reason reason)
{
    char address[TEXT_MAX];
    pthread_t thread;
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    rig_prepare(&rig, setting);
    rig.options.signal_drain_ms = 600 * 1000;
    rig.options.leave_signals = sender->left;
    rig_create(&rig);
    static const sally_server_options patient = {.conn = {.linger_ms = 600 * 1000}};
    serve(&rig, &tally, &patient, address);
    sender->rig = &rig;
    sender->address = address;
    check(pthread_create(&thread, NULL, sender_body, sender) == 0);
    check_error(sally_engine_run(rig.engine), 0);
    check(pthread_join(thread, NULL) == 0);
    check(action_of(SIGINT) == SIG_DFL && action_of(SIGTERM) == SIG_DFL);
    rig_end(&rig);
    check_equal(tally_reasons(&tally, reason), 1);
    tally_check(&tally);
}

static void the_first_signal_drains(const struct setting *setting)
{
    struct sender term = {.first = SIGTERM}, interrupt = {.first = SIGINT};
    run_with(setting, &term, SALLY_CLOSE_SHUTDOWN);
    run_with(setting, &interrupt, SALLY_CLOSE_SHUTDOWN);
}

static void the_second_signal_stops_at_once(const struct setting *setting)
{
    struct sender sender = {.first = SIGINT, .second = SIGTERM, .stays = true};
    run_with(setting, &sender, SALLY_CLOSE_SHUTDOWN);
}

static void signals_that_the_program_keeps_are_left_alone(const struct setting *setting)
{
    struct sender sender = {.left = true};
    run_with(setting, &sender, SALLY_CLOSE_SHUTDOWN);
}

static void *ignored_body(void *arg)
{
    struct rig *rig = arg;
    until(action_of(SIGTERM) != SIG_DFL);
    check(action_of(SIGINT) == SIG_IGN);
    check_error(sally_engine_stop(rig->engine), 0);
    return NULL;
}

static void signals_with_an_action_of_their_own_are_left_alone(const struct setting *setting)
{
    pthread_t thread;
    struct rig rig;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    check(sigaction(SIGINT, &ignore, NULL) == 0);
    rig_open(&rig, setting);
    check(pthread_create(&thread, NULL, ignored_body, &rig) == 0);
    check_error(sally_engine_run(rig.engine), 0);
    check(pthread_join(thread, NULL) == 0);
    check(action_of(SIGINT) == SIG_IGN && action_of(SIGTERM) == SIG_DFL);
    rig_end(&rig);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(no_threads_leave_an_engine_that_can_be_destroyed, ON_BOTH),
        BEHAVIOUR(a_port_can_be_served_again_at_once, ON_BOTH),
        BEHAVIOUR(two_engines_live_side_by_side, ON_BOTH),
        BEHAVIOUR(destroying_under_load_ends_every_connection_once, ON_BOTH),
        BEHAVIOUR(a_callback_may_stop_but_not_destroy, ON_BOTH),
        BEHAVIOUR(stopping_twice_and_too_early_is_fine, ON_BOTH),
        BEHAVIOUR(an_engine_that_never_ran_pays_its_debts, ON_BOTH),
        BEHAVIOUR(options_out_of_range_are_refused, ON_ONE),
        BEHAVIOUR(the_environment_chooses_the_port_unless_the_program_does, ANYWHERE),
        BEHAVIOUR(a_forbidden_uring_gives_way_to_epoll_with_one_line, ANYWHERE),
        BEHAVIOUR(a_missing_uring_gives_way_to_epoll_with_one_line, ANYWHERE),
        BEHAVIOUR(the_first_signal_drains, ON_BOTH),
        BEHAVIOUR(the_second_signal_stops_at_once, ON_BOTH),
        BEHAVIOUR(signals_that_the_program_keeps_are_left_alone, ON_ONE),
        BEHAVIOUR(signals_with_an_action_of_their_own_are_left_alone, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
