/* Draining: idle connections finish, busy ones get their bytes out first, stuck ones are cut at the
 * deadline, and the report says exactly how many and how much. Calls that race with the end are
 * answered, too; nobody is handed to a shard that has ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/letter.h"
#include "net/support/accept_tools.h"

enum { IDLE = 40, BUSY = 10, STUCK = 5, LONG_MS = 600 * 1000, SHORT_MS = 300 };
enum { RACES = SANITIZED ? 40 : 150 };
enum { FLOOD_BYTES = 3 << 20, BUFFER_BYTES = 16384 };

/* `flood` is what every newcomer is sent at once; its clients don't read by themselves. */
struct scene {
    struct rig rig;
    struct tally calm;
    struct tally flood;
    char calm_at[TEXT_MAX];
    char flood_at[TEXT_MAX];
    char *bytes;
};

static void scene_open(struct scene *scene, const struct setting *setting)
{
    static const sally_server_options options = {.conn = {.send_buf_bytes = BUFFER_BYTES,
                                                          .write_stall_ms = SALLY_FOREVER,
                                                          .linger_ms = LONG_MS}};
    memset(scene, 0, sizeof *scene);
    scene->bytes = malloc(FLOOD_BYTES + 1);
    check(scene->bytes != NULL);
    memset(scene->bytes, 'f', FLOOD_BYTES);
    scene->bytes[FLOOD_BYTES] = 0;
    tally_init(&scene->flood);
    scene->flood.greeting = scene->bytes;
    rig_run(&scene->rig, &scene->calm, setting);
    serve(&scene->rig, &scene->calm, &options, scene->calm_at);
    serve(&scene->rig, &scene->flood, &options, scene->flood_at);
}

/* `held` clients are still open. */
static sally_stop_report scene_close(struct scene *scene, int held)
{
    sally_stop_report report;
    check_error(sally_engine_wait(scene->rig.engine), 0);
    check_equal(sally_engine_get_state(scene->rig.engine), SALLY_ENGINE_STOPPED);
    check_error(sally_engine_stop_report(scene->rig.engine, &report), 0);
    scene->rig.descriptors += held;
    rig_end(&scene->rig);
    tally_check(&scene->calm);
    tally_check(&scene->flood);
    check_equal(report.finished + report.cut, report.conns);
    check_equal(report.bytes_unsent,
                atomic_load(&scene->calm.bytes_unsent) + atomic_load(&scene->flood.bytes_unsent));
    free(scene->bytes);
    return report;
}

static void idle_open(struct scene *scene, int *fds)
{
    dial_many(scene->calm_at, fds, IDLE);
    for (int i = 0; i < IDLE; i++) check(echoes(fds[i]));
}

static void idle_leave(int *fds)
{
    for (int i = 0; i < IDLE; i++) check_equal(hear_next(fds[i], LIMIT_S * 1000), HEARD_END);
    hang_up_all(fds, IDLE);
}

static void flooded_open(struct scene *scene, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned opened = atomic_load(&scene->flood.opened);
        fds[i] = dial_small(scene->flood_at, BUFFER_BYTES);
        until(atomic_load(&scene->flood.opened) == opened + 1);
    }
}

static size_t all_bytes(int fd)
{
    char bytes[65536];
    size_t sum = 0;
    for (;;) {
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        check(got >= 0);
        if (got == 0) return sum;
        sum += (size_t)got;
    }
}

static void idle_connections_finish(const struct setting *setting)
{
    int fds[IDLE];
    struct scene scene;
    scene_open(&scene, setting);
    idle_open(&scene, fds);
    check_error(sally_engine_drain(scene.rig.engine, LONG_MS), 0);
    idle_leave(fds);
    sally_stop_report report = scene_close(&scene, 0);
    check_equal(report.conns, IDLE);
    check_equal(report.finished, IDLE);
    check_equal(report.cut, 0);
    check_equal(report.bytes_unsent, 0);
    check_equal(tally_reasons(&scene.calm, SALLY_CLOSE_SHUTDOWN), IDLE);
}

