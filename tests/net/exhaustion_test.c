/* No descriptors left: told once, nothing spins, those who are connected go on, and accepting
 * begins again by itself. The limit is the process's, and each run has one of its own. Clients are
 * made before the limit is lowered and moved to high numbers, so that the low ones are the
 * engine's. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/support/accept_tools.h"

enum {
    HIGH = 8000,
    CLIENTS_MAX = 600,
    FULL_MS = 1500,
    CPU_MS_MAX = 500, /* of those, the whole process; a spinning accept takes all of them */
    LINES_MAX = 12,
};

static atomic_uint lines;

static void count_line(void *user, sally_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
    atomic_fetch_add(&lines, 1);
}

struct scene {
    struct rig rig;
    struct tally tally;
    sally_server *server;
    char address[TEXT_MAX];
    struct rlimit limit; /* as it was */
    int fds[CLIENTS_MAX];
    bool heard[CLIENTS_MAX];
    unsigned made; /* clients */
};

static int client_make(void)
{
    int low = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(low >= 0);
    int fd = fcntl(low, F_DUPFD_CLOEXEC, HIGH);
    check(fd >= HIGH);
    close(low);
    struct timeval wait = {.tv_sec = LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    return fd;
}

/* Room for so many descriptors and no more; then the engine starts, since a system may look at the
 * limit when an accept begins and not when it ends. */
static void scene_open(struct scene *scene, const struct setting *setting, unsigned clients,
                       unsigned room)
{
    memset(scene, 0, sizeof *scene);
    tally_init(&scene->tally);
    rig_prepare(&scene->rig, setting);
    scene->rig.options.log = count_line;
    scene->rig.options.log_level = SALLY_LOG_INFO;
    rig_create(&scene->rig);
    scene->server = serve(&scene->rig, &scene->tally, NULL, scene->address);
    for (scene->made = 0; scene->made < clients; scene->made++)
        scene->fds[scene->made] = client_make();
    check(getrlimit(RLIMIT_NOFILE, &scene->limit) == 0);
    struct rlimit low = scene->limit;
    low.rlim_cur = 3;
    for (unsigned left = room; left; low.rlim_cur++)
        if (fcntl((int)low.rlim_cur, F_GETFD) < 0) left--;
    while (fcntl((int)low.rlim_cur, F_GETFD) >= 0) low.rlim_cur++;
    check(setrlimit(RLIMIT_NOFILE, &low) == 0);
    atomic_store(&lines, 0);
    rig_start(&scene->rig);
}

static void scene_close(struct scene *scene)
{
    hang_up_all(scene->fds, scene->made);
    check(setrlimit(RLIMIT_NOFILE, &scene->limit) == 0);
    until(sally_server_conns(scene->server) == 0);
    until(tally_events(&scene->tally, SALLY_SERVER_RECOVERED) ==
          tally_events(&scene->tally, SALLY_SERVER_EXHAUSTED));
    sally_server_stats stats = server_stats(scene->server);
    check_equal(stats.armed, stats.listeners);
    check_equal(stats.exhausted, 0);
    check_equal(stats.exhausted_times, tally_events(&scene->tally, SALLY_SERVER_EXHAUSTED));
    check_equal(tally_events(&scene->tally, SALLY_SERVER_STALLED), 0);
    check_equal(tally_events(&scene->tally, SALLY_SERVER_AT_LIMIT), 0);
    check_echo(scene->address);
    rig_end(&scene->rig);
    tally_check(&scene->tally);
}

static void scene_connect(struct scene *scene, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        dial_with_socket(scene->fds[i], scene->address);
        say(scene->fds[i], "x", 1);
    }
}

/* All that there is room for. An accept that begins takes a descriptor for a moment (uring reserves
 * one before it looks), so the last may have to be asked for again. */
