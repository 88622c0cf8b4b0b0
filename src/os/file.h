/* Files, as little as is needed. */
#ifndef OS_FILE_H
#define OS_FILE_H

/* Removes a Unix socket's file; nothing else, and nothing if it is not there. */
void os_remove_socket_file(const char *path);

#endif