static void an_engine_without_connections_drains_at_once(const struct setting *setting)
{
    struct scene scene;
    scene_open(&scene, setting);
    check_error(sally_engine_drain(scene.rig.engine, SALLY_FOREVER), 0);
    sally_stop_report report = scene_close(&scene, 0);
    check_equal(report.conns, 0);
}

static void what_is_queued_goes_out_first(const struct setting *setting)
{
    int fds[BUSY];
    struct scene scene;
    scene_open(&scene, setting);
    flooded_open(&scene, fds, BUSY);
    check_error(sally_engine_drain(scene.rig.engine, LONG_MS), 0);
    check_equal(sally_engine_get_state(scene.rig.engine), SALLY_ENGINE_DRAINING);
    for (int i = 0; i < BUSY; i++) check_equal(all_bytes(fds[i]), FLOOD_BYTES);
    hang_up_all(fds, BUSY);
    sally_stop_report report = scene_close(&scene, 0);
    check_equal(report.finished, BUSY);
    check_equal(report.cut, 0);
    check_equal(report.bytes_unsent, 0);
}

static void the_stuck_are_cut_at_the_deadline_and_counted(const struct setting *setting)
{
    int idle[IDLE], busy[BUSY], stuck[STUCK];
    struct scene scene;
    scene_open(&scene, setting);
    idle_open(&scene, idle);
    flooded_open(&scene, busy, BUSY);
    flooded_open(&scene, stuck, STUCK);
    /* no limit until all others have finished, then a short one */
    check_error(sally_engine_drain(scene.rig.engine, LONG_MS), 0);
    idle_leave(idle);
    for (int i = 0; i < BUSY; i++) check_equal(all_bytes(busy[i]), FLOOD_BYTES);
    hang_up_all(busy, BUSY);
    until(rig_stats(&scene.rig).conns == STUCK);
    uint64_t began = tools_now_ms();
    check_error(sally_engine_drain(scene.rig.engine, SHORT_MS), 0);
    check_error(sally_engine_wait(scene.rig.engine), 0);
    check(tools_now_ms() - began >= SHORT_MS - 1);
    sally_stop_report report = scene_close(&scene, STUCK);
    check_equal(report.conns, IDLE + BUSY + STUCK);
    check_equal(report.finished, IDLE + BUSY);
    check_equal(report.cut, STUCK);
    check(report.bytes_unsent > 0 && report.bytes_unsent <= (uint64_t)STUCK * FLOOD_BYTES);
    check(report.took_ms >= SHORT_MS);
    check_equal(tally_reasons(&scene.flood, SALLY_CLOSE_DRAIN_TIMEOUT), STUCK);
    hang_up_all(stuck, STUCK);
}

static void the_deadline_alone_ends_it(const struct setting *setting)
{
    int fds[STUCK];
    struct scene scene;
    scene_open(&scene, setting);
    flooded_open(&scene, fds, STUCK);
    uint64_t began = tools_now_ms();
    check_error(sally_engine_drain(scene.rig.engine, SHORT_MS), 0);
    sally_stop_report report = scene_close(&scene, STUCK);
    check(tools_now_ms() - began >= SHORT_MS - 1);
    check_equal(report.cut, STUCK);
    check(report.took_ms >= SHORT_MS - 1);
    hang_up_all(fds, STUCK);
}

/* Some may still come before the listener has gone. */
static void await_refusal(const char *address)
{
    for (bool refused = false; !refused;) {
        int fd = dial_try(address);
        refused = fd < 0 && errno == ECONNREFUSED;
        check(fd >= 0 || refused || errno == ECONNRESET);
        if (fd < 0) continue;
        /* the system may forget a newcomer whose handshake met the close; then this wakes it up */
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
        check(hear_end(fd, LIMIT_S * 1000) != HEARD_NOTHING);
        hang_up(fd);
    }
}

