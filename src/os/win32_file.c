#include "os/file.h"

/* No port of this system listens on a path, so no such file was made. */
void os_remove_socket_file(const char *path) { (void)path; }
