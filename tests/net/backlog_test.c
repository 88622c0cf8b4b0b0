/* The system's backlog of listening sockets, as the statistics of a server show it. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "sallyport/admission.h"

enum { BACKLOG = 3, PLACES = BACKLOG + 1, CROWD = 30, TICK_MS = 10 };

static struct stage *begin(const struct stage_way *way)
{
    return stage_begin(
        way, &(struct stage_options){.handler.on_data = stage_echo,
                                     .server = {.backlog = BACKLOG, .watchdog_ms = TICK_MS}});
}

static void pause_server(struct stage *stage)
{
    assert_int_equal(sally_server_pause(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).armed == 0);
}

/* Begins to connect and doesn't wait: most get no answer. */
static int knock(const struct stage *stage)
{
    const char *colon = strrchr(stage->address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    (void)connect(fd, (struct sockaddr *)&to, sizeof to);
    return fd;
}

static void what_a_full_backlog_drops_is_counted(const struct stage_way *way)
{
    int fds[CROWD];
    struct stage *stage = begin(way);
    STAGE_WAIT(stage_server_stats(stage).backlog_max == BACKLOG);
    assert_int_equal(stage_server_stats(stage).backlog_waiting, 0);
    assert_int_equal(stage_server_stats(stage).backlog_dropped, 0);
    pause_server(stage);
    for (int i = 0; i < CROWD; i++) fds[i] = knock(stage);
    STAGE_WAIT(stage_server_stats(stage).backlog_waiting == PLACES);
    STAGE_WAIT(stage_server_stats(stage).backlog_dropped >= CROWD - PLACES);
    assert_int_equal(stage_server_stats(stage).conns, 0);
    for (int i = PLACES; i < CROWD; i++) close(fds[i]);
    assert_int_equal(sally_server_resume(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).accepted == PLACES &&
               stage_server_stats(stage).backlog_waiting == 0);
    assert_true(stage_server_stats(stage).backlog_dropped >= CROWD - PLACES);
    for (int i = 0; i < PLACES; i++) close(fds[i]);
    STAGE_WAIT(atomic_load(&stage->closed) == PLACES);
    stage_end(stage);
}

static void one_that_has_room_drops_nobody(const struct stage_way *way)
{
    int fds[BACKLOG];
    struct stage *stage = begin(way);
    pause_server(stage);
    for (int i = 0; i < BACKLOG; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
    STAGE_WAIT(stage_server_stats(stage).backlog_waiting == BACKLOG);
    assert_int_equal(sally_server_resume(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).accepted == BACKLOG &&
               stage_server_stats(stage).backlog_waiting == 0);
    assert_int_equal(stage_server_stats(stage).backlog_dropped, 0);
    for (int i = 0; i < BACKLOG; i++) raw_close(fds[i]);
    STAGE_WAIT(atomic_load(&stage->closed) == BACKLOG);
    stage_end(stage);
}

/* Its second address counts with the first; closed sockets have none, and what was dropped stays.
 */
static void the_sum_is_that_of_the_sockets_there_are(const struct stage_way *way)
{
    int fds[CROWD];
    struct stage *stage = begin(way);
    assert_int_equal(sally_server_add(stage->server, "127.0.0.1:0"), 0);
    STAGE_WAIT(stage_server_stats(stage).backlog_max == 2 * BACKLOG);
    pause_server(stage);
    for (int i = 0; i < CROWD; i++) fds[i] = knock(stage);
    STAGE_WAIT(stage_server_stats(stage).backlog_dropped >= CROWD - PLACES);
    for (int i = 0; i < CROWD; i++) close(fds[i]);
    assert_int_equal(sally_server_pause_closed(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).backlog_max == 0 &&
               stage_server_stats(stage).backlog_waiting == 0);
    uint64_t dropped = stage_server_stats(stage).backlog_dropped;
    assert_true(dropped >= CROWD - PLACES);
    assert_int_equal(sally_server_resume(stage->server), 0);
    STAGE_WAIT(stage_server_stats(stage).backlog_max == 2 * BACKLOG);
    assert_int_equal(stage_server_stats(stage).backlog_dropped, dropped);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(what_a_full_backlog_drops_is_counted, 1),
    STAGE_TEST_ON(one_that_has_room_drops_nobody, 1),
    STAGE_TEST(the_sum_is_that_of_the_sockets_there_are),
};

int main(int argc, char **argv)
{
    return stage_run("backlog", tests, sizeof tests / sizeof *tests, argc, argv);
}
