/* Exactly once, whatever is done in whatever order: a long random walk over every way of every
 * port, while threads wake it. Sockets listen, connect (to peers, to nobody, to who never answers),
 * receive, send, stop, half-close, close, and are used again under the same name; peers write,
 * read, finish, close and reset. The stage judges every event (once, of the right socket, none
 * after PORT_CLOSE, bytes as sent) and at the end that no operation, buffer, block of memory or
 * descriptor is left; here it is added that every buffer can still be lent.
 *
 *   port_torture [PATTERN]
 *   SALLY_SEED=n   the walk's seed; printed
 *   SALLY_LONG=1   many seeds, and longer walks */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/thread.h"
#include "port/support/rules.h"
#include "sallyport/error.h"
#include "support/long.h"

enum {
    WALKERS = 10,
    DOORS = 2,
    WAKERS = 2,
    STEPS = 2500,
    STEPS_LONG = 20000,
    SEEDS_LONG = 20,
    CASES_MAX = 64,
    LIMIT_S = 60,
    LIMIT_LONG_S = 600,
    FEW_BUFS = 4,
    FEW_BUF_BYTES = 256,
    HELD_MAX = 40,
    WAYS = 3,
};
static const uint64_t default_seed = 20261121;

/* One socket of the port and the peer at its other end, which may be missing. */
struct walker {
    struct actor *actor;
    struct peer *peer;
    bool shut;   /* our half is closed */
    bool failed; /* the stream's position is unknown */
};

struct door {
    struct actor *actor;
    struct address at;
};

struct walk {
    struct stage *stage;
    struct walker walker[WALKERS];
    struct door door[DOORS];
    intptr_t listener; /* a peer's, for connects that nobody may accept */
    struct address listener_at, nowhere, hole_at;
    intptr_t hole;
    struct os_thread waker[WAKERS];
    atomic_bool over;
    atomic_uint wakes;
};

struct torture {
    const struct column *column;
    bool few_bufs;
    bool guarded;
    uint64_t seed;
    unsigned steps;
    char name[64];
};

static uint32_t any(struct walk *walk, uint32_t below) { return stage_random(walk->stage, below); }

/* ---- Others wake it ---- */

static void wake_on(void *arg)
{
    struct walk *walk = arg;
    for (unsigned i = 0; !atomic_load(&walk->over); i++) {
        port_wake(walk->stage->port);
        atomic_fetch_add(&walk->wakes, 1);
        for (unsigned k = 0; k < (i % 7) * 50; k++) trial_yield();
    }
}

static void wakers_start(struct walk *walk)
{
    if (!walk->stage->ground->real) return;
    for (unsigned i = 0; i < WAKERS; i++)
        CHECK_EQUAL(os_thread_start(&walk->waker[i], "waker", wake_on, walk), 0);
}

static void wakers_end(struct walk *walk)
{
    if (!walk->stage->ground->real) return;
    atomic_store(&walk->over, true);
    for (unsigned i = 0; i < WAKERS; i++) os_thread_join(&walk->waker[i]);
    CHECK(atomic_load(&walk->wakes) > 0);
    trial_waits_for("a wait that follows a wake-up", __FILE__, __LINE__);
    port_wake(walk->stage->port);
    CHECK_EQUAL(port_wait(walk->stage->port, PORT_FOREVER), 0);
    trial_waits_for(NULL, NULL, 0);
}

/* ---- Listening ---- */

