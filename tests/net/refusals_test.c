/* E8: who was refused a send because the shard's mailbox was full hears of room by on_drain, also
 * when nothing of the connection is queued. */
#include <stdlib.h>
#include <string.h>

#include "net/shard.h"
#include "net/support/nap.h"
#include "net/support/raw.h"
#include "net/support/stage.h"

enum { LETTERS = 8, BIG = 20000, SENDERS = 6 };

static char piece[BIG];

static void on_drain(sally_conn *conn) { (void)conn; }

static struct stage *refusing_stage(const struct stage_way *way)
{
    return stage_begin(way, &(struct stage_options){.handler.on_drain = on_drain,
                                                    .engine.mailbox_letters_max = LETTERS});
}

/* Puts the connection's shard to sleep, and fills its mailbox. */
static void lull_and_fill(struct stage *stage, sally_id id, struct nap *nap)
{
    nap_begin(nap, stage, id);
    for (int i = 0; i < LETTERS; i++)
        assert_int_equal(sally_post(stage->engine, id, nap_letter, NULL), 0);
    assert_int_equal(sally_post(stage->engine, id, nap_letter, NULL), SALLY_EFULL);
}

/* ---- One by one ---- */

static void
whoever_found_the_mailbox_full_is_told_once_when_it_has_room(const struct stage_way *way)
{
    struct stage *stage = refusing_stage(way);
    struct actor *small, *big, *other;
    int fds[3] = {stage_client(stage, 0, &small), stage_client(stage, 0, &big),
                  stage_client(stage, 0, &other)};
    struct nap nap;
    for (unsigned round = 1; round <= 3; round++) {
        lull_and_fill(stage, small->id, &nap);
        for (int i = 0; i < 3; i++)
            assert_int_equal(sally_send(stage->engine, small->id, "x", 1), SALLY_EFULL);
        assert_int_equal(sally_send(stage->engine, big->id, piece, BIG), SALLY_EFULL);
        nap_wake(&nap);
        STAGE_WAIT(atomic_load(&small->drains) == round && atomic_load(&big->drains) == round);
        nap_free(&nap);
        /* once: what comes behind it finds nothing more */
        assert_int_equal(sally_send(stage->engine, small->id, "x", 1), 0);
        assert_int_equal(sally_send(stage->engine, big->id, piece, BIG), 0);
        assert_true(raw_read(fds[0], piece, 1) && raw_read(fds[1], piece, BIG));
        assert_int_equal(atomic_load(&small->drains), round);
        assert_int_equal(atomic_load(&big->drains), round);
    }
    assert_int_equal(atomic_load(&other->drains), 0);
    for (int i = 0; i < 3; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* More than one letter tells. */
static void a_crowd_that_was_refused_is_told_all(const struct stage_way *way)
{
    enum { CROWD = 600 };
    struct stage *stage = refusing_stage(way);
    static struct actor *actors[CROWD];
    static int fds[CROWD];
    for (int i = 0; i < CROWD; i++) fds[i] = stage_client(stage, 0, &actors[i]);
    struct nap nap;
    lull_and_fill(stage, actors[0]->id, &nap);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(sally_send(stage->engine, actors[i]->id, "x", 1), SALLY_EFULL);
    nap_wake(&nap);
    for (int i = 0; i < CROWD; i++) STAGE_WAIT(atomic_load(&actors[i]->drains) == 1);
    nap_free(&nap);
    for (int i = 0; i < CROWD; i++) raw_close(fds[i]);
    stage_end(stage);
}

/* A thread may note late, when the connection has gone and its slot is another's. */
static void the_next_owner_of_a_slot_is_not_told(const struct stage_way *way)
{
    enum { TRIES = 2000 };
    struct stage *stage = refusing_stage(way);
    struct shard *shard = stage->engine->shards[0];
    struct actor *gone, *next = NULL;
    raw_close(stage_client(stage, 0, &gone));
    actor_wait_closed(gone);
    int fd = -1;
    for (int i = 0; i < TRIES && (!next || id_slot(next->id) != id_slot(gone->id)); i++) {
        if (next) raw_close(fd);
        if (next) actor_wait_closed(next);
        fd = stage_client(stage, 0, &next);
    }
    assert_int_equal(id_slot(next->id), id_slot(gone->id));
    refusals_note(shard, gone->id);
    struct nap nap;
    lull_and_fill(stage, next->id, &nap); /* the letter has been read */
    assert_int_equal(atomic_load(&next->drains), 0);
    assert_int_equal(sally_send(stage->engine, next->id, "x", 1), SALLY_EFULL);
    refusals_note(shard, gone->id); /* the later owner is owed it all the same */
    nap_wake(&nap);
    STAGE_WAIT(atomic_load(&next->drains) == 1);
    nap_free(&nap);
    raw_close(fd);
    stage_end(stage);
}

static void what_no_mailbox_could_hold_is_said_at_once(const struct stage_way *way)
{
    struct stage *stage =
        stage_begin(way, &(struct stage_options){.handler.on_drain = on_drain,
                                                 .engine = {.mailbox_bytes_max = BIG / 2}});
    struct actor *actor;
    int fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, BIG), SALLY_ELIMIT);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, BIG / 2), SALLY_ELIMIT);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, BIG / 4), 0);
    assert_true(raw_read(fd, piece, BIG / 4));
    raw_close(fd);
    actor_wait_closed(actor);
    assert_int_equal(atomic_load(&actor->drains), 0);
    stage_end(stage);
    stage = stage_begin(way, &(struct stage_options){.engine.mailbox_bytes_max = 1000});
    fd = stage_client(stage, 0, &actor);
    assert_int_equal(sally_send(stage->engine, actor->id, piece, 1000), SALLY_ELIMIT);
    raw_close(fd);
    stage_end(stage);
}

