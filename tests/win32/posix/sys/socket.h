/* See win32/posix/sockets.h. */
#ifndef WIN32_POSIX_SYS_SOCKET_H
#define WIN32_POSIX_SYS_SOCKET_H

#include "win32/posix/sockets.h"

#endif
