/* P11: a wake-up is never lost, and waiting. P13: the alarm. P10: what other threads may do
 * meanwhile. Hand-shakes are exact: a thread goes on only when the owner has seen its wake-up, so
 * one that is lost stops the trial. */
#include <stdatomic.h>
#include <stdlib.h>

#include "os/clock.h"
#include "os/thread.h"
#include "port/support/rules.h"
#include "sallyport/error.h"

enum { THREADS = 8, WAKES_EACH = 500 };

#define MS UINT64_C(1000000)

static void wait_for_ever(struct stage *stage)
{
    CHECK_EQUAL(port_wait(stage->port, PORT_FOREVER), 0);
    CHECK_EQUAL(stage_take(stage), 0);
}

/* --- P13 --- */

/* A wait without a limit, ended by an alarm of so many ms. */
static void alarm_ends_wait(struct stage *stage, uint32_t delay_ms)
{
    uint64_t set_ns = os_clock_ns();
    if (!port_alarm(stage->port, delay_ms)) trial_skip("this port has no alarm");
    trial_waits_for("the alarm", __FILE__, __LINE__);
    wait_for_ever(stage);
    trial_waits_for(NULL, NULL, 0);
    CHECK(os_clock_ns() - set_ns >= delay_ms * MS);
}

static void alarm_again_and_again(struct stage *stage)
{
    for (uint32_t i = 0; i < 20; i++) alarm_ends_wait(stage, i % 7);
}

static void alarm_is_replaced(struct stage *stage)
{
    if (!port_alarm(stage->port, 3600 * 1000)) trial_skip("this port has no alarm");
    alarm_ends_wait(stage, 5); /* not an hour */
    uint64_t set_ns = os_clock_ns();
    CHECK(port_alarm(stage->port, 30));
    CHECK(port_alarm(stage->port, 3600 * 1000));
    uint64_t begin_ns = os_clock_ns();
    CHECK_EQUAL(port_wait(stage->port, 60), 0);
    CHECK_EQUAL(stage_take(stage), 0);
    /* the one that was replaced doesn't come, unless this thread was so slow that it was over */
    bool in_time = begin_ns - set_ns < 25 * MS;
    CHECK(!in_time || os_clock_ns() - begin_ns >= 55 * MS);
}

/* Over while nobody waits: the next wait returns. Once: the one after it doesn't. */
static void alarm_before_wait(struct stage *stage)
{
    if (!port_alarm(stage->port, 1)) trial_skip("this port has no alarm");
    for (uint64_t until_ns = os_clock_ns() + 5 * MS; os_clock_ns() < until_ns;) {
    }
    trial_waits_for("an alarm that was over before the wait", __FILE__, __LINE__);
    wait_for_ever(stage);
    uint64_t begin_ns = os_clock_ns();
    CHECK_EQUAL(port_wait(stage->port, 20), 0);
    CHECK(os_clock_ns() - begin_ns >= 15 * MS);
}

static void alarm_among_events(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    for (unsigned i = 1; i <= 50; i++) {
        if (!port_alarm(stage->port, i % 3)) trial_skip("this port has no alarm");
        UNTIL(stage, peer_wrote(peer, i * 1000) && actor->got == i * 1000);
    }
    /* the last one may have been over before it is replaced, and still end a wait */
    CHECK(port_alarm(stage->port, 2));
    trial_waits_for("the last alarm", __FILE__, __LINE__);
    wait_for_ever(stage);
}

/* --- P11 --- */

static void wake_before_wait(struct stage *stage)
{
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned j = 0; j <= i % 3; j++) port_wake(stage->port);
        trial_waits_for("a wake-up that came before the wait", __FILE__, __LINE__);
        wait_for_ever(stage);
    }
}

static void waits_end(struct stage *stage)
{
    static const uint32_t times_ms[] = {0, 1, 2, 10, 30};
    trial_waits_for("the end of a wait in which nothing happens", __FILE__, __LINE__);
    for (unsigned i = 0; i < sizeof times_ms / sizeof times_ms[0]; i++) {
        CHECK_EQUAL(port_wait(stage->port, times_ms[i]), 0);
        CHECK_EQUAL(stage_take(stage), 0);
    }
}

