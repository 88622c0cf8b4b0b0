/* An engine of one shard inside a loop of the program's own: poll on the engine's descriptor, for
 * as long as it says, together with a pipe of the program's. Callbacks come on that thread alone.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/support/accept_tools.h"

enum { ROUNDS = 200, TIMER_MS = 60 };

struct loop {
    struct rig rig;
    struct tally tally;
    char address[TEXT_MAX];
    pthread_t owner;
    atomic_uint strangers; /* callbacks on another thread */
    atomic_ullong id;      /* of the last connection that opened */
    int pipe[2];
    unsigned piped; /* bytes that came through it */
    unsigned polls;
};

static struct loop loop;

static void note_thread(void)
{
    if (!pthread_equal(pthread_self(), loop.owner)) atomic_fetch_add(&loop.strangers, 1);
}

static sally_handler plain; /* the tally's */

static void loop_on_open(sally_conn *conn)
{
    note_thread();
    plain.on_open(conn);
    atomic_store(&loop.id, sally_conn_id(conn));
}

static void loop_on_data(sally_conn *conn, const void *data, size_t len)
{
    note_thread();
    plain.on_data(conn, data, len);
    if (len == 1 && *(const char *)data == 't') check_error(sally_conn_timer(conn, TIMER_MS), 0);
}

static void loop_on_timer(sally_conn *conn)
{
    note_thread();
    plain.on_timer(conn);
    check_error(sally_conn_send(conn, "T", 1), 0);
}

static void loop_on_close(sally_conn *conn, const sally_close_info *info)
{
    note_thread();
    plain.on_close(conn, info);
}

static void loop_open(const struct setting *setting)
{
    memset(&loop, 0, sizeof loop);
    tally_init(&loop.tally);
    plain = tally_handler(&loop.tally);
    sally_handler handler = plain;
    handler.on_open = loop_on_open;
    handler.on_data = loop_on_data;
    handler.on_timer = loop_on_timer;
    handler.on_close = loop_on_close;
    loop.owner = pthread_self();
    check(pipe(loop.pipe) == 0);
    rig_open(&loop.rig, setting);
    serve_handler(&loop.rig, "127.0.0.1:0", &handler, NULL, loop.address);
}

static void loop_close(void)
{
    rig_end(&loop.rig);
    close(loop.pipe[0]);
    close(loop.pipe[1]);
    check_equal(atomic_load(&loop.strangers), 0);
    tally_check(&loop.tally);
}

/* One turn of the program's loop; what run_once said. Nothing but the engine's own word limits the
 * sleep, so that a wake-up that doesn't come is a failure. */
static int loop_turn(void)
{
    sally_engine *engine = loop.rig.engine;
    int64_t fd = sally_engine_fd(engine);
    check(fd >= 0);
    uint32_t next_ms = sally_engine_next_ms(engine);
    int limit = next_ms < LIMIT_S * 1000 ? (int)next_ms : LIMIT_S * 1000;
    struct pollfd poll_fds[2] = {{.fd = (int)fd, .events = POLLIN},
                                 {.fd = loop.pipe[0], .events = POLLIN}};
    int ready = poll(poll_fds, 2, limit);
    check(ready > 0 || (ready < 0 && errno == EINTR) || limit < LIMIT_S * 1000);
    loop.polls++;
    if (ready > 0 && poll_fds[1].revents) {
        char bytes[64];
        ssize_t got = read(loop.pipe[0], bytes, sizeof bytes);
        check(got > 0);
        loop.piped += (unsigned)got;
    }
    return sally_engine_run_once(engine, 0);
}

static void loop_until_stopped(void)
{
    int err;
    while ((err = loop_turn()) == 0) {
    }
    check_equal(err, 1);
    check_equal(sally_engine_run_once(loop.rig.engine, 0), 1);
    check_equal(sally_engine_get_state(loop.rig.engine), SALLY_ENGINE_STOPPED);
}

static void *echo_and_stop(void *arg)
{
    (void)arg;
    int fd = dial(loop.address);
    for (int i = 0; i < ROUNDS; i++) {
        check(echoes(fd));
        check(write(loop.pipe[1], "p", 1) == 1);
    }
    hang_up(fd);
    until(atomic_load(&loop.tally.closed) == 1);
    check_error(sally_engine_stop(loop.rig.engine), 0);
    return NULL;
}

static void the_program_serves_from_its_own_loop(const struct setting *setting)
{
    pthread_t thread;
    loop_open(setting);
    check(pthread_create(&thread, NULL, echo_and_stop, NULL) == 0);
    loop_until_stopped();
    check(pthread_join(thread, NULL) == 0);
    struct pollfd poll_fd = {.fd = loop.pipe[0], .events = POLLIN};
    while (loop.piped < ROUNDS) {
        char byte;
        check(poll(&poll_fd, 1, 0) == 1 && read(loop.pipe[0], &byte, 1) == 1);
        loop.piped++;
    }
    check_equal(atomic_load(&loop.tally.bytes), ROUNDS * sizeof(unsigned));
    loop_close();
}

