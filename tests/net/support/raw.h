/* The other side of a connection: blocking sockets of the system with a time limit on each call, so
 * that what a test says about bytes, FIN and RST is what was on the wire. No state but the
 * descriptors, which are the caller's; any thread. */
#ifndef NET_SUPPORT_RAW_H
#define NET_SUPPORT_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/lot.h"

/* Connects to "127.0.0.1:PORT"; -1 when it fails. `recv_buf_bytes` is SO_RCVBUF, set before the
 * handshake so that it bounds the window; 0: the system's. */
int raw_connect(const char *address, int recv_buf_bytes);

/* Binds to a free port of 127.0.0.1. False when there is none. */
bool raw_bind(int fd);

/* Listens on a free port of 127.0.0.1; the address goes to buf. -1 when it fails. */
int raw_listen(char *buf, size_t size, int backlog);

/* The next newcomer, -1 when none comes in time. */
int raw_accept(int listener);

/* All of it; false when the peer takes no more of it, has reset or is gone. Never raises SIGPIPE.
 */
bool raw_send(int fd, const void *data, size_t len);

/* What can be sent without waiting, 0 when the window stays closed for `patience_ms`. */
size_t raw_send_some(int fd, const void *data, size_t len, int patience_ms);

/* Exactly len bytes; false when the stream ends, fails, or the time is over before. */
bool raw_read(int fd, void *data, size_t len);

/* As recv(2) with the time limit: 0 at the end, -1 with errno. */
long raw_read_some(int fd, void *data, size_t len);

/* What is there now; -1 when nothing is. */
long raw_recv_now(int fd, void *data, size_t len);

enum raw_end { RAW_FIN, RAW_RST, RAW_SILENT, RAW_WRONG_BYTES };
const char *raw_end_name(enum raw_end end);

/* Reads and drops until the stream ends. `bytes` (or NULL) is how many came. */
enum raw_end raw_read_to_end(int fd, uint64_t *bytes);

/* Reads until the stream ends and compares each byte with the pattern from offset `from` on. */
enum raw_end raw_check_to_end(int fd, uint64_t stream, uint64_t from, uint64_t *bytes);

/* Reads `len` bytes and compares; `piece` bounds one read, 0: as the system has them. */
bool raw_check(int fd, uint64_t stream, uint64_t from, uint64_t len, size_t piece);

/* Sends `len` bytes of the pattern in pieces of 1 to `piece_max` bytes drawn by the seed. */
bool raw_send_pattern(int fd, uint64_t stream, uint64_t from, uint64_t len, size_t piece_max);

/* FIN; reading goes on. */
void raw_finish(int fd);

/* RST, and the descriptor is gone. */
void raw_reset(int fd);

/* As close(2). */
void raw_close(int fd);

/* "127.0.0.1:PORT" of its own end; returns buf. */
const char *raw_address(int fd, char *buf, size_t size);

/* The descriptor in this process whose peer is `fd`'s own end; -1 when there is none. So a test
 * that runs the engine in its own process finds the other end. */
int raw_find_other_end(int fd);

/* ---- Pattern: byte n of a stream follows from both, so any part can be checked alone ---- */

unsigned char pattern_byte(uint64_t stream, uint64_t offset);
void pattern_fill(void *data, uint64_t stream, uint64_t offset, size_t len);

/* The index of the first byte that is wrong, or len. */
size_t pattern_check(const void *data, uint64_t stream, uint64_t offset, size_t len);

#endif
