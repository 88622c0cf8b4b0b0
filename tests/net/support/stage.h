/* The engine under test, with every callback recorded and judged: on_open first, on_close exactly
 * once and last, one callback at a time, never inside another, always on the thread that owns the
 * connection. A test brings a handler; the stage's own one stands before it.
 *
 * A stage is made and ended by the test's thread. An actor is a connection's record: the shard's
 * thread writes it, anybody may read what is atomic, and the rest once `closed` is set. Actors live
 * until stage_end. Nothing of cmocka may be called on another thread than the test's: callbacks say
 * stage_wrong instead, and the test fails at its end. */
#ifndef NET_SUPPORT_STAGE_H
#define NET_SUPPORT_STAGE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sallyport.h"
#include "sallyport/admission.h"

/* The build may say it too, for a system on which each call is slow. */
#if defined(STAGE_SLOW)
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STAGE_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STAGE_SLOW 1
#endif
#endif
#if !defined(STAGE_SLOW)
#define STAGE_SLOW 0
#endif

enum { STAGE_LIMIT_MS = 60 * 1000, STAGE_STORY_MAX = 48, STAGE_ACTORS_MAX = 1 << 18 };

/* What a test body is run for. */
struct stage_way {
    sally_port_kind port;
    unsigned shards;
};

struct stage;

struct actor {
    unsigned kind; /* first: tells it from a stage */
    struct stage *stage;
    unsigned index;   /* in order of on_open */
    sally_conn *conn; /* its shard's thread only */
    sally_id id;      /* set before on_open's count rises */
    void *user;       /* the test's */
    pthread_t thread;
    unsigned calls; /* not atomic on purpose: one callback at a time */
    char peer[64];
    char story[STAGE_STORY_MAX]; /* o d m s r(drain) e t(timer) l(limit) c, the first of them */
    atomic_uint opens, datas, messages, sents, drains, eofs, timers, limits, closes;
    _Atomic uint64_t bytes_in; /* as on_data or on_message told */
    _Atomic uint64_t sent;     /* as on_sent told */
    _Atomic uint64_t number[4];
    atomic_bool closed;
    sally_close_info info; /* once closed */
    uint64_t dialled_us;   /* by stage_client: before there was anything to count from */
    uint64_t closed_us;
};

struct stage_options {
    sally_handler handler;
    sally_server_options server;
    sally_engine_options engine;
    void *user;
    bool no_server;
    bool grows; /* filters make more of the bytes than came */
};

struct stage {
    unsigned kind;
    struct stage_way way;
    sally_engine *engine;
    sally_server *server;
    char address[64];
    sally_handler handler; /* the test's */
    void *user;
    atomic_uint opened; /* actors whose on_open has run */
    atomic_uint closed; /* whose on_close has */
    atomic_uint wrongs;
    _Atomic uint64_t memory_bytes, memory_high_bytes, big_blocks;
    atomic_uint actor_count;
    _Atomic(struct actor *) *actors;
    unsigned fds_before;
    bool dead; /* the engine was destroyed by the test */
    bool grows;
};

/* The engine runs and listens on stage->address when this returns. Fails the test otherwise. */
struct stage *stage_begin(const struct stage_way *way, const struct stage_options *options);

/* Stops, judges, destroys: every callback in order, each connection closed, no memory, descriptor
 * or operation left. */
void stage_end(struct stage *stage);

/* The first half alone, for tests that destroy the engine themselves: all actors closed after it.
 */
void stage_destroy_engine(struct stage *stage);

/* The handler to listen or connect with, so that those connections are recorded too. */
sally_handler stage_handler(struct stage *stage);

/* An outgoing connection with it. */
int stage_connect(struct stage *stage, const char *address, const sally_connect_options *options,
                  sally_id *id);

/* One more server with options of its own; its address goes to buf. */
sally_server *stage_listen(struct stage *stage, const sally_server_options *options, char *buf,
                           size_t size);

/* Inside callbacks. */
struct actor *actor_of(const sally_conn *conn);

/* The n-th actor; waits for it. */
struct actor *stage_actor(struct stage *stage, unsigned n);

/* A raw client of the stage's server whose on_open has run. */
int stage_client(struct stage *stage, int recv_buf_bytes, struct actor **actor);

/* Waits for its on_close and returns what it said. */
const sally_close_info *actor_wait_closed(struct actor *actor);

sally_server_stats stage_server_stats(const struct stage *stage);
sally_engine_stats stage_engine_stats(const struct stage *stage);
/* Newcomers that were refused for this. */
uint64_t stage_refused(const struct stage *stage, sally_refusal why);

/* As on_data: sends it back, and must be able to; or drops it. */
void stage_echo(sally_conn *conn, const void *data, size_t len);
void stage_ignore(sally_conn *conn, const void *data, size_t len);

/* Nothing but its on_open has come. (The story may be read only once it is closed.) */
static inline bool actor_is_quiet(struct actor *actor)
{
    return !atomic_load(&actor->datas) && !atomic_load(&actor->eofs) &&
           !atomic_load(&actor->closes);
}

/* Fails the test at its end; any thread. */
void stage_wrong(struct stage *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* In callbacks: says so unless it holds. */
#define STAGE_CHECK(stage, condition)                                                              \
    do {                                                                                           \
        if (!(condition))                                                                          \
            stage_wrong(stage, "%s:%d: not true: %s", __FILE__, __LINE__, #condition);             \
    } while (0)

/* Polls until the condition holds or the limit is over; whether it held. */
#define STAGE_POLL(condition, limit_ms)                                                            \
    ({                                                                                             \
        uint64_t until_us_ = stage_now_us() + (uint64_t)(limit_ms)*1000;                           \
        bool held_;                                                                                \
        while (!(held_ = (condition)) && stage_now_us() < until_us_) stage_nap();                  \
        held_;                                                                                     \
    })
#define STAGE_WAIT(condition)                                                                      \
    do {                                                                                           \
        if (!STAGE_POLL(condition, STAGE_LIMIT_MS)) fail_msg("not in time: %s", #condition);       \
    } while (0)

uint64_t stage_now_us(void);
void stage_nap(void); /* a millisecond between two looks */

/* Less of it where sanitizers make everything slow. */
static inline uint64_t stage_scaled(uint64_t n) { return STAGE_SLOW ? n / 10 : n; }

/* The seed of this run: SALLY_TEST_SEED, or the clock; printed. */
uint64_t stage_seed(void);

/* When this returns, what this thread has sent by id to a connection that isn't open yet is there.
 */
void stage_letters_came(struct stage *stage, sally_id id);

/* A thread that must succeed. */
pthread_t stage_thread(void *(*body)(void *arg), void *arg);

/* ---- Running ---- */

struct stage_test {
    const char *name;
    void (*body)(const struct stage_way *way);
    unsigned shards[3]; /* the numbers of shards it runs with, 0 ends them */
};

#define STAGE_TEST(body)                                                                           \
    {                                                                                              \
#body, body, { 1, 3 }                                                                      \
    }
#define STAGE_TEST_ON(body, many)                                                                  \
    {                                                                                              \
#body, body, { many }                                                                      \
    }

/* Every test on every port kind, named "body [uring, 3 shards]". argv[1] is a pattern of names. */
int stage_run(const char *group, const struct stage_test *tests, size_t count, int argc,
              char **argv);

#endif
