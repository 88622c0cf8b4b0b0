/* What the storm knows of one connection of the engine's, and the state machine that its callbacks
 * must follow. */
#ifndef TESTS_SIM_SUPPORT_RECORD_H
#define TESTS_SIM_SUPPORT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/sim.h"

enum { RECORDS = 512, PEERS = 64, BODY_MAX = 4096, CONNS_MAX = 24 };

/* The first three give back all they get, sooner or later. */
enum mode {
    MODE_ECHO,
    MODE_PAUSE,
    MODE_BLINK,
    MODES_SERVING,
    MODE_CLOSE = MODES_SERVING,
    MODE_ABORT,
    MODE_SHUT,
    MODES
};

struct storm;

struct record {
    struct storm *storm;
    sally_id id;
    bool outgoing;
    bool begun; /* sally_connect has returned 0 */
    bool opened;
    bool closed;
    bool eof;
    bool paused;
    bool ending;  /* closed or aborted by us: no data any more */
    bool foreign; /* others have sent on it, too: its bytes can't be foretold */
    uint8_t mode;
    uint32_t tag;
    uint32_t in;
    uint32_t out; /* accepted by send calls */
};

enum role {
    ROLE_GOOD,
    ROLE_RESET,
    ROLE_STALL,
    ROLE_VANISH,
    ROLE_SILENT,
    ROLE_LEAVE,
    ROLE_ECHO,
    ROLES
};

struct visitor {
    sally_sim_peer *peer;
    uint8_t role;
    bool finished;
    uint32_t tag;
    uint32_t want;
    uint32_t wrote;
    uint32_t got;
};

struct storm {
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_sim_listener *elsewhere;
    uint64_t seed;
    bool calm;
    bool with_eof;
    unsigned depth; /* callbacks running, or calls from outside */
    unsigned records;
    unsigned visitors;
    uint64_t served;
    uint64_t closed;
    uint64_t cut_by_us; /* an echo did not fit */
    uint64_t posts;
    uint64_t posts_done;
    sally_id gone; /* of a connection that had its on_close */
    struct record record[RECORDS];
    struct visitor visitor[PEERS];
    unsigned char body[BODY_MAX];
};

/* Fails the test, with the seed. */
#define CHECK(storm, condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) storm_fail(storm, #condition, __FILE__, __LINE__);                       \
    } while (0)

void storm_fail(struct storm *storm, const char *what, const char *file, int line);

/* Byte `at` of the stream that belongs to a tag. */
static inline unsigned char body_at(uint32_t tag, uint32_t at)
{
    return (unsigned char)(tag * 131 + at * 7 + (at >> 8) * 13);
}

const unsigned char *body_from(struct storm *storm, uint32_t tag, uint32_t at, uint32_t len);

static inline uint32_t one_of(struct storm *storm, uint32_t n)
{
    return sally_sim_random(storm->sim, n);
}

/* record.c: the handlers */
void record_server_handler(struct storm *storm, sally_handler *handler);
void record_connect(struct storm *storm, const char *address);
/* Something from outside of callbacks, by id. */
void record_meddle(struct storm *storm);

/* visitor.c */
struct visitor *visitor_new(struct storm *storm); /* NULL: there are enough */
void visitor_dial(struct storm *storm, struct visitor *visitor, enum role role);
void visitors_act(struct storm *storm);
bool visitor_is_served(const struct visitor *visitor);

#endif
