/* Grounds on which the completion port stands natively; see ground_fake.c. */
#ifndef WIN32_SUPPORT_GROUND_FAKE_H
#define WIN32_SUPPORT_GROUND_FAKE_H

#include "port/support/ground.h"

extern struct ground ground_fake;        /* world: struct fake */
extern struct ground ground_prompt_fake; /* accepts finish at once; codes as Windows' own */

#endif
