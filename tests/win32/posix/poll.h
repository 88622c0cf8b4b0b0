/* See win32/posix/sockets.h. */
#ifndef WIN32_POSIX_POLL_H
#define WIN32_POSIX_POLL_H

#include "win32/posix/sockets.h"

#endif
