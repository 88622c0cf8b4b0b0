/* The way into an engine for whoever may outlive it: the job pool. A reference to the door may be
 * kept after the engine has gone; what is posted then is told so, instead of reaching freed memory.
 * Any thread. */
#ifndef NET_DOOR_H
#define NET_DOOR_H

#include <stdbool.h>

#include "net/letter.h"
#include "sallyport.h"

struct door;

/* One reference, the engine's. Its memory is not counted in the engine's, which it outlives.
 * SALLY_ENOMEM. */
int door_create(struct door **door, sally_engine *engine);
struct door *door_ref(struct door *door);
void door_release(struct door *door);

/* The engine goes: after this nothing is posted. Its reference stays its own. NULL does nothing. */
void door_close(struct door *door);

/* Puts a letter into the mailbox of the shard that an id names, past the mailbox's limits: the
 * caller bounds how many there are. The shard's, whether or not the connection still lives. False
 * when the engine has gone; then the letter is still the caller's. */
bool door_post(struct door *door, sally_id id, struct letter *letter);

/* Whether the id names somebody at this moment. */
bool door_knows(struct door *door, sally_id id);

#endif
