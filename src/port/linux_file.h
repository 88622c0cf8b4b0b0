/* Sending a part of a file on Linux, for both of its ports. */
#ifndef PORT_LINUX_FILE_H
#define PORT_LINUX_FILE_H

#include <stdint.h>

#include "port/port.h"

/* What the socket takes at once of at most PORT_FILE_BYTES_MAX bytes: how many, 0 when it would
 * have to wait, or SALLY_E* as P15 has it, with errno beside it. The port's owner. */
int64_t linux_send_file(int fd, const struct port_file *file, int *sys_error);

#endif
