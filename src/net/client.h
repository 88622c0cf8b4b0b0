/* Clients of sallyport/client.h: a state machine on one shard, which makes one outgoing connection
 * after the other. Everything that ends a connection or an attempt reaches it by
 * client_on_conn_end, so there is one place that decides what comes next.
 *
 * Memory: references of the shard (until it has ended), the program's handle, and a stop letter on
 * its way. The engine lists them all, to free what is left at its end. */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/mailbox.h"
#include "base/wheel.h"
#include "os/address.h"
#include "sallyport/client.h"

struct policy;
struct shard;

struct sally_client {
    sally_engine *engine;
    struct shard *shard;
    struct policy *policy; /* a reference; has the handler */
    struct address to;
    struct backoff backoff;
    uint32_t up_ms;
    uint32_t attempts_max;
    void (*on_state)(sally_client *client, const sally_client_event *event);
    sally_client *prev; /* of the engine, under its lock */
    sally_client *next;
    struct letter begin;

    /* the shard's */
    sally_client *shard_prev; /* of those that have not ended */
    sally_client *shard_next;
    struct timer timer;
    sally_id conn;      /* the attempt's or the connection's; 0: none */
    uint64_t opened_ms; /* of the connection */
    uint32_t failures;
    sally_close_info last; /* why the last one ended */

    /* any thread */
    atomic_uint refs;
    atomic_int state;       /* sally_client_state */
    atomic_bool stop_asked; /* once: the letter below is used */
    struct letter stop;
    _Atomic sally_id open; /* the open connection's id */
};

/* The letters. */
void client_on_begin(sally_client *client);
void client_on_stop(sally_client *client);
void client_release(sally_client *client);

/* The time of the next attempt has come. */
void client_on_timer(sally_client *client);

/* The shard has seen that the engine stops: those that wait end. */
void clients_on_stopping(struct shard *shard);

/* Whether a connection that is made now is still wanted. */
static inline bool client_wants(const sally_client *client)
{
    return !atomic_load(&client->stop_asked);
}

/* Of its connection: before on_open, before and after on_close. */
void client_on_open(sally_client *client, sally_conn *conn);
void client_on_closing(sally_client *client);
void client_on_conn_end(sally_client *client, bool opened, const sally_close_info *info);

/* What is left when the engine's shards have gone. */
void clients_free(sally_engine *engine);

#endif
