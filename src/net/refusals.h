/* Who was refused a send because the shard's mailbox was full, and is owed an on_drain. Nothing
 * else would bring it: such a connection may have nothing queued, and then nothing of it is ever
 * "gone".
 *
 * The list runs through the inbound accounts, so it is never larger than the slot table and noting
 * takes no memory. Its news is one letter, posted past the mailbox's limit behind all that filled
 * it: when that is read, there is room. Everything here is under the mailbox's lock, but the
 * letter, which is the mailbox's while `posted`. */
#ifndef NET_REFUSALS_H
#define NET_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/letter.h"
#include "sallyport/types.h"

struct shard;

struct refusals {
    struct letter_call call;
    uint32_t first, last; /* slot + 1, 0: none */
    bool posted;          /* somebody is told, or will be */
};

void refusals_init(struct refusals *refusals);

/* The connection's on_drain is called when the mailbox has been read so far; once, however often it
 * is noted until then. Any thread, without the lock. */
void refusals_note(struct shard *shard, sally_id id);

#endif
