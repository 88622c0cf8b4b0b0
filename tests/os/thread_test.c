/* Threads, locks and gates. */
#include "os/thread.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "os/clock.h"
#include "sallyport/error.h"

enum { THREADS = 8, WAIT_MS = 30000 };

/* ---- Starting ---- */

struct seen {
    int value;
    uint64_t self;
    sigset_t blocked;
    char name[32];
};

static void look_round(void *arg)
{
    struct seen *seen = arg;
    seen->value++;
    seen->self = os_thread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
    pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
}

static void body_runs_with_its_argument_on_another_thread(void **state)
{
    (void)state;
    struct os_thread thread;
    struct seen seen = {.value = 41};
    assert_int_equal(os_thread_start(&thread, "worker", look_round, &seen), 0);
    os_thread_join(&thread);
    assert_int_equal(seen.value, 42);
    assert_int_not_equal(seen.self, os_thread_self());
    assert_int_equal(os_thread_self(), os_thread_self());
    assert_string_equal(seen.name, "worker");
}

static void long_name_is_cut(void **state)
{
    (void)state;
    struct os_thread thread;
    struct seen seen = {0};
    const char *name = "sallyport-shard-number-twelve";
    assert_int_equal(os_thread_start(&thread, name, look_round, &seen), 0);
    os_thread_join(&thread);
    assert_int_equal(strlen(seen.name), 15);
    assert_memory_equal(seen.name, name, 15);
}

static void signals_sent_are_blocked_and_faults_are_not(void **state)
{
    (void)state;
    static const int sent[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGCHLD,
                               SIGALRM, SIGUSR1, SIGUSR2, SIGPROF, SIGABRT, SIGTSTP};
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    struct os_thread thread;
    struct seen seen = {0};
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(os_thread_start(&thread, "mask", look_round, &seen), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    os_thread_join(&thread);
    for (unsigned i = 0; i < sizeof sent / sizeof *sent; i++)
        assert_true(sigismember(&seen.blocked, sent[i]));
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        assert_true(sigismember(&seen.blocked, number));
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        assert_false(sigismember(&seen.blocked, faults[i]));
    for (int number = 1; number < SIGRTMIN; number++) /* the starter's are as they were */
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
}

/* No thread can have a stack of that size. */
static void system_without_threads_left_is_reported(void **state)
{
    (void)state;
    pthread_attr_t before, huge;
    struct os_thread thread;
    struct seen seen = {0};
    sigset_t mask_before, mask_after;
    assert_int_equal(pthread_getattr_default_np(&before), 0);
    assert_int_equal(pthread_attr_init(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, SIZE_MAX / 4 & ~(size_t)0xFFFF), 0);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    int err = os_thread_start(&thread, "huge", look_round, &seen);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    assert_int_equal(pthread_setattr_default_np(&before), 0);
    pthread_attr_destroy(&before);
    pthread_attr_destroy(&huge);
    assert_int_equal(err, SALLY_EEXHAUSTED);
    assert_int_equal(seen.value, 0);
    assert_false(sigismember(&mask_after, SIGINT) != sigismember(&mask_before, SIGINT));
    assert_int_equal(os_thread_start(&thread, "next", look_round, &seen), 0);
    os_thread_join(&thread);
    assert_int_equal(seen.value, 1);
}

struct crowd {
    struct os_gate leave;
    struct os_lock lock;
    uint64_t selves[THREADS];
    unsigned count;
    uint64_t sum;
    atomic_bool left_early;
};

static void crowd_member(void *arg)
{
    struct crowd *crowd = arg;
    os_lock_take(&crowd->lock);
    crowd->selves[crowd->count++] = os_thread_self();
    os_lock_give(&crowd->lock);
    for (unsigned i = 0; i < 20000; i++) {
        os_lock_take(&crowd->lock);
        uint64_t sum = crowd->sum;
        if (i % 64 == 0) sched_yield(); /* so that others come and have to wait */
        crowd->sum = sum + 1;
        os_lock_give(&crowd->lock);
    }
    /* all are alive until the last has come */
    if (!os_gate_wait_for(&crowd->leave, WAIT_MS)) atomic_store(&crowd->left_early, true);
}

static void lock_excludes_and_living_threads_differ(void **state)
{
    (void)state;
    static struct crowd crowd;
    struct os_thread threads[THREADS];
    os_gate_init(&crowd.leave);
    os_lock_init(&crowd.lock);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(os_thread_start(&threads[i], "crowd", crowd_member, &crowd), 0);
    for (bool all = false; !all; sched_yield()) {
        os_lock_take(&crowd.lock);
        all = crowd.count == THREADS;
        os_lock_give(&crowd.lock);
    }
    os_gate_open(&crowd.leave);
    for (unsigned i = 0; i < THREADS; i++) os_thread_join(&threads[i]);
    assert_false(atomic_load(&crowd.left_early));
    assert_int_equal(crowd.sum, THREADS * 20000);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_not_equal(crowd.selves[i], os_thread_self());
        for (unsigned j = 0; j < i; j++) assert_int_not_equal(crowd.selves[i], crowd.selves[j]);
    }
    os_lock_free(&crowd.lock);
    os_gate_free(&crowd.leave);
}

