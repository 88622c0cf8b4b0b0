/* A raw client's side of filters: bytes through one of them by hand, as they would be on the wire.
 */
#ifndef NET_SUPPORT_MILL_H
#define NET_SUPPORT_MILL_H

#include "net/support/raw.h"
#include "net/support/stage.h"
#include "support/filters.h"

/* All that a filter makes of the bytes; how many. In a small room, again and again. */
static inline size_t mill(int (*pass)(void *state, sally_filter_io *io), void *state,
                          const void *data, size_t len, bool finish, unsigned char *to, size_t room)
{
    size_t at = 0, made = 0;
    for (int result = SALLY_FILTERED_MORE; result == SALLY_FILTERED_MORE || at < len;) {
        sally_filter_io io = {.input = (const char *)data + at,
                              .len = len - at,
                              .room = to + made,
                              .room_bytes = room - made < 1000 ? room - made : 1000,
                              .flush = true,
                              .finish = finish};
        if (!io.room_bytes) fail_msg("the mill's room is full");
        result = pass(state, &io);
        if (result < 0) fail_msg("the mill stopped: %s", sally_err_name(result));
        at += io.used;
        made += io.made;
        if (result == SALLY_FILTERED_END) break;
    }
    return made;
}

/* Everything to the end of the stream; how many bytes. */
static inline size_t raw_read_all(int fd, unsigned char *to, size_t room)
{
    size_t got = 0;
    for (long n; (n = raw_read_some(fd, to + got, room - got)) != 0; got += (size_t)n)
        if (n < 0 || got + (size_t)n == room) fail_msg("no end after %zu bytes", got);
    return got;
}

#endif
