/* The ground: where the other ends of connections stand. Raw peers that don't come from the port
 * under test, so that it can't be wrong twice in the same way: sockets of the system, or the
 * simulated network's. Nothing here blocks; who waits turns the stage. One thread, that of the
 * stage. */
#ifndef PORT_SUPPORT_GROUND_H
#define PORT_SUPPORT_GROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "os/address.h"
#include "port/port.h"

/* What read and write say when it is not a number of bytes. */
enum {
    PEER_WAIT = 0,   /* nothing now */
    PEER_END = -1,   /* end of the stream */
    PEER_RESET = -2, /* reset, or broken in another way */
};

struct ground {
    const char *name;
    bool real;      /* descriptors, threads, files */
    unsigned lacks; /* of rules.h's NEEDS_*, what this system hasn't */
    int (*open)(void **world);
    void (*shut)(void *world);
    /* 0 or -1. */
    int (*listen)(void *world, const struct address *at, int backlog, intptr_t *listener,
                  struct address *bound);
    bool (*accept)(void *world, intptr_t listener, intptr_t *peer);
    int (*connect)(void *world, const struct address *to, intptr_t *peer);
    int (*connected)(void *world, intptr_t peer); /* 1, 0: not yet, -1: failed */
    int64_t (*write)(void *world, intptr_t peer, const void *data, size_t len);
    int64_t (*read)(void *world, intptr_t peer, void *data, size_t len);
    void (*finish)(void *world, intptr_t peer); /* end of its stream; it still reads */
    void (*close)(void *world, intptr_t peer, enum port_close_mode mode);
    void (*close_listener)(void *world, intptr_t listener);
    void (*local)(void *world, intptr_t peer, struct addr *addr);
    /* No new descriptor for anybody; peers that are there stay. */
    void (*exhaust)(void *world, bool on);
    unsigned (*descriptors)(void *world);
    /* A file as the port sends it. Its bytes from `offset` on are those of the pattern `tag` (see
     * stage.h) from `at` on; before that there are zeros. */
    os_file (*file)(void *world, uint32_t tag, uint64_t at, uint64_t offset, uint64_t bytes);
    void (*file_cut)(void *world, os_file file, uint64_t bytes); /* so long from now on */
    void (*file_close)(void *world, os_file file);
    os_file (*file_unreadable)(void *world); /* one that has bytes which can't be read */
    /* --- only of the real ones; NULL where it lacks what they are for --- */
    /* Signals without end, about a thousand a second; their handler does nothing. */
    void (*pester)(void *world, bool on);
    /* One signal, to this thread, with this handler. */
    void (*interrupt)(void *world, void (*handler)(int number));
    /* Whether a descriptor can be read from now. */
    bool (*readable)(void *world, int64_t fd);
    /* A path in a folder for temporary files that nobody else has. */
    void (*path)(void *world, char *path, size_t size);
    /* Whether this process may do what others may not. */
    bool (*privileged)(void *world);
};

extern const struct ground ground_posix;
extern const struct ground ground_win32;
extern const struct ground ground_sim;

#endif
