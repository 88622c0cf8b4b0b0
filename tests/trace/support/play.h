/* A scenario being played: its parties, what their callbacks do, and the journal of what happened.
 *   play.c  steps, and waiting for what they bring about
 *   cast.c  the handler: callbacks are written down, and what was ordered for them is done
 *   acts.c  what an engine's connection can be made to do
 *   hands.c  all other commands: servers, peers, time, the end
 * One thread; everything lives as long as the play. */
#ifndef TRACE_SUPPORT_PLAY_H
#define TRACE_SUPPORT_PLAY_H

#include "sallyport.h"
#include "trace/support/journal.h"
#include "trace/support/world.h"

enum {
    PARTIES_MAX = 24,
    HOOKS_MAX = 32,
    SERVERS_MAX = 4,
    LISTENERS_MAX = 4,
    NAME_BYTES = 16,
    PATTERN_BYTES_MAX = 1 << 20,
};
enum { KIND_PLAY = 0x91a7, KIND_PARTY = 0x9a27 };

struct play;

/* A connection of the engine, the raw end of it, or both. */
struct party {
    unsigned kind; /* first, as in struct play: a handler's user is one of the two */
    struct play *play;
    unsigned index;
    char name[NAME_BYTES];
    char peer_name[NAME_BYTES + 5];
    sally_conn *conn; /* while it is open */
    sally_id id;
    struct wire *wire;
    char address[64]; /* of the wire: how the server's side is known */
    bool begun, opened, closed;
    bool echoes;                /* the engine's side sends back what comes */
    bool keeps;                 /* on_timeout says: go on */
    uint64_t out, in;           /* the engine's side: accepted by sends, told by on_data */
    uint64_t peer_out, peer_in; /* the raw side */
    uint64_t peer_left;         /* still to be sent by it */
    bool peer_fin, peer_stopped, peer_over;
    uint32_t fired; /* bits of hooks that have done their one time */
};

/* "on data: send 10" */
struct hook {
    const struct words *words;
    unsigned first;            /* the word after the event's */
    const struct party *party; /* NULL: any */
    const char *event;
    bool always;
};

struct named_server {
    char name[NAME_BYTES];
    sally_server *server;
    char address[80];
};

struct named_listener {
    char name[NAME_BYTES];
    struct wire *wire;
    char address[80];
};

struct play {
    unsigned kind;
    struct world *world;
    sally_engine *engine;
    sally_engine_options options;
    struct script *script;
    const struct step *step;
    struct journal journal;
    struct party party[PARTIES_MAX];
    struct hook hook[HOOKS_MAX];
    struct named_server server[SERVERS_MAX];
    struct named_listener listener[LISTENERS_MAX];
    unsigned parties, hooks, servers, listeners;
    unsigned absent; /* callbacks that the handler hasn't: bits of enum absence */
    unsigned depth;  /* callbacks that run */
    unsigned opens, closes;
    uint64_t memory_bytes;
    bool refuse; /* what a hook of on_accept has said */
    bool record; /* nothing is expected: what happens is printed */
    bool ended;
    char wrong[400]; /* the first thing that was; empty: none */
    unsigned char *pattern;
};

enum absence {
    NO_DATA = 1 << 0,
    NO_EOF = 1 << 1,
    NO_DRAIN = 1 << 2,
    NO_TIMEOUT = 1 << 3,
    NO_SENT = 1 << 4,
    NO_ACCEPT = 1 << 5,
    NO_LIMIT = 1 << 6, /* what on_error tells of limits: in which turn is the system's affair */
};

/* Plays a script on a column. True: as written. Otherwise `why` says where it differs. */
bool play_script(struct world *world, struct script *script, bool record, char *why, size_t size);

/* Tells that the script can't be played or the library broke its word; the first is kept. */
void play_wrong(struct play *play, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* NULL and play_wrong when there is none. */
struct party *play_party(struct play *play, const char *name);
struct party *play_new_party(struct play *play, const char *name);
bool play_is(const struct words *words, unsigned at, const char *word);
uint32_t play_number(struct play *play, const struct words *words, unsigned at);

/* Bytes of a stream: of a party's engine side (0) or of its raw side (1). */
const void *play_pattern(struct play *play, const struct party *party, unsigned side,
                         uint64_t offset, size_t len);
bool play_is_pattern(const struct party *party, unsigned side, uint64_t offset, const void *data,
                     size_t len);

/* One turn of the world, and what the wires have. */
void play_turn(struct play *play);
/* Some turns in which nothing has to happen. */
void play_rest(struct play *play);

/* ---- cast.c ---- */
sally_handler cast_handler(struct play *play, void *user);

/* ---- acts.c ---- */

/* An action, words first..last-1, on a connection whose callback runs; its error is written down.
 */
void act(struct party *party, sally_conn *conn, const struct words *words, unsigned first,
         unsigned last);
/* The same from outside: travels there as a post, and is waited for. */
void act_by_post(struct party *party, const struct words *words, unsigned first);
/* By id, from where nothing of the shard runs, or from a callback. */
void act_by_id(struct play *play, const struct words *words, unsigned first, const char *subject);

/* ---- hands.c ---- */
/* "listening NAME pause", from word `at`. */
void hands_listening(struct play *play, const struct words *words, unsigned at);
void hands_do(struct play *play, const struct words *words);
void hands_stop(struct play *play);
/* Looks at each wire and moves its bytes. */
void hands_pump(struct play *play);
/* An outgoing connection: "dial NAME TARGET option=number...". */
void hands_dial(struct play *play, const struct words *words, unsigned first, const char *subject);
const char *hands_error(int error);

#endif
