/* Commands that are not a connection's: servers, raw peers, time, the end; see play.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/support/play.h"

enum { PASS_MS = 20, STOP_TURNS_MAX = 200000, LOOK_BYTES = 16 * 1024, ACCEPT_TURNS_MAX = 10000 };

const char *hands_error(int error)
{
    return error ? sally_err_name(error) + strlen("SALLY_") : "0";
}

/* ---- Options ---- */

struct option {
    const char *name;
    size_t at;
    bool is_bool;
};

#define CONN(member)   offsetof(sally_conn_options, member)
#define SERVER(member) offsetof(sally_server_options, member)
#define DIAL(member)   offsetof(sally_connect_options, member)
#define ENGINE(member) offsetof(sally_engine_options, member)

static const struct option conn_options[] = {
    {"first_byte", CONN(first_byte_ms), false},   {"idle", CONN(idle_ms), false},
    {"write_stall", CONN(write_stall_ms), false}, {"linger", CONN(linger_ms), false},
    {"age", CONN(limits.max_age_ms), false},      {"send_max", CONN(send_bytes_max), false},
    {"high", CONN(send_high_bytes), false},       {"low", CONN(send_low_bytes), false},
    {"no_auto_pause", CONN(no_auto_pause), true}, {"send_buf", CONN(send_buf_bytes), false},
    {"recv_buf", CONN(recv_buf_bytes), false},    {NULL, 0, false}};
static const struct option server_options[] = {{"conns_max", SERVER(conns_max), false},
                                               {"at_limit", SERVER(at_limit), false},
                                               {"watchdog", SERVER(watchdog_ms), false},
                                               {NULL, 0, false}};
static const struct option dial_options[] = {
    {"connect", DIAL(connect_ms), false}, {"attempt", DIAL(attempt_ms), false}, {NULL, 0, false}};
static const struct option engine_options[] = {
    {"conns_max", ENGINE(conns_max), false},
    {"turn_events_max", ENGINE(turn_events_max), false},
    {"letters_max", ENGINE(mailbox_letters_max), false},
    {"mailbox_bytes_max", ENGINE(mailbox_bytes_max), false},
    {"recv_buf", ENGINE(recv_buf_bytes), false},
    {"recv_bufs", ENGINE(recv_bufs), false},
    {"send_chunk", ENGINE(send_chunk_bytes), false},
    {"send_chunks_max", ENGINE(send_chunks_max), false},
    {NULL, 0, false}};

static bool set_option(const struct option *options, void *at, const char *word)
{
    size_t len = strcspn(word, "=");
    uint32_t value = strcmp(word + len, "=forever") == 0 ? SALLY_FOREVER : 0;
    if (!value && word[len]) value = (uint32_t)strtoul(word + len + 1, NULL, 10);
    for (; options->name; options++) {
        if (strlen(options->name) != len || strncmp(options->name, word, len) != 0) continue;
        unsigned char *field = (unsigned char *)at + options->at;
        bool yes = true;
        if (options->is_bool)
            memcpy(field, &yes, sizeof yes);
        else
            memcpy(field, &value, sizeof value);
        return true;
    }
    return false;
}

static void no_option(struct play *play, const struct words *words, unsigned at)
{
    play_wrong(play, "line %u: no such option: %s", words->line, words->word[at]);
}

/* ---- Engine and servers ---- */

static void need_engine(struct play *play)
{
    if (play->engine || play->wrong[0]) return;
    int err = play->world->ops->engine(play->world, &play->options, &play->engine);
    if (err) play_wrong(play, "no engine: %s", sally_strerror(err));
    play->world->engine = play->engine;
}

static void set_engine(struct play *play, const struct words *words)
{
    for (unsigned i = 1; i < words->count; i++)
        if (!set_option(engine_options, &play->options, words->word[i])) no_option(play, words, i);
}

