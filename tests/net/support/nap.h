/* A shard put to sleep inside a callback, so that a test has its time: nothing of that shard moves
 * until it is woken. The test's thread. */
#ifndef NET_SUPPORT_NAP_H
#define NET_SUPPORT_NAP_H

#include "net/support/stage.h"
#include "os/thread.h"

struct nap {
    struct os_gate gate;
    atomic_uint asleep;
};

/* The connection's shard sleeps when this returns. */
void nap_begin(struct nap *nap, struct stage *stage, sally_id id);
void nap_wake(struct nap *nap);
/* When something that came after it has been seen. */
void nap_free(struct nap *nap);

/* What fills a mailbox. */
void nap_letter(sally_conn *conn, void *arg);

#endif
