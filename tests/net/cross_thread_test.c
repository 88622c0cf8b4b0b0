/* Connections from other threads: order, wholeness, ids that reach nobody else, posts that run
 * exactly once. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "net/support/raw.h"
#include "net/support/stage.h"

enum { MB = 1 << 20 };

/* ---- Frames from many threads ---- */

enum { FRAME_THREADS = 16, FRAME_FILL_MAX = 300 };

struct frame {
    uint32_t magic, thread, number, fill;
};

struct frame_sender {
    struct stage *stage;
    sally_id id;
    uint32_t thread, frames;
    atomic_uint full; /* times that the queue had no room */
};

static void *send_frames(void *arg)
{
    struct frame_sender *sender = arg;
    unsigned char bytes[sizeof(struct frame) + FRAME_FILL_MAX];
    struct lot lot = {.state = sender->thread};
    for (uint32_t n = 0; n < sender->frames; n++) {
        struct frame frame = {0xfeedf00d, sender->thread, n, lot_below(&lot, FRAME_FILL_MAX)};
        memcpy(bytes, &frame, sizeof frame);
        pattern_fill(bytes + sizeof frame, frame.thread, frame.number, frame.fill);
        int err;
        while ((err = sally_send(sender->stage->engine, sender->id, bytes,
                                 sizeof frame + frame.fill)) == SALLY_EFULL) {
            atomic_fetch_add(&sender->full, 1);
            sched_yield();
        }
        if (err) stage_wrong(sender->stage, "sally_send: %s", sally_err_name(err));
        if (err) return NULL;
    }
    return NULL;
}

/* Reads all frames: each thread's in order, none torn. */
static void read_frames(int fd, uint32_t threads, uint32_t frames)
{
    uint32_t next[FRAME_THREADS] = {0};
    unsigned char fill[FRAME_FILL_MAX];
    for (uint64_t n = 0; n < (uint64_t)threads * frames; n++) {
        struct frame frame;
        assert_true(raw_read(fd, &frame, sizeof frame));
        assert_int_equal(frame.magic, 0xfeedf00d);
        assert_true(frame.thread < threads && frame.fill < FRAME_FILL_MAX);
        assert_int_equal(frame.number, next[frame.thread]);
        next[frame.thread]++;
        assert_true(raw_read(fd, fill, frame.fill));
        assert_int_equal(pattern_check(fill, frame.thread, frame.number, frame.fill), frame.fill);
    }
}

static void frames_of_16_threads_keep_order_and_stay_whole(const struct stage_way *way)
{
    /* the client only reads: on a slow machine it may be silent for longer than the default */
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.server.conn = {.send_bytes_max = 256 * 1024,
                                                                 .first_byte_ms = SALLY_FOREVER}});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    uint32_t frames = (uint32_t)stage_scaled(10000);
    static struct frame_sender senders[FRAME_THREADS];
    pthread_t threads[FRAME_THREADS];
    for (uint32_t i = 0; i < FRAME_THREADS; i++) {
        senders[i] =
            (struct frame_sender){.stage = stage, .id = actor->id, .thread = i, .frames = frames};
        threads[i] = stage_thread(send_frames, &senders[i]);
    }
    read_frames(fd, FRAME_THREADS, frames);
    for (int i = 0; i < FRAME_THREADS; i++) pthread_join(threads[i], NULL);
    raw_close(fd);
    actor_wait_closed(actor);
    stage_end(stage);
}

/* ---- Full, and told when not ---- */

static void note_drain(sally_conn *conn) { (void)conn; }