static void take_before_any_wait(struct stage *stage)
{
    CHECK_EQUAL(stage_take(stage), 0);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    peer_write(peer, 100);
    while (stage_take(stage)) {
    } /* without a wait: whatever is there, or nothing */
    UNTIL(stage, actor->got == 100);
}

/* The wake-up comes between the wait and the last take of it, or with events in the same wait. */
static void wake_among_events(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    for (unsigned i = 1; i <= 100; i++) {
        peer_write(peer, i);
        if (i & 1) port_wake(stage->port);
        UNTIL(stage, actor->got == i);
        if (i & 2) {
            trial_waits_for("a wake-up between two waits", __FILE__, __LINE__);
            port_wake(stage->port);
            CHECK_EQUAL(port_wait(stage->port, PORT_FOREVER), 0);
            while (stage_take(stage)) {
            }
        }
    }
}

struct waker {
    struct stage *stage;
    struct os_thread thread;
    atomic_uint posted;
    atomic_uint seen;
    unsigned wakes;
};

static void wake_and_be_seen(void *arg)
{
    struct waker *waker = arg;
    for (unsigned i = 1; i <= waker->wakes; i++) {
        atomic_store(&waker->posted, i);
        port_wake(waker->stage->port);
        while (atomic_load(&waker->seen) != i) trial_yield();
    }
}

static unsigned see(struct waker *wakers, unsigned count)
{
    unsigned left = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned posted = atomic_load(&wakers[i].posted);
        atomic_store(&wakers[i].seen, posted);
        left += wakers[i].wakes - posted;
    }
    return left;
}

static void run_wakers(struct stage *stage, unsigned count, unsigned wakes, bool busy)
{
    static struct waker wakers[THREADS];
    struct peer *peer;
    struct actor *actor = busy ? stage_pair(stage, &peer) : NULL;
    if (busy) stage_recv(stage, actor);
    for (unsigned i = 0; i < count; i++) {
        wakers[i].stage = stage;
        wakers[i].wakes = wakes;
        CHECK_EQUAL(os_thread_start(&wakers[i].thread, "waker", wake_and_be_seen, &wakers[i]), 0);
    }
    trial_waits_for("wake-ups of other threads", __FILE__, __LINE__);
    while (see(wakers, count)) {
        stage_turn(stage, PORT_FOREVER);
        if (busy && stage_random(stage, 4) == 0) peer_wrote(peer, peer->wrote + 3000);
    }
    trial_waits_for(NULL, NULL, 0);
    for (unsigned i = 0; i < count; i++) os_thread_join(&wakers[i].thread);
    if (busy) UNTIL(stage, actor->got == peer->wrote);
}

static void wake_from_a_thread(struct stage *stage) { run_wakers(stage, 1, 2000, false); }
static void wake_from_threads(struct stage *stage)
{
    run_wakers(stage, THREADS, WAKES_EACH, false);
}
static void wake_under_load(struct stage *stage) { run_wakers(stage, THREADS, WAKES_EACH, true); }

static struct port *signalled_port;

static void on_signal(int number)
{
    (void)number;
    port_wake(signalled_port);
}

static void wake_from_a_signal(struct stage *stage)
{
    signalled_port = stage->port;
    for (unsigned i = 0; i < 50; i++) {
        stage->ground->interrupt(stage->world, on_signal);
        trial_waits_for("a wake-up from a signal handler", __FILE__, __LINE__);
        wait_for_ever(stage);
    }
}

static void signals_cost_nothing(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage->ground->pester(stage->world, true);
    stage_recv(stage, actor);
    stage_send_all(stage, actor, 8 << 20);
    UNTIL(stage, all_of(peer_wrote(peer, 8 << 20), peer_got(peer, 8 << 20), actor->got == 8 << 20));
    for (unsigned i = 0; i < 20; i++) stage_turn(stage, 5);
    struct address loopback = stage_loopback(), at;
    struct actor *listener = stage_listener(stage, &loopback, NULL, &at);
    stage_accept(stage, listener);
    for (unsigned i = 0; i < 50; i++) {
        struct actor *caller = stage_actor(stage);
        stage_connect(stage, caller, &at, NULL);
        AWAIT(stage, caller->endings[PORT_CONNECT]);
        CHECK_EQUAL(caller->error[PORT_CONNECT], 0);
    }
    UNTIL(stage, listener->newcomers == 50);
    stage->ground->pester(stage->world, false);
    CHECK_EQUAL(peer->got, 8 << 20);
}

