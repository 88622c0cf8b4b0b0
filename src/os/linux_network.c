#include "os/network.h"

int os_network_start(void) { return 0; }