static void what_was_accepted_arrives_and_on_drain_follows_a_refusal(const struct stage_way *way)
{
    enum { PIECE = 10 * 1000 };
    static unsigned char piece[PIECE];
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_drain = note_drain,
                                                 .server.conn = {.send_bytes_max = 256 * 1024,
                                                                 .send_high_bytes = 256 * 1024,
                                                                 .send_low_bytes = 1000,
                                                                 .send_buf_bytes = 8192}});
    struct actor *actor;
    int fd = stage_client(stage, 8192, &actor);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, 257 * 1024), SALLY_ELIMIT);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, (size_t)1 << 33), SALLY_ELIMIT);
    assert_int_equal(sally_send(stage->engine, actor->id, NULL, 1), SALLY_EINVAL);
    uint64_t sent = 0;
    for (unsigned refused = 0; refused < 3;) {
        unsigned drains = atomic_load(&actor->drains);
        pattern_fill(piece, 5, sent, PIECE);
        int err = sally_send(stage->engine, actor->id, piece, PIECE);
        assert_true(err == 0 || err == SALLY_EFULL);
        if (!err) sent += PIECE;
        if (!err) continue;
        refused++;
        /* the bound holds for the queue with what travels to it, and what the system took */
        uint64_t had = actor->number[0];
        assert_true(raw_check(fd, 5, had, sent - had, 0));
        atomic_store(&actor->number[0], sent);
        STAGE_WAIT(atomic_load(&actor->drains) > drains);
    }
    assert_int_equal(sally_close(stage->engine, actor->id), 0);
    uint64_t rest = 0;
    assert_string_equal(raw_end_name(raw_check_to_end(fd, 5, sent, &rest)), "FIN");
    assert_int_equal(rest, 0);
    raw_close(fd);
    assert_int_equal(actor_wait_closed(actor)->bytes_out, sent);
    stage_end(stage);
}

/* ---- One thread's calls of all kinds keep their order ---- */

static void send_posted(sally_conn *conn, void *arg)
{
    uint32_t *number = arg;
    if (conn) (void)sally_conn_send(conn, number, sizeof *number);
    free(number);
}

static void sends_posts_and_the_close_of_one_thread_keep_their_order(const struct stage_way *way)
{
    struct stage *stage = stage_begin(way, &(struct stage_options){0});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    enum { CALLS = 20000 };
    for (uint32_t n = 0; n < CALLS; n++) {
        uint32_t *number = malloc(sizeof *number);
        assert_non_null(number);
        *number = n;
        if (n % 2) {
            assert_int_equal(sally_post(stage->engine, actor->id, send_posted, number), 0);
        } else {
            assert_int_equal(sally_send(stage->engine, actor->id, number, sizeof *number), 0);
            free(number);
        }
    }
    assert_int_equal(sally_close(stage->engine, actor->id), 0);
    for (uint32_t n = 0; n < CALLS; n++) {
        uint32_t got = 0;
        assert_true(raw_read(fd, &got, sizeof got));
        assert_int_equal(got, n);
    }
    assert_string_equal(raw_end_name(raw_read_to_end(fd, NULL)), "FIN");
    raw_close(fd);
    actor_wait_closed(actor);
    stage_end(stage);
}

/* ---- Ids that are gone ---- */

struct hammer {
    struct stage *stage;
    const sally_id *ids;
    size_t count;
    uint64_t seed;
    atomic_bool *over;
    _Atomic uint64_t calls;
};

static void must_not_run(sally_conn *conn, void *arg)
{
    struct stage *stage = arg;
    (void)conn;
    stage_wrong(stage, "a post to an id that has gone ran");
}

static void *hammer_stale_ids(void *arg)
{
    struct hammer *hammer = arg;
    sally_engine *engine = hammer->stage->engine;
    struct lot lot = {.state = hammer->seed};
    while (!atomic_load(hammer->over)) {
        sally_id id = hammer->ids[lot_below(&lot, (uint32_t)hammer->count)];
        int err = 0;
        switch (lot_below(&lot, 4)) {
        case 0: err = sally_send(engine, id, "POISON", 6); break;
        case 1: err = sally_close(engine, id); break;
        case 2: err = sally_abort(engine, id); break;
        default: err = sally_post(engine, id, must_not_run, hammer->stage); break;
        }
        if (err != SALLY_ENOCONN)
            stage_wrong(hammer->stage, "a call with an old id: %s", sally_err_name(err));
        atomic_fetch_add(&hammer->calls, 1);
    }
    return NULL;
}

/* Each of them has called again since: so they hammer while what is judged happens, however the
 * system schedules threads. */
