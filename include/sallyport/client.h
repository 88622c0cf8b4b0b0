/* Sallyport: a client that keeps one connection up, making it again whenever it ends.
 *
 *     sally_handler handler = {.on_open = on_open, .on_data = on_data};
 *     sally_client *client;
 *     int err = sally_client_create(engine, "example.org:5002", &handler, NULL, &client);
 *
 * The connections' callbacks are those of accepted ones: on_open for each that was made, on_close
 * for each of those that has ended. An attempt that fails is told by on_state alone.
 *
 * Order. on_state(CONNECTING), then either on_state(UP), on_open, ..., on_close, or nothing; then
 * on_state(WAITING) and so on, until on_state(ENDED), which comes exactly once and last. All of
 * them run on the client's shard, on which its connections live, one at a time and never inside the
 * call that caused them. Each attempt looks the name up again.
 *
 * The end. A client ends by sally_client_stop or sally_client_destroy, by attempts_max, or with its
 * engine. Its memory goes when it has ended and sally_client_destroy was called, at the latest with
 * the engine.
 *
 * sally_engine_options.conns_max bounds the number of clients of an engine, too. */
#ifndef SALLYPORT_CLIENT_H
#define SALLYPORT_CLIENT_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sally_client sally_client;

typedef enum sally_client_state {
    SALLY_CLIENT_WAITING, /* for the time of its next attempt */
    SALLY_CLIENT_CONNECTING,
    SALLY_CLIENT_UP,    /* the connection is open, or closing */
    SALLY_CLIENT_ENDED, /* for good */
} sally_client_state;

typedef enum sally_client_end {
    SALLY_CLIENT_NOT_ENDED,
    SALLY_CLIENT_STOPPED,  /* as the program wanted */
    SALLY_CLIENT_GAVE_UP,  /* attempts_max */
    SALLY_CLIENT_SHUTDOWN, /* the engine stopped */
} sally_client_end;

/* What has changed. */
typedef struct sally_client_event {
    sally_client_state state;
    uint32_t wait_ms;          /* WAITING: until the next attempt */
    uint32_t failures;         /* attempts in a row without lasting success, the last included */
    sally_id id;               /* UP: the connection's */
    sally_client_end end;      /* ENDED: why */
    sally_close_reason reason; /* WAITING, ENDED: why the last connection or attempt ended, */
    int error;                 /* 0 or the SALLY_E* behind that, such as SALLY_EREFUSED, */
    int sys_error;             /* and the system's own code */
} sally_client_event;

/* How the delay grows with each failure in a row. */
typedef enum sally_backoff {
    SALLY_BACKOFF_EXPONENTIAL, /* doubles */
    SALLY_BACKOFF_LINEAR,      /* by delay_min_ms each time */
    SALLY_BACKOFF_FIXED,       /* not at all */
} sally_backoff;

/* Every delay is drawn from a range, so that the clients of a server that went away don't return at
 * the same moment: from what `backoff` says to jitter_percent more, and never outside delay_min_ms
 * to delay_max_ms. (So a fixed delay whose minimum is its maximum has no jitter.) */
typedef struct sally_client_options {
    sally_connect_options connect; /* of each attempt; connect.same_shard is not looked at */
    sally_backoff backoff;
    uint32_t delay_min_ms;   /* the first delay; 0: 100 */
    uint32_t delay_max_ms;   /* 0: 30000, or delay_min_ms if that is more */
    uint32_t jitter_percent; /* 0: 100 */
    bool no_jitter;          /* exactly what `backoff` says; for tests */
    uint32_t up_ms;          /* a connection that was up for so long counts as success: the delay
                                begins anew; 0: 5000 */
    uint32_t attempts_max;   /* failures in a row after which it gives up; 0: it never does */
    void (*on_state)(sally_client *client, const sally_client_event *event); /* may be NULL */
} sally_client_options;

/* Makes a client, whose first attempt begins at once (or when the engine runs). `address` as for
 * sally_connect; handler and options are copied; `options` and `client` may be NULL: without
 * `client` it lives until it ends by itself; else that is set before the first callback. After 0
 * on_state(ENDED) follows once. SALLY_EINVAL, SALLY_EADDRESS, SALLY_ELIMIT, SALLY_EFULL,
 * SALLY_ENOMEM, SALLY_ESTATE (the engine stops), SALLY_ENOTSUP (sallyport/upstream.h). [any] */
SALLY_API int sally_client_create(sally_engine *engine, const char *address,
                                  const sally_handler *handler, const sally_client_options *options,
                                  sally_client **client) SALLY_MUST_USE;

/* No further attempt; one under way is given up, an open connection is closed as by
 * sally_conn_close. on_state(ENDED) follows. Idempotent; returns at once. (To cut the connection
 * too: sally_abort with its id.) [any] */
SALLY_API int sally_client_stop(sally_client *client);

/* Stops it if it has not ended, and gives the handle up: the caller must not use it again.
 * Callbacks still come until on_state(ENDED), which may use the pointer that it is given. NULL does
 * nothing. [any] */
SALLY_API int sally_client_destroy(sally_client *client);

/* The open connection's id, for sally_send and the like; 0 while there is none. [any] */
SALLY_API sally_id sally_client_id(const sally_client *client);

/* What it does now. [any] */
SALLY_API sally_client_state sally_client_get_state(const sally_client *client);

/* The handler's `user`, and the client's engine. [any] */
SALLY_API void *sally_client_user(const sally_client *client);
SALLY_API sally_engine *sally_client_engine(const sally_client *client);

/* The client whose connection this is; NULL for others. [shard] */
SALLY_API sally_client *sally_conn_client(const sally_conn *conn);

#if defined(__cplusplus)
}
#endif
#endif