/* ---- Cores ---- */

static void cores_are_those_the_process_may_use(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(os_cores(), CPU_COUNT(&before));
    int core = 0;
    while (!CPU_ISSET(core, &before)) core++;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned cores = os_cores();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(cores, 1);
}

/* ---- Gates ---- */

static void closed_gate_gives_up_after_its_time_and_not_before(void **state)
{
    (void)state;
    struct os_gate gate;
    os_gate_init(&gate);
    static const uint32_t waits_ms[] = {0, 1, 30};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t begin = os_clock_ns();
        assert_false(os_gate_wait_for(&gate, waits_ms[i]));
        assert_true(os_clock_ns() - begin >= waits_ms[i] * UINT64_C(1000000));
    }
    os_gate_free(&gate);
}

static void open_gate_lets_pass_for_ever(void **state)
{
    (void)state;
    struct os_gate gate;
    os_gate_init(&gate);
    os_gate_open(&gate);
    os_gate_open(&gate);
    for (unsigned i = 0; i < 3; i++) {
        os_gate_wait(&gate);
        assert_true(os_gate_wait_for(&gate, 0));
        assert_true(os_gate_wait_for(&gate, UINT32_MAX));
    }
    os_gate_free(&gate);
}

struct waiters {
    struct os_gate gate;
    atomic_uint there;
    atomic_uint passed;
};

static void waiter(void *arg)
{
    struct waiters *waiters = arg;
    atomic_fetch_add(&waiters->there, 1);
    if (os_gate_wait_for(&waiters->gate, WAIT_MS)) atomic_fetch_add(&waiters->passed, 1);
}

static void gate_wakes_all_who_wait(void **state)
{
    (void)state;
    static struct waiters waiters;
    struct os_thread threads[THREADS];
    os_gate_init(&waiters.gate);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(os_thread_start(&threads[i], "waiter", waiter, &waiters), 0);
    while (atomic_load(&waiters.there) < THREADS) sched_yield();
    os_gate_open(&waiters.gate);
    for (unsigned i = 0; i < THREADS; i++) os_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&waiters.passed), THREADS);
    os_gate_free(&waiters.gate);
}

static void opener(void *arg) { os_gate_open(arg); }

/* What os_thread_start itself builds on. */
static void gate_may_be_freed_as_soon_as_it_was_passed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        struct os_thread thread;
        struct os_gate gate;
        os_gate_init(&gate);
        assert_int_equal(os_thread_start(&thread, "opener", opener, &gate), 0);
        assert_true(os_gate_wait_for(&gate, WAIT_MS));
        os_gate_free(&gate);
        memset(&gate, 0xFF, sizeof gate);
        os_thread_join(&thread);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_runs_with_its_argument_on_another_thread),
        cmocka_unit_test(long_name_is_cut),
        cmocka_unit_test(signals_sent_are_blocked_and_faults_are_not),
        cmocka_unit_test(system_without_threads_left_is_reported),
        cmocka_unit_test(lock_excludes_and_living_threads_differ),
        cmocka_unit_test(cores_are_those_the_process_may_use),
        cmocka_unit_test(closed_gate_gives_up_after_its_time_and_not_before),
        cmocka_unit_test(open_gate_lets_pass_for_ever),
        cmocka_unit_test(gate_wakes_all_who_wait),
        cmocka_unit_test(gate_may_be_freed_as_soon_as_it_was_passed),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