static void wait_for_blows(struct hammer *hammers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t before = atomic_load(&hammers[i].calls);
        STAGE_WAIT(atomic_load(&hammers[i].calls) > before);
    }
}

static void stale_ids_reach_nobody(const struct stage_way *way)
{
    enum { BATCH = 100, HAMMERS = 3, NEW_CLIENTS = 300 };
    /* all of the 100,000 on one way, so that the others don't take half a minute each */
    size_t count = way->shards == 1 ? 100 * 1000 : 10 * 1000;
    if (STAGE_SLOW) count = 5000;
    struct stage *stage = stage_begin(way, &(struct stage_options){.handler.on_data = stage_echo});
    sally_id *ids = calloc(count, sizeof *ids);
    assert_non_null(ids);
    for (size_t done = 0; done < count; done += BATCH) {
        int fds[BATCH];
        for (int i = 0; i < BATCH; i++) assert_true((fds[i] = raw_connect(stage->address, 0)) >= 0);
        STAGE_WAIT(atomic_load(&stage->opened) == done + BATCH);
        for (int i = 0; i < BATCH; i++) raw_reset(fds[i]);
        STAGE_WAIT(atomic_load(&stage->closed) == done + BATCH);
    }
    for (size_t i = 0; i < count; i++) ids[i] = atomic_load(&stage->actors[i])->id;
    sally_engine_stats stats;
    STAGE_WAIT(sally_engine_get_stats(stage->engine, &stats) == 0 && stats.conns == 0);
    static atomic_bool over;
    static struct hammer hammers[HAMMERS];
    atomic_store(&over, false);
    pthread_t threads[HAMMERS];
    uint64_t seed = stage_seed();
    for (unsigned i = 0; i < HAMMERS; i++) {
        hammers[i] = (struct hammer){
            .stage = stage, .ids = ids, .count = count, .seed = seed + i, .over = &over};
        threads[i] = stage_thread(hammer_stale_ids, &hammers[i]);
    }
    for (int n = 0; n < NEW_CLIENTS; n++) {
        struct actor *actor;
        int fd = stage_client(stage, 0, &actor);
        if (n % 10 == 0) wait_for_blows(hammers, HAMMERS);
        assert_true(raw_send_pattern(fd, (uint64_t)n, 0, 3000, 500));
        assert_true(raw_check(fd, (uint64_t)n, 0, 3000, 0));
        raw_finish(fd);
        uint64_t foreign = 0;
        assert_string_equal(raw_end_name(raw_read_to_end(fd, &foreign)), "FIN");
        assert_int_equal(foreign, 0);
        raw_close(fd);
        assert_int_equal(actor_wait_closed(actor)->reason, SALLY_CLOSE_PEER_CLOSED);
    }
    atomic_store(&over, true);
    for (int i = 0; i < HAMMERS; i++) pthread_join(threads[i], NULL);
    free(ids);
    stage_end(stage);
}

/* ---- Posts ---- */

struct poster {
    struct stage *stage;
    sally_id *ids;
    unsigned count, posts;
    atomic_uint *ran, *ran_without;
    atomic_uint accepted;
};

struct parcel {
    struct poster *poster;
    sally_id id;
};

static void open_parcel(sally_conn *conn, void *arg)
{
    struct parcel *parcel = arg;
    if (conn && sally_conn_id(conn) != parcel->id)
        stage_wrong(parcel->poster->stage, "a post ran on another connection");
    atomic_fetch_add(conn ? parcel->poster->ran : parcel->poster->ran_without, 1);
    free(parcel); /* twice would be seen */
}

static void *post_parcels(void *arg)
{
    struct poster *poster = arg;
    for (unsigned n = 0; n < poster->posts; n++) {
        struct parcel *parcel = malloc(sizeof *parcel);
        if (!parcel) abort();
        *parcel = (struct parcel){.poster = poster, .id = poster->ids[n % poster->count]};
        int err = sally_post(poster->stage->engine, parcel->id, open_parcel, parcel);
        if (!err) atomic_fetch_add(&poster->accepted, 1);
        if (err) free(parcel);
        if (err && err != SALLY_ENOCONN && err != SALLY_EFULL)
            stage_wrong(poster->stage, "sally_post: %s", sally_err_name(err));
    }
    return NULL;
}

