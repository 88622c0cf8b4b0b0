/* Sallyport: the simulator, for testing your own handlers.
 *
 * A simulated world has a clock that only the simulator moves, a network in memory, and one seed
 * from which every choice in it is drawn: delays, sizes, the order of events, which shard runs
 * next, what fails. Engines made in it run your handlers unchanged, on the library's real code and
 * a simulated port. One seed is one run: the same seed and the same calls give the same events in
 * the same order, and the same sally_sim_hash, on every machine. So a rare failure, once found, can
 * be replayed as often as needed, and hours of bad luck take seconds.
 *
 *     sally_sim *sim;
 *     sally_engine *engine;
 *     if (sally_sim_create(&sim, seed, NULL) || sally_sim_engine(sim, NULL, &engine)) return 1;
 *     if (sally_listen(engine, "127.0.0.1:5002", &handler, NULL, NULL)) return 1;
 *     sally_sim_peer *peer = sally_sim_dial(sim, "127.0.0.1:5002");
 *     sally_sim_run(sim, 100);
 *     sally_sim_peer_write(peer, "hello", 5);
 *     sally_sim_run(sim, 1000);
 *     ... look at sally_sim_peer_received(peer, &len) ...
 *     sally_engine_destroy(engine);
 *     sally_sim_destroy(sim);
 *
 * Threads. One sim, its engines and everything here belong to one thread. Different sims may run on
 * different threads. Calls marked [any] in sallyport.h are legal between two sally_sim_run and
 * inside callbacks. The sim is what runs an engine: sally_engine_start and sally_engine_run are
 * SALLY_ESTATE, sally_engine_wait and sally_engine_run_once must not be called. Calls that run the
 * world (sally_sim_run, sally_sim_run_until, sally_engine_destroy) are not legal inside a callback;
 * everything else here is.
 *
 * Time. Virtual milliseconds since the sim was made. No call takes real time but that of the code
 * it runs. While nothing waits to be run, the clock jumps to what happens next.
 *
 * Ownership. Engines are destroyed by sally_engine_destroy before the sim. Peers and peer listeners
 * live as long as the sim and need no free.
 *
 * Errors. 0 or a negative SALLY_E*, as in sallyport.h. What can only be a defect (of the library,
 * or of a handler that writes where it may not) is a violation: bytes changed while they are sent,
 * a buffer used after its release, an engine that turns without end while time stands still, memory
 * that leaks. It is printed with the seed and ends the program with abort(). */
#ifndef SALLYPORT_SIM_H
#define SALLYPORT_SIM_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_sim sally_sim;
typedef struct sally_sim_peer sally_sim_peer;
typedef struct sally_sim_listener sally_sim_listener;

/* ---- World ---- */

typedef enum sally_sim_choice { SALLY_SIM_BY_SEED, SALLY_SIM_YES, SALLY_SIM_NO } sally_sim_choice;

typedef struct sally_sim_options {
    uint32_t descriptors_max; /* sockets that all engines of the sim together may have; 0: 4096 */
    uint32_t latency_max_us;  /* one way; each connection draws its own up to this; 0: 20000 */
    uint32_t turns_max; /* turns at one moment of time, after which it is a violation; 0: 200000 */
    sally_sim_choice send_now; /* whether the simulated port can send without an operation */
    /* A line for everything that happens, for a person; NULL: none. It must not call the library.
     */
    void (*trace)(void *user, const char *line);
    /* Before a violation ends the program; NULL: none. It must not call the library. */
    void (*violated)(void *user, uint64_t seed, const char *what);
    void *user;
} sally_sim_options;

/* `options` may be NULL. Without faults until sally_sim_set_faults. SALLY_ENOMEM, SALLY_EINVAL. */
SALLY_API int sally_sim_create(sally_sim **sim, uint64_t seed,
                               const sally_sim_options *options) SALLY_MUST_USE;

/* Its engines must have been destroyed (else, or if one of them left memory behind: a violation).
 * NULL does nothing. */
SALLY_API void sally_sim_destroy(sally_sim *sim);

/* Makes an engine in the sim; any number may share one. `options` may be NULL. In a sim the zero
 * value means: 1 shard, at most 1024 connections, no log, and the sim's allocator, which fails as
 * the faults say. The option `port` is ignored. As sally_engine_create. */
SALLY_API int sally_sim_engine(sally_sim *sim, const sally_engine_options *options,
                               sally_engine **engine) SALLY_MUST_USE;

/* Runs for so many virtual milliseconds. 0: the time has passed; 1: nothing can happen any more,
 * and the clock stands at the last thing that did; SALLY_ESTATE: inside a callback. */
