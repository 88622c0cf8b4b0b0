/* A client with a log of all it said, in the simulator or on a real engine. Written by the client's
 * shard; the test reads what is atomic, and the rest once the client has ended. */
#ifndef NET_SUPPORT_CLIENT_LOG_H
#define NET_SUPPORT_CLIENT_LOG_H

#include "net/support/accept_tools.h"
#include "sallyport/client.h"
#include "sallyport/sim.h"

#define LOG_SERVER "127.0.0.1:5002"
enum { LOG_EVENTS = 64, LOG_SOCKETS = 30000 };

struct log {
    sally_engine *engine;
    sally_sim *sim;
    sally_client *client;
    char story[LOG_EVENTS]; /* W C U E, o d c */
    sally_client_event event[LOG_EVENTS];
    uint64_t at_ms[LOG_EVENTS];
    atomic_uint events, opens, closes, ends;
    sally_client_event last;
    _Atomic sally_id id;
    char stop_at; /* stops the client when this is said */
    bool destroys, wrong;
};

/* Makes the client. */
int log_create(struct log *log, const char *address, const sally_client_options *given);

/* It has ended well: all in order, nothing after the end. */
void log_check(const struct log *log);

/* A world with an engine, and its end, at which nothing is left. */
sally_sim *log_sim(uint64_t seed, uint32_t conns, sally_engine **engine);
void log_sim_end(sally_sim *sim, sally_engine *engine);

#endif
