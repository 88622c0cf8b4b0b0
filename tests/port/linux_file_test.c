/* What Linux' ports do to send a file: the call itself, and what only happens between a port's wait
 * and its taking. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/linux_file.h"
#include "port/support/stage.h"
#include "sallyport/error.h"

enum { LIMIT_S = 30, BYTES = 3000, TAG = 5 };

/* --- the call --- */

struct call {
    int fd;
    int peer;
    os_file file;
};

static int call_open(void **state)
{
    static struct call call;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    call = (struct call){ends[0], ends[1], ground_posix.file(NULL, TAG, 0, 0, BYTES)};
    *state = &call;
    return 0;
}

static int call_shut(void **state)
{
    const struct call *call = *state;
    close(call->fd);
    if (call->peer >= 0) close(call->peer);
    ground_posix.file_close(NULL, call->file);
    return 0;
}

static int64_t send_part(const struct call *call, uint64_t offset, uint64_t bytes, int *sys)
{
    const struct port_file file = {call->file, offset, bytes};
    *sys = -1;
    return linux_send_file(call->fd, &file, sys);
}

static void it_sends_from_the_offset_and_leaves_the_file_s_place(void **state)
{
    const struct call *call = *state;
    unsigned char got[BYTES], want[BYTES];
    int sys;
    assert_int_equal(lseek((int)call->file, 17, SEEK_SET), 17);
    assert_int_equal(send_part(call, 100, 50, &sys), 50);
    assert_int_equal(sys, 0);
    assert_int_equal(recv(call->peer, got, sizeof got, 0), 50);
    pattern_fill(TAG, 100, want, 50);
    assert_memory_equal(got, want, 50);
    assert_int_equal(lseek((int)call->file, 0, SEEK_CUR), 17);
}

static void what_would_wait_is_nothing(void **state)
{
    const struct call *call = *state;
    char zeros[4096] = {0};
    int sys;
    while (send(call->fd, zeros, sizeof zeros, MSG_DONTWAIT) > 0) continue;
    assert_int_equal(send_part(call, 0, BYTES, &sys), 0);
    assert_int_equal(sys, 0);
}

static void the_end_is_told_and_what_is_before_it_is_sent(void **state)
{
    const struct call *call = *state;
    int sys;
    assert_int_equal(send_part(call, BYTES - 10, 1000, &sys), 10);
    assert_int_equal(send_part(call, BYTES, 1000, &sys), SALLY_EFILEEND);
    assert_int_equal(sys, 0);
    assert_int_equal(send_part(call, UINT64_MAX, UINT64_MAX, &sys), SALLY_EFILEEND);
}

static void a_file_of_a_kind_that_can_t_be_sent(void **state)
{
    struct call call = *(const struct call *)*state;
    int sys;
    call.file = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(call.file >= 0);
    assert_int_equal(send_part(&call, 0, 10, &sys), SALLY_EFILE);
    assert_true(sys > 0);
    close((int)call.file);
}

/* read(2) has its bytes and sendfile(2) takes none: the connection is not to blame. */
static void a_file_that_can_only_be_read(void **state)
{
    struct call call = *(const struct call *)*state;
    int sys;
    call.file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    assert_true(call.file >= 0);
    int64_t sent = send_part(&call, 0, 10, &sys);
    close((int)call.file);
    if (sent > 0) skip(); /* a kernel that can */
    assert_int_equal(sent, SALLY_EFILE);
    assert_int_equal(sys, EINVAL);
}

static volatile sig_atomic_t pipes;

static void count_pipe(int number)
{
    (void)number;
    pipes++;
}

static bool is_blocked(int number)
{
    sigset_t mask;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    return sigismember(&mask, number);
}

static bool is_pending(int number)
{
    sigset_t mask;
    assert_int_equal(sigpending(&mask), 0);
    return sigismember(&mask, number);
}

/* The thread's mask is as it was, and no signal is left for the moment when it is opened. */
static void a_peer_that_has_gone_raises_no_signal(void **state)
{
    struct call *call = *state;
    struct sigaction action = {.sa_handler = count_pipe}, before;
    sigset_t pipe;
    int sys;
    pipes = 0;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    assert_int_equal(sigaction(SIGPIPE, &action, &before), 0);
    close(call->peer);
    call->peer = -1;
    for (unsigned blocked = 0; blocked < 2; blocked++) {
        pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &pipe, NULL);
        assert_int_equal(send_part(call, 0, 10, &sys), SALLY_ERESET);
        assert_int_equal(sys, EPIPE);
        assert_int_equal(is_blocked(SIGPIPE), blocked);
        assert_false(is_pending(SIGPIPE));
    }
    pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
    assert_int_equal(pipes, 0);
    assert_int_equal(raise(SIGPIPE), 0); /* the handler does count */
    assert_int_equal(pipes, 1);
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);
}

/* --- between wait and take --- */

/* The wait has found room, and when the part is taken there is none: it waits on. */
static void room_that_is_gone_again(void *arg)
{
    static struct stage stage; /* too big for a stack */
    const struct stage_config config = {.ops = arg, .ground = &ground_posix};
    static const char zeros[65536];
    struct peer *peer;
    stage_open(&stage, &config);
    struct actor *actor = stage_pair(&stage, &peer);
    os_file file = ground_posix.file(NULL, 1, 0, BYTES, 0);
    peer->tag_in = 0;
    stage_send_file(&stage, actor, file, 0, BYTES);
    CHECK_EQUAL(port_wait(stage.port, PORT_FOREVER), 0);
    uint64_t filled = 0;
    for (ssize_t n; (n = send((int)actor->sock.handle, zeros, sizeof zeros, MSG_DONTWAIT)) > 0;)
        filled += (uint64_t)n;
    while (stage_take(&stage)) continue;
    CHECK(actor_flies(actor, PORT_SEND));
    UNTIL(&stage, (peer_read(peer, UINT64_MAX), peer->got == filled + BYTES));
    UNTIL(&stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->error[PORT_SEND], 0);
    CHECK_EQUAL(actor->sent, BYTES);
    ground_posix.file_close(NULL, file);
    stage_shut(&stage);
}

static void try_on(const struct port_ops *ops)
{
    struct trial trial;
    trial_name("room_that_is_gone_again");
    trial_run(&trial, room_that_is_gone_again, (void *)(uintptr_t)ops, LIMIT_S, false);
    if (trial.verdict == VERDICT_SKIP) skip();
    if (trial.verdict != VERDICT_OK) fail_msg("%s", trial.text);
}

static void epoll_room_that_is_gone_again(void **state)
{
    (void)state;
    try_on(&port_epoll_ops);
}

static void uring_room_that_is_gone_again(void **state)
{
    (void)state;
    try_on(&port_uring_ops);
}

#define CALL(name) cmocka_unit_test_setup_teardown(name, call_open, call_shut)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CALL(it_sends_from_the_offset_and_leaves_the_file_s_place),
        CALL(what_would_wait_is_nothing),
        CALL(the_end_is_told_and_what_is_before_it_is_sent),
        CALL(a_file_of_a_kind_that_can_t_be_sent),
        CALL(a_file_that_can_only_be_read),
        CALL(a_peer_that_has_gone_raises_no_signal),
        cmocka_unit_test(epoll_room_that_is_gone_again),
        cmocka_unit_test(uring_room_that_is_gone_again),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("linux_file", tests, NULL, NULL);
}