/* ---- All at once ---- */

struct sender {
    struct stage *stage;
    struct actor *actor;
    uint64_t bytes;
    unsigned refused;
};

/* Relies on on_drain alone: it tries again when that came, and not before. */
static void *send_and_wait(void *arg)
{
    struct sender *sender = arg;
    for (uint64_t sent = 0; sent < sender->bytes;) {
        unsigned drains = atomic_load(&sender->actor->drains);
        uint32_t len = 1 + (uint32_t)(sent * 7 % 4000);
        if (len > sender->bytes - sent) len = (uint32_t)(sender->bytes - sent);
        char bytes[4000];
        pattern_fill(bytes, sender->actor->index, sent, len);
        int err = sally_send(sender->stage->engine, sender->actor->id, bytes, len);
        if (!err) sent += len;
        if (!err) continue;
        sender->refused++;
        bool told = err == SALLY_EFULL &&
                    STAGE_POLL(atomic_load(&sender->actor->drains) > drains, STAGE_LIMIT_MS);
        if (told) continue;
        stage_wrong(sender->stage, "%s, and not told of room", sally_err_name(err));
        break;
    }
    return NULL;
}

static void *check_bytes(void *arg)
{
    struct sender *sender = arg;
    char address[64];
    int fd = (int)atomic_load(&sender->actor->number[0]);
    if (!raw_check(fd, sender->actor->index, 0, sender->bytes, 0))
        stage_wrong(sender->stage, "wrong bytes for %s", raw_address(fd, address, sizeof address));
    return NULL;
}

static void senders_that_only_wait_for_on_drain_all_finish(const struct stage_way *way)
{
    struct stage *stage = refusing_stage(way);
    struct sender senders[SENDERS];
    pthread_t threads[2 * SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.stage = stage, .bytes = stage_scaled(1000 * 1000)};
        int fd = stage_client(stage, 0, &senders[i].actor);
        atomic_store(&senders[i].actor->number[0], (uint64_t)fd);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        threads[2 * i] = stage_thread(send_and_wait, &senders[i]);
        threads[2 * i + 1] = stage_thread(check_bytes, &senders[i]);
    }
    unsigned refused = 0;
    for (unsigned i = 0; i < 2 * SENDERS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < SENDERS; i++) {
        refused += senders[i].refused;
        raw_close((int)atomic_load(&senders[i].actor->number[0]));
    }
    assert_true(refused > 0);
    stage_end(stage);
}

static const struct stage_test tests[] = {
    STAGE_TEST_ON(whoever_found_the_mailbox_full_is_told_once_when_it_has_room, 1),
    STAGE_TEST_ON(a_crowd_that_was_refused_is_told_all, 1),
    STAGE_TEST_ON(the_next_owner_of_a_slot_is_not_told, 1),
    STAGE_TEST_ON(what_no_mailbox_could_hold_is_said_at_once, 1),
    STAGE_TEST(senders_that_only_wait_for_on_drain_all_finish),
};

int main(int argc, char **argv)
{
    return stage_run("refusals", tests, sizeof tests / sizeof *tests, argc, argv);
}