static unsigned posts_accepted(struct poster *posters, int count)
{
    unsigned accepted = 0;
    for (int i = 0; i < count; i++) accepted += atomic_load(&posters[i].accepted);
    return accepted;
}

/* Posts while the connections end one by one, and at last the engine, with posts in the mailboxes.
 */
static void a_post_runs_exactly_once_whatever_ends(const struct stage_way *way)
{
    enum { CONNS = 50, POSTERS = 4 };
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.engine.mailbox_letters_max = 2000});
    static sally_id ids[CONNS];
    int fds[CONNS];
    for (int i = 0; i < CONNS; i++) {
        struct actor *actor;
        fds[i] = stage_client(stage, 0, &actor);
        ids[i] = actor->id;
    }
    static atomic_uint ran, ran_without;
    static struct poster posters[POSTERS];
    atomic_store(&ran, 0);
    atomic_store(&ran_without, 0);
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.stage = stage,
                                     .ids = ids,
                                     .count = CONNS,
                                     .posts = (unsigned)stage_scaled(50000),
                                     .ran = &ran,
                                     .ran_without = &ran_without};
        threads[i] = stage_thread(post_parcels, &posters[i]);
    }
    for (int i = 0; i < CONNS / 2; i++) {
        if (i % 2) assert_int_equal(sally_abort(stage->engine, ids[i]) & ~SALLY_EFULL, 0);
        raw_reset(fds[i]);
        stage_nap();
    }
    STAGE_WAIT(posts_accepted(posters, POSTERS) > 0);
    assert_int_equal(sally_engine_stop(stage->engine), 0); /* the posters go on */
    for (int i = 0; i < POSTERS; i++) pthread_join(threads[i], NULL);
    stage_destroy_engine(stage);
    assert_int_equal(atomic_load(&ran) + atomic_load(&ran_without),
                     posts_accepted(posters, POSTERS));
    for (int i = CONNS / 2; i < CONNS; i++) raw_close(fds[i]);
    stage_end(stage);
}

static void *connect_many(void *arg)
{
    struct stage *stage = arg;
    for (int i = 0; i < 200; i++) {
        int err = stage_connect(stage, stage->address, NULL, NULL);
        if (err && err != SALLY_ESTATE && err != SALLY_EFULL && err != SALLY_ELIMIT)
            stage_wrong(stage, "sally_connect: %s", sally_err_name(err));
        if (!err) atomic_fetch_add(&((atomic_uint *)stage->user)[0], 1);
    }
    return NULL;
}

/* Each call that returned 0 has its on_close, also when the engine stops at that moment. */
static void connecting_from_threads_while_the_engine_stops(const struct stage_way *way)
{
    for (int round = 0; round < (STAGE_SLOW ? 5 : 30); round++) {
        atomic_uint accepted = 0;
        struct stage *stage = stage_begin(way, &(struct stage_options){.user = &accepted});
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) threads[i] = stage_thread(connect_many, stage);
        STAGE_WAIT(atomic_load(&accepted) >= (unsigned)round * 10);
        assert_int_equal(sally_engine_stop(stage->engine), 0);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        stage_destroy_engine(stage);
        assert_true(atomic_load(&stage->closed) >= atomic_load(&accepted));
        stage_end(stage);
    }
}

static const struct stage_test tests[] = {
    STAGE_TEST(frames_of_16_threads_keep_order_and_stay_whole),
    STAGE_TEST(what_was_accepted_arrives_and_on_drain_follows_a_refusal),
    STAGE_TEST(sends_posts_and_the_close_of_one_thread_keep_their_order),
    STAGE_TEST(stale_ids_reach_nobody),
    STAGE_TEST(a_post_runs_exactly_once_whatever_ends),
    STAGE_TEST(connecting_from_threads_while_the_engine_stops),
};

int main(int argc, char **argv)
{
    return stage_run("cross_thread", tests, sizeof tests / sizeof *tests, argc, argv);
}