static void newcomers_are_refused_meanwhile(const struct setting *setting)
{
    int stuck;
    struct scene scene;
    scene_open(&scene, setting);
    flooded_open(&scene, &stuck, 1);
    check_error(sally_engine_drain(scene.rig.engine, LONG_MS), 0);
    await_refusal(scene.calm_at);
    await_refusal(scene.flood_at);
    check_equal(sally_engine_get_state(scene.rig.engine), SALLY_ENGINE_DRAINING);
    check_error(sally_engine_stop(scene.rig.engine), 0);
    scene_close(&scene, 1);
    hang_up(stuck);
}

static void a_second_call_shortens_and_never_extends(const struct setting *setting)
{
    for (int longer_first = 0; longer_first < 2; longer_first++) {
        int fds[STUCK];
        struct scene scene;
        scene_open(&scene, setting);
        flooded_open(&scene, fds, STUCK);
        uint32_t first = longer_first ? SALLY_FOREVER : SHORT_MS;
        uint32_t second = longer_first ? SHORT_MS : LONG_MS;
        check_error(sally_engine_drain(scene.rig.engine, first), 0);
        check_error(sally_engine_drain(scene.rig.engine, second), 0);
        sally_stop_report report = scene_close(&scene, STUCK);
        check_equal(report.cut, STUCK);
        check_equal(report.conns, STUCK);
        check_equal(tally_reasons(&scene.flood, SALLY_CLOSE_DRAIN_TIMEOUT), STUCK);
        hang_up_all(fds, STUCK);
    }
}

static void a_stop_ends_a_drain(const struct setting *setting)
{
    int fds[STUCK];
    struct scene scene;
    scene_open(&scene, setting);
    flooded_open(&scene, fds, STUCK);
    check_error(sally_engine_drain(scene.rig.engine, LONG_MS), 0);
    until(sally_engine_get_state(scene.rig.engine) == SALLY_ENGINE_DRAINING);
    check_error(sally_engine_stop(scene.rig.engine), 0);
    sally_stop_report report = scene_close(&scene, STUCK);
    check_equal(report.conns, STUCK);
    check_equal(report.cut, STUCK);
    check_equal(tally_reasons(&scene.flood, SALLY_CLOSE_SHUTDOWN), STUCK);
    for (int i = 0; i < STUCK; i++) check_equal(hear_end(fds[i], LIMIT_S * 1000), HEARD_RESET);
    hang_up_all(fds, STUCK);
}

static void no_time_at_all_cuts_everything(const struct setting *setting)
{
    int idle[IDLE], stuck[STUCK];
    struct scene scene;
    scene_open(&scene, setting);
    idle_open(&scene, idle);
    flooded_open(&scene, stuck, STUCK);
    check_error(sally_engine_drain(scene.rig.engine, 0), 0);
    sally_stop_report report = scene_close(&scene, IDLE + STUCK);
    check_equal(report.conns, IDLE + STUCK);
    check(report.cut >= STUCK);
    hang_up_all(idle, IDLE);
    hang_up_all(stuck, STUCK);
}

/* ---- Calls that race with the end ---- */

static atomic_uint posts_run;

static void note_post(sally_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    atomic_fetch_add(&posts_run, 1);
}

struct racer {
    struct rig *rig;
    struct tally *tally;
    const char *address;
    atomic_uint asked;
    atomic_uint posted;
};

static void *racer_body(void *arg)
{
    struct racer *racer = arg;
    sally_handler handler = tally_handler(racer->tally);
    for (;;) {
        sally_id id;
        int err = sally_connect(racer->rig->engine, racer->address, &handler, NULL, &id);
        if (err == SALLY_ELIMIT || err == SALLY_EFULL) continue;
        if (err) {
            check_error(err, SALLY_ESTATE);
            return NULL;
        }
        atomic_fetch_add(&racer->asked, 1);
        if (sally_post(racer->rig->engine, id, note_post, NULL) == 0)
            atomic_fetch_add(&racer->posted, 1);
    }
}