static void descriptor_tells(struct stage *stage)
{
    if (!(stage->port->abilities & PORT_CAN_POLL_FD)) {
        CHECK_EQUAL(port_fd(stage->port), -1);
        trial_skip("the port has no descriptor to poll");
    }
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    int64_t fd = port_fd(stage->port);
    CHECK(fd >= 0);
    for (unsigned i = 1; i <= 20; i++) {
        stage_settle(stage);
        port_wake(stage->port);
        CHECK(stage->ground->readable(stage->world, fd));
        stage_settle(stage);
        if (i == 1) stage_recv(stage, actor);
        port_flush(stage->port);
        peer_write(peer, i);
        CHECK(stage->ground->readable(stage->world, fd));
        AWAIT(stage, actor->got == i);
    }
    stage_settle(stage);
    stage_recv_stop(stage, actor); /* a system call or none: its event must be told either way */
    port_flush(stage->port);
    trial_waits_for("port_fd to be readable after a stop", __FILE__, __LINE__);
    while (!stage->ground->readable(stage->world, fd)) trial_yield();
    AWAIT(stage, actor->endings[PORT_RECV]);
}

/* --- P10 --- */

struct helper {
    struct stage *stage;
    struct address at;
    port_handle handle;
    atomic_bool done;
    int flaw; /* the line that found something wrong */
};

#define HELPER_CHECK(condition)                                                                    \
    do {                                                                                           \
        if (!(condition) && !helper->flaw) helper->flaw = __LINE__;                                \
    } while (0)

static void help(void *arg)
{
    struct helper *helper = arg;
    struct port *port = helper->stage->port;
    for (unsigned i = 0; i < 50; i++) {
        struct address at = stage_loopback();
        port_handle handle;
        struct addr addr;
        HELPER_CHECK(port_listen(port, &at, NULL, &handle, NULL) == 0);
        HELPER_CHECK(port_local(port, handle, &addr) == 0 && addr.port != 0);
        HELPER_CHECK(port_peer(port, handle, &addr) == SALLY_ENOCONN);
        HELPER_CHECK(!port_pending(port, handle));
        port_refuse(port, handle, PORT_CLOSE_FIN);
        port_wake(port);
    }
    atomic_store(&helper->done, true);
    port_wake(port);
}

static void calls_of_other_threads(struct stage *stage)
{
    static struct helper helper;
    struct os_thread thread;
    helper.stage = stage;
    CHECK_EQUAL(os_thread_start(&thread, "helper", help, &helper), 0);
    AWAIT(stage, atomic_load(&helper.done));
    os_thread_join(&thread);
    CHECK_EQUAL(helper.flaw, 0);
}

static void own_and_use(void *arg)
{
    struct stage *stage = arg;
    CHECK_EQUAL(port_own(stage->port), 0);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_send_all(stage, actor, 100000);
    UNTIL(stage, all_of(peer_wrote(peer, 100000), peer_got(peer, 100000), actor->got == 100000));
    CHECK_EQUAL(peer->got, 100000);
    stage_shut_port(stage);
}

/* Created here, owned and destroyed there. */
static void owned_by_another_thread(struct stage *stage)
{
    struct port_config config;
    stage_port_config(stage, &config);
    CHECK_EQUAL(port_create(stage->config.ops, &config, &stage->port), 0);
    struct os_thread thread;
    CHECK_EQUAL(os_thread_start(&thread, "owner", own_and_use, stage), 0);
    os_thread_join(&thread);
}

static void own_and_disown(void *arg)
{
    struct stage *stage = arg;
    CHECK_EQUAL(port_own(stage->port), 0);
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    stage_recv(stage, actor);
    stage_drop(stage, actor, PORT_CLOSE_RST);
    stage_drop(stage, stage->door, PORT_CLOSE_FIN);
    port_disown(stage->port);
}

