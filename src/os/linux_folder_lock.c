/* See linux_folder_lock.h. */
#include "os/linux_folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static int folder_open(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 1; /* with the slash: "/" is a folder too */
    if (len >= sizeof folder) return -1;
    memcpy(folder, slash ? path : ".", len);
    folder[len] = 0;
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int linux_folder_lock(const char *path)
{
    int fd = folder_open(path);
    if (fd < 0) return FOLDER_LOCK_NONE;
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        bool busy = errno == EWOULDBLOCK || errno == EINTR;
        if (busy && tries < FOLDER_LOCK_TRIES) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            continue;
        }
        close(fd);
        return busy ? FOLDER_LOCK_BUSY : FOLDER_LOCK_NONE;
    }
    return fd;
}

void linux_folder_unlock(int lock)
{
    int sys_error = errno;
    if (lock >= 0) {
        (void)flock(lock, LOCK_UN); /* a child of fork may have the descriptor too */
        close(lock);
    }
    errno = sys_error;
}
