/* The system's own headers of addresses and names, and what has to be done before they are used. */
#ifndef OS_NETWORK_H
#define OS_NETWORK_H

#if defined(_WIN32)
#include <winsock2.h>
#include <ws2tcpip.h>

#include <iphlpapi.h>
#else
#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#endif

/* Once in a process, at the first call; what it sets up stays. 0 or the system's code. Any thread.
 */
int os_network_start(void);

#endif