static void take_all(int *taken, unsigned room)
{
    for (unsigned i = 0; i < room; i++)
        until((taken[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    check(open("/dev/null", O_RDONLY | O_CLOEXEC) < 0 && errno == EMFILE);
}

static unsigned scene_heard(struct scene *scene)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < scene->made; i++) {
        if (!scene->heard[i] && scene->fds[i] >= 0)
            scene->heard[i] = hear_next(scene->fds[i], 0) == HEARD_BYTES;
        sum += scene->heard[i];
    }
    return sum;
}

static uint64_t cpu_ms(void)
{
    struct rusage usage;
    check(getrusage(RUSAGE_SELF, &usage) == 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static void check_quiet_while_full(struct scene *scene)
{
    uint64_t before = cpu_ms();
    tools_nap_ms(FULL_MS);
    uint64_t used = cpu_ms() - before;
    printf("CPU while full: %u ms of %d\n", (unsigned)used, FULL_MS);
    check(SANITIZED || used < CPU_MS_MAX);
    check_equal(tally_events(&scene->tally, SALLY_SERVER_EXHAUSTED), 1);
    check_equal(tally_events(&scene->tally, SALLY_SERVER_RECOVERED), 0);
    check_equal(server_stats(scene->server).exhausted, 1);
}

static void releases_start_accepting_again(const struct setting *setting)
{
    enum { OLD = 20, ROOM = 50, CROWD = 150 };
    static struct scene scene;
    scene_open(&scene, setting, CROWD, ROOM);
    scene_connect(&scene, 0, OLD);
    until(scene_heard(&scene) == OLD);
    scene_connect(&scene, OLD, CROWD);
    until(tally_events(&scene.tally, SALLY_SERVER_EXHAUSTED) == 1);
    until(scene_heard(&scene) == ROOM);
    check_quiet_while_full(&scene);
    for (unsigned i = 0; i < OLD; i++) check(echoes(scene.fds[i]));
    check_equal(scene_heard(&scene), ROOM);
    for (unsigned served = ROOM; served < CROWD; served++) {
        unsigned leaves = OLD;
        while (!scene.heard[leaves] || scene.fds[leaves] < 0) leaves++;
        hang_up_all(&scene.fds[leaves], 1);
        until(scene_heard(&scene) == served + 1);
    }
    for (unsigned i = 0; i < OLD; i++) check(echoes(scene.fds[i]));
    check_equal(tally_events(&scene.tally, SALLY_SERVER_EXHAUSTED), 1);
    check(atomic_load(&lines) <= LINES_MAX);
    scene_close(&scene);
    check_equal(tally_events(&scene.tally, SALLY_SERVER_EXHAUSTED), 1);
    check_equal(atomic_load(&scene.tally.opened), CROWD + 1);
}

static void many_leave_and_many_others_get_in(const struct setting *setting)
{
    enum { FIRST = 400, ROOM = 200, LEAVE = 300, SECOND = 100 };
    static struct scene scene;
    scene_open(&scene, setting, FIRST + SECOND, ROOM);
    scene_connect(&scene, 0, FIRST);
    until(scene_heard(&scene) == ROOM);
    until(tally_events(&scene.tally, SALLY_SERVER_EXHAUSTED) == 1);
    unsigned waiting = 0;
    for (unsigned i = 0, left = LEAVE; i < FIRST; i++) {
        if (left && (scene.heard[i] || i >= FIRST - SECOND)) {
            hang_up_all(&scene.fds[i], 1);
            left--;
        }
        waiting += scene.fds[i] >= 0 && !scene.heard[i];
    }
    check(waiting > 0);
    until(scene_heard(&scene) == ROOM + waiting);
    scene_connect(&scene, FIRST, FIRST + SECOND);
    until(scene_heard(&scene) == ROOM + waiting + SECOND);
    check(atomic_load(&lines) <= LINES_MAX);
    scene_close(&scene);
}

/* Nobody leaves and nobody comes: only time can tell. */
static void descriptors_that_others_give_back_are_noticed(const struct setting *setting)
{
    enum { ROOM = 20 };
    static struct scene scene;
    int taken[ROOM];
    scene_open(&scene, setting, 3, ROOM);
    take_all(taken, ROOM);
    scene_connect(&scene, 0, 3);
    until(tally_events(&scene.tally, SALLY_SERVER_EXHAUSTED) == 1);
    check_quiet_while_full(&scene);
    check_equal(scene_heard(&scene), 0);
    check_equal(sally_server_conns(scene.server), 0);
    hang_up_all(taken, ROOM);
    until(scene_heard(&scene) == 3);
    check(atomic_load(&lines) <= LINES_MAX);
    scene_close(&scene);
}

static void an_exhausted_connect_says_so(const struct setting *setting)
{
    enum { ROOM = 10 };
    static struct scene scene;
    int taken[ROOM];
    struct tally outgoing;
    tally_init(&outgoing);
    sally_handler handler = tally_handler(&outgoing);
    scene_open(&scene, setting, 0, ROOM);
    take_all(taken, ROOM);
    check_error(sally_connect(scene.rig.engine, scene.address, &handler, NULL, NULL), 0);
    until(atomic_load(&outgoing.closed_alone) + atomic_load(&outgoing.opened) == 1);
    check_equal(atomic_load(&outgoing.opened), 0);
    check_equal(atomic_load(&outgoing.last_reason), SALLY_CLOSE_CONNECT_FAILED);
    check_error(atomic_load(&outgoing.last_error), SALLY_EEXHAUSTED);
    hang_up_all(taken, ROOM);
    check_error(sally_connect(scene.rig.engine, scene.address, &handler, NULL, NULL), 0);
    until(atomic_load(&outgoing.opened) == 1);
    check_error(sally_engine_drain(scene.rig.engine, LIMIT_S * 1000), 0);
    check_error(sally_engine_wait(scene.rig.engine), 0);
    check(setrlimit(RLIMIT_NOFILE, &scene.limit) == 0);
    rig_end(&scene.rig);
    tally_check(&outgoing);
    tally_check(&scene.tally);
}

int main(void)
{
    static const struct behaviour list[] = {
        BEHAVIOUR(releases_start_accepting_again, ON_BOTH),
        BEHAVIOUR(many_leave_and_many_others_get_in, ON_BOTH),
        BEHAVIOUR(descriptors_that_others_give_back_are_noticed, ON_BOTH),
        BEHAVIOUR(an_exhausted_connect_says_so, ON_BOTH),
    };
    return BEHAVIOURS_RUN(list);
}
