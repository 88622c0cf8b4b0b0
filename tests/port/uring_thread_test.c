/* The uring port among signals, threads and processes: interrupted, woken, created elsewhere,
 * forked. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/support/uring_rig.h"

static struct rig rig;

/* --- interrupted --- */

static struct port *woken_port;
static atomic_uint alarms;

static void on_alarm(int number)
{
    (void)number;
    atomic_fetch_add(&alarms, 1);
    if (woken_port) port_wake(woken_port);
}

static void alarms_every(long us)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* calls aren't restarted */
    struct itimerval every = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};
    sigaction(SIGALRM, &action, NULL);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void test_a_thousand_signals_a_second_do_no_harm(void **state)
{
    (void)state;
    woken_port = NULL;
    rig_open(&rig, 4, 8, 512, 4, 0);
    rig_listen(&rig);
    atomic_store(&alarms, 0);
    alarms_every(1000);
    while (atomic_load(&alarms) < 200) rig_stream(&rig, 50, 4000, 500);
    alarms_every(0);
    rig_close(&rig);
}

/* What it finds of the kernel is remembered for the life of the process. */
static void test_a_trial_among_signals_finds_what_it_finds_without(void **state)
{
    (void)state;
    struct mem mem;
    uint32_t off = 0;
    mem_init(&mem);
    assert_int_equal(uring_choose(&mem, 0, uring_trial, &off), 0);
    woken_port = NULL;
    alarms_every(50);
    for (int i = 0; i < 20; i++) {
        uint32_t found = UINT32_MAX;
        assert_int_equal(uring_choose(&mem, 0, uring_trial, &found), 0);
        assert_int_equal(found, off);
    }
    alarms_every(0);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void test_a_signal_handler_may_wake_the_port(void **state)
{
    (void)state;
    rig_open(&rig, 0, 0, 0, 0, 0);
    woken_port = rig.port;
    alarms_every(2000);
    for (unsigned i = 0; i < 50; i++) assert_int_equal(port_wait(rig.port, PORT_FOREVER), 0);
    alarms_every(0);
    woken_port = NULL;
    rig_close(&rig);
}

enum { WAKERS = 8, WAKES = 500 };

struct waker {
    atomic_uint asked;
    atomic_uint answered;
};

static struct waker wakers[WAKERS];

static void *wake_often(void *arg)
{
    struct waker *waker = arg;
    for (unsigned i = 1; i <= WAKES; i++) {
        atomic_store(&waker->asked, i);
        port_wake(rig.port);
        while (atomic_load(&waker->answered) != i) sched_yield();
    }
    return NULL;
}

/* Each thread waits for its answer before it wakes again, so one lost wake-up would stop it for
 * good: the port sleeps without a limit. */
static void test_no_wake_up_of_eight_threads_is_lost(void **state)
{
    (void)state;
    pthread_t threads[WAKERS];
    unsigned done = 0;
    rig_open(&rig, 4, 8, 0, 0, 0);
    for (unsigned i = 0; i < WAKERS; i++) {
        atomic_store(&wakers[i].asked, 0);
        atomic_store(&wakers[i].answered, 0);
        assert_int_equal(pthread_create(&threads[i], NULL, wake_often, &wakers[i]), 0);
    }
    alarm(200);
    while (done < WAKERS) {
        rig_turn(&rig, PORT_FOREVER);
        done = 0;
        for (unsigned i = 0; i < WAKERS; i++) {
            unsigned asked = atomic_load(&wakers[i].asked);
            atomic_store(&wakers[i].answered, asked);
            done += asked == WAKES;
        }
    }
    alarm(0);
    for (unsigned i = 0; i < WAKERS; i++) pthread_join(threads[i], NULL);
    rig_close(&rig);
}

/* The kernel may end the poll behind the wake-up, for a full completion queue or because it likes
 * to. */
static void test_a_wake_up_survives_the_end_of_its_poll(void **state)
{
    (void)state;
    rig_open(&rig, 0, 0, 0, 0, 0);
    alarm(60);
    for (unsigned i = 0; i < 20; i++) {
        struct io_uring_sqe *sqe = uring_sqe(uring_of(rig.port), IORING_OP_ASYNC_CANCEL, -1,
                                             (uint64_t)URING_CANCEL << SLOTS_INDEX_BITS);
        assert_non_null(sqe);
        sqe->addr = (uint64_t)URING_WAKE << SLOTS_INDEX_BITS;
        rig_turn(&rig, 0);
        for (unsigned k = 0; k < 3; k++) rig_turn(&rig, 0); /* nothing is left to be taken */
        assert_true(uring_of(rig.port)->wake_armed);
        port_wake(rig.port);
        rig_turn(&rig, PORT_FOREVER);
    }
    alarm(0);
    rig_close(&rig);
}

/* --- threads and processes --- */

static void *create_elsewhere(void *arg)
{
    struct port_config *config = arg;
    rig.port = NULL;
    return (void *)(intptr_t)port_create(&port_uring_ops, config, &rig.port);
}

static void test_the_thread_that_created_it_may_end(void **state)
{
    (void)state;
    pthread_t thread;
    void *err = NULL;
    memset(&rig, 0, sizeof rig);
    rig.take_max = 16;
    mem_init(&rig.mem);
    assert_int_equal(
        slots_init(&rig.slots, &rig.mem, sizeof(struct rig_conn), RIG_CONNS_MAX, UINT32_MAX), 0);
    struct port_config config = {.mem = &rig.mem, .socks = &rig.slots};
    assert_int_equal(pthread_create(&thread, NULL, create_elsewhere, &config), 0);
    assert_int_equal(pthread_join(thread, &err), 0);
    assert_null(err);
    port_wake(rig.port); /* before it is owned: not lost */
    assert_int_equal(port_own(rig.port), 0);
    alarm(60);
    assert_int_equal(port_wait(rig.port, PORT_FOREVER), 0);
    alarm(0);
    rig_listen(&rig);
    rig_stream(&rig, 20, 10000, 2000);
    rig_close(&rig);
}

static void *own_and_disown(void *arg)
{
    struct port *port = arg;
    assert(port_own(port) == 0);
    assert(port_wait(port, 0) == 0);
    port_disown(port);
    return NULL;
}

/* Registered descriptors are numbered for each thread; the two ports have the same number. */
static void test_destroying_a_port_of_another_thread_leaves_our_own_alone(void **state)
{
    (void)state;
    /* a ring of one issuer refuses the others' registrations by itself */
    static const uint32_t off[] = {0, PORT_NO_SINGLE_ISSUER};
    for (unsigned i = 0; i < 2; i++) {
        pthread_t thread;
        struct port *other = NULL;
        rig_open(&rig, 0, 0, 0, 0, off[i]);
        assert_true(uring_of(rig.port)->ring_fd_registered);
        struct port_config config = {.mem = &rig.mem, .socks = &rig.slots, .features_off = off[i]};
        assert_int_equal(port_create(&port_uring_ops, &config, &other), 0);
        assert_int_equal(pthread_create(&thread, NULL, own_and_disown, other), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        port_wake(other); /* still allowed */
        port_destroy(other);
        rig_listen(&rig);
        rig_stream(&rig, 10, 5000, 1000);
        rig_close(&rig);
    }
}

static int in_child(int (*body)(void *arg), void *arg)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* crashing is a result here: not cmocka's to catch */
        struct sigaction crash = {.sa_handler = SIG_DFL};
        sigaction(SIGSEGV, &crash, NULL);
        sigaction(SIGABRT, &crash, NULL);
        _exit(body(arg));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int use_parents_port(void *arg)
{
    struct rlimit none = {0, 0};
    (void)arg;
    (void)setrlimit(RLIMIT_CORE, &none);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) (void)dup2(null, 2); /* a sanitizer would tell of the crash at length */
    (void)port_wait(rig.port, 0);
    return 0;
}

static void test_a_child_of_fork_cannot_use_its_parents_ring(void **state)
{
    (void)state;
    rig_open(&rig, 0, 0, 0, 0, 0);
    rig_listen(&rig);
    rig_turn(&rig, 0);
    assert_true(in_child(use_parents_port, NULL) > 256); /* a signal's */
    rig_stream(&rig, 20, 10000, 2000);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thousand_signals_a_second_do_no_harm),
        cmocka_unit_test(test_a_trial_among_signals_finds_what_it_finds_without),
        cmocka_unit_test(test_a_signal_handler_may_wake_the_port),
        cmocka_unit_test(test_no_wake_up_of_eight_threads_is_lost),
        cmocka_unit_test(test_a_wake_up_survives_the_end_of_its_poll),
        cmocka_unit_test(test_destroying_a_port_of_another_thread_leaves_our_own_alone),
        cmocka_unit_test(test_the_thread_that_created_it_may_end),
        cmocka_unit_test(test_a_child_of_fork_cannot_use_its_parents_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
