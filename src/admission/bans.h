/* The list of bans that servers share: the table of ban_table.h with locks, a clock and references.
 * Two locks: `change` is held by who changes it, for as long as that takes; `look` by who looks,
 * and by who changes only while a pointer or an entry is put in place. So a shard never waits for a
 * table that grows or a file that is read. */
#ifndef ADMISSION_BANS_H
#define ADMISSION_BANS_H

#include <stdbool.h>
#include <stdint.h>

#include "admission/ban_table.h"
#include "base/addr.h"
#include "sallyport/admission.h"

sally_bans *bans_ref(sally_bans *bans);

/* Whether a newcomer of that address is refused; a hit is counted then. Any thread. */
bool bans_refuse(sally_bans *bans, const struct addr *addr);

/* The same without a hit. */
bool bans_hold(sally_bans *bans, const struct addr *addr);

/* As sally_bans_add; a ban of that network that lasts longer stays as it is. */
int bans_add(sally_bans *bans, const struct cidr *cidr, uint32_t for_s, const char *reason);

#endif
