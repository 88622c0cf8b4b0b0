/* Files on the wire: sent by the system from its own cache, in their place among the other sends.
 * What is sent before is the file's head, what is sent after it its tail, and there is no limit for
 * the size of any of them (64 bits).
 *
 *     sally_file *file;
 *     if (sally_file_open(engine, "page.html", &file, NULL)) ...
 *     sally_conn_send(conn, head, head_len);
 *     sally_conn_send_file(conn, file, 0, 0, NULL, NULL);
 *     sally_file_release(file);
 *
 * The system's call is sendfile(2) on Linux and TransmitFile on Windows, at most 256 KiB of a
 * connection in one turn of its shard. Bytes that are not in the system's cache are read from the
 * disk by it: on Linux the shard waits for that, on Windows it doesn't. So on Linux, where files
 * lie on slow or remote disks, read them in a job (sallyport/work.h) and send the bytes.
 *
 * Where the system has no such call, or with the bit SALLY_READ_FILES in port_features_off of the
 * engine's options, the shard reads the file, 64 KiB a turn, and sends the bytes: the same to see,
 * at the cost of a copy and of 64 KiB of memory for each connection that sends one. It is worth it
 * on client editions of Windows, which work on two transfers at a time for the whole system, so
 * that two readers who have stopped hold up all others (Microsoft's page of TransmitFile). */
#ifndef SALLYPORT_FILE_H
#define SALLYPORT_FILE_H

#include "sallyport/flow.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* An open file with a reference count: any number of connections may send from it at once. Each
 * send has a reference of its own, and the last one to go closes the file, on whatever thread that
 * is. All have to be gone before the engine is destroyed; those of sends go with it. */
typedef struct sally_file sally_file;

/* Opens an ordinary file for reading, with one reference, which is the caller's. Its size is that
 * of this moment. `path` is UTF-8 on Windows. In a simulated engine (sallyport/sim.h) it is a real
 * file, too. `sys_error`, if not NULL, gets the system's own code or 0. Opening may wait for the
 * disk. SALLY_EINVAL; SALLY_EFILE: it is not there, or it is a folder, a pipe or a device;
 * SALLY_EACCES, SALLY_EEXHAUSTED, SALLY_ENOMEM. See open(2), fstat(2); CreateFileW. [any] */
SALLY_API int sally_file_open(sally_engine *engine, const char *path, sally_file **file,
                              int *sys_error) SALLY_MUST_USE;

/* The same of a descriptor that is open for reading, or on Windows of a HANDLE (opened with
 * FILE_FLAG_SEQUENTIAL_SCAN, as Microsoft's page of TransmitFile advises). It is taken over when
 * the call succeeds: the last reference closes it. Its place of reading is neither used nor moved.
 * Errors as above. [any] */
SALLY_API int sally_file_from_fd(sally_engine *engine, int64_t fd, sally_file **file,
                                 int *sys_error) SALLY_MUST_USE;

/* Its size when it was opened. 0 for NULL. [any] */
SALLY_API uint64_t sally_file_size(const sally_file *file);

/* One reference more, or one less. NULL does nothing. [any] */
SALLY_API sally_file *sally_file_ref(sally_file *file);
SALLY_API void sally_file_release(sally_file *file);

/* Of sally_engine_options.port_features_off: files are read, and not left to the system. */
enum { SALLY_READ_FILES = 1 << 10 };

/* How many files may be queued on a connection. */
enum { SALLY_FILES_MAX = 64 };

/* Sends `length` bytes of the file from `offset` on, behind everything queued before; 0: all from
 * there to the end, which may be nothing. The queue takes a reference of its own. With `done` there
 * is a completion as that of sally_conn_when_sent: called once, before on_close, with what became
 * of the last byte; `done` may be NULL.
 *
 * Room. A file's bytes are not in memory: in send_bytes_max, the marks and the budgets each queued
 * file counts for 256 bytes (and what is copied behind it begins a chunk of its own, see
 * send_chunk_bytes), and at most SALLY_FILES_MAX may be queued. Without room it is SALLY_EFULL,
 * whatever at_full says. In what sally_conn_queued and bytes_unsent tell, its bytes count as all
 * others (4 GiB - 1 at most). While a file is not through the queue is not low: a producer waits,
 * and on_drain follows when all files are through and the queue is low, so that a program can send
 * one file after the other. From the sixteenth on reading pauses as above send_high_bytes, if the
 * options let it.
 *
 * Pace. Limits for bytes a second hold for files, and all time limits see their bytes go; on
 * Windows write_stall_ms sees a slow reader move in steps of 256 KiB. After a gentle close the
 * files go on: while bytes a second are limited, for ten minutes at most or linger_ms if that is
 * longer (SALLY_CLOSE_LINGER_TIMEOUT). Whatever else ends the connection before they are through
 * resets it, so that a peer never takes a part for the whole.
 *
 * A file that others make shorter, or that can't be read, aborts the connection: its promised bytes
 * can't come, and nothing else may stand in their place. on_close has SALLY_CLOSE_FILE with
 * SALLY_EFILEEND, or with SALLY_EFILE and the system's code. Bytes that others change meanwhile are
 * sent as they are then: put a new file in the place of an old one (rename(2)) instead.
 *
 * SALLY_EINVAL, also for a file of another engine; SALLY_EFILEEND: offset or length are beyond the
 * size; SALLY_ECLOSED, SALLY_ESTATE, SALLY_EFULL, SALLY_ELIMIT, SALLY_ENOMEM as sally_conn_send;
 * SALLY_EFULL also while 4096 calls with a `done` wait; SALLY_ENOTSUP with SALLY_FULL_DROP_OLDEST,
 * which could drop the head alone, and with filters, which the system's copy would go past (read
 * the file and send it, as by sally_conn_produce). After an error nothing was taken and `done` is
 * not called. From other threads: sally_post, which keeps the order with sally_send. [shard] */
SALLY_API int sally_conn_send_file(sally_conn *conn, sally_file *file, uint64_t offset,
                                   uint64_t length, sally_sent_fn done, void *arg) SALLY_MUST_USE;

#if defined(__cplusplus)
}
#endif
#endif
