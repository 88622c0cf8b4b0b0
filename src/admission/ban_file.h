/* Bans as text: read whole or not at all, and written. The format is described in
 * sallyport/admission.h. Pure: what time it is comes in. One table has one thread here. */
#ifndef ADMISSION_BAN_FILE_H
#define ADMISSION_BAN_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "admission/ban_table.h"

enum { BAN_LINE_MAX = 512, BAN_WHY_MAX = 160 };

/* One moment by both clocks: that of bans, and the world's, in seconds since 1970. */
struct ban_now {
    uint64_t now_ms;
    int64_t world_s;
};

/* Where a text is wrong. */
struct ban_fault {
    uint32_t line; /* from 1; 0: not a line's */
    char why[BAN_WHY_MAX];
};

/* Adds every line to a new table. SALLY_EBANFILE (`fault` says where and why), SALLY_ELIMIT (more
 * bans than the table may have; `fault` says from which line on), SALLY_ENOMEM. */
int ban_file_read(struct ban_table *table, const char *text, size_t len, const struct ban_now *now,
                  struct ban_fault *fault);

/* One line with its end; how long it is. `size` is at least BAN_LINE_MAX. A ban that ends is
 * written with the second in which it is surely over. */
size_t ban_file_line(char *buf, size_t size, const struct cidr *cidr, uint64_t until_ms,
                     const char *reason, const struct ban_now *now);

#endif
