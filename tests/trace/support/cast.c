/* The handler: every callback is written into the journal, judged (on_open first, on_close once and
 * last, none inside another, the right bytes), and does what the scenario ordered for it. */
#include <string.h>

#include "trace/support/play.h"

/* ---- Who is it ---- */

static struct play *play_of(void *user)
{
    struct play *play = user;
    return play->kind == KIND_PLAY ? play : ((struct party *)user)->play;
}

/* A newcomer is known by its raw end's address; one without (a Unix socket, or an end that is the
 * engine's own) is the first that nobody has been taken for. */
static struct party *newcomer(struct play *play, const char *address)
{
    struct party *first = NULL;
    for (unsigned i = 0; i < play->parties; i++) {
        struct party *party = &play->party[i];
        if (party->begun) continue;
        if (party->address[0] && strcmp(party->address, address) == 0) return party;
        if (!first && !party->address[0]) first = party;
    }
    return first;
}

static struct party *party_of(sally_conn *conn)
{
    void *user = sally_conn_user(conn);
    return *(unsigned *)user == KIND_PARTY ? user : NULL;
}

/* ---- Hooks ---- */

static bool is_for(const struct hook *hook, const struct party *party, const char *event)
{
    return strcmp(hook->event, event) == 0 && (!hook->party || hook->party == party);
}

static void do_hook(const struct hook *hook, struct party *party, sally_conn *conn)
{
    const struct words *words = hook->words;
    for (unsigned first = hook->first; first < words->count;) {
        unsigned last = first;
        while (last < words->count && strcmp(words->word[last], ",") != 0) last++;
        act(party, conn, words, first, last);
        first = last + 1;
    }
}

static void do_hooks(struct party *party, sally_conn *conn, const char *event)
{
    struct play *play = party->play;
    for (unsigned i = 0; i < play->hooks; i++) {
        const struct hook *hook = &play->hook[i];
        if (!is_for(hook, party, event) || (!hook->always && party->fired & 1u << i)) continue;
        party->fired |= 1u << i;
        do_hook(hook, party, conn);
    }
}

/* ---- Callbacks ---- */

static struct party *enter(sally_conn *conn, const char *event)
{
    struct party *party = party_of(conn);
    struct play *play = play_of(sally_conn_user(conn));
    if (play->depth++) play_wrong(play, "%s inside a callback", event);
    if (!party) {
        play_wrong(play, "%s of a connection without on_open", event);
        return NULL;
    }
    if (!party->opened && strcmp(event, "close") != 0)
        play_wrong(play, "%s of %s before on_open", event, party->name);
    if (party->closed) play_wrong(play, "%s of %s after on_close", event, party->name);
    if (party->conn && party->conn != conn) play_wrong(play, "%s has two connections", party->name);
    return party;
}

static void leave(sally_conn *conn) { play_of(sally_conn_user(conn))->depth--; }

/* Written down, and done. */
static void plain(sally_conn *conn, const char *event)
{
    struct party *party = enter(conn, event);
    if (party) {
        journal_add(&party->play->journal, party->name, "%s", event);
        do_hooks(party, conn, event);
    }
    leave(conn);
}

static sally_verdict on_accept(sally_server *server, const sally_accept_info *info)
{
    struct play *play = play_of(sally_server_user(server));
    struct party *party = newcomer(play, info->peer);
    if (!party) {
        play_wrong(play, "on_accept of nobody: %s", info->peer);
        return SALLY_ALLOW;
    }
    if (play->depth++) play_wrong(play, "on_accept inside a callback");
    play->refuse = false;
    do_hooks(party, NULL, "accept");
    play->depth--;
    if (!play->refuse) return SALLY_ALLOW;
    party->begun = true;
    journal_add(&play->journal, party->name, "refused");
    return SALLY_RESET;
}

