/* A simulated server whose connections send and receive as fast as they may, and what came of it,
 * for tests of limits for bytes a second. One at a time; the test's thread. */
#ifndef NET_SUPPORT_METERED_H
#define NET_SUPPORT_METERED_H

#include "net/support/accept_tools.h"
#include "sallyport/rate.h"
#include "sallyport/sim.h"

#define METERED_SERVER "127.0.0.1:5002"
#define METERED_PEER   "127.0.0.1:5003"
/* So fast that the limits are seen and not the network. */
enum { METERED_CONNS = 256, METERED_LATENCY_US = 50, METERED_BIT = 100 };

struct metered_conn {
    sally_id id;
    sally_sim_peer *peer;
    uint64_t opened_ms, closed_ms;
    uint64_t queued, sent, received; /* by the handler, as told by on_sent, by on_data */
    uint64_t written;                /* by the peer */
    bool closed;
    sally_close_info info;
};

struct metered {
    sally_sim *sim;
    sally_engine *engine;
    sally_server_options options;
    uint32_t shards;
    bool narrow; /* buffers of the simulated sockets as they are drawn, from 16 bytes on */
    struct metered_conn conns[METERED_CONNS];
    unsigned count, closed;
    uint64_t fill;     /* each connection keeps sending until it has sent so much */
    unsigned wrong;    /* bytes that were not those that were sent */
    unsigned timeouts; /* on_timeout */
    void (*on_received)(sally_conn *conn, struct metered_conn *of);
};

extern struct metered metered;

/* Nothing seen; the options are the test's to set before metered_serve. */
void metered_begin(void);
void metered_serve(uint64_t seed, sally_sim_choice send_now);
sally_handler metered_handler(void);
/* So many peers that are open. */
void metered_dial(unsigned count);
/* One of the server's own making, to a peer that listens. */
void metered_connect(const sally_rates *rates);
/* Every peer writes what it can, and reads and checks what came; then time goes on. */
void metered_run(uint32_t ms, bool peers_write);
/* Runs fn on the connection's shard. */
void metered_do(unsigned conn, void (*fn)(sally_conn *conn, void *arg), void *arg);
/* For metered_do: sends METERED_BIT bytes, or all that there is room for. */
void metered_say(sally_conn *conn, void *arg);
void metered_fill(sally_conn *conn, void *arg);
void metered_finish(void);
/* One life of each seed twice, which must be alike: `life` is all of it but metered_finish. So many
 * seeds, more in the longer form. */
void metered_seeds(uint64_t count, uint64_t count_long, void (*life)(uint64_t seed));
struct metered_conn *metered_of(const sally_conn *conn);
uint64_t metered_sent(void);
uint64_t metered_received(void);

/* Of bytes that moved in so many ms: at most what rate and burst allow, at least that less `slack`.
 */
#define METERED_WITHIN(bytes, ms, rate, slack)                                                     \
    metered_within((bytes), (ms), (rate), (slack), __FILE__, __LINE__)
void metered_within(uint64_t bytes, uint64_t ms, sally_rate rate, uint64_t slack, const char *file,
                    int line);

#endif