SALLY_API int sally_sim_run(sally_sim *sim, uint32_t virtual_ms);

/* Runs until done(arg) is true, asked after each step. 0: it is; SALLY_ETIMEDOUT: not within
 * limit_ms, or nothing can happen any more; SALLY_ESTATE: inside a callback. */
SALLY_API int sally_sim_run_until(sally_sim *sim, bool (*done)(void *arg), void *arg,
                                  uint32_t limit_ms) SALLY_MUST_USE;

/* The clock, and the seed it was made with. */
SALLY_API uint64_t sally_sim_now_ms(const sally_sim *sim);
SALLY_API uint64_t sally_sim_seed(const sally_sim *sim);

/* The clock of the date, in milliseconds since 1970, for timers by calendar
 * (sallyport/calendar.h). It begins with 1 January 2000 in UTC and goes on with the other one;
 * setting it wakes nobody, as in the real world. More than INT64_MAX / 4 either way is taken as
 * that. */
SALLY_API int64_t sally_sim_world_ms(const sally_sim *sim);
SALLY_API void sally_sim_set_world_ms(sally_sim *sim, int64_t unix_ms);

/* A number that mixes everything that happened so far and when: equal for equal runs. */
SALLY_API uint64_t sally_sim_hash(const sally_sim *sim);

/* A number below `below` (0 for 0 and 1) from the sim's seed, for choices of the test's own, so
 * that they replay too. */
SALLY_API uint32_t sally_sim_random(sally_sim *sim, uint32_t below);

/* Sockets that engines of the sim have open, and bytes and blocks that the sim's allocator has
 * given out. All are 0 after the engines were destroyed. */
SALLY_API uint32_t sally_sim_sockets(const sally_sim *sim);
SALLY_API uint64_t sally_sim_memory_bytes(const sally_sim *sim);
SALLY_API uint64_t sally_sim_allocations(const sally_sim *sim); /* asked for since it was made */

/* ---- Faults ---- */

/* Chances in a million; zero is never. They apply to engines in the sim. The scripted peers' own
 * calls never fail by chance, though what happens to a connection happens to both its ends. */
typedef struct sally_sim_faults {
    uint32_t late;          /* a completion: comes up to late_max_us later than it might */
    uint32_t late_max_us;   /* not a chance; 0: 50000 */
    uint32_t recv_short;    /* a receive: brings fewer bytes than there are */
    uint32_t send_short;    /* a send: takes fewer bytes than there is room for */
    uint32_t send_now_none; /* a send without an operation: takes nothing */
    uint32_t buf_none;      /* a receive: finds no buffer and waits for one */
    uint32_t accept_fails;  /* an accept: fails and costs the newcomer */
    uint32_t accept_dead;   /* an accept: brings a connection that was reset before */
    uint32_t accept_ends;   /* an accept: ends without a newcomer, and has to be started again */
    uint32_t accept_no_address; /* an accept: doesn't say who the peer is */
    uint32_t exhausted;       /* a new socket: somebody else takes all descriptors, for up to 3 s */
    uint32_t connect_refused; /* a connect: refused though somebody listens */
    uint32_t connect_unreachable; /* a connect: no way there */
    uint32_t connect_lost;        /* a connect: never answered */
    uint32_t resolve_fails;       /* a look-up: no such name */
    uint32_t clog;                /* a segment: is held up, with all behind it, for up to 3 s */
    uint32_t reset;               /* a segment: both ends see a reset instead */
    uint32_t vanish;      /* a segment: from now on nothing arrives at either end, for ever */
    uint32_t reset_drops; /* a reset: what was received and not yet read is lost too */
    uint32_t no_memory;   /* an allocation of an engine: fails */
    uint32_t stall;       /* a turn: the shard gets no other for up to 500 ms */
    uint32_t early_turn;  /* a step: some shard gets a turn without a reason */
} sally_sim_faults;

/* From now on. NULL: none. What has begun (a held-up segment, taken descriptors) ends in its own
 * time. */
SALLY_API void sally_sim_set_faults(sally_sim *sim, const sally_sim_faults *faults);

/* Draws a mix by the seed: a random part of the kinds, each with a random chance. Few kinds at a
 * time find more than all at once, since one fault can hide another. */
SALLY_API void sally_sim_draw_faults(sally_sim *sim, sally_sim_faults *faults);

/* The n-th allocation from now (1: the next) fails, and with `persistent` every one after it, until
 * called again; 0: none does. */
SALLY_API void sally_sim_fail_alloc_at(sally_sim *sim, uint64_t n, bool persistent);

/* Whether sally_sim_fail_alloc_at has made one fail since it was called. */
SALLY_API bool sally_sim_alloc_failed(const sally_sim *sim);

