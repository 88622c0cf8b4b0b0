/* A file that tests send: it holds the pattern from its first byte on, so any part of the stream
 * may be sent from it or from memory, and the client sees whether each byte is in its place. One
 * file at a time; the test's thread, but for what callbacks call. */
#ifndef NET_SUPPORT_FILED_H
#define NET_SUPPORT_FILED_H

#include "net/support/stage.h"
#include "sallyport/file.h"

enum { KB = 1024, MB = 1024 * KB, STREAM = 5, PART = 256 * KB, PIECE = 8 * KB };

extern char filed_path[64];                /* of this process, so that others' are left alone */
extern _Atomic(sally_file *) filed_shared; /* the test's reference */

extern bool filed_read; /* engines read the file themselves; false at first */

/* So many bytes on the disk; or what is there made shorter. */
void filed_write(uint64_t bytes);
void filed_cut(uint64_t bytes);

/* A stage with a file of so many bytes open in its engine. */
struct stage *filed_begin(const struct stage_way *way, uint64_t bytes,
                          const struct stage_options *options);
void filed_end(struct stage *stage);

/* The test's reference goes, and the name on the disk; those of sends go by themselves, and the
 * stage sees that the descriptor went. */
void filed_release(void);

/* In callbacks. Sends a part of the file: number[0] of the actor counts those that were sent,
 * number[1] those that were dropped, and `tag` is the place in that row. Or a piece of at most
 * PIECE bytes of the same stream from memory. */
int filed_send(sally_conn *conn, uint64_t at, uint64_t len, uint64_t tag);
void filed_send_bytes(sally_conn *conn, uint64_t at, size_t len);

/* A client reads the pattern to the FIN: so many bytes, and so many files told as sent. */
struct actor *filed_check_whole(struct stage *stage, uint64_t len, unsigned files);

#endif