static void calls_that_race_with_the_end_are_all_answered(const struct setting *setting)
{
    enum { THREADS = 2 };
    char address[TEXT_MAX];
    int nobody = nobody_home(address);
    for (int i = 0; i < RACES; i++) {
        pthread_t threads[THREADS];
        struct rig rig;
        struct tally tally;
        struct racer racer = {.rig = &rig, .tally = &tally, .address = address};
        atomic_store(&posts_run, 0);
        tally_init(&tally);
        rig_prepare(&rig, setting);
        rig.options.conns_max = 200;
        rig_create(&rig);
        rig_start(&rig);
        for (int k = 0; k < THREADS; k++)
            check(pthread_create(&threads[k], NULL, racer_body, &racer) == 0);
        until(atomic_load(&racer.asked) > 50);
        check_error(sally_engine_stop(rig.engine), 0);
        for (int k = 0; k < THREADS; k++) check(pthread_join(threads[k], NULL) == 0);
        check_error(sally_engine_destroy(rig.engine), 0);
        check_equal(atomic_load(&tally.closed_alone), atomic_load(&racer.asked));
        check_equal(atomic_load(&posts_run), atomic_load(&racer.posted));
        rig_check_clean(&rig);
    }
    hang_up(nobody);
}

/* Stops the engine at the moment in which one shard hands a newcomer to another, and gives that one
 * time to end. */
struct ambush {
    sally_allocator under;
    sally_engine *engine;
    atomic_bool sprung;
};

static void *ambush_alloc(void *user, size_t bytes)
{
    struct ambush *ambush = user;
    if (bytes == sizeof(struct letter_adopt) && !atomic_exchange(&ambush->sprung, true)) {
        check_error(sally_engine_stop(ambush->engine), 0);
        tools_nap_ms(50);
    }
    return ambush->under.alloc(ambush->under.user, bytes);
}

static void ambush_free(void *user, void *data, size_t bytes)
{
    struct ambush *ambush = user;
    ambush->under.free(ambush->under.user, data, bytes);
}

static void no_shard_ends_before_the_newcomers_handed_to_it(const struct setting *setting)
{
    struct rig rig;
    struct tally tally;
    struct ambush ambush = {0};
    char address[TEXT_MAX];
    tally_init(&tally);
    rig_prepare(&rig, setting);
    ambush.under = rig.options.allocator;
    rig.options.allocator = (sally_allocator){ambush_alloc, ambush_free, &ambush};
    rig_create(&rig);
    ambush.engine = rig.engine;
    serve(&rig, &tally, NULL, address);
    rig_start(&rig);
    int fds[3];
    for (int i = 0; i < 3; i++) fds[i] = dial(address);
    until(atomic_load(&ambush.sprung));
    hang_up_all(fds, 3);
    check_error(sally_engine_wait(rig.engine), 0);
    check_equal(rig_stats(&rig).conns, 0);
    rig_end(&rig);
    tally_check(&tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(no_shard_ends_before_the_newcomers_handed_to_it, ON_THREE),
        BEHAVIOUR(idle_connections_finish, ON_BOTH),
        BEHAVIOUR(an_engine_without_connections_drains_at_once, ON_BOTH),
        BEHAVIOUR(what_is_queued_goes_out_first, ON_BOTH),
        BEHAVIOUR(the_stuck_are_cut_at_the_deadline_and_counted, ON_BOTH),
        BEHAVIOUR(the_deadline_alone_ends_it, ON_BOTH),
        BEHAVIOUR(newcomers_are_refused_meanwhile, ON_BOTH),
        BEHAVIOUR(a_second_call_shortens_and_never_extends, ON_BOTH),
        BEHAVIOUR(a_stop_ends_a_drain, ON_BOTH),
        BEHAVIOUR(no_time_at_all_cuts_everything, ON_BOTH),
        BEHAVIOUR(calls_that_race_with_the_end_are_all_answered, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