/* Another program takes so many descriptors of those that are left (UINT32_MAX: all, also those
 * that engines give back), or gives all back. */
SALLY_API void sally_sim_take_descriptors(sally_sim *sim, uint32_t n);
SALLY_API void sally_sim_give_descriptors(sally_sim *sim);

/* ---- Scripted peers: not connections of the library, so that a test sees what is on the wire ----
 */

typedef enum sally_sim_peer_state {
    SALLY_SIM_CONNECTING,
    SALLY_SIM_OPEN,
    SALLY_SIM_FINISHED, /* the other end has sent FIN, and everything before it was read */
    SALLY_SIM_RESET,    /* the other end has sent RST, or this one has */
    SALLY_SIM_REFUSED,  /* nobody listened, or nobody answered for two minutes */
    SALLY_SIM_VANISHED,
    SALLY_SIM_CLOSED, /* by sally_sim_peer_close */
} sally_sim_peer_state;

/* Connects to a listening address ("127.0.0.1:5002", "[::1]:5002", "unix:/path"). NULL for an
 * address that can't be read. */
SALLY_API sally_sim_peer *sally_sim_dial(sally_sim *sim, const char *address);

/* What it is now. */
SALLY_API sally_sim_peer_state sally_sim_peer_get_state(const sally_sim_peer *peer);

/* Puts bytes on their way; how many the peer's send buffer took, 0 when it is full or the peer is
 * not open. */
SALLY_API size_t sally_sim_peer_write(sally_sim_peer *peer, const void *data, size_t len);

/* FIN after what was written; it goes on reading. */
SALLY_API void sally_sim_peer_finish(sally_sim_peer *peer);

/* As close(2): no more reading or writing; FIN, or RST if something is unread or comes later. */
SALLY_API void sally_sim_peer_close(sally_sim_peer *peer);

/* RST; what was not yet delivered is lost. */
SALLY_API void sally_sim_peer_reset(sally_sim_peer *peer);

/* Power off: nothing comes from it any more and nothing is answered. */
SALLY_API void sally_sim_peer_vanish(sally_sim_peer *peer);

/* While stopped its window closes once its receive buffer is full. Peers read by themselves until
 * stopped, up to 4 MiB not yet consumed. */
SALLY_API void sally_sim_peer_stop_reading(sally_sim_peer *peer);
SALLY_API void sally_sim_peer_read(sally_sim_peer *peer);

/* What it has read and not consumed: readable until the world runs or the peer is used. */
SALLY_API const void *sally_sim_peer_received(const sally_sim_peer *peer, size_t *len);
SALLY_API void sally_sim_peer_consume(sally_sim_peer *peer, size_t len);

/* Read in all, and the order in which things came: true if FIN came. */
SALLY_API uint64_t sally_sim_peer_bytes(const sally_sim_peer *peer);
SALLY_API bool sally_sim_peer_finished(const sally_sim_peer *peer);

/* Its address, as a server's handler sees it; returns buf. */
SALLY_API const char *sally_sim_peer_address(const sally_sim_peer *peer, char *buf, size_t size);

/* The program's pointer; NULL at first. */
SALLY_API void sally_sim_peer_set_user(sally_sim_peer *peer, void *user);
SALLY_API void *sally_sim_peer_user(const sally_sim_peer *peer);

/* ---- Peers that listen, for an engine's outgoing connections ---- */

/* Listens on an address; newcomers past `backlog` (0: 128) get no answer until there is room. An
 * address on which nobody listens refuses. NULL for an address that can't be read or is in use. */
SALLY_API sally_sim_listener *sally_sim_listen(sally_sim *sim, const char *address,
                                               unsigned backlog);

/* The next newcomer; NULL when there is none. */
SALLY_API sally_sim_peer *sally_sim_listener_accept(sally_sim_listener *listener);

/* Its address with the real port; returns buf. */
SALLY_API const char *sally_sim_listener_address(const sally_sim_listener *listener, char *buf,
                                                 size_t size);

/* Newcomers are refused from now on, and those not accepted are reset. */
SALLY_API void sally_sim_listener_close(sally_sim_listener *listener);

/* Whoever connects to this address gets no answer, as from a machine that is off. SALLY_EADDRESS,
 * SALLY_ENOMEM. */
SALLY_API int sally_sim_black_hole(sally_sim *sim, const char *address) SALLY_MUST_USE;

/* A name resolves to this address ("192.0.2.1", "2001:db8::1"), too; other names have none.
 * SALLY_EADDRESS, SALLY_EINVAL for a name that is too long, SALLY_ENOMEM. */
SALLY_API int sally_sim_name(sally_sim *sim, const char *name, const char *ip) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
