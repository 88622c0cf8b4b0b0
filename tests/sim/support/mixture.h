/* What the mixture (mixture_test.c) knows of its world and of each connection, for its handlers and
 * for its course. One thread. */
#ifndef TESTS_SIM_SUPPORT_MIXTURE_H
#define TESTS_SIM_SUPPORT_MIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sallyport/admission.h"
#include "sallyport/client.h"
#include "sallyport/filter.h"
#include "sallyport/framing.h"
#include "sallyport/group.h"
#include "sallyport/proxy.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"
#include "sallyport/upstream.h"
#include "sallyport/websocket.h"
#include "sallyport/work.h"
#include "sim/support/speech.h"

enum {
    PEERS = 12,
    CONNS = 600,
    BANDWIDTHS = 2,
    MOST = 900,
    ROUNDS = 60,
    IDLE_MS = 4000,
    FIXED = 37
};

/* One connection's; lives as long as the world. */
struct one {
    sally_id id;
    bool closed, eof, ending;
    bool owed;      /* a send found no room, and on_drain has not come since */
    bool frames;    /* on_message, on demand */
    bool ws;        /* a WebSocket */
    uint64_t in;    /* handed out */
    bool paused;    /* by its handler */
    uint32_t wants; /* 0: nothing */
    unsigned notes, jobs;
};

extern struct mixture {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_client *client;
    sally_pool *pool;
    sally_bandwidth *bandwidths[BANDWIDTHS];
    sally_group *group;
    sally_sim_listener *away;
    sally_sim_peer *peers[PEERS];
    sally_sim_peer *far;
    struct speech speech[PEERS + 1]; /* the last is the far end's */
    bool calm, framed, fixed, proxied;
    bool ws, away_ws; /* WebSockets; the server's, the client's */
    bool routed;      /* the client's connections go through a proxy */
    bool starves;     /* an allocation may fail, or may have */
    unsigned far_heads;
    unsigned depth; /* callbacks running */
    unsigned count, opened, closed, notes, jobs, casts;
    sally_framing framing;
    sally_rates rates;
    sally_admission admission;
    sally_proxy_options proxy;
    sally_server_options options;
    sally_conn_options outgoing;
    sally_upstream upstream;
    sally_filter filters[SALLY_FILTERS_MAX];
    struct one one[CONNS];
    uint64_t jobs_told, notes_told, refused;
    unsigned opened_here; /* of those opened, the server's */
} mixture;

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu at %llu ms, line %d: not true: %s",                                \
                     (unsigned long long)sally_sim_seed(mixture.sim),                              \
                     (unsigned long long)sally_sim_now_ms(mixture.sim), __LINE__, #condition);     \
    } while (0)

/* What a peer sends: so nothing is lost, doubled or out of order unseen. */
static inline unsigned char stream_byte(uint64_t at) { return (unsigned char)(at * 41 + at / 253); }

static inline uint32_t draw(uint32_t n) { return sally_sim_random(mixture.sim, n); }

/* Limits for bytes, as the seed says. */
void mixture_draw_rates(sally_rates *rates);
/* What a send call has returned. */
void mixture_sent(struct one *one, int err);
/* The handler of the server's connections, or of outgoing ones. */
sally_handler mixture_handler(bool server);
/* The same for WebSockets. */
sally_ws_handler mixture_ws_handler(bool server);

#endif
