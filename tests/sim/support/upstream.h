/* A simulated engine that connects through a scripted proxy, and what its one connection has seen.
 * One at a time, on top of world.h; it fails the test when anything is left at its end. */
#ifndef TESTS_SIM_SUPPORT_UPSTREAM_H
#define TESTS_SIM_SUPPORT_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "sallyport/upstream.h"
#include "sim/support/world.h"

#define PROXY     "192.0.2.1:1080"
#define TARGET    "a.example:443"
#define LIT(text) (text), sizeof(text) - 1

enum { TEXT = 64, STREAM = 3000, REST = 28, CONNECT_MS = 5000, PROTOCOLS = 5 };

struct seen {
    unsigned opened, closed_alone, eofs;
    char got[2 * STREAM];
    size_t got_len;
    size_t at_eof;
    sally_close_info info;
    char why[512];
    char peer[TEXT], name[TEXT];
    sally_id id;
    bool pauses;   /* in on_open */
    bool by_seed;  /* pauses or aborts sometimes */
    size_t to_say; /* of our bytes, from on_open on */
    sally_upstream proxy;
    sally_connect_options options;
};

extern struct seen seen;
extern sally_sim_listener *door; /* the proxy's */
extern const sally_handler upstream_handler;

struct step {
    const char *asks, *says; /* what the proxy hears, and answers */
    size_t asks_len, says_len;
};
struct protocol {
    sally_upstream_kind kind;
    const char *to, *user, *password;
    struct step steps[3];
};

/* One of each kind, with and without a password, for names and addresses. */
extern const struct protocol protocols[PROTOCOLS];

/* What each end says; neither looks like the other's, nor like a proxy's. */
char ours(size_t at);
char theirs(size_t at);

/* world_end ends it. The protocol's user and password are in the options then. */
void begin(uint64_t seed, sally_upstream_kind kind);
void begin_protocol(uint64_t seed, const struct protocol *protocol);

/* Asks for a connection. */
int dial_to(const char *to);
/* And the proxy's end of it. */
sally_sim_peer *proxy_of(const char *to);

/* All of it, and time for it to come; or as much as goes. */
void say(sally_sim_peer *peer, const char *bytes, size_t len);
bool say_some(sally_sim_peer *peer, const char *bytes, size_t len);

/* It gets these bytes first, or nothing else since. */
void heard_first(sally_sim_peer *peer, const char *wanted, size_t len);
void heard(sally_sim_peer *peer, const char *wanted, size_t len);

/* The proxy's talk up to its last answer, which is the caller's to say. */
const struct step *talk(sally_sim_peer *peer, const struct protocol *protocol);

/* All its answers at once, and REST bytes of the target's behind them. */
void serve_some(sally_sim_peer *peer, const struct protocol *protocol);

/* It was never open, and its end was told so. */
void failed_with(sally_close_reason reason, int error, int code);

#endif
