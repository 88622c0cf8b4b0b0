/* Files, as little as is needed: those that are sent. Nothing is allocated. Opening and reading may
 * wait for a disk or a network. Any thread. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include <stdint.h>

/* A descriptor, or a HANDLE. */
typedef intptr_t os_file;
#define OS_NO_FILE ((os_file)-1)

/* Opens an ordinary file for reading; never a folder, a device or a pipe, which have no size to
 * trust and may wait for ever. Others may change it, or put another in its place, meanwhile. On
 * Windows the path is UTF-8. SALLY_EACCES, SALLY_EEXHAUSTED, SALLY_EFILE (it is not there, or not
 * ordinary), with the system's code beside it (open(2), fstat(2); CreateFileW). */
int os_file_open(const char *path, os_file *file, uint64_t *bytes, int *sys_error);

/* Whether a file that somebody else has opened is such a one, and how long it is now. It stays the
 * caller's. Errors as above; on Linux also EBADF for one that can't be read. */
int os_file_judge(os_file file, uint64_t *bytes, int *sys_error);

/* Not while it is being sent. */
void os_file_close(os_file file);

/* Reads at an offset, without a place of its own that two readers could move (pread(2); ReadFile
 * with an OVERLAPPED). Bytes; 0 at the end and behind it; SALLY_EFILE. */
int64_t os_file_read(os_file file, uint64_t offset, void *to, uint32_t len, int *sys_error);

/* Removes a Unix socket's file; nothing else, and nothing if it is not there. */
void os_remove_socket_file(const char *path);

#endif