static void disowned(struct stage *stage)
{
    struct port_config config;
    stage_port_config(stage, &config);
    CHECK_EQUAL(port_create(stage->config.ops, &config, &stage->port), 0);
    struct os_thread thread;
    CHECK_EQUAL(os_thread_start(&thread, "owner", own_and_disown, stage), 0);
    os_thread_join(&thread);
    port_wake(stage->port);
    CHECK_EQUAL(stage->port->bufs_lent, 0);
    port_destroy(stage->port);
    stage->port = NULL;
}

/* Ports know nothing of each other: four on four threads. */
static void four_ports_on_four_threads(struct stage *stage)
{
    enum { STAGES = 4 };
    struct stage *stages[STAGES];
    struct os_thread threads[STAGES];
    for (unsigned i = 0; i < STAGES; i++) {
        stages[i] = calloc(1, sizeof *stages[i]);
        if (!stages[i]) abort();
        stage_open_bare(stages[i], &stage->config);
        struct port_config config;
        stage_port_config(stages[i], &config);
        CHECK_EQUAL(port_create(stage->config.ops, &config, &stages[i]->port), 0);
    }
    for (unsigned i = 0; i < STAGES; i++)
        CHECK_EQUAL(os_thread_start(&threads[i], "stage", own_and_use, stages[i]), 0);
    for (unsigned i = 0; i < STAGES; i++) os_thread_join(&threads[i]);
    for (unsigned i = 0; i < STAGES; i++) {
        for (unsigned j = 0; j < stages[i]->peers_len; j++)
            if (stages[i]->peers[j].open) peer_close(&stages[i]->peers[j], PORT_CLOSE_RST);
        stages[i]->descriptors_before = stage->descriptors_before;
    }
    for (unsigned i = 0; i < STAGES; i++) {
        stage_shut(stages[i]);
        free(stages[i]);
    }
}

static const struct rule rules[] = {
    {"P10_01_other_threads_listen_and_look_while_the_owner_waits", calls_of_other_threads,
     NEEDS_REAL},
    {"P10_02_made_on_one_thread_owned_by_another", owned_by_another_thread,
     NEEDS_REAL | NEEDS_BARE},
    {"P10_03_four_ports_on_four_threads", four_ports_on_four_threads, NEEDS_REAL | NEEDS_BARE},
    {"P10_04_let_go_by_its_thread_and_destroyed_by_another", disowned, NEEDS_REAL | NEEDS_BARE},
    {"P11_01_a_wake_up_before_the_wait", wake_before_wait},
    {"P11_02_a_wait_in_which_nothing_happens_ends", waits_end},
    {"P11_03_taking_without_a_wait", take_before_any_wait},
    {"P11_04_wake_ups_among_events", wake_among_events},
    {"P11_05_two_thousand_wake_ups_of_one_thread", wake_from_a_thread, NEEDS_REAL},
    {"P11_06_wake_ups_of_eight_threads", wake_from_threads, NEEDS_REAL},
    {"P11_07_wake_ups_of_eight_threads_under_load", wake_under_load, NEEDS_REAL},
    {"P11_08_a_wake_up_from_a_signal_handler", wake_from_a_signal, NEEDS_REAL | NEEDS_SIGNALS},
    {"P11_09_a_thousand_signals_a_second_cost_nothing", signals_cost_nothing,
     NEEDS_REAL | NEEDS_SIGNALS},
    {"P11_10_the_descriptor_tells_of_wake_ups_and_events", descriptor_tells, NEEDS_REAL},
    {"P13_01_alarms_end_waits_one_after_the_other", alarm_again_and_again, NEEDS_REAL},
    {"P13_02_a_new_alarm_replaces_the_old", alarm_is_replaced, NEEDS_REAL},
    {"P13_03_an_alarm_before_the_wait_is_heard_once", alarm_before_wait, NEEDS_REAL},
    {"P13_04_alarms_among_events", alarm_among_events, NEEDS_REAL},
};
const struct rule_set rules_waking = {rules, sizeof rules / sizeof rules[0]};
