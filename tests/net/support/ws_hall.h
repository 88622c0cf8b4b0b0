/* A WebSocket server on one of three ports (uring or iocp, epoll, the simulator) and a peer that
 * says bytes and reads bytes, so that one test runs on each. One hall at a time, of the test's
 * thread; its callbacks run on a shard's thread but in the simulator, and say what they see in
 * atomics, and of an end in a place that is its own. */
#ifndef NET_SUPPORT_WS_HALL_H
#define NET_SUPPORT_WS_HALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/sim.h"
#include "sallyport/websocket.h"

enum hall_port { HALL_URING, HALL_EPOLL, HALL_SIM, HALL_PORTS };
enum { HALL_LIMIT_MS = 60000, HALL_REASON_MAX = 128, HALL_ENDS_MAX = 1024 };

struct hall_options {
    sally_ws_handler handler; /* on_message NULL: an echo; user and on_close are the hall's */
    sally_ws_options ws;
    sally_server_options server;
    bool no_server;
};

/* How one of them ended. */
struct hall_end {
    bool opened;
    unsigned code, code_sent;
    char reason[HALL_REASON_MAX];
    sally_close_reason why;
    sally_close_info info;
    uint64_t closed_ms; /* simulated time */
};

struct hall {
    enum hall_port port;
    sally_sim *sim;
    sally_engine *engine;
    sally_server *server;
    sally_ws *ws;
    char address[64];
    atomic_uint opened, messages, closed, wrongs;
    _Atomic sally_id id;                 /* of the last that has opened */
    struct hall_end ends[HALL_ENDS_MAX]; /* in the order in which they closed */
    int listener;
    sally_sim_listener *sim_listener;
    _Atomic uint64_t memory, memory_high; /* of the engine's allocations */
};

struct peer {
    struct hall *hall;
    int fd;
    sally_sim_peer *sim;
};

/* NULL: this port can't be used here; said on stdout. */
struct hall *hall_begin(enum hall_port port, const struct hall_options *options);

/* Destroys the engine; no memory may be left, nothing be wrong. */
void hall_end(struct hall *hall);

/* What hall_begin makes of the handler, for another WebSocket of the same hall. */
sally_ws_handler hall_handler(const sally_ws_handler *given);

/* Until the number has risen to at least so much. */
void hall_wait(struct hall *hall, atomic_uint *number, unsigned least);

/* Of the last that has closed. */
const struct hall_end *hall_last(struct hall *hall);

/* Time passes: in the simulator that of its own. */
void hall_run(struct hall *hall, uint32_t ms);

struct hall *hall_of(const sally_conn *conn);

struct peer hall_dial(struct hall *hall);
void peer_say(struct peer *peer, const void *data, size_t len);
/* What it takes without waiting for long; for peers that are not read. */
size_t peer_say_some(struct peer *peer, const void *data, size_t len);
/* Exactly so many bytes; false when the stream ends before. */
bool peer_hear(struct peer *peer, void *data, size_t len);
/* All to the end of the stream, at most `room`; how many. */
size_t peer_hear_end(struct peer *peer, void *data, size_t room);
void peer_stop_reading(struct peer *peer);
void peer_finish(struct peer *peer);
void peer_leave(struct peer *peer);

/* A server that is no WebSocket of ours: its address goes to hall->address. */
void hall_listen(struct hall *hall);
struct peer hall_accept(struct hall *hall);

/* The usual upgrade request, and its answer of this length. */
extern const char hall_upgrade[];
enum { HALL_SWITCH_BYTES = 129 };

/* Dials and upgrades. */
struct peer hall_visit(struct hall *hall);

/* A client's frame: `first` is its first byte. How many bytes. */
size_t frame_put(unsigned char *to, unsigned first, const void *data, size_t len);
/* And a server's. */
size_t frame_put_bare(unsigned char *to, unsigned first, const void *data, size_t len);

/* Says a client's frame. */
void say_frame(struct peer *peer, unsigned first, const void *data, size_t len);

/* Hears exactly these bytes, at most 256; and then the end. */
void assert_hears(struct peer *peer, const char *wanted, size_t len);
void assert_end(struct peer *peer, const char *wanted, size_t len);

#endif