/* "handler +sent -eof": which callbacks there are. */
static void set_handler(struct play *play, const struct words *words)
{
    static const struct {
        const char *name;
        unsigned bit;
    } callbacks[] = {{"data", NO_DATA},       {"eof", NO_EOF},   {"drain", NO_DRAIN},
                     {"timeout", NO_TIMEOUT}, {"sent", NO_SENT}, {"accept", NO_ACCEPT},
                     {"limit", NO_LIMIT}};
    for (unsigned i = 1; i < words->count; i++) {
        unsigned bit = 0;
        for (unsigned k = 0; k < sizeof callbacks / sizeof callbacks[0]; k++)
            if (strcmp(words->word[i] + 1, callbacks[k].name) == 0) bit = callbacks[k].bit;
        if (!bit) no_option(play, words, i);
        if (words->word[i][0] == '-')
            play->absent |= bit;
        else
            play->absent &= ~bit;
    }
}

/* "server NAME [ADDRESS] option=number..."; a $ at the address' end is this process's number. */
static void open_server(struct play *play, const struct words *words)
{
    sally_server_options options = {0};
    const char *address = "127.0.0.1:0";
    need_engine(play);
    if (words->count < 2 || play->servers == SERVERS_MAX || !play->engine) {
        play_wrong(play, "line %u: no server", words->line);
        return;
    }
    for (unsigned i = 2; i < words->count; i++) {
        if (strchr(words->word[i], ':'))
            address = words->word[i];
        else if (!set_option(conn_options, &options.conn, words->word[i]) &&
                 !set_option(server_options, &options, words->word[i]))
            no_option(play, words, i);
    }
    char whole[80];
    size_t len = strcspn(address, "$");
    snprintf(whole, sizeof whole, "%.*s%.0ld", (int)len, address,
             address[len] ? (long)getpid() : 0);
    struct named_server *server = &play->server[play->servers];
    snprintf(server->name, sizeof server->name, "%s", words->word[1]);
    sally_handler handler = cast_handler(play, play);
    int err = sally_listen(play->engine, whole, &handler, &options, &server->server);
    if (err) {
        journal_add(&play->journal, "server", "listen = %s", hands_error(err));
        return;
    }
    play->servers++;
    (void)sally_server_address(server->server, 0, server->address, sizeof server->address);
}

static struct named_server *find_server(struct play *play, const char *name)
{
    for (unsigned i = 0; i < play->servers; i++)
        if (strcmp(play->server[i].name, name) == 0) return &play->server[i];
    play_wrong(play, "no server is called %s", name);
    return NULL;
}

void hands_listening(struct play *play, const struct words *words, unsigned at)
{
    if (at + 2 >= words->count) {
        play_wrong(play, "line %u: listening NAME what?", words->line);
        return;
    }
    struct named_server *server = find_server(play, words->word[at + 1]);
    if (!server) return;
    int err = SALLY_EINVAL;
    if (play_is(words, at + 2, "pause")) err = sally_server_pause(server->server);
    if (play_is(words, at + 2, "resume")) err = sally_server_resume(server->server);
    if (play_is(words, at + 2, "close")) err = sally_server_close(server->server);
    if (err)
        journal_add(&play->journal, "server", "%s = %s", words->word[at + 2], hands_error(err));
}

static void set_listening(struct play *play, const struct words *words)
{
    hands_listening(play, words, 0);
}

/* ---- Hooks ---- */

/* "on EVENT [always] ACTION, ACTION", or "NAME on ..." */
static void set_hook(struct play *play, const struct words *words, unsigned at)
{
    if (play->hooks == HOOKS_MAX || at + 2 >= words->count) {
        play_wrong(play, "line %u: on which event what?", words->line);
        return;
    }
    struct hook *hook = &play->hook[play->hooks++];
    bool always = play_is(words, at + 2, "always");
    *hook = (struct hook){
        .words = words, .first = at + 2 + always, .event = words->word[at + 1], .always = always};
    if (!at) return;
    struct party *party = NULL;
    for (unsigned i = 0; i < play->parties; i++)
        if (strcmp(play->party[i].name, words->word[0]) == 0) party = &play->party[i];
    hook->party = party ? party : play_new_party(play, words->word[0]);
}

