/* A simulated server whose handler does what it is told and writes down what it saw, for tests of
 * time limits. One at a time; the test's thread. */
#ifndef NET_SUPPORT_TIMED_H
#define NET_SUPPORT_TIMED_H

#include "net/support/accept_tools.h"
#include "sallyport/sim.h"

#define TIMED_SERVER "127.0.0.1:5002"
enum { TIMED_CROWD = 200, TIMED_REPLY = 3 << 20, TIMED_LATENCY_MS = 2 };

struct timed {
    sally_sim *sim;
    uint64_t opened_ms, closed_ms, beat_ms;
    unsigned opened, closed, beats, asked, disorders;
    unsigned chances; /* on_timeout says no so often */
    sally_timeout which;
    sally_close_info info;
    uint64_t ages[TIMED_CROWD]; /* when on_timeout was asked, since the last opening */
    bool echo, expects, pings, pauses, any_beat;
    size_t reply; /* bytes sent at once when it opens */
    sally_id id;
};

extern struct timed seen;

/* Nothing seen, nothing to do. */
void timed_begin(void);
sally_handler timed_handler(void);
sally_engine *timed_serve(uint64_t seed, sally_sim_choice send_now, sally_conn_limits limits);
/* A peer that is open. */
sally_sim_peer *timed_peer(void);
void timed_expect(sally_engine *engine, bool expects);
/* It ends for this reason, so long after that moment, and a little for the network. */
void timed_ends(sally_close_reason reason, uint64_t since_ms, uint32_t after_ms);
void timed_finish(sally_engine *engine);

#endif
