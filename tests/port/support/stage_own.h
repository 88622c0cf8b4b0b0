/* Between stage.c and stage_actors.c. */
#ifndef PORT_SUPPORT_STAGE_OWN_H
#define PORT_SUPPORT_STAGE_OWN_H

#include "port/support/stage.h"

void stage_check_bits(const struct actor *actor, const char *rule, const char *when);

/* Does what an actor does about its event. */
void stage_play(struct stage *stage, struct actor *actor, const struct port_event *event);

#endif
