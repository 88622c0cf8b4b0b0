/* An allocator that lets the machine look on: each block ends at a page that can't be touched and
 * begins after another, and a freed one stays untouchable while the next GUARD_KEPT are freed. So a
 * byte too far, and a use after the release, end the program at once, also where no sanitizer is:
 * in programs of Windows. Costs three pages a block. Any thread. */
#ifndef PORT_SUPPORT_GUARD_PAGES_H
#define PORT_SUPPORT_GUARD_PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum { GUARD_KEPT = 256, GUARD_ALIGN = 16 };

/* Aligned for any type; so up to 15 bytes may lie between the end and the page: they are looked at
 * when it is freed. NULL without memory. */
void *guard_alloc(size_t bytes);

/* `bytes` as allocated. */
void guard_free(void *block, size_t bytes);

/* ---- guard_pages_*.c: the system's ---- */

size_t guard_page_bytes(void);
/* Pages that can be read and written; NULL: there are none. */
void *guard_map(size_t bytes);
void guard_forbid(void *at, size_t bytes);
void guard_unmap(void *at, size_t bytes);
/* From now on a fault ends the process at once: a test's own handler would go on with the next
 * test, and Wine would call a debugger. */
void guard_die_of_faults(void);

#endif
