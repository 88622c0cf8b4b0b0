/* Simulated peers that read one known stream of a server, stop reading, and hang up as the seed
 * likes: what each has got must be the stream's beginning, and who was cut off must know. */
#ifndef TESTS_SIM_SUPPORT_AUDIENCE_H
#define TESTS_SIM_SUPPORT_AUDIENCE_H

#include <stdint.h>

#include "sallyport/sim.h"

enum { AUDIENCE_PEERS = 4 };

struct audience {
    sally_sim *sim;
    sally_sim_peer *peers[AUDIENCE_PEERS];
    uint64_t read[AUDIENCE_PEERS];
    char cut[AUDIENCE_PEERS][64]; /* their addresses */
    unsigned cut_count;
};

/* The stream's byte at this place. */
unsigned char audience_byte(uint64_t at);

/* They dial; under faults with every second seed. */
void audience_come(struct audience *audience, sally_sim *sim, const char *address);

/* One of them does something, and a little time passes. */
void audience_act(struct audience *audience);

/* From now on all read, and nothing fails. */
void audience_calm(struct audience *audience);

/* Reads all that there is to come. How many take what they have for the whole; none of them was
 * cut. */
unsigned audience_read_to_end(struct audience *audience);

/* In on_close: there would have been more for this one. */
void audience_cut(struct audience *audience, const sally_conn *conn);

#endif
