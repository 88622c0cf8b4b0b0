/* Who may connect to `sallyport serve`: the options of admission, and the file of bans, which is
 * read at the start and again when the process is told to (SIGHUP). One thread. */
#ifndef SALLYPORT_DOOR_H
#define SALLYPORT_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "sallyport/admission.h"
#include "sallyport/proxy.h"

struct door {
    const char *bans_file; /* NULL: none */
    uint32_t conns_per_address;
    uint32_t connect_rate;
    sally_proxy_options proxies; /* trusted NULL: nobody's header is read */
    sally_bans *bans;
};

/* Reads the file. False: one sentence was printed to standard error. */
bool serve_door_open(struct door *door);
void serve_door_close(struct door *door);

/* What the server is made with. */
sally_admission serve_door_admission(const struct door *door);

/* Reads the file again and says how that went on standard error; when it can't be read, what holds
 * stays. `door` is a struct door. */
void serve_door_reload(void *door);

#endif