/* ---- Raw peers ---- */

static void give_wire(struct play *play, struct party *party, struct wire *wire)
{
    party->wire = wire;
    if (wire) play->world->ops->address(wire, party->address, sizeof party->address);
    if (party->address[0] == '-') party->address[0] = 0;
}

/* "connect NAME [SERVER] [rcvbuf=N]" */
static void connect_peer(struct play *play, const struct words *words)
{
    struct party *party = words->count > 1 ? play_new_party(play, words->word[1]) : NULL;
    struct named_server *server = play->servers ? &play->server[0] : NULL;
    int recv_buf_bytes = 0;
    for (unsigned i = 2; i < words->count; i++) {
        if (strncmp(words->word[i], "rcvbuf=", 7) == 0)
            recv_buf_bytes = (int)strtol(words->word[i] + 7, NULL, 10);
        else
            server = find_server(play, words->word[i]);
    }
    if (!party || !server) {
        play_wrong(play, "line %u: connect whom to what?", words->line);
        return;
    }
    bool path = strncmp(server->address, "unix:", 5) == 0;
    struct wire *wire = play->world->ops->dial(play->world, server->address, recv_buf_bytes);
    give_wire(play, party, wire);
    if (path) party->address[0] = 0;
}

/* "await NAME": whoever comes next without a raw end. */
static void await_newcomer(struct play *play, const struct words *words)
{
    if (words->count != 2 || !play_new_party(play, words->word[1]))
        play_wrong(play, "line %u: await whom?", words->line);
}

static void open_listener(struct play *play, const struct words *words)
{
    if (words->count != 2 || play->listeners == LISTENERS_MAX) {
        play_wrong(play, "line %u: no listener", words->line);
        return;
    }
    struct named_listener *listener = &play->listener[play->listeners++];
    snprintf(listener->name, sizeof listener->name, "%s", words->word[1]);
    listener->wire =
        play->world->ops->listen(play->world, listener->address, sizeof listener->address);
    if (!listener->wire) play_wrong(play, "the system doesn't listen");
}

static struct named_listener *find_listener(struct play *play, const char *name)
{
    for (unsigned i = 0; i < play->listeners; i++)
        if (strcmp(play->listener[i].name, name) == 0) return &play->listener[i];
    return NULL;
}

/* "accept LISTENER NAME": the raw end of a connection that the engine dials; waits for it. */
static void accept_peer(struct play *play, const struct words *words)
{
    struct named_listener *listener =
        words->count == 3 ? find_listener(play, words->word[1]) : NULL;
    struct party *party = listener ? play_party(play, words->word[2]) : NULL;
    if (!party) {
        play_wrong(play, "line %u: accept whom?", words->line);
        return;
    }
    for (int i = 0; i < ACCEPT_TURNS_MAX && !party->wire; i++) {
        party->wire = play->world->ops->accept(listener->wire);
        if (!party->wire) play_turn(play);
    }
    if (!party->wire) play_wrong(play, "line %u: nobody came", words->line);
}

static void pump_out(struct play *play, struct party *party)
{
    const struct world_ops *ops = play->world->ops;
    if (!ops->ready(party->wire)) return;
    while (party->peer_left) {
        size_t len = party->peer_left < LOOK_BYTES ? (size_t)party->peer_left : LOOK_BYTES;
        const void *data = play_pattern(play, party, 1, party->peer_out, len);
        size_t sent = ops->send(party->wire, data, len);
        party->peer_out += sent;
        party->peer_left -= sent;
        if (!sent) return;
    }
    if (!party->peer_fin) return;
    party->peer_fin = false;
    ops->finish(party->wire);
}

