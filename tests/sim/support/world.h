/* A simulated engine with one server that admits its newcomers by the list of bans, limits and
 * options of the test. One at a time; it fails the test when anything is left at its end. */
#ifndef TESTS_SIM_SUPPORT_WORLD_H
#define TESTS_SIM_SUPPORT_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "sallyport/admission.h"
#include "sallyport/sim.h"

#define SERVER "127.0.0.1:5002"

struct world {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_bans *bans;
    unsigned opened, closed; /* by the test's handler */
    sally_admission admission;
    sally_server_options options;
};

extern struct world world;

/* The admission and the options are set between the two. */
void world_prepare(uint64_t seed);
int world_begin(const sally_handler *handler, unsigned shards);
void world_end(void);

/* As on_data: sends it back, or gives up. */
void world_echo(sally_conn *conn, const void *data, size_t len);

void run_ms(uint32_t ms);
/* How much a peer has got and not consumed. */
size_t received(sally_sim_peer *peer);

sally_server_stats server_stats(void);
/* What was refused is the sum of the causes. */
sally_admission_stats admission_stats(void);

#endif