static void on_open(sally_conn *conn)
{
    struct party *party = party_of(conn);
    struct play *play = play_of(sally_conn_user(conn));
    char address[64];
    if (!party) party = newcomer(play, sally_conn_peer(conn, address, sizeof address));
    if (!party) {
        play_wrong(play, "on_open of nobody: %s", address);
        return;
    }
    if (party->opened) play_wrong(play, "on_open of %s twice", party->name);
    sally_conn_set_user(conn, party);
    party->begun = party->opened = true;
    party->conn = conn;
    party->id = sally_conn_id(conn);
    play->opens++;
    plain(conn, "open");
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct party *party = enter(conn, "data");
    if (party) {
        struct play *play = party->play;
        if (!len) play_wrong(play, "on_data of nothing");
        if (party->wire && !play_is_pattern(party, 1, party->in, data, len))
            play_wrong(play, "wrong bytes for %s at %llu", party->name,
                       (unsigned long long)party->in);
        party->in += len;
        journal_bytes(&play->journal, party->name, "data", len);
        int err = party->echoes ? sally_conn_send(conn, data, len) : 0;
        if (err) journal_add(&play->journal, party->name, "echo = %s", hands_error(err));
        do_hooks(party, conn, "data");
    }
    leave(conn);
}

static void on_sent(sally_conn *conn, size_t bytes)
{
    struct party *party = enter(conn, "sent");
    if (party) {
        journal_bytes(&party->play->journal, party->name, "sent", bytes);
        do_hooks(party, conn, "sent");
    }
    leave(conn);
}

static void on_drain(sally_conn *conn) { plain(conn, "drain"); }
static void on_eof(sally_conn *conn) { plain(conn, "eof"); }
static void on_timer(sally_conn *conn) { plain(conn, "timer"); }

static bool on_timeout(sally_conn *conn, sally_timeout which)
{
    static const char *const names[] = {"FIRST_BYTE", "IDLE",       "WRITE",     "MESSAGE",
                                        "IDLE_READ",  "IDLE_WRITE", "SEND_RATE", "RECV_RATE",
                                        "AGE",        "HEARTBEAT"};
    struct party *party = enter(conn, "timeout");
    bool close = true;
    if (party) {
        party->keeps = false;
        journal_add(&party->play->journal, party->name, "timeout %s", names[which]);
        do_hooks(party, conn, "timeout");
        close = !party->keeps;
    }
    leave(conn);
    return close;
}

static const char *reason_name(sally_close_reason reason)
{
#define NAME(name, sentence) #name,
    static const char *const names[] = {SALLY_CLOSE_REASONS(NAME)};
#undef NAME
    return (unsigned)reason < sizeof names / sizeof names[0] ? names[reason] : "?";
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct party *party = enter(conn, "close");
    if (party) {
        struct play *play = party->play;
        journal_add(&play->journal, party->name, "close %s error=%s in=%llu out=%llu unsent=%u",
                    reason_name(info->reason), hands_error(info->error),
                    (unsigned long long)info->bytes_in, (unsigned long long)info->bytes_out,
                    info->bytes_unsent);
        if (party->in > info->bytes_in && !(play->absent & NO_DATA))
            play_wrong(play, "%s: more bytes told than came", party->name);
        do_hooks(party, conn, "close");
        party->closed = true;
        party->conn = NULL;
        play->closes++;
    }
    leave(conn);
}

static void on_error(sally_server *server, const sally_server_event *event)
{
    static const char *const names[] = {"accept_failed", "exhausted", "recovered",     "at_limit",
                                        "below_limit",   "stalled",   "listen_failed", "listening"};
    struct play *play = play_of(sally_server_user(server));
    bool limit = event->kind == SALLY_SERVER_AT_LIMIT || event->kind == SALLY_SERVER_BELOW_LIMIT;
    if (limit && play->absent & NO_LIMIT) return;
    if (event->kind == SALLY_SERVER_CLOSED) return; /* every play ends with it */
    journal_add(&play->journal, "server", "%s", names[event->kind]);
}

sally_handler cast_handler(struct play *play, void *user)
{
    unsigned absent = play->absent;
    return (sally_handler){
        .user = user,
        .on_accept = absent & NO_ACCEPT ? NULL : on_accept,
        .on_open = on_open,
        .on_data = absent & NO_DATA ? NULL : on_data,
        .on_sent = absent & NO_SENT ? NULL : on_sent,
        .on_drain = absent & NO_DRAIN ? NULL : on_drain,
        .on_eof = absent & NO_EOF ? NULL : on_eof,
        .on_timer = on_timer,
        .on_timeout = absent & NO_TIMEOUT ? NULL : on_timeout,
        .on_close = on_close,
        .on_error = on_error,
    };
}
