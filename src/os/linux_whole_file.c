#include "os/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sallyport/error.h"

static int file__failed(int *sys_error)
{
    *sys_error = errno;
    return errno == EACCES || errno == EPERM || errno == EROFS ? SALLY_EACCES : SALLY_ESYSTEM;
}

/* As many bytes as it had when it was opened; less when it was cut meanwhile. */
static int file__fill(int fd, char *data, size_t *size, int *sys_error)
{
    size_t at = 0;
    while (at < *size) {
        ssize_t got = read(fd, data + at, *size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file__failed(sys_error);
        if (got == 0) break;
        at += (size_t)got;
    }
    if (at == *size) return 0;
    *sys_error = EIO; /* somebody writes it in place: half a list is none */
    return SALLY_ESYSTEM;
}

static int file__read(int fd, size_t bytes_max, struct mem *mem, char **data, size_t *size,
                      int *sys_error)
{
    struct stat status;
    if (fstat(fd, &status) != 0) return file__failed(sys_error);
    if (!S_ISREG(status.st_mode)) {
        *sys_error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL; /* a pipe has no size to trust */
        return SALLY_ESYSTEM;
    }
    if ((uint64_t)status.st_size > bytes_max) return SALLY_ELIMIT;
    *size = (size_t)status.st_size;
    if (!*size) return 0;
    *data = mem_alloc(mem, *size);
    if (!*data) return SALLY_ENOMEM;
    int err = file__fill(fd, *data, size, sys_error);
    if (!err) return 0;
    mem_free(mem, *data, (size_t)status.st_size);
    *data = NULL;
    return err;
}

int whole_file_read(const char *path, size_t bytes_max, struct mem *mem, char **data, size_t *size,
                    int *sys_error)
{
    *data = NULL;
    *size = 0;
    *sys_error = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo would wait for a writer */
    if (fd < 0) return file__failed(sys_error);
    int err = file__read(fd, bytes_max, mem, data, size, sys_error);
    close(fd);
    return err;
}

static bool file__write(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t took = write(fd, data, size);
        if (took < 0 && errno == EINTR) continue;
        if (took < 0) return false;
        data += took;
        size -= (size_t)took;
    }
    return fsync(fd) == 0;
}

/* The new name is in the folder, and the folder has to be on the disk too. A file system that can't
 * do that has still renamed. */
static void folder__sync(const char *path)
{
    char folder[PATH_MAX];
    int len = snprintf(folder, sizeof folder, "%s", path);
    while (len > 0 && folder[len - 1] != '/') len--;
    snprintf(folder + len, sizeof folder - (size_t)len, ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

int whole_file_replace(const char *path, const char *data, size_t size, int *sys_error)
{
    char beside[PATH_MAX];
    *sys_error = 0;
    int len = snprintf(beside, sizeof beside, "%s.new", path);
    if (len < 0 || (size_t)len + 2 > sizeof beside) {
        *sys_error = ENAMETOOLONG;
        return SALLY_ESYSTEM;
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return file__failed(sys_error);
    bool good = file__write(fd, data, size);
    int err = good ? 0 : file__failed(sys_error);
    close(fd);
    if (!err && rename(beside, path) != 0) err = file__failed(sys_error);
    if (err)
        unlink(beside);
    else
        folder__sync(path);
    return err;
}
