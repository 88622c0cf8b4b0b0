/* An address of loopback that is this process's own: ports there are nobody else's. */
#ifndef SUPPORT_OWN_IP_H
#define SUPPORT_OWN_IP_H

#include <stdio.h>
#include <unistd.h>

static inline const char *own_ip(void)
{
    static _Thread_local char ip[16];
    unsigned own = (unsigned)getpid();
    snprintf(ip, sizeof ip, "127.%u.%u.2", 64 + own / 250 % 128, 1 + own % 250);
    return ip;
}

#endif
