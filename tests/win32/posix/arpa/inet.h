/* See win32/posix/sockets.h. */
#ifndef WIN32_POSIX_ARPA_INET_H
#define WIN32_POSIX_ARPA_INET_H

#include "win32/posix/sockets.h"

#endif
