/* Telling who found the mailbox full; see refusals.h. */
#include "net/refusals.h"

#include "net/conn.h"
#include "net/shard.h"

enum { REFUSALS_BATCH = 256 }; /* told by one letter: then others have their turn */

/* Of what is in no list. */
#define REFUSALS_NONE 0

static void refusals__append(struct shard *shard, uint32_t slot)
{
    struct refusals *refusals = &shard->refusals;
    shard->inbound[slot].refused_next = 0;
    if (refusals->last)
        shard->inbound[refusals->last - 1].refused_next = slot + 1;
    else
        refusals->first = slot + 1;
    refusals->last = slot + 1;
}

void refusals_note(struct shard *shard, sally_id id)
{
    struct refusals *refusals = &shard->refusals;
    struct inbound *account = &shard->inbound[id_slot(id)];
    os_lock_take(&shard->mailbox.lock);
    bool listed = account->refused_generation != REFUSALS_NONE;
    /* of two owners of a slot the later one: the other has gone */
    if (account->refused_generation < id_generation(id))
        account->refused_generation = id_generation(id);
    if (!listed) refusals__append(shard, id_slot(id));
    bool post = !refusals->posted;
    refusals->posted = true;
    os_lock_give(&shard->mailbox.lock);
    if (post) (void)shard_post(shard, &refusals->call.letter, true);
}

/* The one that waits longest; NULL when nobody waits, or it has gone. True: there may be others. */
static bool refusals__next(struct shard *shard, sally_conn **conn)
{
    struct refusals *refusals = &shard->refusals;
    *conn = NULL;
    os_lock_take(&shard->mailbox.lock);
    uint32_t slot = refusals->first;
    refusals->posted = slot != 0;
    if (slot) {
        struct inbound *account = &shard->inbound[slot - 1];
        *conn = slots_find(&shard->slots, slot - 1, account->refused_generation);
        refusals->first = account->refused_next;
        if (!refusals->first) refusals->last = 0;
        account->refused_generation = REFUSALS_NONE;
    }
    os_lock_give(&shard->mailbox.lock);
    return slot != 0;
}

static void refusals__tell(struct letter_call *call, struct shard *shard)
{
    if (!shard) return; /* it has ended, and its connections with it */
    for (int told = 0; told < REFUSALS_BATCH; told++) {
        sally_conn *conn;
        if (!refusals__next(shard, &conn)) return;
        /* of no role: one whose LETTER_DIAL has not come yet, and who is told when it is open */
        if (conn && conn->sock.role != ROLE_LISTENER) conn_owe_drain(conn);
    }
    (void)shard_post(shard, &call->letter, true);
}

void refusals_init(struct refusals *refusals)
{
    *refusals = (struct refusals){
        .call = {.letter.mail = {sizeof refusals->call, LETTER_CALL}, .fn = refusals__tell}};
}
