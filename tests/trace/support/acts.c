/* What a connection of the engine can be made to do, from its own callbacks and from outside. */
#include <stdlib.h>
#include <string.h>

#include "trace/support/play.h"

/* Errors alone are written down: without one there is nothing to be seen. */
static void tell(struct play *play, const char *subject, const struct words *words, unsigned first,
                 unsigned last, int err)
{
    char text[ENTRY_TEXT_MAX] = "";
    if (!err) return;
    for (unsigned i = first; i < last; i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s ", words->word[i]);
    }
    journal_add(&play->journal, subject, "%s= %s", text, hands_error(err));
}

/* ---- Sending ---- */

static int send_bytes(struct party *party, sally_conn *conn, uint32_t len)
{
    int err = sally_conn_send(conn, play_pattern(party->play, party, 0, party->out, len), len);
    if (!err) party->out += len;
    return err;
}

/* A shared buffer, whose only reference is then the queue's. */
static int send_shared(struct party *party, sally_conn *conn, uint32_t len)
{
    sally_buf *buf = sally_buf_create(party->play->engine, len);
    if (!buf) return SALLY_ENOMEM;
    memcpy(sally_buf_data(buf), play_pattern(party->play, party, 0, party->out, len), len);
    int err = sally_conn_send_buf(conn, buf);
    if (!err) party->out += len;
    sally_buf_release(buf);
    return err;
}

/* ---- By id ---- */

static void posted(sally_conn *conn, void *arg)
{
    struct party *party = arg;
    if (conn && sally_conn_user(conn) != party)
        play_wrong(party->play, "%s: a post reached another", party->name);
    if (party->play->depth) play_wrong(party->play, "a post inside a callback");
    journal_add(&party->play->journal, party->name, conn ? "posted" : "posted gone");
}

static int by_id(struct play *play, struct party *party, const struct words *words, unsigned first)
{
    sally_engine *engine = play->engine;
    if (play_is(words, first, "close")) return sally_close(engine, party->id);
    if (play_is(words, first, "abort")) return sally_abort(engine, party->id);
    if (play_is(words, first, "post")) return sally_post(engine, party->id, posted, party);
    if (!play_is(words, first, "send")) {
        play_wrong(play, "line %u: not for an id", words->line);
        return 0;
    }
    uint32_t len = play_number(play, words, first + 1);
    int err = sally_send(engine, party->id, play_pattern(play, party, 0, party->out, len), len);
    if (!err) party->out += len;
    return err;
}

void act_by_id(struct play *play, const struct words *words, unsigned first, const char *subject)
{
    struct party *party = first < words->count ? play_party(play, words->word[first]) : NULL;
    if (!party) return;
    unsigned last = first + 1;
    while (last < words->count && strcmp(words->word[last], ",") != 0) last++;
    int err = by_id(play, party, words, first + 1);
    tell(play, subject ? subject : party->name, words, subject ? first : first + 1, last, err);
}

/* ---- Actions ---- */

static int act_on_conn(struct party *party, sally_conn *conn, const struct words *words,
                       unsigned first)
{
    struct play *play = party->play;
    if (play_is(words, first, "send"))
        return send_bytes(party, conn, play_number(play, words, first + 1));
    if (play_is(words, first, "share"))
        return send_shared(party, conn, play_number(play, words, first + 1));
    if (play_is(words, first, "shutdown")) return sally_conn_shutdown(conn);
    if (play_is(words, first, "close")) return sally_conn_close(conn);
    if (play_is(words, first, "abort")) return sally_conn_abort(conn);
    if (play_is(words, first, "pause")) return sally_conn_pause(conn);
    if (play_is(words, first, "resume")) return sally_conn_resume(conn);
    if (play_is(words, first, "timer"))
        return sally_conn_timer(conn, play_number(play, words, first + 1));
    if (play_is(words, first, "run")) return sally_engine_run_once(play->engine, 0);
    if (play_is(words, first, "destroy")) return sally_engine_destroy(play->engine);
    if (play_is(words, first, "stop")) return sally_engine_stop(play->engine);
    if (play_is(words, first, "drain"))
        return sally_engine_drain(play->engine, play_number(play, words, first + 1));
    play_wrong(play, "line %u: no such action: %s", words->line, words->word[first]);
    return 0;
}

/* What is sent now, and what waits: queued says what the calls have left. */
static void check_queued(struct party *party, sally_conn *conn, uint32_t expected)
{
    uint32_t queued = sally_conn_queued(conn);
    if (queued != expected) journal_add(&party->play->journal, party->name, "queued %u", queued);
}

void act(struct party *party, sally_conn *conn, const struct words *words, unsigned first,
         unsigned last)
{
    struct play *play = party->play;
    if (play_is(words, first, "id")) {
        act_by_id(play, words, first + 1, party->name);
    } else if (play_is(words, first, "dial")) {
        hands_dial(play, words, first + 1, party->name);
    } else if (play_is(words, first, "listening")) {
        hands_listening(play, words, first);
    } else if (play_is(words, first, "refuse")) {
        play->refuse = true;
    } else if (play_is(words, first, "keep")) {
        party->keeps = true;
    } else if (play_is(words, first, "echo")) {
        party->echoes = true;
    } else if (play_is(words, first, "queued")) {
        check_queued(party, conn, play_number(play, words, first + 1));
    } else {
        tell(play, party->name, words, first, last, act_on_conn(party, conn, words, first));
    }
}

/* ---- From outside ---- */

struct errand {
    struct party *party;
    const struct words *words;
    unsigned first;
    bool done;
};

static void run_errand(sally_conn *conn, void *arg)
{
    struct errand *errand = arg;
    struct party *party = errand->party;
    const struct words *words = errand->words;
    errand->done = true;
    if (!conn) {
        journal_add(&party->play->journal, party->name, "posted gone");
        return;
    }
    party->play->depth++;
    for (unsigned first = errand->first; first < words->count;) {
        unsigned last = first;
        while (last < words->count && strcmp(words->word[last], ",") != 0) last++;
        act(party, conn, words, first, last);
        first = last + 1;
    }
    party->play->depth--;
}

void act_by_post(struct party *party, const struct words *words, unsigned first)
{
    enum { TURNS_MAX = 10000 };
    struct play *play = party->play;
    struct errand errand = {.party = party, .words = words, .first = first};
    int err = sally_post(play->engine, party->id, run_errand, &errand);
    if (err) {
        tell(play, party->name, words, first, words->count, err);
        return;
    }
    for (int i = 0; i < TURNS_MAX && !errand.done; i++) play_turn(play);
    if (errand.done) return;
    fprintf(stderr, "line %u: a post never came\n", words->line);
    abort(); /* it would write to what is gone */
}
