/* Open files with a reference count, see sallyport/file.h: one that is sent is named by its
 * references. The count is any thread's; the rest doesn't change. */
#ifndef NET_FILE_H
#define NET_FILE_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/file.h"
#include "sallyport/file.h"

struct sally_file {
    sally_engine *engine;
    atomic_uint refs;
    os_file file;
    os_file shown; /* its name for the engine's ports: the same but in the simulator */
    uint64_t bytes;
};

#endif
