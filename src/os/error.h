/* The system's error codes in ours. */
#ifndef OS_ERROR_H
#define OS_ERROR_H

#include <stdbool.h>

/* A code of the system (errno; Winsock or Win32 on Windows) as one of ours: SALLY_ESYSTEM for what
 * isn't in the table, 0 for 0. EMFILE, ENFILE, ENOBUFS, ENOMEM and their kin are all
 * SALLY_EEXHAUSTED. */
int os_error_map(int sys_error);

/* The system's name or sentence for its code; buf is filled and returned. */
const char *os_error_text(int sys_error, char *buf, unsigned long size);

#endif
