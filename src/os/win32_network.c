/* Winsock is started once and never stopped: whoever stops it may take it from another library in
 * the process, and the system does it at the end anyway. Any thread. */
#include "os/network.h"

static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
static int start_error;

static BOOL CALLBACK start(INIT_ONCE *init, void *parameter, void **context)
{
    (void)init, (void)parameter, (void)context;
    WSADATA data;
    start_error = WSAStartup(MAKEWORD(2, 2), &data);
    return TRUE;
}

int os_network_start(void)
{
    (void)InitOnceExecuteOnce(&once, start, NULL, NULL);
    return start_error;
}
