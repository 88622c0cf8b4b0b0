/* See win32/posix/sockets.h. */
#ifndef WIN32_POSIX_NETINET_IN_H
#define WIN32_POSIX_NETINET_IN_H

#include "win32/posix/sockets.h"

#endif