static void *ask_for_timer(void *arg)
{
    (void)arg;
    char answer[2] = {0};
    int fd = dial(loop.address);
    for (int i = 0; i < 3; i++) {
        uint64_t began = tools_now_ms();
        say(fd, "t", 1);
        check(hear(fd, answer, 2) && memcmp(answer, "tT", 2) == 0);
        check(tools_now_ms() - began >= TIMER_MS - 1);
    }
    hang_up(fd);
    check_error(sally_engine_drain(loop.rig.engine, LIMIT_S * 1000), 0);
    return NULL;
}

static void timers_come_as_next_ms_says(const struct setting *setting)
{
    pthread_t thread;
    loop_open(setting);
    check(pthread_create(&thread, NULL, ask_for_timer, NULL) == 0);
    loop_until_stopped();
    check(pthread_join(thread, NULL) == 0);
    check_equal(atomic_load(&loop.tally.timers), 3);
    loop_close();
}

static void post_note(sally_conn *conn, void *arg)
{
    (void)conn;
    note_thread();
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void *send_from_outside(void *arg)
{
    (void)arg;
    atomic_uint posted = 0;
    char answer[4];
    int fd = dial(loop.address);
    check(echoes(fd));
    sally_id id = atomic_load(&loop.id);
    for (int i = 0; i < ROUNDS; i++) {
        check_error(sally_send(loop.rig.engine, id, "wake", 4), 0);
        check(hear(fd, answer, 4) && memcmp(answer, "wake", 4) == 0);
    }
    check_error(sally_post(loop.rig.engine, id, post_note, &posted), 0);
    until(atomic_load(&posted) == 1);
    check_error(sally_close(loop.rig.engine, id), 0);
    check_equal(hear_next(fd, LIMIT_S * 1000), HEARD_END);
    hang_up(fd);
    check_error(sally_engine_stop(loop.rig.engine), 0);
    return NULL;
}

static void calls_from_other_threads_wake_the_loop(const struct setting *setting)
{
    pthread_t thread;
    loop_open(setting);
    check(pthread_create(&thread, NULL, send_from_outside, NULL) == 0);
    loop_until_stopped();
    check(pthread_join(thread, NULL) == 0);
    loop_close();
}

static void *bulk_and_stop(void *arg)
{
    enum { CLIENTS = 100, BYTES = 200000 };
    static char sent[BYTES], got[BYTES];
    int fds[CLIENTS];
    (void)arg;
    memset(sent, 'b', sizeof sent);
    dial_many(loop.address, fds, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) check(echoes(fds[i]));
    for (int i = 0; i < CLIENTS; i++) {
        for (size_t done = 0; done < BYTES; done += BYTES / 10) {
            say(fds[i], sent + done, BYTES / 10);
            check(hear(fds[i], got + done, BYTES / 10));
        }
        check(memcmp(sent, got, BYTES) == 0);
    }
    hang_up_all(fds, CLIENTS);
    check_error(sally_engine_stop(loop.rig.engine), 0);
    return NULL;
}

static void bulk_never_stalls_for_want_of_a_wake_up(const struct setting *setting)
{
    pthread_t thread;
    loop_open(setting);
    check(pthread_create(&thread, NULL, bulk_and_stop, NULL) == 0);
    loop_until_stopped();
    check(pthread_join(thread, NULL) == 0);
    loop_close();
}

/* ---- Between two turns ---- */

enum { FAR_MS = 20000, WARM_ROUNDS = 5 };

static sally_conn *opened; /* the last one; this thread's, as the engine is */
static unsigned came;

static void open_with_far_timer(sally_conn *conn)
{
    plain.on_open(conn);
    check_error(sally_conn_timer(conn, FAR_MS), 0);
    opened = conn;
}

static void count_data(sally_conn *conn, const void *data, size_t len)
{
    (void)conn;
    (void)data;
    came += (unsigned)len;
}

/* The connection's timer is what ends the sleep of a turn that doesn't see the send. */
static void what_is_sent_between_turns_goes_with_the_next(const struct setting *setting)
{
    char answer[5];
    struct rig rig;
    struct tally tally;
    sally_server *server;
    char address[TEXT_MAX];
    tally_init(&tally);
    plain = tally_handler(&tally);
    sally_handler handler = plain;
    sally_server_options options = {.watchdog_ms = SALLY_FOREVER};
    handler.on_open = open_with_far_timer;
    handler.on_data = count_data;
    opened = NULL;
    came = 0;
    rig_open(&rig, setting);
    check_error(sally_listen(rig.engine, "127.0.0.1:0", &handler, &options, &server), 0);
    check(sally_server_address(server, 0, address, TEXT_MAX) == address);
    int client = dial(address);
    until(sally_engine_run_once(rig.engine, 10) == 0 && opened);
    /* the engine has a timer of its own for a second, which would end the sleep too */
    until(sally_engine_run_once(rig.engine, 10) == 0 &&
          sally_engine_next_ms(rig.engine) > FAR_MS / 4);
    for (unsigned round = 1; round <= WARM_ROUNDS; round++) { /* the port's alarm is set for it */
        say(client, "x", 1);
        until(sally_engine_run_once(rig.engine, SALLY_FOREVER) == 0 && came == round);
        check_error(sally_conn_send(opened, "hello", 5), 0);
        check_error(sally_engine_run_once(rig.engine, SALLY_FOREVER), 0);
        check(hear(client, answer, 5) && memcmp(answer, "hello", 5) == 0);
        check_equal(atomic_load(&tally.timers), 0);
    }
    hang_up(client);
    until(sally_engine_run_once(rig.engine, 10) == 0 && atomic_load(&tally.closed) == 1);
    check_error(sally_engine_destroy(rig.engine), 0);
    rig_check_clean(&rig);
}

/* ---- Wrong uses ---- */

static void *drive_from_here(void *arg)
{
    sally_engine *engine = arg;
    check_error(sally_engine_run_once(engine, 0), SALLY_ETHREAD);
    check_error(sally_engine_destroy(engine), SALLY_ETHREAD);
    return NULL;
}

static atomic_int inside[2];

static void drive_inside(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    atomic_store(&inside[0], sally_engine_run_once(sally_conn_engine(conn), 0));
    atomic_store(&inside[1], sally_engine_destroy(sally_conn_engine(conn)));
}

static void only_one_thread_drives_and_never_from_inside(const struct setting *setting)
{
    char address[TEXT_MAX];
    pthread_t thread;
    struct rig rig;
    struct tally tally;
    tally_init(&tally);
    sally_handler handler = tally_handler(&tally);
    handler.on_data = drive_inside;
    rig_open(&rig, setting);
    serve_handler(&rig, "127.0.0.1:0", &handler, NULL, address);
    check_error(sally_engine_run_once(rig.engine, 0), 0);
    check_equal(sally_engine_get_state(rig.engine), SALLY_ENGINE_RUNNING);
    check_error(sally_engine_start(rig.engine), SALLY_ESTATE);
    check_error(sally_engine_run(rig.engine), SALLY_ESTATE);
    check(pthread_create(&thread, NULL, drive_from_here, rig.engine) == 0);
    check(pthread_join(thread, NULL) == 0);
    int client = dial(address);
    say(client, "x", 1);
    atomic_store(&inside[0], 7);
    until(sally_engine_run_once(rig.engine, 10) == 0 && atomic_load(&inside[0]) != 7);
    check_error(atomic_load(&inside[0]), SALLY_ETHREAD);
    check_error(atomic_load(&inside[1]), SALLY_ETHREAD);
    hang_up(client);
    until(sally_engine_run_once(rig.engine, 10) == 0 && atomic_load(&tally.closed) == 1);
    check_error(sally_engine_destroy(rig.engine), 0); /* still running: it stops by itself */
    rig_check_clean(&rig);
}

static void engines_with_threads_are_not_driven(const struct setting *setting)
{
    struct rig rig;
    rig_prepare(&rig, setting);
    rig.options.shards = 3;
    rig_create(&rig);
    check_error(sally_engine_run_once(rig.engine, 0), SALLY_ESTATE);
    check_equal(sally_engine_fd(rig.engine), -1);
    rig_end(&rig);
    rig_open(&rig, setting);
    rig_start(&rig);
    check_error(sally_engine_run_once(rig.engine, 0), SALLY_ESTATE);
    rig_end(&rig);
    check_error(sally_engine_run_once(NULL, 0), SALLY_EINVAL);
    check_equal(sally_engine_fd(NULL), -1);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(the_program_serves_from_its_own_loop, ON_ONE),
        BEHAVIOUR(timers_come_as_next_ms_says, ON_ONE),
        BEHAVIOUR(calls_from_other_threads_wake_the_loop, ON_ONE),
        BEHAVIOUR(bulk_never_stalls_for_want_of_a_wake_up, ON_ONE),
        BEHAVIOUR(what_is_sent_between_turns_goes_with_the_next, ON_ONE),
        BEHAVIOUR(only_one_thread_drives_and_never_from_inside, ON_ONE),
        BEHAVIOUR(engines_with_threads_are_not_driven, ON_ONE),
    };
    return BEHAVIOURS_RUN(list);
}
