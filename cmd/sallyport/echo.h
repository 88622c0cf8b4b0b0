/* The echo service: what comes in goes out, and the connection ends when the peer has finished. */
#ifndef SALLYPORT_ECHO_H
#define SALLYPORT_ECHO_H

#include "sallyport.h"

sally_handler echo_handler(void);

#endif