static void door_step(struct walk *walk, struct door *door)
{
    struct stage *stage = walk->stage;
    struct address loopback = stage_loopback();
    struct actor *actor = door->actor;
    if (!actor) {
        door->actor = stage_listener(stage, &loopback, NULL, &door->at);
    } else if (actor->closed) {
        stage_give(stage, actor);
        door->actor = NULL;
    } else if (actor_flies(actor, PORT_CLOSE)) {
        return;
    } else if (any(walk, 30) == 0) {
        stage_close(stage, actor, any(walk, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
    } else if (!actor_flies(actor, PORT_ACCEPT)) {
        stage_accept(stage, actor);
    } else if (any(walk, 4) == 0) {
        stage_accept_stop(stage, actor);
    } else if (any(walk, 4) == 0) {
        actor->refuse = !actor->refuse;
    }
}

/* Somebody comes and may be gone before he is taken. */
static void visit(struct walk *walk)
{
    struct door *door = &walk->door[any(walk, DOORS)];
    if (!door->actor || door->actor->closed || actor_flies(door->actor, PORT_CLOSE)) return;
    struct peer *peer = peer_connect(walk->stage, &door->at);
    if (any(walk, 3) == 0) peer_wrote(peer, 1 + any(walk, 100));
    peer_close(peer, any(walk, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
}

/* Who came through the doors leaves, and who comes now is turned away: whom stage_pair takes next
 * has to be its own. */
static void doors_refuse(struct walk *walk)
{
    for (unsigned i = 0; i < DOORS; i++)
        if (walk->door[i].actor) walk->door[i].actor->refuse = true;
    while (stage_has_newcomer(walk->stage))
        stage_drop(walk->stage, stage_next(walk->stage), PORT_CLOSE_RST);
}

static void doors_close(struct walk *walk)
{
    struct stage *stage = walk->stage;
    doors_refuse(walk);
    for (unsigned i = 0; i < DOORS; i++) {
        struct actor *actor = walk->door[i].actor;
        if (!actor) continue;
        if (!actor->closed && !actor_flies(actor, PORT_CLOSE))
            stage_close(stage, actor, PORT_CLOSE_RST);
        AWAIT(stage, actor->closed);
        stage_give(stage, actor);
    }
}

/* ---- A new connection ---- */

static const struct address *target(struct walk *walk)
{
    switch (any(walk, 4)) {
    case 0: return &walk->nowhere;
    case 1: return &walk->hole_at;
    default: return &walk->listener_at;
    }
}

static void begin(struct walk *walk, struct walker *walker)
{
    struct stage *stage = walk->stage;
    memset(walker, 0, sizeof *walker);
    switch (any(walk, 5)) {
    case 0:
        doors_refuse(walk);
        walker->actor = stage_pair(stage, &walker->peer);
        break;
    case 1: walker->actor = stage_pair_out(stage, &walker->peer); break;
    case 2:
        if (stage_has_newcomer(stage)) walker->actor = stage_next(stage);
        break;
    default:
        walker->actor = stage_actor(stage);
        stage_connect(stage, walker->actor, target(walk), NULL);
    }
    if (!walker->peer) return;
    walker->actor->tag_in |= TAG_OF_REUSE;
    walker->peer->tag_out |= TAG_OF_REUSE;
}

/* Its slot goes to anybody, or it is used again under the same name. */
static void end(struct walk *walk, struct walker *walker)
{
    struct stage *stage = walk->stage;
    struct actor *actor = walker->actor;
    if (walker->peer && walker->peer->open) peer_close(walker->peer, PORT_CLOSE_RST);
    memset(walker, 0, sizeof *walker);
    if (any(walk, 3)) {
        stage_give(stage, actor);
        return;
    }
    stage_renew(stage, actor);
    walker->actor = actor;
    stage_connect(stage, actor, target(walk), NULL);
}

/* ---- A connection's steps ---- */

static bool is_connected(const struct walker *walker)
{
    const struct actor *actor = walker->actor;
    return !actor_flies(actor, PORT_CONNECT) && actor->sock.handle != PORT_NO_HANDLE;
}

static bool can_send(const struct walker *walker)
{
    const struct actor *actor = walker->actor;
    return is_connected(walker) && !walker->shut && !walker->failed &&
           !actor_flies(actor, PORT_SEND) && actor->error[PORT_SEND] == 0;
}

static void send_step(struct walk *walk, struct walker *walker)
{
    static const uint32_t sizes[] = {1, 3000, 17, 900};
    struct stage *stage = walk->stage;
    struct actor *actor = walker->actor;
    if (!can_send(walker)) return;
    switch (any(walk, 8)) {
    case 0:
        (void)port_shutdown(stage->port, &actor->sock);
        walker->shut = true;
        break;
    case 1:
    case 2: walker->failed = stage_send_now(stage, actor, 1 + any(walk, 5000)) < 0; break;
    case 3: stage_send_spans(stage, actor, 1 + any(walk, 60000), sizes, 4); break;
    default: stage_send(stage, actor, 1 + any(walk, any(walk, 3) ? 2000 : 150000));
    }
}

static void recv_step(struct walk *walk, struct walker *walker)
{
    struct actor *actor = walker->actor;
    int32_t error = actor->error[PORT_RECV];
    if (!is_connected(walker)) return;
    if (actor_flies(actor, PORT_RECV)) {
        if (any(walk, 3) == 0) stage_recv_stop(walk->stage, actor);
    } else if (!actor->ended && (error == 0 || error == SALLY_ECANCELED)) {
        stage_recv(walk->stage, actor);
    }
}

static void actor_step(struct walk *walk, struct walker *walker)
{
    struct stage *stage = walk->stage;
    struct actor *actor = walker->actor;
    bool idle = !actor->flying && actor->sock.handle == PORT_NO_HANDLE;
    switch (any(walk, 16)) {
    case 0: stage_close(stage, actor, any(walk, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN); break;
    case 1: actor->hold = !actor->hold; break;
    case 2: stage_release_held(stage); break;
    case 3:
        if (idle && actor->error[PORT_CONNECT]) stage_connect(stage, actor, target(walk), NULL);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8: recv_step(walk, walker); break;
    default: send_step(walk, walker);
    }
}

static void walker_step(struct walk *walk, struct walker *walker)
{
    if (!walker->actor) {
        begin(walk, walker);
        return;
    }
    if (walker->actor->closed) {
        end(walk, walker);
        return;
    }
    bool closing = actor_flies(walker->actor, PORT_CLOSE);
    bool peer = walker->peer && walker->peer->open;
    if (peer && (closing || any(walk, 2)))
        peer_stray(walker->peer, 20000);
    else if (!closing)
        actor_step(walk, walker);
}

/* ---- The walk ---- */

static void others_step(struct walk *walk)
{
    struct stage *stage = walk->stage;
    intptr_t id;
    switch (any(walk, 6)) {
    case 0: visit(walk); break;
    case 1:
        if (stage->ground->accept(stage->world, walk->listener, &id))
            stage->ground->close(stage->world, id, any(walk, 2) ? PORT_CLOSE_RST : PORT_CLOSE_FIN);
        break;
    case 2: (void)port_alarm(stage->port, 1 + any(walk, 5)); break;
    case 3: port_flush(stage->port); break;
    default: door_step(walk, &walk->door[any(walk, DOORS)]);
    }
}

static void walk_open(struct walk *walk)
{
    struct stage *stage = walk->stage;
    const struct ground *ground = stage->ground;
    struct address loopback = stage_loopback();
    intptr_t gone;
    CHECK_EQUAL(ground->listen(stage->world, &loopback, 64, &walk->listener, &walk->listener_at),
                0);
    CHECK_EQUAL(ground->listen(stage->world, &loopback, 1, &gone, &walk->nowhere), 0);
    ground->close_listener(stage->world, gone);
    walk->hole = stage_hole(stage, &walk->hole_at);
}

/* Every buffer can be lent, all at once: reads what a peer sends byte by byte, and keeps it. */
static void lend_all(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    actor->hold = true;
    stage_recv(stage, actor);
    UNTIL(stage,
          (peer_wrote(peer, peer->wrote + 1), stage->port->bufs_lent == stage->port->bufs_total));
    stage_release_held(stage);
    actor->hold = false;
    stage_drop(stage, actor, PORT_CLOSE_RST);
    peer_close(peer, PORT_CLOSE_RST);
}

static void walk_end(struct walk *walk)
{
    struct stage *stage = walk->stage;
    wakers_end(walk);
    doors_close(walk);
    stage_release_held(stage);
    for (unsigned i = 0; i < WALKERS; i++) {
        struct walker *walker = &walk->walker[i];
        if (!walker->actor) continue;
        walker->actor->hold = false;
        if (!walker->actor->closed && !actor_flies(walker->actor, PORT_CLOSE))
            stage_close(stage, walker->actor, PORT_CLOSE_RST);
        UNTIL(stage, walker->actor->closed);
    }
    stage->ground->close_listener(stage->world, walk->listener);
    stage->ground->close_listener(stage->world, walk->hole);
}

static void torture_run(void *arg)
{
    static struct stage stage; /* too big for a stack; one a process */
    static struct walk walk;
    const struct torture *torture = arg;
    struct stage_config config = torture->column->config;
    if (torture->few_bufs) {
        config.bufs_max = FEW_BUFS;
        config.buf_bytes = FEW_BUF_BYTES;
    }
    config.guarded = torture->guarded;
    stage_open(&stage, &config);
    stage.random = torture->seed | 1;
    memset(&walk, 0, sizeof walk);
    walk.stage = &stage;
    walk_open(&walk);
    wakers_start(&walk);
    for (unsigned step = 0; step < torture->steps; step++) {
        walker_step(&walk, &walk.walker[any(&walk, WALKERS)]);
        if (any(&walk, 4) == 0) others_step(&walk);
        stage.take_max = 1 + any(&walk, 8);
        if (stage.held_len > HELD_MAX) stage_release_held(&stage);
        if (any(&walk, 3) == 0) stage_turn(&stage, 0);
        if (any(&walk, 12) == 0) stage_turn(&stage, 1);
    }
    walk_end(&walk);
    lend_all(&stage);
    CHECK_EQUAL(counter_get(&stage.port->counters.stray_events), 0);
    stage_shut(&stage);
}

/* SALLY_TRIAL_S for who expects failures. */
static unsigned limit_s(bool is_long)
{
    const char *given = getenv("SALLY_TRIAL_S");
    if (given) return (unsigned)strtoul(given, NULL, 10);
    return is_long ? LIMIT_LONG_S : LIMIT_S;
}

static void torture_test(void **state)
{
    struct torture *torture = *state;
    struct trial trial;
    bool is_long = long_form();
    unsigned seeds = is_long ? SEEDS_LONG : 1;
    for (unsigned i = 0; i < seeds; i++, torture->seed++) {
        trial_name("torture");
        trial_again(torture->name);
        trial_run(&trial, torture_run, torture, limit_s(is_long), false);
        if (trial.verdict == VERDICT_SKIP) {
            printf("skipped: %s\n", trial.text);
            skip();
        }
        if (trial.verdict != VERDICT_OK)
            fail_msg("SALLY_SEED=%llu: %s", (unsigned long long)torture->seed, trial.text);
    }
}

static unsigned make_cases(struct torture *cases)
{
    static const char *const ways[WAYS] = {"", "__few_buffers", "__guarded"};
    const char *given = getenv("SALLY_SEED");
    unsigned count = 0;
    for (unsigned i = 0; i < columns_count * WAYS && count < CASES_MAX; i++) {
        struct torture *torture = &cases[count++];
        torture->column = &columns[i / WAYS];
        torture->few_bufs = i % WAYS > 0;
        torture->guarded = i % WAYS == 2;
        torture->seed = given ? strtoull(given, NULL, 0) : default_seed;
        torture->steps = long_form() ? STEPS_LONG : STEPS;
        snprintf(torture->name, sizeof torture->name, "%s%s", torture->column->name,
                 ways[i % WAYS]);
    }
    return count;
}

int main(int argc, char **argv)
{
    static struct torture cases[CASES_MAX];
    static struct CMUnitTest tests[CASES_MAX];
    unsigned count = make_cases(cases);
    if (argc == 3 && strcmp(argv[1], "--trial") == 0) {
        for (unsigned i = 0; i < count; i++)
            if (strcmp(cases[i].name, argv[2]) == 0)
                trial_child(torture_run, &cases[i], LIMIT_LONG_S);
        trial_skip("there is no %s", argv[2]);
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("SALLY_SEED=%llu\n", (unsigned long long)cases[0].seed);
    for (unsigned i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, torture_test, NULL, NULL, &cases[i]};
    return _cmocka_run_group_tests("port_torture", tests, count, NULL, NULL) != 0;
}
