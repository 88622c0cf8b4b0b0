/* The echo service: what comes in goes out, as bytes or as whole messages, and the connection ends
 * when the peer has finished. */
#ifndef SALLYPORT_ECHO_H
#define SALLYPORT_ECHO_H

#include <stdbool.h>

#include "sallyport.h"

/* `messages`: for a server with a framing. */
sally_handler echo_handler(bool messages);

#endif