static void pump_in(struct play *play, struct party *party)
{
    static unsigned char buf[LOOK_BYTES];
    size_t len = 0;
    enum wire_news news = play->world->ops->look(party->wire, buf, sizeof buf, &len);
    switch (news) {
    case WIRE_NOTHING: return;
    case WIRE_BYTES: {
        unsigned side = party->echoes ? 1 : 0;
        if (!play_is_pattern(party, side, party->peer_in, buf, len))
            play_wrong(play, "wrong bytes at peer %s", party->name);
        party->peer_in += len;
        journal_bytes(&play->journal, party->peer_name, "data", len);
        return;
    }
    case WIRE_FIN: journal_add(&play->journal, party->peer_name, "fin"); break;
    case WIRE_RST: journal_add(&play->journal, party->peer_name, "rst"); break;
    case WIRE_REFUSED: journal_add(&play->journal, party->peer_name, "refused"); break;
    }
    party->peer_over = true;
}

void hands_pump(struct play *play)
{
    for (unsigned i = 0; i < play->parties; i++) {
        struct party *party = &play->party[i];
        if (!party->wire) continue;
        pump_out(play, party);
        if (!party->peer_over && !party->peer_stopped) pump_in(play, party);
    }
}

/* "peer NAME send 100" */
static void do_peer(struct play *play, const struct words *words)
{
    const struct world_ops *ops = play->world->ops;
    struct party *party = words->count > 2 ? play_party(play, words->word[1]) : NULL;
    if (!party || !party->wire) {
        play_wrong(play, "line %u: no such peer", words->line);
        return;
    }
    if (play_is(words, 2, "send"))
        party->peer_left += play_number(play, words, 3);
    else if (play_is(words, 2, "fin"))
        party->peer_fin = true;
    else if (play_is(words, 2, "stop"))
        party->peer_stopped = true;
    else if (play_is(words, 2, "read"))
        party->peer_stopped = false;
    else if (play_is(words, 2, "rst"))
        ops->reset(party->wire);
    else if (play_is(words, 2, "close"))
        ops->close(party->wire);
    else
        play_wrong(play, "line %u: a peer doesn't %s", words->line, words->word[2]);
    if (play_is(words, 2, "rst") || play_is(words, 2, "close"))
        party->peer_over = true;
    else if (!party->peer_over)
        pump_out(play, party);
    if (play_is(words, 2, "stop") || play_is(words, 2, "read"))
        ops->stop(party->wire, party->peer_stopped);
}

/* ---- Outgoing ---- */

static bool dial_target(struct play *play, const char *target, char *address, size_t size)
{
    if (strcmp(target, "nowhere") == 0) {
        play->world->ops->nowhere(play->world, address, size);
    } else if (strcmp(target, "hole") == 0) {
        play->world->ops->hole(play->world, address, size);
    } else if (find_listener(play, target)) {
        snprintf(address, size, "%s", find_listener(play, target)->address);
    } else if (strchr(target, ':')) {
        snprintf(address, size, "%s", target);
    } else {
        struct named_server *server = find_server(play, target);
        if (server) snprintf(address, size, "%s", server->address);
        return server != NULL;
    }
    return true;
}

void hands_dial(struct play *play, const struct words *words, unsigned first, const char *subject)
{
    sally_connect_options options = {0};
    char address[80] = "";
    need_engine(play);
    if (first + 1 >= words->count || !play->engine) {
        play_wrong(play, "line %u: dial whom?", words->line);
        return;
    }
    struct party *party = play_new_party(play, words->word[first]);
    if (!party || !dial_target(play, words->word[first + 1], address, sizeof address)) return;
    for (unsigned i = first + 2; i < words->count && !play_is(words, i, ","); i++)
        if (!set_option(conn_options, &options.conn, words->word[i]) &&
            !set_option(dial_options, &options, words->word[i]))
            no_option(play, words, i);
    sally_handler handler = cast_handler(play, party);
    party->begun = true;
    int err = sally_connect(play->engine, address, &handler, &options, &party->id);
    if (err)
        journal_add(&play->journal, subject ? subject : party->name, "dial = %s", hands_error(err));
}

