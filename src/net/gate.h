/* A server's gate: who is let in, by bans, by counts and rates of addresses, by the rate of all;
 * and strikes, which become bans. The tables are those of src/admission/; here are the lock, the
 * server's options and the counts. A server whose options want none of it has no gate.
 *
 * Any thread: listeners and connections of one server are on several shards. The lock is held for
 * one look-up, never while anything of a program's runs but its allocator. */
#ifndef NET_GATE_H
#define NET_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "admission/rate.h"
#include "admission/sources.h"
#include "net/guest.h"
#include "net/lobby.h"
#include "net/server.h"
#include "os/lock.h"
#include "sallyport/admission.h"

struct gate {
    struct mem *mem;
    sally_bans *bans;             /* a reference, or NULL */
    sally_strike_options strikes; /* with every default filled in; max 0: off */
    struct policy *guests;        /* for those that are sent off */
    uint32_t delay_ms;
    uint32_t delay_max_ms;
    uint32_t delayed_max;
    uint32_t farewell_bytes;
    unsigned char farewell[FAREWELL_BYTES_MAX];

    atomic_uint delayed;
    _Atomic uint64_t delayed_times;
    _Atomic uint64_t strike_bans;
    atomic_bool counts;       /* addresses are counted; once true it stays so */
    _Atomic uint64_t used_ns; /* the rate of all, see rate.h */
    _Atomic uint64_t period_ns;
    _Atomic uint64_t slack_ns;
    bool has_admission; /* limits may be set later */

    struct os_lock lock; /* of what follows */
    struct source_limits limits;
    struct sources sources;
};

/* Whether a server with these needs one. */
bool gate_is_wanted(const sally_handler *handler, const sally_server_options *options);

/* SALLY_EINVAL, SALLY_ENOMEM. */
int gate_create(struct gate **gate, sally_engine *engine, const sally_server_options *options);
void gate_destroy(struct gate *gate);

/* Judges by bans and by the newcomer's address, and counts it: newcomer->source is to be given back
 * once. False: *why says what is against it. */
bool gate_enter(struct gate *gate, struct newcomer *newcomer, uint64_t now_ms, sally_refusal *why);
void gate_leave(struct gate *gate, uint32_t source);

/* The rate of all newcomers: takes one; how long until there is one (0: now). */
bool gate_take_turn(struct gate *gate, uint64_t now_ms);
uint64_t gate_wait_ms(const struct gate *gate, uint64_t now_ms);

/* Live connections of an address, 0 when they are not counted. */
uint32_t gate_live(struct gate *gate, const struct addr *addr);

/* One more is held; false: there are too many. */
bool gate_delay(struct gate *gate);
void gate_undelay(struct gate *gate);

/* True: the address is banned now. */
bool gate_strike(struct gate *gate, const struct addr *addr, sally_strike kind, uint32_t weight,
                 uint64_t now_ms);

/* The same for a connection's peer, if its server has strikes. On its shard. */
bool conn_strike(sally_conn *conn, sally_strike kind, uint32_t weight);

/* Ends the connections of the gate's server on that shard whose address is banned. */
void gate_cut_banned(const struct gate *gate, struct shard *shard);

#endif
