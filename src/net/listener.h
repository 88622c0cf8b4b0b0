/* A listener: one listening socket and the chain of accepts on it. Belongs to one shard; what it
 * accepts goes to the shard with the fewest connections.
 *
 * The chain can't break: what the listener does is not decided by events ("one in, one out") but by
 * listener_update, which compares what should be with what is: an accept should be outstanding
 * whenever the server wants newcomers, there is room, and the system is not known to be exhausted.
 * Every event, every timer tick and every release ends there, and the watchdog looks also when
 * nothing happens. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/addr.h"
#include "base/mailbox.h"
#include "base/wheel.h"
#include "net/lobby.h"
#include "net/server.h"
#include "port/port.h"

enum listener_state {
    LISTENER_NEW, /* its letter is on the way */
    LISTENER_OPEN,
    LISTENER_EXHAUSTED, /* waits for descriptors, memory or buffers: until retry_ms, or until a
                           connection goes */
    LISTENER_SHUTTING,  /* port_close was called, and the address will be opened again */
    LISTENER_SHUT,   /* without a socket, until the server wants newcomers; then tried again until
                           retry_ms */
    LISTENER_ENDING, /* port_close was called */
};

struct listener {
    struct port_sock sock; /* first: the slot is in it */
    struct letter letter;  /* LETTER_LISTEN */
    struct shard *shard;
    sally_server *server;
    const struct listening *address; /* in the server */
    struct listener *next;           /* of the shard */
    struct timer timer;              /* the earliest of the watchdog's tick and what else waits */
    struct lobby parked;  /* accepted past the limit: they wait as they would in the backlog */
    struct lobby delayed; /* SALLY_DELAY: until on_accept is asked again */
    uint64_t tick_ms;     /* the watchdog's next look */
    uint64_t retry_ms;    /* EXHAUSTED, SHUT */
    uint64_t recover_ms;  /* when SALLY_SERVER_RECOVERED may be told; 0: nothing to tell */
    uint32_t backoff_ms;
    uint8_t state;
    bool stopping; /* port_accept_stop was called, its end has not come */
    bool waiting;  /* counted in engine->waiting */
    bool awaited;  /* at the watchdog's last tick somebody waited, and no event came since */
    bool armed;    /* counted in server->armed */
    bool failed;   /* SALLY_SERVER_LISTEN_FAILED was told */
};

/* Takes a slot of the shard; owns the handle once it succeeds. Any thread. */
int listener_create(struct listener **listener, sally_server *server,
                    const struct listening *address, struct shard *shard, port_handle handle);

/* LETTER_LISTEN on its shard. */
void listener_begin(struct listener *listener);
void listener_on_event(struct listener *listener, const struct port_event *event);
void listener_on_timer(struct listener *listener);

/* Looks again not later than that. */
void listener_wake_at(struct listener *listener, uint64_t due_ms);

/* A connection has gone somewhere, or what the server wants has changed. */
void listener_on_release(struct listener *listener);

/* Compares what should be with what is. */
void listener_update(struct listener *listener);

/* The engine ends, or the server was closed: no more accepts. Freed when its socket is. */
void listener_end(struct listener *listener);

#endif