/* ---- Time and the end ---- */

static void pass(struct play *play, uint32_t ms)
{
    while (ms) {
        uint32_t step = ms < PASS_MS ? ms : PASS_MS;
        play->world->ops->pass(play->world, step);
        hands_pump(play);
        ms -= step;
    }
}

void hands_stop(struct play *play)
{
    if (play->ended || !play->engine) return;
    (void)sally_engine_stop(play->engine);
    for (int i = 0; i < STOP_TURNS_MAX; i++) {
        if (sally_engine_get_state(play->engine) == SALLY_ENGINE_STOPPED) break;
        play_turn(play);
    }
    play->ended = true;
    sally_stop_report report;
    int err = sally_engine_stop_report(play->engine, &report);
    if (err) play_wrong(play, "it never stopped");
}

/* Waits for the end of an engine that drains, and tells how it went. */
static void await_end(struct play *play)
{
    sally_stop_report report = {0};
    for (int i = 0; i < STOP_TURNS_MAX; i++) {
        if (sally_engine_get_state(play->engine) == SALLY_ENGINE_STOPPED) break;
        play_turn(play);
    }
    int err = sally_engine_stop_report(play->engine, &report);
    if (err) play_wrong(play, "it never stopped");
    play->ended = true;
    journal_add(&play->journal, "engine", "stopped conns=%u finished=%u cut=%u unsent=%llu",
                report.conns, report.finished, report.cut, (unsigned long long)report.bytes_unsent);
}

/* What its destruction calls back belongs to this step. */
static void destroy(struct play *play)
{
    int err = sally_engine_destroy(play->engine);
    if (err) play_wrong(play, "destroy: %s", sally_strerror(err));
    play->engine = play->world->engine = NULL;
    play->ended = true;
}

/* ---- All ---- */

static void do_engine(struct play *play, const struct words *words)
{
    need_engine(play);
    if (!play->engine) return;
    if (play_is(words, 0, "tick"))
        pass(play, play_number(play, words, 1));
    else if (play_is(words, 0, "settle"))
        play_rest(play);
    else if (play_is(words, 0, "stop"))
        hands_stop(play);
    else if (play_is(words, 0, "stop_now"))
        (void)sally_engine_stop(play->engine);
    else if (play_is(words, 0, "drain"))
        (void)sally_engine_drain(play->engine, play_number(play, words, 1));
    else if (play_is(words, 0, "ended"))
        await_end(play);
    else
        destroy(play);
}

static bool is_engines(const struct words *words)
{
    static const char *const names[] = {"tick",  "settle", "stop",   "stop_now",
                                        "drain", "ended",  "destroy"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (play_is(words, 0, names[i])) return true;
    return false;
}

void hands_do(struct play *play, const struct words *words)
{
    static const struct {
        const char *name;
        void (*fn)(struct play *play, const struct words *words);
    } commands[] = {
        {"engine", set_engine},    {"handler", set_handler},    {"server", open_server},
        {"connect", connect_peer}, {"listener", open_listener}, {"accept", accept_peer},
        {"await", await_newcomer}, {"peer", do_peer},           {"listening", set_listening}};
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (!play_is(words, 0, commands[i].name)) continue;
        commands[i].fn(play, words);
        return;
    }
    if (is_engines(words)) {
        do_engine(play, words);
    } else if (play_is(words, 0, "on")) {
        set_hook(play, words, 0);
    } else if (play_is(words, 1, "on")) {
        set_hook(play, words, 1);
    } else if (play_is(words, 0, "dial")) {
        hands_dial(play, words, 1, NULL);
    } else if (play_is(words, 0, "id")) {
        act_by_id(play, words, 1, NULL);
    } else {
        struct party *party = play_party(play, words->word[0]);
        if (party) act_by_post(party, words, 1);
    }
}
